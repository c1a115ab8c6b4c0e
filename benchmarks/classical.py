# SPDX-License-Identifier: Apache-2.0
"""The classical way to the same kind of shot: smoke simulated at the training truth's resolution and rendered by Cycles as a volume.

CPU seconds of both ways on the same cores in one run, for 48 frames of 960x540: the classical way is simulated whole, three of its frames
are rendered (64 samples, OpenImageDenoise, two volume bounces) and the rest lie on straight lines between them; the other is a whole final
take by `platebridge generate`, plate to EXR. Both pictures' share of dust is told, for the price of a volume goes with it. Not counted on
the classical side: an alpha without grain, a shadow pass, and doing it again for each dial.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import OpenImageIO as oiio

from . import shot

WIDTH, HEIGHT, FRAMES = 960, 540, 48
RENDERED = (12, 28, 44)
SEED = 9001  # of the collapse: one that was never trained on
EXTINCTION = 40.0  # per domain height

_SIMULATE = """
import sys
from pathlib import Path
import numpy as np
from platebridge_server.guide import solver
from platebridge_server.training import simulate
folder, frames, kept, seed = Path(sys.argv[1]), int(sys.argv[2]), [int(n) for n in sys.argv[3].split(",")], int(sys.argv[4])
event = simulate.collapse(seed)
smoke = simulate.boxed(simulate.FINE, solver.SmokeSettings(), seed)
for frame in range(frames):
    for part in range(2):
        smoke.step(simulate.STEP, simulate.emit(event.points((2 * frame + part) * simulate.STEP), smoke))
    if frame in kept:
        np.save(folder / f"density.{frame}.npy", smoke.density.numpy())
"""

_RENDER = """
import json, sys, time
from pathlib import Path
import numpy as np
import bpy
sys.path.append(str(Path(bpy.utils.resource_path("LOCAL"), "python", "lib", "python%d.%d" % sys.version_info[:2], "site-packages")))
import openvdb
folder, frame, extinction, size = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), [int(n) for n in sys.argv[4].split("x")]
density = np.load(folder / f"density.{frame}.npy")  # z, y, x
cell = 1.0 / density.shape[0]
grid = openvdb.FloatGrid()
grid.copyFromArray(np.ascontiguousarray(density.transpose(2, 1, 0)), tolerance=1e-4)
grid.name, grid.gridClass = "density", openvdb.GridClass.FOG_VOLUME
grid.transform = openvdb.createLinearTransform(voxelSize=cell)
grid.transform.postTranslate((-0.5 * density.shape[2] * cell, -0.5 * density.shape[1] * cell, 0.0))
openvdb.write(str(folder / "density.vdb"), grids=[grid])

bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
volume = bpy.data.volumes.new("dust")
volume.filepath = str(folder / "density.vdb")
material = bpy.data.materials.new("dust")
material.use_nodes = True
nodes = material.node_tree.nodes
nodes.clear()
scatter, out = nodes.new("ShaderNodeVolumePrincipled"), nodes.new("ShaderNodeOutputMaterial")
scatter.inputs["Color"].default_value = (0.8, 0.78, 0.74, 1)
scatter.inputs["Density"].default_value = extinction
material.node_tree.links.new(scatter.outputs["Volume"], out.inputs["Volume"])
volume.materials.append(material)
scene.collection.objects.link(bpy.data.objects.new("dust", volume))
sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
sun.data.energy, sun.rotation_euler = 5.0, (0.8, 0.0, 0.7)
world = scene.world = bpy.data.worlds.new("sky")
world.use_nodes = True
world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.25, 0.3, 0.4, 1)
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
camera.location, camera.rotation_euler = (0, -2.6, 0.5), (1.5, 0, 0)
camera.data.angle = 0.55
for item in (sun, camera):
    scene.collection.objects.link(item)
scene.camera = camera
render = scene.render
render.engine, render.film_transparent = "CYCLES", True
render.resolution_x, render.resolution_y = size
render.image_settings.file_format, render.filepath = "OPEN_EXR", str(folder / f"classical.{frame}.exr")
cycles = scene.cycles
cycles.device, cycles.samples, cycles.volume_bounces, cycles.use_denoising, cycles.denoiser = "CPU", 64, 2, True, "OPENIMAGEDENOISE"
cycles.use_adaptive_sampling = False
began = time.process_time()
bpy.ops.render.render(write_still=True)
print("CPU_SECONDS", json.dumps(time.process_time() - began), flush=True)
"""


def _cpu_seconds_of(command: list, **options: Any) -> tuple:
    """(CPU seconds of a process and its children, its output). Raises RuntimeError with its last words."""
    import resource  # not on Windows, where the other parts run all the same

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(command, capture_output=True, text=True, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise RuntimeError(run.stdout[-1000:] + run.stderr[-2000:])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, run.stdout


def _dust_share(path: Path) -> float:
    """The part of a picture that is not clear."""
    pixels = oiio.ImageBuf(str(path))
    alpha = pixels.get_pixels("float")[..., pixels.spec().channelnames.index("A")]
    return float((alpha > 0.02).mean())


def measure(folder: Path, say: Callable[[str], None]) -> Dict[str, float]:
    """classical_ratio (CPU seconds classical over ours), what it is made of, and how much of the picture is dust in each."""
    folder.mkdir(parents=True)
    say("the classical way: simulating")
    kept = ",".join(map(str, RENDERED))
    simulating, _ = _cpu_seconds_of([sys.executable, "-c", _SIMULATE, str(folder), str(FRAMES), kept, str(SEED)])
    rendering = []
    for frame in RENDERED:
        say(f"the classical way: Cycles, frame {frame}")
        _, said = _cpu_seconds_of([sys.executable, "-c", _RENDER, str(folder), str(frame), str(EXTINCTION), f"{WIDTH}x{HEIGHT}"])
        rendering.append(json.loads(next(line for line in said.splitlines() if line.startswith("CPU_SECONDS")).split(" ", 1)[1]))
    say("a final take")
    options = shot.make(folder / "shot", WIDTH, HEIGHT, FRAMES)
    environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))
    ours, _ = _cpu_seconds_of(
        [sys.executable, "-m", "platebridge_server", "generate", *options, "--out", str(folder / "takes")], env=environment
    )
    take = folder / "takes" / "take_0001"
    classical = simulating + float(np.interp(np.arange(FRAMES), RENDERED, rendering).sum())
    return {
        "classical_ratio": classical / ours,
        "classical_cpu_seconds": classical,
        "classical_simulation_cpu_seconds": simulating,
        "take_cpu_seconds": ours,
        "take_seconds": json.loads((take / "take.json").read_text())["seconds"]["total"],
        "classical_dust_share": float(np.mean([_dust_share(folder / f"classical.{frame}.exr") for frame in RENDERED])),
        "take_dust_share": float(np.mean([_dust_share(take / f"effect.{shot.FIRST + frame}.exr") for frame in RENDERED])),
    }
