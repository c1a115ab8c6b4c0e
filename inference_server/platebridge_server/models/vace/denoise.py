# SPDX-License-Identifier: Apache-2.0
"""The denoising loop over the parts of a WanVACEPipeline, with windows inside each step.

Why a loop of our own: diffusers' has no windows, takes no conditioning that was encoded earlier, and tells of a step only when it is
over. For one window every operation is the stock loop's, in its order and precision, so the latents are bit-equal to it
(tests/server/test_vace_parity.py spells out the stock script).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor

from . import skipping
from .windows import Block, blocks

#: By name: the model's own, of second order, and the plain one, which few-step LoRAs of one kind were distilled for.
SCHEDULERS: Dict[str, Callable[[Any, float], Any]] = {
    "unipc": lambda config, shift: UniPCMultistepScheduler.from_config(config, flow_shift=shift),
    "euler": lambda config, shift: FlowMatchEulerDiscreteScheduler(config["num_train_timesteps"], shift),
}


@dataclass(frozen=True)
class Recipe:
    """How the noise is led out. `guidance`: classifier-free, 1 and below is off and halves the work; `guidance_2`: of the second,
    low-noise transformer, None is the same. `control`: strength of the VACE branch. `shift`: of the flow's timesteps, 3 for 480 lines
    and 5 for 720. window, overlap: latent frames. tile: (h, w) latent pixels that the network is given at once, None is all. scheduler: a
    name of SCHEDULERS. skip: see skipping.py, 0 is never."""

    seed: int = 0
    steps: int = 50
    guidance: float = 5.0
    guidance_2: Optional[float] = None
    control: float = 1.0
    shift: float = 3.0
    window: int = 21
    overlap: int = 5
    tile: Optional[Tuple[int, int]] = None
    scheduler: str = "unipc"
    skip: float = 0.0


def scheduler(pipe, recipe: Recipe, device):
    """A fresh one: what a cancelled run left in another can't matter."""
    made = SCHEDULERS[recipe.scheduler](pipe.scheduler.config, recipe.shift)
    made.set_timesteps(recipe.steps, device=device)
    return made


def noise(pipe, recipe: Recipe, size: tuple[int, int, int], device) -> torch.Tensor:
    """(1, c, t, h, w) of latent frames, height and width; drawn on the CPU, so a seed is the same on every device."""
    model = pipe.transformer or pipe.transformer_2
    generator = torch.Generator().manual_seed(recipe.seed)
    return randn_tensor((1, model.config.in_channels, *size), generator=generator, device=device, dtype=torch.float32)


def calls(recipe: Recipe, latents: Tuple[int, int, int]) -> int:
    """How often the transformers are called in a run over (frames, h, w) of latents."""
    return recipe.steps * len(blocks(latents, recipe.window, recipe.overlap, recipe.tile)) * (2 if recipe.guidance > 1.0 else 1)


@torch.no_grad()
def denoise(
    pipe,
    conditioning: torch.Tensor,
    prompt: torch.Tensor,
    negative: Optional[torch.Tensor],
    recipe: Recipe,
    *,
    references: int = 0,
    latents: Optional[torch.Tensor] = None,
    called: Callable[[], None] = lambda: None,
    stepped: Callable[[int, Callable[[], torch.Tensor]], None] = lambda step, forming: None,
) -> torch.Tensor:
    """Normalised latents (1, c, t, h, w) float32, references taken off.

    conditioning: (1, 96, references + t, h, w): plate, control, mask; where there are tiles, references stand in the upper left corner of
    theirs, as large as a tile. prompt, negative: (1, tokens, width) of the text encoder.
    latents: the noise, None draws it by the seed. called: after each call of a transformer. stepped(step, forming): after each step;
    forming() is what the picture would be if it were clean now, (1, c, t, h, w).
    """
    device = conditioning.device
    model = pipe.transformer if pipe.transformer is not None else pipe.transformer_2
    dtype = model.dtype
    boundary = None
    if pipe.config.boundary_ratio is not None:
        boundary = pipe.config.boundary_ratio * pipe.scheduler.config.num_train_timesteps
    steps = scheduler(pipe, recipe, device)
    conditioning = conditioning.to(dtype)
    prompt = prompt.to(dtype)
    negative = None if negative is None else negative.to(dtype)
    strength = torch.tensor([recipe.control] * len(model.config.vace_layers)).to(device=device, dtype=dtype)
    if latents is None:
        latents = noise(pipe, recipe, tuple(conditioning.shape[2:]), device)
    latents = latents.to(device=device, dtype=torch.float32)
    parts = blocks((latents.shape[2] - references, *latents.shape[3:]), recipe.window, recipe.overlap, recipe.tile)

    def predicted(part: torch.Tensor, told: torch.Tensor, t: torch.Tensor, number: int) -> torch.Tensor:
        high = boundary is None or t >= boundary
        network = pipe.transformer if high else pipe.transformer_2
        guidance = recipe.guidance if high or recipe.guidance_2 is None else recipe.guidance_2
        part, time = part.to(dtype), t.expand(part.shape[0])

        def call(words: torch.Tensor, name: str) -> torch.Tensor:
            with network.cache_context("%s %d" % (name, number)), skipping.control_kept(network, strength) as scale:
                out = network(
                    hidden_states=part,
                    timestep=time,
                    encoder_hidden_states=words,
                    control_hidden_states=told,
                    control_hidden_states_scale=scale,
                    return_dict=False,
                )[0]
            called()
            return out

        out = call(prompt, "cond")
        if recipe.guidance > 1.0:
            assert negative is not None, "guidance needs the negative prompt's embedding"
            without = call(negative, "uncond")
            out = without + guidance * (out - without)
        return out

    with skipping.on([pipe.transformer, pipe.transformer_2], recipe.skip):
        for i, t in enumerate(steps.timesteps):
            before = latents
            if len(parts) == 1:
                out = predicted(latents, conditioning, t, 0)
            else:
                out = _blended(parts, references, latents, conditioning, lambda part, told, n, t=t: predicted(part, told, t, n))
            latents = steps.step(out, t, latents, return_dict=False)[0]
            sigma = steps.sigmas[i]
            stepped(i, lambda before=before, out=out, sigma=sigma: (before - sigma * out.float())[:, :, references:])
    return latents[:, :, references:]


def _blended(parts: List[Block], references: int, latents, conditioning, predicted) -> torch.Tensor:
    """One prediction over all latents: each block's own with the real plate in it, weighed. References stand before each."""
    total = torch.zeros_like(latents)
    for number, block in enumerate(parts):
        at = slice(references + block.frames.first, references + block.frames.stop)
        rows, columns = (slice(span.first, span.stop) for span in (block.rows, block.columns))
        h, w = len(block.rows.weights), len(block.columns.weights)
        given = [torch.cat([x[:, :, :references, :h, :w], x[:, :, at, rows, columns]], 2) for x in (latents, conditioning)]
        out = predicted(*given, number).float()
        total[:, :, :references, :h, :w] += out[:, :, :references] / len(parts)
        weights = (torch.tensor(span.weights, device=out.device) for span in (block.frames, block.rows, block.columns))
        frames, down, across = weights
        shares = frames.view(1, 1, -1, 1, 1) * down.view(1, 1, 1, -1, 1) * across.view(1, 1, 1, 1, -1)
        total[:, :, at, rows, columns] += out[:, :, references:] * shares
    return total
