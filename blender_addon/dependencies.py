# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the thin client there? One sentence when it is not; nothing is ever installed from here.

Must import nothing but the standard library, so that the extension registers whatever is missing.
"""

from __future__ import annotations

import importlib


def missing() -> str:
    """ "" when the client and what it needs can be imported; else what is missing and how to mend it."""
    absent = []
    for name in ("platebridge", "zmq", "msgpack"):
        try:
            importlib.import_module(name)
        except ImportError:
            absent.append(name)
    if not absent:
        return ""
    return "Blender's Python has no %s: install Platebridge from its own zip, which carries them, and restart Blender" % " and no ".join(
        absent
    )
