# SPDX-License-Identifier: Apache-2.0
"""What the script says of colour. Read anew for every take and sent with it; never assumed, for studios change all of it. Main thread only.

Pixels are written and read raw: they are in the working space, and the server converts.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict

import nuke


def working_space() -> str:
    """Colour management and working space by name: "OCIO: ACEScg". The server takes the name after the colon (its colour.py)."""
    return "%s: %s" % (_value("colorManagement") or "Nuke", plain_name(_value("workingSpaceLUT") or "linear"))


def plain_name(item: str) -> str:
    """A menu item's own name: what stands behind the first TAB is the menu's path and aliases, and given back whole it names nothing.

    A role is shown with the space it stands for, `scene_linear (ACEScg)`: the space is sent, for the server has another config.
    """
    name = item.split("\t")[0].strip()
    role = re.fullmatch(r"[a-z_]+ \((.+)\)", name)
    return role.group(1) if role else name


def settings() -> Dict[str, str]:
    """Everything that says which config it is, for take.json. An OCIO variable wins over the script."""
    named = {
        "management": "colorManagement",
        "config": "OCIO_config",
        "custom_config": "customOCIOConfigPath",
        "working_space": "workingSpaceLUT",
    }
    found = {key: plain_name(_value(knob)) for key, knob in named.items()}
    found["environment"] = os.environ.get("OCIO", "")
    return {key: value for key, value in found.items() if value}


def _value(name: str) -> str:
    knob: Any = nuke.root().knob(name)
    return "" if knob is None else str(knob.value())
