# SPDX-License-Identifier: Apache-2.0
"""Is the server there, and does it speak our language? Asked before anything is rendered. Knows no Nuke."""

from __future__ import annotations

import time
from concurrent.futures import wait
from typing import Any, Dict, Optional

from platebridge.client import Client
from platebridge.errors import ConnectionFailed

LONGEST = 5.0  # seconds that Generate may wait for a server's word


def check_server(connection: Optional[str]) -> Dict[str, Any]:
    """What the server says of itself. Raises ConnectionFailed (none there, or it doesn't know us) or VersionError, at its first no."""
    with Client(connection, "Nuke") as client:
        answer = client.about()
        end = time.monotonic() + LONGEST
        while not wait([answer], 0.02).done:
            if client.state == "lost" and client.problem is not None:
                raise client.problem
            if time.monotonic() > end:
                raise client.problem or ConnectionFailed(
                    "The server does not answer.", "Is it busy starting? Wait a moment, and press Generate again."
                )
        facts: Dict[str, Any] = answer.result()
        return facts
