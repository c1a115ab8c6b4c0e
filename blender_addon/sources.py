# SPDX-License-Identifier: GPL-3.0-or-later
"""From the artist's settings to a plan: which file each input has at each frame, and which of them must be rendered first.

Reads the scene and changes nothing. What can be refused before any work is refused here, in one sentence each.
Knows nothing of how passes are rendered, of servers or of takes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Optional, Set, Tuple

import bpy
from platebridge.dials import BUILT_IN, DIALS, counting
from platebridge.errors import InputError, RequestError
from platebridge.frames import FrameRange, name_at
from platebridge.request import GenerateRequest, Inputs, ModelSettings, ShotSettings, shot_name

from . import animated, footage, mattes, passes, paths, proxies, roto, scene_camera, versions
from .settings import as_typed

CHANNELS = {"depth": "Z", "mask": "Y", "vectors": "XYZW"}
"""The channels of the passes we write; the plate's are RGB, or RGBA where the film is transparent."""
_TREATMENT = (
    "color_multiply", "color_saturation", "use_flip_x", "use_flip_y", "strobe", "use_reverse_frames", "use_deinterlace", "alpha_mode",
    "stream_index", "scene_input", "blend_alpha",
)
"""What a strip may have of its own that its picture shows."""
_MOVE = ("offset_x", "offset_y", "rotation", "scale_x", "scale_y")
_CROP = ("min_x", "max_x", "min_y", "max_y")


@dataclass(frozen=True)
class Source:
    """One input. `files`: path by frame.

    `how`: "files" (there already), "render" (this scene), "strip" (the sequencer), "clip" (a movie clip), "mask" (a mask data-block) or
    "picture" (a mask read from `originals`, pictures by frame that are no EXR).

    `pattern`: the same with #, where it can be said so. `channels`: those we write; empty for files that are there.
    """

    how: str
    name: str
    files: Dict[int, Path]
    channels: Tuple[str, ...] = ()
    pattern: str = ""
    originals: Mapping[int, Path] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What to capture and what to ask for. `request` is whole but for its inputs' content and its camera.

    `through`: the camera's name where it isn't the scene's own. `takes`: where the take goes, where that isn't `folder`.
    `scene`: its session id. `size`: (width, height) of what it renders. `fingerprints`: of the settings that each captured input, and the
    camera, depends on. `notes`: sentences for the artist: the take can be made, and this should be known. `driven`: dials whose values
    capture must look up frame by frame.
    """

    request: GenerateRequest
    scene: int
    view_layer: str
    folder: Path
    sources: Dict[str, Source]
    plate_strip: str
    mask_objects: Tuple[str, ...]
    camera: bool
    recapture: bool
    fingerprints: Dict[str, str]
    size: Tuple[int, int]
    notes: Tuple[str, ...] = ()
    through: str = ""
    takes: Optional[Path] = None
    driven: Tuple[str, ...] = ()

    def turned(self, values: Dict[str, Any]) -> Plan:
        """The same with dials turned: what is named wins over keyframes and drivers. Raises RequestError."""
        left = tuple(name for name in self.driven if name not in values)
        return dataclasses.replace(self, request=self.request.with_dials(values), driven=left)

    def refuse_driven(self, names: Iterable[str]) -> None:
        """Raises RequestError where a wedge would put one value in the place of a driver's."""
        for name in self.driven:
            if name in names:
                raise RequestError("%s has a driver, and a wedge would put one value in its place." % DIALS[name].label,
                                   "Wedge another dial, or remove the driver.")

    @property
    def frames(self) -> FrameRange:
        return self.request.frames

    def rendered(self, how: str) -> List[str]:
        """The inputs that are captured in this way: any but "files"."""
        return [name for name, source in self.sources.items() if source.how == how]


def find_scene(session_id: int) -> Any:
    """The scene, whatever it is called by now. Raises InputError when it is gone (deleted, or another file was opened)."""
    for scene in bpy.data.scenes:
        if versions.session_id(scene) == session_id:
            return scene
    raise InputError("The scene of this shot is gone.", "Open its file again and press Generate.")


