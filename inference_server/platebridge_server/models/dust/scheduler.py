# SPDX-License-Identifier: Apache-2.0
"""The noise levels of the dust model and the step between two of them: DPM-Solver++(2M), deterministic.

It knows numbers and tensors. It must not know windows, frames or the network.
"""

from __future__ import annotations

from pathlib import Path

import torch

from platebridge_server.models.dust.files import read_options, write_options

OPTIONS_FILE = "scheduler_config.json"


class DustLevels:
    """Levels from sigma_max to sigma_min, spaced by rho (Karras et al. 2022); steps by DPM-Solver++(2M) (Lu et al. 2022).

    The last level's denoised value is the result. Ending at 0.1 rather than lower is deliberate: a network's
    error at tiny noise is grain in the picture.

    `noise_taps`: the filter in time that white noise goes through before it is used, in training and in sampling: an odd number of weights
    around a frame, of any scale. Noise that is new in every frame asks for detail that is new in every frame, and dust boils.
    """

    def __init__(self, sigma_min: float = 0.1, sigma_max: float = 14.0, rho: float = 4.0, noise_taps: tuple[float, ...] = (1.0,)):
        self.options = {"sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho, "noise_taps": tuple(noise_taps)}
        self.init_noise_sigma = sigma_max
        self.set_timesteps(4)

    @classmethod
    def read(cls, folder: Path) -> DustLevels:
        """From a folder in diffusers' layout. Raises OSError and ValueError."""
        return cls(**read_options(folder / OPTIONS_FILE))

    def write(self, folder: Path) -> None:
        """Into a folder in diffusers' layout."""
        write_options(folder / OPTIONS_FILE, "DustScheduler", self.options)

    def set_timesteps(self, num_inference_steps: int, device=None):
        """Choose the levels; `timesteps` are the sigmas themselves, highest first."""
        rho = self.options["rho"]
        low, high = (self.options[name] ** (1 / rho) for name in ("sigma_min", "sigma_max"))
        ramp = torch.linspace(0, 1, num_inference_steps, dtype=torch.float64)
        self.num_inference_steps = num_inference_steps
        self.sigmas = ((high + ramp * (low - high)) ** rho).float()
        self.timesteps = self.sigmas.to(device) if device else self.sigmas

    def in_time(self, white: torch.Tensor) -> torch.Tensor:
        """Unit noise (..., frames, c, h, w) from white noise of as many frames and len(noise_taps) - 1 more."""
        taps = torch.tensor(self.options["noise_taps"], dtype=white.dtype, device=white.device)
        taps = taps / taps.square().sum().sqrt()
        frames = white.shape[-4] - len(taps) + 1
        return sum(tap * white[..., number : number + frames, :, :, :] for number, tap in enumerate(taps))

    def advance(self, sample, denoised, before, level: int):
        """The sample at level + 1, from the denoised values at `level` and at the level before it (None at the first).

        A pure function, frame by frame, so that windows may be at different levels at one time.
        """
        sigmas = self.sigmas.tolist()
        if level + 1 == len(sigmas):
            return denoised
        ratio = sigmas[level + 1] / sigmas[level]
        if before is not None:
            step = torch.log(self.sigmas[level] / self.sigmas[level + 1]).item()
            last = torch.log(self.sigmas[level - 1] / self.sigmas[level]).item()
            lean = step / (2 * last)
            denoised = (1 + lean) * denoised - lean * before
        return ratio * sample + (1 - ratio) * denoised
