# SPDX-License-Identifier: Apache-2.0
"""How a message is built and taken apart. This module alone knows; nobody else touches frames.

A message is one msgpack header {v, t, id, b} and then raw buffers, sent and received without copies. Everything is checked
here before memory is taken for it: sizes, counts, types, fields. What is wrong raises ProtocolError, another version VersionError.
Knows no files, no jobs, no threads. Nothing is ever pickled.
"""
from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import msgpack  # type: ignore[import-untyped]
import zmq

from .errors import ProtocolError, VersionError
from .events import Done, Event, Failed, FileReady, Preview, Progress, Started, Warned
from .frames import windows_keeps

VERSION = 1
CHUNK = 2 * 2**20            # bytes of a file in one message: an 8K EXR never lies whole in a queue
MAX_HEADER = 64 * 2**10
MAX_PART = 8 * 2**20         # a request of 2000 frames with five passes is about 1 MB
MAX_PARTS = 2
MAX_FRAME = MAX_PART + 1024  # what the sockets themselves refuse to go beyond (CURVE adds some bytes to each frame)
MAX_COUNT = 2**53

Buffer = Union[bytes, bytearray, memoryview]

# What each type carries: its fields, and how many raw buffers. A field that ends with ? may be absent.
FIELDS: Dict[str, Dict[str, str]] = {
    # client to server
    "hello": {"client": "text"},
    "ping": {},
    "models": {},
    "jobs": {},
    "about": {},
    "have": {},                                                   # buffer: hashes, 32 bytes each
    "put": {"sha256": "sha", "size": "count", "offset": "count"},  # buffer: the bytes from offset on
    # `follow`: a number of the client's choosing that comes back with every event: one that was on its way to an earlier follower of
    # the same take is told apart by it
    "submit": {"take": "take", "follow": "count", "after": "count", "credit": "count", "origin": "table", "again": "flag"},  # request, held
    "attach": {"take": "take", "follow": "count", "after": "count", "credit": "count"},  # buffer: files held
    "detach": {"take": "take"},
    "cancel": {"take": "take"},
    "ack": {"take": "take", "n": "count"},
    # both ways: bytes that may be sent; with a take, of its events; without, of uploads
    "credit": {"take?": "take", "bytes": "count"},
    # server to client
    "welcome": {"server": "text", "window": "count", "device": "text"},
    "pong": {},
    "cards": {"models": "list"},
    "takes": {"jobs": "list"},
    "facts": {"facts": "table"},
    "lacks": {"take?": "take", "partial": "table"},               # buffer: hashes the server does not have
    "accepted": {"take": "take", "state": "text"},
    "stored": {"sha256": "sha"},
    "resume": {"sha256": "sha", "offset": "count"},                # the upload of this file goes on from here
    "event": {
        "take": "take", "follow": "count", "n": "count", "kind": "text", "fields": "table", "size": "count", "offset": "count",
        "held": "flag",
    },
    "ok": {},
    "error": {"error": "table", "take?": "take", "follow?": "count", "sha256?": "sha"},
}
PARTS = {"have": (1, 1), "put": (1, 1), "submit": (2, 2), "attach": (1, 1), "lacks": (1, 1), "event": (0, 1)}

_HEX64, _HEX32 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")
_CHECKS = {
    "text": lambda v: isinstance(v, str),
    "table": lambda v: isinstance(v, dict),
    "list": lambda v: isinstance(v, list),
    "flag": lambda v: isinstance(v, bool),
    "count": lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= MAX_COUNT,
    "sha": lambda v: isinstance(v, str) and _HEX64.fullmatch(v) is not None,
    "take": lambda v: isinstance(v, str) and _HEX32.fullmatch(v) is not None,
}


@dataclass(frozen=True)
class Message:
    """One message. `id`: chosen by whoever asks, repeated in the answer; 0 where nobody waits."""

    type: str
    body: Dict[str, Any] = field(default_factory=dict)
    parts: Tuple[Buffer, ...] = ()
    id: int = 0


