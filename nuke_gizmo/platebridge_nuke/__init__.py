# SPDX-License-Identifier: Apache-2.0
"""What stands behind the node's buttons. Importing it imports no third-party package, and opens no socket."""

from __future__ import annotations

import re
import sys
from typing import Any, List, Tuple

UNDER_WAY = re.compile(r"Rendering the inputs|Waiting for the server.*|The server is back\.|.* \d+/\d+", re.DOTALL)
"""What the status line says only while a take is followed."""


def on_create(node: Any) -> None:
    """Nuke calls this when a script with the node is opened: flags set from Python do not live in the script. Cheap, and says nothing
    but that a take is not under way any more, where the script was saved, or the node copied, while it was. A list of takes that was
    saved or copied along goes: others may lie there by now."""
    import nuke

    timeline = bool(nuke.env.get("studio") or nuke.env.get("hiero"))
    shown = dict.fromkeys(("star_read", "note_read", "result_file", "result_first", "result_last", "result_version"), False)
    shown.update(to_timeline=timeline, timeline_as=timeline)
    for name, visible in shown.items():
        knob = node.knob(name)
        if knob is not None:
            knob.setVisible(visible)
    stale: List[Tuple[Any, str]] = []
    listed = node.knob("takes_text")
    if listed is not None and listed.value():
        stale.append((listed, ""))
    followed = sys.modules.get(__name__ + ".job")  # absent: no button was pressed in this Nuke
    status = node.knob("status")
    if status is not None and UNDER_WAY.fullmatch(str(status.value())) and (followed is None or followed.of(node) is None):
        stale.append((status, "A take was under way when this was saved. Attach under Takes goes on with it."))
    if stale:
        from .main_thread import unrecorded

        with unrecorded():
            for knob, text in stale:
                knob.setValue(text)


def print_anything() -> None:
    """A farm's log may know fewer letters than a shot's name has: what it lacks is written as \\u5854, and is no reason to fail."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # Nuke may have a stream of its own
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
