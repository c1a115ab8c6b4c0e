# SPDX-License-Identifier: Apache-2.0
"""From a guide's frame to what the network is told, and from its answer back to passes. Used in training and use alike.

It knows encodings and sizes. It must not know windows, noise levels or where guides come from.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

#: The dust may grow this many pixels beyond the guide, where the guide's alpha exceeds the threshold.
SUPPORT_PIXELS = 6
SUPPORT_ALPHA = 0.01
#: Dust is a veil where the guide, in the mean of 7x7 pixels, has less alpha than these within so many pixels around: no veil, all of one.
VEIL_PIXELS, NO_VEIL, ALL_VEIL = 8, 0.9, 0.4
#: The part of its detail that is drawn into a veil: by eye. All of it is lace, for a user's guide is more even there than those of lessons.
VEIL_DETAIL = 0.4
#: Alpha of a guide, from which on its detail is looked at.
DUSTY = 0.02
#: The cells of the guide's simulation that training has: pixels of the result across, and optical depth at density 1. Others are told as
#: the nearest of them; a usual one is zero.
LEAST_CELL, USUAL_CELL, MOST_CELL = (5.0, 0.7), (8.0, 1.6), (16.0, 4.3)
#: Times the logarithm: small numbers would be learned late.
LOUDER = 8.0
#: Logarithms of the power of a guide's finest detail and of the next coarser, where there is dust: what training has, and its middle.
LEAST_FINE, USUAL_FINE, MOST_FINE = (-9.5, -7.0), (-6.75, -5.25), (-4.5, -3.5)
#: Times those: they spread by about one.
FINE_LOUDER = 4.0
#: How many numbers a network can be told of a frame: six of `of_frame`, two of `fineness`.
FRAME_NUMBERS = 8
#: And how many of each place, by `tell`: three passes, depth, how fine each pass is there, and how thick the dust.
CHANNELS = 8
#: Power of a detail that is none; what a usual one's logarithm is, and what is one of it: a fifth of their spread, or it is learned late.
NO_FINE, PLACE_FINE, PLACE_SPREAD = 1e-6, -9.0, 0.2
#: Alpha above this is this: a logarithm needs an end. And the optical depth that is one.
MOST_ALPHA, THICK = 0.9999, 0.3


def encode(passes: torch.Tensor) -> torch.Tensor:
    """(..., 3, h, w) linear premultiplied sun, ambient, alpha to what the network sees: light under a square root."""
    light = passes[..., :2, :, :].clamp_min(0).sqrt()
    return torch.cat([light, passes[..., 2:, :, :].clamp(0, 1)], dim=-3)


def decode(passes: torch.Tensor) -> torch.Tensor:
    """The inverse of `encode`. Negative light is nothing (squared as it is, it would come back as haze)."""
    light = passes[..., :2, :, :].clamp_min(0).square()
    return torch.cat([light, passes[..., 2:, :, :].clamp(0, 1)], dim=-3)


def normal_depth(alpha: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """(..., h, w) alpha-weighted depth, free of scene and units: alpha * (depth - mean) / spread, in [-3, 3].

    Mean and spread are of each frame alone, so that a frame's condition does not depend on its window.
    """
    weight = torch.where(torch.isfinite(depth), alpha, 0.0)
    known = torch.where(torch.isfinite(depth), depth, 0.0)
    total = weight.sum((-2, -1), keepdim=True).clamp_min(1e-6)
    mean = (weight * known).sum((-2, -1), keepdim=True) / total
    spread = ((weight * (known - mean).square()).sum((-2, -1), keepdim=True) / total).sqrt()
    return weight * ((known - mean) / spread.clamp_min(1e-6 + 1e-3 * mean.abs())).clamp(-3, 3)


def tell(guide: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """(frames, CHANNELS, h, w): a guide (frames, 3, h, w), linear premultiplied, and its depth (frames, h, w), as the network sees them."""
    passes = encode(guide)
    return torch.cat([passes, normal_depth(passes[:, 2], depth)[:, None], *_of_places(passes)], dim=1)


def _of_places(passes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(frames, 3, h, w) how fine the guide is at each place, pass by pass, and (frames, 1, h, w) how thick the dust is there.

    passes: (frames, 3, h, w), encoded. Both are in the passes already, and too faint there beside the noise: where a face is smooth and
    where a dense cloud thins, logarithms tell.
    """
    power = _near((passes - _near(passes)).square())
    thick = -torch.log1p(-passes[:, 2:].clamp_max(MOST_ALPHA))
    return ((power + NO_FINE).log() - PLACE_FINE) / PLACE_SPREAD, thick / THICK


