# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside other Python threads: what we ask of Blender must not touch Python without the GIL. (It crashed artists' Blenders now and then.)

Python's own debugging allocator (PYTHONMALLOC=debug) ends the process at the first such touch, so a crash in a hundred runs becomes one
in each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SETTING = """
import os, sys, threading
from pathlib import Path
import bpy

def busy():
    while True:
        sum(range(2000))

bpy.ops.wm.read_factory_settings(use_empty=True)
other = bpy.data.scenes.new("other")  # not the window's: each of these must bring it there
eye = bpy.data.objects.new("eye", bpy.data.cameras.new("eye"))
other.collection.objects.link(eye)
other.camera, other.render.engine, other.cycles.samples = eye, "CYCLES", 1
other.render.resolution_x, other.render.resolution_y = 32, 16
out = Path(sys.argv[1])
for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
{doing}
sys.stdout.flush()
os._exit(0)  # the busy threads never end
"""

DOING = {
    "the edit is rendered": """
from platebridge.frames import FrameRange
from blender_addon.edit import render_edit
other.sequence_editor_create().strips.new_effect(name="c", type="COLOR", channel=1, frame_start=1, **{LENGTH})
assert len(list(render_edit(other, out / "edit.####.exr", FrameRange(1, 3)))) == 3
""",
    "passes are captured": """
from blender_addon.capture import in_window
for frame in range(3):
    with in_window(other):
        other.render.filepath = str(out / f"{frame}.png")
        bpy.ops.render.render(write_still=True, scene=other.name)
    assert Path(other.render.filepath).is_file() and bpy.context.scene != other
""",
    "an undo step is pushed": """
from blender_addon.job import remember_for_undo
for _ in range(20):
    remember_for_undo("Platebridge take")
assert bpy.ops.ed.undo.poll()
""",
    "a collapse is simulated": """
from blender_addon.collapse import bodies
scene = bpy.data.scenes.new("collapse simulation")
window = bpy.context.window
window.scene = scene
bodies._world(scene, [], [], bodies._floor(scene, 0.0, []), 3, 2, 2)
assert scene.rigidbody_world is not None
""",
    # proof that the trap is there and that this test sees it
    "temp_override, which must fail": """
for frame in range(5):
    with bpy.context.temp_override(window=bpy.context.window, scene=other):
        other.render.filepath = str(out / f"{frame}.png")
        bpy.ops.render.render(write_still=True, scene=other.name)
""",
}


@pytest.mark.parametrize("what", DOING)
def test_the_interpreter_is_never_touched_without_its_lock(what, tmp_path):
    import bpy

    length = "{'length': 3}" if bpy.app.version >= (5, 0, 0) else "{'frame_end': 4}"
    code = SETTING.replace("{doing}", DOING[what].replace("{LENGTH}", length))
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=dict(os.environ, PYTHONMALLOC="debug", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    if what.endswith("must fail"):
        assert "without holding the GIL" in run.stderr
    else:
        assert run.returncode == 0, run.stderr[-2000:]
