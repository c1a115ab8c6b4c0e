# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot's takes as a list to choose from: what differs, stars, notes. Read from the disk when something changed, never while drawing.

The rows hang on the window manager: they are not the .blend's, and undo has no say in them. Knows folders and strips; no server.
No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty

_filling = False


def _mark(row, _context):
    """A star or a note that was set by hand goes to the disk at once."""
    if _filling:
        return
    from platebridge import takes
    from platebridge.errors import PlatebridgeError

    from . import runner

    try:
        takes.mark(row.folder, takes.Marks(row.star, row.text))
    except PlatebridgeError as error:
        runner.trouble = str(error)


class PlatebridgeTakeRow(bpy.types.PropertyGroup):
    """One take. `differs`: its dials against the take before it. `told`: model, frames, seconds, or that it is unfinished."""

    folder: StringProperty(description="The take's folder on the disk")
    take_id: StringProperty(description="The take's own number, the same for the server")
    differs: StringProperty(description="The dials that differ from the take before it")
    told: StringProperty(description="Model, frames and time, or that it is unfinished")
    finished: BoolProperty(description="Every frame of it is there")
    star: BoolProperty(name="Star", description="Mark the take as a good one; kept beside its files", update=_mark)
    text: StringProperty(name="Note", description="Your own words on this take; kept beside its files", update=_mark)

    @property
    def path(self):
        return Path(self.folder)


def selected(context):
    """The row that is chosen, or None."""
    manager = context.window_manager
    rows = manager.platebridge_takes
    return rows[manager.platebridge_take] if 0 <= manager.platebridge_take < len(rows) else None


def refresh(scene):
    """Reads the shot's folder again and shows what lies there, newest first; the chosen take stays chosen."""
    global _filling
    manager = bpy.context.window_manager
    rows = manager.platebridge_takes
    chosen = selected(bpy.context)
    chosen_folder = chosen.folder if chosen is not None else ""
    newest = rows[0].folder if rows else ""
    fresh = _read(scene)
    _filling = True
    try:
        while len(rows) > len(fresh):
            rows.remove(len(rows) - 1)
        while len(rows) < len(fresh):
            rows.add()
        for row, values in zip(rows, fresh):
            for name, value in values.items():
                if getattr(row, name) != value:
                    setattr(row, name, value)
    finally:
        _filling = False
    folders = [values["folder"] for values in fresh]
    follow = chosen_folder in ("", newest)  # who looks at the newest take goes on looking at the newest
    manager.platebridge_take = 0 if follow or chosen_folder not in folders else folders.index(chosen_folder)


def _read(scene):
    from platebridge.errors import PlatebridgeError
    from platebridge.request import from_dict, told_apart
    from platebridge.takes import list_takes

    from . import sources

    try:
        takes = list_takes(sources.shot_folder(scene))
    except PlatebridgeError:  # a shot without a folder has no takes; Generate says why
        return []
    out, before = [], None
    for take in takes:
        tree = take.document or take.note
        try:
            request = from_dict(tree.get("request"))
        except PlatebridgeError:
            continue  # not one of ours, or of a newer Platebridge
        out.append(
            {
                "name": take.path.name,
                "folder": str(take.path),
                "take_id": str(tree.get("take_id", "")),
                "differs": told_apart(request, before),
                "told": _told(take, request),
                "finished": take.finished,
                "star": take.marks.star,
                "text": take.marks.text,
            }
        )
        before = request
    return out[::-1]


def _told(take, request):
    if not take.finished:
        return "%s, unfinished" % request.model.name
    seconds = take.document.get("seconds", {}).get("total")
    return "%s, %d frames%s" % (request.model.name, len(request.frames), ", %.0f s" % seconds if isinstance(seconds, (int, float)) else "")


CLASSES = (PlatebridgeTakeRow,)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.WindowManager.platebridge_takes = CollectionProperty(type=PlatebridgeTakeRow)
    bpy.types.WindowManager.platebridge_take = IntProperty(name="Take", options={"SKIP_SAVE"})


def unregister():
    del bpy.types.WindowManager.platebridge_take
    del bpy.types.WindowManager.platebridge_takes
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
