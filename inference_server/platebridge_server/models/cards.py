# SPDX-License-Identifier: Apache-2.0
"""The cards of the large open models: what they are, under which licence, what they were trained on, what they take. Data in `cards/`.

A card says what can be known without the weights. Nothing here touches a model, a disk beyond the package, or the network.
`source.revision` is the commit that `fetch` pins, and `revision_source` how we know of it; None where we have no two witnesses of
one, and then it must be given.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List

from platebridge.dials import BUILT_IN
from platebridge.errors import ModelError

FOLDER = Path(__file__).parent / "cards"
_ORDER = ("wan-vace-1.3b", "wan-vace-14b", "wan2.2-vace-fun-a14b")
#: What every card must say, whoever wrote it.
NEEDED = ("name", "licence", "summary", "trained_on", "pipeline", "layout", "limits")
#: Names that are given away: those that ship would hide a model, and LoRAs have their folder among the models.
TAKEN = (*BUILT_IN, "loras")
#: What the planner reckons with, where a card gives it.
_OF_A_NETWORK = ("transformer_parameters", "experts", "blocks", "vace_blocks", "block_parameters", "vace_block_parameters", "heads",
                 "head_size", "feed_forward", "text_encoder_parameters", "vae_parameters")  # fmt: skip
_OF_A_COMPONENT = {"library": str, "classes": list, "config": dict}
#: Pixels that a transformer takes together, along each side; and frames of a window, which must be more than neighbours share.
_TOGETHER, _LEAST_WINDOW = 16, 21


def names() -> List[str]:
    """The models that we know and don't ship, the smallest first."""
    return list(_ORDER)


def card(name: str) -> Dict[str, Any]:
    """The card of that model, the caller's own to change. Raises ModelError that lists what there is."""
    if name not in _ORDER:
        mend = "There is %s. One of your own: platebridge models add FOLDER --card CARD.json." % ", ".join(_ORDER)
        raise ModelError("There is no card of a model called %r." % name, mend)
    return json.loads(_text(name))


def from_file(path: Path) -> Dict[str, Any]:
    """A studio's own card. Raises ModelError that says what it lacks."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))  # Windows' editors begin a file with a mark
    except (OSError, ValueError) as problem:
        raise ModelError("The card %s can't be read (%s)." % (path, problem), "It is JSON: docs/models.md shows a whole one.") from problem
    return checked(found, str(path))


def checked(found: Any, where: str) -> Dict[str, Any]:
    """A card that came from outside, as it is if it says what is needed. Raises ModelError."""
    absent = [part for part in NEEDED if not isinstance(found, dict) or part not in found]
    if absent:
        raise ModelError("The card %s does not say %s." % (where, ", ".join(absent)), "docs/models.md shows a whole one.")
    name = found["name"]
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9_-])?", name):  # it names a folder on every system
        raise ModelError("%.120r can't name a model." % (name,), "Use small letters, digits, dots, - and _, 100 at most.")
    if name in TAKEN:
        raise ModelError("The name %s is taken." % name, "Give the model a name of its own in its card.")
    wrong = next(_wrong(found), None)
    if wrong:
        raise ModelError("The card %s: %s." % (where, wrong), "docs/models.md shows a whole one.")
    return found


def _wrong(card: Dict[str, Any]) -> Iterator[str]:
    """What of a card is not of the form that is read later."""
    for part in ("licence", "summary", "pipeline"):
        if not isinstance(card[part], str):
            yield "%s is no text" % part
    if not isinstance(card.get("weights_sha256", ""), str):
        yield "weights_sha256 is no text"
    components = card["layout"].items() if isinstance(card["layout"], dict) else [("layout", None)]
    for component, said in components:
        if not re.fullmatch("[a-z0-9_]+", component):  # it names a folder within the model's
            yield "layout has a component %r" % component
        elif not isinstance(said, dict) or any(not isinstance(said.get(part), kind) for part, kind in _OF_A_COMPONENT.items()):
            yield "layout does not say %s of %s" % (", ".join(_OF_A_COMPONENT), component)
    sizes = card["limits"].get("sizes") if isinstance(card["limits"], dict) else None
    if not isinstance(sizes, list) or not sizes or any(not _is_size(size) for size in sizes):
        yield "limits has no sizes like [[832, 480], [480, 832]]"
    elif not _is_count(card["limits"].get("multiple_of")) or card["limits"]["multiple_of"] % _TOGETHER:
        yield "limits does not say of what both sides are a multiple_of, %d or a multiple of it" % _TOGETHER
    elif not _is_window(card["limits"].get("window", _LEAST_WINDOW)):
        yield "limits has no window of 4k + 1 frames, %d at least" % _LEAST_WINDOW
    shift = card.get("shift", 1.0)
    if isinstance(shift, bool) or not isinstance(shift, (int, float)) or not 0 < shift <= 100:
        yield "shift is no number above 0, 100 at most"
    if card.get("kind") != "picture":
        yield 'kind is not "picture", and no other model can be taken in'
    if card.get("trained", True) is not True:  # by it every frame is labelled
        yield "trained is not true, and a model that paints has learned from something"
    network = card.get("network", dict.fromkeys(_OF_A_NETWORK, 1))
    absent = [part for part in _OF_A_NETWORK if not isinstance(network, dict) or not _is_count(network.get(part))]
    if absent:
        yield "network does not say %s" % ", ".join(absent)


def _is_size(size: Any) -> bool:
    return isinstance(size, list) and len(size) == 2 and all(map(_is_count, size))


def _is_window(number: Any) -> bool:
    return _is_count(number) and number % 4 == 1 and number >= _LEAST_WINDOW


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and number > 0


@lru_cache(None)
def _text(name: str) -> str:
    return (FOLDER / (name + ".json")).read_text(encoding="utf-8")
