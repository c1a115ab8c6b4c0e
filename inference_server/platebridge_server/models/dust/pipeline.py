# SPDX-License-Identifier: Apache-2.0
"""The model `dust` as a pipeline of diffusers, for scripts: saved, loaded and called as theirs are.

The server takes `sampling.py`, which this is: diffusers' pipelines alone cost a draft over a second of imports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput

from platebridge_server.models.dust.network import DustUNet
from platebridge_server.models.dust.sampling import FINAL_STEPS, Dust
from platebridge_server.models.dust.scheduler import DustScheduler


@dataclass
class DustPipelineOutput(BaseOutput):
    """frames: (frames, 3, H, W) float32 sun, ambient, alpha; linear, premultiplied."""

    frames: np.ndarray


class DustPipeline(DiffusionPipeline, Dust):
    """`Dust.sample` gives frames one by one as they are finished; calling it gives them all."""

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
