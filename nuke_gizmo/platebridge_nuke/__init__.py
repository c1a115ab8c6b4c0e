# SPDX-License-Identifier: Apache-2.0
"""What stands behind the node's buttons. Importing it imports no third-party package, and opens no socket."""

from __future__ import annotations

from typing import Any


def on_create(node: Any) -> None:
    """Nuke calls this when a script with the node is opened: flags set from Python do not live in the script."""
    for name in ("result_file", "result_first", "result_last", "result_version"):
        knob = node.knob(name)
        if knob is not None:
            knob.setVisible(False)
