# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the edit: the sequencer to an EXR sequence, frame by frame. Knows scenes and files; nothing of takes or servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Tuple

import bpy
from platebridge.errors import InputError
from platebridge.frames import FrameRange, name_at

from . import versions
from .rendering import in_window, told


def render_edit(scene: Any, pattern: Path, frames: FrameRange, *, bits: int = 16, alpha: bool = False) -> Iterator[Tuple[int, Path]]:
    """Writes each frame of the sequencer to `pattern` (with # for the digits), yielding (frame, path) as it stands.

    `bits`: 16 or 32. Settings are given back after every frame, the current frame at the end. Exact where
    `timeline.what_keeps_it_from_exact` has nothing to say. Raises InputError when Blender renders nothing.
    """
    stood_at = scene.frame_current
    try:
        for frame in frames:
            path = Path(name_at(str(pattern), frame))
            path.parent.mkdir(parents=True, exist_ok=True)
            render = scene.render
            changes = [
                *versions.exr_changes(render.image_settings, layers=False, bits=bits, alpha=alpha),
                (render, "use_sequencer", True),
                (render, "use_border", False),
                (render, "use_multiview", False),
                (render, "use_stamp", False),
                (render, "use_file_extension", False),
                (render, "use_overwrite", True),
                (render, "filepath", str(path)),
            ]
            with in_window(scene), versions.borrowed(changes):
                scene.frame_set(frame)
                bpy.ops.render.render(write_still=True, **told(scene))
            if not path.is_file():
                raise InputError("Blender rendered no edit at this frame.", "Is there a strip, and is the folder writable?", frame=frame)
            yield frame, path
    finally:
        scene.frame_set(stood_at)
