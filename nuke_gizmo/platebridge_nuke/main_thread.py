# SPDX-License-Identifier: Apache-2.0
"""The one gate to Nuke's main thread: each call to a node or knob from another thread goes through here."""

from __future__ import annotations

import threading
from typing import Any, Callable

import nuke


def post(call: Callable[..., Any], *args: Any) -> None:
    """Calls it on the main thread, soon. At once where this is the main thread, or where no event loop would ever serve it (-t)."""
    if not nuke.GUI or threading.current_thread() is threading.main_thread():
        call(*args)  # asked from the main thread, Nuke would hang
    else:
        nuke.executeInMainThread(call, args)
