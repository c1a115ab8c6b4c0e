# SPDX-License-Identifier: Apache-2.0
"""Wan VACE with random weights through a real server, against a plain diffusers script of the same work, side by side.

Both encode words, plate and control, denoise and decode at one size; nothing is found in a cache. What a take has beside that is told apart
by its own stages (reading, guide, loading, showing, matte, writing, preview), in wall and processor time, and not counted. What comes with
the painting is: the wire, progress, pictures as they form. A take's fixed costs stand apart too: a short and a long run of each are
compared by their differences, and what is left over is `vace_fixed_seconds`. They take turns, so both meet the same machine; one that
is busy with something else shows in `vace_load` and in the share that its host gave to others, and the ratio of processor time is then
the better word than that of wall time.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import platebridge_server  # noqa: F401  (before torch: the script's threads then wait for each other as the server's do)
import psutil

from . import server, shot

sys.path.append(str(Path(__file__).parents[1] / "tests" / "server"))

NAME, FRAMES, SECONDS = "bench-vace", 25, 24.0
MOST_STEPS = 200  # that a request may ask for
MODEL = {"heads": 16, "layers": 14, "base": 16}
#: What both processes are told of waiting: threads that sleep at each of a thousand small operations a second are as quick as the machine's
#: host wakes them, which is luck, and was half a run's time. How a server waits is a matter of its own (platebridge_server/__init__.py).
SPINS = "1000000"
_Seconds = Tuple[float, float]  # wall, processor
_Run = Tuple[_Seconds, _Seconds]  # ours, the script's
_SCRIPT: List[Callable[[int], Any]] = []  # in a script's own process, its call


def measure(folder: Path, say: Callable[[str], None], pairs: int = 5, turns: int = 2, seconds: float = SECONDS) -> Dict[str, float]:
    """seconds: that a run of the script lasts at least; the number of steps is chosen for it.

    pairs: of a server and a script of its own each: two processes that do the same may differ by a tenth as long as they live.
    `vace_overhead_error`, the standard error over pairs, says how much of `vace_overhead` may be that. turns: long runs of
    each in a pair.
    """
    import tiny_vace
    from platebridge.client import Client
    from platebridge_server.models import store

    weights = tiny_vace.make(folder / "weights", **MODEL)
    options = shot.make(folder / "shot", 128, 96, FRAMES)
    lengths: Tuple[int, int] = (0, 0)
    runs: List[Tuple[List[_Run], List[_Run]]] = []
    models = {store.VARIABLE: str(folder / "models"), "GOMP_SPINCOUNT": SPINS}
    with _environment(models):
        store.add(weights, tiny_vace.card(NAME))
    for n in range(pairs):
        own = {**models, "XDG_CACHE_HOME": str(folder / f"cache{n}")}
        with _environment(own), server.running(folder / f"server{n}") as connection, Client(connection) as client:
            take = _Takes(client, connection, options, folder / "takes")
            say("the guide, and a first take")
            shape = _shape(take.made(0, 1)[1])
            with _script(weights, *shape) as script:
                script(1)
                lengths = lengths if lengths[1] else _lengths(script, seconds)
                say(f"{lengths[0]} and {lengths[1]} steps through the server and in a script, pair {n + 1} of {pairs}")
                short: List[_Run] = []
                long: List[_Run] = []
                for number in range(2 * turns):
                    length, kept = (lengths[0], short) if number < turns else (lengths[1], long)
                    first = script(length) if number % 2 else None  # who goes first takes turns too
                    ours, told = take.made(1 + number, length)
                    if _shape(told) != shape:
                        raise RuntimeError("The take was painted at another size than the script's, so the two are not the same work.")
                    kept.append((ours, first or script(length)))
                    say("wall %.1f s and %.1f s, processor %.1f s and %.1f s" % tuple(x for pair in zip(*kept[-1]) for x in pair))
        runs.append((short, long))
    each = [_ratio([pair], 0) for pair in runs]
    overhead = _ratio(runs, 0)
    return {
        "vace_overhead": overhead,
        "vace_overhead_cpu": _ratio(runs, 1),
        "vace_overhead_error": statistics.stdev(each) / len(each) ** 0.5 if len(each) > 1 else float("inf"),
        "vace_fixed_seconds": statistics.median(ours[0] - overhead * theirs[0] for short, _ in runs for ours, theirs in short),
        "vace_run_seconds": statistics.median(theirs[0] for _, long in runs for _, theirs in long),
        "vace_load": os.getloadavg()[0],
    }


def _ratio(runs: Sequence[Tuple[List[_Run], List[_Run]]], k: int) -> float:
    """What all long runs take beyond as many short ones, ours over the script's; k: 0 of wall time, 1 of the processor's.

    Of sums and not of medians: one run differs from the next by a tenth, and of few runs a sum says more.
    """
    ours, theirs = (sum(l[who][k] - s[who][k] for short, long in runs for s, l in zip(short, long)) for who in (0, 1))
    return ours / theirs


def _lengths(script: Callable[[int], _Seconds], seconds: float) -> Tuple[int, int]:
    """Steps of a short and a long run: by the processor's seconds, however busy the machine is now, the long one lasts long enough."""
    few, many = 2, 18
    busy = [script(n)[1] for n in (few, many)]
    each = max((busy[1] - busy[0]) / (many - few), 1e-3)
    steps = min(MOST_STEPS, max(few, round((seconds * min(2, os.cpu_count() or 1) - busy[0]) / each) + few))
    return max(few, steps // 6), steps


def _shape(told: Dict[str, Any]) -> Tuple[Tuple[int, int], int]:
    """The size and the number of frames that a take's model worked at."""
    height, width = told["work_area"]["size"]
    return (height, width), told["painting"]["clip"]["frames"]


class _Takes:
    """Takes of one shot through a server."""

    def __init__(self, client: Any, connection: Path, options: List[str], out: Path) -> None:
        from platebridge.connection import read_connection
        from platebridge.frames import parse_range
        from platebridge.request import ShotSettings
        from platebridge_server import command_generate as command

        named = dict(zip(options[::2], options[1::2]))
        sources = command.Sources({name: named["--" + name] for name in ("plate", "depth", "mask")})
        camera = Path(named["--camera"])
        asked = command.asked("bench", parse_range(named["--frames"]), ShotSettings(), camera=camera, model=NAME, dials={"detail": 32})
        (self._request,), self._files = command.with_files([asked], sources)
        self._client, self._out = client, out
        self._worker = psutil.Process(read_connection(connection).pid).children()[0]

    def made(self, number: int, steps: int) -> Tuple[_Seconds, Dict[str, Any]]:
        """((seconds, processor seconds), take.json) of painting a take for which words, plate and control are encoded anew."""
        from platebridge.takes import TakeWriter, read_take

        words = {"prompt": f"Take {number}.", "avoid": f"smoke {number}"}
        dials = {"steps": steps, "rim": 16 + number, "seed": number, "guidance": 5.0, **words}
        writer = TakeWriter.create(self._out, uuid.uuid4().hex)
        busy, began = self._busy(), time.perf_counter()
        self._client.run(self._request.with_dials(dials), self._files.__getitem__, writer)
        seconds, busy = time.perf_counter() - began, self._busy() - busy
        told = read_take(writer.path).document
        own = ("generating", "total")
        apart, busy_apart = (sum(v for stage, v in told[name].items() if stage not in own) for name in ("seconds", "processor_seconds"))
        return (seconds - apart, busy - busy_apart), told

    def _busy(self) -> float:
        times = self._worker.cpu_times()
        return float(times.user + times.system)


@contextmanager
def _script(weights: Path, size: Tuple[int, int], frames: int) -> Iterator[Callable[[int], _Seconds]]:
    """The plain diffusers call of so many steps at a size, in a process of its own: (seconds, processor seconds)."""
    with ProcessPoolExecutor(1, get_context("spawn"), _begin_script, (weights, size, frames)) as process:
        yield lambda steps: process.submit(_run_script, steps).result()


def _begin_script(weights: Path, size: Tuple[int, int], frames: int) -> None:
    import torch
    from diffusers import WanVACEPipeline
    from platebridge.request import GuideSettings
    from platebridge_server.models.vace import prompts

    torch.set_num_threads(min(16, os.cpu_count() or 1))  # as the server has it
    pipe = WanVACEPipeline.from_pretrained(weights, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    rng = np.random.default_rng(0)
    video = torch.from_numpy(rng.random((1, frames, 3, *size), np.float32))
    mask = torch.zeros_like(video)
    mask[..., size[0] // 4 : size[0] * 3 // 4, size[1] // 4 : size[1] * 3 // 4] = 1.0
    _SCRIPT.append(lambda steps: pipe(
        prompt=prompts.prompt(GuideSettings(), ""), negative_prompt=prompts.AVOID, video=video, mask=mask,
        height=size[0], width=size[1], num_frames=frames, num_inference_steps=steps, generator=torch.Generator().manual_seed(0),
    ))  # fmt: skip


def _run_script(steps: int) -> _Seconds:
    busy, began = time.process_time(), time.perf_counter()
    _SCRIPT[0](steps)
    return time.perf_counter() - began, time.process_time() - busy


@contextmanager
def _environment(more: Dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
