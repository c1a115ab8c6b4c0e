# SPDX-License-Identifier: Apache-2.0
"""Nuke Studio and Hiero: a take as a clip on a track of its own, or as a version of the shot's clip. Main thread only.

Written against the published names of hiero.core (15.0); never run in a real Studio.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Optional

import nuke
from platebridge.errors import InputError

from .showing import frames_there

TRACK = "Platebridge"


def there() -> bool:
    """Whether this Nuke has a timeline."""
    return bool(nuke.env.get("studio") or nuke.env.get("hiero"))


def put(take: Path, kind: str, plate: str, shot: str, as_version: bool) -> str:
    """Lays a take's comp or effect onto the open sequence, over the shot's clip, as one step to undo; gives a sentence for the status line.

    `plate`: the plate's file as its node names it; `shot`: the shot's name. The shot's clip is the one that shows the plate, else the one
    of the shot's name. Raises InputError.
    """
    if not there():
        raise InputError("This Nuke has no timeline.", "Open the script in Nuke Studio, or press Make Read nodes.")
    core, ui = importlib.import_module("hiero.core"), importlib.import_module("hiero.ui")
    numbers = frames_there(take, kind)
    if not numbers:
        raise InputError("%s has no %s frames yet." % (take, kind), "Attach to it, or name another take.")
    sequence = ui.activeSequence()
    if sequence is None:
        raise InputError("No sequence is open.", "Open the shot's sequence in the timeline.")
    item = _shots_item(sequence, plate, shot)
    if item is None:
        raise InputError(
            "No clip of %s shows the plate or is called %s." % (sequence.name(), shot), "Put the shot's plate onto the timeline."
        )
    if not as_version and item.playbackSpeed() != 1.0:
        raise InputError(
            "The shot's clip %s is retimed: the take would not lie on its frames." % item.name(),
            "Lay it as a version of the shot's clip, which keeps the retime.",
        )
    shown = _first_shown(item), _first_shown(item) + item.timelineOut() - item.timelineIn()
    first, last = max(shown[0], numbers[0]), min(shown[1], numbers[-1])  # what both have
    if first > last:
        raise InputError(
            "The clip shows %d-%d, the take holds %d-%d." % (*shown, numbers[0], numbers[-1]),
            "Slip the clip to the take's frames, or generate those that it shows.",
        )
    path = "%s/%s.%%04d.exr" % (take.as_posix(), kind)
    project = sequence.project()
    project.beginUndo("Platebridge take")
    try:
        if as_version:
            version = item.source().binItem().createClipVersion(-1, "%s %d-%d" % (path, numbers[0], numbers[-1]))
            item.setCurrentVersion(version)
            return "%s is a version of %s." % (take.name, item.name())
        clip = core.Clip(core.MediaSource(path))
        project.clipsBin().addItem(core.BinItem(clip))
        track = _free_track(core, sequence, item)
        laid = track.createTrackItem("%s %s" % (take.name, kind))
        laid.setSource(clip)
        begin, start, more = item.timelineIn() + first - shown[0], first - numbers[0], last - first
        laid.setTimes(begin, begin + more, start, start + more)  # both ends are inclusive
        track.addTrackItem(laid)
        return "%s lies on the track %s." % (take.name, track.name())
    finally:
        project.endUndo()


def _first_shown(item: Any) -> int:
    """The plate's frame number at the clip's first frame on the timeline. sourceIn counts from the media's first frame."""
    return int(item.source().mediaSource().startTime()) + int(item.sourceIn())


def _shots_item(sequence: Any, plate: str, shot: str) -> Optional[Any]:
    items = [item for track in sequence.videoTracks() for item in track.items()]
    for item in items:
        infos = item.source().mediaSource().fileinfos()
        if plate and infos and _same(str(infos[0].filename()), plate):
            return item
    return next((item for item in items if item.name() == shot), None)


def _same(one: str, other: str) -> bool:
    """Whether two patterns mean the same files: Nuke says ####, Hiero %04d, with as many digits as there are."""
    hashes = [re.sub(r"%0(\d)d", lambda digits: "#" * int(digits[1]), pattern) for pattern in (one, other)]
    return hashes[0] == hashes[1]


def _free_track(core: Any, sequence: Any, item: Any) -> Any:
    """Our uppermost track if it is free over the shot, else a new one: nothing is written over."""
    for track in reversed(sequence.videoTracks()):
        if track.name().startswith(TRACK):
            over = (
                other for other in track.items() if other.timelineIn() <= item.timelineOut() and other.timelineOut() >= item.timelineIn()
            )
            if next(over, None) is None:
                return track
    taken = sum(1 for track in sequence.videoTracks() if track.name().startswith(TRACK))
    track = core.VideoTrack(TRACK if not taken else "%s %d" % (TRACK, taken + 1))
    sequence.addTrack(track)
    return track
