# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures in the panels: a take's preview and a preset's thumbnail, which Blender loads when they are drawn, and the picture as it forms,
which is taken apart on a thread of its own (it never touches bpy) and shown by the timer.

Gives icon numbers; 0 where there is no picture. Knows files and PNG bytes, not takes or jobs.
"""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import Any, Optional, Union

import bpy.utils.previews
import numpy as np

from . import png

log = logging.getLogger(__name__)
_held: Optional[Any] = None
_asked: Optional[bytes] = None  # the bytes that are shown, or will be
_taken_apart: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
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


def form(data: Optional[bytes]) -> None:
    """These PNG bytes shall be the picture that `formed` shows, soon, by `poll`. Returns at once."""
    global _asked
    if _held is not None and data is not None and data is not _asked:
        _asked = data
        threading.Thread(target=_take_apart, args=(data,), name="platebridge picture", daemon=True).start()


def poll() -> bool:
    """Shows the picture that was taken apart since the last call. Whether there was one."""
    global formed, _number
    try:
        packed = _taken_apart.get_nowait()
    except queue.Empty:
        return False
    if _held is None:
        return False
    _held.pop("forming %d" % _number, None)
    _number += 1
    picture = _held.new("forming %d" % _number)
    picture.image_size = packed.shape[1], packed.shape[0]
    picture.image_pixels.foreach_set(packed.ravel())
    formed = int(picture.icon_id)
    return True


def _take_apart(data: bytes) -> None:
    """As Blender keeps an icon: the bottom row first, four bytes a pixel in one int32."""
    try:
        _taken_apart.put(np.ascontiguousarray(png.pixels(data)[::-1]).view(np.int32)[..., 0])
    except ValueError as error:  # it is only a glance: the take goes on
        log.info("The server's preview can't be shown: %s", error)


def register() -> None:
    global _held
    _held = bpy.utils.previews.new()


def unregister() -> None:
    global _held, _asked, formed
    if _held is not None:
        bpy.utils.previews.remove(_held)
    _held, _asked, formed = None, None, 0
