# SPDX-License-Identifier: Apache-2.0
"""Generating: here against through Blender and a server, a second take against the first, memory of short and long shots."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, Dict, List

import psutil

from . import server, shot

WIDTH, HEIGHT, FRAMES = 480, 270, 48
SMALL = (240, 136)  # memory is compared at one small size, so that 240 frames take minutes


def generate(options: List[str], out: Path, *more: str) -> Dict[str, float]:
    """Runs `platebridge generate`; gives seconds, seconds to the first frame on disk, peak_mb, and the take's own stages.

    What takes leave for the next ones lies in `out`: what an earlier run left would be found, and not made.
    """
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "platebridge_server", "generate", *options, "--out", str(out), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_CACHE_HOME": str(out / "cache")},
    )
    watch = _Watch(process, out)
    error = process.communicate()[1]
    seconds = time.perf_counter() - began
    watch.join()
    if process.returncode:
        raise RuntimeError(error.decode()[-2000:])
    document = json.loads((sorted(out.glob("take_*"))[-1] / "take.json").read_text())
    return {"seconds": seconds, "first_frame": watch.first_frame - began, "peak_mb": watch.peak / 1e6, **document["seconds"]}


class _Watch(threading.Thread):
    """Looks at a process now and then: its memory, and when the first comp stands in its newest take."""

    def __init__(self, process: subprocess.Popen, out: Path) -> None:
        super().__init__(daemon=True)
        self.process, self.out, self.peak, self.first_frame = process, out, 0, float("nan")
        self.before = set(out.glob("take_*/comp.*.exr"))
        self.start()

    def run(self) -> None:
        at = psutil.Process(self.process.pid)
        while self.process.poll() is None:
            try:
                self.peak = max(self.peak, largest(at))
            except psutil.NoSuchProcess:
                return
            if self.first_frame != self.first_frame and set(self.out.glob("take_*/comp.*.exr")) - self.before:
                self.first_frame = time.perf_counter()
            self.process.poll()
            time.sleep(0.05)


def largest(process: psutil.Process) -> int:
    """Bytes of the largest resident set that a process had so far, where the system tells it; else of the one that it has now, which
    misses what comes and goes between two looks."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    now = process.memory_info()
    return getattr(now, "peak_wset", now.rss)  # Windows' word for it


_BLENDER = """
import sys, time
from pathlib import Path
import bpy
from blender_addon import register
folder, connection, frames = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
register()
scene = bpy.context.scene
scene.frame_start, scene.frame_end = 1001, 1000 + frames
scene.render.resolution_x, scene.render.resolution_y, scene.render.fps = 480, 270, 24
camera = scene.camera
camera.location, camera.rotation_euler, camera.data.lens = (0, 0, 2), (1.5707963267948966, 0, 0), 35
s = scene.platebridge
s.shot, s.take_root, s.connection = "bench", str(folder / "blender"), connection
s.plate_source = s.depth_source = s.mask_source = "FILES"
s.vectors_source = "NONE"
for name in ("plate", "depth", "mask"):
    setattr(s, name + "_files", str(folder / name / (name + ".####.exr")))
s.dials.composition = int(sys.argv[4])
began = time.perf_counter()
result = bpy.ops.platebridge.generate()
print("SECONDS", time.perf_counter() - began, result, flush=True)
"""


def through_blender(folder: Path, connection: Path, composition: int) -> float:
    """Seconds of the operator Generate in headless Blender on the same files."""
    run = subprocess.run(
        [sys.executable, "-c", _BLENDER, str(folder), str(connection), str(FRAMES), str(composition)], capture_output=True, text=True
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("SECONDS")]
    if not lines or "FINISHED" not in lines[0]:
        raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
    return float(lines[0].split()[1])


