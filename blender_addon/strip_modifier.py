# SPDX-License-Identifier: GPL-3.0-or-later
"""A take over its plate's own strip, as a compositor modifier (Blender 5.0 and later): what that strip renders is the comp.

The plate's files stay as they are, and capture looks past the modifier. Knows strips and nodes; no server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from platebridge.errors import InputError

from . import compositor, loading, timeline, versions


def lay_over(scene: Any, path: Path) -> Any:
    """Gives the plate's strip a modifier with the take's nodes, in the place of an earlier take's, and hides the shot's take strips.

    Raises InputError: this Blender has no such modifier, the take no effect frames, the timeline no plate.
    """
    if not versions.has_compositor_modifier():
        raise InputError("Strips have no compositor modifier in this Blender.", "Use To Compositor, or Blender 5.0 and later.")
    tree = bpy.data.node_groups.new("Platebridge %s" % path.name.replace("_", " "), "CompositorNodeTree")
    try:
        for way in ("INPUT", "OUTPUT"):
            tree.interface.new_socket("Image", in_out=way, socket_type="NodeSocketColor")
        request, over = compositor.effect_over(tree, path)
        plate = loading.plate_below(scene, request)
        if plate is None:
            raise InputError(
                "The plate of %s is not on the timeline." % request.shot,
                "Choose its strip as the plate, or make a take anew, which puts it there.",
            )
    except BaseException:
        bpy.data.node_groups.remove(tree)
        raise
    tree["platebridge"] = {"folder": str(path), "shot": request.shot}
    put, take = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    put.location, take.location = (-600, 200), (150, 100)
    tree.links.new(put.outputs[0], over.inputs["Plate"])
    tree.links.new(over.outputs[0], take.inputs[0])
    modifier = next((m for m in plate.modifiers if m.type == "COMPOSITOR" and m.node_group and "platebridge" in m.node_group), None)
    if modifier is None:
        modifier = versions.compositor_modifier(scene, plate, "Platebridge")
    modifier.name, modifier.node_group, modifier.mute = tree.name, tree, False
    for strip in timeline.take_strips(scene):
        if strip[timeline.TAG].get("shot") == request.shot:
            strip.mute = True
    return modifier
