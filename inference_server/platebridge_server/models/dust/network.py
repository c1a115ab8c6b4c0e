# SPDX-License-Identifier: Apache-2.0
"""The dust network: a small video U-Net that turns a soft guide into detailed dust, one noise level at a time.

It knows tensors of passes at one size. It must not know windows, files, cameras or requests.

(2+1)D: 3x3 in space, 3 taps in time, convolutional in both, so that any size and any length work. It sees the
picture in 2x2 blocks (unshuffled), which halves the cost; a linear skip carries fine noise past the trunk, which
a narrow normalised trunk cannot. Norms are per pixel: group statistics differ between a crop and a frame.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from platebridge_server.models.dust.files import read_options, write_options

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


def _silent(layer: nn.Module) -> None:
    """Let a layer begin at zero: a residual block that does nothing yet trains best."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class PixelNorm(nn.Module):
    """Norm over the channels of each pixel alone, in float32 inside, scaled and shifted by the embedding."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.dial = nn.Linear(embedding, 2 * channels)
        _silent(self.dial)

    def forward(self, x, embedding):
        scale, shift = self.dial(embedding)[:, :, None, None].to(x.dtype).chunk(2, dim=1)
        # channels_last makes this view contiguous, which is what the fused norm wants.
        normal = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],)).permute(0, 3, 1, 2)
        return torch.addcmul(shift, normal, 1 + scale)


class Block(nn.Module):
    """Residual: norm, 3x3, three taps in time, 3x3 (which begins at zero)."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.norm = PixelNorm(channels, embedding)
        self.space = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Conv2d(3 * channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)
        _silent(self.out)
        with torch.no_grad():  # in time it begins by passing the middle frame on
            self.time.weight.mul_(0.3)
            self.time.weight[:, channels : 2 * channels, 0, 0] += torch.eye(channels)

    def forward(self, x, embedding, frames: int):
        h = F.silu(self.space(self.norm(x, embedding)))
        return x + self.out(F.silu(self._in_time(h, frames)))

    def _in_time(self, h, frames: int):
        """Three taps in time; the first and the last frame are their own neighbours.

        As one 1x1 over three frames side by side this was a quarter of the network's time in copying alone.
        """
        before, here, after = self.time.weight.chunk(3, dim=1)
        out = F.conv2d(h, here, self.time.bias).unflatten(0, (-1, frames))
        side = F.conv2d(h, before).unflatten(0, (-1, frames))
        out[:, 1:] += side[:, :-1]
        out[:, :1] += side[:, :1]
        side = F.conv2d(h, after).unflatten(0, (-1, frames))
        out[:, :-1] += side[:, 1:]
        out[:, -1:] += side[:, -1:]
        return out.flatten(0, 1)


