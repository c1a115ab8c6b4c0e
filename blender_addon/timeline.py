# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes on the sequencer: a strip that grows as frames come, above the plate.

A strip is made true to what lies on the disk, again and again, rather than told what to add: undo may have taken frames off it
meanwhile, or the file may be an older one. Strips are found by the take's id in their custom properties, never kept in a variable:
undo frees them in silence. Only files that are there are ever pointed at. Knows strips and take folders; nothing of servers.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

import bpy
from platebridge.curves import Curve
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest

from . import scene_camera, sources, versions

TAG = "platebridge"
BEFORE = "platebridge_before"
HIGHEST_CHANNEL = 128


@dataclass(frozen=True)
class TakeStrip:
    """What stands on the timeline for a take. `kind`: "comp" (the picture) or "effect" (the dust alone, over the plate).

    `request_hash`: the request's own, where it is known already: to make it takes as long as a tick may.
    """

    take_id: str
    path: Path
    kind: str
    request: GenerateRequest
    request_hash: str = ""

    @property
    def name(self) -> str:
        return "%s %s %s" % (self.request.shot, self.path.name.replace("_", " "), self.kind)

    def label(self) -> Dict[str, Any]:
        """What the strip says of itself in its custom properties, in any Blender."""
        dials = {name: _plain(value) for name, value in self.request.dial_values().items()}
        return {
            "take": self.take_id,
            "folder": str(self.path),
            "kind": self.kind,
            "shot": self.request.shot,
            "request": self.request_hash or self.request.hash(),
            "model": self.request.model.name,
            "dials": dials,
        }


def _plain(value: Any) -> Any:
    """A dial's value as a custom property can hold it; a curve as text."""
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Curve) else value


def find(take_id: str, kind: str, scene: Optional[Any] = None) -> Tuple[Any, Any]:
    """(scene, strip) of a take in this scene, or in any of the file, or (None, None): the first, where it was cut or stands twice."""
    return next(iter(standing(take_id, kind, scene)), (None, None))


def standing(take_id: str, kind: str, scene: Optional[Any] = None) -> List[Tuple[Any, Any]]:
    """(scene, strip) of every strip of a take, in this scene or in all of the file: both halves of one that was cut, and each copy."""
    places = bpy.data.scenes if scene is None else (scene,)
    return [(place, strip) for place in places for strip in take_strips(place) if _which(strip) == "%s %s" % (take_id, kind)]


def _which(strip: Any) -> str:
    """The take and the kind that a strip shows: the same for the halves of a strip that was cut."""
    return "%s %s" % (strip[TAG]["take"], strip[TAG].get("kind"))


def covers(strip: Any, frames: FrameRange) -> bool:
    """Whether the strip is seen at every one of these frames."""
    return versions.first_frame(strip) <= frames.first and frames.last < versions.end_frame(strip)


def folder_of(strip: Any) -> Path:
    """Where a strip's pictures lie; // is where the file lies that the strip is of, also where its scene is linked."""
    return Path(bpy.path.abspath(strip.directory, library=strip.id_data.library))


def in_order(frames: FrameRange, there: Mapping[int, Path]) -> List[Path]:
    """The files from the first frame on without a gap: a late frame holds back those after it."""
    out = []
    for frame in frames:
        if frame not in there:
            break
        out.append(there[frame])
    return out


def insert(scene: Any, take: TakeStrip, files: List[Path], plate: Optional[Any]) -> Any:
    """Puts the take's strip on the next free channel above the plate and gives it. `files`: from the first frame on, in order.

    Raises InputError when the sequencer has no channel left.
    """
    editor = scene.sequence_editor or scene.sequence_editor_create()
    frames = take.request.frames
    channel = free_channel(scene, frames, above=plate.channel if plate is not None else 0)
    strip = versions.strips(editor).new_image(name=take.name, filepath=str(files[0]), channel=channel, frame_start=frames.first)
    strip.directory = stored(files[0].parent)
    # A comp stands for the whole picture, alpha and all; an effect is premultiplied, over whatever stands below.
    strip.blend_type = "REPLACE" if take.kind == "comp" else "ALPHA_OVER"
    strip.alpha_mode = "PREMUL"
    strip.colorspace_settings.name = versions.linear_space(bpy.data)
    strip[TAG] = take.label()
    grow(strip, files)
    return strip


def grow(strip: Any, files: List[Path]) -> int:
    """Makes the strip hold these files, in order; those it holds stay, and so does its end where the artist trimmed or cut it.

    It grows up to the next strip of its channel at most. Returns how many were added.
    """
    held, end, channel = len(strip.elements), versions.end_frame(strip), strip.channel
    if len(files) <= held or versions.is_cut_off(strip):
        return 0
    room = end if versions.is_trimmed(strip) else _next_in_channel(strip)
    with versions.whole(strip):
        for path in files[held:]:
            strip.elements.append(path.name)
    if room == end or versions.end_frame(strip) > room:
        versions.set_end_frame(strip, int(room))
    if strip.channel != channel:  # it lay over its other half for a moment, and Blender made way
        strip.channel = channel
    versions.forget_cached_frames(strip)
    return len(files) - held


