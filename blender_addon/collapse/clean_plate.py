# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands behind the building, and the edges between: fills, mattes, colours pushed outward.

Plain numpy on pictures: (height, width, channels) float arrays, row 0 on top. An artist's own clean plate is always
better than a fill; these are for when there is none. Knows nothing of pieces, cameras or bpy.
"""

from __future__ import annotations

import numpy as np


def membrane_fill(picture: np.ndarray, hole: np.ndarray, *, sweeps: int = 60) -> np.ndarray:
    """Fill `hole` (h, w) bool with the smoothest surface through its rim: right for sky, haze, walls in even light.

    Laplace's equation, from coarse to fine, so that a few sweeps a level are enough. Values outside the hole are kept.
    """
    if hole.shape != picture.shape[:2]:
        raise ValueError(
            f"The hole is {hole.shape[1]}x{hole.shape[0]} but the picture {picture.shape[1]}x{picture.shape[0]}: they must be of one size."
        )
    if hole.all():
        raise ValueError("The hole covers the whole picture, so there is nothing to fill it from.")
    result = np.array(picture, float)
    if not hole.any():
        return result
    height, width = hole.shape
    if min(height, width) > 3:
        known = _halve((~hole)[..., None].astype(float))
        small = _halve(np.where(hole[..., None], 0.0, result)) / np.maximum(known, 1e-9)
        coarse = membrane_fill(small, known[..., 0] == 0, sweeps=sweeps) if (known > 0).any() else small
        result[hole] = np.repeat(np.repeat(coarse, 2, 0), 2, 1)[:height, :width][hole]
    for _ in range(sweeps):
        padded = np.pad(result, ((1, 1), (1, 1), (0, 0)), mode="edge")
        mean = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4.0
        result[hole] = mean[hole]
    return result


def _halve(picture: np.ndarray) -> np.ndarray:
    h, w = picture.shape[:2]
    even = np.pad(picture, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return (even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]) / 4.0


def push_colours(picture: np.ndarray, valid: np.ndarray, reach: int = 24) -> np.ndarray:
    """Colours of `valid` (h, w) bool pixels carried outward up to `reach` pixels; farther out their mean.

    So that no sky sticks to an edge that moves: erode the matte first, then push.
    """
    if not valid.any():
        raise ValueError("No pixel of the picture is marked as the building's own: nothing to extend its edges with.")
    result = np.array(picture, float)
    known = valid.copy()
    result[~known] = picture[valid].mean(0)
    for _ in range(reach):
        ring = grow(known, 1) & ~known
        if not ring.any():
            break
        total, count = np.zeros_like(result), np.zeros(known.shape)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                inside = _shift(known, dy, dx)
                count += inside
                total += _shift(result, dy, dx) * inside[..., None]
        result[ring] = total[ring] / count[ring][:, None]
        known |= ring
    return result


def difference_matte(picture: np.ndarray, behind: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Coverage (h, w) in 0..1 of a thing with colours `own` before `behind`, by where the picture lies between the two.

    Least squares of picture = a own + (1 - a) behind; where the two hardly differ the answer is 1, not noise.
    """
    span = own - behind
    power = (span**2).sum(-1)
    alpha = ((picture - behind) * span).sum(-1) / np.maximum(power, 1e-9)
    return np.where(power < 1e-4, 1.0, np.clip(alpha, 0.0, 1.0))


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A bool mask grown by so many pixels (negative: shrunk), in octagonal steps; the picture's rim is no edge."""
    result = ~mask if pixels < 0 else mask.copy()
    for step in range(abs(pixels)):
        cross = [(0, 1), (0, -1), (1, 0), (-1, 0)]
        if step % 2:
            cross += [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        result = np.logical_or.reduce([result, *(_shift(result, dy, dx) for dy, dx in cross)])
    return ~result if pixels < 0 else result


def _shift(picture: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The picture moved by (dy, dx); what comes in from outside repeats the rim."""
    h, w = picture.shape[:2]
    rows = np.clip(np.arange(h) - dy, 0, h - 1)
    cols = np.clip(np.arange(w) - dx, 0, w - 1)
    return picture[rows][:, cols]


def over(front: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Premultiplied `front` (h, w, 3) with `alpha` (h, w) over `behind` (h, w, 3)."""
    return front + behind * (1.0 - alpha[..., None])


def srgb_to_linear(display: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, display 0..1 -> scene-linear."""
    display = np.asarray(display, float)
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, scene-linear -> display; values outside 0..1 are clipped."""
    linear = np.clip(np.asarray(linear, float), 0.0, 1.0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
