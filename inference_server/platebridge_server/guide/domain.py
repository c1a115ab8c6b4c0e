# SPDX-License-Identifier: Apache-2.0
"""Where the event lies: level space, how large it is, where its ground is, and the box of cells that its dust needs.

It knows points and metres. It must not know pictures, files or the solver.

Level space is the world turned and moved, never scaled: origin at the first camera, x to its right, y horizontally away
from it, z against gravity. Small numbers there keep float32 exact, however far from its origin a world was built.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from ..camera import CameraPath
from .dials import Dials
from .emitters import Event
from .motion import Moving, Seen

#: No more cells than this, whatever the detail dial says: 40 bytes a cell of float32 fields and their copies.
MOST_CELLS = 3_000_000
FEWEST = 12


def level_from_world(path: CameraPath, first_frame: int) -> np.ndarray:
    """(4, 4) from the world to level space. A camera that looks straight up or down takes its top as ahead."""
    matrix = path.at(first_frame).camera_to_world
    up = path.up
    ahead = -matrix[:3, 2] - up * (-matrix[:3, 2] @ up)
    if np.linalg.norm(ahead) < 1e-3:
        ahead = matrix[:3, 1] - up * (matrix[:3, 1] @ up)
    ahead /= np.linalg.norm(ahead)
    out = np.eye(4)
    out[:3, :3] = np.stack([np.cross(ahead, up), ahead, up])
    out[:3, 3] = -out[:3, :3] @ matrix[:3, 3]
    return out


def direction(azimuth: float, elevation: float = 0.0) -> np.ndarray:
    """Unit vector (x, y, z) in level space. azimuth: degrees from straight ahead to the right; elevation: degrees up."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return np.array([math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), math.sin(e)])


@dataclass(frozen=True)
class Box:
    """The cells. origin: (x, y, z) of the lowest corner in level space; the ground is its floor. shape: (nx, ny, nz)."""

    origin: tuple[float, float, float]
    shape: tuple[int, int, int]
    cell: float

    def finer(self, times: float) -> Box:
        """The same box in so many times as many cells a side, or as many as `MOST_CELLS` lets it have."""
        times = min(times, (MOST_CELLS / math.prod(self.shape)) ** (1 / 3))
        return self if times <= 1 else Box(self.origin, tuple(math.ceil(n * times) for n in self.shape), self.cell / times)