def plan(scene: Any, view_layer: Any) -> Plan:
    """The plan for a scene's settings. Raises InputError or RequestError with what is missing and how to mend it."""
    shot = scene.platebridge
    name = shot_name(shot.shot.strip() or scene.name)
    folder = shot_folder(scene)
    frames = FrameRange(scene.frame_start, scene.frame_end) if shot.use_scene_range else FrameRange(shot.frame_first, shot.frame_last)

    def rendered(which: str, name: str, how: str = "render", channels: str = "") -> Source:
        pattern = str(folder / which / ("%s.####.exr" % which))
        return Source(how, name, {frame: Path(name_at(pattern, frame)) for frame in frames}, tuple(channels or CHANNELS[which]), pattern)

    sources = {"plate": _plate(scene, frames, rendered)}
    if shot.depth_source == "RENDER":
        sources["depth"] = rendered("depth", "Depth of %s" % scene.name)
    elif shot.depth_source == "STRIP":
        sources["depth"] = _from_strip(scene, "depth", frames)
    else:
        sources["depth"] = _on_disk(scene, "depth", frames)
    objects: Tuple[str, ...] = ()
    if shot.mask_source == "COLLECTION":
        objects = _mask_objects(scene, view_layer)
        sources["mask"] = rendered("mask", shot.mask_collection.name)
    elif shot.mask_source == "STRIP":
        sources["mask"] = _mask_of_strip(scene, frames, rendered)
    elif shot.mask_source == "MASK":
        sources["mask"] = rendered("mask", roto.chosen(scene)[0].name, "mask")
    else:
        sources["mask"] = _mask_of_files(scene, _on_disk(scene, "mask", frames), rendered)
    if shot.vectors_source == "RENDER":
        if scene.render.use_motion_blur:
            raise InputError(
                "Motion blur is on, and a blurred render has no motion vectors.",
                "Turn Motion Blur off, or set Motion vectors to None.",
                input="vectors",
            )
        sources["vectors"] = rendered("vectors", "Vectors of %s" % scene.name)
    elif shot.vectors_source == "FILES":
        sources["vectors"] = _on_disk(scene, "vectors", frames)
    for which in [which for which, source in sources.items() if source.how == "strip"]:
        refuse_open_meta(scene, which)
    _check_sizes(scene, sources)
    if shot.guide_files.strip():
        sources["guide"] = _on_disk(scene, "guide", frames)
    if shot.reference_file.strip() and (shot.model.strip() or "dust") not in BUILT_IN:
        sources["reference"] = _picture(scene, "reference")

    needs_camera = shot.camera_source == "SCENE"
    if scene.camera is None and (needs_camera or any(source.how == "render" for source in sources.values())):
        raise InputError(
            "The scene has no camera.",
            "Add one and make it active." if needs_camera else "Add one, or take plate, depth, mask and vectors from strips and files.",
            input="camera",
        )
    metres = scene.unit_settings.scale_length
    rendered_depth = sources["depth"].how == "render"
    request = GenerateRequest(
        shot=name,
        frames=frames,
        inputs=Inputs(),
        model=ModelSettings(name=shot.model.strip() or "dust"),
        settings=ShotSettings(
            depth_kind="z" if rendered_depth else shot.depth_kind,
            depth_scale=as_typed(metres if rendered_depth else shot.depth_scale),
            bad_pixels=shot.bad_pixels,
            working_space=versions.linear_space(bpy.data),
            fps=as_typed(scene.render.fps / scene.render.fps_base),
        ),
    ).with_dials({**_dials(shot), **animated.from_keys(scene, animated.keyed(scene), frames)})
    return Plan(
        request=request,
        scene=versions.session_id(scene),
        view_layer=view_layer.name,
        folder=folder,
        sources=sources,
        plate_strip=chosen_strip(scene),
        mask_objects=objects,
        camera=needs_camera,
        recapture=shot.recapture,
        fingerprints=fingerprints(scene, view_layer, sources, objects, needs_camera),
        size=scene_camera.picture_size(scene.render),
        notes=_notes(scene, sources),
        driven=tuple(sorted(animated.driven(scene))),
    )


