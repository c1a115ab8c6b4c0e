# SPDX-License-Identifier: GPL-3.0-or-later
"""What a demo shot is, on disk, and the few ways of writing its files. Knows nothing of how shots are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, steps done, steps in all."""


@dataclass(frozen=True)
class Shot:
    """A shot ready to go through the bridge.

    Sequence patterns are None where the passes are still to be captured from `scene` (a .blend whose frames are the
    shot's). `mask_collection`: the collection whose Cryptomatte is the mask, then. Frames are inclusive.
    """

    name: str
    folder: Path
    scene: Path
    first_frame: int
    last_frame: int
    width: int
    height: int
    fps: int
    plate: str | None = None
    depth: str | None = None
    mask: str | None = None
    vectors: str | None = None
    camera: Path | None = None
    mask_collection: str | None = None
    credit: str = ""


def write_exr(path: Path, pixels: np.ndarray, channels: Sequence[str], *, half: bool = False, credit: str = "") -> None:
    """(h, w, channels) -> one EXR, ZIP, scene-linear Rec.709; whole or not at all."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(channels), oiio.HALF if half else oiio.FLOAT)
    spec.channelnames = tuple(channels)
    spec.attribute("compression", "zip")
    spec.attribute("oiio:ColorSpace", "lin_rec709")
    if credit:
        spec.attribute("Copyright", credit)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part.exr")
    out = oiio.ImageOutput.create(str(part))
    if out is None or not out.open(str(part), spec):
        raise OSError(f"Cannot write {path}: {oiio.geterror() or 'no access'}. Choose a folder you may write to.")
    done = out.write_image(np.ascontiguousarray(pixels, np.float32))
    problem = out.geterror()
    out.close()
    if not done:
        part.unlink(missing_ok=True)
        raise OSError(f"Cannot write {path}: {problem}. Is the disk full?")
    part.replace(path)


def read_passes(path: Path) -> dict[str, np.ndarray]:
    """A multilayer EXR of Blender's as {channel name: (h, w) float32}, one part or many."""
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise OSError(f"Cannot read {path}: {oiio.geterror()}")
    result, part = {}, 0
    while source.seek_subimage(part, 0):
        spec = source.spec()
        pixels = source.read_image(part, 0, 0, spec.nchannels, oiio.FLOAT)
        result.update({name: pixels[..., i] for i, name in enumerate(spec.channelnames)})
        part += 1
    source.close()
    return result


def write_camera(path: Path, focal_mm: float, sensor_width_mm: float, matrices: dict[int, np.ndarray]) -> None:
    """camera.json as `platebridge generate --camera` reads it; matrices (4, 4) camera to world by frame, metres, z up."""
    frames = [{"frame": frame, "camera_to_world": np.asarray(matrix, float).tolist()} for frame, matrix in matrices.items()]
    path.write_text(json.dumps({"focal_mm": focal_mm, "sensor_width_mm": sensor_width_mm, "up": [0, 0, 1], "frames": frames}, indent=1))
