# SPDX-License-Identifier: Apache-2.0
"""Long shots and large pictures: windows of latent frames and tiles of latent pixels, all of one size, whose results are blended inside
each step over one noise.

It knows numbers of latent frames and pixels. It must not know networks, pictures or devices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional, Tuple

#: Latent pixels that a transformer takes together, along each side.
PATCH = 2
#: Of a tile's side, what it shares with the next.
SHARED = 0.25


@dataclass(frozen=True)
class Window:
    """Latent frames first .. first + len(weights) - 1, and how much of each this window gives."""

    first: int
    weights: Tuple[float, ...]

    @property
    def stop(self) -> int:
        return self.first + len(self.weights)

    @property
    def whole(self) -> bool:
        """Whether it is alone everywhere: nothing is blended then."""
        return all(weight == 1.0 for weight in self.weights)


def latent_frames(frames: int) -> int:
    """How many latent frames code 4 k + 1 frames: the first one alone, then four each. Raises ValueError for another number."""
    if frames < 1 or frames % 4 != 1:
        raise ValueError(f"{frames} frames are not 4 k + 1.")
    return (frames - 1) // 4 + 1


def plan(total: int, length: int = 21, overlap: int = 5) -> List[Window]:
    """Windows over `total` latent frames that overlap by `overlap` or more; 21 latent frames are the model's own 81 frames.

    Every window is whole: a short last one makes worse pictures (DiffHDR). They stand as evenly as they can, so the overlap that
    is to spare is shared by all. Weights rise and fall linearly where windows overlap and sum to one at each frame; a shot that
    fits is one window of weights exactly one.
    """
    if not 0 < overlap < length:
        raise ValueError(f"Windows of {length} latent frames cannot overlap by {overlap}.")
    if total <= length:
        return [Window(0, (1.0,) * total)]
    count = math.ceil((total - overlap) / (length - overlap))
    firsts = [round(k * (total - length) / (count - 1)) for k in range(count)]
    raw = []
    for k, first in enumerate(firsts):
        before = firsts[k - 1] + length - first if k else 0
        after = first + length - firsts[k + 1] if k + 1 < count else 0
        rising = [(i + 1) / (before + 1) if before else 1.0 for i in range(length)]
        falling = [(length - i) / (after + 1) if after else 1.0 for i in range(length)]
        raw.append([min(1.0, up, down) for up, down in zip(rising, falling)])
    sums = [0.0] * total
    for first, row in zip(firsts, raw):
        for i, weight in enumerate(row):
            sums[first + i] += weight
    return [Window(first, tuple(weight / sums[first + i] for i, weight in enumerate(row))) for first, row in zip(firsts, raw)]


@dataclass(frozen=True)
class Block:
    """A part of a latent clip: a window of its frames, and of each a tile."""

    frames: Window
    rows: Window
    columns: Window


def tiles(size: Tuple[int, int], tile: Optional[Tuple[int, int]]) -> List[Tuple[Window, Window]]:
    """Tiles over a picture of `size` (h, w) latent pixels, rows and columns of each; None is one tile. The product of a tile's two weights
    is what it gives to a pixel, and sums to one at each. Tiles share a quarter of their side at least, and all are whole."""
    spans = []
    for total, length in zip(size, tile or size):
        units, most = total // PATCH, max(2, min(total, length) // PATCH)
        shared = min(most - 1, max(1, round(most * SHARED)))
        spans.append([_widened(window) for window in plan(units, most, shared)])
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def _widened(window: Window) -> Window:
    return Window(PATCH * window.first, tuple(weight for weight in window.weights for _ in range(PATCH)))


def blocks(latents: Tuple[int, int, int], length: int, overlap: int, tile: Optional[Tuple[int, int]] = None) -> List[Block]:
    """What a network is called on, one after another, for a clip of (frames, h, w) latents; alone it is the whole of it."""
    return [Block(frames, *both) for frames in plan(latents[0], length, overlap) for both in tiles(latents[1:], tile)]
