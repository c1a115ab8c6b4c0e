# SPDX-License-Identifier: Apache-2.0
"""What VACE is told about a shot: plate outside the region, what leads it inside, and the region, by VACE's own rules.

White (1) is where to generate, grey 0.5 says "nothing is known here, invent it"; near is white in a depth. The region is always
binary: a soft mask reaches the 64 mask channels as it is and yet makes nothing reactive. Feathering is the matte's business.
Plain functions on arrays of code values; knows no files, no networks but for the fold of the mask.
"""

from __future__ import annotations

from typing import Callable, List, Sequence

import numpy as np
import torch

#: Code value of "not known": 0.0 once pictures are in [-1, 1].
GREY = np.float32(0.5)


def clip_frames(frames: range, last: int) -> List[int]:
    """The frames to generate, 4 k + 1 of them: those asked for, then real ones up to `last`, then the last one again and again.

    diffusers would round down to 4 k + 1 with a warning, and frames would be lost.
    """
    count = (len(frames) + 2) // 4 * 4 + 1
    return [min(frames.start + i, max(last, frames[-1])) for i in range(count)]


def pooled(region: Callable[[int], np.ndarray], count: int) -> Callable[[int], np.ndarray]:
    """The region of each of `count` frames, the same for all frames of a latent frame: their union, a frame more at either side,
    and that of the latent frame before.

    The transformer reads the mask of one frame in four and no more, and not of its own four: for 17 frames those are 1, 5, 8, 11 and 15,
    where latent frame 1 codes frames 1 to 4. So each frame read must know its own latent frame's region and its predecessor's.
    """

    kept: dict[int, np.ndarray] = {}

    def of(i: int) -> np.ndarray:
        latent = (i + 3) // 4
        if latent not in kept:
            around = [region(frame) for frame in range(max(0, 4 * latent - 8), min(count, 4 * latent + 2))]
            kept.clear()  # frames come in order
            kept[latent] = np.logical_or.reduce(around)
        return kept[latent]

    return of


def lead(plate: np.ndarray, led_by: np.ndarray, follow: float) -> np.ndarray:
    """What stands inside the region, (h, w, 3) codes: grey at follow 0, `led_by` at 0.5, the plate at 1, mixed between."""
    if follow <= 0.5:
        part = np.float32(2.0 * follow)
        return GREY * (1 - part) + led_by * part
    part = np.float32(2.0 * follow - 1.0)
    return led_by * (1 - part) + plate * part


class NearIsWhite:
    """Depth as VACE was taught it: 1 / Z from 0 to 1, one scale for the whole shot, or the picture would pump with every frame."""

    def __init__(self, depths: Sequence[np.ndarray] | Callable[[], object]) -> None:
        nearest, farthest = 0.0, np.inf
        for z in depths() if callable(depths) else depths:
            inverse = _inverse(z)
            nearest, farthest = max(nearest, float(inverse.max())), min(farthest, float(inverse.min()))
        self._low, self._span = farthest, max(nearest - farthest, 1e-6)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """(h, w) metres, inf is sky, to (h, w, 3) codes."""
        code = np.clip((_inverse(z) - self._low) / self._span, 0.0, 1.0).astype(np.float32)
        return np.repeat(code[..., None], 3, axis=-1)


def _inverse(z: np.ndarray) -> np.ndarray:
    return 1.0 / np.maximum(z, 1e-3)


def on_white(picture: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """A reference image, (h, w, 3) codes of any size, as large as it goes in the middle of a white picture of `size`: (3, h, w) in
    [-1, 1]. The stock pipeline's own way, to the bit where the picture's sides are of 8 (others it resamples in 8 bits first)."""
    image = 2.0 * torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))[None] - 1.0
    scale = min(size[0] / image.shape[2], size[1] / image.shape[3])
    h, w = max(1, int(image.shape[2] * scale)), max(1, int(image.shape[3] * scale))
    small = torch.nn.functional.interpolate(image, size=(h, w), mode="bilinear", align_corners=False)[0]
    top, left = (size[0] - h) // 2, (size[1] - w) // 2
    out = torch.ones(3, *size)
    out[:, top : top + h, left : left + w] = small
    return out


def fold(masks: Callable[[int], np.ndarray], count: int, size: tuple[int, int]) -> torch.Tensor:
    """The region as the transformer takes it, (1, 64, t, h / 8, w / 8): each 8 x 8 block in 64 channels, one frame of a latent frame.

    masks(i): (h, w) bool; only the frames that `nearest-exact` picks are read.
    """
    t = (count + 3) // 4
    picked = torch.nn.functional.interpolate(torch.arange(count, dtype=torch.float32)[None, None], size=t, mode="nearest-exact")[0, 0]
    h, w = size
    out = []
    for i in picked.int().tolist():
        mask = torch.from_numpy(np.ascontiguousarray(masks(i), np.float32)).view(h // 8, 8, w // 8, 8)
        out.append(mask.permute(1, 3, 0, 2).flatten(0, 1))
    return torch.stack(out, 1)[None]