def measure(folder: Path, say: Callable[[str], None], repeats: int = 3) -> Dict[str, float]:
    """Medians of `repeats` runs; what is compared takes turns, so both meet the same machine."""
    options = shot.make(folder / "shot", WIDTH, HEIGHT, FRAMES)
    salt = int(time.time()) % 10**9
    here: List[Dict[str, float]] = []
    drafts: List[Dict[str, float]] = []
    bridge: List[float] = []
    again: List[float] = []
    for n in range(repeats):
        # Another composition each time, or the kept guide of the run before would be found and not made.
        another = ("--set", f"composition={salt + n}")
        say(f"generating here, run {n + 1} of {repeats}")
        here.append(generate(options, folder / "here", *another))
        with server.running(folder / f"server{n}") as connection:
            say(f"generating through Blender and a server, run {n + 1} of {repeats}")
            bridge.append(through_blender(folder / "shot", connection, salt + n))
        say(f"a draft, run {n + 1} of {repeats}")
        drafts.append(generate(options, folder / "draft", "--draft", *another))
        say(f"a second take of the same plate, run {n + 1} of {repeats}")
        with server.running(folder / f"server-again{n}") as connection:
            first, second = (generate(options, folder / "again", "--server", str(connection), "--seed", seed) for seed in ("1", "2"))
        again.append(second["seconds"] / first["seconds"])
    median = {key: statistics.median(row[key] for row in here) for key in here[0]}
    alone = [row["total"] for row in here]  # without the interpreter's start, as Blender runs already
    return {
        "bridge_overhead": statistics.median(through / direct for through, direct in zip(bridge, alone)),  # each of one composition
        "bridge_seconds": statistics.median(bridge),
        "here_seconds": statistics.median(alone),
        "second_take": statistics.median(again),
        "guide_seconds": median["guide"],
        "dust_seconds_per_frame": median["generating"] / FRAMES,
        "draft_seconds_per_frame": statistics.median(row["generating"] for row in drafts) / FRAMES,
        "first_frame_seconds": median["first_frame"],
    }


def memory(folder: Path, say: Callable[[str], None]) -> Dict[str, float]:
    """peak_mb_48, peak_mb_240: the largest resident set of `platebridge generate`, and their ratio."""
    peaks = {}
    for frames in (48, 240):
        say(f"memory of {frames} frames")
        options = shot.make(folder / f"long{frames}", *SMALL, frames)
        peaks[frames] = generate(options, folder / f"out{frames}", "--draft")["peak_mb"]
    return {"peak_mb_48": peaks[48], "peak_mb_240": peaks[240], "peak_240_vs_48": peaks[240] / peaks[48]}


def whole(folder: Path, say: Callable[[str], None]) -> Dict[str, float]:
    """A shot at 960x540, plate to EXR with the interpreter's start: `seconds` of a final and `seconds_draft` of a draft of 48 frames, guide
    and all, medians of three, and `peak_mb` of a draft of 240."""
    options = shot.make(folder / "shot", 960, 540, FRAMES)
    rows: Dict[str, List[Dict[str, float]]] = {"seconds_draft": [], "seconds": []}
    for n in range(3):
        for name, more in (("seconds_draft", ["--draft"]), ("seconds", [])):
            say(f"960x540, {FRAMES} frames: {name}, run {n + 1} of 3")
            # Another composition each, or one would find the guide of another.
            rows[name].append(generate(options, folder / name, "--set", f"composition={2 * n + len(more)}", *more))
    figures = {}
    for name, made in rows.items():
        row = {part: statistics.median(one[part] for one in made) for part in ("seconds", "guide", "generating", "peak_mb")}
        figures |= {name: row["seconds"], **{f"{name}_{part}": row[part] for part in ("guide", "generating")}, f"{name}_mb": row["peak_mb"]}
    say("960x540, 240 frames: memory")
    options = shot.make(folder / "long", 960, 540, 240)
    return {**figures, "peak_mb": generate(options, folder / "out", "--draft")["peak_mb"]}
