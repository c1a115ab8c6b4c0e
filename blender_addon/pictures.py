# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures in the panels: a take's preview, the picture as it forms, a preset's thumbnail. Blender loads them when they are drawn.

Gives icon numbers; 0 where there is no picture. Knows files, not takes or jobs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Optional, Union

import bpy.utils.previews

_held: Optional[Any] = None
_png: Optional[bytes] = None
_number = 0

formed = 0
"""The icon of the picture as it forms, 0 before there is one."""


def of_file(path: Union[str, Path]) -> int:
    """The icon of a picture or film on disk (a film's middle frame)."""
    if _held is None:
        return 0
    key = str(path)
    if key not in _held:
        path = Path(path)
        if not path.is_file():
            return 0
        _held.load(key, key, "MOVIE" if path.suffix == ".mp4" else "IMAGE")
    return int(_held[key].icon_id)


def form(png: Optional[bytes]) -> bool:
    """Makes these bytes the picture that `formed` shows. False, and nothing done, with those it shows already."""
    global formed, _png, _number
    if _held is None or png is None or png is _png:
        return False
    _held.pop("forming %d" % _number, None)
    _number += 1
    with tempfile.NamedTemporaryFile(suffix=".png", delete=False) as file:
        file.write(png)
    try:
        picture = _held.load("forming %d" % _number, file.name, "IMAGE")
        picture.image_size[:]  # read now: the file goes
    finally:
        Path(file.name).unlink()
    formed, _png = int(picture.icon_id), png
    return True


def register() -> None:
    global _held
    _held = bpy.utils.previews.new()


def unregister() -> None:
    global _held, _png, formed
    if _held is not None:
        bpy.utils.previews.remove(_held)
    _held, _png, formed = None, None, 0