def _near(passes: torch.Tensor, reach: int = 1) -> torch.Tensor:
    """Mean of so many pixels all around each, and of itself."""
    return F.avg_pool2d(F.pad(passes, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)


def of_frame(light: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
    """(frames, 6) what the network is told of a frame beside its picture: the way to the sun, whether the cell is known, its logarithms.

    light: (frames, 3) towards the sun in the camera's axes. cell: (frames, 2) of a cell of the guide's simulation, pixels of the result
    across where the dust is in the mean, and optical depth at density 1; NaN is not known. By it the network knows how fine and how crisp
    billows are in such a picture, which a soft guide hardly shows.
    """
    known = torch.isfinite(cell).all(-1, keepdim=True)
    least, usual, most = (torch.tensor(pair).to(light) for pair in (LEAST_CELL, USUAL_CELL, MOST_CELL))
    size = LOUDER * torch.log(torch.minimum(torch.maximum(cell.to(light), least), most) / usual)
    return torch.cat([light, known.to(light), torch.where(known, size, 0.0)], dim=-1)


def fineness(low: torch.Tensor) -> torch.Tensor:
    """(frames, 2) what the network is told of how fine its guide is: power of its detail in 3x3 pixels and in 7x7, in dust.

    low: (frames, 3 or more, h, w), what `tell` gave, of whole frames; 0 where there is no dust. Where a guide itself is smooth, truths are.
    The network's norms, of each pixel alone, keep how strong a detail is from all that follows, so it is said here.
    """
    passes, there = low[:, :3].float(), (low[:, 2:3] > DUSTY).float()
    fine, coarse = (_near(passes, reach) for reach in (1, 3))
    count = there.sum((1, 2, 3))
    power = [(part.square().mean(1, keepdim=True) * there).sum((1, 2, 3)) / count.clamp_min(1) for part in (passes - fine, fine - coarse)]
    least, usual, most = (torch.tensor(pair).to(passes) for pair in (LEAST_FINE, USUAL_FINE, MOST_FINE))
    said = torch.stack(power, dim=-1).clamp_min(1e-9).log()
    return torch.where(count[:, None] > 0, FINE_LOUDER * (torch.minimum(torch.maximum(said, least), most) - usual), 0.0)


def widen(low: torch.Tensor, size) -> torch.Tensor:
    """What `tell` gave, at another size (H, W), through a cubic spline; light and alpha stay in range.

    A spline and not a bicubic: that one bends at every pixel of the guide, and its bends stand in the dust as ribs.
    """
    down, along = (_spline(*pair).to(low) for pair in zip(low.shape[-2:], size))
    low = down @ low @ along.T
    return torch.cat([low[:, :2].clamp_min(0), low[:, 2:3].clamp(0, 1), low[:, 3:]], dim=1)


@lru_cache(maxsize=64)
def _spline(count: int, size: int) -> torch.Tensor:
    """(size, count) float32: values of `count` pixels at the middles of `size`, by the cubic B-spline through them (Unser 1999)."""
    if size == count:
        return torch.eye(count)
    at = (torch.arange(size, dtype=torch.float64) + 0.5) * count / size - 0.5
    weights = _bells(at, count) @ torch.linalg.inv(_bells(torch.arange(count, dtype=torch.float64), count))
    return torch.where(weights.abs() < 1e-9, 0.0, weights).float()  # what is left far off would be too small for a float, and slow


def _bells(at: torch.Tensor, count: int) -> torch.Tensor:
    """(places, count) float64: what each of `count` cubic B-splines, one pixel apart, has at the places; the outer ones go on."""
    first = at.floor()
    x = at - first
    rows, out = torch.arange(len(at)), torch.zeros(len(at), count, dtype=torch.float64)
    parts = (1 - x) ** 3, 4 - 6 * x**2 + 3 * x**3, 4 - 6 * (1 - x) ** 2 + 3 * (1 - x) ** 3, x**3
    for number, part in enumerate(parts):
        out.index_put_((rows, (first.long() + number - 1).clamp(0, count - 1)), part / 6, accumulate=True)
    return out


def condition(guide: torch.Tensor, depth: torch.Tensor, size) -> torch.Tensor:
    """What the network is told: (frames, CHANNELS, H, W): `tell`, widened. Its first three are the base that the residual is added to.

    guide: (frames, 3, h, w) linear premultiplied sun, ambient, alpha. depth: (frames, h, w) along the camera axis,
    inf where clear. size: (H, W) to make, usually four times the guide's.
    """
    return widen(tell(guide, depth), size)


def support(base: torch.Tensor) -> torch.Tensor:
    """(frames, 1, H, W) of 0 or 1 where dust may be: the guide's alpha (channel 2 of the condition), dilated."""
    return _most((base[:, 2:3] > SUPPORT_ALPHA).float(), SUPPORT_PIXELS)


def drawn(base: torch.Tensor) -> torch.Tensor:
    """(frames, 1, H, W) from VEIL_DETAIL to 1: how much of the network's residual is taken, less in veils, all of it at rims of thick dust.

    In use alone, and not in lessons: a network would learn to draw the more.
    """
    near = _most(_near(base[:, 2:3], 3), VEIL_PIXELS)
    thick = ((near - ALL_VEIL) / (NO_VEIL - ALL_VEIL)).clamp(0, 1)
    return VEIL_DETAIL + (1 - VEIL_DETAIL) * thick.square() * (3 - 2 * thick)


def _most(pictures: torch.Tensor, reach: int) -> torch.Tensor:
    """The most of so many pixels all around each, and of itself."""
    size = 2 * reach + 1
    for window, margin in (((1, size), (0, reach)), ((size, 1), (reach, 0))):  # a square of it is a row's of columns
        pictures = F.max_pool2d(pictures, window, stride=1, padding=margin)
    return pictures
