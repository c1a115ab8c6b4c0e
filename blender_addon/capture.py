# SPDX-License-Identifier: GPL-3.0-or-later
"""Capture: the scene's passes as one EXR per input and frame, rendered with the scene's own engine and samples.

A generator that gives Blender back after every frame. Every setting it changes is given back before it does; the
current frame stays where it renders (an unbaked simulation can't be jumped back into) and is given back at the end.
Knows scenes and files; nothing of servers, takes or strips beyond the plate's.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import bpy
import numpy as np
from platebridge.errors import InputError

from . import animated, footage, mattes, passes, proxies, roto, scene_camera, simulation, sources, through_nodes, versions
from .captured import Record
from .rendering import in_window, render_to_file
from .sources import Plan

_KIND = {"render": "collection", "mask": "mask", "picture": "files", "strip": "strip"}


def capture(plan: Plan, driven: Optional[Dict[int, Dict[str, Any]]] = None) -> Iterator[Tuple[int, int]]:
    """Renders what is missing, yielding (frames done, frames in all) before and after each frame.

    driven: takes, by frame, what the dials stand at that drivers hold (`plan.driven`); then every frame is visited, rendered or not.
    Raises InputError (the camera sees nothing of the mask, a pass that the engine has not, a scene that was changed meanwhile) and
    StorageError.
    """
    record = Record(plan)
    cameras = record.cameras()
    looked_at = driven is not None and plan.driven
    wanted = [frame for frame in plan.frames if looked_at or record.missing(frame) or (plan.camera and frame not in cameras)]
    if not wanted:
        return
    record.open(wanted)
    scene = sources.find_scene(plan.scene)
    stood_at = left_at = scene.frame_current
    done, stands = 0, None
    coverage: List[float] = []
    last_mask: Dict[Any, np.ndarray] = {}
    try:
        yield 0, len(wanted)
        for frame in simulation.frames_to_visit(scene, wanted):
            scene = sources.find_scene(plan.scene)  # undo may have moved it in memory since the last frame
            missing = record.missing(frame) if frame in wanted else set()
            if missing and scene_camera.picture_size(scene.render) != plan.size:
                raise InputError("The resolution was changed while the passes were rendered.", "Press again.", frame=frame)
            with in_window(scene), versions.borrowed(_look_through(plan, scene)):
                if scene.frame_current != left_at:
                    scene.frame_set(left_at)
                if missing and stands not in (None, _settings(plan, scene)):
                    raise InputError("The scene was changed while its passes were rendered.", "Press again.", frame=frame)
                scene.frame_set(frame)
                left_at = frame
                if driven is not None and plan.driven and frame in wanted:
                    driven[frame] = animated.standing(bpy.context.evaluated_depsgraph_get().scene_eval, plan.driven)
                if plan.camera and frame in wanted:
                    cameras[frame] = scene_camera.camera_at(scene, bpy.context.evaluated_depsgraph_get(), frame)
                if missing & set(plan.rendered("render")):
                    coverage += _render_passes(plan, scene, frame, missing)
                for which in sorted(missing & set(plan.rendered("strip"))):
                    coverage += _render_strip(plan, scene, frame, which)
                if missing & set(plan.rendered("clip")):
                    source = plan.sources["plate"]
                    picture = through_nodes.clip_picture(footage.chosen(scene), scene_camera.picture_size(scene.render))
                    passes.write_exr(source.files[frame], picture, source.channels, half=False)
                if missing & set(plan.rendered("mask")):
                    coverage.append(_draw_mask(plan, scene, frame, last_mask))
                if missing & set(plan.rendered("picture")):
                    coverage.append(_read_mask(plan, scene, frame))
                stands = _settings(plan, scene) if missing else None
            if missing:
                record.add(frame, missing)
            done += frame in wanted
            yield done, len(wanted)
    finally:
        with contextlib.suppress(InputError):  # another file was opened: there is no frame to give back
            sources.find_scene(plan.scene).frame_set(stood_at)
    if len(coverage) == len(plan.frames) and not any(coverage):
        record.forget("mask")  # else the next press would find it there, and go on with nothing in it
        raise InputError(
            "The camera sees nothing of the %s %s in %s." % (_KIND[plan.sources["mask"].how], plan.sources["mask"].name, plan.frames),
            "Choose what holds the pieces that fall, and look through the camera.",
            input="mask",
        )
    if plan.camera:
        record.keep_cameras(cameras)


def _settings(plan: Plan, scene: Any) -> Dict[str, str]:
    """What the captured passes depend on, as it stands now. Compared where the playhead was left: a handler may move things with it."""
    return sources.fingerprints(scene, _layer(plan, scene), plan.sources, plan.mask_objects, plan.camera, plan.through)


def _layer(plan: Plan, scene: Any) -> Any:
    layer = scene.view_layers.get(plan.view_layer)
    if layer is None:
        raise InputError("The view layer %s is gone." % plan.view_layer, "Press Generate again.")
    return layer


def _look_through(plan: Plan, scene: Any) -> List[versions.Change]:
    if not plan.through:
        return []
    camera = scene.objects.get(plan.through)
    if camera is None:
        raise InputError("The camera %s is gone." % plan.through, "Choose another.", input="camera")
    bound = [(marker, "camera", None) for marker in scene.timeline_markers if marker.camera is not None]  # they choose at each frame
    return [*bound, (scene, "camera", camera)]


def _render_passes(plan: Plan, scene: Any, frame: int, missing: Set[str]) -> List[float]:
    """One render, split into the inputs that are missing. Gives the mask's coverage in pixels; [] when it wasn't missing."""
    layer, render = _layer(plan, scene), scene.render
    changes = [
        *versions.exr_changes(render.image_settings, layers=True, bits=32),
        (render, "use_sequencer", False),
        (render, "use_compositing", False),
        (render, "use_border", False),
        (render, "use_multiview", False),
        *((other, "use", other == layer) for other in scene.view_layers),
        (layer, "use_pass_combined", True),
        (layer, "use_pass_z", True),
        (layer, "use_pass_vector", "vectors" in missing),
        (layer, "use_pass_cryptomatte_object", "mask" in missing),
        (layer, "pass_cryptomatte_depth", 6),
    ]
    with render_to_file(scene, changes) as file:
        channels, header = passes.read_layers(file)
    coverage = []
    for which in missing & set(plan.rendered("render")):
        source = plan.sources[which]
        if which == "plate":
            pixels = passes.layer(channels, layer.name, "Combined", "".join(source.channels))
        elif which == "depth":
            pixels = passes.layer(channels, layer.name, "Depth", "Z")
        elif which == "vectors":
            pixels = passes.layer(channels, layer.name, "Vector", "XYZW")
        else:
            mask = passes.cryptomatte_coverage(channels, header, layer.name, [*plan.mask_objects, *_scattered(plan, scene, layer)])
            coverage.append(float(mask.sum()))
            pixels = mask[..., np.newaxis]
        passes.write_exr(source.files[frame], pixels, source.channels, half=which in ("plate", "mask"))
    return coverage


def _scattered(plan: Plan, scene: Any, layer: Any) -> Iterator[str]:
    """The names of what Geometry Nodes and particles of the mask's objects put there at this frame."""
    names = set(plan.mask_objects)
    inside = {thing for thing in scene.objects if thing.name in names}
    found = proxies.scattered(inside, bpy.context.evaluated_depsgraph_get())
    outside = sources.outside_names(layer, inside) if found else set()
    for name, elsewhere in sorted(found.items()):
        if elsewhere or name in outside:
            raise InputError(
                "%s is scattered in the mask, and stands outside the mask too." % name,
                "Scatter a copy of it there, or put a Realize Instances node behind.",
                input="mask",
                frame=scene.frame_current,
            )
        yield name


