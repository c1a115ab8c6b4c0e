# SPDX-License-Identifier: Apache-2.0
"""Renders the node's inputs to EXR: one pass, through temporary Writes, only the frames that changed. Main thread only.

What changed: Nuke's own op hash of a frame says all that happens in the script's nodes, but not that a file was overwritten in place, nor
is it known to tell the OCIO config that a Read was turned by; so the sizes and times of every file above, and the config, stand beside it.
How to read a frame's op hash is not promised by Nuke: before it is believed it is tried on a node of ours (`_hashes_hold`), and where it
does not hold, or anything is unclear, the frame is rendered.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import nuke
from platebridge.courier import Input
from platebridge.errors import StorageError
from platebridge.frames import FrameRange, name_at
from platebridge.takes import rename_over, storage_error

from . import colour, peek
from .inputs import NUMBER, Plan, above, layer_of, parent_of, typed
from .main_thread import unrecorded

NOTE = "rendered.json"
VERSION = 1  # raised when the same script would be written otherwise
MOST_NODES = 5000
WITH_FRAME = re.compile(r"\[[^][]*\bframe\b[^][]*\]")  # Tcl that goes with the frame
OTHER_FILES = ("vfield_file", "modelFile", "analysisFile", "fullGrain", "sidecarFilepath", "file_path")  # knobs of files beside `file`


def render(node: Any, plan: Plan, view: str) -> Dict[str, Input]:
    """The plan's inputs for one view, as files. Raises RuntimeError as nuke.execute does, on cancel too; InputError where depth or mask
    is evidently not what it should be; StorageError.

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
            _execute(node, plan, view, {which: note.missing() for which, note in notes.items()})
            for note in notes.values():
                note.keep()
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
    return made


def _execute(node: Any, plan: Plan, view: str, wanted: Dict[str, List[Tuple[int, int, int]]]) -> None:
    """One pass over all inputs that lack the same frames."""
    together: Dict[Tuple[Tuple[int, int, int], ...], List[str]] = {}
    for which, spans in wanted.items():
        if spans:
            together.setdefault(tuple(spans), []).append(which)
    for runs, inputs in together.items():
        if nuke.env["nc"]:
            for which in inputs:
                for first, last, step in runs:
                    with _write(node, plan, which, view) as write:
                        nuke.execute(write, first, last, step, [view])
            continue
        with contextlib.ExitStack() as writes:
            nuke.executeMultiple(tuple(writes.enter_context(_write(node, plan, which, view)) for which in inputs), runs, [view])


@contextlib.contextmanager
def _write(node: Any, plan: Plan, which: str, view: str) -> Iterator[Any]:
    """A Write that is gone afterwards, whatever happens. The bounding box goes into the file as its data window."""
    write: Any = nuke.nodes.Write(inputs=[node.input(NUMBER[which])])
    try:
        write["file"].setValue(plan.pattern(which, view))
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
    """What lies in an input's folder and what it was rendered from: {frame: [key, size, time]} in rendered.json."""

    def __init__(self, pattern: Path, frames: FrameRange) -> None:
        self.pattern, self.frames = pattern.as_posix(), frames
        self._file = pattern.parent / NOTE
        self._known: Dict[str, List[Any]] = {}
        self._keys: Dict[int, str] = {}
        self._lacking: Set[int] = set(frames)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # a damaged note is none
            told = json.loads(self._file.read_text(encoding="utf-8"))
            self._known = {str(int(number)): entry for number, entry in told["frames"].items()} if told["version"] == VERSION else {}

    def compare(self, keys: Dict[int, str]) -> None:
        """Frames whose key and file are still those of the note are not rendered again."""
        self._keys = keys
        now = {frame: self._now(frame) for frame in self.frames}
        self._lacking = {frame for frame, entry in now.items() if entry is None or entry != self._known.get(str(frame))}

    def _now(self, frame: int) -> Optional[List[Any]]:
        """The note's entry as it would be for the file that lies there; None where nothing can be said."""
        with contextlib.suppress(OSError):
            there = os.stat(name_at(self.pattern, frame))
            if frame in self._keys and there.st_size > 0:
                return [self._keys[frame], there.st_size, there.st_mtime_ns]
        return None

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
        self._known = {number: entry for number, entry in self._known.items() if int(number) not in self._lacking}
        self._save()

    def keep(self) -> None:
        """Raises StorageError where Nuke wrote no file, and said nothing."""
        for frame in sorted(self._lacking):
            path = Path(name_at(self.pattern, frame))
            if not path.is_file() or path.stat().st_size == 0:
                raise StorageError("Nuke rendered no %s." % path, "See to the disk, and press Generate again.", frame=frame)
            entry = self._now(frame)
            if entry is not None:
                self._known[str(frame)] = entry
        self._save()

    def _save(self) -> None:
        temporary = self._file.with_name(NOTE + ".part")
        temporary.write_text(json.dumps({"version": VERSION, "frames": self._known}), encoding="utf-8")
        rename_over(temporary, self._file)


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
