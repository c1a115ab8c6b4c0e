# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the things stand that stand still: so that a proxy that was moved, or a camera, is captured anew without being asked.

What moves is left out: where it stands depends on the current frame, and a capture would never be found good again. Reads scenes only.
"""

from __future__ import annotations

import hashlib
from typing import Any, List

import numpy as np

MOST_POINTS = 5000
"""A mesh with more is known by its number of points alone: this is for proxies, not for sculptures."""


def standing_still(scene: Any) -> str:
    """A hash of every object that renders and is moved by nothing: its place, and its mesh or lens."""
    told = hashlib.sha256()
    for thing in sorted(scene.objects, key=lambda thing: thing.name):
        if not thing.hide_render and not _moves(thing):
            told.update(repr((thing.name, [round(v, 5) for row in thing.matrix_basis for v in row], *_make(thing))).encode())
    return told.hexdigest()


def _moves(thing: Any) -> bool:
    data = thing.data
    return bool(
        thing.animation_data
        or thing.parent
        or len(thing.constraints)
        or thing.rigid_body
        or (data is not None and getattr(data, "animation_data", None))
    )


def _make(thing: Any) -> List[Any]:
    """What it is made of."""
    if thing.type == "CAMERA":
        lens = thing.data
        return [round(v, 5) for v in (lens.lens, lens.sensor_width, lens.sensor_height, lens.shift_x, lens.shift_y)] + [lens.sensor_fit]
    if thing.type != "MESH":
        return []
    points = thing.data.vertices
    if len(points) > MOST_POINTS:
        return [len(points)]
    where = np.empty(len(points) * 3, np.float32)
    points.foreach_get("co", where)
    return [len(points), hashlib.sha256(where.tobytes()).hexdigest()]
