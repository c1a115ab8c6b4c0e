# SPDX-License-Identifier: Apache-2.0
"""Files by content on the server's disk: what came in, what goes out. A file counts only once its hash has been verified.

    <root>/objects/ab/cdef…   whole files          <root>/partial/<sha256>   uploads that go on where they stopped

Knows no sockets and no jobs: which files must stay is told to `make_room`. Server and worker processes use one spool at once.
"""
from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import queue
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Collection, Dict, Iterator, List, Tuple

from platebridge.errors import InputError, PlatebridgeError, StorageError
from platebridge.protocol import Buffer
from platebridge.takes import rename_over, storage_error

log = logging.getLogger(__name__)


#: Uploads whose running hash is kept; of one more, what is there is read again when it goes on.
HASHES = 256


@dataclass(frozen=True)
class SpoolLimits:
    """`disk`: bytes of whole files kept before the longest unused go. `reserve`: bytes of the disk left free, always. `headroom`: bytes
    beside them that are kept free for what comes next, as long as there are unused files to go.

    `file`: the largest file taken. `files`: how many there may be, whole ones and uploads together; a tenth of them is kept free for what
    comes next. `young`: seconds in which a file that no job names yet is left alone.
    """

    disk: int = 200 * 2**30
    reserve: int = 2 * 2**30
    headroom: int = 4 * 2**30
    file: int = 2 * 2**30
    files: int = 500_000
    young: float = 600.0


def disk_free(path: Path) -> int:
    """Bytes free on the disk of this path."""
    return shutil.disk_usage(path).free


