# SPDX-License-Identifier: Apache-2.0
"""The take folder: written atomically, never overwritten, readable with no server and no plug-in.

    <folder>/take_0007/ comp.1001.exr … effect.1001.exr … guide.1001.exr … preview.mp4 take.json

Until take.json has come, `unfinished.json` lies in it: what was asked and of whom, so that another process can go on.
`marks.json` is the desk's own: a star and a note, no part of the take. What is thrown away goes to <folder>/trash/.
Knows no sockets and no pixels: a file is bytes with a hash.
"""
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import time
import uuid
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

from .errors import InputError, PlatebridgeError, StorageError
from .events import FileReady
from .protocol import safe_name

TAKE = "take.json"
MARKER = "unfinished.json"
MARKS = "marks.json"
TRASH = "trash"
_TEMPORARY = ".part-"
_MARKING = ".mark-"  # another name: a take that ends meanwhile takes away what was half written of it
_AGAIN = (0.05, 0.1, 0.2, 0.4)  # seconds until a rename that was refused is tried again
_LONGEST = 248  # letters: Windows makes no folder with a longer path, and no file with one of 260, unless it was set up otherwise
_NAMES = re.compile(r"(comp|effect|guide|picture)\.-?\d+\.exr|preview\.mp4|sheet\.png|take\.json")
AnyPath = Union[str, "os.PathLike[str]"]


class TakeWriter:
    """Writes one take's files as they come. Make one with `create` (a new take) or `resume` (one that was interrupted).

    Two programs may follow one take at once: each writes what the other has not.
    `path`: the take's folder. `note`: what stands in unfinished.json. `have`: files that are there, {name: sha256}.
    """

    def __init__(self, path: Path, note: Dict[str, Any], have: Dict[str, str]) -> None:
        self.path, self.note, self.have = path, note, have

    @property
    def take_id(self) -> str:
        return str(self.note["take_id"])

    @property
    def finished(self) -> bool:
        return TAKE in self.have

    @classmethod
    def create(cls, folder: AnyPath, take_id: str, note: Optional[Dict[str, Any]] = None, least: int = 1) -> TakeWriter:
        """A new folder take_0001, take_0002 … in `folder`, beside all that are there. Raises StorageError.

        `note`: plain data to find again after a crash (the request, the endpoint). Two programs may do this at once.
        `least`: the lowest number it may get.
        """
        root = Path(folder)
        with _storage(root):
            root.mkdir(parents=True, exist_ok=True)
            number = max(next_number(root), least) - 1
            while True:
                number += 1
                path = root / ("take_%04d" % number)
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    continue  # another program was faster: the next number is ours
        writer = cls(path, {**(note or {}), "take_id": take_id}, {})
        try:
            writer._put(MARKER, json.dumps(writer.note, indent=1, sort_keys=True).encode())
        except StorageError:
            with contextlib.suppress(OSError):
                path.rmdir()  # it is no take
            raise
        return writer

    @classmethod
    def resume(cls, path: AnyPath) -> TakeWriter:
        """Goes on with a take that lacks its take.json. Raises StorageError when it is no such folder."""
        take = Path(path)
        with _storage(take):
            try:
                note = json.loads((take / MARKER).read_bytes())
            except FileNotFoundError:
                raise StorageError("%s holds no unfinished take." % take, "Generate a new take; this one is left as it is.") from None
            except ValueError:
                raise StorageError("%s is damaged." % (take / MARKER), "Generate a new take; this one is left as it is.") from None
            if not isinstance(note, dict) or not isinstance(note.get("take_id"), str):
                raise StorageError("%s names no take." % (take / MARKER), "Generate a new take; this one is left as it is.")
            have = {}
            for file in sorted(take.iterdir()):
                if _NAMES.fullmatch(file.name) and file.is_file():  # a Thumbs.db is none of the take
                    have[file.name] = hash_file(file)
        writer = cls(take, note, have)
        if writer.finished:
            writer._forget_marker()
        return writer

    def write(self, file: FileReady) -> Path:
        """The file's place, once it lies there whole. Asked again with equal bytes, it does nothing.

        Raises StorageError: the bytes are not what they should be, another file of that name is there, no disk, no access.
        """
        if not safe_name(file.name) or file.name in (MARKER, MARKS):
            raise StorageError("%.80r is no name for a take's file." % file.name, "Upgrade the server.", frame=file.frame)
        if hashlib.sha256(file.data).hexdigest() != file.sha256:
            raise StorageError("%s came damaged." % file.name, "Attach to the take again: the server still has the file.", frame=file.frame)
        path = self.path / file.name
        if self.have.get(file.name) != file.sha256:
            self._put(file.name, file.data)
            self.have[file.name] = file.sha256
        if file.name == TAKE:
            self._forget_marker()
        return path

    def _put(self, name: str, data: bytes) -> None:
        path, sha256 = self.path / name, hashlib.sha256(data).hexdigest()
        with _storage(path):
            if path.exists():
                if hash_file(path) == sha256:
                    return
                raise StorageError("%s is there already, with other content." % path, "Move it away, or generate a new take.")
            try:
                write_whole(path, data)
            except OSError:  # another program was faster; Windows then refuses while somebody looks at the file
                if not (path.exists() and hash_file(path) == sha256):
                    raise

    def _forget_marker(self) -> None:
        """The take is whole: what says that it is not goes, and what killed programs had half written. What can't go stays: take.json
        is what counts."""
        for gone in (self.path / MARKER, *self.path.glob(_TEMPORARY + "*")):
            with contextlib.suppress(OSError):  # Windows: another program reads it, or writes it and takes it away itself
                gone.unlink()


