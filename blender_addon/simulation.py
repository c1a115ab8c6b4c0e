# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulations that were not baked can't be jumped into: which frames must be stepped through to see the wanted ones right.

Reads the scene and changes nothing. Knows nothing of rendering.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Optional, Sequence


def frames_to_visit(scene: Any, wanted: Sequence[int]) -> List[int]:
    """The wanted frames; with a simulation that is not baked, every frame from its start to the last wanted one."""
    start = unbaked_from(scene)
    if start is None:
        return list(wanted)
    return list(range(min(start, wanted[0]), wanted[-1] + 1))


def unbaked_from(scene: Any) -> Optional[int]:
    """The first frame of the earliest simulation in the scene that is not baked; None when all are, or there is none."""
    starts = [cache.frame_start for cache in _caches(scene) if not cache.is_baked] + [*_zones(scene), *_replayed(scene)]
    return min(starts) if starts else None


def _zones(scene: Any) -> Iterator[int]:
    """Where each simulation zone of Geometry Nodes begins, nested groups' too. Blender doesn't say which are baked, so all are stepped
    through: with a baked one that costs a little time, and changes nothing."""
    for thing in scene.objects:
        for modifier in thing.modifiers:
            for bake in getattr(modifier, "bakes", ()):
                if bake.node is not None and bake.node.bl_idname == "GeometryNodeSimulationOutput":
                    yield bake.frame_start if bake.use_custom_simulation_frame_range else scene.frame_start


def _replayed(scene: Any) -> Iterator[int]:
    """Where each smoke or liquid begins that is made while it is played, as a new domain is. Others show what was baked, or nothing."""
    for modifier in [modifier for thing in scene.objects for modifier in thing.modifiers if modifier.type == "FLUID"]:
        if modifier.fluid_type == "DOMAIN" and modifier.domain_settings.cache_type == "REPLAY":
            yield modifier.domain_settings.cache_frame_start


def _caches(scene: Any) -> Iterator[Any]:
    """Every point cache: rigid bodies, cloth, soft bodies, dynamic paint, particles. Hair that no dynamics move has none worth the name."""
    if scene.rigidbody_world is not None and scene.rigidbody_world.enabled:
        yield scene.rigidbody_world.point_cache
    for thing in scene.objects:
        for modifier in thing.modifiers:
            if getattr(modifier, "point_cache", None) is not None:
                yield modifier.point_cache
        for system in thing.particle_systems:
            if system.settings.type != "HAIR" or system.use_hair_dynamics:
                yield system.point_cache