def _next_in_channel(strip: Any) -> float:
    """The first frame of the next strip in the strip's channel; inf where none comes."""
    beside = versions.strips(strip.parent_meta() or strip.id_data.sequence_editor)
    starts = [versions.first_frame(other) for other in beside if other.channel == strip.channel]
    return min((start for start in starts if start >= versions.end_frame(strip)), default=math.inf)


def make_true(scene: Any) -> None:
    """Every take's strip holds again what lies on the disk: after undo or redo, or in a file that was saved while frames still came.

    A strip whose pictures somebody changed is left alone, and one whose folder can't be looked at: a colleague's, a drive that is away.
    """
    for strip in take_strips(scene):
        held = [element.filename for element in strip.elements]
        try:
            there = frames_on_disk(folder_of(strip), strip[TAG]["kind"])
        except OSError:
            continue
        first = next((frame for frame, path in there.items() if held and path.name == held[0]), None)
        if first is None:
            continue
        files = in_order(FrameRange(first, max(there)), there)
        if held == [path.name for path in files[: len(held)]]:
            grow(strip, files)


def plate_strip(scene: Any, request: GenerateRequest, files: Mapping[int, Path], name: str = "") -> Optional[Any]:
    """The plate's strip: the one of that name, the one we made for this shot, which then shows these files, or a new one on the lowest
    free channel.

    `files`: path by frame, in one folder. None where they are not known and there is no such strip.
    """
    editor = scene.sequence_editor or scene.sequence_editor_create()
    strips = versions.strips(editor)
    if name and name in strips and not is_another_angle(scene, request):
        return strips[name]
    frames = request.frames
    paths = in_order(frames, files)
    for strip in strips:
        tag = strip.get(TAG)
        held = (versions.first_frame(strip), versions.end_frame(strip) - 1)
        if tag is not None and tag.get("plate") == request.shot and held == (frames.first, frames.last):
            if paths and os.path.isfile(paths[0]):  # another version of the plate, or one captured into another folder
                strip.directory = stored(paths[0].parent)
                for element, path in zip(strip.elements, paths):
                    if element.filename != path.name:
                        element.filename = path.name
            versions.forget_cached_frames(strip)  # it may have been captured again
            return strip
    if not paths:
        return None
    strip = strips.new_image(
        name="%s plate" % request.shot, filepath=str(paths[0]), channel=free_channel(scene, frames), frame_start=frames.first
    )
    strip.directory = stored(paths[0].parent)
    strip.blend_type = "REPLACE"
    strip.colorspace_settings.name = versions.linear_space(bpy.data)
    strip[TAG] = {"plate": request.shot}
    grow(strip, paths)
    return strip


def is_another_angle(scene: Any, request: GenerateRequest) -> bool:
    """Whether it shows another take's cloud as a shot of its own, through another camera: then its plate is none that the scene names."""
    return bool(request.simulation) and request.shot != (scene.platebridge.shot.strip() or scene.name)


def free_channel(scene: Any, frames: FrameRange, above: int = 0) -> int:
    """The lowest channel above `above` that is not muted, with no strip anywhere in these frames. Raises InputError when there is none."""
    taken = {
        strip.channel
        for strip in versions.strips(scene.sequence_editor)
        if versions.first_frame(strip) <= frames.last and versions.end_frame(strip) > frames.first
    }
    for channel in range(above + 1, HIGHEST_CHANNEL + 1):
        if channel not in taken and not scene.sequence_editor.channels[channel].mute:
            return channel
    raise InputError("The sequencer has no free channel over %s." % frames, "Remove strips you don't need, then load the take.")


def stored(folder: Path) -> str:
    """A folder as a strip keeps it: relative to the .blend where that can be, so that both can move together."""
    if bpy.data.filepath:
        try:
            return bpy.path.relpath(str(folder)).rstrip("/\\") + "/"
        except ValueError:  # on Windows, another drive
            pass
    return str(folder) + "/"


def frames_on_disk(take: Path, kind: str) -> Dict[int, Path]:
    """A take's frames on disk: {frame: path}. What is called otherwise, a copy that somebody made, is none of them."""
    named = ((re.fullmatch(r"%s\.(-?\d+)\.exr" % kind, path.name), path) for path in take.glob("%s.*.exr" % kind))
    return {int(found.group(1)): path for found, path in named if found}


# --- is what Blender renders the comp, exactly? --------------------------------------------------------------------------------


