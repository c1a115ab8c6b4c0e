# SPDX-License-Identifier: Apache-2.0
"""The network of `matte.py`: what it is trained on, and its training.

Every picture is made from a known effect over a known plate: dust of our own simulations (`data.py`'s shards) or clouds of noise,
lit at random, over made-up plates, from night to a sky far above 1; then what a VAE does to it: softening, a drift of colour, noise
that hangs together. The guide beside it is mostly the truth made soft, as a model that was led by it leaves it, at times moved, thinned or
thickened; in one picture of ten it is the simulation's own coarse one, which is another cloud. Were it so more often, alpha would be
too low wherever the picture does not tell: coarse clouds are larger than fine ones.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from platebridge.errors import InputError
from safetensors.torch import load_file

from platebridge_server import matte
from platebridge_server.training import data

SIZE = 112


def picture(random: np.random.Generator, clips: list) -> dict[str, np.ndarray]:
    """One picture with its truth: picture, plate (h, w, 3), guide, visible, alpha (h, w), noise (), all float32 of SIZE."""
    u = random.uniform
    sun, ambient, alpha, guide = _simulated(random, clips) if random.random() < 0.6 else _clouds(random)
    plate = _plate(random)
    level = float(np.exp(u(-1.3, 1.0))) * float(np.median(plate))
    hue, sky = (np.array([1, u(0.85, 1.0), u(0.65, 1.05)]) for _ in range(2))
    rgb = (sun[..., None] * hue * level * u(0.6, 1.6) + ambient[..., None] * sky * level * u(0.2, 0.9)).astype(np.float32)
    if random.random() < 0.2:  # the dust's shadow is a dark layer of its own
        shade = u(0, 0.5) * np.clip(_noise(random, 12.0)[..., 0], 0, 1)
        alpha = 1 - (1 - alpha) * (1 - shade)
    visible = np.ones_like(alpha)
    if random.random() < 0.3:
        at, wide = random.integers(0, SIZE - 12), random.integers(2, 12)
        visible[random.integers(0, SIZE) :, at : at + wide] = 0
    alpha, rgb = alpha * visible, rgb * visible[..., None]
    code = np.clip(matte.EYES.encode(rgb + (1 - alpha[..., None]) * plate), 0, 1)
    noise = float(np.exp(u(np.log(0.003), np.log(0.03))))
    if random.random() < 0.5:
        code = np.moveaxis(matte._blurred(matte._planes(code), u(0.3, 0.8)).numpy(), 0, -1)
    code = code + noise * (0.9 * _noise(random, u(0.5, 2.2), 3) + 0.43 * _noise(random, 6.0, 3)) + random.normal(0, 0.004, 3)
    seen = matte.EYES.decode(np.clip(code, 0, 1).astype(np.float32))
    limited = matte.EYES.decode(np.clip(matte.EYES.encode(plate), 0, 1))
    about = noise * float(np.exp(u(-0.25, 0.25)))
    return {"picture": seen, "plate": limited, "guide": guide, "visible": visible, "alpha": alpha, "noise": about}


def _noise(random: np.random.Generator, sigma: float, channels: int = 1) -> np.ndarray:
    """(SIZE, SIZE, channels) of deviation 1, correlated over sigma pixels."""
    planes = matte._blurred(torch.from_numpy(random.normal(size=(channels, SIZE, SIZE)).astype(np.float32)), sigma)
    return np.moveaxis((planes / planes.std()).numpy(), 0, -1)


def _plate(random: np.random.Generator) -> np.ndarray:
    u = random.uniform
    texture = sum(u(0, 0.5) * (_noise(random, s, 3) * 0.3 + _noise(random, s)) for s in (u(0.6, 1.5), u(2, 5), u(8, 20)))
    if random.random() < 0.3:
        texture = 0.15 * texture
    for _ in range(random.integers(0, 25)):  # edges of walls, windows and beams
        y, x = random.integers(0, SIZE, 2)
        texture[y : y + random.integers(2, 50), x : x + random.integers(2, 50)] += random.normal(0, 0.5)
    plate = np.exp(u(np.log(0.01), np.log(0.8))) * np.array([1, u(0.8, 1.2), u(0.6, 1.4)]) * np.exp(texture)
    if random.random() < 0.3:
        edge = SIZE * u(-0.2, 1.2) + 15 * np.sin(np.arange(SIZE) / u(8, 30))
        sky = np.exp(u(np.log(0.8), np.log(10))) * np.array([u(0.5, 1), u(0.7, 1), 1]) * np.exp(0.15 * _noise(random, 15.0))
        plate = np.where((np.arange(SIZE)[:, None] < edge[None])[..., None], sky, plate)
    return plate.astype(np.float32)


def _simulated(random: np.random.Generator, clips: list):
    """Sun, ambient, alpha and the guide's alpha (SIZE, SIZE) of a crop of a simulation, at one to three times its size."""
    clip = clips[random.integers(len(clips))]
    for _ in range(8):
        frame, scale = random.integers(len(clip.truth)), random.uniform(1, 3)
        side = round(SIZE / scale)
        y, x = random.integers(0, clip.truth.shape[2] - side + 1), random.integers(0, clip.truth.shape[3] - side + 1)
        crop = clip.truth[frame : frame + 1, :, y : y + side, x : x + side]
        if crop[:, 2].mean() > 0.05:
            break
    passes = F.interpolate(crop, (SIZE, SIZE), mode="bicubic", align_corners=False)[0].clamp_min(0).numpy()
    if random.random() < 0.17:
        guide = F.interpolate(clip.guide[frame : frame + 1, 2:3], clip.truth.shape[-2:], mode="bicubic", align_corners=False)
    else:
        guide = data.blurred(clip.truth[frame : frame + 1, 2:3], random.uniform(1.5, 4))
    guide = F.interpolate(guide[..., y : y + side, x : x + side], (SIZE, SIZE), mode="bicubic", align_corners=False)[0, 0]
    thin = random.uniform(0.35, 1) if random.random() < 0.4 else 1.0
    flip = [axis for axis in (0, 1) if random.random() < 0.5]
    sun, ambient, alpha = (np.flip(x, flip) for x in (passes[0] * thin, passes[1] * thin, passes[2].clip(0, 1) * thin))
    return sun, ambient, alpha, _astray(random, np.flip(guide.clamp(0, 1).numpy(), flip) * thin)