@dataclass(frozen=True)
class Marks:
    """What somebody marked on a take: `star`, and `text`, their own words."""

    star: bool = False
    text: str = ""


@dataclass(frozen=True)
class Take:
    """A take on disk. `document`: take.json as it is, {} while unfinished. `note`: unfinished.json, {} when finished.
    `marks`: what was marked on it by hand."""

    path: Path
    number: int
    document: Dict[str, Any]
    note: Dict[str, Any]
    marks: Marks

    @property
    def finished(self) -> bool:
        return bool(self.document)

    def files(self) -> Dict[str, str]:
        """Every file that take.json lists, {name: sha256}. Raises InputError when the list is not one."""
        listed = self.document.get("files", {})
        if isinstance(listed, list):  # [{"name": ..., "sha256": ...}, ...]
            listed = {f.get("name"): f.get("sha256") for f in listed if isinstance(f, dict)}
        elif isinstance(listed, dict):  # {name: sha256} or {name: {"sha256": ..., ...}}
            listed = {name: f.get("sha256") if isinstance(f, dict) else f for name, f in listed.items()}
        if not isinstance(listed, dict) or any(not safe_name(n) or not isinstance(s, str) for n, s in listed.items()):
            raise InputError("%s has no list of files that can be read." % (self.path / TAKE), "Generate the take again.")
        return listed


def list_takes(folder: AnyPath) -> List[Take]:
    """The takes in a shot's folder by number, unfinished ones too; those that can't be read are left out. An absent folder has none."""
    return read_takes(folder)[0]


def read_takes(folder: AnyPath) -> Tuple[List[Take], List[PlatebridgeError]]:
    """As `list_takes`, and for each take that can't be read what is wrong with it."""
    found: List[Take] = []
    faults: List[PlatebridgeError] = []
    for path in take_folders(folder):
        try:
            found.append(read_take(path))
        except PlatebridgeError as error:
            faults.append(error)
    return found, faults


def take_folders(folder: AnyPath) -> List[Path]:
    """Where the takes of a shot lie, by number; none of them is opened. An absent folder has none."""
    root = Path(folder)
    with _storage(root):
        return sorted((p for p in _within(root) if _number(p) and p.is_dir()), key=_number)


def read_take(path: AnyPath) -> Take:
    """A take as it lies there. Raises InputError when take.json can't be read."""
    take = Path(path)
    tree: Dict[str, Dict[str, Any]] = {MARKER: {}, TAKE: {}}  # in this order: a take that ends meanwhile would seem to have neither
    for name in tree:
        with _storage(take), contextlib.suppress(FileNotFoundError):
            try:
                tree[name] = json.loads((take / name).read_bytes())
            except (ValueError, RecursionError):
                raise InputError("%s is damaged." % (take / name), "Restore it from a copy, or generate the take again.") from None
            if not isinstance(tree[name], dict):
                raise InputError("%s is not a table of fields." % (take / name), "Restore it from a copy, or generate the take again.")
    marks = Marks()
    with contextlib.suppress(OSError):
        marks = _marks(take)
    return Take(take, _number(take), tree[TAKE], {} if tree[TAKE] else tree[MARKER], marks)


