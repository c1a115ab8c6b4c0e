# SPDX-License-Identifier: GPL-3.0-or-later
"""The brick house of the shot `bricks`: parts, pieces, and how it comes down. Knows nothing of light, street or camera.

Local axes: x along the front, y into the house, z up; the origin is the front's left corner on the ground. Metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from blender_addon.collapse import bodies, convex
from blender_addon.collapse.contacts import touching
from blender_addon.collapse.convex import CUT, INNER, SKIN, Solid
from blender_addon.collapse.fracture import Piece, fracture

WIDTH, DEPTH, STOREY, STOREYS = 12.0, 8.4, 3.3, 3
WALL, SLAB = 0.42, 0.3
SILL, HEAD = 0.95, 2.55
"""Lower and upper edge of a window above its floor."""
PARAPET = 0.8
TURN = math.radians(-24.0)
PLACE = (-3.4, 25.0)
"""How the house stands in the world: turned about z, and where its front left corner is."""
PAVEMENT = 0.14
"""Height of the pavement that it stands on."""


@dataclass
class House:
    """`stuff[i]`: brick, concrete, plaster or glass, of piece i; `storey[i]`: 0 at the street."""

    pieces: list[Piece]
    stuff: list[str]
    storey: np.ndarray


def axes() -> tuple[np.ndarray, np.ndarray]:
    """World directions (3,) of the house's x and y."""
    return np.array([math.cos(TURN), math.sin(TURN), 0.0]), np.array([-math.sin(TURN), math.cos(TURN), 0.0])


def house(seed: int = 11) -> House:
    """Cut the house into several hundred pieces. Deterministic."""
    parts: list[tuple[Solid, str, int, int]] = []
    for storey in range(STOREYS):
        floor = storey * STOREY
        # two sides are seen and two are not: those get half the pieces
        _wall(parts, storey, "x", 0.0, WIDTH, 0.0, floor, windows=5, fine=1.0)
        _wall(parts, storey, "y", WALL, DEPTH - WALL, 0.0, floor, windows=3, fine=0.9)
        _wall(parts, storey, "x", 0.0, WIDTH, DEPTH - WALL, floor, windows=3, fine=0.45)
        _wall(parts, storey, "y", WALL, DEPTH - WALL, WIDTH - WALL, floor, windows=2, fine=0.6)
        top = floor + STOREY
        parts.append((_box((-0.06, -0.06, top - SLAB), (WIDTH + 0.06, DEPTH + 0.06, top), (INNER, INNER)), "concrete", storey, 34))
        middle = WIDTH * 0.52
        parts.append((_box((middle, WALL, floor), (middle + 0.2, DEPTH - WALL, top - SLAB), (INNER, INNER), INNER), "plaster", storey, 7))
    roof = STOREYS * STOREY
    for low, high, count in (
        ((0, 0), (WIDTH, WALL), 11),
        ((0, WALL), (WALL, DEPTH - WALL), 7),
        ((0, DEPTH - WALL), (WIDTH, DEPTH), 5),
        ((WIDTH - WALL, WALL), (WIDTH, DEPTH - WALL), 4),
    ):
        parts.append((_box((*low, roof), (*high, roof + PARAPET)), "brick", STOREYS, count))
        lip = [(low[i] - 0.1, high[i] + 0.1) for i in (0, 1)]
        if low[0] == 0 and high[0] == WIDTH:  # the coping's corners belong to front and back
            parts.append(
                (
                    _box((lip[0][0], lip[1][0], roof + PARAPET), (lip[0][1], lip[1][1], roof + PARAPET + 0.16)),
                    "concrete",
                    STOREYS,
                    count // 2,
                )
            )
        else:
            parts.append(
                (
                    _box((lip[0][0], low[1] + 0.1, roof + PARAPET), (lip[0][1], high[1] - 0.1, roof + PARAPET + 0.16)),
                    "concrete",
                    STOREYS,
                    count // 2,
                )
            )
    pieces = fracture([_placed(solid) for solid, _, _, _ in parts], [count for _, _, _, count in parts], seed=seed, smallest=0.003)
    return House(pieces, [parts[p.part][1] for p in pieces], np.array([parts[p.part][2] for p in pieces]))


def _box(low, high, ends: tuple[int, int] = (SKIN, SKIN), side: int = SKIN) -> Solid:
    solid = convex.box(low, high, side)
    solid.tags[-2:] = ends
    return solid