def _clouds(random: np.random.Generator):
    u = random.uniform
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    lumps = u(0.2, 0.8) * _noise(random, u(5, 15))[..., 0] + u(0.0, 0.4) * _noise(random, u(1.5, 4))[..., 0]
    fall = u(0.5, 3) - np.hypot((y - SIZE * u(0, 1)) / u(15, 60), (x - SIZE * u(0, 1)) / u(15, 60)) ** u(1, 2)
    alpha = (u(0.6, 1) * (1 - np.exp(-u(0.3, 3) * np.maximum(fall + lumps, 0)))).astype(np.float32)
    turn = u(0, 2 * np.pi)
    rows, columns = np.gradient(fall + lumps)
    sun = alpha * np.clip(0.5 + u(0.5, 5) * (np.cos(turn) * rows + np.sin(turn) * columns), 0.05, 1.2)
    soft = matte._blurred(torch.from_numpy(alpha), u(1.5, 6)).numpy()
    return sun.astype(np.float32), (alpha * u(0.5, 1)).astype(np.float32), alpha, _astray(random, soft)


def _astray(random: np.random.Generator, guide: np.ndarray) -> np.ndarray:
    """A guide that the model followed more or less: moved a little, thinner or thicker, here and there wrong."""
    y, x = random.integers(1, 6, 2) if random.random() < 0.4 else (3, 3)
    out = np.pad(guide, 3, mode="edge")[y : y + SIZE, x : x + SIZE]
    if random.random() < 0.25:
        out = out ** random.uniform(0.65, 1.5)
    if random.random() < 0.15:
        wrong = _noise(random, random.uniform(4, 12))[..., 0]
        out = np.where(wrong > 1.2, np.clip(out + 0.5, 0, 1), np.where(wrong < -1.2, 0.3 * out, out))
    return np.clip(out, 0, 1).astype(np.float32)


def train(
    folder: Path, out: Path, minutes: float, pictures: int = 1500, threads: int = 1, seed: int = 1, start: Path | None = None
) -> None:
    """Make pictures, train on them for so long, write the averaged weights to `out` (safetensors, half). start: weights to go on from.

    Raises InputError: `folder` has no clips that are as large as a picture.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # gradients where alpha is sure are that small; with them a step takes seven times as long
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    clips = [clip for path in data.shards(folder) for clip in data.read_shard(path) if min(clip.truth.shape[-2:]) >= SIZE]
    if not clips:
        raise InputError(f"{folder} holds no clips of {SIZE} pixels a side.", "Make some first: make-data.")
    made = []
    for _ in range(pictures):
        one = picture(random, clips)
        alpha = torch.from_numpy(np.ascontiguousarray(one.pop("alpha"))).half()
        made.append((matte.clues(**one).half(), alpha))
    print(f"{len(made)} pictures", flush=True)
    network, begun, step, total = matte.Network().to(memory_format=torch.channels_last), time.monotonic(), 0, 0.0
    if start is not None:
        network.load_state_dict({key: value.float() for key, value in load_file(start).items()})
    average = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    while (done := (time.monotonic() - begun) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, step / 100) * (0.5 + 0.5 * np.cos(np.pi * done))
        chosen = [made[i] for i in random.integers(0, len(made), 6)]
        clues, alpha = (torch.stack(part).float() for part in zip(*chosen))
        flip = [axis for axis in (-2, -1) if random.random() < 0.5]
        clues, alpha = clues.flip(flip), alpha.flip(flip)
        if random.random() < 0.5:
            clues, alpha = clues.transpose(-1, -2), alpha.transpose(-1, -2)
        found = torch.sigmoid(network(clues.contiguous(memory_format=torch.channels_last)))
        loss = (found - alpha).abs().mean() + 0.5 * sum((found - alpha).diff(dim=axis).abs().mean() for axis in (1, 2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step, total = step + 1, total + (found - alpha).abs().mean().item()
        keep = min(0.998, step / (step + 10))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - keep)
        if step % 100 == 0:
            print(json.dumps({"step": step, "done": round(done, 3), "alpha": round(total / 100, 4)}), flush=True)
            total = 0.0
            _write(average, out)
    _write(average, out)


def _write(weights: dict[str, torch.Tensor], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    data.save_whole(out, {key: value.half() for key, value in weights.items()})
