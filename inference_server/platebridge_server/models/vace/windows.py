# SPDX-License-Identifier: Apache-2.0
"""Long shots: windows of latent frames, all of one length, whose results are blended inside each step over one noise.

It knows numbers of latent frames. It must not know networks, pictures or devices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Tuple


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
