# SPDX-License-Identifier: GPL-3.0-or-later
"""Dials that change over the shot: which have keyframes or a driver, what they stand at in each frame, and keyframes back from a take.

Keyframes alone are read from their curves, with no frame visited. What a driver or the NLA has a hand in is known only where the scene
stands at the frame: capture visits it (`Plan.driven`). Knows scenes and dials; nothing of rendering, servers or takes.
"""

from __future__ import annotations

import math
from typing import Any, Dict, Iterable, List, Mapping, Set

from platebridge import curves
from platebridge.dials import DIALS, Dial

from . import versions
from .settings import as_typed

PATH = "platebridge.dials."


def keyed(scene: Any) -> Set[str]:
    """Dials whose values are known from keyframes alone."""
    return _named(versions.curves(scene.animation_data)) - driven(scene)


def driven(scene: Any) -> Set[str]:
    """Dials that a driver or the NLA has a hand in."""
    held = scene.animation_data
    if held is None:
        return set()
    found = _named(held.drivers)
    strips = [strip for track in held.nla_tracks for strip in track.strips]
    if held.use_nla and strips:  # how strips mix is Blender's to say: every dial that is animated at all is looked at
        found |= _named(versions.curves(held)) | {name for name, dial in DIALS.items() if not dial.still}
    return found


def keep_their_own(scene: Any, values: Mapping[str, Any]) -> str:
    """Why a preset leaves some of these dials alone, a sentence, or "" where it turns them all.

    What somebody keyed by hand is not thrown away for a preset; and a value that is set under keyframes lasts until the next frame.
    """
    labels = [dial.label for name, dial in DIALS.items() if name in values and name in keyed(scene) | driven(scene)]
    if not labels:
        return ""
    named = " and ".join([", ".join(labels[:-1]), labels[-1]] if labels[1:] else labels)
    return "%s %s animated and stay%s as %s" % (
        named,
        *(("are", "", "they are") if labels[1:] else ("is", "s", "it is")),
    )


def not_animated(scene: Any, values: Mapping[str, Any]) -> Dict[str, Any]:
    """Those of the values whose dials have neither keyframes nor a driver."""
    held = keyed(scene) | driven(scene)
    return {name: value for name, value in values.items() if name not in held}


def from_keys(scene: Any, names: Iterable[str], frames: Iterable[int]) -> Dict[str, Any]:
    """{dial: curve, or the one value it keeps} over the frames, from the keyframes."""
    every, out, stretch = list(frames), {}, _stretch(scene)
    for name in names:
        dial, held = DIALS[name], getattr(scene.platebridge.dials, name)
        own = {curve.array_index: curve for curve in versions.curves(scene.animation_data) if _is_of(curve, name) and not curve.mute}
        if dial.kind == "colour":
            values = {f: tuple(_held(dial, own[i].evaluate(f * stretch) if i in own else held[i]) for i in range(3)) for f in every}
        else:
            values = {f: _held(dial, own[0].evaluate(f * stretch)) for f in every}
        out[name] = curves.sampled(name, values)
    return out


def standing(scene: Any, names: Iterable[str]) -> Dict[str, Any]:
    """What dials stand at in the frame that the (evaluated) scene is at."""
    values = scene.platebridge.dials.values()
    return {name: values[name] for name in names}


def restore(scene: Any, values: Mapping[str, Any]) -> List[str]:
    """Turns dials to a take's, keyframes and all; keyframes that a dial had are taken off. Gives labels of those that a driver holds."""
    dials, held = scene.platebridge.dials, []
    with_driver = _named(scene.animation_data.drivers) if scene.animation_data is not None else set()
    for name, value in values.items():
        if name in with_driver:
            held.append(DIALS[name].label)
            continue
        for curve in [curve for curve in versions.curves(scene.animation_data) if _is_of(curve, name)]:
            versions.remove_curve(scene.animation_data, curve)
        if isinstance(value, curves.Curve):
            for frame, at in value.keys:
                setattr(dials, name, at)
                dials.keyframe_insert(name, frame=frame * _stretch(scene))
            for curve in [curve for curve in versions.curves(scene.animation_data) if _is_of(curve, name)]:
                for key in curve.keyframe_points:
                    key.interpolation = "LINEAR"
        dials.set_values({name: curves.value_at(value, scene.frame_current)})
    return held


def _named(found: Iterable[Any]) -> Set[str]:
    names = {curve.data_path[len(PATH) :] for curve in found if curve.data_path.startswith(PATH) and not curve.mute}
    return {name for name in names if name in DIALS and not DIALS[name].still}


def _stretch(scene: Any) -> float:
    """What a frame is multiplied by before keyframes are looked at: Time Stretching, in Output properties."""
    return float(scene.render.frame_map_old / scene.render.frame_map_new)


def _is_of(curve: Any, name: str) -> bool:
    return bool(curve.data_path == PATH + name)


def _held(dial: Dial, value: float) -> Any:
    """A curve's value as the property would keep it: within its range, whole where it is whole, as a single float."""
    within = min(max(value, dial.minimum), dial.maximum)
    return math.floor(within + 0.5) if dial.kind == "int" else min(max(as_typed(within), dial.minimum), dial.maximum)
