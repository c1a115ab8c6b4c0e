# SPDX-License-Identifier: Apache-2.0
"""The artist's own guide in place of ours: a quick bake, a stock element, a roto, with or without depth.

It answers what `guide.Guide` answers. Its colour is taken apart: luminance leads the model as the light passes do,
chroma is given to the result. It knows the shot's guide pictures; it must not know models.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Optional

import numpy as np
import torch
import torch.nn.functional as F
from platebridge.errors import Cancelled, InputError
from platebridge.request import GuideSettings

from ..camera import Pinhole
from ..depth import filled
from ..light import LUMINANCE
from . import domain
from .dials import Dials
from .frame import GuideFrame

#: How an even light on the picture is shared out between sun and sky: the picture doesn't say.
SUN_SHARE = 0.65
#: Alpha that counts as covered in a guide that is thin in every frame; light over less is noise.
THINNEST = 0.02
#: Cells of the guide that dust may reach beyond it (`models/dust/condition.py: support` and the cut's own interpolation).
BEYOND = 4


class OwnGuide:
    """As `guide.Guide`, from pictures. shot: `request`, `size`, `window`, `display`, `camera` and `guide_image(f)`, a `shot.GuidePicture`.
    Nothing is kept on disk; debris, shadow and cells there are none.

    white: luminance that the picture's brightest dust has; None measures it (the 98th percentile of what is covered by a quarter and
    more, or at all where no frame has that).
    """

    cells: Optional[int] = None

    def __init__(self, shot, settings: GuideSettings, size: tuple[int, int], white: Optional[float] = None) -> None:
        self.shot, self.size, self.white = shot, size, white
        self.dials = Dials(settings, shot.request.animated)
        self.frames = shot.request.frames
        self.level = domain.level_from_world(shot.camera, self.frames.first)
        self._empty: dict[int, bool] = {}
        self._bbox: Optional[tuple[float, float, float, float]] = None

    def simulate(
        self, progress: Callable[[int, int], None] = lambda done, total: None, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Look at every picture once: where it covers anything, and how bright it gets."""
        brightest, thin = [], []
        for done, frame in enumerate(self.frames):
            picture = self._picture(frame)
            rgba = picture.rgba
            thick = rgba[..., 3] > 0.25
            covered = thick if thick.any() else rgba[..., 3] > THINNEST
            if covered.any():
                found = brightest if thick.any() else thin
                found.append(float(np.quantile((rgba[..., :3] @ LUMINANCE)[covered] / rgba[..., 3][covered], 0.98)))
            self._note(frame, picture)
            progress(done + 1, len(self.frames))
            if cancelled():
                raise Cancelled()
        if self.white is None:
            self.white = float(np.median(brightest or thin or [1.0]))

    def _picture(self, frame: int):
        picture = self.shot.guide_image(frame)
        if picture is None:
            raise InputError("The guide has no picture here.", "Add its file, or leave the guide out.", input="guide", frame=frame)
        return picture

    def _on_canvas(self, picture) -> tuple[float, float, float, float]:
        """Left, top, width, height of a picture, in parts of the shot's canvas: its display window is the plate's."""
        canvas, shown = self.shot.window, self.shot.display
        left, top, right, bottom = picture.part
        x, width = shown.x - canvas.x + left * shown.width, (right - left) * shown.width
        y, height = shown.y - canvas.y + top * shown.height, (bottom - top) * shown.height
        return x / canvas.width, y / canvas.height, width / canvas.width, height / canvas.height

    def _note(self, frame: int, picture) -> None:
        alpha = picture.rgba[..., 3]
        h, w = alpha.shape
        rows, columns = np.nonzero((alpha > 1e-4).any(1))[0], np.nonzero((alpha > 1e-4).any(0))[0]
        self._empty[frame] = not len(rows) or self.dials.at(frame).amount <= 0
        if self._empty[frame]:
            return
        left, top, width, height = self._on_canvas(picture)
        across, down = columns[[0, -1]] + [0, 1], rows[[0, -1]] + [0, 1]
        (x0, x1), (y0, y1) = (np.clip(a, 0, 1) for a in (left + width * across / w, top + height * down / h))
        self._empty[frame] = x1 <= x0 or y1 <= y0  # all of it beyond the canvas
        if self._empty[frame]:
            return
        box = (float(x0), float(y0), float(x1), float(y1))
        was = self._bbox or box
        self._bbox = (min(was[0], box[0]), min(was[1], box[1]), max(was[2], box[2]), max(was[3], box[3]))

    def frame(self, frame: int) -> GuideFrame:
        """The whole picture at the guide's size."""
        return self.through(frame, self.shot.camera.at(frame).resized(self.size))

    def through(self, frame: int, camera: Pinhole) -> GuideFrame:
        """A window of the picture: a camera of the shot's own pose, as `Pinhole.resized` gives it."""
        picture, whole = self._picture(frame), self.shot.camera.at(frame)
        h, w = camera.size
        x, y = camera.slopes()
        left, top, width, height = self._on_canvas(picture)
        across = ((x * whole.fx + whole.cx) / whole.size[1] - left) / width
        down = ((whole.cy - y * whole.fy) / whole.size[0] - top) / height
        # A filter that rings leaves values below 0, and beside them luminance of next to nothing: its colour would be hundreds.
        rgba = np.maximum(_window(picture.rgba.transpose(2, 0, 1), across, down, camera.size), 0.0)
        alpha = np.minimum(rgba[3], 1.0)
        luminance = np.tensordot(LUMINANCE, rgba[:3], 1).astype(np.float32)
        light = luminance / max(self.white or 1.0, 1e-6)
        chroma = np.where(luminance > 1e-6, rgba[:3] / np.maximum(luminance, 1e-6), 1.0).astype(np.float32)
        depth = np.full((h, w), np.inf, np.float32)
        if picture.depth is not None:
            near = picture.depth
            rows = np.clip((down * near.shape[0]).astype(np.int64), 0, near.shape[0] - 1)
            columns = np.clip((across * near.shape[1]).astype(np.int64), 0, near.shape[1] - 1)
            depth = near[rows[:, None], columns].astype(np.float32)
            # The model's dust reaches a few of its own cells beyond the guide; a cell may be many of the picture's pixels.
            depth = filled(depth, ~np.isfinite(depth), BEYOND)
        dials = self.dials.at(frame)
        strength, sun = min(dials.amount, 1.0), domain.direction(dials.sun_azimuth, dials.sun_elevation)
        seen = GuideFrame(
            light * SUN_SHARE,
            light * (1 - SUN_SHARE),
            alpha,
            depth,
            (camera.moved(self.level).camera_to_world[:3, :3].T @ sun).astype(np.float32),
            chroma=np.ascontiguousarray(chroma.transpose(1, 2, 0)),
        )
        return (
            replace(seen, sun=seen.sun * strength, ambient=seen.ambient * strength, alpha=seen.alpha * strength) if strength < 1 else seen
        )

    def debris(self, frame: int, camera: Pinhole, plate_depth: np.ndarray) -> None:
        """None: the artist's guide has no debris of ours."""
        return None

    def cell(self, frame: int) -> None:
        """None: a picture has no cells."""
        return None

    def shadow(self, frame: int, plate_depth: np.ndarray, finer: object = None) -> Optional[np.ndarray]:
        """None: a picture throws no shadow."""
        return None

    def empty(self, frame: int) -> bool:
        """Whether the picture covers nothing at a frame."""
        return self._empty[frame]

    @property
    def bbox(self) -> Optional[tuple[float, float, float, float]]:
        """Left, top, right, bottom of all that is covered, parts of the picture; None if nothing is."""
        return self._bbox


