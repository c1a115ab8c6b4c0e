# SPDX-License-Identifier: Apache-2.0
"""Blender's main thread: how long a tick of ours takes there, with no job, with one, and while 200 MB come back; and how long the
extension takes to be imported and registered.

Real Blender without a window, a real server: ten seconds of film, its camera read from the scene, a preview with every frame, and
while the 200 MB come a folder that holds EARLIER takes. The tick is called as the timer calls it, every 50 ms; in a window Blender
draws besides.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict

from . import server, shot

WIDTH, HEIGHT, FRAMES = 240, 136, 240
EARLIER = 20

_BLENDER = """
import json, sys, time
from pathlib import Path
import bpy
began, used = time.perf_counter(), time.thread_time()
import blender_addon
blender_addon.register()
imported = time.perf_counter() - began, time.thread_time() - used
folder, connection, frames = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
from blender_addon import job, runner, server, sources
scene = bpy.context.scene
scene.frame_start, scene.frame_end = 1001, 1000 + frames
scene.render.resolution_x, scene.render.resolution_y, scene.render.fps = 240, 136, 24
scene.camera.rotation_euler, scene.camera.location = (1.5707963267948966, 0, 0), (0, 0, 2)
s = scene.platebridge
s.shot, s.take_root, s.connection = "bench", str(folder / "blender"), connection
s.plate_source = s.depth_source = s.mask_source = "FILES"
s.vectors_source = "NONE"
for name in ("plate", "depth", "mask"):
    setattr(s, name + "_files", str(folder / name / (name + ".####.exr")))
def ticks(until):
    took = []
    while not until(len(took)):
        began, used = time.perf_counter(), time.thread_time()
        runner._tick()
        took.append((time.perf_counter() - began, time.thread_time() - used))
        time.sleep(max(0.0, runner.INTERVAL - took[-1][0]))
    return took
idle = ticks(lambda n: n >= 100)
work = job.Job.generate(sources.plan(scene, bpy.context.view_layer), server.client_of(scene))
runner.jobs[:] = [work]
busy = ticks(lambda n: work.finished)
print("TICKS", json.dumps([imported, idle, busy, str(work.error or "")]), flush=True)
import os
os._exit(0)
"""


def measure(folder: Path, say: Callable[[str], None]) -> Dict[str, float]:
    """Milliseconds of a tick: median, 99th percentile and worst, by the clock and (work) by the main thread's own processor time."""
    shot.make(folder / "shot", WIDTH, HEIGHT, FRAMES)
    figures: Dict[str, float] = {}
    for name, generator in (("job", "benchmarks.flood:small"), ("flood", "benchmarks.flood:generate")):
        say(f"ticks: {name}")
        with server.running(folder / name, generator=generator) as connection:
            run = subprocess.run(
                [sys.executable, "-c", _BLENDER, str(folder / "shot"), str(connection), str(FRAMES)], capture_output=True, text=True
            )
        lines = [line for line in run.stdout.splitlines() if line.startswith("TICKS")]
        if not lines:
            raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
        imported, idle, busy, error = json.loads(lines[0][6:])
        if error:
            raise RuntimeError(error)
        for what, rows in (("idle", idle), (name, busy)):
            clock, work = (sorted(1000 * row[i] for row in rows) for i in (0, 1))
            for kind, values in (("ms", clock), ("work_ms", work)):
                figures[f"tick_{what}_median_{kind}"] = values[len(values) // 2]
                figures[f"tick_{what}_p99_{kind}"] = values[min(len(values) - 1, round(0.99 * len(values)))]
                figures[f"tick_{what}_worst_{kind}"] = values[-1]
        figures[f"tick_{name}_count"] = len(busy)
        takes = folder / "shot" / "blender" / "bench"
        for number in range(2, EARLIER + 1):
            (takes / f"take_{number:04d}").mkdir(exist_ok=True)
            shutil.copy(takes / "take_0001" / "take.json", takes / f"take_{number:04d}")
        figures["import_ms"], figures["import_work_ms"] = (1000 * seconds for seconds in imported)
    return figures