def _dials(shot: Any) -> Dict[str, Any]:
    """Those that count for the model, by name."""
    values = shot.dials.values()
    return {name: values[name] for name in counting(shot.model.strip() or "dust")}


def fingerprints(
    scene: Any, view_layer: Any, sources: Dict[str, Source], objects: Tuple[str, ...], camera: bool, through: str = ""
) -> Dict[str, str]:
    """For each input that is captured, and the camera: a hash of the settings it depends on. What moves in the scene is not in it.

    `through`: see Plan.
    """
    size = scene_camera.picture_size(scene.render)
    cuts = sorted((marker.frame, marker.camera.name) for marker in scene.timeline_markers if marker.camera is not None)
    seen = through or cuts or (scene.camera.name if scene.camera else "")  # with cuts, the scene's camera is the one at the playhead
    stands = proxies.set_down(scene, view_layer)
    eevee = "EEVEE" in scene.render.engine
    samples = scene.eevee.taa_render_samples if eevee else getattr(getattr(scene, "cycles", None), "samples", 0)
    look = [size, seen, view_layer.name, scene.render.engine, samples, scene.unit_settings.scale_length, stands]
    told = {which: [source.how, source.channels, *look] for which, source in sources.items() if source.how == "render"}
    told.update((which, [source.how, source.name, size]) for which, source in sources.items() if source.how not in ("files", "render"))
    if sources["plate"].how == "clip":
        told["plate"].append(footage.identity(scene.platebridge.plate_clip))
    if sources["plate"].how == "strip":
        told["plate"] += _of_strip(find_strip(scene, "plate", scene.platebridge.plate_strip))
    if "mask" in told:
        told["mask"].append(objects)
        if scene.platebridge.mask_source == "STRIP":
            told["mask"] += _of_strip(find_strip(scene, "mask", scene.platebridge.mask_strip))
        if sources["mask"].how in ("strip", "picture"):
            told["mask"].append(scene.platebridge.mask_channel)
            told["mask"] += mattes.identity(sources["mask"].originals)
        if sources["plate"].how == "files":
            told["mask"].append(str(sources["plate"].files[min(sources["plate"].files)]))  # its size is the mask's
    if camera:
        told["camera"] = [size, seen, scene.unit_settings.scale_length, stands]
    return {which: hashlib.sha256(json.dumps(parts).encode()).hexdigest() for which, parts in told.items()}


def shot_folder(scene: Any) -> Path:
    """The folder of the shot, absolute: its captured passes and its takes lie there.

    Raises RequestError when it is beside a .blend that was never saved, or no place on this machine.
    """
    text = scene.platebridge.take_root.strip()
    if not text:
        raise RequestError("No folder is set for the takes.", "Choose one under Takes.")
    if text.startswith("//") and not bpy.data.filepath:
        raise RequestError("The takes go beside the .blend, and it was never saved.", "Save it, or choose another folder under Takes.")
    root = paths.whole(text)
    if not root.is_absolute():  # else the takes would go wherever Blender was started: a file of another system has its drive there
        raise RequestError("The takes' folder %s is no place on this machine." % text, "Choose it under Takes, from its drive or root on.")
    return root / shot_name(scene.platebridge.shot.strip() or scene.name)


def _plate(scene: Any, frames: FrameRange, rendered: Callable[..., Source]) -> Source:
    shot = scene.platebridge
    if shot.plate_source == "FILES":
        return _on_disk(scene, "plate", frames)
    if shot.plate_source == "RENDER":
        return rendered("plate", scene.name, channels="RGBA" if scene.render.film_transparent else "RGB")
    size = scene_camera.picture_size(scene.render)
    if shot.plate_source == "CLIP":
        clip = footage.chosen(scene)
        footage.check_range(clip, frames)
        held = footage.files(clip, frames)
        if held is not None:
            _standing("plate", held)
        if held is not None and footage.is_taken_as_it_is(clip, size):
            return Source("files", clip.name, held)
        return rendered("plate", clip.name, "clip", "RGB")
    strip = _strip_over(scene, "plate", frames)
    if is_taken_as_it_is(strip) and (strip.elements[0].orig_width, strip.elements[0].orig_height) in ((0, 0), size):
        return _files_of(strip, "plate", frames)
    _check_has_picture(strip, "plate")
    return rendered("plate", strip.name, "strip", "RGB")