class Spool:
    """`root` is made when absent. `free`: how the disk's free bytes are asked (a test may say there are none)."""

    def __init__(self, root: Path, limits: SpoolLimits = SpoolLimits(), free: Callable[[Path], int] = disk_free) -> None:
        self.root, self.limits, self._free = Path(root), limits, free
        self._count = 0  # of files: those that `make_room` left, and the uploads begun since
        self._hashes: Dict[str, Tuple[Any, int]] = {}  # of uploads that go on: (running hash, bytes in it)
        self._hashing = ThreadPoolExecutor(1, "hash")  # while the same piece is being written: each takes about as long
        try:
            for name in ("objects", "partial"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.root) from error

    def path(self, sha256: str) -> Path:
        """Where the file lies, or would lie."""
        return self.root / "objects" / sha256[:2] / sha256[2:]

    def open_file(self, sha256: str) -> Path:
        """The path of a file that is there (what the pipeline asks); it counts as used now. Raises StorageError."""
        path = self.path(sha256)
        try:
            os.utime(path)
        except FileNotFoundError:
            raise StorageError("The server no longer has a file of this shot (%s…)." % sha256[:12], "Send the job again.") from None
        except OSError as error:
            raise storage_error(error, path) from error
        return path

    def size(self, sha256: str) -> int:
        """Bytes of a whole file, -1 when it is not there."""
        with contextlib.suppress(FileNotFoundError):
            return self.path(sha256).stat().st_size
        return -1

    def partial(self, sha256: str) -> int:
        """Bytes of an upload that stopped midway, 0 when there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self._partial(sha256).stat().st_size
        return 0

    def check_room(self, size: int) -> None:
        """Raises StorageError when `size` more bytes would eat into the reserve."""
        try:
            free = self._free(self.root)
        except OSError as error:
            raise storage_error(error, self.root) from error
        if free < size + self.limits.reserve:
            mend = "Make room where %s lies, or start the server with another --data." % self.root
            raise StorageError("The server's disk is full.", mend)

    def append(self, sha256: str, size: int, offset: int, data: Buffer) -> int:
        """Bytes of an upload from `offset` on. Gives how many bytes are there now; `size` means whole and verified.

        Bytes that are there already are passed over; a gap writes nothing. Raises StorageError, InputError (another hash).
        """
        if size > self.limits.file:
            most = "The most is %d MB." % (self.limits.file >> 20)
            raise StorageError("A file of %d MB is larger than this server takes." % (size >> 20), most)
        if self.size(sha256) == size:
            return size
        path = self._partial(sha256)
        there = self.partial(sha256)
        if there > size:
            path.unlink()
            self._count -= 1
            there = 0
        if offset > there:
            return there
        fresh = memoryview(data)[there - offset:]
        self.check_room(len(fresh))
        if not path.exists():
            self._check_count()
            self._count += 1
        digest, counted = self._hashes.pop(sha256, (None, 0))
        if counted != there or digest is None:
            digest = _hash_of(path) if there else hashlib.sha256()
        hashed = self._hashing.submit(digest.update, fresh)
        try:
            with open(path, "ab", buffering=0) as out:
                written = 0
                while written < len(fresh):
                    written += out.write(fresh[written:])
        except OSError as error:
            raise storage_error(error, path) from error
        finally:
            hashed.result()  # the caller's buffer is its own again
        there += len(fresh)
        if there < size:
            self._hashes[sha256] = (digest, there)
            if len(self._hashes) > HASHES:
                del self._hashes[next(iter(self._hashes))]
            return there
        if digest.hexdigest() != sha256:
            path.unlink()
            self._count -= 1
            mend = "Put it back and go on with the take, or let its render finish and generate a new one."
            raise InputError("The file has changed since the take was begun.", mend)
        self._place(path, sha256)
        return size

    def add(self, data: Buffer, *, lasting: bool = True) -> str:
        """A whole file; gives its hash. `lasting`: work, so on the disk before this returns, power cut or not."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self.size(sha256) == len(data):
            self.open_file(sha256)
            return sha256
        self.check_room(len(data))
        path = self.root / "partial" / ("%s.%d.%d" % (sha256, os.getpid(), threading.get_ident()))
        try:
            with open(path, "wb") as out:
                out.write(data)
                if lasting:
                    out.flush()
                    os.fsync(out.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise storage_error(error, path) from error
        self._place(path, sha256)
        return sha256

    def make_room(self, keep: Collection[str], wanted: int = 0) -> int:
        """Takes the longest unused files away until `disk`, `reserve` and `files` hold, with `wanted` bytes more. Gives bytes freed.

        Never a file in `keep` (what jobs need), never one younger than `young`.
        """
        found: List[Tuple[float, int, str]] = []
        total, count = 0, sum(1 for _ in (self.root / "partial").iterdir())
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                total, count = total + state.st_size, count + 1
                sha256 = path.parent.name + path.name
                if sha256 not in keep and state.st_mtime < time.time() - self.limits.young:
                    found.append((state.st_mtime, state.st_size, sha256))
        excess = max(total + wanted - self.limits.disk, wanted + self.limits.reserve - self._free(self.root))
        freed = 0
        for used, size, sha256 in sorted(found):
            if freed >= excess and count <= self.limits.files * 9 // 10:
                break
            with contextlib.suppress(OSError):  # no file of ours, or one that Windows keeps while somebody reads it
                if self.path(sha256).stat().st_mtime == used:  # or a job has asked for it meanwhile
                    self.path(sha256).unlink()
                    freed, count = freed + size, count - 1
        self._count = count
        return freed

    def sweep(self, keep: Collection[str]) -> None:
        """Takes away uploads that nobody goes on with, and what a killed worker left half written."""
        for path in (self.root / "partial").iterdir():
            with contextlib.suppress(OSError):  # as in make_room
                if path.name not in keep and path.stat().st_mtime < time.time() - self.limits.young:
                    path.unlink()

    def _files(self) -> Iterator[Path]:
        for folder in (self.root / "objects").iterdir():
            if folder.is_dir():
                yield from folder.iterdir()

    def _check_count(self) -> None:
        if self._count >= self.limits.files:
            mend = "Wait some minutes: those that nobody needs any more are taken away."
            raise StorageError("The server has %d files already." % self._count, mend)

    def _partial(self, sha256: str) -> Path:
        return self.root / "partial" / sha256

    def _place(self, path: Path, sha256: str) -> None:
        target = self.path(sha256)
        try:
            target.parent.mkdir(exist_ok=True)
            rename_over(path, target)
        except OSError as error:
            raise storage_error(error, target) from error


class SpoolWriter:
    """One thread that writes uploads, so that a slow disk never holds up the socket. The queue is bounded by the senders' credits.

    `report(sender, sha256, size, taken, there, error)` is called on that thread after each piece: `taken` bytes of the queue
    are free again, `there` bytes of the file are on disk, `error` is a PlatebridgeError or None.
    """

    def __init__(self, spool: Spool, report: Callable[[Any, str, int, int, int, Any], None]) -> None:
        self._spool, self._report = spool, report
        self._pieces: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def write(self, sender: Any, sha256: str, size: int, offset: int, data: Buffer) -> None:
        self._pieces.put((sender, sha256, size, offset, data))

    def call(self, work: Callable[[], Any]) -> None:
        """Any other slow work on the disk, in turn."""
        self._pieces.put(work)

    def close(self) -> None:
        """Waits until what was given is written."""
        self._pieces.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            piece = self._pieces.get()
            if piece is None:
                return
            if callable(piece):
                try:
                    piece()
                except Exception:  # the last stop of this thread: without it no upload would ever end
                    log.exception("Work on the server's disk failed")
                continue
            sender, sha256, size, offset, data = piece
            error, there = None, 0
            try:
                there = self._spool.append(sha256, size, offset, data)
            except PlatebridgeError as found:
                error = found
            except OSError as found:
                error = storage_error(found, self._spool.root)
            self._report(sender, sha256, size, len(data), there, error)
            piece = data = None  # the buffer is the socket's own memory: let it go before waiting for the next


def _hash_of(path: Path) -> Any:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest
