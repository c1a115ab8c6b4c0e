# SPDX-License-Identifier: GPL-3.0-or-later
"""A take in the compositor: its effect's layers, a node group that lays them over the plate, shadow first, and the plate where it is known.

The group gives what the comp is: effect over plate x (1 - shadow). Knows nodes and strips; no server. What the artist has built there stays
as it is: an output that is linked already is left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, Tuple

import bpy
from platebridge.errors import InputError
from platebridge.frames import split_name
from platebridge.request import GenerateRequest

from . import loading, timeline, versions

GROUP = "Platebridge Effect Over Plate"


def insert(scene: Any, path: Path) -> Any:
    """Puts the take's nodes into the scene's compositor and gives the group's node. Raises InputError where the take has no frames."""
    tree = versions.compositor_tree(scene)
    request, over = effect_over(tree, path)
    plate = _plate(scene, request)
    if plate:
        below = _sequence(tree, plate, request.frames.first, "%s plate" % request.shot)
        tree.links.new(next(iter(below.outputs)), over.inputs["Plate"])
        below.location = (-600, 300)
    output = versions.compositor_output(tree)
    output.location = (150, 100)
    if not output.inputs[0].is_linked:
        tree.links.new(over.outputs[0], output.inputs[0])
    return over


def what_is_rendered_instead(scene: Any) -> str:
    """Why a render of the scene shows no compositor, a sentence; "" where it does."""
    strips = versions.strips(scene.sequence_editor) if scene.sequence_editor is not None else ()
    if scene.render.use_sequencer and any(strip.type != "SOUND" for strip in strips):
        return "A render shows the sequencer as long as Sequencer is on under Post Processing"
    return "" if scene.render.use_compositing else "A render shows no compositor as long as Compositing is off under Post Processing"


def effect_over(tree: Any, path: Path) -> Tuple[GenerateRequest, Any]:
    """Puts the take's effect and the group that lays it over a plate into a tree: (its request, the group's node, its plate not linked).

    Raises InputError where the take has no frames, or some below 0, and leaves the tree alone.
    """
    request, _ = loading.asked_for(path)
    if request.frames.first < 0:
        raise InputError(
            "The compositor counts a sequence's files by the numbers in their names, and knows none below 0.",
            "Show the take on the timeline, or let the shot begin at frame 0 or later.",
        )
    files = timeline.in_order(request.frames, timeline.frames_on_disk(path, "effect"))
    if not files:
        raise InputError("%s has no effect frames yet." % path, "Attach to it, or choose another take.")
    effect = _sequence(tree, files, request.frames.first, "%s %s" % (request.shot, path.name.replace("_", " ")))
    over = tree.nodes.new("CompositorNodeGroup")
    over.node_tree = _group()
    over.label = effect.label
    tree.links.new(next(iter(effect.outputs)), over.inputs["Effect"])
    if "shadow" in effect.outputs:
        tree.links.new(effect.outputs["shadow"], over.inputs["Shadow"])
    effect.location, over.location = (-600, -50), (-200, 100)
    return request, over


def _sequence(tree: Any, files: List[Path], first: int, label: str) -> Any:
    """An Image node that shows these files at their own frame numbers."""
    image = bpy.data.images.load(timeline.stored(files[0].parent) + files[0].name, check_existing=False)
    image.source, image.name = "SEQUENCE", label
    image.colorspace_settings.name = versions.linear_space(bpy.data)
    node = tree.nodes.new("CompositorNodeImage")
    node.image, node.label = image, label
    # Blender counts a sequence's files by the number in their names, which need not be the scene's frame.
    node.frame_start, node.frame_duration, node.frame_offset = first, len(files), split_name(files[0].name)[1] - 1
    return node


def _plate(scene: Any, request: Any) -> List[Path]:
    """The plate's files at the take's frames, where a strip of it with every one of them stands on the timeline; else []."""
    editor = scene.sequence_editor
    for strip in versions.all_strips(editor) if editor is not None else ():
        ours = strip.type == "IMAGE" and strip.get(timeline.TAG, {}).get("plate") == request.shot
        if ours and timeline.covers(strip, request.frames):
            folder = timeline.folder_of(strip)
            return [folder / strip.strip_elem_from_frame(frame).filename for frame in request.frames]
    return []


def _group() -> Any:
    """The node group, made once in a file."""
    found: Optional[Any] = bpy.data.node_groups.get(GROUP)
    if found is not None:
        return found
    group = bpy.data.node_groups.new(GROUP, "CompositorNodeTree")
    face = group.interface
    face.new_socket("Plate", in_out="INPUT", socket_type="NodeSocketColor")
    face.new_socket("Effect", in_out="INPUT", socket_type="NodeSocketColor").default_value = (0, 0, 0, 0)
    for name, value, told in (
        ("Shadow", 0.0, "The effect's channel shadow: 0 none, 1 black"),
        ("Shadow Amount", 1.0, "How much of the shadow falls on the plate; 1 is the comp's"),
    ):
        socket = face.new_socket(name, in_out="INPUT", socket_type="NodeSocketFloat")
        socket.default_value, socket.min_value, socket.max_value, socket.description = value, 0.0, 1.0, told
    face.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    put, take = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    amount, left = group.nodes.new("ShaderNodeMath"), group.nodes.new("ShaderNodeMath")
    amount.operation, left.operation = "MULTIPLY", "SUBTRACT"
    left.inputs[0].default_value = 1.0
    darken = group.nodes.new("ShaderNodeMix")
    darken.data_type, darken.blend_type, darken.clamp_result = "RGBA", "MULTIPLY", False
    over = group.nodes.new("CompositorNodeAlphaOver")
    colours = {socket.name: socket for socket in darken.inputs if socket.type == "RGBA"}
    next(socket for socket in darken.inputs if socket.name == "Factor" and socket.type == "VALUE").default_value = 1.0
    below, above = versions.alpha_over_inputs(over)
    for source, target in (
        (put.outputs["Shadow"], amount.inputs[0]),
        (put.outputs["Shadow Amount"], amount.inputs[1]),
        (amount.outputs[0], left.inputs[1]),
        (put.outputs["Plate"], colours["A"]),
        (left.outputs[0], colours["B"]),
        (next(socket for socket in darken.outputs if socket.type == "RGBA"), below),
        (put.outputs["Effect"], above),
        (over.outputs[0], take.inputs["Image"]),
    ):
        group.links.new(source, target)
    for at, node in enumerate((put, amount, left, darken, over, take)):
        node.location = (200 * at, 0)
    return group
