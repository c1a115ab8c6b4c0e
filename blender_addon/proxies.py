# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things stand, and how they are keyed: so that a proxy or camera that was moved is captured anew without being asked.

What is moved by other things (parents, constraints, drivers, simulations) is left out: where it stands depends on the current frame, and a
capture would never be found good again. A solved camera is known by its solution. Reads scenes only.
"""

from __future__ import annotations

import hashlib
from typing import Any, List, Optional

import numpy as np

from . import versions

MOST_POINTS = 5000
"""A mesh with more is known by its number of points alone: this is for proxies, not for sculptures."""
_CHANNELS = ("location", "rotation_euler", "rotation_quaternion", "scale")


def set_down(scene: Any) -> str:
    """A hash of every object that renders at any frame and is moved by nothing but its own keys: place, keys, and mesh or lens."""
    told = hashlib.sha256()
    for thing in sorted(scene.objects, key=lambda thing: thing.name):
        if renders_at_all(thing):
            place = _place(thing)
            if place is not None:
                told.update(repr((thing.name, place, _make(thing))).encode())
    return told.hexdigest()


def renders_at_all(thing: Any) -> bool:
    """Whether it renders at any frame: pieces often take the place of a whole building by keys on their visibility."""
    animation = thing.animation_data
    if not thing.hide_render:
        return True
    if animation is None:
        return False
    hides = [curve.data_path for curve in (*versions.curves(animation), *animation.drivers)]
    return "hide_render" in hides or any(len(track.strips) for track in animation.nla_tracks)


def _place(thing: Any) -> Optional[List[Any]]:
    """None where something else moves it."""
    if thing.parent or thing.rigid_body or any(constraint.type != "CAMERA_SOLVER" for constraint in thing.constraints):
        return None
    keys, lens = _keys(thing.animation_data), _keys(getattr(thing.data, "animation_data", None))
    if keys is None or lens is None:
        return None
    keyed = {(curve.data_path, curve.array_index) for curve in versions.curves(thing.animation_data)}
    free = [
        round(value, 5) for name in _CHANNELS for index, value in enumerate(getattr(thing, name)) if (name, index) not in keyed
    ]
    return [free, keys, lens, [_solution(constraint) for constraint in thing.constraints]]


def _keys(animation: Any) -> Optional[List[Any]]:
    """The keys; None where there are drivers or an edit of actions, which may give anything."""
    if animation is None:
        return []
    if len(animation.drivers) or any(len(track.strips) for track in animation.nla_tracks):
        return None
    out = []
    for curve in versions.curves(animation):
        at = np.empty(len(curve.keyframe_points) * 2, np.float32)
        curve.keyframe_points.foreach_get("co", at)
        out.append((curve.data_path, curve.array_index, hashlib.sha256(at.tobytes()).hexdigest()))
    return out


def _solution(constraint: Any) -> List[Any]:
    """Which solution a solved camera follows."""
    clip = constraint.clip
    if clip is None:
        return []
    solved = clip.tracking.reconstruction
    seen = [solved.cameras[index].matrix for index in (0, len(solved.cameras) - 1)] if len(solved.cameras) else []
    return [clip.name, clip.frame_start, [round(value, 5) for matrix in seen for row in matrix for value in row]]


def _make(thing: Any) -> List[Any]:
    """What it is made of."""
    if thing.type == "CAMERA":
        keyed = {curve.data_path for curve in versions.curves(thing.data.animation_data)}
        named = [name for name in ("lens", "sensor_width", "sensor_height", "shift_x", "shift_y") if name not in keyed]
        return [round(getattr(thing.data, name), 5) for name in named] + [thing.data.sensor_fit]
    if thing.type != "MESH":
        return []
    points = thing.data.vertices
    if len(points) > MOST_POINTS:
        return [len(points)]
    where = np.empty(len(points) * 3, np.float32)
    points.foreach_get("co", where)
    return [len(points), hashlib.sha256(where.tobytes()).hexdigest()]
