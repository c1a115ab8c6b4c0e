# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot's takes as a list to choose from: what differs, stars, notes. Read from the disk when something changed, never while drawing.

The rows hang on the window manager: they are not the .blend's, and undo has no say in them. How a folder is read: take_rows.py.
No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty

from . import versions

_filling = False
_asked = (None, None)  # the scene (its session id) whose takes were looked for last, and its shot's folder
_of = (None, None)  # those whose takes the list shows


def _mark(row, **marked):
    """A star or a note that was set by hand goes to the disk at once; the other of the two stays as it is there."""
    if _filling:
        return
    from platebridge import takes
    from platebridge.errors import PlatebridgeError

    from . import runner

    try:
        takes.mark(row.folder, **marked)
    except PlatebridgeError as error:
        runner.trouble = str(error)
    _look_again()


class PlatebridgeTakeRow(bpy.types.PropertyGroup):
    """One take. `differs`: its dials against the take before it. `told`: model, frames, seconds, or that it is unfinished.

    `wedge`: the name of the wedge it is of, or "". A `heading` stands above a wedge's takes and is none itself: its `folder` names the
    wedge, `differs` the dials it goes over. `sheet`: the wedge's newest contact sheet, or "".
    """

    folder: StringProperty(description="The take's folder on the disk")
    take_id: StringProperty(description="The take's own number, the same for the server")
    differs: StringProperty(description="The dials that differ from the take before it")
    told: StringProperty(description="Model, frames and time, or that it is unfinished")
    finished: BoolProperty(description="Every frame of it is there")
    heading: BoolProperty(description="It stands above the takes of a wedge, and is none itself")
    wedge: StringProperty(description="The wedge that the take is of; empty: it is by itself")
    sheet: StringProperty(description="The wedge's newest contact sheet")
    star: BoolProperty(
        name="Star", description="Mark the take as a good one; kept beside its files", update=lambda row, _: _mark(row, star=row.star)
    )
    text: StringProperty(
        name="Note", description="Your own words on this take; kept beside its files", update=lambda row, _: _mark(row, text=row.text)
    )

    @property
    def path(self):
        return Path(self.folder)


def chosen_row(context):
    """The row that is chosen, a take's or a wedge's heading, or None: also where the list is of another scene than the one that is seen."""
    return _row(context.window_manager) if is_of(versions.editing_scene(context)) else None


def _row(manager):
    rows = manager.platebridge_takes
    return rows[manager.platebridge_take] if 0 <= manager.platebridge_take < len(rows) else None


def selected(context):
    """The take that is chosen, or None."""
    row = chosen_row(context)
    return row if row is not None and not row.heading else None


def chosen_sheet(context):
    """The contact sheet of the wedge that is chosen, itself or by one of its takes; "" where there is none."""
    row = chosen_row(context)
    return row.sheet if row is not None else ""


def is_of(scene):
    """Whether the list shows this scene's takes, or none yet: there is one list, and 5.x's editors may each show another scene."""
    known, folder = _of
    return known is None or (scene is not None and (known == versions.session_id(scene) or folder == shot_folder(scene)))


def shown_scene():
    """The session id of the scene whose takes the list shows; None where it shows none yet."""
    return _of[0]


def refresh(scene):
    """Reads the shot's folder and shows what lies there, newest first; the chosen take stays chosen. For buttons: it waits for the disk."""
    global _asked
    from . import take_rows

    _asked = (versions.session_id(scene), shot_folder(scene))
    _fill(take_rows.read(_asked[1]), _asked)
    _look_again()


def look(scene):
    """The same without waiting: `poll` shows it, once it is read."""
    global _asked
    from . import take_rows

    _asked = (versions.session_id(scene), shot_folder(scene))
    take_rows.look(_asked[1])


def _look_again():
    """A look that is under way may have read what was there before: it is not shown, and another follows it."""
    from . import take_rows

    if take_rows.looking:
        take_rows.look(_asked[1])


def poll():
    """Shows what was read since the last call. Whether more is to come."""
    from . import take_rows

    rows = take_rows.heard()
    if rows is not None:
        _fill(rows, _asked)
    return take_rows.looking


def shot_folder(scene):
    """The shot's folder; None for a shot without one: it has no takes, and Generate says why."""
    from platebridge.errors import PlatebridgeError

    from . import sources

    try:
        return sources.shot_folder(scene)
    except PlatebridgeError:
        return None


def _fill(fresh, of):
    global _filling, _of
    _of = of
    manager = bpy.context.window_manager
    rows = manager.platebridge_takes
    chosen = _row(manager)
    chosen_folder = chosen.folder if chosen is not None else ""
    newest = rows[0].folder if rows else ""
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


CLASSES = (PlatebridgeTakeRow,)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.WindowManager.platebridge_takes = CollectionProperty(type=PlatebridgeTakeRow)
    bpy.types.WindowManager.platebridge_take = IntProperty(name="Take", options={"SKIP_SAVE"})


def unregister():
    global _of
    _of = (None, None)
    del bpy.types.WindowManager.platebridge_take
    del bpy.types.WindowManager.platebridge_takes
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
