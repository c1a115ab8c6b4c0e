# SPDX-License-Identifier: Apache-2.0
"""Draws debris at the plate's own resolution: faceted stones, lit like the dust, blurred by their motion.

It knows chunks, a camera and a plate's depth, in level space. It must not know how chunks came to fly, nor colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from ..camera import Pinhole
from .debris import Chunks

#: The shutter is open for half a frame (180 degrees), around the frame's own time.
SHUTTER = 0.5
#: Pieces smaller than this many pixels are drawn as spots: their facets can't be seen.
SPOT = 2.5
#: Samples along the way of a piece while the shutter is open, at most.
MOST_SAMPLES = 32
#: A piece that would take more pixels across than this is left out: it would hit the lens.
LARGEST = 1500


@dataclass(frozen=True)
class Layer:
    """A part of the picture. top, left: where it lies. sun, ambient, alpha: (h, w) premultiplied; z: (h, w) metres of the
    nearest piece, inf where there is none. Already held out by the plate."""

    top: int
    left: int
    sun: np.ndarray
    ambient: np.ndarray
    alpha: np.ndarray
    z: np.ndarray

    @property
    def where(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that it covers."""
        return slice(self.top, self.top + self.alpha.shape[0]), slice(self.left, self.left + self.alpha.shape[1])


def _on_screen(chunks: Chunks, camera: Pinhole, shutter_seconds: float):
    """x, y at the shutter's opening and closing (2, n), depth (n,), pixels across (n,), and which can be seen at all (n,). Pixels of an
    anamorphic plate are as many times fewer or more down as `_tall` says."""
    position, way = chunks.position.astype(np.float64), chunks.velocity.astype(np.float64) * shutter_seconds / 2
    x, y, z = camera.project(np.stack([position - way, position + way]))
    depth = z.mean(0)
    near = (z > 0.05).all(0)
    across = chunks.size * camera.fx / np.where(near, depth, 1.0)
    h, w = camera.size
    r, down = 0.8 * across + 2, 0.8 * across * _tall(camera) + 2
    inside = (x.max(0) > -r) & (x.min(0) < w + r) & (y.max(0) > -down) & (y.min(0) < h + down)
    return x, y, depth, across, near & inside & (across < LARGEST)


def _tall(camera: Pinhole) -> float:
    """Pixels down for one across, of what is as high as wide: 1 but for an anamorphic plate."""
    return camera.fy / camera.fx


def bounds(chunks: Chunks, camera: Pinhole, shutter_seconds: float) -> Optional[tuple[float, float, float, float]]:
    """Left, top, right, bottom of all pieces, parts of the picture in [0, 1], or None if none can be seen."""
    x, y, _, across, seen = _on_screen(chunks, camera, shutter_seconds)
    if not seen.any():
        return None
    h, w = camera.size
    x, y, r, down = x[:, seen], y[:, seen], 0.8 * across[seen] + 2, 0.8 * across[seen] * _tall(camera) + 2
    box = np.array([(x - r).min() / w, (y - down).min() / h, (x + r).max() / w, (y + down).max() / h])
    left, top, right, bottom = np.clip(box, 0.0, 1.0)
    return (float(left), float(top), float(right), float(bottom)) if right > left and bottom > top else None


def draw(
    chunks: Chunks, camera: Pinhole, plate_depth: np.ndarray, light_view: np.ndarray, up_view: np.ndarray, shutter_seconds: float
) -> Optional[Layer]:
    """Draw what can be seen, or None. plate_depth: (h, w) of camera.size, inf is sky. Nothing is drawn where the plate is nearer.

    light_view, up_view: (3,) unit vectors towards the sun and against gravity, in the camera's axes.
    """
    box = bounds(chunks, camera, shutter_seconds)
    if box is None:
        return None
    h, w = camera.size
    left, top = int(box[0] * w), int(box[1] * h)
    right, bottom = min(w, int(np.ceil(box[2] * w)) + 1), min(h, int(np.ceil(box[3] * h)) + 1)
    shape = (bottom - top, right - left)
    plate = plate_depth[top:bottom, left:right]
    x, y, depth, across, seen = _on_screen(chunks, camera, shutter_seconds)
    x, y = x - left, y - top
    turn = camera.camera_to_world[:3, :3].T
    shade = _shade(chunks.number)
    spots = np.nonzero(seen & (across < SPOT))[0]
    tall = _tall(camera)
    out = _spots(x[:, spots], y[:, spots], depth[spots], across[spots], tall, shade[spots], plate, shape, light_view)
    stones = np.nonzero(seen & (across >= SPOT))[0]
    for k in stones[np.argsort(-depth[stones], kind="stable")]:
        _paint(
            out,
            _Stone(int(chunks.number[k]), turn @ _rotation(chunks.turn[k]), across[k], tall, light_view, up_view),
            x[:, k],
            y[:, k],
            depth[k],
            shade[k],
            plate,
        )
    sun, ambient, alpha, z = out
    if not alpha.any():
        return None
    return Layer(top, left, sun, ambient, alpha, np.where(alpha > 0, z, np.inf).astype(np.float32))


