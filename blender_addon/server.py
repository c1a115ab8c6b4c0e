# SPDX-License-Identifier: GPL-3.0-or-later
"""Which server, may Blender talk to it, and how to start one. Loopback always; another machine only with online access allowed.

Opens no socket.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

import bpy

from . import paths

LINE = "platebridge serve"
"""What to type in a terminal where no button can do it."""


def preferences() -> Optional[Any]:
    """The extension's preferences; None where it runs without being installed."""
    held = bpy.context.preferences.addons.get(__package__)
    return held.preferences if held is not None else None


def connection_file(scene: Any) -> Optional[str]:
    """The connection file to use: the scene's own, else the preferences', else None for the server on this machine."""
    held = preferences()
    chosen = scene.platebridge.connection or (held.connection if held is not None else "")
    return str(paths.whole(chosen)) if chosen else None


def client_of(scene: Any) -> Callable[[], Any]:
    """A function that makes the client of the server that is set. Raises ConnectionFailed where Blender may not go online."""
    from platebridge.client import Client

    path = connection_file(scene)
    check_reachable(path)
    return lambda: Client(path, "Blender")


def found_command() -> str:
    """The `platebridge` command on this machine: the preferences', else the one on the search path, else ""."""
    held = preferences()
    named = os.path.expanduser(bpy.path.abspath(held.command)) if held is not None and held.command else ""
    return named or shutil.which("platebridge") or ""


def start(command: str) -> Path:
    """Starts a server that outlives Blender, and gives the file that it writes its log to. Raises ConnectionFailed."""
    from platebridge.errors import ConnectionFailed

    log = own_folder() / "server.log"
    apart: Any = {"creationflags": 0x00000008 | 0x00000200} if os.name == "nt" else {"start_new_session": True}  # detached, own group
    try:
        with open(log, "ab") as out:
            subprocess.Popen([command, "serve"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **apart)
    except OSError as error:
        raise ConnectionFailed(
            "%s can't be started (%s)." % (command, error.strerror or error), "Choose the platebridge command in the preferences."
        ) from error
    return log


def stop(command: str, connection: Optional[str]) -> subprocess.Popen[str]:
    """Has the command stop the server of this connection file; gives its process, which says in a sentence what went wrong. Raises
    ConnectionFailed."""
    from platebridge.errors import ConnectionFailed

    named = ["--connection", connection] if connection else []
    unseen: Any = {"creationflags": 0x08000000} if os.name == "nt" else {}  # no console window
    try:
        return subprocess.Popen([command, "stop", *named], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, **unseen)
    except OSError as error:
        raise ConnectionFailed(
            "%s can't be started (%s)." % (command, error.strerror or error), "Choose the platebridge command in the preferences."
        ) from error


def own_folder() -> Path:
    """Where the extension may write for itself: never beside its code."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, create=True))
    except ValueError:  # not installed as an extension
        folder = Path(tempfile.gettempdir()) / "platebridge_blender"
        folder.mkdir(exist_ok=True)
        return folder


def is_this_machine(endpoint: str) -> bool:
    """Whether an endpoint (ipc://…, tcp://host:port) stays on this machine."""
    if endpoint.startswith(("ipc://", "inproc://")):
        return True
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_reachable(path: Optional[str]) -> None:
    """Raises ConnectionFailed: no server has left its connection file, or it is elsewhere and Blender must stay offline."""
    from platebridge.connection import read_connection
    from platebridge.errors import ConnectionFailed

    endpoint = read_connection(path).nearest()
    if not is_this_machine(endpoint) and not bpy.app.online_access:
        raise ConnectionFailed(
            "The server %s is another machine, and Blender may not go online." % endpoint, "Allow Online Access under Preferences, System."
        )
