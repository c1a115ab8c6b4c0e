# SPDX-License-Identifier: Apache-2.0
"""Wan VACE with random weights: our loop against a plain diffusers script, what is kept, how soon it is left, memory of long shots.

The weights are made here and mean nothing; the work is the real classes'. Times here are of the model alone, in one process: neither
guide, matte nor server is in them; vace_server.py measures through a server.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import psutil

from . import vace_server

sys.path.append(str(Path(__file__).parents[1] / "tests" / "server"))

SIZE, FRAMES, STEPS = (64, 96), 17, 60
LONG_SIZE, LONG_STEPS = (64, 96), 1


def _scene(frames: int, size: Tuple[int, int]) -> Any:
    from platebridge.request import GuideSettings
    from platebridge_server.models.base import Scene

    h, w = size
    rng = np.random.default_rng(0)
    plate = rng.random((h, w, 3), np.float32)
    region = np.zeros(size, bool)
    region[h // 4 : h * 3 // 4, w // 4 : w * 3 // 4] = True
    dust, depth = plate * 0.5 + 0.3, np.full(size, 20.0, np.float32)
    prints = {name: "bench %d %s" % (frames, size) for name in ("plate", "dust", "depth", "region")}
    return Scene(
        range(frames), frames - 1, size, lambda f: plate, lambda f: dust, lambda f: depth, lambda f: region, GuideSettings(), prints
    )


def _ready(folder: Path, **how: int) -> Any:
    import tiny_vace
    import torch
    from platebridge_server.models.vace import parts, run

    made = tiny_vace.make(folder, **how)
    hashes = {"%s/x.safetensors" % part: part for part in ("transformer", "vae", "text_encoder")}
    return run.Loaded(parts.load(made, torch.float32), run.Laid(made, hashes, "bench", "cpu"))


#: Seconds and processor seconds of one and the same piece of work.
Times = Tuple[float, float]


def _clock() -> Times:
    return time.perf_counter(), time.process_time()


def _since(began: Times) -> Times:
    return time.perf_counter() - began[0], time.process_time() - began[1]


def _ratio(pairs: List[Tuple[Times, Times]], which: int) -> float:
    """The median of what took turns: 0 of the wall's time, 1 of the processor's, which a busy machine changes least."""
    return statistics.median(ours[which] / theirs[which] for ours, theirs in pairs)


def _run(model: Any, kept: Any, scene: Any, recipe: Any, cancelled: Callable[[], bool] = lambda: False) -> Times:
    """A run from words to the last frame."""
    from platebridge.request import PaintSettings
    from platebridge_server.models.base import Ears
    from platebridge_server.models.vace import run

    ears = Ears(lambda *_: None, lambda *_: None, lambda *_: None, lambda *_: None, cancelled)
    began = _clock()
    for _ in run.Run(model, kept, scene, PaintSettings(), recipe, ears).pictures():
        pass
    return _since(began)


def _script(model: Any, scene: Any, recipe: Any) -> Callable[[], Times]:
    """The plain diffusers call, of the same work: words, plate, control and mask to frames."""
    import torch
    from diffusers import WanVACEPipeline
    from platebridge_server.models.vace import conditioning, prompts

    pipe = WanVACEPipeline.from_pretrained(model.laid.folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    frames = conditioning.clip_frames(scene.frames, scene.last)
    pooled = conditioning.pooled(lambda i: scene.region(frames[i]), len(frames))
    mask = np.stack([pooled(i) for i in range(len(frames))])
    video = np.stack([np.where(m[..., None], scene.dust(f), scene.plate(f)) for f, m in zip(frames, mask)])
    told = torch.from_numpy(video).permute(0, 3, 1, 2)[None], torch.from_numpy(mask.astype(np.float32))[None, :, None].repeat(1, 1, 3, 1, 1)
    words = prompts.prompt(scene.guide, ""), prompts.avoided("")

    def timed() -> Times:
        began = _clock()
        pipe(
            prompt=words[0], negative_prompt=words[1], video=told[0], mask=told[1], height=scene.size[0], width=scene.size[1],
            num_frames=len(frames), num_inference_steps=recipe.steps, generator=torch.Generator().manual_seed(recipe.seed),
        )  # fmt: skip
        return _since(began)

    return timed


def measure(folder: Path, say: Callable[[str], None], repeats: int = 7) -> Dict[str, float]:
    """Medians; what is compared takes turns, so both meet the same machine."""
    from dataclasses import replace

    from platebridge_server.cache import TensorCache
    from platebridge_server.models.vace.denoise import Recipe

    model = _ready(folder / "model", heads=8, layers=6, base=8)
    scene, recipe = _scene(FRAMES, SIZE), Recipe(steps=STEPS)
    plain = _script(model, scene, recipe)
    loops: List[Tuple[Times, Times]] = []
    seconds: List[Tuple[Times, Times]] = []
    _run(model, TensorCache(folder / "warm"), scene, recipe)
    for n in range(repeats):
        say(f"our loop and a plain diffusers script, run {n + 1} of {repeats}")
        kept = TensorCache(folder / f"kept{n}")
        loops.append((_run(model, kept, scene, recipe), plain()))
        seconds.append((_run(model, kept, scene, replace(recipe, seed=n + 1)), _alone(model, kept, scene, replace(recipe, seed=n + 9))))
    say("leaving in the midst")
    waits, block = _waits(model, folder, scene, recipe)
    out = {
        "vace_loop_overhead": _ratio(loops, 0),
        "vace_loop_overhead_cpu": _ratio(loops, 1),
        "vace_second_take": _ratio(seconds, 0),
        "vace_second_take_cpu": _ratio(seconds, 1),
        "vace_cached_encode_share": 1 - statistics.median(b[0][1] / a[0][1] for a, b in zip(loops, seconds)),
        "vace_cancel_ms": statistics.median(waits) * 1e3,
        "vace_cancel_ms_worst": max(waits) * 1e3,
        "vace_block_ms": block * 1e3,
    }
    for frames in (81, 321):
        say(f"memory of {frames} frames")
        out[f"vace_windows_mb_{frames}"] = _peak(folder / f"long{frames}", frames)
    out.update(vace_server.measure(folder / "through", say))
    return out


def _alone(model: Any, kept: Any, scene: Any, recipe: Any) -> Times:
    """Denoising and decoding alone, on latents and embeddings in memory."""
    import torch
    from platebridge_server.models.vace import conditioning, latents
    from platebridge_server.models.vace.denoise import denoise

    got = {entry.kind: kept.get(entry.name) for entry in kept.entries() if entry.kind in ("plate", "control")}
    words = [kept.get(entry.name)["embedding"] for entry in kept.entries() if entry.kind == "text"]
    fold = conditioning.fold(lambda i: scene.region(i), FRAMES, SIZE)
    told = torch.cat([got["plate"]["latents"], got["control"]["latents"], fold], 1)
    began = _clock()
    for _ in latents.decode(model.pipe.vae, denoise(model.pipe, told, words[0], words[1], recipe)):
        pass
    return _since(began)


def _waits(model: Any, folder: Path, scene: Any, recipe: Any) -> Tuple[List[float], float]:
    """Seconds from a press, at even moments of a run, to its end; and the median time between two places where it can end."""
    from platebridge.errors import Cancelled
    from platebridge_server.cache import TensorCache

    asked: List[float] = []

    def note() -> bool:
        asked.append(time.perf_counter())
        return False

    whole, _ = _run(model, TensorCache(folder / "notes"), scene, recipe, note)
    waits = []
    for n in range(9):
        pressed = time.perf_counter() + whole * (n + 1) / 10
        try:
            _run(model, TensorCache(folder / f"cancel{n}"), scene, recipe, lambda pressed=pressed: time.perf_counter() >= pressed)
        except Cancelled:
            waits.append(time.perf_counter() - pressed)
    return waits, statistics.median(b - a for a, b in zip(asked, asked[1:]))


def _peak(folder: Path, frames: int) -> float:
    """MB that a run of so many frames takes at most beyond what was there before, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (folder, frames))


def _peak_here(folder: Path, frames: int) -> float:
    from platebridge_server.cache import CacheLimits, TensorCache
    from platebridge_server.models.vace.denoise import Recipe

    model = _ready(folder / "model")
    _run(model, TensorCache(folder / "warm", CacheLimits(memory=0)), _scene(5, LONG_SIZE), Recipe(steps=1))
    process, done = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _run(model, TensorCache(folder / "kept", CacheLimits(memory=0)), _scene(frames, LONG_SIZE), Recipe(steps=LONG_STEPS))
    done.set()
    watcher.join()
    return (most - before) / 1e6  # as every MB here
