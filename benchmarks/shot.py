# SPDX-License-Identifier: Apache-2.0
"""A shot to measure with, of any size and length: a block sinks before a wall on a flat ground; the camera stands still."""

from __future__ import annotations

import json
from pathlib import Path
from typing import List

import numpy as np
import OpenImageIO as oiio

FIRST, STILL, TALL_M, AWAY_M = 1001, 4, 20.0, 60.0


def make(folder: Path, width: int, height: int, frames: int) -> List[str]:
    """Writes plate, depth, mask and camera.json; gives the options of `platebridge generate` that name them."""
    focal = 35.0 / 36.0 * width
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    below = (rows + 0.5 - height / 2) / focal  # the ground lies 2 m under a level camera
    ground = np.where(below > 2 / 90, 2 / np.maximum(below, 1e-6), np.float32(90))
    grain = np.random.default_rng(0).normal(0, 0.01, (height, width, 3)).astype(np.float32)
    for n in range(frames):
        drop = 0.5 * 6.0 * (max(0, n - STILL) / 24.0) ** 2
        top = height / 2 - (TALL_M - 2 - drop) / AWAY_M * focal
        inside = (rows > top) & (abs(columns - width / 2) < 8 / AWAY_M * focal) & (ground >= AWAY_M)
        z = np.where(inside, np.float32(AWAY_M), ground)
        shade = 0.35 + 0.1 * np.sin(columns / 9) * np.sin((rows - top) / 7)
        plate = (
            np.where(
                inside[..., None], shade[..., None] * [1.0, 0.9, 0.8], np.where((z < 90)[..., None], [0.3, 0.3, 0.28], [1.5, 2.0, 3.0])
            )
            + grain
        )
        for name, pixels, channels, kind in (
            ("plate", plate, "RGB", "half"),
            ("depth", z[..., None], "Z", "float"),
            ("mask", inside[..., None], "A", "half"),
        ):
            path = folder / name / f"{name}.{FIRST + n}.exr"
            path.parent.mkdir(parents=True, exist_ok=True)
            spec = oiio.ImageSpec(width, height, len(channels), kind)
            spec.channelnames = tuple(channels)
            out = oiio.ImageOutput.create(str(path))
            if not (out.open(str(path), spec) and out.write_image(np.ascontiguousarray(pixels, np.float32)) and out.close()):
                raise OSError(out.geterror())
    matrix = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 2], [0, 0, 0, 1]]  # level, looking along +y, z up, 2 m above ground
    camera = {"focal_mm": 35.0, "sensor_width_mm": 36.0, "up": [0, 0, 1], "frames": [{"frame": FIRST, "camera_to_world": matrix}]}
    (folder / "camera.json").write_text(json.dumps(camera))
    options = [text for name in ("plate", "depth", "mask") for text in (f"--{name}", str(folder / name / f"{name}.####.exr"))]
    return [*options, "--depth-kind", "z", "--camera", str(folder / "camera.json"), "--frames", f"{FIRST}-{FIRST + frames - 1}"]
