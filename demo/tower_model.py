# SPDX-License-Identifier: GPL-3.0-or-later
"""The tower of china.jpg as solids in metres: marks on the picture -> camera, rings, slabs, pieces.

What a person did by eye on this one photograph lives here: the marks, the storeys' sections, what counts as front.
Knows nothing of mattes, simulation or rendering. World: z up, 0 at the foot of the tower, metres; the tower stands
60 m from the camera (that makes it 41 m high, which is what the real one is); the camera looks along +y.
"""

from __future__ import annotations

import math

import numpy as np

from blender_addon.collapse import camera_match, convex
from blender_addon.collapse.convex import INNER, OUTLINE, SKIN, Solid
from blender_addon.collapse.fracture import Piece, fracture

WIDTH, HEIGHT = 640, 427
DISTANCE = 60.0
EYE = 22.5
"""Height of the camera above the tower's foot, which trees hide: a guess that puts the foot at the picture's bottom."""

HORIZON = 203.5
# corners of level octagons as marked in the picture, from the left: silhouette, two in front, silhouette
_MARKS = {
    "upper ledge": [(93.5, 232), (181, 235.5), (289, 232.5), (328, 227)],
    "lower ledge": [(73, 331), (176, 344), (308, 333), (348, 308)],
    "eaves 1": [(97, 112), (180, 107), (281, 109), (320, 120)],
    "eaves 2": [(84, 176), (181, 174), (288, 175), (330, 176)],
    "eaves 3": [(62, 268), (176, 270), (307, 266), (352, 256)],
    "eaves 4": [None, None, (330, 373), (372, 334)],
}
# storeys from the top: name, section (corner radius, height above the eye) counter-clockwise, tags of its edges,
# pieces for a side that the camera sees, and for one that it does not
_S, _I = SKIN, INNER
# fmt: off
_RINGS = [
    ("roof a", [(3.6, 12.2), (4.2, 12.6), (1.5, 14.9), (1.0, 14.9)], [_I, _S, _I, _I], 2, 1),
    ("roof b", [(6.3, 10.5), (6.9, 11.0), (4.2, 12.6), (3.6, 12.2)], [_I, _S, _I, _I], 4, 1),
    ("roof c", [(9.0, 9.3), (9.6, 9.8), (6.9, 11.0), (6.3, 10.5)], [_I, _S, _I, _I], 6, 1),
    ("roof d", [(12.3, 8.2), (12.3, 8.7), (9.6, 9.8), (9.0, 9.3)], [_S, _S, _I, _I], 6, 1),
    ("eaves 1", [(8.5, 6.0), (9.2, 6.0), (12.3, 7.1), (12.3, 8.2), (8.5, 9.45)], [_I, _S, _S, _I, _I], 7, 2),
    ("wall 1", [(8.6, 3.9), (9.2, 3.9), (9.2, 6.0), (8.6, 6.0)], [_I, _S, _I, _I], 7, 1),
    ("eaves 2", [(9.2, 3.4), (10.8, 0.9), (11.5, 0.9), (13.1, 1.5), (13.1, 2.9), (9.2, 4.8)], [_I, _I, _S, _S, _S, _I], 9, 2),
    ("gallery 2", [(10.8, -2.9), (11.5, -2.9), (11.5, 0.9), (10.8, 0.9)], [_I, _S, _I, _I], 11, 2),
    ("ledge 2", [(10.2, -4.0), (12.4, -4.56), (12.4, -2.6), (10.2, -2.6)], [_I, _S, _S, _I], 6, 1),
    ("eaves 3", [(9.8, -5.4), (12.5, -7.9), (13.3, -7.9), (15.3, -7.3), (15.3, -5.3), (9.8, -3.9)], [_I, _I, _S, _S, _S, _I], 10, 2),
    ("gallery 3", [(12.5, -11.4), (13.3, -11.4), (13.3, -7.9), (12.5, -7.9)], [_I, _S, _I, _I], 12, 2),
    ("ledge 3", [(11.6, -12.5), (14.5, -12.83), (14.5, -11.0), (11.6, -11.0)], [_I, _S, _S, _I], 6, 1),
    ("eaves 4", [(11.6, -14.4), (14.3, -16.8), (15.2, -16.8), (17.8, -16.2), (17.8, -13.2), (11.6, -12.5)], [_I, _I, _S, _S, _S, _I], 9, 2),
    ("gallery 4", [(14.3, -22.5), (15.2, -22.5), (15.2, -16.8), (14.3, -16.8)], [_I, _S, _I, _I], 4, 2),
    # what the plate never showed: it holds the storeys up, and is seen when the outside breaks
    ("core 2", [(7.6, -2.9), (8.2, -2.9), (8.2, 3.45), (7.6, 3.45)], [_I] * 4, 2, 1),
    ("core 3", [(8.2, -11.4), (8.9, -11.4), (8.9, -3.3), (8.2, -3.3)], [_I] * 4, 2, 1),
    ("core 4", [(8.6, -22.5), (9.4, -22.5), (9.4, -11.8), (8.6, -11.8)], [_I] * 4, 2, 1),
]
# fmt: on
# floors: name, corner radius, bottom, top (above the eye), pieces
_FLOORS = [
    ("floor 1", 9.2, 3.45, 3.9, 10),
    ("floor 2", 10.2, -3.3, -2.9, 14),
    ("floor 3", 11.6, -11.8, -11.4, 14),
    ("ceiling", 8.6, 5.6, 6.0, 8),
    ("attic", 8.5, 6.0, 9.3, 12),  # timber under the roof, as one block: without it the roof slides into its own ring
    ("attic", 6.1, 9.3, 10.4, 5),
]
# ridges that turn up at the corners of the eaves: inner radius and height, outer radius and height, top at the tip
_HORNS = [
    (9.0, 10.0, 12.4, 8.65, 10.0),
    (10.5, 4.3, 13.2, 2.85, 3.8),
    (12.6, -4.75, 15.4, -5.35, -4.4),
    (14.5, -12.95, 17.9, -13.25, -12.6),
]
# the finial: corner radius, bottom, top
_FINIAL = [(1.55, 14.9, 16.3), (1.25, 16.3, 18.1)]


