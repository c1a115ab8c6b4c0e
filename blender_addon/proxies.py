# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things stand, and how they are keyed: so that a proxy or camera that was moved is captured anew without being asked.

What is moved by other things (parents, constraints, drivers, simulations) is left out: where it stands depends on the current frame, and a
capture would never be found good again. A solved camera is known by its solution. Reads scenes only.
"""

from __future__ import annotations

import hashlib
from typing import Any, Collection, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from . import versions

MOST_POINTS = 5000
"""A mesh with more is known by its number of points alone: this is for proxies, not for sculptures."""
_CHANNELS = (
    "location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale",
    "delta_location", "delta_rotation_euler", "delta_rotation_quaternion", "delta_scale",
)
_ONE_BY_ONE = ("rotation_mode", "is_holdout", "is_shadow_catcher", "visible_camera")
"""What an object has beside its channels that says where, and whether, a render shows it."""
_LENS = ("type", "lens", "sensor_width", "sensor_height", "sensor_fit", "shift_x", "shift_y", "clip_start", "clip_end")
_FOCUS = ("use_dof", "focus_distance", "aperture_fstop")
_LETTERS = ("body", "size", "shear", "align_x", "align_y", "space_character", "space_word", "space_line")
_SWEPT = ("extrude", "offset", "bevel_depth")
_EASING = tuple((name, kind, 1) for name, kind in (
    ("interpolation", np.int32), ("easing", np.int32), ("amplitude", np.float32), ("back", np.float32), ("period", np.float32)
))
_SHOWN_ONLY = (
    "show_expanded", "show_preview", "show_viewport", "show_in_editmode", "show_on_cage", "show_group_selector", "show_manage_panel",
    "is_active", "mute", "use_pin_to_last",
)


def set_down(scene: Any, view_layer: Any) -> str:
    """A hash of every object that renders at any frame and is moved by nothing but its own keys: place, keys, and mesh or lens.

    What their modifiers refer to is looked at too, whether it renders or not.
    """
    told = hashlib.sha256()
    rendered = {thing: _as_seen(layers) for thing, layers in in_layer(view_layer).items() if renders_at_all(thing)}
    cameras = dict.fromkeys(thing for thing in scene.objects if thing.type == "CAMERA")
    seen_or_not = {**dict.fromkeys(instanced(rendered)), **rendered, **cameras}
    things = {**dict.fromkeys(_targets(seen_or_not)), **seen_or_not}
    for thing, seen in sorted(things.items(), key=lambda item: item[0].name_full):
        place = _place(thing)
        if place is not None:
            told.update(repr((thing.name, seen, place, _make(thing), _modifiers(thing))).encode())
    return told.hexdigest()


def in_layer(view_layer: Any) -> Dict[Any, List[Any]]:
    """The objects that the view layer's collections give to a render, each with its layer collections; what is excluded gives none."""
    out: Dict[Any, List[Any]] = {}
    to_see = [view_layer.layer_collection]
    while to_see:
        layer = to_see.pop()
        if layer.collection.hide_render:
            continue
        to_see += layer.children
        if not layer.exclude:
            for thing in layer.collection.objects:
                out.setdefault(thing, []).append(layer)
    return out


def _as_seen(layers: Iterable[Any]) -> List[Tuple[bool, bool]]:
    return sorted({(layer.holdout, layer.indirect_only) for layer in layers})


def instanced(things: Iterable[Any]) -> Iterator[Any]:
    """The objects that render inside the collection instances among these, and inside those in turn."""
    for thing in things:
        if thing.instance_type == "COLLECTION" and thing.instance_collection is not None:
            inside = [part for part in thing.instance_collection.all_objects if renders_at_all(part)]
            yield from inside
            yield from instanced(inside)


def scattered(things: Collection[Any], depsgraph: Any) -> Dict[str, bool]:
    """The names of what modifiers and particles of these objects put into the picture as instances at the scene's current frame; of each,
    whether others put it there as well. What a modifier made real has its object's name."""
    own, others = set(), set()
    if any(modifier.type in ("NODES", "PARTICLE_SYSTEM") for thing in (*things, *instanced(things)) for modifier in thing.modifiers):
        for held in depsgraph.object_instances:
            if held.is_instance:
                parent = held.parent.original
                if parent in things or renders_at_all(parent):
                    (own if parent in things else others).add(held.object.name)
    return {name: name in others for name in own}


def plain_settings(thing: Any, keyed: Collection[str] = (), apart: Collection[str] = ()) -> List[Any]:
    """Its numbers, choices and switches, but for those named in `apart`; those whose paths are in `keyed` are left out too, for they
    depend on the current frame."""
    plain = [p.identifier for p in thing.bl_rna.properties if p.type in ("BOOLEAN", "INT", "FLOAT", "ENUM") and not p.is_readonly]
    wanted = [name for name in plain if name not in _SHOWN_ONLY and name not in apart and not name.startswith("open_")]
    return [_plain(getattr(thing, name)) for name in wanted if not keyed or thing.path_from_id(name) not in keyed]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "name_full"):  # a data-block
        return [value.bl_rna.identifier, value.name_full]
    return sorted(value) if isinstance(value, set) else list(value)


def _modifiers(thing: Any) -> List[Any]:
    keyed = {curve.data_path for curve in playing(thing.animation_data)}
    return [[m.type, *plain_settings(m, keyed), *map(_plain, _pointed_at(m)), *_node_inputs(m, keyed)] for m in thing.modifiers]


def _node_inputs(modifier: Any, keyed: Collection[str]) -> List[Any]:
    return [_plain(value) for path, value in versions.node_inputs(modifier) if path not in keyed]