def _window(picture: np.ndarray, across: np.ndarray, down: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a picture (c, h, w) that a window shows, at `size`, linear in premultiplied values; shrunk by areas.

    across, down: where each column's and row's centre lies, in parts of the picture.
    """
    source = torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None]
    h, w = picture.shape[1:]
    rows_each, columns_each = h * (down[-1] - down[0]) / max(size[0] - 1, 1), w * (across[-1] - across[0]) / max(size[1] - 1, 1)
    shrink = max(1, int(min(rows_each, columns_each)))
    within = across, down
    if shrink > 1:
        source = F.avg_pool2d(source, shrink, ceil_mode=True, count_include_pad=False)
        # The last cell of a ceiled pool is narrower; counted as whole it would stretch the picture by less than a cell.
        down, across = down * (h / (source.shape[2] * shrink)), across * (w / (source.shape[3] * shrink))
    grid = torch.from_numpy(np.stack(np.meshgrid(2 * across - 1, 2 * down - 1), -1).astype(np.float32))[None]
    # Up to its rim a picture is as dense as its last pixels; beyond there is nothing.
    across, down = within
    inside = ((down >= 0) & (down <= 1))[:, None] & ((across >= 0) & (across <= 1))
    return F.grid_sample(source, grid, padding_mode="border", align_corners=False)[0].numpy() * inside
