# SPDX-License-Identifier: GPL-3.0-or-later
"""The small scene of an artist's day, and how a script in whichever Blender says what it saw. For scripts, not for pytest."""

import math
import os

import bpy

EXTENSION = "bl_ext.user_default.platebridge"
FRAMES = [1001, 1002, 1003]


def install(archive):
    """Installs the zip as Blender does for an artist, and enables it."""
    installed = bpy.ops.extensions.package_install_files(filepath=archive, repo="user_default", enable_on_install=True)
    see("installed and enabled", installed == {"FINISHED"} and EXTENSION in bpy.context.preferences.addons)


def see(what, true):
    """Prints what was seen; ends the process where it is not so."""
    print(what if true else "NOT " + what, flush=True)
    if not true:
        os._exit(1)


def held(scene):
    """The frames that the newest comp on the timeline holds."""
    editor = scene.sequence_editor
    found = [strip for strip in editor.strips if strip.name.endswith("comp")] if editor else []
    return [int(element.filename.split(".")[1]) for element in found[-1].elements] if found else []


def make_scene(archive, connection, folder):
    """A cube that slides before a wall, three frames of 64x36, and our settings for it."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    install(archive)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 2, False
    scene.render.resolution_x, scene.render.resolution_y = 64, 36
    scene.frame_start, scene.frame_end = FRAMES[0], FRAMES[-1]
    bpy.ops.mesh.primitive_cube_add(size=2, location=(0, 0, 0))
    cube = bpy.context.object
    pieces = bpy.data.collections.new("Pieces")
    scene.collection.children.link(pieces)
    pieces.objects.link(cube)
    for frame, x in ((FRAMES[0], -0.5), (FRAMES[-1], 0.5)):
        cube.location.x = x
        cube.keyframe_insert("location", frame=frame)
    bpy.ops.mesh.primitive_plane_add(size=40, location=(0, 5, 0), rotation=(math.pi / 2, 0, 0))
    bpy.ops.object.light_add(type="SUN", rotation=(1, 0, 0))
    bpy.ops.object.camera_add(location=(0, -8, 0), rotation=(math.pi / 2, 0, 0))
    scene.camera = bpy.context.object
    ours = scene.platebridge
    ours.shot, ours.take_root, ours.connection, ours.mask_collection = "day", str(folder / "takes"), connection, pieces
    return scene