def pack(message: Message) -> List[Buffer]:
    """The frames of a message: a header and the raw buffers as they are. Raises ProtocolError if the other side would refuse it."""
    _check(message.type, message.body, message.parts)
    try:
        header = msgpack.packb(
            {"v": VERSION, "t": message.type, "id": message.id, "b": message.body}, use_bin_type=True, unicode_errors="backslashreplace",
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        fault = "This is a fault in Platebridge: please report it."
        raise ProtocolError("A %s message can't be written: %s." % (message.type, error), fault) from error
    if len(header) > MAX_HEADER:
        raise ProtocolError("The header of a %s message is too large (%d bytes)." % (message.type, len(header)), "Send less at a time.")
    return [header, *message.parts]


def unpack(frames: Sequence[Buffer]) -> Message:
    """The message in these frames; its buffers are views of them, not copies.

    Raises ProtocolError (not one of ours, or beyond a limit) or VersionError (which side to upgrade).
    """
    if not 1 <= len(frames) <= 1 + MAX_PARTS:
        raise ProtocolError("A message of %d parts is not one of ours." % len(frames))
    if len(frames[0]) > MAX_HEADER:
        raise ProtocolError("A header of %d bytes is too large." % len(frames[0]))
    try:
        header = msgpack.unpackb(
            frames[0], raw=False, strict_map_key=True, ext_hook=_no_extension, max_ext_len=0, max_map_len=4096, max_array_len=4096,
        )
    # msgpack raises ValueError and its kin for bytes that are no msgpack, and whatever Python does for too deep a nest
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError("The header of a message can't be read (%s)." % type(error).__name__) from None
    if not isinstance(header, dict):
        raise ProtocolError("The header of a message is not a table.")
    version = header.get("v")
    if version != VERSION or isinstance(version, bool):
        raise _other_version(version)
    kind, number, body = header.get("t"), header.get("id"), header.get("b")
    if not isinstance(kind, str) or not _CHECKS["count"](number) or not isinstance(body, dict) or len(header) != 4:
        raise ProtocolError("The header of a message lacks its type, id or body.")
    parts = tuple(frames[1:])
    _check(kind, body, parts)
    return Message(kind, body, parts, int(number))  # type: ignore[arg-type]


def _check(kind: str, body: Dict[str, Any], parts: Sequence[Buffer]) -> None:
    wanted = FIELDS.get(kind)
    if wanted is None:
        raise VersionError("A message of type %.40r is unknown here." % kind, "Upgrade this side: the other one is newer.")
    known = 0
    for name, check in wanted.items():
        optional = name.endswith("?")
        key = name.rstrip("?")
        if key not in body:
            if optional:
                continue
            raise ProtocolError("A %s message lacks its %s." % (kind, key))
        known += 1
        if not _CHECKS[check](body[key]):
            raise ProtocolError("The %s of a %s message is no good (%s was wanted)." % (key, kind, check))
    if known != len(body):
        raise ProtocolError("A %s message has a field too many." % kind)
    least, most = PARTS.get(kind, (0, 0))
    if not least <= len(parts) <= most:
        raise ProtocolError("A %s message must not have %d buffers." % (kind, len(parts)))
    if any(len(part) > MAX_PART for part in parts):
        raise ProtocolError("A buffer of a %s message is too large." % kind, "The most is %d bytes." % MAX_PART)
    if kind in ("put", "event") and parts and body["offset"] + len(parts[0]) > body["size"]:
        raise ProtocolError("A %s message holds more bytes than its file has." % kind)
    if kind in ("have", "lacks") and len(parts[0]) % 32:
        raise ProtocolError("Hashes are 32 bytes each.")


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError("extension types are not ours")


def _other_version(version: Any) -> Exception:
    if not isinstance(version, int) or isinstance(version, bool):
        return ProtocolError("The header of a message names no version.")
    newer = version > VERSION
    return VersionError(
        "The other side speaks version %d of the protocol, this side version %d." % (version, VERSION),
        "Upgrade this side of Platebridge." if newer else "Upgrade the other side of Platebridge.",
    )


# --- on a socket ---------------------------------------------------------------------------------------------------------------

def send(socket: zmq.Socket, message: Message, to: Optional[bytes] = None) -> int:
    """Sends without waiting and without copying the buffers; gives the number of bytes. zmq.Again when the way is full.

    `to`: the peer's identity, on a ROUTER. The buffers must not change afterwards.
    """
    frames = pack(message)
    socket.send_multipart(frames if to is None else [to, *frames], flags=zmq.NOBLOCK, copy=False)
    return sum(len(frame) for frame in frames)


def receive(socket: zmq.Socket) -> List[memoryview]:
    """The frames of the next message as views, no copies; zmq.Again when there is none. `unpack` reads them."""
    return [frame.buffer for frame in socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)]


