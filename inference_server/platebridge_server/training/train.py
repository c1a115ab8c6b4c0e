# SPDX-License-Identifier: Apache-2.0
"""Training of the dust network, by the clock: EDM loss on crops, resumable, and the export of what was learned.

It knows clips, the network and the optimiser. It must not know windows or sampling over shots.
Checkpoints are safetensors and JSON: nothing here reads or writes pickles.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from platebridge import errors
from platebridge.errors import InputError, ModelError, PlatebridgeError, RequestError
from platebridge.takes import storage_error, write_whole
from rich.console import Console
from safetensors.torch import load_file

from platebridge_server.models.dust import condition as told
from platebridge_server.models.dust.network import DustNetwork
from platebridge_server.models.dust.sampling import FINAL_STEPS, FOLDER, WEIGHTS, quick_bfloat16, weights_sha256
from platebridge_server.models.dust.sampling import card as shipped_card
from platebridge_server.models.dust.scheduler import DustLevels
from platebridge_server.stopping import Stop
from platebridge_server.training import data
from platebridge_server.training.watch import LOG, Watch

CROP = data.LEAST_SIDE
BATCH = 2
RATE = 1e-3
LEAST_RATE = 0.04
SOFT_GUIDES = 0.85  # the part of guides that agree with the truth; with fewer, the network learns grain
SOFT_SIGMA = (2.0, 3.5)
CELL_UNKNOWN = 0.15  # the part of crops of which it isn't told how fine their simulation is: an artist's own guide says nothing of it
NOISE = (0.3, 1.2)  # mean and spread of log sigma: about the levels that the sampler asks for, 14 to 0.8
NOISE_TAPS = (1.0, 2.0, 1.0)  # see DustLevels: against boiling
LOOK_AGAIN = 60.0  # seconds, for shards that have appeared
AGAIN = 0.5  # the learning rate's part when a network that has learned already goes on with other data


@dataclass
class Clips:
    """All clips of a folder in memory (half floats), with a few soft guides each. Look again with `refresh`."""

    folder: Path
    random: np.random.Generator
    seen: set = field(default_factory=set)
    clips: list = field(default_factory=list)

    def refresh(self) -> int:
        """Take in shards that have appeared; the number of clips there are. Raises InputError: one of them can't be read, or holds NaN or
        infinity."""
        for path in data.shards(self.folder):
            if path not in self.seen:
                self.seen.add(path)
                for clip in data.read_shard(path):
                    if not (clip.truth.isfinite().all() and clip.guide.isfinite().all()):
                        raise InputError(f"{path} holds NaN or infinity.", "Remove it, and make it again from frames without.")
                    if float(clip.truth[:, 2].mean()) < 0.004:
                        continue  # next to no dust: nothing to learn but the empty picture
                    guides = [(clip.guide, clip.guide_depth)]
                    for _ in range(3):
                        guides.append(data.soft_guide(clip.truth, clip.truth_depth, self.random.uniform(*SOFT_SIGMA)))
                    truth = told.encode(clip.truth)
                    rows = []
                    for low, depth in guides:
                        wide = told.condition(low, depth, truth.shape[-2:])
                        lack = torch.nn.functional.avg_pool2d((truth - wide[:, :3]).square().sum(1, keepdim=True), 8)[:, 0]
                        rows.append((told.tell(low, depth).half(), lack.numpy()))
                    self.clips.append((truth.half(), rows, clip.light_view, clip.cell))
        return len(self.clips)

    def begin(self) -> None:
        """`refresh`, for the first time. Raises InputError: there is nothing to learn from."""
        if not self.refresh():
            raise InputError(f"{self.folder} holds no clips with dust in them.", "Make some first: make-data, or train --set.")

    def least(self, most: tuple[int, int], multiple: int) -> tuple[int, int]:
        """(h, w) that every clip has: at most `most`, and a multiple of so many pixels."""
        sizes = [most, *(truth.shape[-2:] for truth, *_ in self.clips)]
        return min(h for h, _ in sizes) // multiple * multiple, min(w for _, w in sizes) // multiple * multiple

    def crop(self, frames: int, size: tuple[int, int] | None = None, soft: float = SOFT_GUIDES):
        """One training crop: residual (frames, 3, h, w), condition (frames, 8, h, w), what else a frame is told of (frames, 8).

        size: (h, w) in pixels, of which the clip has no fewer; `CROP` square if not given. soft: how many of the guides agree with the
        truth, 0 to 1.
        """
        random, size = self.random, size or (CROP, CROP)
        truth, guides, light, cell = self.clips[random.integers(len(self.clips))]
        frames = min(frames, truth.shape[0])
        low, lack = guides[random.integers(1, len(guides))] if random.random() < soft else guides[0]
        first = random.integers(truth.shape[0] - frames + 1)
        part = slice(first, first + frames)
        scale = truth.shape[-1] // low.shape[-1]
        top, left = corner(random, lack[first + frames // 2], size, truth.shape[-2:], scale)
        wide = widened(low[part].float(), top, left, size, scale)
        residual = truth[part, :, top : top + size[0], left : left + size[1]].float() - wide[:, :3]
        unknown = random.random() < CELL_UNKNOWN
        light = told.of_frame(light[part], torch.full_like(cell[part], torch.nan) if unknown else cell[part])
        light = torch.cat([light, told.fineness(low[part])], dim=-1)
        if random.random() < 0.5:  # a mirrored cloud is lit from the mirrored side
            residual, wide = residual.flip(-1), wide.flip(-1)
            light[:, 0] = -light[:, 0]
        return residual, wide, light


def corner(random: np.random.Generator, lack, size, whole, step) -> tuple[int, ...]:
    """Where a crop begins, on whole pixels of the guide: its middle is likely where the guide lacks most; one in eight anywhere.

    lack: (h / 8, w / 8) of a picture of `whole` (h, w) pixels. size: (h, w) of the crop. step: pixels of one of the guide's.
    """
    room = np.array(whole) - size
    if random.random() < 0.125:
        at = [random.integers(0, most + 1) for most in room]
    else:
        share = lack.ravel().astype(np.float64) + 1e-9
        place = np.array(divmod(int(random.choice(share.size, p=share / share.sum())), lack.shape[1]))
        at = 8 * place + 4 - np.array(size) // 2 + [random.integers(-side // 3, side // 3 + 1) for side in size]
    return tuple(int(np.clip(one, 0, most)) // step * step for one, most in zip(at, room))


def widened(low: torch.Tensor, top: int, left: int, size: tuple[int, int], scale: int) -> torch.Tensor:
    """`told.widen` of one crop alone: the guide's pixels under it and nine around, which is as far as a spline looks in float32."""
    row, column, rows, columns = top // scale, left // scale, -(-size[0] // scale), -(-size[1] // scale)
    above, before = max(row - 9, 0), max(column - 9, 0)
    piece = low[..., above : row + rows + 9, before : column + columns + 9]
    wide = told.widen(piece, (piece.shape[-2] * scale, piece.shape[-1] * scale))
    down, along = top - above * scale, left - before * scale
    return wide[..., down : down + size[0], along : along + size[1]]


