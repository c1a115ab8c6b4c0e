# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Blender 4.5, 5.0 and 5.2 spell the same thing differently, and nothing else.

Every function takes Blender's objects and asks them what they have, never which version it is; so a stand-in tests it.
Knows nothing of plates, takes or jobs.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Iterator, List, Optional, Tuple

import bpy

Change = Tuple[Any, str, Any]
#: For path properties: // is understood everywhere; 4.5 and later want to be told.
BLEND_RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5) else set()


def strips(editor: Any) -> Any:
    """The sequencer's top-level strips. (Not `a or b`: an empty collection is falsy.)"""
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def all_strips(editor: Any) -> Any:
    """Every strip, those inside metas too."""
    return editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all


def made_of(strip: Any) -> List[Any]:
    """The strips that a strip's picture is made of: what is in a meta strip, the inputs of an effect."""
    parts = strip.strips if strip.type == "META" else (getattr(strip, "input_1", None), getattr(strip, "input_2", None))
    return [part for part in parts if part is not None and part.type != "SOUND"]


def first_frame(strip: Any) -> int:
    """The first frame at which the strip is seen."""
    return int(strip.left_handle if hasattr(strip, "left_handle") else strip.frame_final_start)


def content_start(strip: Any) -> int:
    """The frame at which the strip's content begins, shown or trimmed away."""
    return round(strip.content_start if hasattr(strip, "content_start") else strip.frame_start)


def end_frame(strip: Any) -> int:
    """The frame after the last at which the strip is seen."""
    return int(strip.right_handle if hasattr(strip, "right_handle") else strip.frame_final_end)


def is_trimmed(strip: Any) -> bool:
    """Whether the strip ends elsewhere than its content: trimmed, or held longer."""
    return bool(strip.right_handle_offset if hasattr(strip, "right_handle_offset") else strip.frame_offset_end)


def is_cut_off(strip: Any) -> bool:
    """Whether the strip's end was cut off for good (a hard split): nothing that comes after it is its own."""
    return bool(strip.content_trim_end if hasattr(strip, "content_trim_end") else strip.animation_offset_end)


def _before(strip: Any) -> str:
    return "content_trim_start" if hasattr(strip, "content_trim_start") else "animation_offset_start"


def cut_off_before(strip: Any) -> int:
    """How many frames were cut off the strip's beginning for good (a hard split, a hold offset); 0 for kinds that have none."""
    return int(getattr(strip, _before(strip), 0))


@contextlib.contextmanager
def whole(strip: Any) -> Iterator[None]:
    """Gives a strip back for a while what a hard split cut off its beginning: Blender appends in the wrong place otherwise."""
    with borrowed([(strip, _before(strip), 0)] if cut_off_before(strip) else []):
        yield


def set_end_frame(strip: Any, frame: int) -> None:
    """Makes `frame` the one after the last at which the strip is seen; its content stays where it is."""
    setattr(strip, "right_handle" if hasattr(strip, "right_handle") else "frame_final_end", frame)


def forget_cached_frames(strip: Any) -> None:
    """Makes 5.x read the strip's files again: it keeps what it saw before a file came."""
    if hasattr(strip, "invalidate_cache"):
        strip.invalidate_cache("RAW")
    else:
        strip.directory = strip.directory


def linear_space(data: Any) -> str:
    """The scene-linear space's name: what a float file's numbers mean when nothing converts them.

    5.x says it. Before, it is what a new float picture is in: a studio's own OCIO configuration may have another than ours.
    """
    working = getattr(getattr(data, "colorspace", None), "working_space", "")
    if isinstance(working, str) and working:
        return working
    try:
        return _of_a_new_float_picture()
    except (AttributeError, RuntimeError):  # a panel is being drawn: nothing can be made
        return "Linear Rec.709"


@functools.lru_cache(maxsize=1)
def _of_a_new_float_picture() -> str:
    probe = bpy.data.images.new("Platebridge looks", 1, 1, float_buffer=True)
    try:
        return str(probe.colorspace_settings.name)
    finally:
        bpy.data.images.remove(probe)


def editing_scene(context: Any) -> Optional[Any]:
    """The scene that the artist sees and edits: 5.x's sequencer has one of its own, which may be None, and other editors the window's.

    Without an area, in timers and without a window, it is the sequencer's too: there the strips stand.
    """
    area = getattr(context, "area", None)
    own = getattr(context, "sequencer_scene", None) if area is None or area.type == "SEQUENCE_EDITOR" else None
    return own or context.scene


def editing_view_layer(context: Any) -> Any:
    """The view layer to render of that scene."""
    return view_layer_of(editing_scene(context), context)


def view_layer_of(scene: Any, context: Any) -> Any:
    """The scene's view layer to render: the window's where it shows that scene, else the scene's first."""
    return context.view_layer if context.scene == scene else scene.view_layers[0]


