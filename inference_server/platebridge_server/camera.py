# SPDX-License-Identifier: Apache-2.0
"""The shot's camera at a frame: pixels to points in the world and back.

It knows the request's camera and the picture's size. It must not know files, the guide or the model.

Conventions: a camera's x is right, y is up, it looks along its own -z. Pixel row 0 is the top; a pixel's centre is at
(column + 0.5, row + 0.5). Depth is metres along the camera's axis. Everything here is float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

import numpy as np
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import Camera

#: Where the stand-in camera of a shot without one stands above the ground, metres: a person's eye.
EYE_HEIGHT = 1.7


@dataclass(frozen=True)
class Pinhole:
    """A camera at one frame, for a picture of one size.

    camera_to_world: (4, 4), metres. fx, fy: focal length in pixels; equal for a plate whose pixels are square.
    cx, cy: the principal point in pixels from the top left. size: (height, width).
    """

    camera_to_world: np.ndarray
    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int]

    @property
    def focal_px(self) -> tuple[float, float]:
        return self.fx, self.fy

    @property
    def principal_px(self) -> tuple[float, float]:
        return self.cx, self.cy

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of each column's and row's ray where it has gone one metre along the axis: (w,) and (h,)."""
        h, w = self.size
        return (np.arange(w) + 0.5 - self.cx) / self.fx, (self.cy - np.arange(h) - 0.5) / self.fy

    def unproject(self, depth: np.ndarray) -> np.ndarray:
        """Depth (h, w) to points of the world (h, w, 3). A depth that isn't finite gives points that aren't."""
        x, y = self.slopes()
        return self._to_world(np.broadcast_to(x, depth.shape), np.broadcast_to(y[:, None], depth.shape), depth)

    def unproject_at(self, x: np.ndarray, y: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Picture positions in pixels (n,) and depth (n,) to points of the world (n, 3)."""
        return self._to_world((x - self.cx) / self.fx, (self.cy - y) / self.fy, depth)

    def _to_world(self, across, up, depth):
        depth = np.asarray(depth, np.float64)
        local = np.stack([across * depth, up * depth, -depth], axis=-1)
        return local @ self.camera_to_world[:3, :3].T + self.camera_to_world[:3, 3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the world (..., 3) to x, y in pixels and depth in metres, each (...).

        Behind the camera depth is zero or less and x and y mean nothing (they stay finite).
        """
        turn = self.camera_to_world[:3, :3]
        local = (np.asarray(points, np.float64) - self.camera_to_world[:3, 3]) @ turn
        depth = -local[..., 2]
        safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
        return local[..., 0] / safe * self.fx + self.cx, self.cy - local[..., 1] / safe * self.fy, depth

    def ray_scale(self) -> np.ndarray:
        """(h, w) by which a distance along the ray is multiplied to give depth along the axis; 1 at the axis itself."""
        x, y = self.slopes()
        return 1.0 / np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2)

    def pixel_size(self, depth):
        """Metres that one pixel covers at a depth."""
        return depth / (0.5 * (self.fx + self.fy))

    def resized(self, size: tuple[int, int], window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)) -> Pinhole:
        """The same camera for a picture of `size` (h, w) that shows `window` (left, top, right, bottom, parts of the picture)."""
        left, top, right, bottom = window
        h, w = self.size
        sx, sy = size[1] / ((right - left) * w), size[0] / ((bottom - top) * h)
        return Pinhole(
            self.camera_to_world,
            self.fx * sx,
            self.fy * sy,
            (self.cx - left * w) * sx,
            (self.cy - top * h) * sy,
            (int(size[0]), int(size[1])),
        )

    def moved(self, transform: np.ndarray) -> Pinhole:
        """The same camera in a world that `transform` (4, 4) maps the old one to."""
        return replace(self, camera_to_world=transform @ self.camera_to_world)


class CameraPath:
    """The camera over a shot. `up`: (3,) unit vector against gravity. `given`: False if it is only a stand-in."""

    def __init__(self, frames: dict[int, Pinhole], up, given: bool = True) -> None:
        self.up, self.given = np.asarray(up, np.float64) / np.linalg.norm(up), given
        self._frames = frames
        self._numbers = np.array(sorted(frames))

    @classmethod
    def from_request(cls, camera: Optional[Camera], frames: FrameRange, width: int, height: int, pixel_aspect: float = 1.0) -> CameraPath:
        """The request's camera; without one a 35 mm camera that stands still and level, 1.7 m above a ground at z 0.

        pixel_aspect: how many times as wide as high a pixel is; 2 for a plate of an anamorphic lens, as it was scanned.
        Raises InputError where a matrix can't be a camera's (it mirrors, has no volume, or lies on its side). Scale in it is taken out.
        """
        if camera is None or not camera.frames:
            lens = camera or Camera()
            up = np.asarray(lens.up, np.float64)
            matrix = _level(up / np.linalg.norm(up))
            pinhole = _pinhole(matrix, lens.focal_mm, lens.sensor_width_mm, None, width, height, pixel_aspect)
            return cls({frames.first: pinhole}, up, given=False)
        made = {}
        for item in camera.frames:
            matrix = _upright(np.asarray(item.camera_to_world, np.float64), item.frame)
            focal = item.focal_mm or camera.focal_mm
            made[item.frame] = _pinhole(matrix, focal, camera.sensor_width_mm, item.principal_px, width, height, pixel_aspect)
        return cls(made, camera.up)

    def at(self, frame: int) -> Pinhole:
        """The camera at a frame; a frame that is not listed holds the nearest (of two equally near, the earlier)."""
        return self._frames[int(self._numbers[np.argmin(np.abs(self._numbers - frame))])]


def _pinhole(matrix, focal_mm, sensor_mm, principal, width, height, pixel_aspect=1.0) -> Pinhole:
    focal = focal_mm / sensor_mm * width
    cx, cy = principal if principal else (width / 2.0, height / 2.0)
    return Pinhole(matrix, focal, focal * pixel_aspect, cx, cy, (height, width))


def _upright(matrix: np.ndarray, frame: int) -> np.ndarray:
    """The nearest rigid motion: cameras exported from a scaled parent carry its scale in their axes."""
    if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):  # read as it is, it would be another camera without a word
        raise InputError(
            "The camera's matrix ends in %s where 0, 0, 0, 1 is wanted." % ", ".join("%.6g" % value for value in matrix[3]),
            "Write camera_to_world row by row: where the camera stands is its fourth column.",
            input="camera",
            frame=frame,
        )
    turn = matrix[:3, :3]
    lengths = np.linalg.norm(turn, axis=0)
    if lengths.min() < 1e-9 or np.linalg.det(turn / np.maximum(lengths, 1e-9)) < 1e-3:
        raise InputError(
            "The camera's matrix mirrors space or flattens it.",
            "Export camera_to_world with x right, y up, looking along -z.",
            input="camera",
            frame=frame,
        )
    left, _, right = np.linalg.svd(turn / lengths)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = left @ right, matrix[:3, 3]
    return out


def _level(up: np.ndarray) -> np.ndarray:
    """A camera that stands level at eye height, looking along the horizontal axis nearest to +y (or -z where y is up)."""
    ahead = np.array([0.0, 1.0, 0.0]) if abs(up[1]) < 0.9 else np.array([0.0, 0.0, -1.0])
    ahead = ahead - up * (ahead @ up)
    ahead /= np.linalg.norm(ahead)
    out = np.eye(4)
    out[:3, 0], out[:3, 1], out[:3, 2], out[:3, 3] = np.cross(ahead, up), up, -ahead, up * EYE_HEIGHT
    return out