class Tower:
    """Camera, parts and pieces. `storey[i]`: name of the ring or floor that piece i was cut from."""

    def __init__(self, *, seed: int = 3, detail: float = 1.0) -> None:
        self.camera, self.axis, self.turn, self.residual = _match()
        parts, names, counts = _parts(self, detail)
        self.pieces: list[Piece] = fracture(parts, counts, seed=seed, smallest=0.02)
        self.storey = [names[p.part] for p in self.pieces]


def _match() -> tuple[camera_match.Camera, tuple[float, float], float, float]:
    """Camera and octagons by least squares on the marks: focal length, horizon row, the tower's side and turn, and each
    ring's radius and height. Returns camera, the axis on the ground, the turn of the corners, and the residual in pixels."""
    names = list(_MARKS)

    def camera(x: np.ndarray) -> camera_match.Camera:
        focal = x[0] * 100
        pitch = -math.atan((HEIGHT / 2 - x[1]) / focal)
        return camera_match.Camera(WIDTH, HEIGHT, focal, camera_match.level_rotation(pitch), np.array([0, 0, EYE]))

    def residual(x: np.ndarray) -> np.ndarray:
        view, away = camera(x), []
        for i, name in enumerate(names):
            angle = x[2] + (np.arange(4) - 1) * math.pi / 4
            radius, height = x[4 + 2 * i] * 10, x[5 + 2 * i] * 10
            corners = np.stack([x[3] * DISTANCE + radius * np.sin(angle), DISTANCE - radius * np.cos(angle), np.full(4, height + EYE)], 1)
            for pixel, mark in zip(view.project(corners)[0], _MARKS[name]):
                if mark is not None:
                    away.append(pixel - mark)
        # weak knowledge keeps the lens from running off: haze hides the true horizon, and stills have such lenses
        return np.append(np.concatenate(away), [x[1] - HORIZON, (x[0] * 100 - 570) / 60])

    start = [5.7, HORIZON, 0.0, -0.19]
    for name in names:
        row = np.mean([mark[1] for mark in _MARKS[name] if mark])
        start += [1.2, (HORIZON - row) / 570 * DISTANCE / 10]
    x, rms = camera_match.least_squares(residual, np.array(start))
    # the marks count corners from the camera's side (-y); the solids count them from +x
    return camera(x), (x[3] * DISTANCE, DISTANCE), x[2] - math.pi / 2, rms


def _parts(tower: Tower, detail: float) -> tuple[list[Solid], list[str], list[int]]:
    parts: list[Solid] = []
    names: list[str] = []
    counts: list[int] = []
    for name, section, tags, seen, unseen in _RINGS:
        # one corner back, so that sides 0, 1 and 2 are those the camera sees
        sides = convex.ring([(r, z + EYE) for r, z in section], tags, tower.axis, tower.turn - math.pi / 4)
        for number, solid in enumerate(sides):
            parts.append(solid)
            names.append(name)
            facing = seen if number in (0, 1) else 0.65 * seen if number == 2 else unseen
            counts.append(max(1, round(facing * detail)))
    for name, radius, low, high, count in _FLOORS:
        parts.append(_drum(tower, radius, low, high, INNER))
        names.append(name)
        counts.append(max(1, round(count * detail)))
    for (inner, start, outer, low, high), under in zip(_HORNS, ("roof d", "eaves 2", "eaves 3", "eaves 4")):
        for corner in range(8):
            parts.append(_horn(tower, corner, inner, start, outer, low, high))
            names.append(under)
            counts.append(1)
    for radius, low, high in _FINIAL:
        parts.append(_drum(tower, radius, low, high, OUTLINE))
        names.append("finial")
        counts.append(1)
    return parts, names, counts


def _horn(tower: Tower, corner: int, inner: float, start: float, outer: float, low: float, high: float) -> Solid:
    """A wedge along the ridge of one corner, 0.7 m wide."""
    a = tower.turn + corner * math.pi / 4
    along, aside = (math.cos(a), math.sin(a)), (-math.sin(a) * 0.35, math.cos(a) * 0.35)
    profile = [(inner, start), (outer, low), (outer, high)]
    ends = [
        [(tower.axis[0] + r * along[0] + k * aside[0], tower.axis[1] + r * along[1] + k * aside[1], z + EYE) for r, z in profile]
        for k in (1, -1)
    ]
    return convex.prism(ends[0], ends[1], OUTLINE, (OUTLINE, OUTLINE))


def _drum(tower: Tower, radius: float, low: float, high: float, tag: int) -> Solid:
    outline = [
        (tower.axis[0] + radius * math.cos(tower.turn + k * math.pi / 4), tower.axis[1] + radius * math.sin(tower.turn + k * math.pi / 4))
        for k in range(8)
    ]
    return convex.prism([(x, y, low + EYE) for x, y in outline], [(x, y, high + EYE) for x, y in outline], tag, (tag, tag))


__all__ = ["DISTANCE", "EYE", "HEIGHT", "HORIZON", "WIDTH", "Tower"]
