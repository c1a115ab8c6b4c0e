# SPDX-License-Identifier: Apache-2.0
"""The one gate to Nuke's main thread: each call to a node or knob from another thread goes through here."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Callable, Iterator

import nuke


def post(call: Callable[..., Any], *args: Any) -> None:
    """Calls it on the main thread, soon. At once where this is the main thread, or where no event loop would ever serve it (-t)."""
    if not nuke.GUI or threading.current_thread() is threading.main_thread():
        call(*args)  # asked from the main thread, Nuke would hang
    else:
        nuke.executeInMainThread(call, args)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """What happens in here leaves no step to undo: an artist's undo must bring back neither our Write nor yesterday's frame."""
    undo: Any = nuke.Undo
    undo.disable()
    try:
        yield
    finally:
        undo.enable()


@contextlib.contextmanager
def one_undo_step(name: str) -> Iterator[None]:
    """What happens in here is one step to undo, under that name."""
    undo: Any = nuke.Undo
    undo.begin(name)
    try:
        yield
    finally:
        undo.end()
