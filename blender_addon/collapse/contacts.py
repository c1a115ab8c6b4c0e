# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pieces touch at rest, and over how many square metres.

Exact for convex pieces: faces that look at each other across less than a gap, and the overlap of their outlines.
Knows nothing of bpy or of how strong glue is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .fracture import Piece, face_planes


def touching(pieces: Sequence[Piece], *, gap: float = 0.05, smallest: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (m, 2) of piece indices with i < j, and their contact areas (m,) in m2.

    `gap`: faces up to so many metres apart count as touching (parts drawn by eye never meet exactly).
    """
    owner, planes, outlines = [], [], []
    for number, piece in enumerate(pieces):
        for face, plane in zip(piece.solid.faces, face_planes(piece.solid)):
            owner.append(number)
            planes.append(plane)
            outlines.append(np.array(face))
    owner, planes = np.array(owner), np.array(planes)
    low = np.array([np.min(p.solid.points(), 0) for p in pieces]) - gap
    high = np.array([np.max(p.solid.points(), 0) for p in pieces]) + gap

    areas: dict[tuple[int, int], float] = {}
    for number in range(len(pieces)):
        near = (low[number] <= high).all(1) & (high[number] >= low).all(1)
        near[: number + 1] = False
        if not near.any():
            continue
        mine, theirs = np.flatnonzero(owner == number), np.flatnonzero(near[owner])
        facing = planes[mine, :3] @ planes[theirs, :3].T < -0.99
        apart = np.abs(planes[mine, 3][:, None] + planes[theirs, 3][None]) < gap
        for a, b in zip(*np.nonzero(facing & apart)):
            area = _overlap(outlines[mine[a]], outlines[theirs[b]], planes[mine[a], :3])
            if area > 0.0:
                key = (number, int(owner[theirs[b]]))
                areas[key] = areas.get(key, 0.0) + area
    kept = sorted((pair, area) for pair, area in areas.items() if area >= smallest)
    pairs = np.array([pair for pair, _ in kept], int).reshape(-1, 2)
    return pairs, np.array([area for _, area in kept])


def _overlap(mine: np.ndarray, theirs: np.ndarray, normal: np.ndarray) -> float:
    """Area in which two convex outlines overlap, seen along `normal`: one is clipped by the other's edges."""
    u = np.cross(normal, [1.0, 0, 0] if abs(normal[0]) < 0.6 else [0, 1.0, 0])
    u /= np.linalg.norm(u)
    axes = np.stack([u, np.cross(normal, u)])
    window = [tuple(p) for p in mine @ axes.T]
    subject = [tuple(p) for p in (theirs @ axes.T)[::-1]]  # it looks the other way: turn it
    for (ax, ay), (bx, by) in zip(window, window[1:] + window[:1]):
        ex, ey = bx - ax, by - ay
        kept = []
        for (px, py), (qx, qy) in zip(subject, subject[-1:] + subject[:-1]):
            hp = ex * (py - ay) - ey * (px - ax)
            hq = ex * (qy - ay) - ey * (qx - ax)
            if (hp >= 0.0) != (hq >= 0.0):
                t = hp / (hp - hq)
                kept.append((px + t * (qx - px), py + t * (qy - py)))
            if hp >= 0.0:
                kept.append((px, py))
        subject = kept
        if len(subject) < 3:
            return 0.0
    return 0.5 * abs(sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(subject, subject[1:] + subject[:1])))