def _check_sizes(scene: Any, sources: Dict[str, Source]) -> None:
    """Raises InputError where files have another size than what is rendered beside them: the server would refuse them, after the work."""
    if not any(source.how in ("render", "strip", "clip") for source in sources.values()):
        return
    size = scene_camera.picture_size(scene.render)
    for which, source in sources.items():
        held = source.originals or source.files
        first = held[min(held)]
        found = passes.display_size(first) if source.how in ("files", "picture") else size
        if found != size:
            raise InputError(
                "%s is %d x %d, and the scene renders %d x %d." % (first.name, *found, *size),
                "Set the resolution in Output properties to the picture's, or choose files of that size.",
                input=which,
            )


def _check_has_picture(strip: Any, which: str) -> None:
    """Raises InputError where a strip has nothing to show: Blender would render black and say nothing."""
    if strip.type == "SOUND":
        raise InputError("The strip %s is sound." % strip.name, "Choose the strip that holds the %s." % which, input=which)
    if strip.type != "SCENE":
        return
    shown = strip.scene
    if shown is None:
        raise InputError("The strip %s shows no scene." % strip.name, "Choose a scene for it.", input=which)
    if strip.scene_input == "CAMERA" and strip.scene_camera is None and shown.camera is None:
        raise InputError("The scene %s, which the strip %s shows, has no camera." % (shown.name, strip.name), "Add one.", input=which)


def _notes(scene: Any, sources: Dict[str, Source]) -> Tuple[str, ...]:
    """What the artist should know of files, plate and lens, and is no reason to refuse."""
    shot, said = scene.platebridge, _said_of_stills(scene.platebridge)
    seen_by_camera = any(source.how == "render" for which, source in sources.items() if which != "plate")
    clip = shot.plate_clip if shot.plate_source == "CLIP" else scene.active_clip
    if shot.plate_source == "RENDER" or clip is None or not clip.size[0] or not seen_by_camera:
        return said
    lens = footage.said_of_the_lens(clip)
    return (*said, lens) if lens else said


def _said_of_stills(shot: Any) -> Tuple[str, ...]:
    """A sentence for each input whose one file is taken at every frame, though files beside it go on with its number."""
    said = []
    for which in ("plate", "depth", "mask", "vectors"):
        path = paths.whole(getattr(shot, which + "_files").strip(), shot.id_data.library)
        found = re.fullmatch(r"(.*?)(\d+)(\D*)", path.stem)
        if getattr(shot, which + "_source") != "FILES" or "#" in path.name or found is None:
            continue
        head, digits, tail = found.groups()
        beside = [path.with_name("%s%0*d%s%s" % (head, len(digits), int(digits) + step, tail, path.suffix)) for step in (-1, 1)]
        if any(other.is_file() for other in beside):
            whole = "%s%s%s%s" % (head, "#" * len(digits), tail, path.suffix)
            said.append("The %s files: %s is taken at every frame. For the whole sequence write %s." % (which, path.name, whole))
    return tuple(said)


def _from_strip(scene: Any, which: str, frames: FrameRange) -> Source:
    """Depth from a strip: its EXR files as they are. Raises InputError."""
    strip = _strip_over(scene, which, frames)
    if not holds_exr(strip) or not shows_its_files(strip):
        raise InputError(
            "The strip %s is not EXR files shown as they are." % strip.name,
            "Its numbers would be changed on the way: choose a strip of EXR files without crop, fade, keys or grade, or name the files.",
            input=which,
        )
    return _files_of(strip, which, frames)


