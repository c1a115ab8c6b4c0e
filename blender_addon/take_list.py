# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot's takes as a list to choose from: what differs, stars, notes. Read from the disk when something changed, never while drawing.

The rows hang on the window manager: they are not the .blend's, and undo has no say in them. Knows folders and strips; no server.
No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty

SHEET = "sheet.png"
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
    star: BoolProperty(name="Star", description="Mark the take as a good one; kept beside its files", update=_mark)
    text: StringProperty(name="Note", description="Your own words on this take; kept beside its files", update=_mark)

    @property
    def path(self):
        return Path(self.folder)


def chosen_row(context):
    """The row that is chosen, a take's or a wedge's heading, or None."""
    manager = context.window_manager
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


def refresh(scene):
    """Reads the shot's folder again and shows what lies there, newest first; the chosen take stays chosen."""
    global _filling
    manager = bpy.context.window_manager
    rows = manager.platebridge_takes
    chosen = chosen_row(bpy.context)
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
    out, before, wedges = [], None, {}
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
                "heading": False,
                "wedge": request.output.wedge,
                "sheet": "",
            }
        )
        if request.output.wedge:
            wedges.setdefault(request.output.wedge, []).append((out[-1], request))
        before = request
    return _with_headings(out[::-1], wedges)


def _with_headings(rows, wedges):
    """The rows with a heading above the newest take of each wedge, whose takes say where its own dials stand."""
    from platebridge.wedge import shown, turned

    headings = {}
    for name, members in wedges.items():
        over = turned([request.dial_values() for _, request in members])
        sheets = [path for row, _ in members for path in [Path(row["folder"]) / SHEET] if path.is_file()]
        sheet = str(max(sheets, key=lambda path: path.stat().st_mtime)) if sheets else ""
        for row, request in members:
            row["sheet"] = sheet
            if over:
                row["differs"] = ", ".join("%s %s" % (dial.replace("_", " "), shown(request.dial_values()[dial])) for dial in over)
        whole = sum(row["finished"] for row, _ in members)
        headings[name] = {
            "name": "Wedge",
            "folder": "wedge %s" % name,
            "take_id": "",
            "differs": " × ".join(dial.replace("_", " ") for dial in over),
            "told": "A wedge of %d takes%s" % (len(members), "" if whole == len(members) else ", %d of them whole" % whole),
            "finished": False,
            "star": False,
            "text": "",
            "heading": True,
            "wedge": name,
            "sheet": sheet,
        }
    out = []
    for row in rows:
        if row["wedge"] in headings:
            out.append(headings.pop(row["wedge"]))
        out.append(row)
    return out


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
