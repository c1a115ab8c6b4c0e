# SPDX-License-Identifier: Apache-2.0
"""How a process of ours starts. Must not import what takes long itself."""

from __future__ import annotations

import contextlib
import gc
from typing import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """While it lasts nobody looks for garbage: what is imported is none.

    torch alone makes 170,000 objects. Looking through them while they come takes a third of a second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
