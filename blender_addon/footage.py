# SPDX-License-Identifier: GPL-3.0-or-later
"""Movie clips as plates: which file a scene's frame shows, what can be taken as it is, and what the lens did to the picture.

A clip is where live action lives in Blender: what is tracked is a clip. EXR sequences are taken as they are, bit for bit; movies and 8-bit
pictures are read by Blender itself (`through_nodes`), in the colour space that the artist gave the clip. Reads clips, changes nothing.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import bpy
from platebridge.errors import InputError
from platebridge.frames import FrameRange

from . import mattes, versions

_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


def chosen(scene: Any) -> Any:
    """The clip that is the scene's plate. Raises InputError when there is none."""
    clip = scene.platebridge.plate_clip
    if clip is None:
        raise InputError("No movie clip is chosen.", "Choose the clip that holds the plate.", input="plate")
    return clip


def frames_of(clip: Any) -> FrameRange:
    """The scene's frames at which the clip shows something. Raises InputError where its footage can't be read."""
    if not clip.size[0] or clip.frame_duration < 1:
        raise InputError(
            "The footage of %s can't be read: %s." % (clip.name, _path(clip)),
            "Put it there, or choose another clip.",
            input="plate",
        )
    first = clip.frame_start - clip.frame_offset
    return FrameRange(max(first, clip.frame_start), max(first, clip.frame_start, first + clip.frame_duration - 1))


def check_range(clip: Any, frames: FrameRange) -> None:
    """Raises InputError where the clip doesn't reach over the frames."""
    held = frames_of(clip)
    if frames.first < held.first or frames.last > held.last:
        raise InputError(
            "%s holds frames %s, and %s are asked for." % (clip.name, held, frames),
            "Change the frame range, or the clip's Start Frame.",
            input="plate",
        )


def files(clip: Any, frames: FrameRange) -> Optional[Dict[int, Path]]:
    """The sequence's file at each of the scene's frames; None for a movie, whose frames are no files."""
    if clip.source != "SEQUENCE":
        return None
    first = _path(clip)
    found = _NUMBER.fullmatch(first.stem)  # the last digits of the name count, as Blender has it
    if found is None:
        return {frame: first for frame in frames}
    head, digits, tail = found.groups()
    at = int(digits) - clip.frame_start + clip.frame_offset
    return {frame: first.with_name("%s%0*d%s%s" % (head, len(digits), at + frame, tail, first.suffix)) for frame in frames}


def _path(clip: Any) -> Path:
    """Where its footage lies: beside its own .blend, where it is linked from another."""
    return Path(bpy.path.abspath(clip.filepath, library=clip.library))


def is_taken_as_it_is(clip: Any, size: Tuple[int, int]) -> bool:
    """Whether the clip's own files are the plate: scene-linear EXRs of the picture's size."""
    return (
        clip.source == "SEQUENCE"
        and Path(clip.filepath).suffix.lower() == ".exr"
        and clip.colorspace_settings.name == versions.linear_space(bpy.data)
        and tuple(clip.size) == size
    )


def identity(clip: Any) -> Tuple[Any, ...]:
    """What a captured plate of the clip depends on: footage that was written anew is read anew."""
    held = files(clip, frames_of(clip)) or {0: _path(clip)}
    there = {frame: path for frame, path in held.items() if path.is_file()}
    told = (os.path.abspath(_path(clip)), clip.frame_start, clip.frame_offset, clip.colorspace_settings.name, tuple(clip.size))
    return (*told, mattes.identity(there))


def bend(clip: Any) -> Optional[float]:
    """How far the lens distortion that was solved for the clip moves the picture's corner, in pixels of the footage.

    0.0 where there is none; None where the model says no figure (Nuke's). The passes are rendered through a lens without any.
    """
    lens = clip.tracking.camera
    model = lens.distortion_model
    if model == "NUKE":
        return None if lens.nuke_k1 or lens.nuke_k2 else 0.0
    focal = max(lens.focal_length_pixels, 1e-6)
    r = math.hypot(clip.size[0] / 2, clip.size[1] / 2) / focal
    if model == "DIVISION":
        return abs(r - r / (1 + lens.division_k1 * r**2 + lens.division_k2 * r**4)) * focal
    terms = (lens.k1, lens.k2, lens.k3) if model == "POLYNOMIAL" else (lens.brown_k1, lens.brown_k2, lens.brown_k3, lens.brown_k4)
    return abs(sum(k * r ** (2 * n) for n, k in enumerate(terms, 1))) * r * focal


def said_of_the_lens(clip: Any) -> str:
    """What the artist should know of the clip's lens; "" where the passes fit the picture to half a pixel."""
    far = bend(clip)
    if far is not None and far < 0.5:
        return ""
    by = "" if far is None else ", by %.1f pixels at the corner" % far
    return (
        "The lens of %s bends the picture%s; depth and mask of the scene are not bent. "
        "Take undistorted footage as the plate, and bend the comp back afterwards." % (clip.name, by)
    )
