# SPDX-License-Identifier: GPL-3.0-or-later
"""A mask that lies in pictures (PNG, TIFF, JPEG …) or in a strip of the sequencer: which of its channels is the mask, and its numbers.

A mask is data: code values go to 0…1 as they are stored, through no colour space. Knows files, strips and pixels; nothing of plans.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping

import bpy
import numpy as np
from platebridge.errors import InputError

from . import passes, versions

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec.709; grey has the same in all three
SOLID = 1 - 1 / 512


def is_picture(path: Path) -> bool:
    """Whether the file is read here. EXR files go to the server as they are."""
    return path.suffix.lower() != ".exr"


def is_white_on_black(path: Path) -> bool:
    """Whether an EXR has a picture's channels and no matte's: its brightness is what is left."""
    try:
        return {name.upper() for name in passes.channel_names(path)} == {"R", "G", "B"}
    except InputError:  # whoever reads it says what is wrong with it
        return False


def chosen_channel(wanted: str, first: Path) -> str:
    """ "ALPHA" or "BRIGHTNESS" for a sequence, by what the artist chose and, where that is "AUTO", by the shot's first file.

    One choice for all frames: it must not change where a shape happens to cover the whole picture. Raises InputError.
    """
    return wanted if wanted != "AUTO" else _automatic(first, first.stat().st_mtime_ns)


def of_picture(path: Path, channel: str) -> np.ndarray:
    """The mask in a picture: (height, width) float32 in [0, 1]. Raises InputError: no such file, or no alpha where that was chosen."""
    names, pixels = passes.read_picture(path)
    if channel == "BRIGHTNESS":
        return _brightness(pixels if _alpha(names, pixels) is None else pixels[..., :-1])
    alpha = _alpha(names, pixels)
    if alpha is None:
        raise InputError("%s has no alpha." % path.name, "Set Mask Is In to Brightness.", input="mask")
    return np.clip(alpha, 0, 1)


def of_render(channels: Mapping[str, np.ndarray], channel: str) -> np.ndarray:
    """The mask in a rendered strip's channels: (height, width) float32 in [0, 1]."""
    if channel == "ALPHA":
        return np.clip(channels["A"], 0, 1)
    return _brightness(np.stack([channels[name] for name in "RGB"], -1))


def channel_of_strip(wanted: str, strip: Any) -> str:
    """The same for a strip that is rendered. A film has alpha at the edges of its frame alone, so what is automatic is its brightness."""
    if wanted != "AUTO":
        return wanted
    if strip.type == "SCENE":
        return "ALPHA" if strip.scene is not None and strip.scene.render.film_transparent else "BRIGHTNESS"
    if strip.type != "IMAGE":
        return "BRIGHTNESS"
    first = Path(bpy.path.abspath(strip.directory, library=strip.id_data.library), strip.elements[0].filename)
    if is_picture(first):
        return chosen_channel(wanted, first)
    return "ALPHA" if "A" in {name.rpartition(".")[2] for name in passes.channel_names(first)} else "BRIGHTNESS"


def as_data(strip: Any) -> List[versions.Change]:
    """What to set so that the sequencer hands on the stored values of the strip and of those that it is made of.

    Nothing where there are none, as in a scene's render.
    """
    space = getattr(strip, "colorspace_settings", None)
    own = [(space, "name", "Non-Color")] if space is not None else []
    return own + [change for part in versions.made_of(strip) for change in as_data(part)]


def identity(files: Mapping[int, Path]) -> List[Any]:
    """Equal for equal files, also where Save As made another way to them: an artist who writes a matte anew has it read anew."""
    out: Dict[Path, Any] = {}
    for path in files.values():
        if path not in out:
            state = path.stat()
            out[path] = [os.path.abspath(path), state.st_mtime_ns, state.st_size]
    return list(out.values())


@functools.lru_cache(maxsize=1)
def _automatic(first: Path, _written: int) -> str:
    names, pixels = passes.read_picture(first)
    alpha = _alpha(names, pixels)
    return "BRIGHTNESS" if alpha is None or alpha.min() > SOLID else "ALPHA"


def _alpha(names: List[str], pixels: np.ndarray) -> Any:
    return pixels[..., -1] if len(names) in (2, 4) else None


def _brightness(pixels: np.ndarray) -> np.ndarray:
    grey = pixels[..., 0] if pixels.shape[-1] < 3 else pixels[..., :3] @ LUMINANCE
    return np.clip(grey, 0, 1)
