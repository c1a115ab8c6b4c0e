# SPDX-License-Identifier: GPL-3.0-or-later
"""One frame of a scene into a scratch file, with settings borrowed for just so long. Knows how to render; not what, nor why."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List

import bpy
from platebridge.errors import InputError

from . import versions

SLOT = "Platebridge"


@contextlib.contextmanager
def render_to_file(scene: Any, changes: List[versions.Change]) -> Iterator[Path]:
    """Renders the current frame into a scratch file, with the scene's settings changed for just so long."""
    # On Windows a scanner may still look at the file: that it can't be taken away is no reason to lose the frame.
    with tempfile.TemporaryDirectory(prefix="platebridge_", ignore_cleanup_errors=True) as scratch:
        file = Path(scratch, "frame.exr")
        render = scene.render
        changes = [
            *changes,
            (render, "use_stamp", False),  # metadata is burnt into the pixels of a single-layer EXR too
            (render, "filepath", str(file)),
            (render, "use_file_extension", True),
            (render, "use_overwrite", True),
            *_slot(),
        ]
        with versions.borrowed(changes):
            try:
                bpy.ops.render.render(write_still=True, **told(scene))
            except RuntimeError as error:
                raise InputError(
                    "Blender can't render %s: %s" % (scene.name, str(error).strip()), "Render it once by hand.", frame=scene.frame_current
                ) from error
        if not file.is_file():
            raise InputError(
                "Blender rendered nothing at this frame.", "Render it once by hand, and see what it says.", frame=scene.frame_current
            )
        yield file


def told(scene: Any) -> Dict[str, str]:
    """What the render is told of its scene: nothing where that is the window's, for a linked scene may have the name of this file's own."""
    return {} if bpy.context.scene == scene else {"scene": scene.name}


def _slot() -> List[versions.Change]:
    """A slot of our own for what is rendered: the artist's last render stays in theirs."""
    result = next((image for image in bpy.data.images if image.type == "RENDER_RESULT"), None)
    if result is None:  # nothing was rendered yet
        return []
    own = next((slot for slot in result.render_slots if slot.name == SLOT), None) or result.render_slots.new(name=SLOT)
    return [(result.render_slots, "active", own)]


@contextlib.contextmanager
def in_window(scene: Any) -> Iterator[None]:
    """Makes the scene the window's for a while: a render takes its frame from the scene of the window, whatever it is told.

    Never through `temp_override`: an operator called inside one looks its scene up in a Python dictionary **without the GIL** when
    another thread happens to be running Python just then, as the courier's does, and Blender crashes now and then (seen in 4.5:
    BPY_context_member_get asks whether anyone holds the GIL, not whether it does itself).
    """
    window = bpy.context.window or bpy.context.window_manager.windows[0]
    # The window forgets which view layer it showed when its scene changes.
    changes = [(window, "scene", scene), (window, "view_layer", scene.view_layers[0])] if window.scene != scene else []
    with versions.borrowed(changes):
        yield
