# SPDX-License-Identifier: GPL-3.0-or-later
"""May Blender talk to this server? Loopback always; another machine only with online access allowed. Opens no socket."""

from __future__ import annotations

import ipaddress
from typing import Optional
from urllib.parse import urlsplit

import bpy
from platebridge.connection import read_connection
from platebridge.errors import ConnectionFailed


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
    endpoint = read_connection(path).nearest()
    if not is_this_machine(endpoint) and not bpy.app.online_access:
        raise ConnectionFailed(
            "The server %s is another machine, and Blender may not go online." % endpoint, "Allow Online Access under Preferences, System."
        )
