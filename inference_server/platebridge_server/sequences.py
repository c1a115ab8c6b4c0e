# SPDX-License-Identifier: Apache-2.0
"""From what an artist types to what a request holds: 'plate.####.exr' and a frame range to files with their hashes.

Patterns: #### (as wide as there are #), @@@@, %04d, $F4; anything else is one file for every frame, and so is a file that is called like a
pattern of which no frame is there. Knows no pixels.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple, Union

import fileseq
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import FrameFile, Pass
from platebridge.takes import hash_file

#: Where a frame's number stands in a name.
PATTERN = re.compile(r"#+|@+|%\d*d|\$F\d*")


class Found(Dict[str, Path]):
    """Where each content lies, by its SHA-256. `dates`: when each file was written, in ns, as it was before it was hashed."""

    def __init__(self) -> None:
        super().__init__()
        self.dates: Dict[str, int] = {}

    def put(self, sha256: str, path: Path, date: int) -> None:
        self[sha256], self.dates[sha256] = path, date

    def add(self, more: Found) -> None:
        self.update(more)
        self.dates.update(more.dates)


def typed(path: Union[str, Path]) -> Path:
    """A path as it was typed: a shell leaves the ~ of `--out=~/takes` as it is, and on Windows nobody takes it away."""
    return Path(os.path.expanduser(path))


def paths(pattern: str, frames: FrameRange) -> Dict[int, Path]:
    """The file a pattern means at each frame, whether it is there or not. Raises InputError for one that can't be read."""
    path = typed(pattern).absolute()
    places = list(PATTERN.finditer(path.name))
    if not places:
        return {frame: path for frame in frames}
    before, after = path.name[: places[-1].start()], path.name[places[-1].end() :]
    if not re.fullmatch(r"(.*\w)?", after):
        raise InputError("%s is no name of a sequence." % pattern, "Write the frame as ####, right before the file's ending.")
    # HASH1: one # is one digit, as in Blender, Nuke and our own names; fileseq alone would read four. It is asked for the width alone:
    # of a whole name it takes digits before the frame for a range of its own, and of a folder called job#12 the # for the frame.
    width = fileseq.FileSequence.getPaddingNum(places[-1].group(), pad_style=fileseq.PAD_STYLE_HASH1)
    return {frame: _numbered(path, before, frame, width, after) for frame in frames}


def _numbered(path: Path, before: str, frame: int, width: int, after: str) -> Path:
    """The file of a frame. Below 0 the sign counts as a digit, as Nuke has it, or it doesn't, as Blender has it: whichever is there."""
    named = path.with_name(before + str(frame).zfill(width) + after)
    if frame < 0 and not named.exists():
        wider = path.with_name(before + "-" + str(-frame).zfill(width) + after)
        return wider if wider.exists() else named
    return named


def found(input: str, pattern: str, frames: FrameRange) -> Dict[int, Path]:
    """The files of a pattern that are there. Raises InputError when there is none, or the system lets nobody look."""
    try:
        there = {frame: path for frame, path in paths(pattern, frames).items() if path.is_file()}
        if not there and typed(pattern).is_file():  # one picture whose own name looks like a pattern: matte@2x.exr
            there = dict.fromkeys(frames, typed(pattern).absolute())
    except OSError as error:  # a folder without access, a share that has gone
        raise _unread(input, pattern, error) from error
    if not there:
        if typed(pattern).is_dir():
            said, mend = "%s is a folder." % pattern, "Name the files in it, like %s." % (Path(pattern) / ("%s.####.exr" % input))
        else:
            said = "No file matches %s in frames %s%s." % (pattern, frames, _others(pattern))
            mend = "Check path and frames; in #### each # is a digit."
        raise InputError(said, mend, input=input, frame=frames.first)
    return there


def _others(pattern: str) -> str:
    """For the sentence: the first and the last file that a sequence has at other frames, or with other digits."""
    name = typed(pattern).name
    places = list(PATTERN.finditer(name))
    if not places:
        return ""
    form = re.compile(re.escape(name[: places[-1].start()]) + r"(-?\d+)" + re.escape(name[places[-1].end() :]))
    there = sorted((int(match[1]), match[0]) for match in (form.fullmatch(path.name) for path in typed(pattern).parent.glob("*")) if match)
    return "; there is %s" % " to ".join(dict.fromkeys((there[0][1], there[-1][1]))) if there else ""


def hashed(
    input: str,
    pattern: str,
    frames: FrameRange,
    named: Tuple[str, ...] = (),
    seen: Callable[[int], None] = lambda count: None,
) -> Tuple[Pass, Found]:
    """The pass of an input, and where each content lies. Frames without a file are left out: the checks name them.

    seen(count): how many frames are done. Raises InputError when no frame has a file, or one can't be read.
    """
    there = found(input, pattern, frames)
    known: Dict[Path, Tuple[str, int, int]] = {}
    files: List[FrameFile] = []
    by_hash = Found()
    with ThreadPoolExecutor(2) as pool:  # hashing lets other threads run; two keep a disk busy
        distinct = list(dict.fromkeys(there.values()))
        for path, read in zip(distinct, pool.map(lambda p: _read(input, p), distinct)):
            known[path] = read
            seen(len(known))
    for frame, path in there.items():
        sha256, size, date = known[path]
        files.append(FrameFile(frame, sha256, size))
        by_hash.put(sha256, path, date)
    seen(len(files))
    return Pass(Path(pattern).name, named, tuple(files)), by_hash


def pictures(input: str, files: Sequence[str]) -> Tuple[Pass, Found]:
    """As `hashed`, of pictures that belong to no frame: numbered from 1. Raises InputError for one that is not there."""
    read: List[FrameFile] = []
    by_hash = Found()
    for number, name in enumerate(files, 1):
        path = typed(name).absolute()
        try:
            there = path.is_file()
        except OSError as error:
            raise _unread(input, path, error) from error
        if not there:
            raise InputError("There is no file %s." % path, "Check the path.", input=input)
        sha256, size, date = _read(input, path)
        read.append(FrameFile(number, sha256, size))
        by_hash.put(sha256, path, date)
    return Pass(", ".join(Path(name).name for name in files), (), tuple(read)), by_hash


def _read(input: str, path: Path) -> Tuple[str, int, int]:
    """SHA-256, bytes, and the date from before."""
    try:
        date = path.stat().st_mtime_ns
        return hash_file(path), path.stat().st_size, date
    except OSError as error:
        raise _unread(input, path, error) from error


def _unread(input: str, path: Union[str, Path], error: OSError) -> InputError:
    return InputError("%s can't be read (%s)." % (path, error.strerror or error), "Give read access to it.", input=input)
