# SPDX-License-Identifier: Apache-2.0
"""Which input files are on their way to the server, in pieces, and which piece is next. A large file never lies whole in memory.

Knows files and messages; the socket is the link's.
"""
from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import IO, Any, Dict, List, Optional

from .errors import InputError
from .protocol import CHUNK, Message


@dataclass
class _File:
    """`offset`: bytes that were sent, or that the server has. `jobs`: who needs it, by take."""

    sha256: str
    size: int
    offset: int
    jobs: Dict[str, Any] = field(default_factory=dict)
    handle: Optional[IO[bytes]] = None

    def close(self) -> None:
        if self.handle is not None:
            self.handle.close()
        self.handle = None


class Uploads:
    """`window`: bytes the server takes before it has written some. `stuck`: the socket's queue was full at the last piece."""

    def __init__(self) -> None:
        self.window = 0
        self.stuck = False
        self._waiting: OrderedDict[str, _File] = OrderedDict()
        self._sent: Dict[str, _File] = {}  # whole on their way; the server has not said that they are stored
        self._spoilt: List[str] = []

    def add(self, job: Any, sizes: Dict[str, int], partial: Dict[str, int]) -> None:
        """Files of a job that the server lacks; `partial`: bytes that it has of some already."""
        for sha256, size in sizes.items():
            file = self._waiting.get(sha256) or self._sent.get(sha256)
            if file is None:
                file = self._waiting[sha256] = _File(sha256, size, _place_in(size, partial.get(sha256)))
            file.jobs[job.take_id] = job

    def next(self) -> Optional[Message]:
        """The next piece as a message, None when there is none or the window is used up. Raises InputError: see `spoilt`."""
        self.stuck = False
        if not self._waiting:
            return None
        file = next(iter(self._waiting.values()))
        length = min(CHUNK, file.size - file.offset)
        if length > self.window:
            return None
        job = next(iter(file.jobs.values()))
        try:
            if file.handle is None:
                file.handle = open(job.open_file(file.sha256), "rb")  # noqa: SIM115 (open while its pieces go out)
            file.handle.seek(file.offset)
            data = file.handle.read(length)
        except Exception as error:  # `open_file` is somebody else's: whatever it raises ends the take, not the connection of all
            self._spoil(file)
            raise InputError("The file can't be read: %s." % error, "Is it still where it was?", **place(job, file.sha256)) from error
        if len(data) < length:
            self._spoil(file)
            mend = "Put it back and go on with the take, or let its render finish and generate a new one."
            raise InputError("The file is shorter than when the take was begun.", mend, **place(job, file.sha256))
        return Message("put", {"sha256": file.sha256, "size": file.size, "offset": file.offset}, (data,))

    def was_sent(self, message: Message) -> None:
        """The piece that `next` gave is on its way."""
        length = len(message.parts[0])
        file = self._waiting[message.body["sha256"]]
        file.offset += length
        self.window -= length
        if file.offset >= file.size:
            file.close()
            self._sent[file.sha256] = self._waiting.pop(file.sha256)

    def stored(self, sha256: str) -> None:
        self._sent.pop(sha256, None)
        file = self._waiting.pop(sha256, None)  # another client sent it meanwhile
        if file is not None:
            file.close()

    def go_back(self, sha256: str, offset: int) -> None:
        """The server has less of a file than we thought, or more."""
        file = self._waiting.get(sha256) or self._sent.pop(sha256, None)
        if file is not None:
            file.offset = _place_in(file.size, offset)
            self._waiting[sha256] = file

    def refused(self, sha256: str) -> List[str]:
        """The server does not take the file: the takes that needed it."""
        file = self._waiting.pop(sha256, None) or self._sent.pop(sha256, None)
        if file is None:
            return []
        file.close()
        return list(file.jobs)

    def spoilt(self) -> List[str]:
        """The takes that needed the file that could not be read."""
        takes, self._spoilt = self._spoilt, []
        return takes

    def drop(self, take: str) -> None:
        """A take that nobody follows any more: what it alone needed is not sent."""
        for files in (self._waiting, self._sent):
            for file in list(files.values()):
                file.jobs.pop(take, None)
                if not file.jobs:
                    file.close()
                    del files[file.sha256]

    def interrupt(self) -> None:
        """The connection is gone: what is lacking will be asked for anew."""
        for file in self._waiting.values():
            file.close()
        self._waiting.clear()
        self._sent.clear()
        self.window, self.stuck = 0, False

    def _spoil(self, file: _File) -> None:
        file.close()
        self._spoilt = list(file.jobs)
        self._waiting.pop(file.sha256, None)


def _place_in(size: int, offset: Any) -> int:
    """Where a server says that a file goes on, or its beginning where the file has no such place."""
    return offset if isinstance(offset, int) and 0 <= offset <= size else 0


def place(job: Any, sha256: str) -> Dict[str, Any]:
    """Which input and frame a file is, for an artist."""
    inputs = job.request.inputs
    for name in ("plate", "depth", "mask", "vectors", "guide", "reference"):
        sequence = getattr(inputs, name)
        for file in sequence.files if sequence is not None else ():
            if file.sha256 == sha256:
                return {"input": name, "frame": file.frame}
    return {}
