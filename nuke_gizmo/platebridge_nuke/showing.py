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

from .inputs import parent_of

KINDS = ("comp", "effect", "guide")


def frames_there(take: Path, kind: str) -> List[int]:
    """The frames of a kind that lie in a take's folder, in order."""
    found = (re.fullmatch(kind + r"\.(-?\d+)\.exr", path.name) for path in (take.iterdir() if take.is_dir() else ()))
    return sorted(int(match.group(1)) for match in found if match)


def show(node: Any, takes: Sequence[Path]) -> None:
    """Shows one take, or a take of each view, as far as they have come. Raises InputError where there is no frame yet."""
    kind = node["output"].value()
    numbers = sorted({number for take in takes for number in frames_there(take, kind)})
    if not numbers:
        raise InputError("%s has no %s frames yet." % (takes[0] if takes else "The take", kind), "Attach to it, or name another take.")
    node["result_first"].setValue(numbers[0])
    node["result_last"].setValue(numbers[-1])
    node["result_file"].setValue("%s/%s.####.exr" % (_of_views(takes), kind))
    node["result_version"].setValue(int(node["result_version"].value()) + 1)  # Read looks at its files again


def of_every_view(take: Path) -> List[Path]:
    """The take and its fellows of the other views: the same number in the folders SHOT_VIEW beside its own."""
    there = list(nuke.views())
    mine = [view for view in there if take.parent.name.endswith("_" + view)]
    if len(there) < 2 or not mine:
        return [take]
    stem = take.parent.name[: -len(mine[0])]
    fellows = [take.parent.with_name(stem + view) / take.name for view in there]
    return [fellow for fellow in fellows if fellow == take or fellow.is_dir()]


def _of_views(takes: Sequence[Path]) -> str:
    """The takes' folder; with %V for the view, which Nuke fills in, where there is one for every view of the script."""
    there = list(nuke.views())
    first = takes[0]
    if len(there) > 1 and len(takes) == len(there):
        names = {take.parent.name[: -len(view)] for take, view in zip(takes, there) if take.parent.name.endswith("_" + view)}
        if len(names) == 1 and len({take.name for take in takes}) == 1:
            return (first.parent.with_name(names.pop() + "%V") / first.name).as_posix()
    return first.as_posix()


def make_reads(node: Any, take: Path) -> List[Any]:
    """Ordinary Reads of the take's comp, effect and guide beside the node: raw, at the plate's own frame numbers."""
    made = []
    takes = of_every_view(take)
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
    return made
