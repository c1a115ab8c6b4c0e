# SPDX-License-Identifier: Apache-2.0
"""Pictures to latents and back through the real VAE, a few frames at a time: what is held does not grow with the shot.

The VAE is causal: its first latent frame codes one frame, each other one four. Both ways here are bit-equal to `vae.encode` and
`vae.decode` of the whole clip. The VAE stays in float32: half a step of bfloat16 near white is a hundredth of a stop and more.
"""

from __future__ import annotations

import contextlib
from typing import Callable, Dict, Iterator

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution


def _statistics(vae, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1 / deviation of the latents' channels, (1, c, 1, 1, 1)."""
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean, device=device, dtype=torch.float32).view(shape)
    return mean, 1.0 / torch.tensor(vae.config.latents_std, device=device, dtype=torch.float32).view(shape)


def groups(frames: int) -> list[range]:
    """The frames that each latent frame codes: 0, 1-4, 5-8 ..."""
    return [range(0, 1), *(range(first, first + 4) for first in range(1, frames, 4))]


@torch.no_grad()
def encode(vae, read: Callable[[int], torch.Tensor], frames: int) -> torch.Tensor:
    """Normalised latents (1, c, t, h / 8, w / 8) of `frames` = 4 k + 1 frames.

    read(i) -> (3, h, w) float32 in [-1, 1], asked for once each and in order. The mode of the VAE's distribution: nothing is drawn.
    """
    device = vae.device

    def clip(numbers: range) -> torch.Tensor:
        return torch.stack([read(i) for i in numbers], 1)[None].to(vae.dtype)

    if vae.use_tiling:
        with _tiles_come_and_go(vae):
            coded = vae.encode(clip(range(frames))).latent_dist.mode()
    else:
        try:
            vae.clear_cache()
            parts = []
            for numbers in groups(frames):
                vae._enc_conv_idx = [0]
                parts.append(vae.encoder(clip(numbers).to(device), feat_cache=vae._enc_feat_map, feat_idx=vae._enc_conv_idx))
            coded = DiagonalGaussianDistribution(vae.quant_conv(torch.cat(parts, 2))).mode()
        finally:
            vae.clear_cache()
    mean, scale = _statistics(vae, device)
    return ((coded.float() - mean) * scale).to(vae.dtype)


@torch.no_grad()
def decode(vae, latents: torch.Tensor) -> Iterator[torch.Tensor]:
    """Frames (3, h, w) float32 in [0, 1], on the CPU, one by one, of normalised latents (1, c, t, h, w)."""
    latents = latents.to(vae.dtype)
    mean, scale = (part.to(latents.dtype) for part in _statistics(vae, latents.device))
    latents = latents / scale + mean
    if vae.use_tiling:
        with _tiles_come_and_go(vae):
            made = vae.decode(latents, return_dict=False)[0]
        yield from _frames(made)
        return
    try:
        vae.clear_cache()
        ready = vae.post_quant_conv(latents)
        for i in range(ready.shape[2]):
            vae._conv_idx = [0]
            first: Dict[str, bool] = {"first_chunk": True} if i == 0 else {}
            out = vae.decoder(ready[:, :, i : i + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **first)
            yield from _frames(torch.clamp(out, min=-1.0, max=1.0))
    finally:
        vae.clear_cache()


@contextlib.contextmanager
def _tiles_come_and_go(vae) -> Iterator[None]:
    """While it lasts a tile of frames comes to the VAE's device when it is its turn, and what is made of one leaves it: diffusers puts the
    tiles of the whole clip together, and holds it nearly five times for that. Cutting and blending are the same bits on either side."""
    hooks = [
        vae.encoder.register_forward_pre_hook(lambda module, given: (given[0].to(vae.device), *given[1:])),
        vae.decoder.register_forward_hook(lambda module, given, made: made.cpu()),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _frames(clip: torch.Tensor) -> Iterator[torch.Tensor]:
    yield from (clip[0] * 0.5 + 0.5).clamp(0, 1).float().cpu().unbind(1)
