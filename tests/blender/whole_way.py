# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist does on one day, in whichever Blender runs this: `python whole_way.py ZIP CONNECTION FOLDER`.

Installs the zip, makes a small scene, renders its passes, generates, looks at the timeline, undoes, saves, opens again, generates anew and
renders the edit. Uses nothing but bpy and what the zip brings. Prints a line for each thing seen; the last is WHOLE WAY.
"""

import importlib
import os
import sys
from pathlib import Path

import bpy
import numpy as np
from day import EXTENSION, FRAMES, held, make_scene, see

archive, connection, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def modified(scene, edit, frames):
    """The take over its plate's strip, as a modifier: rendered, and no part of the plate."""
    see("the take lies over its plate", bpy.ops.platebridge.take_onto_plate() == {"FINISHED"})
    see("asked again, it is one modifier", bpy.ops.platebridge.take_onto_plate() == {"FINISHED"})
    plate = next(s for s in scene.sequence_editor.strips if "plate" in s.get("platebridge", {}))
    see("of the plate's strip", len(plate.modifiers) == 1)
    scene.platebridge.output = "EFFECT"
    bpy.ops.platebridge.show_take()
    see("an effect that is shown has the plate alone below it", plate.modifiers[0].mute)
    scene.platebridge.output = "COMP"
    see("laid over it again, it is seen again", bpy.ops.platebridge.take_onto_plate() == {"FINISHED"} and not plate.modifiers[0].mute)
    see("the plate's strip is still the plate", importlib.import_module(EXTENSION + ".sources").is_taken_as_it_is(plate))
    list(edit.render_edit(scene, folder / "modified" / "edit.####.exr", frames, bits=32))


def the_day():
    scene = make_scene(archive, connection, folder)
    bpy.ops.ed.undo_push(message="before")
    see("generated", bpy.ops.platebridge.generate() == {"FINISHED"})
    take = folder / "takes" / "day" / "take_0001"
    see("every comp is there", [p.name for p in sorted(take.glob("comp.*.exr"))] == ["comp.%d.exr" % f for f in FRAMES])
    see("every pass was captured", all((folder / "takes" / "day" / n / ("%s.1002.exr" % n)).is_file() for n in ("plate", "depth", "mask")))
    see("the timeline holds them", held(scene) == FRAMES)
    strip = [s for s in scene.sequence_editor.strips if s.name.endswith("comp")][-1]
    see("the strip says what it is", strip["platebridge"]["kind"] == "comp")
    bpy.ops.ed.undo()
    see("one undo takes it off", held(bpy.context.scene) == [])
    bpy.ops.ed.redo()
    see("redo brings it back", held(bpy.context.scene) == FRAMES)
    bpy.context.scene.name = "Renamed"
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "day.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "day.blend"))
    scene = bpy.context.scene
    see("opened again, it stands there", held(scene) == FRAMES and scene.platebridge.shot == "day")
    scene.platebridge.dials.seed = 2
    see("another seed, another take", bpy.ops.platebridge.generate() == {"FINISHED"} and (folder / "takes" / "day" / "take_0002").is_dir())
    bpy.ops.platebridge.exact_timeline()
    edit = importlib.import_module(EXTENSION + ".edit")
    frames = importlib.import_module("platebridge.frames").FrameRange(FRAMES[0], FRAMES[-1])
    rendered = [path for _, path in edit.render_edit(scene, folder / "edit" / "edit.####.exr", frames)]
    see("the edit is rendered", all(path.is_file() for path in rendered) and len(rendered) == 3)
    see("takes are listed", [row.name for row in bpy.context.window_manager.platebridge_takes] == ["take_0002", "take_0001"])
    bpy.context.window_manager.platebridge_take = 1
    bpy.ops.platebridge.show_take()
    shown = [s.name for s in scene.sequence_editor.strips if not s.mute and s.name.endswith("comp")]
    see("the older take is shown alone", shown == ["day take 0001 comp"])
    see("its dials come back", bpy.ops.platebridge.copy_dials() == {"FINISHED"} and scene.platebridge.dials.seed == 0)
    see("a preset is taken", bpy.ops.platebridge.preset(name="brick") == {"FINISHED"} and scene.platebridge.dials.debris == 220)
    passes, layers = importlib.import_module(EXTENSION + ".passes"), ["R", "G", "B", "A", "Z", "sun.Y", "ambient.Y", "shadow"]
    for frame in FRAMES:  # the small generator makes comps alone
        made = np.random.default_rng(frame).uniform(0, 0.9, (36, 64, len(layers)))
        passes.write_exr(take / ("effect.%d.exr" % frame), made.astype(np.float32), layers, half=True)
    see("the take is in the compositor", bpy.ops.platebridge.take_to_compositor() == {"FINISHED"})
    versions = importlib.import_module(EXTENSION + ".versions")
    if versions.has_compositor_modifier():
        modified(scene, edit, frames)
    scene.render.use_compositing, scene.render.use_sequencer, scene.render.filepath = True, False, str(folder / "composited.exr")
    with versions.borrowed(versions.exr_changes(scene.render.image_settings, layers=False, bits=32)):
        scene.frame_set(1002)
        bpy.ops.render.render(write_still=True)
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    see("gone without a trace", not hasattr(bpy.types.Scene, "platebridge"))


the_day()
print("WHOLE WAY", bpy.app.version_string, flush=True)
os._exit(0)
