# SPDX-License-Identifier: Apache-2.0
"""Renders the node's inputs to EXR: one pass, through temporary Writes, only the frames that changed. Main thread only.

What changed: Nuke's own op hash of a frame says all that happens in the script's nodes, but not that a file was overwritten in place, nor
is it known to tell the OCIO config that a Read was turned by; so the sizes and times of every file above, and the config, stand beside it.
How to read a frame's op hash is not promised by Nuke: before it is believed it is tried on a node of ours (`_hashes_hold`), and where it
does not hold, or anything is unclear, the frame is rendered.

Another Nuke may render the same shot's inputs meanwhile. So frames are rendered into a folder of our own and put in their place afterwards:
the note speaks of our own files alone, and `refuse_others` tells whether they still lie there.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

import nuke
from platebridge.courier import Input
from platebridge.errors import InputError, StorageError
from platebridge.frames import FrameRange, name_at
from platebridge.takes import rename_over, storage_error, write_whole

from . import colour, peek
from .inputs import NUMBER, PART, Plan, above, layer_of, parent_of, typed
from .main_thread import unrecorded

NOTE = "rendered.json"
VERSION = 1  # raised when the same script would be written otherwise
MOST_NODES = 5000
WITH_FRAME = re.compile(r"\[[^][]*\bframe\b[^][]*\]")  # Tcl that goes with the frame
OTHER_FILES = ("vfield_file", "modelFile", "analysisFile", "fullGrain", "sidecarFilepath", "file_path")  # knobs of files beside `file`


def render(node: Any, plan: Plan, view: str) -> Tuple[Dict[str, Input], Callable[[], None]]:
    """The plan's inputs for one view, as files, and what raises InputError once another Nuke has put its own in their place: any thread may
    call it. Raises RuntimeError as nuke.execute does, on cancel too; InputError where depth or mask is evidently not what it should be;
    StorageError.

    Non-commercial lets Python touch ten nodes: there one Write does the inputs one after the other, every frame of them.
    """
    frames = plan.frames
    notes = {which: _Note(Path(plan.pattern(which, view)), frames) for which in plan.channels}
    root, parent = nuke.root(), parent_of(node)
    proxy = bool(root["proxy"].value())
    with unrecorded():
        if proxy:
            root.setProxy(False)  # a Write renders at the scale that is active
        parent.begin()
        try:
            if node["reuse"].value() == "what changed" and not nuke.env["nc"]:
                for which, keys in _keys(node, plan, view).items():
                    notes[which].compare(keys)
            for note in notes.values():
                note.begin()
            with _folder_of_our_own(plan.folders[view]) as own:
                _execute(node, plan, view, own, {which: note.missing() for which, note in notes.items()})
                for note in notes.values():
                    note.keep(own)
        except OSError as error:
            raise storage_error(error, plan.folders[view]) from error
        finally:
            parent.end()
            if proxy:
                root.setProxy(True)
    made = {}
    for which in plan.channels:
        pattern = plan.pattern(which, view)
        named = layer_of(plan.channels[which]) if which == "vectors" and plan.channels[which] != "backward" else ()
        made[which] = Input(node.input(NUMBER[which]).name(), {f: Path(name_at(pattern, f)) for f in frames}, pattern, named)
    said = plan.requests[view].settings
    peek.check_depth(made["depth"].files, said.depth_kind, made["depth"].name, said.depth_scale)
    peek.check_mask(made["mask"].files, made["mask"].name)

    def refuse_others() -> None:
        for which, note in notes.items():
            note.refuse_others(which)

    return made, refuse_others


@contextlib.contextmanager
def _folder_of_our_own(shot: Path) -> Iterator[Path]:
    """On the shot's own disk, so that what is rendered there can be put in its place whole. Gone afterwards, whatever happens."""
    own = Path(tempfile.mkdtemp(prefix=PART, dir=str(shot)))
    try:
        yield own
    finally:
        shutil.rmtree(str(own), ignore_errors=True)  # on Windows a scanner may still look at it: no reason to lose the render


def _execute(node: Any, plan: Plan, view: str, own: Path, wanted: Dict[str, List[Tuple[int, int, int]]]) -> None:
    """One pass over all inputs that lack the same frames."""
    together: Dict[Tuple[Tuple[int, int, int], ...], List[str]] = {}
    for which, spans in wanted.items():
        if spans:
            together.setdefault(tuple(spans), []).append(which)
    for runs, inputs in together.items():
        if nuke.env["nc"]:
            for which in inputs:
                for first, last, step in runs:
                    with _write(node, plan, which, view, own) as write:
                        nuke.execute(write, first, last, step, [view])
            continue
        with contextlib.ExitStack() as writes:
            nuke.executeMultiple(tuple(writes.enter_context(_write(node, plan, which, view, own)) for which in inputs), runs, [view])


