# SPDX-License-Identifier: Apache-2.0
"""Guides kept from take to take: a new seed, tint or light on the same shot finds its simulation done.

Knows folders and their ages. It must not know what is in them: `store.py` does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

#: Guides kept; each is some tens to hundreds of megabytes.
MOST = 6
#: One that was used within so many seconds may be in use by another process, and stays whatever their number.
IN_USE = 3600.0


def place(shelf: Path, fingerprint: str) -> Path:
    """The folder for the guide of that fingerprint, just used; those unused for longest are removed."""
    folder = Path(shelf) / fingerprint[:24]
    with contextlib.suppress(OSError):  # whoever writes there next says what is wrong, in a sentence
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted((p for p in Path(shelf).iterdir() if p != folder), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in others[MOST - 1 :]:
            if time.time() - old.stat().st_mtime > IN_USE:
                shutil.rmtree(old, ignore_errors=True)
    return folder
