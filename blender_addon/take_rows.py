# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the list of takes, from a shot's folder: what each take is, and what sets it apart from the one before it.

Read on a thread of its own while a job is under way, for a shot may have a hundred takes of a thousand frames on a slow disk; the
thread never touches bpy. A take whose files stayed the same is not read again. Knows folders; nothing of lists, strips or scenes.
"""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from platebridge.errors import PlatebridgeError
from platebridge.request import GenerateRequest, from_dict, told_apart
from platebridge.takes import MARKER, MARKS, TAKE, read_take, take_folders
from platebridge.wedge import shown, turned

log = logging.getLogger(__name__)
SHEET = "sheet.png"
Row = Dict[str, Any]

looking = False
"""Whether a look is under way: `heard` is to be asked again."""

_again: List[Optional[Path]] = []  # the folder to look at once the look under way has ended
_heard: queue.SimpleQueue[List[Row]] = queue.SimpleQueue()
_known: Dict[str, Tuple[Any, Row, GenerateRequest]] = {}  # by take folder: its files' state, its row, what was asked for
_reading = threading.Lock()


def look(folder: Optional[Path]) -> None:
    """Begins to read the rows of a shot's folder; `heard` gives them. Returns at once. None: a shot without a folder."""
    global looking
    if looking:
        _again[:] = [folder]
        return
    looking = True
    threading.Thread(target=_look, args=(folder,), name="platebridge takes", daemon=True).start()


def heard() -> Optional[List[Row]]:
    """The rows, once they are read; None until then."""
    global looking
    try:
        found = _heard.get_nowait()
    except queue.Empty:
        return None
    looking = False
    if _again:
        look(_again.pop())
        return None
    return found


def _look(folder: Optional[Path]) -> None:
    try:
        _heard.put(read(folder))
    except Exception:  # a thread has nobody above it
        log.exception("The takes in %s could not be read", folder)
        _heard.put([])


def read(folder: Optional[Path]) -> List[Row]:
    """The rows of a shot's takes and wedges, newest first. Takes that can't be read, and what is no take of ours, are left out."""
    try:
        folders = take_folders(folder) if folder is not None else []
    except PlatebridgeError:
        return []
    out: List[Row] = []
    wedges: Dict[str, List[Tuple[Row, GenerateRequest]]] = {}
    before: Optional[GenerateRequest] = None
    with _reading:
        for gone in set(_known) - {str(path) for path in folders}:
            del _known[gone]
        for path in folders:
            state = _state(path)
            if _known.get(str(path), (None,))[0] != state:
                _known.pop(str(path), None)
                try:
                    _known[str(path)] = (state, *_row(path))
                except PlatebridgeError:
                    continue
            _, row, request = _known[str(path)]
            out.append({**row, "differs": told_apart(request, before)})
            if request.output.wedge:
                wedges.setdefault(request.output.wedge, []).append((out[-1], request))
            before = request
    return _with_headings(out[::-1], wedges)


def _state(path: Path) -> Tuple[Any, ...]:
    """Equal states, equal rows: when the files that a row is made of were written, and how long they are."""
    out: List[Any] = []
    for name in (TAKE, MARKER, MARKS):
        try:
            stat = (path / name).stat()
            out.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            out.append(None)
    return tuple(out)


def _row(path: Path) -> Tuple[Row, GenerateRequest]:
    """A take's row, but for what sets it apart, and what was asked for. Raises PlatebridgeError."""
    take = read_take(path)
    tree = take.document or take.note
    asked = tree.get("request")
    if isinstance(asked, dict):  # inputs and camera have a hundred times the size of all else, and no row speaks of them
        asked = {**asked, "inputs": {"plate": {}, "depth": {}, "mask": {}}, "camera": None}
    request = from_dict(asked)
    row = {
        "name": path.name,
        "folder": str(path),
        "take_id": str(tree.get("take_id", "")),
        "told": _told(take, request),
        "finished": take.finished,
        "star": take.marks.star,
        "text": take.marks.text,
        "heading": False,
        "wedge": request.output.wedge,
        "sheet": "",
    }
    return row, request


def _with_headings(rows: List[Row], wedges: Dict[str, List[Tuple[Row, GenerateRequest]]]) -> List[Row]:
    """The rows with a heading above the newest take of each wedge, whose takes say where its own dials stand."""
    headings: Dict[str, Row] = {}
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


def _told(take: Any, request: GenerateRequest) -> str:
    if not take.finished:
        return "%s, unfinished" % request.model.name
    seconds = take.document.get("seconds", {}).get("total")
    return "%s, %d frames%s" % (request.model.name, len(request.frames), ", %.0f s" % seconds if isinstance(seconds, (int, float)) else "")
