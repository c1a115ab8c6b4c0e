# SPDX-License-Identifier: Apache-2.0
"""The effect in a generated picture as a layer of its own: premultiplied colour and alpha, from the picture and its plate.

A picture model gives back a whole picture; the product is an effect over an untouched plate. What is known at a pixel is one
colour, what is sought is alpha and a colour, so alpha is weighed from four sources, each with its own doubt: the guide's alpha;
how far the pixel has gone from the plate towards the dust's colour, which is measured from the picture; how much of the plate's
texture still shows through; and the frames beside it. Noise counts as noise: a difference within what the VAE does to a plate
anywhere is no dust. It knows colour transforms. It must not know models, files or the comp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from . import colour

#: Alpha that is weighed at each pixel.
_STEPS = 33
#: Pixels: how far plate and picture are compared for texture; how far the dust's colour is taken to stay the same.
_TEXTURE, _COLOUR = 3.0, 24.0
#: Independent samples of noise in the texture's window.
_SAMPLES = 9.0
#: What the guide is worth: its error where it is sure and where it is half transparent, and the share that is anywhere at all.
_GUIDE_SURE, _GUIDE_HALF, _GUIDE_WRONG = 0.03, 1.2, 0.03
#: How much the dust's colour differs from its mean, beside its brightness; how much its brightness at least and at most does.
_CHROMA, _BRIGHT_LEAST, _BRIGHT_MOST = 0.12, 0.25, 0.8
#: Alpha under this is nothing.
_LEAST = 1.0 / 256


def estimate(
    generated: Sequence[np.ndarray], plate: Sequence[np.ndarray], mask: Sequence[np.ndarray], guide_alpha: Sequence[np.ndarray],
    visible: Sequence[np.ndarray], *, transform: colour.Transform | None = None, noise: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The effect of a run of frames: rgb (frames, h, w, 3) float32 premultiplied scene-linear, alpha (frames, h, w) float32.

    generated, plate: (frames, h, w, 3) float32, scene-linear. mask: (frames, h, w), above 0 where the model was to paint. guide_alpha:
    (frames, h, w) in [0, 1]. visible: (frames, h, w) in [0, 1], 1 where nothing stands before the effect. transform: what the model
    saw the plate through (`display` of Linear Rec.709 if None). noise: what the VAE does to a picture, in code values; measured
    outside the mask if None.

    Alpha and colour are exactly 0 outside the mask and where visible is 0; alpha is never above visible. Where alpha is above 0,
    rgb + (1 - alpha) * plate is the generated picture, but for two: what is no lighter than the plate showing through (rgb is
    never below 0), and a plate lighter than the transform's white, which shines through as it is.
    """
    out = list(estimates(generated, plate, mask, guide_alpha, visible, transform=transform, noise=noise))
    return np.stack([rgb for rgb, _ in out]), np.stack([alpha for _, alpha in out])


