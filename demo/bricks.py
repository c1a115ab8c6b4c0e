# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot `bricks`: a corner house of brick comes down in a street, seen from a moving camera, past a lamp post.

Makes scene.blend and nothing else: the passes (depth, vectors, Cryptomatte of the collection "collapse") are the
capture's to render. Everything that falls is baked to keys, so frames may be rendered in any order.
"""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from blender_addon.collapse import bodies, debris, keys, meshes

from . import bricks_model, bricks_street
from .shot import Progress, Shot

FIRST, LAST = 1001, 1048
WIDTH, HEIGHT, FPS = 480, 270, 24
CUE = 7
"""Frame, counted from 1, in which the first brick is let go."""
SIMULATED_FPS = 18
"""The fall is played a third faster than it is: a house of 11 m takes three seconds, the shot has two."""
SAMPLES = 6


def build(folder: Path, progress: Progress) -> Shot:
    """Make folder/scene.blend. `progress(stage, done, total)`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    progress("build house", 0, 1)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    home = bricks_model.house()
    plan = bricks_model.direct(home, CUE)
    progress("build house", 1, 1)
    count = LAST - FIRST + 1
    placements = bodies.simulate(
        home.pieces,
        plan,
        frames=count,
        fps=SIMULATED_FPS,
        ground=bricks_model.PAVEMENT,
        shrink=0.02,
        progress=lambda done, total: progress("rigid bodies", done, total),
    )
    shards, paths = debris.chips(
        home.pieces,
        plan.pairs,
        placements,
        count=350,
        fps=SIMULATED_FPS,
        ground=bricks_model.PAVEMENT,
        size=(0.06, 0.22),
        spread=1.6,
        seed=9,
    )
    placements = np.concatenate([placements, paths], 1)

    scene = bpy.context.scene
    scene.name = "bricks"
    _settings(scene)
    collapse = bpy.data.collections.new("collapse")
    scene.collection.children.link(collapse)
    materials = bricks_street.piece_materials()
    white = (1.0, 1.0, 1.0)
    blocks = [
        meshes.visible_piece(f"{stuff} {i:03d}", piece, white, collapse, materials[stuff])
        for i, (piece, stuff) in enumerate(zip(home.pieces, home.stuff))
    ]
    chip_stuff = [home.stuff[s.part] if home.stuff[s.part] != "glass" else "brick" for s in shards]
    blocks += [
        meshes.visible_piece(f"chip {i:03d}", shard, white, collapse, materials[stuff])
        for i, (shard, stuff) in enumerate(zip(shards, chip_stuff))
    ]
    keys.bake(blocks, placements, range(FIRST, LAST + 1))

    setting = bpy.data.collections.new("street")
    scene.collection.children.link(setting)
    bricks_street.street(setting)
    bricks_street.lamp_post(setting)
    bricks_street.light(scene)
    _camera(scene)
    scene.frame_set(FIRST)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"), compress=True)
    return Shot("bricks", folder, folder / "scene.blend", FIRST, LAST, WIDTH, HEIGHT, FPS, mask_collection="collapse")


def _settings(scene: bpy.types.Scene) -> None:
    scene.frame_start, scene.frame_end, scene.render.fps = FIRST, LAST, FPS
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = WIDTH, HEIGHT, 100
    scene.render.use_persistent_data = True
    scene.render.use_motion_blur = False  # the vector pass needs it off
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples, cycles.use_adaptive_sampling = SAMPLES, False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 2, 2, 1
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 6.0
    cycles.seed, cycles.use_animated_seed = 1, True
    import _cycles  # Cycles' own module, there once its add-on is on: it alone says whether the denoiser was built in

    cycles.use_denoising = bool(_cycles.with_openimagedenoise)
    if cycles.use_denoising:
        cycles.denoiser, cycles.denoising_input_passes, cycles.denoising_prefilter = "OPENIMAGEDENOISE", "RGB_ALBEDO_NORMAL", "FAST"


def _camera(scene: bpy.types.Scene) -> None:
    """A slow push down the street with a slight pan: keyed in every frame, with a little of a hand in it."""
    data = bpy.data.cameras.new("camera")
    data.lens, data.sensor_width, data.sensor_fit = 34.0, 36.0, "HORIZONTAL"
    data.clip_end = 2000.0
    camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.rotation_mode = "QUATERNION"
    frames = np.arange(FIRST, LAST + 1)
    t = (frames - FIRST) / (LAST - FIRST)
    ease = t * t * (3 - 2 * t)
    along, into = bricks_model.axes()

    def world(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.array([*bricks_model.PLACE, 0.0]) + x[:, None] * along + y[:, None] * into + z[:, None] * [0, 0, 1]

    spot = world(-10.2 + 1.1 * ease, -25.6 + 1.5 * ease, 1.65 + 0.05 * ease)
    aim = world(6.6 - 0.7 * ease, 2.0 + 0 * t, 5.3 - 0.6 * ease)
    for axis, phase in ((0, 0.0), (2, 1.3)):
        aim[:, axis] += 0.035 * np.sin(2 * math.pi * 0.9 * t * 2 + phase) + 0.02 * np.sin(2 * math.pi * 2.3 * t * 2 + phase)
    turns = np.array([Vector(a - s).to_track_quat("-Z", "Y") for a, s in zip(aim, spot)])
    bag, _ = keys.curves_for(camera)
    for axis in range(3):
        keys.write_curve(bag, "location", axis, frames, spot[:, axis], "LINEAR")
    for axis in range(4):
        keys.write_curve(bag, "rotation_quaternion", axis, frames, turns[:, axis], "LINEAR")
