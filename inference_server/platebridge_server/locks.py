# SPDX-License-Identifier: Apache-2.0
"""A file that one process holds alone. The system lets it go when the process ends, however it ends. Knows nothing of what it guards."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import IO, Iterator

from platebridge.errors import PlatebridgeError
from platebridge.takes import storage_error


def opened(path: Path) -> IO[str]:
    """The lock's file, open; made if it is not there. Raises StorageError."""
    try:
        return open(path, "a+")  # (the caller holds it open as long as it wants the lock)
    except OSError as error:
        raise storage_error(error, path) from error


def hold(file: IO[str]) -> None:
    """Holds the open file until it is closed. Raises BlockingIOError or PermissionError where another process does, and any other OSError
    where its disk knows no locks."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def alone(path: Path, held: PlatebridgeError) -> Iterator[None]:
    """Holds the lock's file while it lasts. Raises `held` where another process does; a disk that knows no locks keeps nobody out."""
    with opened(path) as file:
        try:
            hold(file)
        except (BlockingIOError, PermissionError):
            raise held from None
        except OSError:
            pass
        yield