def _pointed_at(modifier: Any) -> List[Any]:
    """The data-blocks that a modifier refers to by its own settings: what it is cut by, cast on, or made of."""
    pointers = [getattr(modifier, p.identifier) for p in modifier.bl_rna.properties if p.type == "POINTER"]
    return [value for value in pointers if hasattr(value, "name_full")]


def _targets(things: Iterable[Any]) -> Iterator[Any]:
    """The objects that the modifiers of these refer to, alone or in collections, whether they render or not."""
    for modifier in [modifier for thing in things for modifier in thing.modifiers]:
        for block in [*_pointed_at(modifier), *(value for _, value in versions.node_inputs(modifier))]:
            kind = block.bl_rna.identifier if hasattr(block, "name_full") else ""
            yield from [block] if kind == "Object" else block.all_objects if kind == "Collection" else []


def renders_at_all(thing: Any) -> bool:
    """Whether it renders at any frame: pieces often take the place of a whole building by keys on their visibility."""
    animation = thing.animation_data
    if not thing.hide_render:
        return True
    if animation is None:
        return False
    hides = [curve.data_path for curve in (*playing(animation), *animation.drivers)]
    return "hide_render" in hides or any(len(track.strips) for track in animation.nla_tracks)


def _place(thing: Any) -> Optional[List[Any]]:
    """None where something else moves it."""
    if thing.parent or thing.rigid_body or any(constraint.type != "CAMERA_SOLVER" for constraint in thing.constraints):
        return None
    keys, lens = _keys(thing.animation_data), _keys(getattr(thing.data, "animation_data", None))
    if keys is None or lens is None:
        return None
    keyed = {(curve.data_path, curve.array_index) for curve in playing(thing.animation_data)}
    free = [
        round(value, 5) for name in _CHANNELS for index, value in enumerate(getattr(thing, name)) if (name, index) not in keyed
    ]
    free += [getattr(thing, name) for name in _ONE_BY_ONE if (name, 0) not in keyed]
    return [free, keys, lens, [_solution(constraint) for constraint in thing.constraints]]


def _keys(animation: Any) -> Optional[List[Any]]:
    """The keys; None where there are drivers or an edit of actions, which may give anything."""
    if animation is None:
        return []
    if len(animation.drivers) or any(len(track.strips) for track in animation.nla_tracks):
        return None
    return [(curve.data_path, curve.array_index, its_keys(curve)) for curve in playing(animation)]


def playing(animation: Any) -> List[Any]:
    """The curves that have a say: one that is muted leaves the value as it stands."""
    return [curve for curve in versions.curves(animation) if not curve.mute]


def its_keys(curve: Any) -> str:
    """A hash of a curve's keys and of how it goes between and beyond them."""
    keys = curve.keyframe_points
    told = hashlib.sha256(curve.extrapolation.encode())
    for name, kind, width in (("co", np.float32, 2), ("handle_left", np.float32, 2), ("handle_right", np.float32, 2), *_EASING):
        held = np.empty(len(keys) * width, kind)
        keys.foreach_get(name, held)
        told.update(held.tobytes())
    told.update(repr([[m.type, *plain_settings(m, apart=("active",))] for m in curve.modifiers if not m.mute]).encode())
    return told.hexdigest()


def _solution(constraint: Any) -> List[Any]:
    """Which solution a solved camera follows."""
    clip = constraint.clip
    if clip is None:
        return []
    solved = clip.tracking.reconstruction
    seen = [solved.cameras[index].matrix for index in (0, len(solved.cameras) - 1)] if len(solved.cameras) else []
    return [clip.name, clip.frame_start, [round(value, 5) for matrix in seen for row in matrix for value in row]]


def _make(thing: Any) -> List[Any]:
    """What it is made of."""
    if thing.type == "CAMERA":
        keyed = {curve.data_path for curve in playing(thing.data.animation_data)}
        own = [getattr(thing.data, name) for name in _LENS if name not in keyed]
        return own + [getattr(thing.data.dof, name) for name in _FOCUS if "dof." + name not in keyed]
    if thing.type not in ("MESH", "CURVE", "SURFACE", "FONT"):
        return []
    if thing.mode == "EDIT":  # what was reshaped there comes into the data when Edit Mode is left
        thing.update_from_editmode()
    if thing.type == "MESH":
        return [*_points(thing.data.vertices), *_shapes(thing.data.shape_keys)]
    keyed = {curve.data_path for curve in playing(thing.data.animation_data)}
    named = [name for name in (*_SWEPT, *_LETTERS) if hasattr(thing.data, name) and name not in keyed]
    drawn = [_points(part) for spline in thing.data.splines for part in (spline.points, spline.bezier_points)]
    return [*(getattr(thing.data, name) for name in named), drawn]


def _points(points: Any) -> List[Any]:
    """How many, and where they are where there are few enough to ask."""
    if len(points) > MOST_POINTS or not len(points):
        return [len(points)]
    where = np.empty(len(points) * len(points[0].co), np.float32)
    points.foreach_get("co", where)
    return [len(points), hashlib.sha256(where.tobytes()).hexdigest()]


def _shapes(keys: Any) -> List[Any]:
    """A mesh's shape keys, how far each is turned on, and their keyframes; [] where there are none, or drivers turn them."""
    animation = _keys(keys.animation_data) if keys is not None else None
    if animation is None:
        return []
    keyed = {curve.data_path for curve in playing(keys.animation_data)}
    values = [block.value for block in keys.key_blocks if block.path_from_id("value") not in keyed]
    return [animation, values, [(block.mute, _points(block.data)) for block in keys.key_blocks]]