# --- lists that may be long travel as plain bytes --------------------------------------------------------------------------------

def join_hashes(hashes: Sequence[str]) -> bytes:
    """64 hex digits each, to 32 bytes each."""
    return b"".join(bytes.fromhex(sha) for sha in hashes)


def split_hashes(data: Buffer) -> List[str]:
    return [bytes(data[at:at + 32]).hex() for at in range(0, len(data), 32)]


def join_held(held: Dict[str, str]) -> bytes:
    """Files of a take that are there already, {name: sha256}, as lines "sha256 name"."""
    return "\n".join("%s %s" % (sha, name) for name, sha in held.items()).encode()


def split_held(data: Buffer) -> Dict[str, str]:
    """What `join_held` joined. Raises ProtocolError."""
    held: Dict[str, str] = {}
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("A list of files is not text.") from None
    for line in text.split("\n") if text else ():
        sha, _, name = line.partition(" ")
        if not _CHECKS["sha"](sha) or not safe_name(name):
            raise ProtocolError("A list of files has a line that is no hash and name.")
        held[name] = sha
    return held


def safe_name(name: Any) -> bool:
    """Whether a name can stand in a take's folder on every system: no path in it, nothing hidden, nothing Windows keeps for itself."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}", name) or name.endswith("."):
        return False
    return not windows_keeps(name)


# --- events as plain data --------------------------------------------------------------------------------------------------------

_EVENTS = {
    "started": Started, "progress": Progress, "preview": Preview, "warned": Warned, "file": FileReady, "done": Done, "failed": Failed,
}
_NAMES = {kind: name for name, kind in _EVENTS.items()}
_DATA = {"preview": "png", "file": "data"}
_FIELD_TYPES: Dict[str, Any] = {
    "str": str, "int": int, "Optional[int]": (int, type(None)), "Dict[str, float]": dict, "Dict[str, Any]": dict,
}
LAST = ("done", "failed")


def event_to_plain(event: Event) -> Tuple[str, Dict[str, Any], bytes]:
    """(kind, fields, data): the event's bytes apart from its fields."""
    kind = _NAMES[type(event)]
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    return kind, fields, fields.pop(_DATA[kind]) if kind in _DATA else b""


def event_from_plain(kind: str, fields: Dict[str, Any], data: bytes = b"") -> Event:
    """The event that `event_to_plain` took apart. Raises ProtocolError when a field is missing or of another type."""
    shape = _EVENTS.get(kind)
    if shape is None:
        raise VersionError("An event of kind %.40r is unknown here." % kind, "Upgrade this side: the other one is newer.")
    wanted = {f.name: _FIELD_TYPES.get(str(f.type)) for f in dataclasses.fields(shape) if f.name != _DATA.get(kind)}
    if set(wanted) != set(fields) or any(t is not None and not isinstance(fields[name], t) for name, t in wanted.items()):
        raise ProtocolError("An event of kind %s has other fields than it should." % kind, "Give both sides the same version.")
    if kind == "file" and not (safe_name(fields["name"]) and _CHECKS["sha"](fields["sha256"])):
        raise ProtocolError("A file of a take has a name or hash that can't be: %.80r." % (fields["name"],))
    return shape(**fields, **({_DATA[kind]: data} if kind in _DATA else {}))
