# SPDX-License-Identifier: Apache-2.0
"""Where the model works and at which size: a crop of the plate around all the dust, at most so many pixels.

The crop stands still over the shot and the same camera looks through it. Only the model's passes are resampled on their
way back (bicubic, antialiased when shrunk); plate, depth and holdout stay at full resolution. Must not know models.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F

from .camera import Pinhole
from .guide.frame import GuideFrame, packed, unpacked
from .guide.store import Store
from .models.base import Passes

#: The model's field in pixels at most. Beyond it the model works smaller and is put back larger.
MOST_PIXELS = 600_000
#: The guide is this many times coarser than the model's field: what the model was trained on.
COARSER = 4
#: Pixels of the field for a cell of the simulation at most. A finer field has nothing to draw billows from and fills them with grain
#: and streaks: cells are better spent than pixels.
PIXELS_PER_CELL = 3
#: Room around the dust for what the model adds at its rim, plate pixels and part of the dust's own size.
ROOM_PX, ROOM_PART = 16, 0.03
#: What a model that paints sees beside the dust, as part of the dust's own size: it must know what it paints into.
CONTEXT_PART = 0.25


#: Left, top, right, bottom: a part of the canvas in [0, 1].
Box = Tuple[float, float, float, float]


@dataclass(frozen=True)
class WorkArea:
    """x, y, width, height: the crop on the shot's canvas, in plate pixels; it may reach over the canvas by a few.

    size: (h, w) of the model's field for it. guide_size: (h, w) of the guide for it.
    """

    x: int
    y: int
    width: int
    height: int
    size: Tuple[int, int]

    @property
    def guide_size(self) -> Tuple[int, int]:
        return self.size[0] // COARSER, self.size[1] // COARSER

    def camera(self, whole: Pinhole, size: Tuple[int, int]) -> Pinhole:
        """The canvas's camera as it sees the crop, for a picture of `size` (h, w)."""
        h, w = whole.size
        return whole.resized(size, (self.x / w, self.y / h, (self.x + self.width) / w, (self.y + self.height) / h))

    def on_canvas(self, canvas: Tuple[int, int]) -> Tuple[Tuple[slice, slice], Tuple[slice, slice]]:
        """(rows, columns) of the crop on the canvas, and the same pixels within the crop."""
        y0, y1, x0, x1 = max(self.y, 0), min(self.y + self.height, canvas[0]), max(self.x, 0), min(self.x + self.width, canvas[1])
        return (slice(y0, y1), slice(x0, x1)), (slice(y0 - self.y, y1 - self.y), slice(x0 - self.x, x1 - self.x))

    def at_full_size(self, passes: Passes) -> Passes:
        """The model's passes at the plate's own resolution, of the crop's size."""
        return Passes(*self.enlarged(np.stack([passes.sun, passes.ambient, passes.alpha])))

    def enlarged(self, planes: np.ndarray) -> np.ndarray:
        """(c, h, w) float32 premultiplied, alpha last, of the model's size at the crop's: bicubic, never below 0 nor above 1 in alpha."""
        if self.size == (self.height, self.width):
            return planes
        wide = torch.from_numpy(np.ascontiguousarray(planes, np.float32))[None]
        there = F.interpolate(F.max_pool2d(wide[:, -1:], 3, 1, 1), (self.height, self.width), mode="nearest") > 0
        wide = F.interpolate(wide, (self.height, self.width), mode="bicubic", align_corners=False, antialias=True).clamp_min(0.0) * there
        wide[:, -1].clamp_max_(1.0)
        return wide[0].numpy()