def _shade(number: np.ndarray) -> np.ndarray:
    """How bright each piece is against the dust: stone is darker than powder. From its number alone."""
    return (0.34 + 0.45 * ((number * 2654435761 % 2**32) / 2**32)).astype(np.float32)


def _spots(x, y, depth, across, tall, shade, plate, shape, light_view):
    """Small pieces as soft spots drawn out along their way: sun, ambient, alpha, z."""
    h, w = shape
    alpha, sun, ambient, z = (np.zeros(h * w), np.zeros(h * w), np.zeros(h * w), np.full(h * w, np.inf))
    if len(depth):
        way = float(np.max(np.hypot(x[1] - x[0], y[1] - y[0])))
        samples = int(np.clip(np.ceil(way), 1, MOST_SAMPLES))
        cover = 0.7854 * across**2 * tall / samples
        for s in range(samples):
            t = (s + 0.5) / samples
            px, py = x[0] + t * (x[1] - x[0]) - 0.5, y[0] + t * (y[1] - y[0]) - 0.5
            c, r = np.floor(px).astype(np.int64), np.floor(py).astype(np.int64)
            for dy in (0, 1):
                for dx in (0, 1):
                    column, row = c + dx, r + dy
                    ok = (column >= 0) & (column < w) & (row >= 0) & (row < h)
                    at = row[ok] * w + column[ok]
                    # Strictly nearer than the plate, or the law that nothing lies behind it would break.
                    ok[ok] = depth[ok] < plate.reshape(-1)[at]
                    at = row[ok] * w + column[ok]
                    part = cover[ok] * (1 - np.abs(px[ok] - column[ok])) * (1 - np.abs(py[ok] - row[ok]))
                    np.add.at(alpha, at, part)
                    np.add.at(sun, at, part * shade[ok] * (0.45 + 0.25 * light_view[2]))
                    np.add.at(ambient, at, part * shade[ok] * 0.7)
                    np.minimum.at(z, at[part > 1e-4], depth[ok][part > 1e-4])
        alpha[alpha < 1e-3] = 0.0
        fit = np.where(alpha > 0, np.minimum(alpha, 1.0) / np.maximum(alpha, 1e-9), 0.0)
        alpha, sun, ambient = alpha * fit, sun * fit, ambient * fit
        z[alpha == 0] = np.inf
    return [a.reshape(h, w).astype(np.float32) for a in (sun, ambient, alpha, z)]


_GOLD = (1 + 5**0.5) / 2
_CORNERS = np.array(
    [(a, b, 0) for a in (-1, 1) for b in (-_GOLD, _GOLD)]
    + [(0, a, b) for a in (-1, 1) for b in (-_GOLD, _GOLD)]
    + [(b, 0, a) for a in (-1, 1) for b in (-_GOLD, _GOLD)]
) / np.hypot(1, _GOLD)


def _facets() -> np.ndarray:
    """The icosahedron's 20 triangles, seen from outside anticlockwise: all triples of corners at an edge's distance."""
    edge = 2 / np.hypot(1, _GOLD) * 1.01
    near = np.linalg.norm(_CORNERS[:, None] - _CORNERS[None], axis=-1) < edge
    found = [(a, b, c) for a in range(12) for b in range(a) for c in range(b) if near[a, b] and near[b, c] and near[a, c]]
    return np.array(
        [
            (a, b, c) if np.dot(np.cross(_CORNERS[b] - _CORNERS[a], _CORNERS[c] - _CORNERS[a]), _CORNERS[a]) > 0 else (a, c, b)
            for a, b, c in found
        ]
    )


