# SPDX-License-Identifier: GPL-3.0-or-later
"""Convex solids, and their cut by a plane.

Plain Python floats: for polyhedra of a dozen faces that is faster than numpy, and exact enough that volumes add up to
1e-9. Knows nothing of bpy, seeds or materials; a face carries a tag, and that is all it knows about its surface.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float, float]

SKIN, CUT, INNER, OUTLINE = 0, 1, 2, -1
"""Face tags: seen in the plate; opened by the fracture; the side of a wall or slab that the plate never showed; skin of
a solid far bigger than the thin thing it carries (a finial, a ridge's end), which the plate's matte trims for ever."""

_ON_PLANE = 1e-7


@dataclass
class Solid:
    """A closed convex polyhedron. `faces`: corner points, counter-clockwise seen from outside, metres. `tags`: one a face."""

    faces: list[list[Point]]
    tags: list[int]

    def volume(self) -> float:
        """Cubic metres (divergence theorem about the first corner)."""
        return self._moments()[0]

    def centroid(self) -> Point:
        """Centre of mass of the filled solid: where a rigid body's origin must be."""
        volume, cx, cy, cz = self._moments()
        if volume <= 0.0:
            raise ValueError("A piece has no volume, so it has no centre: drop pieces below the smallest volume first.")
        ox, oy, oz = self.faces[0][0]
        return (ox + cx / volume, oy + cy / volume, oz + cz / volume)

    def _moments(self) -> tuple[float, float, float, float]:
        ox, oy, oz = self.faces[0][0]
        total = mx = my = mz = 0.0
        for face in self.faces:
            ax, ay, az = face[0][0] - ox, face[0][1] - oy, face[0][2] - oz
            for p, q in zip(face[1:], face[2:]):
                bx, by, bz = p[0] - ox, p[1] - oy, p[2] - oz
                cx, cy, cz = q[0] - ox, q[1] - oy, q[2] - oz
                v = (ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)) / 6.0
                total += v
                mx += v * (ax + bx + cx) / 4.0
                my += v * (ay + by + cy) / 4.0
                mz += v * (az + bz + cz) / 4.0
        return total, mx, my, mz

    def points(self) -> list[Point]:
        """Every face's corners, one after another: corners repeat."""
        return [p for face in self.faces for p in face]

    def indexed(self, digits: int = 6) -> tuple[list[Point], list[list[int]], list[int]]:
        """Shared corners, faces as indices into them, and the tags of the faces kept.

        Corners closer than 10**-digits metres become one; faces that fall below a triangle by it are left out.
        """
        index: dict[Point, int] = {}
        points: list[Point] = []
        faces, tags = [], []
        for face, tag in zip(self.faces, self.tags):
            loop: list[int] = []
            for p in face:
                key = (round(p[0], digits), round(p[1], digits), round(p[2], digits))
                if key not in index:
                    index[key] = len(points)
                    points.append(p)
                if index[key] not in loop:
                    loop.append(index[key])
            if len(loop) >= 3:
                faces.append(loop)
                tags.append(tag)
        return points, faces, tags

    def clip(self, normal: Point, offset: float, tag: int = CUT) -> Solid | None:
        """What lies where normal . x <= offset; the new face gets `tag`. None where nothing is left."""
        nx, ny, nz = normal
        outside = inside = False
        heights = []
        for face in self.faces:
            row = []
            for x, y, z in face:
                h = nx * x + ny * y + nz * z - offset
                outside = outside or h > _ON_PLANE
                inside = inside or h < -_ON_PLANE
                row.append(h)
            heights.append(row)
        if not outside:
            return self
        if not inside:
            return None
        faces, tags = [], []
        rim: list[Point] = []
        for face, row, old in zip(self.faces, heights, self.tags):
            kept: list[Point] = []
            for i, p in enumerate(face):
                q, hp, hq = face[i - 1], row[i], row[i - 1]
                if (hp > _ON_PLANE and hq < -_ON_PLANE) or (hp < -_ON_PLANE and hq > _ON_PLANE):
                    # from the same end whichever face asks, so that neighbours get the very same point
                    (a, ha), (b, hb) = sorted(((p, hp), (q, hq)))
                    t = ha / (ha - hb)
                    cross = (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2]))
                    kept.append(cross)
                    rim.append(cross)
                if hp <= _ON_PLANE:
                    kept.append(p)
                    if hp >= -_ON_PLANE:
                        rim.append(p)
            if len(kept) >= 3:
                faces.append(kept)
                tags.append(old)
        cap = _ordered(rim, normal)
        if len(cap) >= 3:
            faces.append(cap)
            tags.append(tag)
        return Solid(faces, tags) if len(faces) >= 4 else None


