# SPDX-License-Identifier: Apache-2.0
"""What a file's depth numbers mean, in metres along the camera's axis: sky, holes, distance, 1/Z, normalised.

Plain functions on arrays; must not know files, frames or requests.
"""

from __future__ import annotations

from typing import Optional, Tuple

import numpy as np

#: Renderers write 1e10 (Blender), 1e30 or inf where nothing is; half floats turn them all into inf.
SKY_FROM = 1e9
#: A farthest depth stands for the sky (a far clip, an inf that was cut off) from so many metres on, on more than this part of the picture.
FAR_END_FROM, FAR_END_PART = 1000.0, 0.01
#: The largest half float: what a writer that knows no inf makes of all that is farther.
HALF_MAX = 65504.0
#: A gap in the depth up to this many pixels wide is a hole to be filled; a wider run of zeros is sky.
HOLE_PX = 4
#: A normalised depth's near end is the camera itself, where nothing can stand: so much of the way to its far end is the least.
NEAREST = np.float32(1e-3)


def to_metres(
    raw: np.ndarray, kind: str, scale: float, ray_scale: Optional[np.ndarray] = None
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth along the camera's axis.

    raw: (h, w), as the file has it. kind: "z", "distance" (along the ray; `ray_scale` (h, w) turns
    it into depth along the axis), "inverse" (1/Z), "near_one" or "near_zero" (normalised: even steps from the camera to the far
    end, which is sky). scale: metres per unit of the file, after 1/Z is undone; of a normalised depth, metres to its far end.
    Returns (z, holes, zeros): z (h, w) float32 metres with +inf as sky and holes filled; holes and zeros: (h, w) bool, pixels
    that had no depth and were filled, and pixels of plain 0 that were taken as sky.
    """
    raw = raw.astype(np.float32, copy=False)
    none = np.zeros(raw.shape, bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if kind == "inverse":
            broken = ~np.isfinite(raw) | (raw < 0)
            sky, zeros = ~broken & (raw <= 1.0 / SKY_FROM), none
            z = np.float32(scale) / np.where(sky | broken, np.float32(1), raw)
        elif kind in ("near_one", "near_zero"):
            # An inf beyond the far end is sky; the other one would stand at the camera itself.
            broken, zeros = np.isnan(raw) | (np.isposinf(raw) if kind == "near_one" else np.isneginf(raw)), none
            far = np.float32(1) - raw if kind == "near_one" else raw
            sky = ~broken & (far >= 1)
            z = np.float32(scale) * np.maximum(far, NEAREST)
        else:
            broken = np.isnan(raw) | (raw < 0)
            zero = raw == 0
            zeros = zero & wide(zero | broken) if zero.any() else none
            broken |= zero & ~zeros
            sky = zeros | (raw >= SKY_FROM) | (raw == far_end(raw, scale))
            z = raw * np.float32(scale)
            if kind == "distance" and ray_scale is not None:
                z = z * ray_scale.astype(np.float32)
    z = np.where(sky, np.float32(np.inf), z).astype(np.float32)
    return (filled(z, broken) if broken.any() else z), broken, zeros


def unclamped(raw: np.ndarray) -> np.ndarray:
    """A depth in its file's own type, where half floats at their largest are +inf. raw: (h, w), not 1/Z and not normalised."""
    return np.where(raw >= HALF_MAX, np.float16(np.inf), raw) if raw.dtype == np.float16 else raw


def far_end(raw: np.ndarray, scale: float = 1.0) -> float:
    """The farthest depth below SKY_FROM, in the file's unit, where it evidently stands for the sky; NaN where it doesn't.

    raw: (h, w), as the file has it. scale: metres per unit. It stands for the sky if it fills a part of the picture with one number
    far beyond all else: next to nothing lies between a tenth of it and it, as filtered edges do. A wall that faces the camera is nearer.
    """
    far = float(np.max(raw, initial=0.0, where=raw < SKY_FROM))
    if far * scale >= FAR_END_FROM:
        there, near = np.count_nonzero(raw == far), np.count_nonzero((raw > 0) & (raw <= 0.1 * far))
        between = np.count_nonzero((raw > 0.1 * far) & (raw < far))
        if near and there > FAR_END_PART * raw.size and there > 10 * between:
            return far
    return float("nan")


def wide(area: np.ndarray) -> np.ndarray:
    """The pixels of an area that belong to runs wider than a hole. area: (h, w) bool."""
    core = area
    for _ in range(HOLE_PX // 2):
        core = ~_grown(~core)
    for _ in range(HOLE_PX // 2 + 1):
        core = _grown(core) & area
    return core


def filled(z: np.ndarray, holes: np.ndarray, most: Optional[int] = None) -> np.ndarray:
    """z with its holes filled from their rim inwards by the farthest neighbour: a gap seldom hides what is nearer.

    most: so many pixels inwards and no more; what is left of the holes is +inf. None fills them all.
    """
    known = np.pad(~holes, 1)  # a rim of nothing: then every pixel has eight neighbours
    z = np.pad(np.where(holes, -np.inf, z).astype(np.float32), 1, constant_values=-np.inf)
    width = z.shape[1]
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    flat, there, inner = z.ravel(), known.ravel(), np.pad(np.ones(holes.shape, bool), 1).ravel()
    # What lies beside something known, ring after ring: a pass over the whole picture for each would cost the cube of its side.
    ring = np.flatnonzero(np.pad(holes & _grown(~holes), 1))
    while len(ring) and most != 0:
        flat[ring] = flat[ring[:, None] + around].max(1)
        there[ring] = True
        beside = (ring[:, None] + around).ravel()
        ring = np.unique(beside[inner[beside] & ~there[beside]])
        most = most and most - 1
    return np.where(known, z, np.inf)[1:-1, 1:-1]


def looks_inverse(z: np.ndarray) -> bool:
    """Whether depth said to be Z is evidently 1/Z. z: (h, w) metres, as read.

    Two signs together, either of which alone could be an odd scene: nothing at all is farther than a metre, and numbers
    fall where a picture goes away from the camera: of the rows that have a depth, the lower quarter (ground, near) is well above
    the upper. A sky of 0 says nothing: 1/Z writes infinity so, and so do masks of Z.
    """
    known = np.isfinite(z) & (z > 0) & (z < SKY_FROM)
    if not known.any() or float(z[known].max()) > 1.0:
        return False
    z, known = z[known.any(1)], known[known.any(1)]
    quarter = max(1, len(z) // 4)
    low, high = (z[part][known[part]] for part in (slice(-quarter, None), slice(quarter)))
    return bool(np.median(low) > 1.2 * np.median(high))


def _grown(area: np.ndarray) -> np.ndarray:
    padded = np.pad(area, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