def edm_loss(network, residual, sigma, wide, light, noise):
    """Weighted squared error of the denoised residual (Karras et al. 2022), per sample. residual already scaled."""
    shaped = sigma.view(-1, 1, 1, 1, 1)
    denoised = network(residual + noise * shaped, sigma, wide, light)
    weight = (sigma**2 + network.sigma_data**2) / (sigma * network.sigma_data) ** 2
    return weight * (denoised - residual).square().flatten(1).mean(1)


def _measured_scale(clips: Clips, count: int = 96) -> list[float]:
    """Spread of the residual in each channel over dust-centred crops (over whole frames it is mostly emptiness)."""
    parts = torch.cat([clips.crop(2)[0] for _ in range(count)])
    return [round(float(v), 4) for v in parts.square().mean((0, 2, 3)).sqrt()]


def _save(folder: Path, network, average, optimiser, state: dict) -> None:
    """A checkpoint that is whole or not there: each file by itself, the state last. Raises StorageError."""
    tensors = {f"average.{k}": v for k, v in average.items()}
    tensors.update({f"network.{k}": v.detach() for k, v in network.state_dict().items()})
    tensors.update(remembered(optimiser))
    data.save_whole(folder / "checkpoint.safetensors", tensors)
    path, state = folder / "state.json", {**state, "config": network.options}
    try:
        write_whole(path, json.dumps(state, indent=1).encode())
    except OSError as error:
        raise storage_error(error, path) from error