def _mask_of_files(scene: Any, held: Source, rendered: Callable[..., Source]) -> Source:
    """A mask's files as they are where they are EXR with a matte in them; else they are read into such files."""
    first, wanted = held.files[min(held.files)], scene.platebridge.mask_channel
    if not mattes.is_picture(first) and (wanted == "ALPHA" or (wanted == "AUTO" and not mattes.is_white_on_black(first))):
        return held
    return dataclasses.replace(rendered("mask", held.name, "picture"), originals=held.files)


def _mask_of_strip(scene: Any, frames: FrameRange, rendered: Callable[..., Source]) -> Source:
    """A mask from a strip of any kind: a mask strip is drawn, pictures that stand as they are are read, all else is rendered."""
    strip = _strip_over(scene, "mask", frames)
    if strip.type == "MASK":
        if not shows_its_files(strip):
            raise InputError(
                "The mask strip %s is moved, cropped, faded, graded or retimed." % strip.name,
                "Take that off, or move the shape itself: a mask strip is drawn as its mask is.",
                input="mask",
            )
        return rendered("mask", roto.chosen(scene)[0].name, "mask")
    if strip.type == "IMAGE" and shows_its_files(strip):
        return _mask_of_files(scene, _files_of(strip, "mask", frames), rendered)
    _check_has_picture(strip, "mask")
    return rendered("mask", strip.name, "strip")


def _of_strip(strip: Any) -> List[Any]:
    """What of a strip a rendered plate or mask depends on, beside its name: its files, where it stands, what is done to it."""
    keys = _animation(strip)
    keyed = {path for path, *_ in keys}

    def standing(part: Any, names: Iterable[str]) -> List[Any]:
        """What has keys or a driver depends on the current frame, and is known by those."""
        return [getattr(part, name) for name in names if hasattr(part, name) and part.path_from_id(name) not in keyed]

    told: List[Any] = [strip.type, versions.content_start(strip), versions.first_frame(strip), versions.cut_off_before(strip), keys]
    told.append([key.timeline_frame for key in getattr(strip, "retiming_keys", ())])
    if hasattr(strip, "transform"):
        told += [standing(strip.transform, _MOVE), standing(strip.crop, _CROP)]
    told.append(standing(strip, _TREATMENT))
    told += [[m.type, *proxies.plain_settings(m, keyed)] for m in strip.modifiers if not m.mute and not is_our_modifier(m)]
    if hasattr(strip, "colorspace_settings"):
        told.append(strip.colorspace_settings.name)
    if strip.type == "SCENE":
        told += [part.name if part is not None else "" for part in (strip.scene, strip.scene_camera)]
    if strip.type == "MOVIECLIP" and strip.clip is not None:
        told.append(footage.identity(strip.clip))
    if isinstance(strip, getattr(bpy.types, "EffectStrip", ())):
        told.append(proxies.plain_settings(strip, keyed, apart=bpy.types.Strip.bl_rna.properties.keys()))
    told += [[part.name, part.mute, part.channel, part.blend_type, *_of_strip(part)] for part in versions.made_of(strip)]
    return told + mattes.identity({at: path for at, path in enumerate(_its_files(strip)) if path.is_file()})


def _animation(strip: Any) -> List[Tuple[str, int, str]]:
    """(path, index, keys or driver) of all that is animated about the strip. Its scene holds that. When it is muted is no part of it."""
    animation, inside = strip.id_data.animation_data, strip.path_from_id() + "."
    if animation is None:
        return []

    def is_its(curve: Any) -> bool:
        return bool(curve.data_path.startswith(inside) and curve.data_path != inside + "mute")

    keyed = [curve for curve in proxies.playing(animation) if is_its(curve)]
    told = [(curve.data_path, curve.array_index, proxies.its_keys(curve)) for curve in keyed]
    return sorted(told + [(curve.data_path, curve.array_index, curve.driver.expression) for curve in animation.drivers if is_its(curve)])