def _ordered(rim: list[Point], normal: Point) -> list[Point]:
    """The corners of a convex cap, once each, counter-clockwise seen against `normal`."""
    unique = list({(round(p[0], 6), round(p[1], 6), round(p[2], 6)): p for p in rim}.values())
    if len(unique) < 3:
        return []
    nx, ny, nz = normal
    ux, uy, uz = (0.0, -nz, ny) if abs(nx) < 0.6 * math.sqrt(nx * nx + ny * ny + nz * nz) else (nz, 0.0, -nx)
    vx, vy, vz = ny * uz - nz * uy, nz * ux - nx * uz, nx * uy - ny * ux
    length = math.sqrt((vx * vx + vy * vy + vz * vz) / (ux * ux + uy * uy + uz * uz))
    cx, cy, cz = (sum(p[i] for p in unique) / len(unique) for i in range(3))

    def angle(p: Point) -> float:
        x, y, z = p[0] - cx, p[1] - cy, p[2] - cz
        return math.atan2((vx * x + vy * y + vz * z) / length, ux * x + uy * y + uz * z)

    return sorted(unique, key=angle)


def prism(
    bottom: Sequence[Point], top: Sequence[Point], side_tags: Sequence[int] | int = SKIN, end_tags: tuple[int, int] = (SKIN, SKIN)
) -> Solid:
    """A solid between two convex polygons of as many corners, both counter-clockwise seen from `top` towards `bottom`.

    Side i runs from corner i to corner i + 1. The sides must be plane (a prism, a frustum, a mitred beam).
    """
    n = len(bottom)
    if n < 3 or len(top) != n:
        raise ValueError("A prism needs two polygons with the same number of corners, three at least.")
    tags = [side_tags] * n if isinstance(side_tags, int) else list(side_tags)
    faces = [[bottom[i], bottom[(i + 1) % n], top[(i + 1) % n], top[i]] for i in range(n)]
    return Solid([*faces, list(reversed(bottom)), list(top)], [*tags, *end_tags])


def box(low: Point, high: Point, tag: int = SKIN) -> Solid:
    """An upright box between two corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    ground = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return prism([(x, y, z0) for x, y in ground], [(x, y, z1) for x, y in ground], tag, (tag, tag))


def ring(
    section: Sequence[tuple[float, float]], tags: Sequence[int], centre: tuple[float, float], turn: float, sides: int = 8
) -> list[Solid]:
    """A ring of mitred beams around an upright axis: storey walls, eaves, ledges of a tower with `sides` equal sides.

    `section`: a convex polygon of (radius of the corners, height), counter-clockwise with the radius to the right and the
    height up. `tags`: one for each of its edges. `turn`: radians from world +x to the first corner, which is where side 0
    starts. Sides run counter-clockwise seen from above. The mitred ends count as cuts: no plate shows them.
    """
    solids = []
    for side in range(sides):
        ends = []
        for corner in (side, side + 1):
            a = turn + 2.0 * math.pi * corner / sides
            ends.append([(centre[0] + r * math.cos(a), centre[1] + r * math.sin(a), z) for r, z in section])
        solids.append(prism(ends[1], ends[0], list(tags), (CUT, CUT)))
    return solids
