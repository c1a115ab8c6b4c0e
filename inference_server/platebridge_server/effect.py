# SPDX-License-Identifier: Apache-2.0
"""The effect of one frame: the model's passes cut at the plate, debris set into the dust by depth.

Plain functions on arrays of one size: a plate, or the part of one that the dust takes. It knows the guide's depth. It must not
know models, files, colours of light or how the comp is made.
"""

from __future__ import annotations

from typing import Optional

import numpy as np
import torch

from .guide import volume
from .guide.chunk_layer import Layer
from .guide.frame import GuideFrame

#: Alpha under this is nothing: less than what an eight-bit display can show, and less than a model's haze.
LEAST_ALPHA = 1.0 / 1024
#: Alpha beyond which dust is as thick as can be told from a picture of it.
THICKEST = 0.98
#: Pixels that are cut at once. The deep planes of each are two dozen floats.
_AT_ONCE = 200_000


def assemble(
    sun, ambient, alpha, seen: GuideFrame, plate_depth, debris: Optional[Layer] = None
) -> tuple[np.ndarray, np.ndarray]:
    """Passes and depth: (h, w, 3) float32 premultiplied sun, ambient, alpha; z (h, w) float32 metres, inf where alpha is 0.

    sun, ambient, alpha: (h, w), the model's passes, not held out. seen: the guide through the same window, at any size.
    plate_depth: (h, w) metres, inf is sky. debris: drawn for this very window. Two laws hold for every pixel: where the
    plate is nearer than all dust and debris, the effect is exactly 0; where alpha is above 0, z <= plate_depth.
    """
    cut = _cutter(seen, alpha.shape)
    dust = _held_out(sun, ambient, alpha, cut, plate_depth)
    if debris is not None:
        _set_into(dust, debris, (sun, ambient, alpha), cut)
    sun, ambient, alpha, z = dust
    nothing = alpha < LEAST_ALPHA
    passes = np.stack([sun, ambient, alpha], axis=-1)
    passes[nothing] = 0.0
    return passes, np.where(nothing, np.float32(np.inf), z).astype(np.float32)


def hue(seen: GuideFrame, size: tuple[int, int]) -> Optional[np.ndarray]:
    """The colour that an artist's guide gives the light, (h, w, 3) float32 of luminance 1 at `size`, or None."""
    return None if seen.chroma is None else _across(seen.chroma.transpose(2, 0, 1), size).transpose(1, 2, 0)


def thickening(alpha: np.ndarray, seen: GuideFrame) -> np.ndarray:
    """How many times thicker than the guide the finished dust is, (h, w) float32 in [0, 4]; 1 where the guide has none.

    alpha: (h, w), the model's, not held out. By it the shadow of the guide's cloud takes the finished dust's silhouette.
    """
    guide = _across(seen.alpha[None], alpha.shape)[0]
    thick, was = (-np.log1p(-np.clip(a, 0.0, THICKEST)) for a in (alpha, guide))
    return np.where(was > LEAST_ALPHA, np.clip(thick / np.maximum(was, LEAST_ALPHA), 0.0, 4.0), 1.0).astype(np.float32)


def _held_out(sun, ambient, alpha, cut, plate_depth) -> list[np.ndarray]:
    """[sun, ambient, alpha, z] of what lies before the plate."""
    out = [np.zeros(alpha.shape, np.float32) for _ in range(3)] + [np.full(alpha.shape, np.inf, np.float32)]
    rows, columns = np.nonzero(alpha >= LEAST_ALPHA)
    for start in range(0, len(rows), _AT_ONCE):
        at = rows[start : start + _AT_ONCE], columns[start : start + _AT_ONCE]
        for whole, left in zip(out, cut(sun[at], ambient[at], alpha[at], at, plate_depth[at])):
            whole[at] = left
    return out


def _cutter(seen: GuideFrame, size):
    """cut(sun, ambient, alpha, at, limit) -> [sun, ambient, alpha, z] of the dust nearer than `limit`, all (n,).

    at: rows and columns (n,) of the pixels in a picture of `size`.
    """
    if seen.deep is None:
        return lambda *pixels: _stepped(*pixels, seen, size)
    # The whole is made 1 in every pixel, then read between the guide's pixels: a finer silhouette than the guide's is
    # cut as the dust beside it is.
    even = volume.resized(seen.deep, seen.deep.front.shape)

    def cut(sun, ambient, alpha, at, limit) -> list[np.ndarray]:
        here = _Pixels(even.front.shape, size, at)

        def read(plane):
            return here.of(even.cumulative_alpha, plane), here.of(even.cumulative_depth, plane)

        *light, limit = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (sun, ambient, alpha, limit))
        return [a.numpy() for a in volume.cut(*light, even.planes, here.of(even.front[None]), read, limit)]

    return cut


