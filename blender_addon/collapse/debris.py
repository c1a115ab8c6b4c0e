# SPDX-License-Identifier: GPL-3.0-or-later
"""Chips that fly off where a building breaks: small shards, ballistic, no solver.

They start where two pieces that touched part, with the pieces' own speed, and hit nothing but the ground. Rubble between
the big pieces is what tells the eye how big they are. Knows nothing of bpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .convex import CUT, Solid, box
from .fracture import Piece


def breaks(pieces: Sequence[Piece], pairs: np.ndarray, placements: np.ndarray, *, apart: float = 0.15) -> np.ndarray:
    """For each pair (m, 2): the index of the frame in which it is first more than `apart` metres out of place; -1 if never.

    `placements`: (frames, n, 4, 4), the first at rest.
    """
    first, second = pairs.T
    spot = placements[:, :, :3, 3]
    turned = placements[:, first, :3, :3]
    # where the second piece sits, seen from the first one
    offset = np.einsum("fmij,fmi->fmj", turned, spot[:, second] - spot[:, first])
    gone = np.linalg.norm(offset - offset[0], axis=2) > apart
    return np.where(gone.any(0), gone.argmax(0), -1)


def chips(
    pieces: Sequence[Piece],
    pairs: np.ndarray,
    placements: np.ndarray,
    *,
    count: int = 300,
    fps: int = 24,
    ground: float = 0.0,
    size: tuple[float, float] = (0.15, 0.5),
    spread: float = 2.5,
    seed: int = 0,
) -> tuple[list[Piece], np.ndarray]:
    """`count` shards (fewer where less breaks) and their placements (frames, shards, 4, 4).

    `size`: smallest and largest edge in metres; small ones are many. `spread`: m/s added at random. A shard's `part` is
    the index of the piece it came from: it rides inside that piece until the break, out of sight. Deterministic.
    """
    rng = np.random.default_rng(seed)
    frames = len(placements)
    when = breaks(pieces, pairs, placements)
    events = np.flatnonzero((when > 0) & (when < frames - 2))
    events = np.sort(rng.permutation(np.repeat(events, 3))[:count])
    shards: list[Piece] = []
    paths = np.empty((frames, len(events), 4, 4))
    for number, event in enumerate(events):
        parent, other = sorted(pairs[event], key=lambda piece: -pieces[piece].volume)  # the larger one hides it better
        shard = _shard(rng, pieces[parent].centre, size)
        shards.append(Piece(shard, int(parent), shard.volume(), shard.centroid()))
        born = int(when[event]) + int(rng.integers(0, 3))
        paths[:, number] = _path(
            rng,
            shards[-1].centre,
            pieces[parent].centre,
            placements[:, parent],
            placements[:, other],
            min(born, frames - 2),
            fps,
            ground,
            spread,
        )
    return shards, paths


def _shard(rng: np.random.Generator, centre: Sequence[float], size: tuple[float, float]) -> Solid:
    edge = size[0] + (size[1] - size[0]) * rng.random() ** 3
    half = edge * np.array([0.5, 0.5 * rng.uniform(0.4, 1.0), 0.5 * rng.uniform(0.25, 0.7)])
    middle = np.asarray(centre)
    solid = box(tuple(middle - half), tuple(middle + half), CUT)
    for _ in range(3):
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        solid = solid.clip(tuple(normal), float(normal @ middle) + 0.25 * edge, CUT) or solid
    return solid


def _path(rng, centre, home, parent, other, born, fps, ground, spread) -> np.ndarray:
    path = np.empty((len(parent), 4, 4))
    ride = np.eye(4)
    ride[:3, 3] = np.subtract(centre, home)
    path[: born + 1] = parent[: born + 1] @ ride
    velocity = 0.5 * fps * (parent[born + 1, :3, 3] - parent[born, :3, 3] + other[born + 1, :3, 3] - other[born, :3, 3])
    # from between the two pieces, where it broke
    spot = 0.5 * (parent[born, :3, 3] + other[born, :3, 3]) + rng.normal(0, 0.2, 3)
    velocity = velocity + rng.normal(0, spread, 3) + [0, 0, 0.6 * spread]
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle, rate = 0.0, rng.uniform(2.0, 14.0)
    base = path[born, :3, :3]
    for frame in range(born + 1, len(path)):
        if spot[2] > ground + 0.1:
            velocity = velocity * 0.995
            velocity[2] -= 9.81 / fps
            spot = spot + velocity / fps
            angle += rate / fps
        turn = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
        path[frame] = np.eye(4)
        path[frame, :3, :3], path[frame, :3, 3] = turn @ base, np.maximum(spot, [-np.inf, -np.inf, ground])
    return path
