# SPDX-License-Identifier: Apache-2.0
"""What stands behind the node's buttons. Importing it imports no third-party package, and opens no socket."""

from __future__ import annotations

import sys
from typing import Any


def on_create(node: Any) -> None:
    """Nuke calls this when a script with the node is opened: flags set from Python do not live in the script. Cheap, and says nothing."""
    import nuke

    timeline = bool(nuke.env.get("studio") or nuke.env.get("hiero"))
    shown = {"result_file": False, "result_first": False, "result_last": False, "result_version": False}
    shown.update(to_timeline=timeline, timeline_as=timeline)
    for name, visible in shown.items():
        knob = node.knob(name)
        if knob is not None:
            knob.setVisible(visible)


def print_anything() -> None:
    """A farm's log may know fewer letters than a shot's name has: what it lacks is written as \\u5854, and is no reason to fail."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # Nuke may have a stream of its own
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
