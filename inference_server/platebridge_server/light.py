# SPDX-License-Identifier: Apache-2.0
"""The plate's light: which sun and which sky the dust must stand in to sit in the picture's exposure.

An estimate from a few frames, made once per shot, in the plate's own scene-linear units. It knows plates, depths and
dials. It must not know how the dust moved or was generated.

The measure is a white, matt surface. In full sun under the whole sky it has a radiance W; we take the plate's bright
surfaces (the 92nd percentile of luminance of all that isn't sky) to reflect 0.45 of what falls on them, so W is 2.2 times
theirs. The sky's part S of W is the sky's own radiance where it is seen (a matt surface under an even sky has the sky's
radiance), else what the dark surfaces show (the 20th percentile, at a quarter's reflectance), in either case at least
0.12 W and at most 0.32 W. The sun's part is the rest. Their hues are those of the bright and of the sky or dark pixels,
0.6 of the way to grey, for a plate's surfaces have colours of their own. So everything is proportional to the plate:
twice the exposure, twice the dust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

import numpy as np
from platebridge.request import GuideSettings

#: Weights of red, green and blue in luminance (Rec. 709).
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
#: What share of the light the plate's bright and dark surfaces are taken to reflect.
BRIGHT, DARK = 0.45, 0.25
#: The passes of thick dust in full sun are about 0.84, not 1: light that a matt surface reflects, dust takes in and gives out again.
GAIN = 1.0
_SAMPLES = 40_000
_FRAMES = 3


@dataclass(frozen=True)
class PlateLight:
    """sun, sky: (3,) scene-linear radiance of a white matt surface in the sun alone, and under the sky alone."""

    sun: tuple[float, float, float]
    sky: tuple[float, float, float]

    def dust(self, settings: GuideSettings) -> DustLight:
        """The light on the dust, with the dials sun, sky light and dust colour."""
        tint = np.array(settings.tint) * GAIN
        return DustLight(np.array(self.sun) * tint * settings.light, np.array(self.sky) * tint * settings.ambient)


@dataclass(frozen=True)
class DustLight:
    """Colours (3,) that the passes are multiplied by: rgb = sun * sun pass + sky * ambient pass."""

    sun: np.ndarray
    sky: np.ndarray

    def coloured(self, sun: np.ndarray, ambient: np.ndarray) -> np.ndarray:
        """Passes of any shape to premultiplied scene-linear colour, (…, 3) float32."""
        return (sun[..., None] * self.sun.astype(np.float32) + ambient[..., None] * self.sky.astype(np.float32)).astype(np.float32)


def of_shot(shot) -> PlateLight:
    """The light of a shot: its first, middle and last frame. shot: `request.frames`, `plate(f)`, `depth(f)` and `plate_at(f)`."""
    frames = list(shot.request.frames)
    chosen = sorted({frames[round(i * (len(frames) - 1) / max(_FRAMES - 1, 1))] for i in range(_FRAMES)})
    return estimate((shot.plate(f)[shot.plate_at(f)], shot.depth(f)[shot.plate_at(f)]) for f in chosen)


def estimate(frames: Iterable[tuple[np.ndarray, np.ndarray]]) -> PlateLight:
    """From (plate (h, w, 3) scene-linear, depth (h, w), inf is sky). A black plate gives black light."""
    surfaces, skies = [], []
    for plate, depth in frames:
        step = max(1, int(np.ceil(np.sqrt(depth.size / _SAMPLES))))
        pixels = plate[step // 2 :: step, step // 2 :: step].reshape(-1, 3).astype(np.float64)
        sky = ~np.isfinite(depth[step // 2 :: step, step // 2 :: step].reshape(-1))
        good = np.isfinite(pixels).all(1)
        pixels = np.maximum(pixels, 0.0)
        surfaces.append(pixels[good & ~sky])
        skies.append(pixels[good & sky])
    surface, sky = np.concatenate(surfaces), np.concatenate(skies)
    if len(surface) < 16:  # nothing but sky: it is all there is to go by
        surface = sky
    if not len(surface):
        return PlateLight((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    bright = surface @ LUMINANCE
    low, high = np.quantile(bright, [0.20, 0.92])
    white = high / BRIGHT
    if len(sky) > 0.01 * (len(sky) + len(surface)):
        above, hue = float(np.median(sky @ LUMINANCE)), _hue(sky[sky @ LUMINANCE <= np.quantile(sky @ LUMINANCE, 0.9)])
    else:
        above, hue = low / DARK, _hue(surface[bright <= np.quantile(bright, 0.4)])
    above = float(np.clip(above, 0.12 * white, 0.32 * white))
    sun_hue = _hue(surface[bright >= high])
    return PlateLight(tuple(float(v) for v in (white - above) * sun_hue), tuple(float(v) for v in above * hue))


def _hue(pixels: np.ndarray) -> np.ndarray:
    """Colour of luminance 1, 0.4 of the way from grey to the pixels' mean, (3,)."""
    mean = pixels.mean(0) if len(pixels) else np.ones(3)
    luminance = float(mean @ LUMINANCE)
    if luminance <= 0:
        return np.ones(3)
    colour = 0.6 + 0.4 * mean / luminance
    return colour / float(colour @ LUMINANCE)