def gone_on_with(out: Path, resume: bool, **taught_for: float) -> dict[str, Any] | None:
    """The state of the checkpoint in `out` that a run goes on with; None where there is none.

    taught_for: `steps` and `sigma_min` of the last lesson's sampler. Raises RequestError: the checkpoint would be lost, or it is of
    another lesson.
    """
    if not (out / "state.json").exists():
        return None
    if not resume:
        raise RequestError(f"{out} holds a checkpoint that would be written over.", "Go on with it by --resume, or give another --out.")
    state = json.loads((out / "state.json").read_text())
    begun_for = {name: state[name] for name in ("steps", "sigma_min") if name in state}
    if begun_for != taught_for:
        options = "".join(f" --{name.replace('_', '-')} {value:g}" for name, value in begun_for.items())
        was = f"distil{options}" if begun_for else "train"
        raise RequestError(f"{out} holds a run of `{was}`.", "Go on with it as it was begun, or give another --out.")
    return state


def _restore(folder: Path, network, average, optimiser) -> None:
    tensors = load_file(folder / "checkpoint.safetensors")
    network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
    for k in average:
        average[k].copy_(tensors[f"average.{k}"])
    remember(optimiser, tensors)


def remembered(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What an optimiser knows of earlier steps, for a checkpoint: "optimiser.3.exp_avg"."""
    slots = optimiser.state_dict()["state"]
    return {f"optimiser.{number}.{name}": torch.as_tensor(value) for number, slot in slots.items() for name, value in slot.items()}


def remember(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Gives an optimiser back what `remembered` told, among other tensors; where they hold none of it, it begins anew."""
    slots: dict = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, number, name = key.split(".")
            slots.setdefault(int(number), {})[name] = value.clone()  # a view keeps the file open, and Windows replaces no open one
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})


@contextlib.contextmanager
def asked_to_stop(others: Sequence[int] = (), quiet: bool = False) -> Iterator[Stop]:
    """Whether somebody has politely asked to stop (Ctrl-C once, SIGTERM): then a run ends with a checkpoint.

    others: processes that hear of a SIGTERM, too; of Ctrl-C they hear by themselves. quiet: nothing is said of it.
    """
    stop = Stop("a checkpoint is written")
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def heard(*_: object) -> None:
        stop.asked = True
        for other in others:
            with contextlib.suppress(OSError):  # it has ended
                os.kill(other, signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, heard)
    try:
        with stop.listening(Console(stderr=True, quiet=quiet)):
            yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def faster(network: torch.nn.Module, compiled: bool, device: str) -> Callable:
    """The network, compiled if asked for. Raises RequestError where that can't be done, before anything is learned."""
    if not compiled:
        return network
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.zeros(8, device=device))
    except RuntimeError as error:
        said = str(error).strip().splitlines()[0][:200].rstrip(".")
        mend = "Install a C++ compiler (for a GPU Triton, too), or say --no-compile."
        raise RequestError(f"torch.compile can't work here ({said}).", mend) from None
    return torch.compile(network, dynamic=False)


def refuse_no_number(iteration: int, *values: float | torch.Tensor) -> None:
    """Raises PlatebridgeError if one of what came of this iteration (from 0) is no finite number: before it is learned from."""
    if not all(math.isfinite(float(value)) for value in values):
        raise PlatebridgeError(f"The loss is no number any more in iteration {iteration + 1}; it has not been learned from.",
                               "Go on from the checkpoint before by --resume.")


class Team:
    """Processes that train one network on crops of their own, averaging gradients; a team of one does nothing.

    On a busy machine two processes of one thread do far more than one of two, which waits at each operator's barrier.
    """

    def __init__(self, rank: int = 0, size: int = 1, meeting: Path | None = None):
        self.rank, self.size = rank, size
        if size > 1:
            torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)

    def agree(self, network, seconds: float, loss: float) -> tuple[float, float]:
        """Average the gradients in place; the first process's clock, and the mean loss, hold for all."""
        if self.size == 1:
            return seconds, loss
        gradients = [p.grad for p in network.parameters()]
        flat = torch.cat([g.reshape(-1) for g in gradients] + [torch.tensor([seconds * self.size if self.rank == 0 else 0.0, loss])])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()
        return float(flat[-2]), float(flat[-1])


def _member(rank: int, size: int, meeting: str, folder: Path, out: Path, minutes: float, options: dict) -> None:
    try:
        with asked_to_stop(quiet=True) as stop:  # from the beginning: one that is ended while it reads takes the others with it
            train(folder, out, minutes, team=Team(rank, size, Path(meeting, "meeting")), stop=stop, **options)
    except PlatebridgeError as error:
        Path(meeting, f"error_{rank}").write_text(json.dumps(error.to_dict()))
        raise


