# SPDX-License-Identifier: Apache-2.0
"""Shards of simulated clips: made once, one safetensors file per simulation, read back as training clips.

It knows files and encodings. It must not know the network or the loss.

A shard holds, for `clips` views (float16): truth (clips, frames, 3, H, W) and guide (clips, frames, 3, h, w), both
*encoded* (`encode`: square roots of sun and ambient, alpha as it is), truth_depth and guide_depth (clips, frames,
H or h, W or w; lengths, inf where clear), light_view (clips, frames, 3) and cell (clips, frames, 2), NaN where it is not known.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from platebridge.errors import InputError, PlatebridgeError, StorageError
from platebridge.takes import rename_over, storage_error
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from platebridge_server.models.dust.condition import decode, encode
from platebridge_server.training import simulate


def blurred(passes: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (n, c, h, w) by `sigma` pixels, the picture's edge repeated."""
    radius = max(1, int(3 * sigma + 0.5))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=passes.device) / sigma) ** 2)
    taps = (taps / taps.sum()).to(passes.dtype)
    n, c, h, w = passes.shape
    out = passes.reshape(n * c, 1, h, w)
    out = F.conv2d(F.pad(out, (radius, radius, 0, 0), mode="replicate"), taps.view(1, 1, 1, -1))
    out = F.conv2d(F.pad(out, (0, 0, radius, radius), mode="replicate"), taps.view(1, 1, -1, 1))
    return out.view(n, c, h, w)


#: Pixels of a clip, down and along, at least: what a training crop takes.
LEAST_SIDE = 96
#: Pixels, of a truth or a result, by which it is blurred before it is laid beside a guide.
SOFT_SIGMA = 2.6


def soft_guide(truth: torch.Tensor, depth: torch.Tensor, sigma: float, scale: int = simulate.GUIDE_SCALE):
    """The guide that agrees with the truth: blurred by sigma pixels, then decimated. Linear premultiplied throughout.

    truth (frames, 3, H, W), depth (frames, H, W) with inf where clear. Returns guide (frames, 3, h, w), depth.
    """
    alpha = truth[:, 2:3]
    weighted = torch.where(torch.isfinite(depth[:, None]), depth[:, None], 0.0) * alpha
    low = F.avg_pool2d(blurred(torch.cat([truth, weighted], 1), sigma), scale)
    mean = low[:, 3] / low[:, 2].clamp_min(1e-6)
    return low[:, :3], torch.where(low[:, 2] > 1e-4, mean, torch.full_like(mean, torch.inf))


def shard_path(folder: Path, seed: int, chance: int = 0) -> Path:
    """Where a seed's shard lies, or would; `chance`: of another truth under the same guide, which nothing is trained on."""
    return Path(folder) / (f"other_{chance}_{seed:05d}.safetensors" if chance else f"sim_{seed:05d}.safetensors")


def make_shard(folder: Path, seed: int, chance: int = 0) -> Path:
    """Simulate one seed into `folder`, unless it is there already, by today's recipe."""
    path = shard_path(folder, seed, chance)
    if not path.exists() or recipe(path) != simulate.RECIPE:
        write_shard(path, simulate.simulate(seed, chance=chance))
    return path


def write_shard(path: Path, clips: list[simulate.Clip]) -> None:
    """Clips of one size and length, in one file (`save_whole`)."""
    arrays = {
        "truth": torch.stack([encode(c.truth) for c in clips]),
        "truth_depth": torch.stack([c.truth_depth for c in clips]),
        "guide": torch.stack([encode(c.guide) for c in clips]),
        "guide_depth": torch.stack([c.guide_depth for c in clips]),
        "light_view": torch.stack([c.light_view for c in clips]),
        "cell": torch.stack([c.cell for c in clips]),
    }
    save_whole(path, {k: v.half() for k, v in arrays.items()}, {"recipe": str(simulate.RECIPE)})


def save_whole(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, whole or as it was before: written beside, to the disk, then renamed. Raises StorageError."""
    beside = path.with_suffix(f".part{os.getpid()}")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, metadata)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        rename_over(beside, path)
    except (OSError, SafetensorError) as error:
        beside.unlink(missing_ok=True)  # of what a full disk cut off nothing is to stay
        if isinstance(error, OSError):
            raise storage_error(error, path) from error
        raise StorageError(f"{path} can't be written ({error}).", "See to the disk and go on; what came is kept.") from error


def load_whole(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of such a file. Raises InputError: it is damaged, half of one, or gone."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} can't be read ({error}).", "Remove it, and make it again.") from None


def make(folder: Path, simulations: int, first_seed: int, workers: int = 1, chance: int = 0) -> None:
    """Make the shards of seeds first_seed .. first_seed + simulations - 1, in `workers` processes of one thread each. chance: as
    `simulate.simulate` has it."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(first_seed, first_seed + simulations)
    if workers <= 1:
        # One thread, always: with more, sums are taken in another order and the shards differ in their last bits.
        torch.set_num_threads(1)
        for seed in seeds:
            make_shard(folder, seed, chance)
            print(f"{seed}", flush=True)
        return
    running = []
    for number in range(workers):
        part = seeds[number::workers]
        command = [sys.executable, "-m", "platebridge_server.training", "make-data", "--out", str(folder), "--workers", "1"]
        if len(part):
            command += ["--seeds", ",".join(str(seed) for seed in part), "--chance", str(chance)]
            running.append(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}))
    if any([process.wait() for process in running]):  # all of them: none works on when this one has ended
        raise PlatebridgeError("A worker that makes training data failed; its message is above.", "Start again to go on from there.")


