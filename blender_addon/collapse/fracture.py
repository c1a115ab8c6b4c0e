# SPDX-License-Identifier: GPL-3.0-or-later
"""Solids into pieces: Voronoi cells of seeds inside each solid, cut by half-spaces.

Each convex part has its own seeds, so the count is what was asked for and every piece is convex: its convex hull is its
exact collision shape. Knows nothing of bpy; decides nothing about what falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .convex import CUT, Point, Solid


@dataclass
class Piece:
    """One shard. `part`: index of the solid it was cut from. `volume` in m3, `centre` in metres (world, at rest)."""

    solid: Solid
    part: int
    volume: float
    centre: Point


def fracture(parts: Sequence[Solid], counts: Sequence[int], *, seed: int = 0, smallest: float = 1e-4) -> list[Piece]:
    """Cut every part into about `counts[i]` pieces.

    Pieces under `smallest` m3 are not made: their cell's seed is left out and the neighbours grow over it, so that volume
    is kept and no hole opens. The same seed gives the same pieces.
    """
    if len(parts) != len(counts):
        raise ValueError(f"{len(parts)} parts but {len(counts)} piece counts: give one count for each part.")
    rng = np.random.default_rng(seed)
    pieces = []
    for number, (part, count) in enumerate(zip(parts, counts)):
        if part.volume() <= smallest:
            raise ValueError(f"Part {number} of the building is flat or inside out: its volume is {part.volume():.3g} m3.")
        seeds = seeds_inside(part, max(1, int(count)), rng)
        while True:
            cells = [cell(part, seeds, i) for i in range(len(seeds))]
            keep = [i for i, c in enumerate(cells) if c is not None and c.volume() >= smallest]
            if len(keep) == len(cells) or not keep:
                break
            seeds = seeds[keep]
        for c in cells if keep else [part]:
            pieces.append(Piece(c, number, c.volume(), c.centroid()))
    return pieces


def seeds_inside(part: Solid, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` points (n, 3) in the solid, drawn apart from each other so that shards are of like size, never regular.

    Best of six candidates each (Mitchell 1991); a count of one gives the centroid, so that the part stays whole.
    """
    if count == 1:
        return np.array([part.centroid()])
    corners = np.array(part.points())
    low, high = corners.min(0), corners.max(0)
    planes = np.array([_plane(face) for face in part.faces])
    chosen = np.empty((0, 3))
    while len(chosen) < count:
        tries = rng.uniform(low, high, (256, 3))
        tries = tries[(tries @ planes[:, :3].T <= planes[:, 3]).all(1)]
        while len(tries) >= 6 and len(chosen) < count:
            some, tries = tries[:6], tries[6:]
            if len(chosen):
                far = np.linalg.norm(some[:, None] - chosen[None], axis=2).min(1)
                some = some[[int(far.argmax())]]
            chosen = np.concatenate([chosen, some[:1]])
    return chosen


def cell(part: Solid, seeds: np.ndarray, index: int) -> Solid | None:
    """The part of the solid that is nearer to seed `index` than to any other. None where nothing is."""
    here = seeds[index]
    away = seeds - here
    distance = np.linalg.norm(away, axis=1)
    rest: Solid | None = part
    for other in np.argsort(distance)[1:]:
        # a bisector farther off than the farthest corner left cannot cut any more, nor can those after it
        reach = max((p[0] - here[0]) ** 2 + (p[1] - here[1]) ** 2 + (p[2] - here[2]) ** 2 for p in rest.points())
        if distance[other] ** 2 / 4.0 > reach:
            break
        normal = away[other] / distance[other]
        offset = float(normal @ (seeds[other] + here)) / 2.0
        rest = rest.clip((float(normal[0]), float(normal[1]), float(normal[2])), offset, CUT)
        if rest is None:
            return None
    return rest


def _plane(face: list[Point]) -> np.ndarray:
    """(4,): outward unit normal by Newell's sum, and offset."""
    p = np.array(face, float)
    normal = np.cross(p, np.roll(p, -1, 0)).sum(0)
    normal /= np.linalg.norm(normal)
    return np.append(normal, normal @ p.mean(0))


def face_planes(solid: Solid) -> np.ndarray:
    """(faces, 4): outward unit normal and offset of every face."""
    return np.array([_plane(face) for face in solid.faces])
