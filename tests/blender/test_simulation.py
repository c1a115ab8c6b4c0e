# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulations that were not baked: which are stepped through, and that nobody's hand at the playhead spoils what is captured."""

from __future__ import annotations

import types

import bpy
import pytest


@pytest.mark.parametrize("elsewhere", [1, 995, 1050])
def test_a_playhead_that_the_artist_moves_while_passes_are_captured_stops_no_fall(scene, elsewhere):
    """Blender simulates a frame only where it stands at the one before."""
    from blender_addon import capture, sources

    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.5, location=(2, 0, 3))
    ball = bpy.context.object
    bpy.ops.rigidbody.world_add()
    bpy.ops.rigidbody.object_add()
    scene.rigidbody_world.point_cache.frame_start, scene.rigidbody_world.point_cache.frame_end = 991, 1010
    seen = {}
    for _ in capture.capture(sources.plan(scene, bpy.context.view_layer)):
        seen[scene.frame_current] = ball.matrix_world.translation.z
        scene.frame_set(elsewhere)
    assert seen[1003] == pytest.approx(3 - 9.81 * (12 / 24) ** 2 / 2, abs=0.12)  # Bullet's steps are coarser than the formula
    assert seen[1001] > seen[1002] > seen[1003]


def test_hair_that_nothing_moves_is_no_simulation(scene):
    """A lawn would cost a thousand frames of stepping."""
    from blender_addon import simulation

    cube = bpy.data.collections["Pieces"].objects[0]
    cube.modifiers.new("Grass", "PARTICLE_SYSTEM")
    cube.particle_systems[0].settings.type = "HAIR"
    assert simulation.frames_to_visit(scene, [1002]) == [1002]
    cube.particle_systems[0].use_hair_dynamics = True
    cube.particle_systems[0].point_cache.frame_start = 1000
    assert simulation.frames_to_visit(scene, [1002]) == [1000, 1001, 1002]


def test_smoke_that_is_made_while_it_plays_is_stepped_through():
    """A new domain is such a one; jumped into, it is empty. (A stand-in: the module of 4.5 crashes when it frees a real one.)"""
    from blender_addon import simulation

    settings = types.SimpleNamespace(cache_type="REPLAY", cache_frame_start=999)
    domain = types.SimpleNamespace(type="FLUID", fluid_type="DOMAIN", domain_settings=settings)
    smoke = types.SimpleNamespace(modifiers=[domain], particle_systems=[])
    scene = types.SimpleNamespace(objects=[smoke], rigidbody_world=None, frame_start=1001)
    assert simulation.frames_to_visit(scene, [1001]) == [999, 1000, 1001]
    settings.cache_type = "ALL"
    assert simulation.frames_to_visit(scene, [1001]) == [1001]
