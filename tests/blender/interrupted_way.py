# SPDX-License-Identifier: GPL-3.0-or-later
"""A day that goes wrong, in whichever Blender runs this: `python interrupted_way.py ZIP CONNECTION FOLDER begin|again`.

`begin` saves a scene and generates; the test kills it when two of three frames have come. `again` opens the file, attaches, and cancels
another take in its midst. The server's generator waits before a frame while FOLDER/server/control/hold.FRAME is there.
"""

import importlib
import os
import sys
import time
from pathlib import Path

import bpy
from day import EXTENSION, FRAMES, held, install, make_scene, see

archive, connection, folder, part = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]


def begin():
    make_scene(archive, connection, folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "day.blend"))
    bpy.ops.platebridge.generate()


def again():
    install(archive)
    bpy.ops.wm.open_mainfile(filepath=str(folder / "day.blend"))
    scene, shot = bpy.context.scene, folder / "takes" / "day"
    see("attached", bpy.ops.platebridge.attach() == {"FINISHED"} and held(scene) == FRAMES)
    see("it is the same take, whole", (shot / "take_0001" / "take.json").is_file() and not (shot / "take_0002").exists())
    hold = folder / "server" / "control" / "hold.1003"
    hold.touch()
    scene.platebridge.dials.seed = 2
    sources, server, job = (importlib.import_module(EXTENSION + name) for name in (".sources", ".server", ".job"))
    cut = job.Job.generate(sources.plan(scene, bpy.context.view_layer), server.client_of(scene))
    step_until(cut, lambda: held(scene) == FRAMES[:2])
    cut.cancel()
    step_until(cut, lambda: cut.finished)
    hold.unlink()
    see("cancelled, and what came stays", cut.error.code == "cancelled" and held(scene) == FRAMES[:2])
    see("its frames are on disk", (shot / "take_0002" / "comp.1002.exr").is_file() and not (shot / "take_0002" / "comp.1003.exr").exists())


def step_until(job, condition):
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            see("something came of it: %s, %s" % (job.phase, job.sentence), False)
        job.step(0.01)
        job.rest(0.02)


{"begin": begin, "again": again}[part]()
print("INTERRUPTED WAY", bpy.app.version_string, flush=True)
os._exit(0)