def shards(folder: Path, held_out: bool = False) -> list[Path]:
    """The shards of a folder in order of seed: those for training, a studio's own (`set_*`) after ours, or those held out."""
    ours = [p for p in sorted(Path(folder).glob("sim_*.safetensors")) if (int(p.stem[4:]) >= simulate.HELD_OUT_SEED) == held_out]
    return ours if held_out else ours + sorted(Path(folder).glob("set_*.safetensors"))


def recipe(path: Path) -> int:
    """By which of the recipes (`simulate.RECIPE`, of a user's shot `guide.VERSION`) a shard was made; 0 if it can't be told."""
    try:
        with safe_open(path, framework="pt") as shard:
            return int((shard.metadata() or {}).get("recipe", 1))
    except SafetensorError:
        return 0


def count(path: Path) -> int:
    """How many clips a shard holds; nothing is read but its header."""
    with safe_open(path, framework="pt") as shard:
        return shard.get_slice("truth").get_shape()[0]


def read_shard(path: Path) -> list[simulate.Clip]:
    """The clips of a shard in float32, **linear** (decoded). Raises InputError: it can't be read."""
    arrays = {k: v.float() for k, v in load_whole(path).items()}
    arrays.setdefault("cell", torch.full_like(arrays["light_view"][..., :2], torch.nan))  # of shards from before it was kept
    columns = (arrays[k] for k in ("truth", "truth_depth", "guide", "guide_depth", "light_view", "cell"))
    return [simulate.Clip(decode(truth), far, decode(guide), *rest) for truth, far, guide, *rest in zip(*columns)]


def picture(passes: torch.Tensor) -> np.ndarray:
    """(3, h, w) linear passes as an 8-bit picture (h, w, 3) over grey blue: low warm sun, blue sky. For eyes only."""
    sun = torch.tensor([0.90, 0.84, 0.74])[:, None, None]
    sky = torch.tensor([0.24, 0.27, 0.32])[:, None, None]
    behind = torch.tensor([0.18, 0.22, 0.27])[:, None, None]
    colour = passes[0] * sun + passes[1] * sky + (1 - passes[2]) * behind
    return (colour.clamp(0, 1) ** (1 / 2.2) * 255 + 0.5).byte().permute(1, 2, 0).numpy()


def write_png(path: Path, pixels: np.ndarray) -> None:
    """An 8-bit RGB PNG, by hand: sheets for the eye need no imaging library."""
    import struct
    import zlib

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b""))


def as_wide(rows: list[np.ndarray]) -> list[np.ndarray]:
    """Pictures (h, w, 3), black added at the right of those that are narrower: a studio's clips are of any size."""
    wide = max(row.shape[1] for row in rows)
    return [np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0))) for row in rows]


def contact_sheet(folder: Path, path: Path, count: int = 8, held_out: bool = False) -> None:
    """Re-simulated guide | soft guide | truth, for a few clips: look at it before training on it. Raises InputError: there are none."""
    rows = []
    for shard in shards(folder, held_out)[:count]:
        for clip in read_shard(shard):
            frame = clip.truth.shape[0] * 2 // 3
            soft, _ = soft_guide(clip.truth[frame : frame + 1], clip.truth_depth[frame : frame + 1], SOFT_SIGMA)
            guides = torch.cat([clip.guide[frame : frame + 1], soft])
            guides = F.interpolate(guides, clip.truth.shape[-2:], mode="bicubic", align_corners=False).clamp_min(0)
            rows.append(np.concatenate([picture(guides[0]), picture(guides[1]), picture(clip.truth[frame])], 1))
    if not rows:
        raise InputError(f"{folder} holds no shards to show.", "Make some first: make-data, or train --set.")
    rows = as_wide(rows)
    half = (len(rows) + 1) // 2
    columns = [np.concatenate(part) for part in (rows[:half], rows[half:]) if part]
    high = max(len(column) for column in columns)
    write_png(path, np.concatenate([np.pad(column, ((0, high - len(column)), (0, 0), (0, 0))) for column in columns], 1))
