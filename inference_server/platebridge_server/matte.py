# SPDX-License-Identifier: Apache-2.0
"""The effect in a generated picture as a layer of its own: premultiplied colour and alpha, from the picture and its plate.

A picture model gives back a whole picture; the product is an effect over an untouched plate. What is known at a pixel is one
colour, what is sought is alpha and a colour. Three things tell of alpha, each with its own doubt: the guide's alpha, how far the
pixel has gone from the plate towards the dust's colour (measured from the picture itself), and how much of the plate's texture
still shows through. A small network, trained on our own simulations over made-up plates (`training/matting.py`), weighs them; noise
is among what it was shown, so a difference within what a VAE does to any plate is no dust. Colour then follows exactly: what has
to be added to the plate behind that alpha to give the picture. It must not know models, files of a shot or the comp.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from . import colour

WEIGHTS = Path(__file__).parent / "weights" / "matte.safetensors"
#: What the network looks at pictures through, whatever the model saw them through: values of any working space as they are.
EYES = colour.find("display")
#: Pixels: how far plate and picture are compared for texture; how far the dust's colour is taken to stay the same.
_TEXTURE, _COLOUR = 3.0, 24.0
#: Pixels: a blur of this much and more is made at a quarter of the size.
_WIDE = 16.0
#: Independent samples of noise in the texture's window.
_SAMPLES = 9.0
#: How much the dust's light differs from its mean; what the network's alpha is off where it is sure, and at one half four times over.
_OWN_LIGHT, _SURE, _HALF = 0.3, 0.01, 0.5
#: Alpha under this is nothing.
_LEAST = 1.0 / 256
#: How many clues there are, and which is the guide's alpha.
CLUES, GUIDE = 20, 13


class Network(nn.Module):
    """Clues (n, CLUES, h, w) to the logit of alpha (n, h, w): the guide's, and what the rest says against it.

    Sizes are multiples of 8. Most of it works at half size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at_half = _layers(4 * CLUES, 32, 32)
        self.at_quarter = _layers(32, 48, 48)
        self.at_eighth = _layers(48, 64, 64)
        self.up_to_quarter = _layers(64 + 48, 48)
        self.up_to_half = _layers(48 + 32, 48)
        self.at_full = nn.Sequential(nn.Conv2d(12 + CLUES, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, clues: torch.Tensor) -> torch.Tensor:
        half = self.at_half(F.pixel_unshuffle(clues, 2))
        quarter = self.at_quarter(F.avg_pool2d(half, 2))
        deep = self.at_eighth(F.avg_pool2d(quarter, 2))
        deep = self.up_to_quarter(torch.cat([F.interpolate(deep, scale_factor=2.0), quarter], 1))
        deep = self.up_to_half(torch.cat([F.interpolate(deep, scale_factor=2.0), half], 1))
        return self.at_full(torch.cat([F.pixel_shuffle(deep, 2), clues], 1))[:, 0] + torch.logit(clues[:, GUIDE], 0.005)


def _layers(*channels: int) -> nn.Sequential:
    return nn.Sequential(*(part for a, b in zip(channels, channels[1:]) for part in (nn.Conv2d(a, b, 3, padding=1), nn.SiLU())))


def clues(picture, plate, guide, visible, noise: float) -> torch.Tensor:
    """What the network sees of a frame, (CLUES, h, w). picture, plate: (h, w, 3) linear; guide, visible: (h, w); noise: code values."""
    codes = [_planes(colour.limited(EYES.encode(x))[0]) for x in (picture, plate)]
    doubt = noise * _slope(codes[0])
    picture, plate = _planes(picture), _planes(plate)
    visible = torch.from_numpy(np.asarray(visible, np.float32))
    guide = torch.minimum(torch.from_numpy(np.asarray(guide, np.float32)).clamp(0, 1), visible)
    through, through_doubt = _shows_through(picture, plate, doubt)
    dust = _dust_colour(picture, plate, guide)
    towards, towards_doubt = _towards(picture, plate, dust, doubt)
    trust, trust_too = (1 / (1 + (x / 0.1) ** 2) for x in (through_doubt, towards_doubt))
    difference = codes[0] - codes[1]
    changed, dust = _blurred(4 * difference.abs().mean(0), 2.0), _planes(EYES.encode(np.moveaxis(dust.numpy(), 0, -1)))
    covered, towards = (x.clamp(-0.5, 1.5) * sure for x, sure in ((1 - through, trust), (towards, trust_too)))
    alone = [changed, guide, visible, torch.full_like(guide, 20 * noise), covered, trust, towards, trust_too]
    return torch.cat([*codes, 4 * difference, dust, torch.stack(alone)])


def _slope(code: torch.Tensor) -> torch.Tensor:
    """Light per code value of planes (3, h, w), a little blurred."""
    flat, step = np.moveaxis(_blurred(code, 1.0).numpy(), 0, -1), np.float32(1e-3)
    return _planes((EYES.decode(flat + step) - EYES.decode(flat - step)) / (2 * step)).clamp_min(1e-6)


def _shows_through(picture: torch.Tensor, plate: torch.Tensor, doubt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the plate's texture the picture still has, 1 - alpha, and its standard error: a regression in a window."""
    weight = doubt**-2
    whole = _blurred(weight, _TEXTURE)
    behind, seen = (_blurred(weight * x, _TEXTURE) / whole for x in (plate, picture))
    both = (_blurred(weight * plate * picture, _TEXTURE) - whole * behind * seen).sum(0)
    own = (_blurred(weight * plate**2, _TEXTURE) - whole * behind**2).sum(0).clamp_min(1e-6)
    its = (_blurred(weight * picture**2, _TEXTURE) - whole * seen**2).sum(0)
    through = both / own
    left = ((its - through * both) / 3).clamp_min(1.0)
    return through, (left / (own * _SAMPLES)).sqrt()


def _dust_colour(picture: torch.Tensor, plate: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """The dust's colour about each pixel (3, h, w), not premultiplied: that of the thick dust nearby, else of all there is."""
    own = ((picture - (1 - alpha) * plate) / alpha.clamp_min(0.02)).clamp_min(0)
    weight = alpha**3 + 1e-6
    near, least = _blurred(weight, _COLOUR), 1e-3 * weight.mean()
    everywhere = (own * weight).sum((1, 2)) / weight.sum()
    return ((_blurred(own * weight, _COLOUR) + least * everywhere[:, None, None]) / (near + least)).clamp_min(1e-4)


def _towards(picture: torch.Tensor, plate: torch.Tensor, dust: torch.Tensor, doubt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far a pixel has gone from the plate to the dust's colour, and its standard error if that colour were right."""
    way = (dust - plate) / doubt
    length = (way * way).sum(0).clamp_min(1e-6)
    return ((picture - plate) / doubt * way).sum(0) / length, length**-0.5


def _planes(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, -1, 0), dtype=np.float32))


def _blurred(planes: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (..., h, w), the edge repeated. A wide one is made of a quarter of the rows and columns: it keeps nothing finer."""
    if sigma >= _WIDE:
        return _at_a_quarter(planes, sigma)
    radius = int(3 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    out = planes.reshape(-1, 1, *planes.shape[-2:])
    out = F.conv2d(F.pad(out, (radius, radius, 0, 0), mode="replicate"), taps.view(1, 1, 1, -1))
    out = F.conv2d(F.pad(out, (0, 0, radius, radius), mode="replicate"), taps.view(1, 1, -1, 1))
    return out.view(planes.shape)


def _at_a_quarter(planes: torch.Tensor, sigma: float) -> torch.Tensor:
    h, w = planes.shape[-2:]
    whole = F.pad(planes.reshape(-1, 1, h, w), (0, -w % 4, 0, -h % 4), mode="replicate")
    # A box of four and the line between two means blur too, by (4^2 - 1) / 12 and by about 4^2 / 6 pixels squared.
    low = _blurred(F.avg_pool2d(whole, 4), math.sqrt(sigma**2 - 4) / 4)
    return F.interpolate(low, whole.shape[-2:], mode="bilinear", align_corners=False)[..., :h, :w].reshape(planes.shape)


# What callers use.


def estimate(
    generated: Sequence[np.ndarray], plate: Sequence[np.ndarray], mask: Sequence[np.ndarray], guide_alpha: Sequence[np.ndarray],
    visible: Sequence[np.ndarray], *, transform: colour.Transform = EYES, noise: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The effect of a run of frames: rgb (frames, h, w, 3) float32 premultiplied scene-linear, alpha (frames, h, w) float32.

    generated, plate: (frames, h, w, 3) float32, scene-linear. mask: (frames, h, w), above 0 where the model was to paint. guide_alpha:
    (frames, h, w) in [0, 1]. visible: (frames, h, w) in [0, 1], 1 where nothing stands before the effect. transform: what the model
    saw the plate through. noise: what the VAE does to a picture, in display code values; `measured_noise` if None.

    Alpha and colour are exactly 0 outside the mask and where visible is 0; alpha is never above visible, rgb never below 0. Over the
    plate the effect gives the generated picture back, but for the VAE's noise where dust is thin or absent, for what no dust can do
    (a picture darker than all that shows through), and for a plate lighter than the transform's white, which shines through as it is.
    On clouds that are known, with noise of 0.015, the mean error of that inside the mask is below 0.01 in display code values, and alpha's
    is 0.02 to 0.04, the most where dust has nearly the plate's own colours: docs/matte.md.
    """
    out = list(estimates(generated, plate, mask, guide_alpha, visible, transform=transform, noise=noise))
    return np.stack([rgb for rgb, _ in out]), np.stack([alpha for _, alpha in out])


def estimates(
    generated, plate, mask, guide_alpha, visible, *, transform: colour.Transform = EYES, noise: float | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `estimate`, a frame at a time: (rgb (h, w, 3), alpha (h, w)). Looks one frame ahead; what it holds does not grow."""
    if noise is None:
        noise = measured_noise(generated, plate, mask)
    last = len(generated) - 1
    held: dict[int, _Frame] = {}
    for at in range(last + 1):
        near = [n for n in (at - 1, at, at + 1) if 0 <= n <= last]
        for n in near:
            if n not in held:
                held[n] = _Frame(generated[n], plate[n], mask[n], guide_alpha[n], visible[n], transform, noise)
        held = {n: held[n] for n in near}
        yield held[at].layer(_steadied(held[at], [held[n] for n in near if n != at], noise))


def measured_noise(generated, plate, mask) -> float:
    """What a VAE does to a plate, in display code values: the spread of generated minus plate outside the mask, in three frames.

    0.015 where it can't be told: nothing lies outside the mask, or what lies there was put back and does not differ.
    """
    spread = []
    for at in sorted({0, len(generated) // 2, len(generated) - 1}):
        outside = ~(np.asarray(mask[at]) > 0)
        if outside.mean() > 0.02:
            codes = (colour.limited(EYES.encode(np.asarray(x[at])[outside]))[0] for x in (generated, plate))
            spread.append(1.4826 * np.median(np.abs(np.subtract(*codes))))
    found = float(np.median(spread)) if spread else 0.0
    return float(np.clip(found, 0.003, 0.03)) if found > 1e-4 else 0.015


class _Frame:
    """One frame: its pictures, what is made of its alpha, and how the layer is cut from it. Works in a window about the mask."""

    def __init__(self, picture, plate, mask, guide, visible, transform: colour.Transform, noise: float) -> None:
        self.there = (np.asarray(mask) > 0) & (np.asarray(visible) > 0)
        self.visible = np.asarray(visible, np.float32)
        self.cut = cut = _window(self.there)
        picture = np.asarray(picture[cut], np.float32)
        plate = transform.decode(colour.limited(transform.encode(np.asarray(plate[cut], np.float32)))[0])
        code = _planes(colour.limited(EYES.encode(picture))[0])
        self.code = _blurred(code, 1.0)
        self.picture, self.plate, self.noise = _planes(picture), _planes(plate), noise * _slope(code)
        seen = clues(picture, plate, np.asarray(guide)[cut], self.visible[cut], noise)
        self.alpha = self._sharpened(_network_alpha(seen)) * torch.from_numpy(self.there[cut])

    def _sharpened(self, alpha: torch.Tensor) -> torch.Tensor:
        """The network's alpha, and how far the picture is on the way from plate to dust, each by its doubt.

        Before a bright sky the second knows better by far: there the dust's own light matters little.
        """
        dust = _dust_colour(self.picture, self.plate, alpha)
        way, doubt = _towards(self.picture, self.plate, dust, self.noise)
        apart = (dust - self.plate).square().sum(0).sqrt().clamp_min(1e-6)
        doubt = doubt**2 + (alpha * _OWN_LIGHT * dust.square().sum(0).sqrt() / apart) ** 2 + 1e-6
        own = (_SURE + _HALF * alpha * (1 - alpha)) ** 2
        return ((alpha / own + way.clamp(0, 1) / doubt) / (1 / own + 1 / doubt)).clamp(0, 1)

    def layer(self, alpha: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Premultiplied colour and alpha (of the window's), whole. Where noise and alpha's own doubt outweigh the dust's light, its colour
        is that of the dust nearby."""
        alpha = torch.where(alpha < _LEAST, torch.zeros(()), alpha)
        dust = alpha * _dust_colour(self.picture, self.plate, alpha)
        doubt = (2 * self.noise) ** 2 + (_HALF * (1 - alpha) * (alpha * self.plate - dust)) ** 2
        exact = self.picture - (1 - alpha) * self.plate
        colours = (dust + dust**2 / (dust**2 + doubt).clamp_min(1e-12) * (exact - dust)).clamp_min(0)
        visible = torch.from_numpy(self.visible[self.cut])
        share = (visible / alpha.clamp_min(_LEAST)).clamp_max(1) * (alpha > 0)
        rgb = np.zeros((*self.there.shape, 3), np.float32)
        rgb[self.cut] = np.moveaxis((colours * share).numpy(), 0, -1)
        whole = np.zeros(self.there.shape, np.float32)
        whole[self.cut] = torch.minimum(alpha, visible).numpy()
        return rgb, whole


def _window(there: np.ndarray) -> tuple[slice, slice]:
    """Where there is anything, with 32 pixels about it; a corner's where there is nothing."""
    spans = []
    for axis, size in ((1, there.shape[0]), (0, there.shape[1])):
        found = np.flatnonzero(there.any(axis=axis))
        first, last = (found[0], found[-1]) if len(found) else (0, 0)
        spans.append(slice(max(0, first - 32), min(size, last + 33)))
    return spans[0], spans[1]


@lru_cache(maxsize=1)
def weights_sha256() -> str:
    """Of the network's file: it has a part in every effect that is cut from a picture."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def _network() -> Network:
    network = Network()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS).items()})
    return network.eval().requires_grad_(False)


def _network_alpha(seen: torch.Tensor) -> torch.Tensor:
    height, width = seen.shape[1:]
    whole = F.pad(seen[None], (0, -width % 8, 0, -height % 8), mode="replicate")
    with torch.inference_mode():
        return torch.sigmoid(_network()(whole))[0, :height, :width].clone()


def _steadied(frame: _Frame, others: list[_Frame], noise: float) -> torch.Tensor:
    """Alpha of the frame's window, the mean of its own and its neighbours' wherever the picture there is the same but for noise."""
    total, weight = frame.alpha.clone(), torch.ones_like(frame.alpha)
    for other in others:
        mine, its = _shared(frame.cut, other.cut)
        apart = (frame.code[(slice(None), *mine)] - other.code[(slice(None), *its)]).square().mean(0)
        same = torch.exp(-apart / (2 * noise**2)) * torch.from_numpy(other.there[other.cut][its])
        total[mine] += same * other.alpha[its]
        weight[mine] += same
    return total / weight * torch.from_numpy(frame.there[frame.cut])


def _shared(one: tuple[slice, slice], other: tuple[slice, slice]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What two windows share, in each one's own pixels; empty where they share nothing."""
    spans = [(max(a.start, b.start), max(min(a.stop, b.stop), a.start, b.start)) for a, b in zip(one, other)]
    mine, its = ([slice(first - w.start, last - w.start) for (first, last), w in zip(spans, window)] for window in (one, other))
    return (mine[0], mine[1]), (its[0], its[1])