def _its_files(strip: Any) -> List[Path]:
    if strip.type == "MOVIE":
        return [Path(bpy.path.abspath(strip.filepath, library=strip.id_data.library))]
    return [_folder(strip) / element.filename for element in strip.elements] if strip.type == "IMAGE" else []


def _folder(strip: Any) -> Path:
    """Where an image strip's files lie: beside its own .blend, where its scene is linked from another."""
    return Path(bpy.path.abspath(strip.directory, library=strip.id_data.library))


def _strip_over(scene: Any, which: str, frames: FrameRange) -> Any:
    """The strip that is chosen for this input, where it covers the frames. Raises InputError."""
    strip = find_strip(scene, which, getattr(scene.platebridge, which + "_strip"))
    first, last = versions.first_frame(strip), versions.end_frame(strip) - 1
    if frames.first < first or frames.last > last:
        raise InputError(
            "%s holds frames %d-%d, and %s are asked for." % (strip.name, first, last, frames),
            "Change the frame range, or the strip.",
            input=which,
        )
    return strip


def _files_of(strip: Any, which: str, frames: FrameRange) -> Source:
    folder = _folder(strip)
    files = {frame: folder / strip.strip_elem_from_frame(frame).filename for frame in frames}
    return Source("files", strip.name, _standing(which, files))


def chosen_strip(scene: Any) -> str:
    """The name of the strip that is the plate; "" where the plate is something else."""
    return scene.platebridge.plate_strip if scene.platebridge.plate_source == "STRIP" else ""


def find_strip(scene: Any, which: str, name: str) -> Any:
    """The strip of that name, for "plate", "depth" or "mask". Raises InputError."""
    editor = scene.sequence_editor
    strip = versions.strips(editor).get(name) if editor is not None and name else None
    if strip is None:
        raise InputError(
            "There is no strip called %r in %s." % (name, scene.name) if name else "No %s strip is chosen." % which,
            "Choose the strip that holds the %s." % which,
            input=which,
        )
    return strip


def refuse_open_meta(scene: Any, which: str) -> None:
    """Raises InputError while a meta strip is open: Blender renders what is inside it, whatever else is asked for."""
    if len(scene.sequence_editor.meta_stack):
        raise InputError("A meta strip is open.", "Leave it (Tab) and press again.", input=which)


def is_taken_as_it_is(strip: Any) -> bool:
    """Whether the strip's own files are the plate: scene-linear EXRs that the sequencer would show unchanged.

    Anything else (movies, 8-bit pictures, other colour spaces, strips moved, cropped or graded) is rendered through the sequencer.
    """
    return holds_exr(strip) and strip.colorspace_settings.name == versions.linear_space(bpy.data) and shows_its_files(strip)


def holds_exr(strip: Any) -> bool:
    """Whether the strip is a sequence of EXR files."""
    return strip.type == "IMAGE" and all(Path(element.filename).suffix.lower() == ".exr" for element in strip.elements)


def is_our_modifier(modifier: Any) -> bool:
    """Whether it lays a take over the plate (strip_modifier.py): that is no part of the plate."""
    return bool(modifier.type == "COMPOSITOR" and modifier.node_group is not None and "platebridge" in modifier.node_group)


def shows_its_files(strip: Any) -> bool:
    """Whether the picture is the strip's files: unchanged, and not see-through."""
    return strip.blend_alpha == 1 and shows_unchanged(strip)


def shows_unchanged(strip: Any) -> bool:
    """No transform, crop, flip, grade, modifier, keyframe or retiming stands between the strip's files and the picture."""
    move, crop = strip.transform, strip.crop
    return (
        (move.offset_x, move.offset_y, move.rotation) == (0, 0, 0)
        and (move.scale_x, move.scale_y) == (1, 1)
        and not any((crop.min_x, crop.max_x, crop.min_y, crop.max_y))
        and not (strip.use_flip_x or strip.use_flip_y)
        and (strip.color_multiply, strip.color_saturation) == (1, 1)
        and strip.strobe <= 1
        and not strip.use_reverse_frames
        and not strip.use_deinterlace
        and not any(not modifier.mute for modifier in strip.modifiers if not is_our_modifier(modifier))
        and not _animation(strip)
    )