def exr_changes(image: Any, *, layers: bool, bits: int, alpha: bool = True) -> List[Change]:
    """What to set on a scene's image settings to write EXR exactly.

    `layers`: one multilayer file with every pass. `bits`: 16 or 32. The order matters: each setting decides which values
    the next may have.
    """
    changes: List[Change] = []
    if hasattr(image, "media_type"):
        changes.append((image, "media_type", "MULTI_LAYER_IMAGE" if layers else "IMAGE"))
    changes.append((image, "file_format", "OPEN_EXR_MULTILAYER" if layers else "OPEN_EXR"))
    if hasattr(image, "color_management"):  # an override may name another linear space
        changes.append((image, "color_management", "FOLLOW_SCENE"))
    if not layers:
        changes.append((image, "color_mode", "RGBA" if alpha else "RGB"))
    return changes + [(image, "color_depth", str(bits)), (image, "exr_codec", "ZIP")]


@contextlib.contextmanager
def borrowed(changes: List[Change]) -> Iterator[None]:
    """Sets attributes for a while and gives every one back, whatever happens in between.

    They are given back in the order they were set: a file format must be back before its colour depth can be.
    """
    with contextlib.ExitStack() as back:
        for owner, name, value in reversed([(owner, name, getattr(owner, name)) for owner, name, _ in changes]):
            back.callback(setattr, owner, name, value)
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield


def curves(animation: Any) -> List[Any]:
    """The animation curves of something's `animation_data`; 5.x keeps them in layers, by slot. [] where there are none."""
    action = animation.action if animation is not None else None
    if action is None:
        return []
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    slot = animation.action_slot
    bags = [strip.channelbag(slot) for layer in action.layers for strip in layer.strips] if slot is not None else []
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def remove_curve(animation: Any, curve: Any) -> None:
    """Takes one of `curves` off."""
    action = animation.action
    if hasattr(action, "fcurves"):
        action.fcurves.remove(curve)
        return
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(animation.action_slot)
            if bag is not None and curve in list(bag.fcurves):
                bag.fcurves.remove(curve)


def node_inputs(modifier: Any) -> List[Tuple[str, Any]]:
    """(path from the object on, value) of what is set for a Geometry Nodes modifier's inputs; [] for any other modifier."""
    if modifier.type != "NODES":
        return []
    inputs = getattr(getattr(modifier, "properties", None), "inputs", None)  # 5.2; before, they were custom properties
    if inputs is None:
        return [('%s["%s"]' % (modifier.path_from_id(), name), modifier[name]) for name in sorted(modifier.keys())]
    names = [p.identifier for p in inputs.bl_rna.properties if p.type == "POINTER" and p.identifier != "rna_type"]
    told = [(getattr(inputs, name), part) for name in names for part in ("type", "value", "attribute_name", "layer_name")]
    return [(socket.path_from_id(part), getattr(socket, part)) for socket, part in told if hasattr(socket, part)]


def session_id(data_block: Any) -> int:
    """A number that stays a data-block's own through renaming and undo, until another file is opened."""
    return int(data_block.session_uid)


def compositor_tree(scene: Any) -> Any:
    """The scene's compositor, made if there is none: a tree of the scene's own before 5.0, a node group since."""
    if hasattr(scene, "compositing_node_group"):
        if scene.compositing_node_group is None:
            scene.compositing_node_group = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        return scene.compositing_node_group
    if scene.node_tree is None:  # switching it on puts a render layer and an output there
        scene.use_nodes = True
        scene.node_tree.nodes.clear()
    scene.use_nodes = True
    return scene.node_tree


def compositor_output(tree: Any) -> Any:
    """The node that the compositor's picture goes into, made if there is none."""
    kind = "NodeGroupOutput" if "compositing_node_group" in bpy.types.Scene.bl_rna.properties else "CompositorNodeComposite"
    found = next((node for node in tree.nodes if node.bl_idname == kind), None)
    if found is None and kind == "NodeGroupOutput" and not any(item.in_out == "OUTPUT" for item in tree.interface.items_tree):
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    return found if found is not None else tree.nodes.new(kind)


def alpha_over_inputs(node: Any) -> Tuple[Any, Any]:
    """(what lies below, what comes over it) of an Alpha Over node."""
    if "Background" in node.inputs:
        return node.inputs["Background"], node.inputs["Foreground"]
    return node.inputs[1], node.inputs[2]


def has_compositor_modifier() -> bool:
    """Whether a strip can have a compositor's nodes as a modifier: 5.0 and later."""
    kinds = getattr(bpy.types, "StripModifier", None)  # called otherwise before 4.4
    return kinds is not None and "COMPOSITOR" in kinds.bl_rna.properties["type"].enum_items


def compositor_modifier(scene: Any, strip: Any, name: str) -> Any:
    """A new compositor modifier of the strip. 5.0 crashes where the window edits no sequence, so it edits this one for a moment."""
    workspaces = [window.workspace for window in bpy.context.window_manager.windows]
    with borrowed([(workspace, "sequencer_scene", scene) for workspace in workspaces]):
        return strip.modifiers.new(name, "COMPOSITOR")