@contextlib.contextmanager
def _write(node: Any, plan: Plan, which: str, view: str, own: Path) -> Iterator[Any]:
    """A Write that is gone afterwards, whatever happens. The bounding box goes into the file as its data window."""
    write: Any = nuke.nodes.Write(inputs=[node.input(NUMBER[which])])
    try:
        write["file"].setValue("%s/%s" % (own.as_posix(), Path(plan.pattern(which, view)).name))
        write["file_type"].setValue("exr")  # the knobs below exist only from here on
        for name in ("autocrop", "write_ACES_compliant_EXR", "interleave"):
            knob: Any = write.knob(name)
            if knob is not None:  # a studio's own default gave less than the box; RGBA alone, in half; u for backward.u
                knob.setValue(knob.values()[0] if name == "interleave" else False)
        write["datatype"].setValue("32 bit float" if which in plan.exact else "16 bit half")
        write["compression"].setValue("Zip (1 scanline)")
        write["metadata"].setValue("no metadata")  # a date in it would make each render a new file to send
        write["raw"].setValue(True)
        write["views"].setValue(view)  # of several, each would go into the one file, under channels of its own name
        write["channels"].setValue(plan.channels[which])
        yield write
    finally:
        nuke.delete(write)


class _Note:
    """What lies in an input's folder and what it was rendered from: {frame: [key, size, time]} in rendered.json. Where a picture has no key
    the name of this render stands for it, which no other has."""

    def __init__(self, pattern: Path, frames: FrameRange) -> None:
        self._pattern, self._frames, self._file = pattern, frames, pattern.parent / NOTE
        self._keys: Dict[int, str] = {}
        self._name = uuid.uuid4().hex
        self._ours: Dict[int, List[Any]] = {}  # the note's entry of each frame that was kept or rendered
        self._lacking: Set[int] = set(frames)

    def compare(self, keys: Dict[int, str]) -> None:
        """Frames whose key and file are still those of the note are not rendered again."""
        self._keys, told = keys, self._told()
        for frame in self._frames:
            there = _size_and_time(self._place(frame))
            if there is not None and told.get(str(frame)) == [keys[frame], *there]:
                self._ours[frame] = [keys[frame], *there]
        self._lacking -= set(self._ours)

    def missing(self) -> List[Tuple[int, int, int]]:
        """The frames to render, as runs (first, last, 1)."""
        runs: List[Tuple[int, int, int]] = []
        for frame in sorted(self._lacking):
            if runs and frame == runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], frame, 1)
            else:
                runs.append((frame, frame, 1))
        return runs

    def begin(self) -> None:
        """Forgets what is about to be rendered anew: a render that is cancelled must leave no frame that looks kept."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._save({})

    def keep(self, own: Path) -> None:
        """Puts what was rendered in its place. Raises StorageError where Nuke wrote no file, and said nothing."""
        for frame in sorted(self._lacking):
            place = self._place(frame)
            there = _size_and_time(own / place.name)
            if there is None:
                raise StorageError("Nuke rendered no %s." % place, "See to the disk, and press Generate again.", frame=frame)
            rename_over(own / place.name, place)
            self._ours[frame] = [self._keys.get(frame, self._name), *there]
        self._save({str(frame): self._ours[frame] for frame in self._lacking})

    def refuse_others(self, which: str) -> None:
        """Raises InputError where a file is another one by now, and the note doesn't say that it is ours or of the same picture. Not by
        size and time alone: there are disks that change a file's time afterwards."""
        told = self._told()
        for frame in self._frames:
            place, ours = self._place(frame), self._ours[frame]
            there = _size_and_time(place) or []
            if there != ours[1:] and told.get(str(frame)) not in (ours, [ours[0], *there]):
                raise InputError(
                    "%s was written by another Nuke meanwhile." % place,
                    "Name another shot, or wait for it; then press Generate again.",
                    input=which,
                    frame=frame,
                )

    def _place(self, frame: int) -> Path:
        return Path(name_at(self._pattern.as_posix(), frame))

    def _told(self) -> Dict[str, List[Any]]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # a damaged note is none
            told = json.loads(self._file.read_text(encoding="utf-8"))
            if told["version"] == VERSION:
                return {str(int(number)): entry for number, entry in told["frames"].items()}
        return {}

    def _save(self, rendered: Dict[str, List[Any]]) -> None:
        """With what another Nuke has noted meanwhile of other frames."""
        others = {number: entry for number, entry in self._told().items() if int(number) not in self._lacking}
        write_whole(self._file, json.dumps({"version": VERSION, "frames": {**others, **rendered}}).encode())