def train_together(folder: Path, out: Path, minutes: float, processes: int, **options) -> None:
    """`train` in several processes at once; options and errors as there."""
    if processes <= 1:
        train(folder, out, minutes, **options)
        return
    with tempfile.TemporaryDirectory() as meeting:
        try:
            together = torch.multiprocessing.spawn(_member, (processes, meeting, folder, out, minutes, options), processes, join=False)
            with asked_to_stop(together.pids()):
                while not together.join():
                    pass
        except torch.multiprocessing.ProcessRaisedException:  # all it holds is a traceback
            for said in Path(meeting).glob("error_*"):
                raise errors.from_dict(json.loads(said.read_text())) from None
            raise


def train(folder: Path, out: Path, minutes: float, *, resume: bool = False, threads: int = 2, device: str = "cpu", seed: int = 0,
          compiled: bool = True, config: dict | None = None, batch: int = BATCH, start: Path | None = None, late_frames: int = 14,
          team: Team | None = None, stop: Stop | None = None) -> int:
    """Train for `minutes` in all (a resumed run counts those it had), or until asked to stop. Returns the number of iterations done.

    `start`: weights to begin from instead of noise, a folder in diffusers' layout (the shipped ones: `sampling.WEIGHTS`). `stop`: of a
    process that listens already.

    The learning rate falls along a cosine of the clock; the last third sees crops of `late_frames`, against flicker. Writes
    checkpoint.safetensors, state.json, log.jsonl and what `watch` draws into `out`. Raises RequestError: a checkpoint is there that isn't
    to be resumed, or nothing can be compiled; InputError: `folder` has no clips, NaN in them, or one that can't be read; PlatebridgeError:
    the loss is no number any more; StorageError: no checkpoint can be written.
    """
    torch.set_num_threads(threads)
    state = gone_on_with(out, resume) or {"iterations": 0, "seconds": 0.0, "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    team = team or Team()
    torch.manual_seed(state["seed"])  # of one mind about the first weights
    clips = Clips(folder, np.random.default_rng([state["seed"], state["iterations"]]))
    clips.begin()
    if "config" in state:
        network = DustNetwork(**state["config"])
    elif start is not None:
        network = DustNetwork.read(start / "unet")
        network.hear(told.FRAME_NUMBERS, told.CHANNELS)
        state.update(rate=AGAIN, sampler=DustLevels.read(start / "scheduler").options)
        state.update(begun_from(start))
    else:
        all_told = {"frame_numbers": told.FRAME_NUMBERS, "condition_channels": told.CHANNELS}
        network = DustNetwork(**{"residual_scale": tuple(_measured_scale(clips)), **all_told, **(config or {})})
    network = network.to(device=device, memory_format=torch.channels_last).train()
    average = {k: v.detach().clone() for k, v in network.named_parameters()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    if "config" in state:
        _restore(out, network, average, optimiser)
    torch.manual_seed((state["seed"] * 1000003 + state["iterations"]) * 64 + team.rank)
    clips.random = np.random.default_rng([state["seed"], state["iterations"], team.rank])
    model = faster(network, compiled, device)
    top = state.get("rate", 1.0) * RATE
    scheduler = DustLevels(noise_taps=NOISE_TAPS)
    scale, quick = network.residual_scale(device), quick_bfloat16(torch.device(device))
    total, before, begun = 60.0 * minutes, state["seconds"], time.monotonic()
    iteration, saved, refreshed, losses, seconds = state["iterations"], before, begun, [], before
    watch = Watch(out, folder, device) if team.rank == 0 else None

    def keep_it(**more: int) -> None:
        now = {**state, "iterations": iteration, "seconds": seconds, **more}
        _save(out, network, average, optimiser, now)
        if watch is not None:
            watch.show(iteration, average, network.options, levels_of(now), FINAL_STEPS)

    with contextlib.nullcontext(stop) if stop else asked_to_stop() as stop, (out / LOG).open("a") as log:
        while seconds < total:
            part = seconds / total
            rate = top * (LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * part))) * min(1.0, (iteration + 1) / 100)
            for group in optimiser.param_groups:
                group["lr"] = rate
            frames = late_frames if part > 0.67 else 8
            rows = [clips.crop(frames) for _ in range(batch)]
            residual, wide, light = (torch.stack(column).to(device) for column in zip(*rows))
            residual = residual / scale
            sigma = torch.exp(NOISE[0] + NOISE[1] * torch.randn(batch)).clamp(0.02, 40.0).to(device)
            white = torch.randn(batch, residual.shape[1] + len(NOISE_TAPS) - 1, *residual.shape[2:])
            noise = scheduler.in_time(white).to(device)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=quick):
                loss = edm_loss(model, residual, sigma, wide, light, noise)
            loss.mean().backward()
            clock = total if stop.asked else before + time.monotonic() - begun
            seconds, shared = team.agree(network, clock, float(loss.detach().mean()))
            steep = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            refuse_no_number(iteration, shared, steep)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            iteration += 1
            keep = min(0.9985 if part < 0.7 else 0.9993, (1 + iteration) / (10 + iteration))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.values()), [p.detach() for p in network.parameters()], 1 - keep)
            losses.append(shared)
            if team.rank == 0 and iteration % 25 == 0:
                line = {"iteration": iteration, "seconds": round(seconds, 1), "loss": round(sum(losses[-100:]) / len(losses[-100:]), 5),
                        "rate": round(rate, 7), "clips": len(clips.clips)}
                log.write(json.dumps(line) + "\n")
                log.flush()
            if time.monotonic() - refreshed > LOOK_AGAIN:
                try:
                    clips.refresh()
                except InputError as error:  # in a shard that came meanwhile: what has been learned is not to be lost by it
                    print(f"Note: {error}", flush=True)
                refreshed = time.monotonic()
            if team.rank == 0 and seconds - saved > 180 and not stop.asked:
                keep_it()
                saved = seconds
    if team.rank == 0:
        seconds = before + time.monotonic() - begun
        keep_it(crops=batch * team.size)
    return iteration


