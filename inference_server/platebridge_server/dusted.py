# SPDX-License-Identifier: Apache-2.0
"""The way of a model that gives passes: the guide as it is shown it, and of its passes the effect. And its effect as a draft for a painter.

It knows guide, plate depth and the crop. It must not know files of a take, events or colours of light.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import numpy as np
from platebridge.frames import name_at
from platebridge.request import GenerateRequest, PaintSettings
from platebridge.takes import storage_error, write_whole

from . import composite, effect, images, layers, work
from .composite import Effect
from .light import DustLight
from .models import registry
from .models.base import GuideReader, Model, Passes

#: Whose effect leads a painting that is led by a draft.
DRAWN_BY = "dust"


class Dusting:
    """A shot for one model. guide: as guide.Guide; scratch: where crops of the guide are kept."""

    def __init__(self, shot, guide, request: GenerateRequest, scratch: Path) -> None:
        self._shot, self._guide, self._request = shot, guide, request
        self.area = work.choose(shot.size, guide.bbox, guide.cells)
        self._cropped = work.CroppedGuide(guide, self.area, shot.camera.at, scratch, "crop")

    def facts(self) -> Dict[str, Any]:
        """What take.json says of how the guide was shown."""
        area = self.area
        return {"work_area": {"x": area.x, "y": area.y, "width": area.width, "height": area.height, "size": list(area.size)}}

    def passes(
        self, model: Model, frames: range, progress: Callable[[int, int], None], cancelled: Callable[[], bool], first: Optional[int] = None
    ) -> Iterator[Tuple[int, Passes]]:
        """Every frame's passes in order, from `first` on. The model is loaded."""
        reader = GuideReader(self._cropped.passes, self._cropped.sun_in_view, self._cropped.cell)
        return model.generate(reader, frames, self.area.size, self._request.model, progress, cancelled, first)

    def settled(self, frame: int, passes: Passes) -> Effect:
        """The model's passes as the effect that is written: with debris, held out at the plate's own resolution, and its shadow."""
        shot, area, camera = self._shot, self.area, self._shot.camera.at(frame)
        seen = self._cropped.frame(frame)
        plate_depth = shot.depth(frame)
        limit = work.padded(plate_depth, area, np.inf)
        debris = self._guide.debris(frame, area.camera(camera, (area.height, area.width)), limit)
        full = area.at_full_size(passes)
        cut, z = effect.assemble(full.sun, full.ambient, full.alpha, seen, limit, debris)
        chroma = effect.hue(seen, z.shape)
        shadow = None
        if self._request.guide_at(frame).shadow > 0:
            finer = area.camera(camera, area.size), effect.thickening(passes.alpha, seen)
            shadow = self._guide.shadow(frame, plate_depth, finer)
        return composite.settle(
            work.pasted(cut, area, shot.size, 0.0),
            work.pasted(z, area, shot.size, np.inf),
            plate_depth,
            shadow,
            None if chroma is None else work.pasted(chroma, area, shot.size, 0.0),
        )


def draft_of(request: GenerateRequest) -> GenerateRequest:
    """The request of the draft: the same of everything, asked of the built-in model."""
    model = dataclasses.replace(request.model, name=DRAWN_BY)
    inputs = dataclasses.replace(request.inputs, reference=None)
    return dataclasses.replace(request, model=model, paint=PaintSettings(), inputs=inputs)


class Draft:
    """What the built-in model makes of a painter's request, frame by frame: found where an earlier take of it left its passes, else made.

    shelf(kind, fingerprint): the folder of what is kept. colours(frame): the light on the dust. scratch: where crops of the guide are kept.
    own: this take's folder for the frames: those of the shelf may go while a painter works for hours. `fingerprint`: of everything that
    the passes depend on.
    """

    def __init__(
        self,
        shot,
        guide,
        request: GenerateRequest,
        colours: Callable[[int], DustLight],
        device: str,
        shelf: Callable[[str, str], Path],
        scratch: Path,
        own: Path,
    ) -> None:
        self._shot, self._guide, self._request, self._colours = shot, guide, draft_of(request), colours
        self._device, self._scratch, self._own = device, scratch, own
        self._model = registry.find(DRAWN_BY)
        self._frames = range(0)
        self.fingerprint = layers.passes_of(self._request, shot.geometry, self._model.card(), device)
        self._kept = layers.Kept(shelf("passes", self.fingerprint))

    def facts(self) -> Dict[str, Any]:
        """What take.json says of it."""
        return {"draft": {"model": DRAWN_BY, "weights_sha256": self._model.card().get("weights_sha256", ""), "passes": self.fingerprint}}

    def make(self, frames: range, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> None:
        """Sees to it that every frame's effect is there."""
        self._frames = frames
        self._own.mkdir(parents=True, exist_ok=True)
        lacking = [f for f in frames if not self._taken(f)]
        if not lacking:
            return
        dusting = Dusting(self._shot, self._guide, self._request, self._scratch)
        self._model.load(self._device)
        for frame, passes in dusting.passes(self._model, frames, progress, cancelled, lacking[0]):
            made = dusting.settled(frame, passes)
            part = layers.part(made, made.rgba(self._colours(frame)), self._shot.window, self._shot.display)
            data = images.encode([part])
            self._kept.put(_name(frame), data)
            try:
                write_whole(self._own / _name(frame), data)  # one that is there is taken for whole
            except OSError as error:
                raise storage_error(error, self._own) from error

    def _taken(self, frame: int) -> bool:
        """Whether a frame lies in our own folder now; from the shelf, where it is there and whole."""
        target = self._own / _name(frame)
        if not target.exists():
            with contextlib.suppress(OSError, layers.Damaged):  # another file system, gone a moment ago, or cut off by a power cut
                self._kept.effect(_name(frame))
                os.link(self._kept.path(_name(frame)), target)
        return target.exists()

    def layer(self, frame: int) -> Tuple[np.ndarray, np.ndarray]:
        """(h, w, 4) float32 premultiplied scene-linear in the shot's light, held out, and z (h, w) metres, inf where there is nothing."""
        if frame not in self._frames:
            nothing = composite.nothing(*self._shot.size)
            return np.zeros((*self._shot.size, 4), np.float32), nothing.z
        made = layers.read(self._own / _name(frame))
        return made.rgba(self._colours(frame)).astype(np.float32), made.z


def _name(frame: int) -> str:
    """As takes name their effects: what a take of the built-in model left is found."""
    return name_at("effect.####.exr", frame)