def what_keeps_it_from_exact(scene: Any, strip: Any) -> List[str]:
    """Sentences, one for each setting that makes a render of the sequencer differ from the strip's files; [] is bit for bit."""
    faults = []
    space = versions.linear_space(bpy.data)
    if scene.sequencer_colorspace_settings.name != space:
        faults.append("The sequencer works in %s, not in %s" % (scene.sequencer_colorspace_settings.name, space))
    if strip.colorspace_settings.name != space:
        faults.append("The strip %s is read as %s, not as %s" % (strip.name, strip.colorspace_settings.name, space))
    first = strip.elements[0]
    size, render = (first.orig_width, first.orig_height), scene_camera.picture_size(scene.render)
    if size != (0, 0) and size != render:
        faults.append("The scene renders %d x %d, and the take is %d x %d" % (*render, *size))
    if not sources.shows_unchanged(strip):
        faults.append("The strip %s is moved, cropped, graded or retimed" % strip.name)
    if strip.mute or strip.blend_alpha != 1:
        faults.append("The strip %s is muted or see-through" % strip.name)
    for part, beside in _levels(scene, strip):
        if beside.channels[part.channel].mute:
            faults.append("The channel %s is muted" % beside.channels[part.channel].name)
        if part != strip and (part.mute or part.blend_alpha != 1 or not sources.shows_unchanged(part)):
            faults.append("The strip %s, which holds it, is muted, see-through, moved, cropped or graded" % part.name)
    above = [other for other in _over(scene, strip) if other.type != "SOUND"]
    if above:
        faults.append("The strip %s lies above it" % above[0].name)
    if not scene.render.use_sequencer:
        faults.append("Sequencer is off under Post Processing")
    return faults


def make_exact(scene: Any) -> None:
    """Sets the one colour setting that exactness needs. Other strips blend in scene-linear from now on."""
    scene.sequencer_colorspace_settings.name = versions.linear_space(bpy.data)


def take_strips(scene: Any) -> Iterable[Any]:
    """Every strip of a take in the scene, newest last."""
    editor = scene.sequence_editor
    return [strip for strip in (versions.all_strips(editor) if editor else ()) if TAG in strip and "take" in strip[TAG]]


def seen_take(scene: Any) -> Optional[Any]:
    """The take's strip that is seen: the highest that isn't hidden. None where there is none, or where a plate with a take of its own on it
    (strip_modifier.py) covers it: then that is what is seen."""
    seen = [strip for strip in take_strips(scene) if not any(_is_hidden(*level) for level in _levels(scene, strip))]
    shown = max(seen, key=lambda strip: [part.channel for part, _ in _levels(scene, strip)][::-1], default=None)
    if shown is None:
        return None
    covers = [over for over in _over(scene, shown) if any(sources.is_our_modifier(m) and not m.mute for m in over.modifiers)]
    return None if covers else shown


def show_alone(scene: Any, strip: Any) -> None:
    """Shows a take's strips, both halves of one that was cut, and hides the same shot's other takes, also one that lies on the plate's own
    strip (strip_modifier.py); remembers which was shown before."""
    for modifier in our_modifiers(scene):
        if modifier.node_group[TAG].get("shot") == strip[TAG].get("shot"):
            modifier.mute = True  # an effect would come over it, dust over dust
    shots = [other for other in take_strips(scene) if other[TAG].get("shot") == strip[TAG].get("shot")]
    own = [other for other in shots if _which(other) == _which(strip)]
    for other in shots:
        if other not in own and not other.mute:
            for half in own:
                half[BEFORE] = _which(other)
        other.mute = other not in own


def our_modifiers(scene: Any) -> List[Any]:
    """The modifiers that lay takes over plates in this scene."""
    return [m for strip in versions.all_strips(scene.sequence_editor) for m in strip.modifiers if sources.is_our_modifier(m)]


def shown_before(scene: Any) -> Optional[Any]:
    """The strip that was shown before the one that is; failing that, the newest that is hidden. None where there is no other."""
    strips = take_strips(scene)
    shown = max((strip for strip in strips if not strip.mute), key=lambda strip: strip.channel, default=None)
    if shown is None:
        return strips[-1] if strips else None
    others = [strip for strip in strips if _which(strip) != _which(shown) and strip[TAG].get("shot") == shown[TAG].get("shot")]
    for other in others:
        if shown.get(BEFORE) == _which(other):
            return other
    return max(others, key=lambda strip: strip.channel, default=None)


def remove(take_id: str, kind: str) -> None:
    """Takes a take's strips off the timeline, in whatever scenes they stand; the files stay."""
    while True:
        scene, strip = find(take_id, kind)
        if strip is None:
            return
        versions.strips(strip.parent_meta() or scene.sequence_editor).remove(strip)


def _levels(scene: Any, strip: Any) -> Iterator[Tuple[Any, Any]]:
    """The strip, the meta strip that holds it, and so on; each with what it stands in: a meta strip, at last the sequencer."""
    part = strip
    while part is not None:
        meta = part.parent_meta()
        yield part, meta or scene.sequence_editor
        part = meta


def _is_hidden(part: Any, beside: Any) -> bool:
    return bool(part.mute or beside.channels[part.channel].mute)


def _over(scene: Any, strip: Any) -> List[Any]:
    """The strips that are seen over it: beside it, and beside the meta strips that hold it."""
    return [
        other
        for part, beside in _levels(scene, strip)
        for other in versions.strips(beside)
        if other.channel > part.channel
        and not _is_hidden(other, beside)
        and versions.first_frame(other) < versions.end_frame(strip)
        and versions.end_frame(other) > versions.first_frame(strip)
    ]