def _mask_objects(scene: Any, view_layer: Any) -> Tuple[str, ...]:
    """The names that the render's Cryptomatte gives to what is in the mask. Raises InputError."""
    collection = scene.platebridge.mask_collection
    if collection is None:
        raise InputError("No mask is chosen.", "Choose the collection that holds the pieces that fall, or mask files.", input="mask")
    there = set(scene.objects)
    inside = {thing for thing in collection.all_objects if proxies.renders_at_all(thing) and thing in there}
    if not inside:
        raise InputError(
            "The collection %s has no object that renders in %s." % (collection.name, scene.name),
            "Put the pieces that fall into it.",
            input="mask",
        )
    rendered = proxies.in_layer(view_layer)
    if not any(thing in rendered for thing in inside):
        raise InputError(
            "The collection %s does not render in the view layer %s." % (collection.name, view_layer.name),
            "Turn it on in the Outliner, checkbox and camera, or press Generate in another view layer.",
            input="mask",
        )
    names, instances = {thing.name for thing in inside}, {thing.name for thing in proxies.instanced(inside)}
    outside = outside_names(view_layer, inside)
    for name in sorted(instances & outside):
        raise InputError(
            "%s stands in the mask as a collection instance, and outside the mask too." % name, "Make the instance real.", input="mask"
        )
    for name in sorted(names & outside):
        raise InputError(
            "%s is in the mask, and renders outside it too: as an instance, or another file's object of that name." % name,
            "Make the instance real, or rename the one that is this file's own.",
            input="mask",
        )
    return tuple(sorted(names | instances))


def outside_names(view_layer: Any, inside: Collection[Any]) -> Set[str]:
    """The names of all that renders outside the mask."""
    outside = [thing for thing in proxies.in_layer(view_layer) if thing not in inside and proxies.renders_at_all(thing)]
    return {thing.name for thing in (*outside, *proxies.instanced(outside))}


def _picture(scene: Any, which: str) -> Source:
    """A picture of no frame. Raises InputError."""
    path = Path(_absolute(scene, which, getattr(scene.platebridge, which + "_file").strip()))
    if not _is_there(path, which):
        raise InputError("There is no file %s." % path, "Choose another under Painting, or none.", input=which)
    return Source("files", path.name, {1: path})


def _on_disk(scene: Any, which: str, frames: FrameRange) -> Source:
    pattern = getattr(scene.platebridge, which + "_files").strip()
    if not pattern:
        raise InputError("No files are named.", "Name them like %s.####.exr." % which, input=which)
    absolute = _absolute(scene, which, pattern)
    return Source("files", pattern, _standing(which, {frame: Path(name_at(absolute, frame)) for frame in frames}), pattern=absolute)


def _absolute(scene: Any, which: str, text: str) -> str:
    """The path that an artist wrote, whole: // is where the scene's own .blend lies. Raises InputError where that was never saved, for
    Blender would look into some folder or other."""
    if text.startswith("//") and scene.library is None and not bpy.data.filepath:
        raise InputError("%s is beside the .blend, and it was never saved." % text, "Save it, or name the whole path.", input=which)
    return str(paths.whole(text, scene.library).absolute())


def _standing(which: str, files: Dict[int, Path]) -> Dict[int, Path]:
    absent = [frame for frame, path in files.items() if not _is_there(path, which)]
    if absent:
        raise InputError(
            "%d of %d files are missing, the first is %s." % (len(absent), len(files), files[absent[0]]),
            "Put them there, or change the range.",
            input=which,
            frame=absent[0],
        )
    return files


def _is_there(path: Path, which: str) -> bool:
    """Whether that input's file is there. Raises InputError where nobody can say: a folder of somebody else's, a drive that is away."""
    try:
        return path.is_file()
    except OSError as error:
        mend = "Have somebody give you access to its folder, or choose other files."
        raise InputError("%s can't be looked at (%s)." % (path, error.strerror), mend, input=which) from error