def _render_strip(plan: Plan, scene: Any, frame: int, which: str) -> List[float]:
    """The plate's or the mask's strip alone, through the sequencer, scene-linear float; a mask's values as they are stored.

    Gives the mask's coverage in pixels; [] for a plate.
    """
    source = plan.sources[which]
    strip = sources.find_strip(scene, which, source.name)
    sources.refuse_open_meta(scene, which)
    matte = which == "mask"
    changes = [
        *versions.exr_changes(scene.render.image_settings, layers=False, bits=32, alpha=matte),
        (scene.render, "use_sequencer", True),
        (scene.render, "use_border", False),
        (scene.render, "use_multiview", False),
        (scene.sequencer_colorspace_settings, "name", versions.linear_space(bpy.data)),
        *(mattes.as_data(strip) if matte else ()),
        *((other, "mute", other != strip) for other in versions.strips(scene.sequence_editor)),
        (strip, "blend_type", "REPLACE"),  # there is nothing below that it could multiply
        (scene.sequence_editor.channels[strip.channel], "mute", False),  # an empty sequencer falls through to the 3-D scene
        *((modifier, "mute", True) for modifier in strip.modifiers if sources.is_our_modifier(modifier)),
    ]
    with render_to_file(scene, changes) as file:
        channels, _ = passes.read_layers(file)
    if matte:
        mask = mattes.of_render(channels, mattes.channel_of_strip(scene.platebridge.mask_channel, strip))
        passes.write_exr(source.files[frame], mask[..., np.newaxis], source.channels, half=True)
        return [float(mask.sum())]
    # Written anew: Blender's header has the time in it, and equal pictures must be equal bytes to be sent once.
    passes.write_exr(source.files[frame], np.stack([channels[name] for name in source.channels], -1), source.channels, half=False)
    return []


def _read_mask(plan: Plan, scene: Any, frame: int) -> float:
    """A mask's picture into a file like those that are drawn. Gives its coverage in pixels."""
    source = plan.sources["mask"]
    channel = mattes.chosen_channel(scene.platebridge.mask_channel, source.originals[min(source.originals)])
    mask = mattes.of_picture(source.originals[frame], channel)
    passes.write_exr(source.files[frame], mask[..., np.newaxis], source.channels, half=True)
    return float(mask.sum())


def _draw_mask(plan: Plan, scene: Any, frame: int, last: Dict[Any, np.ndarray]) -> float:
    """A mask data-block at the plate's own size. Gives its coverage in pixels. `last`: the picture of the shape before, to use again."""
    source, plate = plan.sources["mask"], plan.sources["plate"]
    mask, later = roto.chosen(scene)
    size = passes.display_size(plate.files[frame]) if plate.how == "files" else scene_camera.picture_size(scene.render)
    told = roto.shape(mask, bpy.context.evaluated_depsgraph_get()) if not later else None  # the scene doesn't stand where the mask is seen
    pixels = last.get((told, size)) if told is not None else None
    if pixels is None:
        pixels = through_nodes.mask_picture(mask, size, roto.samples(size), frame + later if later else None)
        last.clear()
        last[told, size] = pixels
    passes.write_exr(source.files[frame], pixels[..., np.newaxis], source.channels, half=True)
    return float(pixels.sum())