def _size_and_time(path: Path) -> Optional[List[int]]:
    """None where nothing lies there, or an empty file."""
    with contextlib.suppress(OSError):
        there = os.stat(path)
        if there.st_size > 0:
            return [there.st_size, there.st_mtime_ns]
    return None


def _keys(node: Any, plan: Plan, view: str) -> Dict[str, Dict[int, str]]:
    """By input and frame: a hash of all that its picture depends on. An input of which that can't be said is absent."""
    if not _hashes_hold(node.input(0), plan.frames.first, view):
        return {}
    said = colour.settings()
    config = [said, *(_sequence(said.get(which, "")) for which in ("custom_config", "environment"))]
    out: Dict[str, Dict[int, str]] = {}
    for which, channel in plan.channels.items():
        source = node.input(NUMBER[which])
        files = _files_above(source)
        if files is None:
            continue
        probe: Any = nuke.nodes.Multiply(inputs=[source])
        try:
            keys = {}
            for frame in plan.frames:
                op = _op_hash(probe, frame, view)
                if op is None:
                    break
                told = [VERSION, nuke.NUKE_VERSION_STRING, config, op, files, channel, which in plan.exact, view]
                keys[frame] = hashlib.sha256(json.dumps(told).encode()).hexdigest()
            else:
                out[which] = keys
        finally:
            nuke.delete(probe)
    return out


def _op_hash(node: Any, frame: int, view: str) -> Optional[str]:
    """Nuke's hash of a node's picture at a frame, or None where it can't be read.

    metadata() makes Nuke see to the node at that frame, with no pixel rendered; showInfo() then tells the hash, in a form that is not
    promised, so it counts only if opHashes() knows it too.
    """
    node.metadata("input/filename", frame, view)
    told = re.search(r"Op for \{[^}]*\bframe=%d\b[^}]*\}[^\n]*?\bhash=([0-9a-fA-F]+)" % frame, str(nuke.showInfo(node)))
    if told is None:
        return None
    number = int(told.group(1), 16) & 0xFFFFFFFFFFFFFFFF
    return "%016x" % number if number in {int(known) & 0xFFFFFFFFFFFFFFFF for known in node.opHashes()} else None


def _hashes_hold(source: Any, frame: int, view: str) -> bool:
    """Whether, in this Nuke, a changed value changes the hash and the old value brings the old hash back. Tried on a node of ours."""
    probe: Any = nuke.nodes.Multiply(inputs=[source])
    try:
        seen = []
        for value in (1.5, 2.5, 1.5):
            probe["value"].setValue(value)
            seen.append(_op_hash(probe, frame, view))
    finally:
        nuke.delete(probe)
    return None not in seen and seen[0] == seen[2] != seen[1]


def _files_above(source: Any) -> Optional[str]:
    """A hash of name, size and time of every file that any node above reads, inside groups and outside of the node's own; None where there
    are too many nodes, or a file's name is not understood.

    Whole sequences, not one frame's file: which frame's file a frame shows is Nuke's secret where time is bent above.
    """
    digest = hashlib.sha256()
    seen: Set[str] = set()
    waiting = [source]
    while waiting:
        node = waiting.pop()
        if node is None or node.fullName() in seen:
            continue
        seen.add(node.fullName())
        if len(seen) > MOST_NODES:
            return None
        patterns: List[str] = []
        if node.knob("file") is not None and (node.Class() != "Write" or node["reading"].value()):  # a precomp's Write reads its own file
            if WITH_FRAME.search(str(node["file"].value())):  # put in for the frame that shows: which files the others have is not known
                return None
            patterns.append(str(nuke.filename(node) or ""))
        patterns += [typed(node, name) for name in OTHER_FILES if node.knob(name) is not None]
        for pattern in filter(None, patterns):
            found = _sequence(pattern)
            if not found:
                return None
            digest.update(json.dumps(found).encode())
        waiting += [above(node, at) for at in range(node.inputs() or 1)]  # a group's Input says that it has none
        if hasattr(node, "nodes"):
            waiting += node.nodes()
    return digest.hexdigest()


def _sequence(pattern: str) -> List[Tuple[str, int, int]]:
    """Name, size and time of every file that a pattern means; # or %04d are digits, %V and %v any view, in folders' names too."""
    folder, name = os.path.split(pattern)
    meant = re.compile(re.sub(r"(\\#)+|#+|%0?\d*d", r"-?\\d+", re.sub(r"%[Vv]", ".+", re.escape(name).replace("\\%", "%"))))
    found = []
    for place in glob.glob(re.sub(r"%[Vv]|#+|%0?\d*d", "*", glob.escape(folder))):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if meant.fullmatch(entry.name):
                    there = entry.stat()
                    found.append((entry.path, there.st_size, there.st_mtime_ns))
    return sorted(found)
