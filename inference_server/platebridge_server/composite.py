# SPDX-License-Identifier: Apache-2.0
"""Effect over plate, exactly, and the effect as it is written.

Two laws hold for every pixel: where the effect's alpha is 0 the comp is the plate, bit for bit, in the plate's own type;
and comp = effect.rgb + (1 - effect.a) * plate, computed from the effect as its file has it, half floats and all. So any
tool that lays the file over the plate gets the comp. Plain functions on arrays; knows no files and no models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional

import numpy as np

#: An alpha below this is no effect at all: a twentieth of a step of an 8-bit display, and far above half's rounding.
LEAST_ALPHA = 2e-4
HALF_MAX = 65504.0
#: Metres; dust that stands nowhere in particular before the sky. Renderers write sky as 1e10, and dust is never behind it.
FARTHEST = 1e9


@dataclass(frozen=True)
class Effect:
    """The effect as its file has it.

    rgba: (h, w, 4) float16, premultiplied, scene-linear, all 0 where there is no effect. Its alpha holds the shadow too:
    a shadow is black laid over the plate. z: (h, w) float32, metres along the camera's axis, never behind the plate's
    own depth; +inf where alpha is 0. shadow: (h, w) float16 in [0, 1], the part of the plate's light that the dust's
    shadow takes, or None when there is none.
    """

    rgba: np.ndarray
    z: np.ndarray
    shadow: Optional[np.ndarray] = None


def settle(
    rgba: np.ndarray, z: np.ndarray, plate_depth: np.ndarray, shadow: Optional[np.ndarray] = None, allowed: Optional[np.ndarray] = None
) -> Effect:
    """The effect as it will be written, held out once more.

    rgba: (h, w, 4) float32 premultiplied; z: (h, w) metres; plate_depth: (h, w) metres, +inf is sky; shadow: (h, w) in
    [0, 1] or None; allowed: (h, w) bool, pixels where an effect may be (where the plate has pixels), None for all.
    What lies behind the plate, what is not finite and what is too thin to see becomes exactly nothing.
    """
    good = np.isfinite(rgba).all(axis=-1) & ~(plate_depth < z) & ~np.isnan(z)
    if allowed is not None:
        good &= allowed
    alpha = np.where(good, np.clip(rgba[..., 3], 0.0, 1.0), 0.0).astype(np.float32)
    alpha[alpha < LEAST_ALPHA] = 0.0
    colour = np.where(alpha[..., None] > 0, np.clip(rgba[..., :3], 0.0, HALF_MAX), 0.0).astype(np.float32)
    depth = np.where(alpha > 0, np.minimum(z, FARTHEST), np.inf).astype(np.float32)
    dark = None
    if shadow is not None:
        dark = np.where(np.isfinite(shadow) & np.isfinite(plate_depth), np.clip(shadow, 0.0, 1.0), 0.0).astype(np.float32)
        if allowed is not None:
            dark *= allowed
        dark[dark < LEAST_ALPHA] = 0.0
        depth = np.where((alpha == 0) & (dark > 0), plate_depth, depth).astype(np.float32)  # a shadow lies on the plate itself
        alpha = 1.0 - (1.0 - alpha) * (1.0 - dark)
    out = np.concatenate([colour, alpha[..., None]], axis=-1).astype(np.float16)
    none = out[..., 3] == 0
    out[none] = 0
    depth[none] = np.inf
    return Effect(out, depth, None if dark is None else dark.astype(np.float16))


def nothing(height: int, width: int, shadow: bool = False) -> Effect:
    """No effect at all."""
    return Effect(
        np.zeros((height, width, 4), np.float16),
        np.full((height, width), np.inf, np.float32),
        np.zeros((height, width), np.float16) if shadow else None,
    )


def over(rgba: np.ndarray, plate: Dict[str, np.ndarray], coverage: Optional[np.ndarray] = None) -> Dict[str, np.ndarray]:
    """Effect over plate. rgba: (h, w, 4) float16; plate: {"R", "G", "B"} -> (h, w) float16 or float32; coverage: the plate's
    own alpha, (h, w), or None. Returns the same channels, and "A" if there is coverage, in the plate's own types.

    Outside the effect every bit is the plate's, NaN and all; under it, NaN and inf count as 0.
    """
    there = rgba[..., 3] != 0
    through = np.float32(1) - rgba[there][:, 3].astype(np.float32)
    layers = dict(zip("RGB", (rgba[..., i] for i in range(3))))
    below = dict(plate)
    if coverage is not None:
        layers["A"], below["A"] = rgba[..., 3], coverage
    out = {}
    for name, layer in layers.items():
        own = below[name]
        value = own[there].astype(np.float32)
        value = layer[there].astype(np.float32) + through * np.where(np.isfinite(value), value, np.float32(0))
        most = HALF_MAX if own.dtype == np.float16 else np.finfo(np.float32).max
        out[name] = own.copy()
        out[name][there] = np.clip(value, -most, most)
        same = out[name].view("u%d" % own.dtype.itemsize) == own.view("u%d" % own.dtype.itemsize)
        assert (same | there).all(), "a pixel outside the effect was changed"
    return out
