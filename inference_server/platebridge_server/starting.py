# SPDX-License-Identifier: Apache-2.0
"""How a process of ours starts. Must not import what takes long itself."""

from __future__ import annotations

import contextlib
import gc
from typing import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """While it lasts, what is imported is taken to stay to the process's end: nobody looks for garbage in it, now, later or at the end.

    torch alone makes 170,000 objects. Looking through them takes a third of a second while they come, and half a second at the end.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