_FACETS = _facets()


class _Stone:
    """One stone as a small picture, finer than the plate's pixels: `fine` of its pixels to one. Irregular, every one another."""

    def __init__(self, number: int, turn: np.ndarray, across: float, tall: float, light_view: np.ndarray, up_view: np.ndarray) -> None:
        random = np.random.default_rng([number, 7])
        corners = _CORNERS * random.uniform(0.72, 1.08, (12, 1)) * random.uniform(0.55, 1.0, 3)
        corners = corners @ turn.T * (0.5 * across)
        self.fine = 4 if across < 60 else 2 if across < 240 else 1
        self.half = int(np.ceil(0.56 * across)) + 1, int(np.ceil(0.56 * across * tall)) + 1  # pixels across, down
        n, m = (2 * half * self.fine for half in self.half)
        at, down = ((np.arange(count) + 0.5) / self.fine - half for count, half in zip((n, m), self.half))
        down = down / tall
        self.light = np.zeros((2, m, n), np.float32)
        self.cover = np.zeros((m, n), np.float32)
        for facet in _FACETS:
            a, b, c = corners[facet]
            normal = np.cross(b - a, c - a)
            normal /= np.linalg.norm(normal) + 1e-12
            if normal[2] <= 0:  # turned away
                continue
            inside = np.ones((m, n), bool)
            for p, q in ((a, b), (b, c), (c, a)):  # rows run down, y runs up
                inside &= (q[0] - p[0]) * (-down[:, None] - p[1]) - (q[1] - p[1]) * (at[None, :] - p[0]) >= -1e-9
            rough = random.uniform(0.8, 1.1)
            self.light[0][inside] = rough * max(0.0, float(normal @ light_view))
            self.light[1][inside] = rough * (0.55 + 0.35 * float(normal @ up_view))
            self.cover[inside] = 1.0


def _paint(out, stone: _Stone, x, y, depth: float, shade: float, plate: np.ndarray) -> None:
    """Paint a stone over what is there, drawn out along its way from (x[0], y[0]) to (x[1], y[1]), where it is before the plate."""
    sun, ambient, alpha, z = out
    fine, half = stone.fine, stone.half
    samples = int(np.clip(np.ceil(np.hypot(x[1] - x[0], y[1] - y[0]) * min(fine, 2)), 1, MOST_SAMPLES))
    t = (np.arange(samples) + 0.5) / samples
    # Whole fine pixels: a quarter of a pixel is exact enough.
    column = np.round((x[0] + t * (x[1] - x[0]) - half[0]) * fine).astype(int)
    row = np.round((y[0] + t * (y[1] - y[0]) - half[1]) * fine).astype(int)
    left, top = int(np.floor(column.min() / fine)), int(np.floor(row.min() / fine))
    m, n = stone.cover.shape
    w, h = -(-(column.max() - left * fine + n) // fine), -(-(row.max() - top * fine + m) // fine)
    if (w * h) * fine * fine > 4_000_000:
        return
    canvas = np.zeros((3, h * fine, w * fine), np.float32)
    picture = np.concatenate([stone.light, stone.cover[None]])
    for c, r in zip(column - left * fine, row - top * fine):
        canvas[:, r : r + m, c : c + n] += picture
    small = canvas.reshape(3, h, fine, w, fine).mean((2, 4)) / samples
    y0, y1, x0, x1 = max(top, 0), min(top + h, alpha.shape[0]), max(left, 0), min(left + w, alpha.shape[1])
    if y1 <= y0 or x1 <= x0:
        return
    small = small[:, y0 - top : y1 - top, x0 - left : x1 - left]
    here = (slice(y0, y1), slice(x0, x1))
    cover = np.where((depth < plate[here]) & (small[2] > 1e-3), small[2], 0.0)
    lit = np.where(cover > 0, small[:2], 0.0) * shade
    # Spots nearer than the stone stay before it.
    before = np.where(z[here] < depth, alpha[here], 0.0)
    for channel, new in ((sun, lit[0]), (ambient, lit[1])):
        channel[here] = np.where(before > 0, channel[here] + (1 - before) * new, new + (1 - cover) * channel[here])
    alpha[here] = cover + (1 - cover) * alpha[here]
    z[here] = np.where(cover > 0, np.minimum(z[here], depth), z[here])


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rotation matrix of an axis times an angle (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / max(angle, 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
