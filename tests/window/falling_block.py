# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in Blender by in_blender.py before it sets anything: a block that falls on a street, seen from the street and from a crane."""

import math

import bpy

FIRST, LAST = bpy.context.scene.frame_start, bpy.context.scene.frame_end


def material(name, colour):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    made.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*colour, 1)
    made.node_tree.nodes["Principled BSDF"].inputs["Roughness"].default_value = 0.9
    return made


def block(name, size, place, colour, into=None):
    bpy.ops.mesh.primitive_cube_add(size=1, location=place)
    thing = bpy.context.object
    thing.name, thing.scale = name, size
    thing.data.materials.append(material(name, colour))
    if into is not None:
        for collection in thing.users_collection:
            collection.objects.unlink(thing)
        into.objects.link(thing)
    return thing


def camera(name, place, target, lens):
    data = bpy.data.cameras.new(name)
    made = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(made)
    data.lens, made.location = lens, place
    x, y, z = (b - a for a, b in zip(place, target))
    made.rotation_euler = (math.atan2(math.hypot(x, y), -z), 0, math.atan2(-x, y))
    return made


scene = bpy.context.scene
for thing in list(bpy.data.objects):
    bpy.data.objects.remove(thing)
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 4, False
pieces = bpy.data.collections.new("Pieces")
scene.collection.children.link(pieces)
block("Street", (200, 200, 1), (0, 40, -0.5), (0.18, 0.18, 0.17))
for at, height, colour in ((-17, 16, (0.35, 0.2, 0.13)), (17, 12, (0.3, 0.32, 0.36))):
    block("Neighbour", (13, 12, height), (at, 48, height / 2), colour)
tower = block("Tower", (12, 10, 22), (0, 45, 11), (0.5, 0.46, 0.4), pieces)
for frame in range(FIRST, LAST + 1):
    fallen = max(0, frame - FIRST - 1) / 12
    tower.location.z = 11 - 0.5 * 9.8 * 0.6 * fallen**2
    tower.keyframe_insert("location", frame=frame, index=2)
sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
scene.collection.objects.link(sun)
sun.data.energy, sun.rotation_euler = 4, (0.9, 0.3, 0.8)
scene.world = bpy.data.worlds.new("Sky")
scene.world.use_nodes = True
scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.35, 0.5, 0.8, 1)
scene.camera = camera("Street camera", (0, 0, 1.7), (0, 45, 9), 32)
camera("Crane", (34, 12, 16), (0, 45, 6), 32)
scene.platebridge.mask_collection = pieces
