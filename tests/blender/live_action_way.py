# SPDX-License-Identifier: GPL-3.0-or-later
"""A live-action shot in whichever Blender runs this: `python live_action_way.py ZIP CONNECTION FOLDER`.

Installs the zip, makes footage, presses New Live-Action Shot, generates; captures a drawn mask and the clip at half size; takes
the extension away, opens the file again and renders its timeline. Prints a line for each thing seen; the last is LIVE ACTION.
"""

import importlib
import os
import sys
from pathlib import Path

import bpy
import numpy as np

archive, connection, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
EXTENSION = "bl_ext.user_default.platebridge"
FRAMES = [1001, 1002, 1003, 1004]


def see(what, true):
    """Prints what was seen; ends the process where it is not so."""
    print(what if true else "NOT " + what, flush=True)
    if not true:
        os._exit(1)


def part(name):
    return importlib.import_module("%s.%s" % (EXTENSION, name))


def draw_mask():
    mask = bpy.data.masks.new("Roto")
    spline = mask.layers.new(name="House").splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    for point, corner in zip(spline.points, ((0.25, 0.5), (0.5, 0.5), (0.5, 0.625), (0.25, 0.625))):
        point.co = corner
        point.handle_left, point.handle_right = corner, corner
    return mask


def the_shot():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    installed = bpy.ops.extensions.package_install_files(filepath=archive, repo="user_default", enable_on_install=True)
    see("installed and enabled", installed == {"FINISHED"})
    passes = part("passes")
    for frame in FRAMES:
        pixels = np.random.default_rng(frame).uniform(-0.5, 6, (36, 64, 3)).astype(np.float32)
        passes.write_exr(folder / "footage" / ("street.%d.exr" % frame), pixels, "RGB", half=True)
    pressed = bpy.ops.platebridge.new_live_action_shot(filepath=str(folder / "footage" / "street.1002.exr"))
    scene = bpy.context.window_manager.windows[0].scene
    see("the shot is set up", pressed == {"FINISHED"} and scene.name == "street" and scene.frame_start == 1001 and scene.camera is not None)
    ours = scene.platebridge
    ours.take_root, ours.connection = str(folder / "takes"), connection
    part("versions").curves(bpy.data.objects["Building Proxy"].animation_data)[0].keyframe_points[0].co.x = 1001
    scene.frame_set(1001)
    see("generated", bpy.ops.platebridge.generate() == {"FINISHED"})
    shot = folder / "takes" / "street"
    see("the plate is the footage", not (shot / "plate").exists())
    depth = passes.read_layers(shot / "depth" / "depth.1001.exr")[0]["Z"]
    mask = passes.read_layers(shot / "mask" / "mask.1001.exr")[0]["Y"]
    see("depth and mask are the proxies'", abs(depth[12, 32] - 25) < 1e-3 and mask[12, 32] == 1 and mask[12, 2] == 0)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "street.blend"))

    ours.mask_source, ours.mask_datablock, ours.vectors_source = "MASK", draw_mask(), "NONE"
    ours.plate_source, ours.shot, scene.render.resolution_percentage = "CLIP", "half", 50
    see("captured at half size", bpy.ops.platebridge.capture() == {"FINISHED"})
    drawn = passes.read_layers(folder / "takes" / "half" / "mask" / "mask.1003.exr")[0]["Y"]
    see("the mask is drawn at half size", drawn.shape == (18, 32) and abs(drawn.sum() - 8 * 4) < 2.5 and drawn[6, 12] == 1)
    plate = passes.read_layers(folder / "takes" / "half" / "plate" / "plate.1003.exr")[0]["G"]
    whole = passes.read_layers(folder / "footage" / "street.1003.exr")[0]["G"]
    see("the clip is scaled", np.abs(plate - whole.reshape(18, 2, 32, 2).mean((1, 3))).max() < 1e-3)

    versions = part("versions")
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    bpy.ops.wm.open_mainfile(filepath=str(folder / "street.blend"))
    scene = bpy.context.window_manager.windows[0].scene
    comp = next(strip for strip in scene.sequence_editor.strips if strip.name.endswith("comp"))
    told = comp["platebridge"].to_dict()
    see("without the extension the strip says what it is", {"take", "folder", "request", "model", "dials"} <= set(told))
    see("and the extension is gone", not hasattr(scene, "platebridge") and told["shot"] == "street")
    scene.render.use_sequencer, scene.render.filepath = True, str(folder / "played.exr")
    with versions.borrowed(versions.exr_changes(scene.render.image_settings, layers=False, bits=16, alpha=False)):
        scene.frame_set(1003)
        bpy.ops.render.render(write_still=True)
    played = passes.read_layers(folder / "played.exr")[0]
    comped = passes.read_layers(shot / "take_0001" / "comp.1003.exr")[0]
    see("and the timeline plays, bit for bit", all(np.array_equal(played[c], comped[c]) for c in "RGB"))


the_shot()
print("LIVE ACTION", bpy.app.version_string, flush=True)
os._exit(0)