@dataclass
class Survey:
    """What a first look through the shot gathers, frame by frame, in level space; a few numbers a frame.

    first: the first frame in which something moves, or None. moved: rows of low and high corners of what moves.
    """

    first: Optional[int] = None
    last: Optional[int] = None
    moved: list[np.ndarray] = field(default_factory=list)
    grounds: list[float] = field(default_factory=list)
    bases: list[float] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)

    def add(self, frame: int, seen: Seen, moving: Moving) -> None:
        """moving: in level space; seen.camera: moved to level space too."""
        if not len(moving):
            return
        if self.first is None:
            self.first = frame
        self.last = frame
        self.moved.append(np.stack([np.quantile(moving.points, 0.01, axis=0), np.quantile(moving.points, 0.99, axis=0)]))
        solid = seen.solid
        points = seen.camera.unproject(np.where(np.isfinite(seen.depth), seen.depth, 0.0))
        masked = points[solid] if solid.any() else moving.points
        low, high = np.quantile(masked, [0.02, 0.98], axis=0)
        self.bases.append(float(low[2]))
        self.widths.append(float(high[0] - low[0]))
        # What else stands about as far away as the event: its lowest part is the street.
        middle, reach = 0.5 * (low + high), np.linalg.norm(high - low)
        around = ~solid & (seen.mask < 0.1) & np.isfinite(seen.depth) & (seen.depth > 0)
        near = around & (np.linalg.norm((points - middle)[..., :2], axis=-1) < reach)
        if near.sum() > 50:
            self.grounds.append(float(np.quantile(points[near][:, 2], 0.05)))

    def event(self) -> Event:
        low, high = self._extent()
        scale = max(high[2] - low[2], 0.2 * (high[0] - low[0]), 0.05)
        base = min(float(np.median(self.bases)), float(low[2]))
        # The street may lie hidden below what is seen of the building, but not far below: a lake down the hill isn't it.
        ground = min(base, max(float(np.median(self.grounds)), base - 0.4 * scale)) if self.grounds else base
        width = float(np.median(self.widths))
        return Event(float(scale), ground, float(np.clip(0.6 * width, 0.2 * scale, 1.2 * scale)), int(self.first or 0))

    def box(self, event: Event, dials: Dials, frames_left: int, frame_seconds: float) -> Box:
        """The cells for the dust of `frames_left` frames after the first motion, with room for the most that any dial comes to."""
        low, high = self._extent()
        high[1] += event.thickness
        seconds = frames_left * frame_seconds
        age = seconds / event.second
        # Measured on collapses of 2 and 36 m: the dust runs out two thirds of its height, then stands and thins.
        speed, spread, rise = (dials.most(name) for name in ("speed", "spread", "rise"))
        run = 0.12 + 0.8 * (1 - math.exp(-1.5 * age)) * max(speed, 0.25) ** 0.5 * max(spread, 0.5) ** 0.25
        climb = 0.12 + 0.22 * (1 - math.exp(-age)) * max(spread, 0.5) + 0.15 * max(rise, 0.0) * min(age, 2.0) ** 2
        reach = event.height * np.array([run, run, min(1.5, climb)])
        nearest, away = low[1], float(np.linalg.norm(np.clip(0.0, low, high)))  # from the first camera, which is the origin
        low, high = low - reach, high + reach
        drifts = self._drifts(dials, frames_left, frame_seconds, 3.0 * event.height)
        low, high = np.minimum(low, low + drifts.min(0)), np.maximum(high, high + drifts.max(0))
        if nearest > 0:  # dust that reaches the lens is a grey picture: it ends well before the camera
            low[1] = max(low[1], nearest - 0.7 * away)
        low[2] = event.ground
        high[2] = max(high[2], event.ground + 0.5 * event.height)
        size = np.minimum(high - low, 12.0 * event.height)
        middle = 0.5 * (low + high)
        low[:2] = middle[:2] - 0.5 * size[:2]
        cell = float(size.max()) / dials.settings.detail
        cell = max(cell, float(size.prod() / MOST_CELLS) ** (1 / 3))
        shape = tuple(max(FEWEST, 2 * math.ceil(s / cell / 2)) for s in size)  # even: half as many again are whole cells too
        return Box((float(low[0]), float(low[1]), float(low[2])), shape, cell)

    def _extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Low and high corner of all that moves. A few frames with broken depth must not stretch it over the whole landscape."""
        corners = np.sort(np.array(self.moved), axis=0)
        few = -(-len(corners) // 25) if len(corners) >= 10 else 0
        return corners[few, 0], corners[-1 - few, 1]

    def _drifts(self, dials: Dials, frames_left: int, frame_seconds: float, most: float) -> np.ndarray:
        """(n, 3) ways that the wind may have carried dust by the end, `most` metres at most: one while it stays the same."""
        if not dials.changes("wind", "wind_direction"):
            settings = dials.settings
            return direction(settings.wind_direction)[None] * min(settings.wind * frames_left * frame_seconds * 0.8, most)
        first = int(self.first or 0)
        blown = [dials.at(frame) for frame in range(first, first + frames_left)]
        each = np.array([direction(now.wind_direction) * now.wind for now in blown]) * frame_seconds * 0.8
        ways = np.concatenate([np.zeros((1, 3)), np.cumsum(each[::-1], axis=0)])  # dust born at a frame is carried from there to the end
        way = np.concatenate([ways, np.cumsum(each, axis=0)])
        far = np.linalg.norm(way, axis=1, keepdims=True)
        return way * np.minimum(1.0, most / np.maximum(far, 1e-9))
