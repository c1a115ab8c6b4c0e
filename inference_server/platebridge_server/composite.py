# SPDX-License-Identifier: Apache-2.0
"""Effect over plate, exactly, and the effect as it is written.

Two laws hold for every pixel: where the effect's alpha and its shadow are 0 the comp is the plate, bit for bit, in the plate's
own type; and comp = effect.rgb + (1 - effect.a) * plate * (1 - shadow), computed from the effect as its file has it, half
floats and all. So any tool that does this sum with the file gets the comp. Colour comes last and from the passes as they are
written: rgb = sun colour * sun + sky colour * ambient, so the file can be lit again. Plain functions on arrays; knows no
files and no models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Optional

import numpy as np

from .depth import HALF_MAX
from .light import DustLight

#: An alpha below this is no effect at all: a twentieth of a step of an 8-bit display, and far above half's rounding.
LEAST_ALPHA = 2e-4
#: Metres; dust that stands nowhere in particular before the sky. Renderers write sky as 1e10, and dust is never behind it.
FARTHEST = 1e9


@dataclass(frozen=True)
class Effect:
    """The effect as its file has it, before light is given a colour.

    sun, ambient, alpha: (h, w) float16, premultiplied passes, all 0 where there is no dust. z: (h, w) float32, metres along
    the camera's axis, never behind the plate's own depth; +inf where alpha is 0. shadow: (h, w) float16 in [0, 1], the part of
    the plate's light that the dust's shadow takes. chroma: (h, w, 3) float16 colour of luminance 1 that an artist's guide
    gives the light, or None. painted: (h, w, 3) float16 premultiplied scene-linear colour, where a model has painted the effect
    whole, or None; then sun and ambient are 0 and no other light can be put on it.
    """

    sun: np.ndarray
    ambient: np.ndarray
    alpha: np.ndarray
    z: np.ndarray
    shadow: np.ndarray
    chroma: Optional[np.ndarray] = None
    painted: Optional[np.ndarray] = None

    def rgba(self, colours: DustLight) -> np.ndarray:
        """(h, w, 4) float16, premultiplied, scene-linear."""
        there = self.alpha != 0
        if self.painted is not None:
            return np.concatenate([np.where(there[..., None], self.painted, 0), self.alpha[..., None]], axis=-1).astype(np.float16)
        light = colours.coloured(self.sun[there].astype(np.float32), self.ambient[there].astype(np.float32))
        if self.chroma is not None:
            light *= self.chroma[there].astype(np.float32)
        out = np.zeros((*self.alpha.shape, 4), np.float16)
        out[there, :3] = np.clip(light, 0.0, HALF_MAX)
        out[..., 3] = self.alpha
        return out


def settle(passes: np.ndarray, z: np.ndarray, plate_depth: np.ndarray, shadow: Optional[np.ndarray] = None,
           chroma: Optional[np.ndarray] = None) -> Effect:
    """The effect as it will be written, held out once more.

    passes: (h, w, 3) float32 premultiplied sun, ambient, alpha; z: (h, w) metres; plate_depth: (h, w) metres, +inf is sky;
    shadow: (h, w) in [0, 1], None is none; chroma: (h, w, 3) or None.
    What lies behind the plate, what is not finite and what is too thin to see becomes exactly nothing.
    """
    good = np.isfinite(passes).all(axis=-1) & ~(plate_depth < z) & ~np.isnan(z)
    alpha = np.where(good, np.clip(passes[..., 2], 0.0, 1.0), 0.0).astype(np.float32)
    there = alpha >= LEAST_ALPHA
    sun, ambient = (np.where(there, np.clip(passes[..., i], 0.0, HALF_MAX), 0.0).astype(np.float16) for i in (0, 1))
    depth = np.where(there, np.minimum(z, FARTHEST), np.inf).astype(np.float32)
    dark = _darkness(shadow, plate_depth)
    hue = None if chroma is None else np.where(there[..., None], np.clip(chroma, 0.0, HALF_MAX), 0.0).astype(np.float16)
    return Effect(sun, ambient, np.where(there, alpha, 0.0).astype(np.float16), depth, dark, hue)


def settle_painted(
    rgb: np.ndarray, alpha: np.ndarray, z: np.ndarray, plate_depth: np.ndarray, shadow: Optional[np.ndarray] = None
) -> Effect:
    """As `settle`, of an effect that a model has painted whole. rgb: (h, w, 3) float32 premultiplied scene-linear; alpha, z: (h, w)."""
    good = np.isfinite(rgb).all(axis=-1) & np.isfinite(alpha) & ~(plate_depth < z) & ~np.isnan(z)
    there = good & (alpha >= LEAST_ALPHA)
    colour = np.where(there[..., None], np.clip(rgb, 0.0, HALF_MAX), 0.0).astype(np.float16)
    depth = np.where(there, np.minimum(z, FARTHEST), np.inf).astype(np.float32)
    none = np.zeros(alpha.shape, np.float16)
    whole = np.where(there, np.clip(alpha, 0.0, 1.0), 0.0).astype(np.float16)
    return Effect(none, none, whole, depth, _darkness(shadow, plate_depth), painted=colour)


def _darkness(shadow: Optional[np.ndarray], plate_depth: np.ndarray) -> np.ndarray:
    """(h, w) float16: no shadow falls on the sky, nor where it is too thin to see."""
    if shadow is None:
        return np.zeros(plate_depth.shape, np.float16)
    falls = np.isfinite(shadow) & np.isfinite(plate_depth) & (shadow >= LEAST_ALPHA)
    return np.where(falls, np.clip(shadow, 0.0, 1.0), 0.0).astype(np.float16)


def nothing(height: int, width: int, painted: bool = False, hued: bool = False) -> Effect:
    """No effect at all. painted: as a model that paints makes it, hued: as an artist's guide colours it, so that all files of a take have
    the same layers."""
    none = np.zeros((height, width), np.float16)
    colour = np.zeros((height, width, 3), np.float16)
    far = np.full((height, width), np.inf, np.float32)
    return Effect(none, none, none, far, none, colour if hued else None, colour if painted else None)


def shadow_alone(shadow: Optional[np.ndarray], plate_depth: np.ndarray, **layers: bool) -> Effect:
    """No dust, and the shadow (h, w) of what lies beyond the picture; None is none. plate_depth: (h, w) metres, inf is sky. layers: as
    `nothing` has them."""
    return replace(nothing(*plate_depth.shape, **layers), shadow=_darkness(shadow, plate_depth))


def over(rgba: np.ndarray, plate: Dict[str, np.ndarray], coverage: Optional[np.ndarray] = None,
         shadow: Optional[np.ndarray] = None) -> Dict[str, np.ndarray]:
    """Effect over plate * (1 - shadow). rgba: (h, w, 4) float16; plate: {"R", "G", "B"} -> (h, w) float16 or float32; coverage:
    the plate's own alpha, (h, w), or None: no shadow falls on it. shadow: (h, w) float16, None is none. Returns the same
    channels, and "A" if there is coverage, in the plate's own types.

    Where alpha and shadow are 0 every bit is the plate's, NaN and all; elsewhere NaN and -inf count as 0, and inf, a light
    that a renderer could not count, as the brightest half: black under thin dust it would be a hole.
    """
    there = rgba[..., 3] != 0
    if shadow is not None:
        there |= shadow != 0
    through = np.float32(1) - rgba[there][:, 3].astype(np.float32)
    lit = np.float32(1) if shadow is None else np.float32(1) - shadow[there].astype(np.float32)
    layers = dict(zip("RGB", (rgba[..., i] for i in range(3))))
    below = dict(plate)
    if coverage is not None:
        layers["A"], below["A"] = rgba[..., 3], coverage
    out = {}
    for name, layer in layers.items():
        own = below[name]
        value = np.nan_to_num(own[there].astype(np.float32), posinf=0 if name == "A" else HALF_MAX, neginf=0)
        value = layer[there].astype(np.float32) + through * (value if name == "A" else value * lit)
        most = HALF_MAX if own.dtype == np.float16 else np.finfo(np.float32).max
        out[name] = own.copy()
        out[name][there] = np.clip(value, -most, most)
        same = out[name].view("u%d" % own.dtype.itemsize) == own.view("u%d" % own.dtype.itemsize)
        assert (same | there).all(), "a pixel outside the effect was changed"
    return out
