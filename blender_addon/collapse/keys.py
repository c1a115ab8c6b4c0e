# SPDX-License-Identifier: GPL-3.0-or-later
"""Placements -> keyframes, written straight into F-curves.

One place that knows Blender's layered actions: the same calls serve 4.5 and 5.x, and `action.fcurves` does not.
Knows nothing of where placements come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

MOVED = "moved"
"""Custom property of a piece: 0 while it stands at rest, 1 from the first frame in which it does not, 2 once it has gone
so far that the plate's outline is its own no more."""


def curves_for(block: bpy.types.ID) -> tuple[bpy.types.ActionChannelbag, bpy.types.Action]:
    """A fresh action on the object, and the channel bag its curves go into."""
    action = bpy.data.actions.new(block.name)
    slot = action.slots.new("OBJECT", block.name)
    bag = action.layers.new("keys").strips.new(type="KEYFRAME").channelbag(slot, ensure=True)
    data = block.animation_data_create()
    data.action = action
    data.action_slot = slot  # without the slot 4.5 plays nothing, and says nothing
    return bag, action


def write_curve(bag, path: str, index: int, frames: Sequence[float], values: Sequence[float], interpolation: str) -> None:
    """One F-curve with its keys. `interpolation`: CONSTANT or LINEAR."""
    curve = bag.fcurves.new(path, index=index)
    curve.keyframe_points.add(len(frames))
    curve.keyframe_points.foreach_set("co", np.stack([frames, values], 1).astype(np.float32).ravel())
    kind = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items[interpolation].value
    curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), kind, np.int32))
    curve.update()


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) -> (n, 4) w x y z, each on the same side as the one before, so that keys never spin round.

    Shepperd 1978: divide by the largest of the four.
    """
    m = np.asarray(matrices, float)
    trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    squares = np.stack([trace, m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], 1)
    largest = squares.argmax(1)
    q = np.empty((len(m), 4))
    for n, big in enumerate(largest):
        r = m[n]
        if big == 0:
            q[n] = (1 + trace[n], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
        else:
            i, j, k = big - 1, big % 3, (big + 1) % 3
            q[n, 0] = r[k, j] - r[j, k]
            q[n, 1 + i] = 1 + r[i, i] - r[j, j] - r[k, k]
            q[n, 1 + j] = r[j, i] + r[i, j]
            q[n, 1 + k] = r[k, i] + r[i, k]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    for n in range(1, len(q)):
        if q[n] @ q[n - 1] < 0:
            q[n] = -q[n]
    return q


def bake(
    objects: Sequence[bpy.types.Object], placements: np.ndarray, frames: Sequence[int], *, still: float = 1e-5, far: float = 1.2
) -> np.ndarray:
    """Key every object at `frames` to placements (len(frames), n, 4, 4); linear between frames.

    A piece within `still` metres of its first placement is put exactly there, and has `moved` 0: what has not moved must
    render as if nothing had ever been simulated. It counts as far (`moved` 2) at `far` metres or 15 degrees. Returns for
    each piece the index of its first moved frame (len(frames) where it never moves).
    """
    count = len(frames)
    if placements.shape != (count, len(objects), 4, 4):
        raise ValueError(
            f"{len(objects)} objects over {count} frames need placements of shape {(count, len(objects), 4, 4)}, not {placements.shape}."
        )
    first_moved = np.full(len(objects), count)
    for n, block in enumerate(objects):
        track = placements[:, n]
        away = np.abs(track - track[0]).max((1, 2)) > still
        first = int(away.argmax()) if away.any() else count
        first_moved[n] = first
        spots, turns = track[:, :3, 3].copy(), quaternions(track[:, :3, :3])
        spots[:first], turns[:first] = spots[0], turns[0]
        block.rotation_mode = "QUATERNION"
        block.location, block.rotation_quaternion = spots[0], turns[0]
        block[MOVED] = 0.0
        if first == count:
            continue
        bag, _ = curves_for(block)
        used = slice(max(first - 1, 0), count)  # one key at rest, then every frame
        times = list(frames)[used]
        for axis in range(3):
            write_curve(bag, "location", axis, times, spots[used, axis], "LINEAR")
        for axis in range(4):
            write_curve(bag, "rotation_quaternion", axis, times, turns[used, axis], "LINEAR")
        distance = np.linalg.norm(track[:, :3, 3] - track[0, :3, 3], axis=1)
        gone = (distance > far) | (np.abs(turns @ turns[0]) < np.cos(np.radians(7.5)))
        state = np.maximum.accumulate(away.astype(float) + gone)
        changes = np.flatnonzero(np.diff(state, prepend=-1.0))
        write_curve(bag, f'["{MOVED}"]', 0, [frames[i] for i in changes], state[changes], "CONSTANT")
    return first_moved
