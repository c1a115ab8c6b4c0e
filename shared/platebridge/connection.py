# SPDX-License-Identifier: Apache-2.0
"""The connection file: endpoints and keys of a running server, for its owner's eyes alone. A client finds it with no set-up.

Knows where the file lies on each system and who may read it; opens no socket.
"""
from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional, Tuple, Union

import zmq

from .errors import ConnectionFailed
from .protocol import VERSION
from .takes import rename_over, storage_error

PORT = 47800  # not 5555 to 5662: Nuke's Frame Server and many other programs live there
VARIABLE = "PLATEBRIDGE_CONNECTION"
AnyPath = Union[str, "os.PathLike[str]"]
_START = "Start the server with `platebridge serve`."


@dataclass(frozen=True)
class Connection:
    """`endpoints`: nearest first (ipc://…, tcp://…). Keys are Z85, 40 characters; TCP needs them all, a Unix socket none."""

    endpoints: Tuple[str, ...]
    server_key: str
    client_public: str
    client_secret: str
    pid: int = 0
    protocol: int = VERSION

    def nearest(self) -> str:
        """The endpoint to use from here: a Unix socket where it is there, else the first TCP one."""
        for endpoint in self.endpoints:
            if not endpoint.startswith("ipc://") or (os.name == "posix" and os.path.exists(endpoint[len("ipc://"):])):
                return endpoint
        raise ConnectionFailed("The connection file names no endpoint that can be reached from here.", _START)


def runtime_folder() -> Path:
    """Where this user's running programs keep their sockets and connection files. Not made here."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "platebridge" / "run"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "platebridge" / "run"
    session = os.environ.get("XDG_RUNTIME_DIR")
    return Path(session) / "platebridge" if session else Path.home() / ".cache" / "platebridge" / "run"


def default_path() -> Path:
    """PLATEBRIDGE_CONNECTION where it is set, its ~ the home folder: no shell reads a service's settings. Else connection.json in the
    runtime folder."""
    named = os.environ.get(VARIABLE)
    return Path(os.path.expanduser(named)) if named else runtime_folder() / "connection.json"


def private_folder(path: AnyPath, mend: str = "Name a file in a folder of your own with %s." % VARIABLE) -> Path:
    """The folder, made for its owner alone (0700). Raises StorageError, or ConnectionFailed, with `mend`, when it is another user's."""
    folder = Path(path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            found = folder.stat()
            if found.st_uid != os.getuid():
                raise ConnectionFailed("%s belongs to another user." % folder, mend)
            if stat.S_IMODE(found.st_mode) & 0o077:
                os.chmod(folder, 0o700)
    except OSError as error:
        raise storage_error(error, folder) from error
    return folder


def write_private(path: AnyPath, data: bytes) -> None:
    """A file that its owner alone may read, whole or not at all. Its folder must be there. Raises StorageError."""
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=str(target.parent), prefix="." + target.name)  # 0600 from its first moment
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(data)
            rename_over(temporary, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise storage_error(error, target) from error


def write_connection(connection: Connection, path: Optional[AnyPath] = None) -> Path:
    """Writes the file 0600. A folder of our own choosing is made 0700; one that was named must be there or is made so."""
    target = Path(path) if path is not None else default_path()
    if not target.parent.is_dir() or target.parent == runtime_folder():
        private_folder(target.parent)
    write_private(target, json.dumps(asdict(connection), indent=1).encode())
    return target


def read_connection(path: Optional[AnyPath] = None) -> Connection:
    """The connection of the server that runs. Raises ConnectionFailed: no file, readable by others, damaged."""
    target = Path(path) if path is not None else default_path()
    try:
        with open(target, "rb") as file:
            if os.name == "posix":
                found = os.fstat(file.fileno())
                if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
                    raise ConnectionFailed("%s can be read by others: its keys are no secret." % target,
                                           "Restart the server, or run: chmod 600 %s" % target)
            raw = file.read(2**16)
    except FileNotFoundError:
        raise ConnectionFailed("No server runs here (%s is absent)." % target, _START) from None
    except OSError as error:
        raise ConnectionFailed("%s can't be read: %s." % (target, error.strerror), _START) from error
    try:
        tree = json.loads(raw)
        connection = Connection(
            tuple(str(e) for e in tree["endpoints"]), str(tree["server_key"]), str(tree["client_public"]), str(tree["client_secret"]),
            int(tree["pid"]), int(tree["protocol"]),
        )
    except (ValueError, KeyError, TypeError):
        raise ConnectionFailed("%s is damaged." % target, "Restart the server: it writes a new one.") from None
    if len(connection.server_key) != 40 or len(connection.client_public) != 40 or len(connection.client_secret) != 40:
        raise ConnectionFailed("The keys in %s are damaged." % target, "Restart the server: it writes a new one.")
    return connection


def remote_connection(endpoint: str, server_key: str) -> Connection:
    """A connection to a server on another machine, with a new key pair of our own.

    `endpoint`: "tcp://192.168.1.20:47800". `server_key`: from that server's connection file. Its `client_public` must be added to the
    server's list (serve --client-keys); then `write_connection` it here.
    """
    public, secret = zmq.curve_keypair()
    return Connection((endpoint,), server_key, public.decode(), secret.decode())


def remove_connection(path: AnyPath, pid: int) -> None:
    """Takes the file away if it is still that process's own. Where it can't be, it stays: who reads it finds that nobody answers."""
    with contextlib.suppress(ConnectionFailed, OSError):
        if read_connection(path).pid == pid:
            os.unlink(path)
