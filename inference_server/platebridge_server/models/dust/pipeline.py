# SPDX-License-Identifier: Apache-2.0
"""The model `dust` as diffusers has its own: a model, a scheduler and a pipeline, for scripts that save, load and call them as such.

Each is the server's own part with that face: what they compute is theirs. Importing diffusers alone takes longer than a draft is sampled,
so the server's way does not come by here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput

from platebridge_server.models.dust.network import DustNetwork
from platebridge_server.models.dust.sampling import FINAL_STEPS, Dust
from platebridge_server.models.dust.scheduler import DustLevels


class DustUNet(ModelMixin, DustNetwork, ConfigMixin):
    """`DustNetwork`, whose options are its config."""

    config_name: Any = "config.json"

    @register_to_config
    def __init__(self, in_channels: int = 3, condition_channels: int = 4, widths: tuple[int, ...] = (48, 96, 160),
                 blocks: tuple[int, ...] = (1, 2, 3), embedding: int = 128, sigma_data: float = 0.5,
                 residual_scale: tuple[float, ...] = (0.084, 0.086, 0.095), frame_numbers: int = 3):
        DustNetwork.__init__(self, in_channels, condition_channels, widths, blocks, embedding, sigma_data, residual_scale, frame_numbers)


@dataclass
class DustSchedulerOutput(BaseOutput):
    """prev_sample: the sample at the next, lower level of noise."""

    prev_sample: torch.Tensor


class DustScheduler(SchedulerMixin, ConfigMixin, DustLevels):
    """`DustLevels`, whose options are its config."""

    order = 1

    @register_to_config
    def __init__(self, sigma_min: float = 0.1, sigma_max: float = 14.0, rho: float = 4.0, noise_taps: tuple[float, ...] = (1.0,)):
        DustLevels.__init__(self, sigma_min, sigma_max, rho, noise_taps)

    def set_timesteps(self, num_inference_steps: int, device=None):
        """As `DustLevels.set_timesteps`; what `step` keeps is gone."""
        super().set_timesteps(num_inference_steps, device)
        self._before = None

    def scale_model_input(self, sample, timestep=None):
        """The network scales its own input: nothing to do."""
        return sample

    def step(self, model_output, timestep, sample, return_dict: bool = True):
        """diffusers' form of `advance`: model_output is the denoised sample, timestep one of `timesteps`."""
        level = int((self.sigmas - float(timestep)).abs().argmin())
        out = self.advance(sample, model_output, self._before if level else None, level)
        self._before = model_output
        return DustSchedulerOutput(prev_sample=out) if return_dict else (out,)


@dataclass
class DustPipelineOutput(BaseOutput):
    """frames: (frames, 3, H, W) float32 sun, ambient, alpha; linear, premultiplied."""

    frames: np.ndarray


class DustPipeline(DiffusionPipeline, Dust):
    """`sample` gives frames one by one as they are finished; calling it gives them all."""

    unet: DustUNet
    scheduler: DustScheduler

    def __init__(self, unet: DustUNet, scheduler: DustScheduler):
        self.register_modules(unet=unet, scheduler=scheduler)  # type: ignore[attr-defined]  # diffusers is untyped

    def __call__(self, guides: list[dict], size: tuple[int, int], seed: int = 0, num_inference_steps: int = FINAL_STEPS,
                 light_view=None, return_dict: bool = True, **options):
        """All frames of a short shot at once: guides is a list of what `guide_reader` gives; the rest as in `sample`."""
        made = self.sample(lambda frame: guides[frame], range(len(guides)), size, seed, num_inference_steps, light_view, **options)
        frames = np.stack([np.stack([got["sun"], got["ambient"], got["alpha"]]) for _, got in made])
        return DustPipelineOutput(frames=frames) if return_dict else (frames,)
