# SPDX-License-Identifier: Apache-2.0
"""A small scene as a picture model is given it, and the tiny model's folder, for the tests of VACE."""

from __future__ import annotations

import numpy as np

FRAMES, SIZE = 17, (64, 96)


def scene(count: int = FRAMES, size=SIZE):
    """(plate, led_by (count, h, w, 3) float32 codes in [0, 1], region (count, h, w) bool): a disc that moves over a textured plate."""
    h, w = size
    rows, columns = np.mgrid[0:h, 0:w].astype(np.float32)
    rng = np.random.default_rng(3)
    plate = np.stack([0.4 + 0.3 * np.sin(columns / 7 + k) * np.cos(rows / 9) for k in range(3)], -1) + rng.normal(0, 0.01, (h, w, 3))
    plate = np.repeat(np.clip(plate, 0, 1)[None].astype(np.float32), count, 0)
    region = np.stack([(rows - h / 2) ** 2 + (columns - w / 4 - 2 * i) ** 2 < (h / 4) ** 2 for i in range(count)])
    led_by = np.where(region[..., None], np.float32([0.7, 0.65, 0.6]), plate).astype(np.float32)
    return plate, led_by, region
