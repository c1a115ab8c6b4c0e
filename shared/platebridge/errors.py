# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, in an artist's sentence: what is wrong, where (input, frame), what to do.

A type per kind. Every type has a code that travels on the wire, so that a failure on the server is raised on the client
as the same type with the same sentence.
"""
from __future__ import annotations

from typing import Dict, Optional, Type


class PlatebridgeError(Exception):
    """Something an artist can understand and mend.

    `message`: one sentence, what is wrong. `mend`: one sentence, what to do. `input`: "plate", "depth", "mask",
    "vectors", "guide", "camera" or "" . `frame`: the shot's frame number, or None.
    """

    code = "error"

    def __init__(self, message: str, mend: str = "", *, input: str = "", frame: Optional[int] = None) -> None:
        self.message, self.mend, self.input, self.frame = message, mend, input, frame
        where = " ".join(part for part in (input, "frame %d" % frame if frame is not None else "") if part)
        super().__init__("%s%s%s" % (where + ": " if where else "", message, " " + mend if mend else ""))

    def to_dict(self) -> dict:
        return {"code": self.code, "message": self.message, "mend": self.mend, "input": self.input, "frame": self.frame}


class RequestError(PlatebridgeError):
    """The request itself is wrong: an unknown dial, a value out of range, a frame range that is empty."""

    code = "request"


class InputError(PlatebridgeError):
    """An input file or sequence can't be used as it is: missing, truncated, of another size, full of NaN."""

    code = "input"


class ModelError(PlatebridgeError):
    """A model is unknown, its weights are absent or altered, or it can't take this shot."""

    code = "model"


class StorageError(PlatebridgeError):
    """No disk left, no write access, a take folder that can't be made. `wanted`: bytes there was no room for, where that is known."""

    code = "storage"

    def __init__(self, message: str, mend: str = "", *, wanted: int = 0, **where) -> None:
        super().__init__(message, mend, **where)
        self.wanted = wanted

    def to_dict(self) -> dict:
        return {**super().to_dict(), **({"wanted": self.wanted} if self.wanted else {})}


class VersionError(PlatebridgeError):
    """Client and server speak different protocol versions; the sentence says which side to upgrade."""

    code = "version"


class ProtocolError(PlatebridgeError):
    """A message that is not one of ours, or breaks a limit."""

    code = "protocol"


class ConnectionFailed(PlatebridgeError):
    """No server there, or it doesn't know our key."""

    code = "connection"


class JobError(PlatebridgeError):
    """A job is unknown, or its worker died."""

    code = "job"


class Cancelled(PlatebridgeError):
    """The artist cancelled. What came is kept."""

    code = "cancelled"

    def __init__(self, message: str = "Cancelled; the frames that came are kept.", mend: str = "", **where) -> None:
        super().__init__(message, mend, **where)


_TYPES: Dict[str, Type[PlatebridgeError]] = {
    kind.code: kind
    for kind in (
        PlatebridgeError, RequestError, InputError, ModelError, StorageError, VersionError, ProtocolError,
        ConnectionFailed, JobError, Cancelled,
    )
}


def from_dict(fields: dict) -> PlatebridgeError:
    """The error that `to_dict` described; an unknown code becomes a plain PlatebridgeError."""
    kind = _TYPES.get(str(fields.get("code")), PlatebridgeError)
    frame = fields.get("frame")
    return kind(
        str(fields.get("message", "")), str(fields.get("mend", "")), input=str(fields.get("input", "")),
        frame=frame if isinstance(frame, int) else None,
    )