def mark(path: AnyPath, star: Optional[bool] = None, text: Optional[str] = None) -> None:
    """Keeps a star, a note or both beside the take's files. What is not given stays as it is there: another program may have set it since
    this one looked. Raises StorageError."""
    take = Path(path)
    with _storage(take):
        there = _marks(take)
        now = {"star": there.star if star is None else star, "text": there.text if text is None else text}
        write_whole(take / MARKS, json.dumps(now).encode(), _MARKING)


def _marks(take: Path) -> Marks:
    """Marks are nobody's truth: what is damaged is none. Raises OSError where they are there and can't be looked at."""
    try:
        tree = json.loads((take / MARKS).read_bytes())
        return Marks(tree.get("star") is True, str(tree.get("text", "")))
    except (FileNotFoundError, ValueError, AttributeError, RecursionError):
        return Marks()


def next_number(folder: AnyPath) -> int:
    """The number that the next take of a shot's folder gets; those in its trash are not given out again."""
    root = Path(folder)
    with _storage(root):
        return 1 + max((_number(p) for p in [*_within(root), *_within(root / TRASH)]), default=0)


def throw_away(path: AnyPath) -> Path:
    """Moves a take into its shot's trash and gives its new place. Its number is not given out again. Raises StorageError."""
    take = Path(path)
    if not _number(take):
        raise StorageError("%s is no take." % take, "Choose a folder like take_0001.")
    trash = take.parent / TRASH
    with _storage(take):
        trash.mkdir(exist_ok=True)
        places = (trash / (take.name + ("-%d" % n if n > 1 else "")) for n in count(1))
        place = next(p for p in places if not p.exists())  # the number may lie there already: a take that was copied back by hand
        try:
            rename_over(take, place)
        except PermissionError:  # Windows moves no folder in which a file is open
            raise StorageError(
                "%s can't be moved: a program has one of its files open, or you may not write there." % take,
                "Close it there, then try again.",
            ) from None
    return place


def _within(folder: Path) -> List[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def verify_take(path: AnyPath) -> List[str]:
    """Every file of the take hashed again. Gives a sentence for each that is missing or altered; [] is a whole take."""
    take = read_take(path)
    if not take.finished:
        return ["%s is unfinished: take.json has not come." % take.path]
    faults = []
    for name, sha in sorted(take.files().items()):
        file = take.path / name
        if not file.is_file():
            faults.append("%s is missing." % name)
        elif hash_file(file) != sha:
            faults.append("%s was altered." % name)
    return faults


def write_whole(path: Path, data: bytes, prefix: str = _TEMPORARY) -> None:
    """Under a temporary name of its own, to the disk, and only then under the right one: nobody ever reads half a file. Raises OSError."""
    temporary = path.with_name(prefix + uuid.uuid4().hex[:8])  # no longer than effect.1001.exr: Windows counts the letters of a path
    try:
        with open(temporary, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        rename_over(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        raise


def rename_over(temporary: AnyPath, path: AnyPath) -> None:
    """os.replace, with patience: Windows refuses while a virus scanner or another program looks at either file. Raises OSError."""
    for pause in _AGAIN:
        with contextlib.suppress(PermissionError):
            os.replace(temporary, path)
            return
        time.sleep(pause)
    os.replace(temporary, path)


def hash_file(path: AnyPath) -> str:
    """SHA-256 of a file's bytes, 64 hex digits, in steps of 1 MB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def _number(path: Path) -> int:
    found = re.fullmatch(r"take_(\d{4,9})", path.name)
    return int(found.group(1)) if found else 0


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    """OSError to a StorageError with the mend."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: AnyPath) -> StorageError:
    """What an OSError at a path means to an artist."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError("The disk is full: %s can't be written." % path, "Make room and go on; what came is kept.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError("%s can't be written: no access." % path, "Choose a folder that you may write to.")
    if error.errno == errno.ENOENT and os.name == "nt" and len(str(error.filename or path)) >= _LONGEST:  # Windows says no more than that
        mend = "Choose a folder nearer to the drive's root, or a shorter name for the shot."
        return StorageError("The path %s is too long for Windows." % (error.filename or path), mend)
    if error.errno == errno.ENOENT:
        return StorageError("%s does not exist any more." % path, "Was the folder moved or a drive taken off?")
    return StorageError("%s: %s." % (path, error.strerror or error), "See to the disk and go on; what came is kept.")