def _placed(solid: Solid) -> Solid:
    along, into = axes()
    return Solid(
        [[tuple(float(v) for v in along * x + into * y + [PLACE[0], PLACE[1], z + PAVEMENT]) for x, y, z in face] for face in solid.faces],
        solid.tags,
    )


def _wall(parts: list, storey: int, axis: str, start: float, end: float, across: float, floor: float, *, windows: int, fine: float) -> None:
    """One storey of one wall: piers between windows, brickwork under and over them, a pane in each."""
    top = floor + STOREY - SLAB
    pitch = (end - start) / windows
    half = min(0.62, 0.32 * pitch) if storey or axis == "y" else 0.8
    sill = SILL if storey or axis == "y" else 0.45
    outer_low = across < 1.0

    def add(
        a: float, b: float, low: float, high: float, count: float, stuff: str = "brick", inset: float = 0.0, thick: float = WALL
    ) -> None:
        near = across + (inset if outer_low else WALL - inset - thick)
        corners = ((a, near, low), (b, near + thick, high)) if axis == "x" else ((near, a, low), (near + thick, b, high))
        solid = convex.box(*corners)
        # convex.box: sides -y, +x, +y, -x, then bottom and top
        inside = {("x", True): 2, ("x", False): 0, ("y", True): 1, ("y", False): 3}[axis, outer_low]
        solid.tags[inside] = INNER
        parts.append((solid, stuff, storey, max(1, round(count * fine))))

    edge = start
    for number in range(windows):
        centre = start + (number + 0.5) * pitch
        left, right = centre - half, centre + half
        add(edge, left, floor, floor + HEAD, 5)
        add(left, right, floor, floor + sill, 3 if sill > 0.6 else 2)
        add(left - 0.1, right + 0.1, floor + HEAD, floor + HEAD + 0.22, 1, "concrete")
        add(left, right, floor + sill, floor + HEAD, 3, "glass", inset=0.16, thick=0.05)
        edge = right
    add(edge, end, floor, floor + HEAD, 5)
    joints = [start, *(start + n * pitch for n in range(1, windows)), end]
    for a, b in zip(joints, joints[1:]):
        add(a, b, floor + HEAD + 0.22, top, 3)
        # beside the lintel
        centre = (a + b) / 2
        add(a, centre - half - 0.1, floor + HEAD, floor + HEAD + 0.22, 1)
        add(centre + half + 0.1, b, floor + HEAD, floor + HEAD + 0.22, 1)


def direct(home: House, cue: int, seed: int = 4) -> bodies.Plan:
    """The street corner at the front left gives way; the house leans over it, breaks floor by floor and comes down.

    `cue`: the simulated frame in which the first piece is let go.
    """
    rng = np.random.default_rng(seed)
    centres = np.array([p.centre for p in home.pieces])
    stuff = np.array(home.stuff)
    along, into = axes()
    local = np.stack([(centres - [*PLACE, 0]) @ along, (centres - [*PLACE, 0]) @ into, centres[:, 2]], 1)
    count = len(centres)
    # 0 at the corner that fails first, 1 at the far one
    away = np.clip(np.hypot(local[:, 0] / WIDTH, local[:, 1] / DEPTH) / 1.3, 0, 1)
    foot = (home.storey == 0) & (local[:, 2] < STOREY - SLAB)
    failing = foot & (away < 0.62)
    release = np.full(count, cue + 4)
    release[foot] = cue + np.round(away[foot] * 7).astype(int)
    velocity, spin = np.zeros((count, 3)), np.zeros((count, 3))
    outward = centres[:, :2] - (centres[:, :2].mean(0) + 1.0 * (along + into)[:2])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    velocity[foot, :2] = outward[foot] * rng.uniform(2.0, 5.5, (foot.sum(), 1)) * (1.25 - away[foot])[:, None]
    spin[foot] = rng.normal(0, 1.2, (foot.sum(), 3))
    velocity[~foot, 2] = -1.5 * (1.2 - away[~foot])

    pairs, area = touching(home.pieces, gap=0.02, smallest=0.002)
    first, second = pairs.T
    strength = 1.3e3 * np.exp(rng.normal(0, 0.8, len(pairs))) * area
    for loose, factor in ((failing, 0.02), (foot, 0.1), (stuff == "glass", 0.3), (stuff == "concrete", 2.5)):
        strength *= np.where(loose[first] | loose[second], factor, 1.0)
    return bodies.Plan(release, velocity, spin, pairs, strength)


__all__ = ["CUT", "House", "axes", "direct", "house"]