def estimates(
    generated, plate, mask, guide_alpha, visible, *, transform: colour.Transform | None = None, noise: float | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `estimate`, a frame at a time: (rgb (h, w, 3), alpha (h, w)). No more than three frames are worked on at once."""
    transform = transform or colour.find("display")
    if noise is None:
        noise = measured_noise(generated, plate, mask, transform)
    for frame in range(len(generated)):
        seen = _Seen.of(generated[frame], plate[frame], guide_alpha[frame], visible[frame], mask[frame], transform, noise)
        yield _layer(generated[frame], plate[frame], seen, _weighed(seen))


def measured_noise(generated, plate, mask, transform: colour.Transform) -> float:
    """What a VAE does to a plate, in code values: the spread of generated minus plate outside the mask, of every frame.

    0.015 where it can't be told: nothing lies outside the mask, or what lies there was put back and does not differ.
    """
    spread = []
    for picture, behind, inside in zip(generated, plate, mask):
        outside = ~(np.asarray(inside) > 0)
        if outside.mean() > 0.02:
            codes = (colour.limited(transform.encode(np.asarray(x)[outside]))[0] for x in (picture, behind))
            spread.append(1.4826 * np.median(np.abs(np.subtract(*codes))))
    found = float(np.median(spread)) if spread else 0.0
    return float(np.clip(found, 0.004, 0.05)) if found > 1e-4 else 0.015


@dataclass
class _Seen:
    """One frame as it is weighed: tensors (3, h, w) or (h, w). noise: linear, by channel."""

    picture: torch.Tensor
    plate: torch.Tensor
    guide: torch.Tensor
    noise: torch.Tensor
    there: torch.Tensor
    visible: torch.Tensor

    @classmethod
    def of(cls, picture, plate, guide, visible, mask, transform, noise) -> _Seen:
        code = colour.limited(transform.encode(picture))[0]
        flat = np.moveaxis(_blurred(_planes(code), 1.0).numpy(), 0, -1)
        step = 1e-3
        slope = (transform.decode(flat + np.float32(step)) - transform.decode(flat - np.float32(step))) / (2 * step)
        behind = transform.decode(colour.limited(transform.encode(plate))[0])
        visible = torch.from_numpy(np.asarray(visible, np.float32))
        return cls(
            _planes(picture), _planes(behind), torch.minimum(torch.from_numpy(np.asarray(guide, np.float32)).clamp(0, 1), visible),
            _planes(slope).clamp_min(1e-6) * noise, torch.from_numpy(np.asarray(mask) > 0) & (visible > 0), visible,
        )  # fmt: skip


def _planes(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, -1, 0), dtype=np.float32))


def _blurred(planes: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (..., h, w), the edge repeated."""
    radius = int(3 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    out = planes.reshape(-1, 1, *planes.shape[-2:])
    out = F.conv2d(F.pad(out, (radius, radius, 0, 0), mode="replicate"), taps.view(1, 1, 1, -1))
    out = F.conv2d(F.pad(out, (0, 0, radius, radius), mode="replicate"), taps.view(1, 1, -1, 1))
    return out.view(planes.shape)


def _weighed(seen: _Seen) -> torch.Tensor:
    """Alpha (h, w): the mean of what the sources leave likely."""
    steps = torch.linspace(0, 1, _STEPS)
    through, doubt = _shows_through(seen)
    spread = _GUIDE_SURE + _GUIDE_HALF * seen.guide * (1 - seen.guide)
    known = torch.stack([
        torch.log(torch.exp(-0.5 * ((a - seen.guide) / spread) ** 2) / spread + _GUIDE_WRONG) - 0.5 * ((1 - a - through) / doubt) ** 2
        for a in steps
    ])  # fmt: skip
    alpha = seen.guide
    for _ in range(2):
        dust, bright = _dust_colour(seen, alpha)
        likely = torch.softmax(known + torch.stack([_towards(seen, a, dust, bright) for a in steps]), 0)
        alpha = (likely * steps[:, None, None]).sum(0)
    return alpha


def _shows_through(seen: _Seen) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the plate's texture the picture still has, 1 - alpha, and its standard error: a regression in a window."""
    weight = seen.noise**-2
    whole = _blurred(weight, _TEXTURE)
    plate, picture = (_blurred(weight * x, _TEXTURE) / whole for x in (seen.plate, seen.picture))
    both = (_blurred(weight * seen.plate * seen.picture, _TEXTURE) - whole * plate * picture).sum(0)
    own = (_blurred(weight * seen.plate**2, _TEXTURE) - whole * plate**2).sum(0).clamp_min(1e-6)
    its = (_blurred(weight * seen.picture**2, _TEXTURE) - whole * picture**2).sum(0)
    through = both / own
    left = ((its - through * both) / 3).clamp_min(1.0)
    return through, (left / (own * _SAMPLES)).sqrt() + 0.02


def _dust_colour(seen: _Seen, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The dust's colour about each pixel (3, h, w), not premultiplied, and how much its brightness differs (h, w), a share of it."""
    own = ((seen.picture - (1 - alpha) * seen.plate) / alpha.clamp_min(0.02)).clamp_min(0)
    weight = alpha**3 * (seen.there & (seen.visible > 0.5)) + 1e-12
    near, least = _blurred(weight, _COLOUR), 1e-3 * weight.mean() + 1e-9
    everywhere = (own * weight).sum((1, 2)) / weight.sum()
    dust = ((_blurred(own * weight, _COLOUR) + least * everywhere[:, None, None]) / (near + least)).clamp_min(1e-4)
    share = (own * dust).sum(0) / (dust * dust).sum(0)
    spread = (_blurred((share - 1) ** 2 * weight, _COLOUR) + least * 0.16) / (near + least)
    return dust, spread.sqrt().clamp(_BRIGHT_LEAST, _BRIGHT_MOST)


def _towards(seen: _Seen, alpha: torch.Tensor, dust: torch.Tensor, bright: torch.Tensor) -> torch.Tensor:
    """Log likelihood (h, w) of the picture's colour if alpha were this: dust of about this colour and any brightness, and noise."""
    off = seen.picture - alpha * dust - (1 - alpha) * seen.plate
    variance = (alpha * _CHROMA * dust) ** 2 + seen.noise**2
    squared, along, size = ((x / variance).sum(0) for x in (off * off, dust * off, dust * dust))
    wide = (alpha * bright) ** 2
    return -0.5 * (squared - wide * along**2 / (1 + wide * size) + variance.log().sum(0) + torch.log1p(wide * size))


def _layer(picture: np.ndarray, plate: np.ndarray, seen: _Seen, alpha: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    alpha = torch.minimum(alpha, seen.visible) * seen.there
    alpha = torch.where(alpha < _LEAST, torch.zeros(()), alpha)
    rgb = ((seen.picture - (1 - alpha) * seen.plate).clamp_min(0) * (alpha > 0)).numpy()
    return np.ascontiguousarray(np.moveaxis(rgb, 0, -1)), alpha.numpy()