class DustNetwork(nn.Module):
    """Denoises the residual over the guide (EDM, Karras et al. 2022), all passes at once.

    in_channels: the residual's three. condition_channels: 4, the guide's three encoded passes and its depth, or 8, with what else
    `condition.tell` says of each place. `residual_scale` is the spread of each residual channel as measured in training data, so that
    residual / it * sigma_data is what is noised. frame_numbers: how many it is told of each frame: 3, the way to the sun, 6, all that
    `condition.of_frame` tells, or 8, with `condition.fineness`. `options`: all these, as config.json has them.
    """

    def __init__(self, in_channels: int = 3, condition_channels: int = 4, widths: tuple[int, ...] = (48, 96, 160),
                 blocks: tuple[int, ...] = (1, 2, 3), embedding: int = 128, sigma_data: float = 0.5,
                 residual_scale: tuple[float, ...] = (0.084, 0.086, 0.095), frame_numbers: int = 3):
        super().__init__()
        self.options = {
            "in_channels": in_channels, "condition_channels": condition_channels, "widths": tuple(widths), "blocks": tuple(blocks),
            "embedding": embedding, "sigma_data": sigma_data, "residual_scale": tuple(residual_scale),
            "frame_numbers": frame_numbers,
        }
        self.sigma_data, self.frame_numbers, self.condition_channels = sigma_data, frame_numbers, condition_channels
        seen = 4 * (in_channels + condition_channels)
        self.frequencies = 16
        first = nn.Linear(2 * self.frequencies + frame_numbers, embedding)
        self.embed = nn.Sequential(first, nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.enter = nn.Conv2d(seen, widths[0], 3, padding=1)
        self.skip = nn.Conv2d(seen, 4 * in_channels, 1)
        self.down, self.up, self.encoder, self.decoder, self.join = (nn.ModuleList() for _ in range(5))
        for level, (width, count) in enumerate(zip(widths, blocks)):
            self.encoder.append(nn.ModuleList(Block(width, embedding) for _ in range(count)))
            if level + 1 < len(widths):
                self.down.append(nn.Conv2d(width, widths[level + 1], 2, stride=2))
                self.up.append(nn.Conv2d(widths[level + 1], 4 * width, 1))
                self.join.append(nn.Conv2d(2 * width, width, 1))
                self.decoder.append(nn.ModuleList(Block(width, embedding) for _ in range(count)))
        self.leave_norm = PixelNorm(widths[0], embedding)
        self.leave = nn.Conv2d(widths[0], 4 * in_channels, 3, padding=1)
        _silent(self.leave)
        _silent(self.skip)

    @classmethod
    def read(cls, folder: Path) -> DustNetwork:
        """From a folder in diffusers' layout, in float32. Raises OSError and ValueError."""
        network = cls(**read_options(folder / "config.json"))
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return network

    def write(self, folder: Path) -> None:
        """Into a folder in diffusers' layout, in the type that its weights have."""
        write_options(folder / "config.json", "DustUNet", self.options)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS_FILE, {"format": "pt"})

    def hear(self, frame_numbers: int, condition_channels: int) -> None:
        """From now on it is told so much of each frame and of each place. At first what is new to it counts for nothing."""
        first = self.embed[0]
        more = frame_numbers - self.frame_numbers
        first.weight = nn.Parameter(F.pad(first.weight.detach(), (0, more)))
        first.in_features += more
        more = 4 * (condition_channels - self.condition_channels)
        for layer in (self.enter, self.skip):
            layer.weight = nn.Parameter(F.pad(layer.weight.detach(), (0, 0, 0, 0, 0, more)))
            layer.in_channels += more
        self.frame_numbers, self.condition_channels = frame_numbers, condition_channels
        self.options.update(frame_numbers=frame_numbers, condition_channels=condition_channels)

    @property
    def multiple(self) -> int:
        """Heights and widths must be a multiple of this many pixels."""
        return 2 * 2 ** (len(self.options["widths"]) - 1)

    def residual_scale(self, device=None) -> torch.Tensor:
        """(3, 1, 1) spread of the residual in each channel, divided by sigma_data: residual = this * what is noised."""
        return torch.tensor(self.options["residual_scale"], device=device)[:, None, None] / self.sigma_data

    def forward(self, sample, sigma, condition, light):
        """The denoised residual.

        sample: (batch, frames, 3, h, w) noised residual. sigma: (batch,) its noise. condition: (batch, frames, condition_channels, h, w).
        light: (batch, frames, frame_numbers). There may be more of both, which it does not look at. h, w: multiples of `multiple`.
        Returns float32.
        """
        data = self.sigma_data
        sigma = sigma.float().view(-1, 1, 1, 1, 1)
        total = sigma.square() + data**2
        sample = sample.float()
        seen = torch.cat([sample * total.rsqrt(), condition[:, :, : self.condition_channels].float()], dim=2)
        out = self._trunk(seen, sigma.view(-1).log() / 4, light[..., : self.frame_numbers].float()).float()
        return sample * (data**2 / total) + out * (sigma * data * total.rsqrt())

    def _trunk(self, seen, noise, light):
        batch, frames = seen.shape[:2]
        angle = noise[:, None] * torch.exp(torch.linspace(math.log(0.5), math.log(60.0), self.frequencies, device=seen.device))
        waves = torch.cat([angle.sin(), angle.cos()], dim=1)[:, None].expand(-1, frames, -1)
        embedding = self.embed(torch.cat([waves, light], dim=-1).flatten(0, 1).to(self.embed[0].weight.dtype))
        x = F.pixel_unshuffle(seen.flatten(0, 1), 2).contiguous(memory_format=torch.channels_last).to(self.enter.weight.dtype)
        straight = self.skip(x)
        x = self.enter(x)
        kept = []
        for level, stage in enumerate(self.encoder):
            for block in stage:
                x = block(x, embedding, frames)
            if level < len(self.down):
                kept.append(x)
                x = self.down[level](x)
        for level in reversed(range(len(self.up))):
            x = F.pixel_shuffle(self.up[level](x), 2)
            x = self.join[level](torch.cat([x, kept.pop()], dim=1))
            for block in self.decoder[level]:
                x = block(x, embedding, frames)
        out = self.leave(F.silu(self.leave_norm(x, embedding))) + straight
        return F.pixel_shuffle(out, 2).unflatten(0, (batch, frames))
