# SPDX-License-Identifier: GPL-3.0-or-later
"""Platebridge for Blender: dust and debris over a plate, from the sequencer.

Registers and unregisters, loudly: an error here is shown, never swallowed. Connects to nothing and starts nothing.
"""

import atexit

import bpy

from . import (
    angle,
    command_line,
    live_action_operators,
    operators,
    panel,
    pictures,
    preferences,
    presets,
    runner,
    settings,
    take_list,
    take_operators,
    wedges,
)

_PARTS = (
    settings,
    take_list,
    pictures,
    preferences,
    operators,
    take_operators,
    live_action_operators,
    wedges,
    angle,
    presets,
    panel,
    runner,
    command_line,
)


def register():
    """Every part in order; those that stood are taken down again when one fails."""
    stood = []
    try:
        for part in _PARTS:
            part.register()
            stood.append(part)
    except Exception:
        for part in reversed(stood):
            part.unregister()
        raise
    if getattr(bpy.app, "module", False):
        # Blender as a Python module doesn't disable its extensions at exit, and then waits forever for a thread of its own
        # (4.5.15). Blender as a program disables them itself.
        atexit.register(unregister)


def unregister():
    """Leaves no class, property, timer, handler, thread or socket."""
    atexit.unregister(unregister)
    for part in reversed(_PARTS):
        part.unregister()