def levels_of(state: dict) -> DustLevels:
    """The sampler of a run's weights: the one that they are taught for, or that those it began from had."""
    taught_for = {"sigma_min": state["sigma_min"]} if "sigma_min" in state else {}
    return DustLevels(**{**state.get("sampler", {}), **taught_for, "noise_taps": NOISE_TAPS})


def begun_from(start: Path) -> dict:
    """What a run says of the weights in `start`, from which it begins: how they came to be, if the card or a file beside them tells."""
    if Path(start) == WEIGHTS:
        card = shipped_card()
        return {"begun_from": {"version": card["version"], **card["training"]}}
    beside = start / "training.json"
    return {"begun_from": json.loads(beside.read_text(encoding="utf-8"))} if beside.exists() else {}


def export(run: Path, version: str, to: Path | None = None, start: Path | None = None, share: float = 1.0) -> Path:
    """Write a run's averaged weights in diffusers' layout (halves), and how they came to be: in the package's card, or beside them.

    start, share: so much of what the run learned, the rest being the weights in `start`, from which it began (Wang et al. 2018 interpolate
    so). For a critic's lesson that an eye finds too strong. The sampler is the one that the run was taught for, or that the weights it
    began from had. Raises InputError: there is no checkpoint; ModelError: its weights are no numbers.
    """
    if not (run / "state.json").exists():
        raise InputError(f"{run} holds no checkpoint.", "Give the --out of `train` or `distil`.")
    state = json.loads((run / "state.json").read_text())
    network = DustNetwork(**state["config"])
    tensors = load_file(run / "checkpoint.safetensors")
    learned = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
    if start is not None:
        begun = DustNetwork.read(start / "unet")
        begun.hear(network.frame_numbers, network.condition_channels)
        learned = {k: torch.lerp(begun.state_dict()[k], v.float(), share) for k, v in learned.items()}
    spoilt = [k for k, v in learned.items() if not v.isfinite().all()]
    if spoilt:
        raise ModelError(f"What {run} learned holds NaN or infinity, in {spoilt[0]}.", "Train anew, from frames without.")
    network.load_state_dict(learned)
    folder = to or WEIGHTS
    network.half().write(folder / "unet")
    levels_of(state).write(folder / "scheduler")
    card = shipped_card()
    history = {"iterations": state["iterations"], "minutes": round(state["seconds"] / 60, 1)}
    if "sigma_min" in state:
        history["against_a_critic"] = {"steps": state["steps"], "sigma_min": state["sigma_min"], "share": share}
    if "begun_from" in state:
        history["begun_from"] = state["begun_from"]
    if to is None:
        card.update(version=version, weights_sha256=weights_sha256(folder), parameters=sum(p.numel() for p in network.parameters()))
        card["training"] = history
        (FOLDER / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        (folder / "training.json").write_text(json.dumps({"version": version, **history}, indent=1) + "\n", encoding="utf-8")
    return folder
