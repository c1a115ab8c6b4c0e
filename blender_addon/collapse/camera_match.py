# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera that took a still: from lines the artist drew, or by least squares on known points.

Plain numpy on pixels and metres; knows nothing of bpy, pieces or plates.
Pixels: x right, y down, (0, 0) the top left corner of the picture. World: z up, metres.
Camera: x right, y up, looking along -z (Blender's own), square pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. `rotation`: (3, 3), columns are the camera's axes in the world."""

    width: int
    height: int
    focal_px: float
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    position: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @property
    def camera_to_world(self) -> np.ndarray:
        """(4, 4) float64: Blender's `matrix_world` of the camera object."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.position
        return matrix

    def focal_mm(self, sensor_width_mm: float = 36.0) -> float:
        """Focal length for a horizontal sensor fit."""
        return self.focal_px * sensor_width_mm / self.width

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (n, 3) in metres -> pixels (n, 2), and depth (n,) along the axis in metres (> 0 in front)."""
        local = (np.asarray(points, float) - self.position) @ self.rotation
        depth = -local[:, 2]
        x = self.width / 2 + self.focal_px * local[:, 0] / depth
        y = self.height / 2 - self.focal_px * local[:, 1] / depth
        return np.stack([x, y], 1), depth

    def unproject(self, pixels: np.ndarray, depth: np.ndarray | float) -> np.ndarray:
        """Pixels (n, 2) at `depth` metres along the axis -> world points (n, 3)."""
        pixels = np.asarray(pixels, float)
        local = (
            np.stack(
                [
                    (pixels[:, 0] - self.width / 2) / self.focal_px,
                    (self.height / 2 - pixels[:, 1]) / self.focal_px,
                    -np.ones(len(pixels)),
                ],
                1,
            )
            * np.broadcast_to(np.asarray(depth, float), (len(pixels),))[:, None]
        )
        return local @ self.rotation.T + self.position


def level_rotation(pitch: float, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Camera axes (3, 3) for radians; all zero looks along world +y. Pitch > 0 looks up, yaw > 0 turns left."""
    cp, sp, cy, sy, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    ahead = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # Blender's camera turned to look along +y, z up
    lift = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    bank = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return turn @ lift @ ahead @ bank


def vanishing_point(lines: np.ndarray) -> np.ndarray:
    """Where segments meet, least squares. `lines`: (n >= 2, 2, 2) pixels -> homogeneous point (3,)."""
    lines = np.asarray(lines, float)
    if lines.ndim != 3 or lines.shape[0] < 2 or lines.shape[1:] != (2, 2):
        raise ValueError("A vanishing point needs at least two lines of two points each: draw one more along the same edge direction.")
    centre, scale = lines.reshape(-1, 2).mean(0), np.ptp(lines.reshape(-1, 2)) or 1.0
    ends = np.concatenate([(lines - centre) / scale, np.ones((len(lines), 2, 1))], 2)
    normals = np.cross(ends[:, 0], ends[:, 1])
    length = np.linalg.norm(normals, axis=1)
    if length.min() == 0:
        raise ValueError("A line for the camera match has two equal ends: draw it again.")
    point = np.linalg.svd(normals)[2][-1]
    return np.array([point[0] * scale + centre[0] * point[2], point[1] * scale + centre[1] * point[2], point[2]])


def from_vanishing_lines(lines_x: np.ndarray, lines_y: np.ndarray, width: int, height: int) -> Camera:
    """Focal length and rotation from two sets of lines that run along the world's x and y.

    Caprile and Torre 1990, with the principal point in the picture's centre. Position is left at the origin: a scale
    and an origin are the artist's to give. The signs are chosen so that z is up in the picture and x runs to the right.
    Raises ValueError where the lines do not give a camera (parallel in the picture, or not at right angles).
    """
    centre = np.array([width / 2, height / 2])
    vanish = []
    for name, lines in (("x", lines_x), ("y", lines_y)):
        point = vanishing_point(lines)
        if abs(point[2]) < 1e-9 * np.abs(point[:2]).max():
            raise ValueError(f"The lines along {name} are parallel in the picture: pick a direction that recedes, or give the lens.")
        vanish.append(point[:2] / point[2] - centre)
    squared = -float(vanish[0] @ vanish[1])
    if squared <= 0:
        raise ValueError("The two line directions cannot be at right angles in space: check that each set follows one direction.")
    focal = squared**0.5
    axes = []
    for point in vanish:
        axis = np.array([point[0], -point[1], -focal])
        axes.append(axis / np.linalg.norm(axis))
    x_axis, y_axis = axes
    if x_axis[0] < 0:
        x_axis = -x_axis
    z_axis = np.cross(x_axis, y_axis)
    if z_axis[1] < 0:
        y_axis, z_axis = -y_axis, -z_axis
    # rows: the world's axes seen from the camera; so as a matrix it takes camera to world
    return Camera(width, height, focal, np.stack([x_axis, y_axis, z_axis]))


def least_squares(
    residual: Callable[[np.ndarray], np.ndarray], start: np.ndarray, *, steps: int = 60, damping: float = 1e-3
) -> tuple[np.ndarray, float]:
    """Levenberg-Marquardt with numeric derivatives, for tens of unknowns. Returns the solution and its RMS residual.

    `residual` maps unknowns (n,) to differences (m >= n,), in pixels or weighted to be like pixels. With it a camera and
    the simple solid it looks at are found together, where a picture has corners but no useful lines.
    """
    x = np.array(start, float)
    r = np.asarray(residual(x), float)
    if r.size < x.size:
        raise ValueError(f"The camera match has {x.size} unknowns but only {r.size} measurements: mark more points.")
    for _ in range(steps):
        jac = np.empty((r.size, x.size))
        for i in range(x.size):
            h = 1e-6 * max(1.0, abs(x[i]))
            moved = x.copy()
            moved[i] += h
            jac[:, i] = (residual(moved) - r) / h
        normal, slope = jac.T @ jac, jac.T @ r
        for _ in range(12):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -slope)
            tried = np.asarray(residual(x + step), float)
            if tried @ tried < r @ r:
                x, r, damping = x + step, tried, damping * 0.3
                break
            damping *= 4.0
        else:
            break
        if np.abs(step).max() < 1e-9 * max(1.0, np.abs(x).max()):
            break
    return x, float(np.sqrt(r @ r / r.size))
