# SPDX-License-Identifier: GPL-3.0-or-later
"""Any take folder onto the timeline: what it says of itself, and which of its frames are there. Knows no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple

from platebridge.errors import InputError
from platebridge.request import GenerateRequest, from_dict
from platebridge.takes import read_take

from . import sources, timeline, versions


def load(scene: Any, path: Path, kind: str) -> Any:
    """Puts a take's frames, "comp" or "effect", on the next free channel and gives the strip. Raises InputError.

    An unfinished take shows what has come. It stands above the plate's strip where there is one.
    """
    request, take_id = asked_for(path)
    files = timeline.in_order(request.frames, timeline.frames_on_disk(path, kind))
    if not files:
        raise InputError("%s has no %s frames yet." % (path, kind), "Attach to it, or choose another take.")
    plate = plate_below(scene, request)
    return timeline.insert(scene, timeline.TakeStrip(take_id, path, kind, request), files, plate)


def asked_for(path: Path) -> Tuple[GenerateRequest, str]:
    """A take's request and its id. Raises InputError where the folder holds no take: somebody may have moved it away."""
    take = read_take(path)
    told = take.document or take.note
    if not told.get("request"):
        raise InputError("%s is no take." % path, "Choose a folder like take_0001.")
    return from_dict(told["request"]), str(told.get("take_id", ""))


def plate_below(scene: Any, request: Any) -> Any:
    """The strip of a take's plate, or None: the one that is chosen, or ours of that shot; first of all one with all the take's frames."""
    editor = scene.sequence_editor
    strips = list(versions.strips(editor)) if editor else []
    name = "" if timeline.is_another_angle(scene, request) else sources.chosen_strip(scene)
    plates = [strip for strip in strips if strip.name == name]
    plates += [strip for strip in strips if timeline.TAG in strip and strip[timeline.TAG].get("plate") == request.shot]
    return next((strip for strip in plates if timeline.covers(strip, request.frames)), plates[0] if plates else None)
