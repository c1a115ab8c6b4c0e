# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a path that an artist set leads on this machine: the .blend may have been made on another, of another system.

Knows Blender's // and the tilde; touches no disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

import bpy


def whole(text: str, library: Optional[Any] = None) -> Path:
    r"""The path behind // and ~. Where neither stands before it, as it is: on Linux and macOS D:\takes is no whole path.

    Windows' Blender keeps `//..\plates\`. Blender mends its own paths of that kind when it opens the file elsewhere, and no extension's.
    `library`: of the data-block that the path is set on; // is where that lies.
    """
    if text.startswith("//") and os.sep == "/":
        text = text.replace("\\", "/")
    return Path(bpy.path.abspath(text, library=library)).expanduser()