def _stepped(sun, ambient, alpha, at, limit, seen: GuideFrame, size) -> list[np.ndarray]:
    """As `_cutter`'s, for dust that stands at one depth in each pixel, or nowhere in particular (depth inf): then nothing is cut."""
    h, w = seen.depth.shape
    rows, columns = (np.minimum(((a + 0.5) * n / m).astype(np.int64), n - 1) for a, n, m in zip(at, (h, w), size))
    depth = seen.depth[rows, columns]
    before = (depth < limit) | ~np.isfinite(depth)
    kept = [np.where(before, a, 0).astype(np.float32) for a in (sun, ambient, alpha)]
    return [*kept, np.where(before & (kept[2] > 0), np.minimum(depth, limit), np.inf).astype(np.float32)]


def _set_into(dust: list[np.ndarray], debris: Layer, passes, cut) -> None:
    """Debris into the held-out dust, in place: the dust before a chunk, the chunk, the dust behind it.

    With D all the dust, F the dust before the chunk and C the chunk, all premultiplied, what is seen is
    F + (1 - alpha F) C + (1 - alpha C) (D - F).
    """
    where = debris.where
    rows, columns = np.nonzero(debris.alpha > 0)
    at = rows + where[0].start, columns + where[1].start
    chunk = [a[rows, columns] for a in (debris.sun, debris.ambient, debris.alpha)]
    z = debris.z[rows, columns]
    all_dust = [a[at] for a in dust]
    # Dust before the chunk is dust before the plate too: a chunk is drawn only where it is the nearer.
    front = cut(*(p[at] for p in passes), at, z)
    there = all_dust[2] > 0
    front = [np.where(there, np.minimum(f, d), 0.0) for f, d in zip(front[:3], all_dust[:3])]
    for number in range(3):
        over = front[number] + (1 - front[2]) * chunk[number] + (1 - chunk[2]) * (all_dust[number] - front[number])
        dust[number][at] = over.astype(np.float32)
    dust[3][at] = np.minimum(all_dust[3], z)


def _taps(n_in: int, n_out: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two samples of n_in that lie around pixel `at` of n_out, and the part of the second."""
    place = np.clip((at + 0.5) * (n_in / n_out) - 0.5, 0, n_in - 1)
    low = np.floor(place).astype(np.int64)
    return low, np.minimum(low + 1, n_in - 1), (place - low).astype(np.float32)


class _Pixels:
    """Pixels (rows, columns), each (n,), of a picture of `size`, looked up in pictures of another one, linearly."""

    def __init__(self, own: tuple[int, int], size: tuple[int, int], at: tuple[np.ndarray, np.ndarray]) -> None:
        (r0, r1, b), (c0, c1, a) = (_taps(n, m, x) for n, m, x in zip(own, size, at))
        self._corners = [torch.from_numpy(r * own[1] + c) for r in (r0, r1) for c in (c0, c1)]
        self._across, self._down, self._cells = torch.from_numpy(a), torch.from_numpy(b), own[0] * own[1]

    def of(self, pictures: torch.Tensor, which: Optional[torch.Tensor] = None) -> torch.Tensor:
        """(n,) of the pictures (c, h, w): for each pixel, the one whose number `which` (n,) has; the first if None."""
        flat, first = pictures.reshape(-1), 0 if which is None else which * self._cells
        a, b, c, d = (flat[first + corner] for corner in self._corners)
        return torch.lerp(torch.lerp(a, b, self._across), torch.lerp(c, d, self._across), self._down)


def _across(picture: np.ndarray, size) -> np.ndarray:
    """A picture (c, h, w) at another size, linearly."""
    planes = torch.from_numpy(np.ascontiguousarray(picture, np.float32))
    pixels = _Pixels(planes.shape[1:], size, tuple(np.indices(size).reshape(2, -1)))
    return torch.stack([pixels.of(plane[None]) for plane in planes]).numpy().reshape(-1, *size)
