# SPDX-License-Identifier: Apache-2.0
"""A take's files in the viewer: by the Read inside the node, or as ordinary Reads beside it. Main thread only.

What the Read inside shows stands in the node's own knobs (result_file and its fellows), and it follows them by expression: so a script
that is opened without Platebridge shows the take all the same. Frames bear the plate's own numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, List, Sequence

import nuke
from platebridge.errors import InputError
from platebridge.takes import storage_error

from .inputs import TCL, parent_of
from .main_thread import unrecorded

KINDS = ("comp", "effect", "guide")


def frames_there(take: Path, kind: str) -> List[int]:
    """The frames of a kind that lie in a take's folder, in order. Raises StorageError where it can't be looked at."""
    try:
        found = [re.fullmatch(kind + r"\.(-?\d+)\.exr", path.name) for path in (take.iterdir() if take.is_dir() else ())]
    except OSError as error:
        raise storage_error(error, take) from error
    return sorted(int(match.group(1)) for match in found if match)


def show(node: Any, takes: Sequence[Path]) -> None:
    """Shows one take, or a take of each view, as far as they have come, and says in which views. Raises InputError where there is no frame
    yet, or where Nuke could not read the path."""
    check_path(takes)
    update(node, takes)
    _say_views(node, takes)


def update(node: Any, takes: Sequence[Path]) -> None:
    """What `show` does, with nothing said: for a take that is under way. Raises InputError where there is no frame yet."""
    kind = node["output"].value()
    numbers = sorted({number for take in takes for number in frames_there(take, kind)})
    if not numbers:
        raise InputError("%s has no %s frames yet." % (takes[0] if takes else "The take", kind), "Attach to it, or name another take.")
    node["result_first"].setValue(numbers[0])
    node["result_last"].setValue(numbers[-1])
    node["result_file"].setValue("%s/%s.####.exr" % (_of_views(takes), kind))
    node["result_version"].setValue(int(node["result_version"].value()) + 1)  # Read looks at its files again


def is_shown(node: Any, take: Path) -> bool:
    """Whether the pictures that the node shows are this take's."""
    return Path(node["result_file"].value()).parent in (take, _by_view(take))


def of_every_view(take: Path) -> List[Path]:
    """The take and its fellows of the other views: the same number in the folders SHOT_VIEW beside its own."""
    mine = _view_of(take)
    if not mine:
        return [take]
    stem = take.parent.name[: -len(mine)]
    fellows = [take.parent.with_name(stem + view) / take.name for view in nuke.views()]
    return [fellow for fellow in fellows if fellow == take or fellow.is_dir()]


def _of_views(takes: Sequence[Path]) -> str:
    """The takes' folder; of several views' takes with %V, which Nuke fills in: a view without a take must not show another's picture."""
    return (_by_view(takes[0]) if _are_by_view(takes) else takes[0]).as_posix()


def _are_by_view(takes: Sequence[Path]) -> bool:
    """Whether they are takes of several views, of one shot and number."""
    return len(takes) > 1 and len({_by_view(take) for take in takes}) == 1


def _by_view(take: Path) -> Path:
    """The take's folder with %V in the place of its view."""
    view = _view_of(take)
    return take.parent.with_name(take.parent.name[: -len(view)] + "%V") / take.name if view else take


def _view_of(take: Path) -> str:
    """The view that a take was made for, as its folder SHOT_VIEW says; "" where it names none, and in a script of one view."""
    there = list(nuke.views())
    return max((view for view in there if len(there) > 1 and take.parent.name.endswith("_" + view)), key=len, default="")


def in_views(takes: Sequence[Path]) -> str:
    """A sentence where a view shows another view's take, or none; "" where each shows its own."""
    if not _are_by_view(takes):
        return "Shown in every view; it was made for %s." % _view_of(takes[0]) if takes and _view_of(takes[0]) else ""
    made = [_view_of(take) for take in takes]
    without = [view for view in nuke.views() if view not in made]
    return "Shown by view; there is none for %s." % " and ".join(without) if without else ""


def _say_views(node: Any, takes: Sequence[Path]) -> None:
    if in_views(takes):
        with unrecorded():
            node["status"].setValue(in_views(takes))


def check_path(takes: Sequence[Path]) -> None:
    """Raises InputError where Nuke would read something else from a take's path."""
    for take in takes:
        bad = sorted(set(take.as_posix()) & set(TCL))
        if bad:
            raise InputError(
                "The take's folder %s has a %s in it, which Nuke does not read as it is." % (take, bad[0]),
                "Move the take into another folder, and name it there.",
            )


def make_reads(node: Any, take: Path) -> List[Any]:
    """Ordinary Reads of the take's comp, effect and guide beside the node: raw, at the plate's own frame numbers. Raises InputError where
    Nuke could not read the path."""
    made = []
    takes = of_every_view(take)
    check_path(takes)
    parent = parent_of(node)
    parent.begin()
    try:
        for kind in KINDS:
            numbers = sorted({number for each in takes for number in frames_there(each, kind)})
            if not numbers:
                continue
            read: Any = nuke.nodes.Read()
            # a file that is set with setValue leaves the range at 1-1
            read["file"].fromUserText("%s/%s.####.exr %d-%d" % (_of_views(takes), kind, numbers[0], numbers[-1]))
            for knob, value in (("first", numbers[0]), ("origfirst", numbers[0]), ("last", numbers[-1]), ("origlast", numbers[-1])):
                read[knob].setValue(value)
            read["raw"].setValue(True)
            read["label"].setValue("%s %s" % (take.name, kind))
            made.append(read)
    finally:
        parent.end()
    if made:
        _say_views(node, takes)
    return made
