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

    A role is shown with the space it stands for, `scene_linear (ACEScg)`, before the TAB or behind it: the space is sent, for the server
    has another config.
    """
    role = re.match(r"(?:([a-z_]+)\t(?:[^\t]*/)?\1|[a-z_]+) \(([^\t]+)\)(?:\t|$)", item)
    return role.group(2) if role else item.split("\t")[0].strip()


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
    """What a knob of the script says, as its menu's whole item where it has one: a script keeps what stands before the TAB alone."""
    knob: Any = nuke.root().knob(name)
    said = "" if knob is None else str(knob.value())
    return next((item for item in getattr(knob, "values", list)() if item.split("\t")[0] == said), said)
