# SPDX-License-Identifier: Apache-2.0
"""What was made for one take, kept for the next: a new seed, tint or light on the same shot finds its work done.

Knows folders, their sizes and ages. It must not know what is in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

#: Folders kept on a shelf, and what they may take together; each has some tens to hundreds of megabytes.
MOST, MOST_BYTES = 6, 20_000_000_000
#: One that was used within so many seconds may be in use by another process, and stays whatever their number.
IN_USE = 3600.0


def place(shelf: Path, fingerprint: str) -> Path:
    """The folder for the work of that fingerprint, just used; those unused for longest are removed. Work that goes on in it for long says
    so by `touch`: files that come into a folder within it don't count."""
    folder = Path(shelf) / fingerprint[:24]
    with contextlib.suppress(OSError):  # whoever writes there next says what is wrong, in a sentence
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted((p for p in Path(shelf).iterdir() if p != folder), key=lambda p: p.stat().st_mtime, reverse=True)
        total = _size(folder)
        for number, old in enumerate(others):
            total += _size(old)
            if (number >= MOST - 1 or total > MOST_BYTES) and time.time() - old.stat().st_mtime > IN_USE:
                shutil.rmtree(old, ignore_errors=True)
    return folder


def touch(*folders: Path) -> None:
    """They are in use still."""
    for folder in folders:
        with contextlib.suppress(OSError):  # gone: whoever reads there next says so
            os.utime(folder)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
