# SPDX-License-Identifier: Apache-2.0
"""The Takes tab: what lies in the shot's folder, whoever made it; stars and notes; older and newer. Main thread only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional

from platebridge.errors import InputError, PlatebridgeError
from platebridge.request import GenerateRequest, told_apart
from platebridge.request import from_dict as request_from_dict
from platebridge.takes import Take, list_takes, mark, read_take

from . import inputs, showing
from .main_thread import unrecorded

READ = "_read"  # behind a knob's name: the one with what was read into it. A node of an older version has none


def folder(node: Any) -> Path:
    """The shot's folder: of the view whose take is named, else of the first."""
    folders = list(inputs.shot_folders(node).values())
    named = Path(node["take"].value()).parent
    return named if named in folders else folders[0]


def chosen(node: Any) -> Path:
    """The take that the knob names. Raises InputError."""
    named = node["take"].value()
    if not named:
        raise InputError("No take is named.", "Name one under Takes; List takes shows them.")
    return Path(named)


def neighbour(node: Any, step: int) -> Path:
    """The take `step` places on from the one that is named; from none, the newest. Raises InputError at either end."""
    found = [take.path for take in list_takes(folder(node))]
    if not found:
        raise InputError("There is no take yet.", "Press Generate.")
    named = Path(node["take"].value())  # compared as paths: a file browser ends a folder's name with a slash
    at = found.index(named) + step if named in found else len(found) - 1
    if not 0 <= at < len(found):
        raise InputError("%s is the %s take." % (named.name, "newest" if step > 0 else "oldest"), "")
    return found[at]


def read_marks(node: Any, take: Path) -> None:
    """Star and note of a take into their knobs, and into those that tell later what was read."""
    marks = read_take(take).marks
    for name, value in (("star", marks.star), ("note", marks.text)):
        node[name].setValue(value)
        if node.knob(name + READ) is not None:
            node[name + READ].setValue(value)


def keep_marks(node: Any) -> None:
    """Star and note from their knobs to the take's folder, as far as they were turned since they were read: another program may have set
    the other meanwhile, which comes into its knob. Raises InputError where they are another take's, StorageError."""
    take, shown = chosen(node), node["result_file"].value()
    if shown and not showing.is_shown(node, take):  # it was named by hand: its own note would be lost
        raise InputError(
            "Star and note are those of %s, which is shown." % Path(shown).parent.name, "Press Show take: %s has its own." % take.name
        )
    mark(take, _turned(node, "star"), _turned(node, "note"))
    with unrecorded():
        read_marks(node, take)


def _turned(node: Any, name: str) -> Any:
    """What the knob holds, or None where it was read so."""
    read, value = node.knob(name + READ), node[name].value()
    return None if read is not None and read.value() == value else value


def listed(node: Any) -> str:
    """Every take of the shot by number, a line each: star, what sets it apart from the one shown (else from the one before), note."""
    found = list_takes(folder(node))
    shown = next((take for take in found if take.path == Path(node["take"].value())), None)
    base = _request(shown) if shown is not None else None
    lines: List[str] = []
    before: Optional[GenerateRequest] = None
    for take in found:
        request = _request(take)
        if request is None:
            continue  # not one of ours, or of a newer Platebridge
        told = [told_apart(request, base if base is not None else before)] if take is not shown else ["shown"]
        if not take.finished:
            told.append("unfinished")
        if take.marks.text:
            told.append("\u201c%s\u201d" % take.marks.text)
        lines.append("%s %s: %s" % ("\u2605" if take.marks.star else "\u2606", take.path.name, ", ".join(told)))
        before = request
    return "\n".join(lines) or "There is no take yet."


def _request(take: Take) -> Optional[GenerateRequest]:
    try:
        return request_from_dict((take.document or take.note).get("request"))
    except PlatebridgeError:
        return None