def choose(canvas: Tuple[int, int], bbox: Box, cells: Optional[int] = None, most: int = MOST_PIXELS) -> WorkArea:
    """The work area for a canvas (h, w) and the part of it that dust takes. cells: of the simulation's longest side."""
    h, w = canvas
    left, top, right, bottom = bbox[0] * w, bbox[1] * h, bbox[2] * w, bbox[3] * h
    room_x, room_y = ROOM_PX + ROOM_PART * (right - left), ROOM_PX + ROOM_PART * (bottom - top)
    x0, x1 = max(0, math.floor(left - room_x)), min(w, math.ceil(right + room_x))
    y0, y1 = max(0, math.floor(top - room_y)), min(h, math.ceil(bottom + room_y))
    shrink = min(1.0, math.sqrt(most / ((x1 - x0) * (y1 - y0))))
    if cells is not None:
        shrink = min(shrink, PIXELS_PER_CELL * cells / max(x1 - x0, y1 - y0))
    if shrink == 1.0:
        height, width = (-(-n // COARSER) * COARSER for n in (y1 - y0, x1 - x0))
        return WorkArea(x0, y0, width, height, (height, width))
    height, width = (max(COARSER, int(n * shrink) // COARSER * COARSER) for n in (y1 - y0, x1 - x0))
    return WorkArea(x0, y0, x1 - x0, y1 - y0, (height, width))


def choose_for_painting(canvas: Tuple[int, int], bbox: Box, multiple: int, most: int, room_px: int) -> WorkArea:
    """The work area for a model that paints: dust, `room_px` about it and a quarter of its size as context, sides of a `multiple`.

    Where that is more than `most` pixels the model works smaller, by one scale for both sides. A side that the canvas is too short
    for reaches over its edge.
    """
    h, w = canvas
    spans = []
    for low, high, whole in ((bbox[1] * h, bbox[3] * h, h), (bbox[0] * w, bbox[2] * w, w)):
        room = room_px + CONTEXT_PART * (high - low) / 2
        spans.append((max(0, math.floor(low - room)), min(whole, math.ceil(high + room))))
    wanted = [stop - first for first, stop in spans]
    size = [-(-n // multiple) * multiple for n in wanted]
    crop = list(size)
    if size[0] * size[1] > most:
        shrink = math.sqrt(most / (wanted[0] * wanted[1]))
        size = [max(multiple, int(n * shrink) // multiple * multiple) for n in wanted]
        scale = max(n / m for n, m in zip(wanted, size))
        crop = [math.ceil(m * scale) for m in size]
    firsts = []
    for (first, stop), length, whole in zip(spans, crop, canvas):
        first -= (length - (stop - first)) // 2
        firsts.append(min(max(first, 0), whole - length) if length <= whole else (whole - length) // 2)
    return WorkArea(firsts[1], firsts[0], crop[1], crop[0], (size[0], size[1]))


def edged(array: np.ndarray, area: WorkArea) -> np.ndarray:
    """The crop of a canvas array, (area.height, area.width, ...), the canvas's rim going on where the crop reaches over it."""
    rows, columns = (
        np.clip(np.arange(first, first + length), 0, whole - 1)
        for first, length, whole in ((area.y, area.height, array.shape[0]), (area.x, area.width, array.shape[1]))
    )
    return array[rows[:, None], columns]


def shrunk(picture: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """A picture (h, w, c) float32 at a smaller size, linearly and antialiased; the same picture when it has that size."""
    if picture.shape[:2] == size:
        return picture
    planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))[None]
    return F.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)[0].permute(1, 2, 0).numpy()


class CroppedGuide:
    """The guide as seen through a work area; each frame of a simulation is rendered once and kept in `scratch`, by areas.

    guide: has `size`, `frame(f)` and `through(f, camera)` as guide.Guide. camera(f): the canvas's camera.
    """

    def __init__(self, guide, area: WorkArea, camera, scratch: Path, fingerprint: str) -> None:
        self._guide, self._area, self._camera = guide, area, camera
        # A folder for each area: another take of the same view may be at work on another one.
        self._store = Store(scratch / hashlib.sha256(repr(area).encode()).hexdigest()[:12], "%s %s" % (fingerprint, area))
        self._last: Optional[Tuple[int, GuideFrame]] = None

    def frame(self, frame: int) -> GuideFrame:
        """The guide at a frame, at the area's guide size; no debris."""
        if self._last is None or self._last[0] != frame:  # a model asks for one thing after another
            self._last = frame, self._made(frame)
        return self._last[1]

    def _made(self, frame: int) -> GuideFrame:
        area = self._area
        if (area.x, area.y, (area.height, area.width), area.guide_size) == (0, 0, self._camera(frame).size, self._guide.size):
            return replace(self._guide.frame(frame), chunks=None)  # the guide's own picture is that very one
        if self._store.has("frame", frame):
            arrays, facts = self._store.get("frame", frame)
            return unpacked(arrays, area.guide_size, np.asarray(facts["light_view"], np.float32))
        seen = self._guide.through(frame, area.camera(self._camera(frame), area.guide_size))
        if seen.deep is not None:  # an artist's picture is read again as quickly as kept
            self._store.put("frame", frame, packed(seen), {"light_view": [float(v) for v in seen.light_view]})
        return seen

    def passes(self, frame: int) -> Dict[str, np.ndarray]:
        """What base.GuideReader wants of it."""
        seen = self.frame(frame)
        return {"sun": seen.sun, "ambient": seen.ambient, "alpha": seen.alpha, "depth": seen.depth}

    def sun_in_view(self, frame: int) -> Tuple[float, float, float]:
        """The sun's direction in the camera's axes."""
        x, y, z = (float(v) for v in self.frame(frame).light_view)
        return x, y, z


    def cell(self, frame: int) -> Optional[Tuple[float, float]]:
        """As base.GuideReader has it."""
        cell, seen = self._guide.cell(frame), self.frame(frame)
        there = np.isfinite(seen.depth) & (seen.alpha > 0)
        if cell is None or not there.any():
            return None
        mean = float(np.average(seen.depth[there], weights=seen.alpha[there]))
        return self._area.camera(self._camera(frame), self._area.size).fy * cell[0] / mean, cell[1]


def padded(array: np.ndarray, area: WorkArea, fill: float) -> np.ndarray:
    """The crop of a canvas array, (area.height, area.width, ...), `fill` where the crop reaches over the canvas."""
    own, inside = area.on_canvas((array.shape[0], array.shape[1]))
    out = np.full((area.height, area.width, *array.shape[2:]), fill, array.dtype)
    out[inside] = array[own]
    return out


def pasted(crop: np.ndarray, area: WorkArea, canvas: Tuple[int, int], fill: float) -> np.ndarray:
    """The inverse of `padded`: a canvas array with the crop in it."""
    own, inside = area.on_canvas(canvas)
    out = np.full((*canvas, *crop.shape[2:]), fill, crop.dtype)
    out[own] = crop[inside]
    return out


def thinned(picture: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """(h, w) of `size`: the nearest pixel of each. For depths, which are never averaged."""
    rows, columns = (np.minimum(((np.arange(n) + 0.5) * m / n).astype(np.int64), m - 1) for n, m in zip(size, picture.shape))
    return picture[rows[:, None], columns]
