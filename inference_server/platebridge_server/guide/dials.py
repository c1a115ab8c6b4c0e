# SPDX-License-Identifier: Apache-2.0
"""The guide's dials over a shot: what each stands at in a frame, and the most it comes to. Knows no points, grids or pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Iterable, Mapping

from platebridge.curves import Curve
from platebridge.errors import RequestError
from platebridge.request import GenerateRequest, GuideSettings, settings_at

#: A final's cloud has so many times as many cells a side as its draft's, and follows it.
FINER = 1.5


@dataclass(frozen=True)
class Dials:
    """`settings`: the dials, those that change over the shot as they stand at its first frame. `animated`: these, as a request has them."""

    settings: GuideSettings
    animated: tuple[Curve, ...] = ()

    @classmethod
    def of(cls, request: GenerateRequest) -> Dials:
        return cls(request.guide, request.animated)

    def at(self, frame: int) -> GuideSettings:
        """All dials at a frame."""
        return settings_at(self.settings, self.animated, frame)

    def changes(self, *names: str) -> bool:
        """Whether any of these dials changes over the shot."""
        return any(curve.dial in names for curve in self.animated)

    def most(self, name: str) -> Any:
        """The most that a dial of one number comes to over the shot."""
        curve = next((curve for curve in self.animated if curve.dial == name), None)
        return getattr(self.settings, name) if curve is None else max(value for _, value in curve.keys)


def finer(request: GenerateRequest) -> float:
    """How many times as many cells a side the cloud has as the dial *Guide detail* says. A draft has those, and so has a look at the
    simulation itself."""
    return 1.0 if request.model.quality == "draft" or request.model.name == "guide" else FINER


def fingerprint(tree: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What of a request's tree says how these dials stand: their values, and their curves where they have any.

    Without curves it is what versions before them took, so that what those kept is still found.
    """
    wanted = set(names)
    out = {k: v for k, v in tree["guide"].items() if k in wanted}
    curves = [curve for curve in tree.get("animated", ()) if curve["dial"] in wanted]
    if curves:
        out["animated"] = curves
    return out


def refuse_turned(mine: Dials, its: Dials, frames: Iterable[int], names: Iterable[str]) -> None:
    """Raises RequestError where one of the named dials stands otherwise than in the simulation that was kept, whose dials are `its`."""
    names = tuple(names)
    for frame in frames:
        now, was = mine.at(frame), its.at(frame)
        for name in names:
            turns = mine.changes(name) or its.changes(name)
            # A curve cut to other frames is off by a bit, at 0 too; one of whole numbers by one, for its new ends are whole.
            least = 1.0 if turns and isinstance(getattr(was, name), int) else 1e-9
            if not math.isclose(getattr(now, name), getattr(was, name), rel_tol=1e-9, abs_tol=least):
                when = " at frame %d" % frame if turns else ""
                raise RequestError(
                    "%s is %s%s, and in the simulation it is %s." % (name, getattr(now, name), when, getattr(was, name)),
                    "A kept simulation keeps its dials: leave it at that, or generate without --simulation-of.",
                )
