# SPDX-License-Identifier: Apache-2.0
"""Long shots: windows of frames blended inside each level of denoising, in an order that finishes early frames first.

It knows frames, windows, levels and who depends on whom. It must not know networks, pictures or devices: what a
window's denoising is, is given to it as a function.

Level s of a window needs level s - 1 of itself and of both its neighbours, and of nothing else. So windows are run
along a slanting front: (k, 0), (k - 1, 1), (k - 2, 2) ... One needs to hold a few windows, not the shot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """Frames first .. first + len(weights) - 1 and how much of each frame's value this window gives."""

    first: int
    weights: tuple[float, ...]

    @property
    def frames(self) -> range:
        return range(self.first, self.first + len(self.weights))


def plan(frames: range, length: int = 16, overlap: int = 4) -> list[Window]:
    """Windows over consecutive frames, of at most `length` each, neighbours sharing `overlap`.

    At each frame the weights of all windows sum to one; they ramp linearly where two overlap. Only neighbours overlap.
    A shot that fits is one window with weights of exactly one.
    """
    total = len(frames)
    if total == 0:
        return []
    if not 0 < 3 * overlap <= length:
        raise ValueError(f"Windows of {length} frames cannot overlap by {overlap}: the overlap can be a third of the window at most.")
    if total <= length:
        return [Window(frames.start, (1.0,) * total)]
    count = math.ceil((total - overlap) / (length - overlap))
    # Windows as short as will do, and as equal: the network's cost is per frame, and a sliver of a window is wasted.
    least, longer = divmod(total + (count - 1) * overlap, count)
    sizes = [least + (k < longer) for k in range(count)]
    firsts = [sum(sizes[:k]) - k * overlap for k in range(count)]
    ramp = [(i + 1) / (overlap + 1) for i in range(overlap)]
    out = []
    for k, (first, size) in enumerate(zip(firsts, sizes)):
        weights = [1.0] * size
        if k:
            weights[:overlap] = ramp
        if k + 1 < count:
            weights[size - overlap :] = [1.0 - weight for weight in ramp]
        out.append(Window(frames.start + first, tuple(weights)))
    return out


def order(windows: list[Window], levels: int, first_needed: int | None = None) -> list[tuple[int, int]]:
    """(window, level) in the order to run them. With `first_needed`, only what frames from there on depend on."""
    start = 0
    if first_needed is not None:
        start = next((k for k, w in enumerate(windows) if w.frames.stop > first_needed), len(windows))
    out = []
    for front in range(len(windows) + levels - 1):
        for level in range(levels):
            window = front - level
            # One neighbour more is needed for each level that is still to come.
            if 0 <= window < len(windows) and window >= start - (levels - 1 - level):
                out.append((window, level))
    return out


def run(windows: list[Window], levels: int, denoise: Callable, advance: Callable, begin: Callable[[int], Any],
        first_needed: int | None = None) -> Iterator[tuple[int, Any]]:
    """Denoise all frames; yields (frame, value) in order as they are finished, from `first_needed` on.

    begin(frame) -> the frame's value at level 0. denoise(frames, values, level) -> the list of their denoised values.
    advance(value, denoised, before, level) -> the value at level + 1. Values need + and * by a number.
    """
    if not windows:
        return
    first = windows[0].first if first_needed is None else first_needed
    value: dict[tuple[int, int], Any] = {}  # (frame, level) -> value before that level's denoising
    blend: dict[tuple[int, int], Any] = {}  # (frame, level) -> weighted sum of the windows so far
    before: dict[tuple[int, int], Any] = {}  # (frame, level) -> denoised value of the level before
    covered: dict[int, int] = {}
    for window in windows:
        for frame in window.frames:
            covered[frame] = covered.get(frame, 0) + 1
    todo = order(windows, levels, first_needed)
    left: dict[tuple[int, int], int] = {}
    for number, level in todo:
        for frame in windows[number].frames:
            left[frame, level] = left.get((frame, level), 0) + 1
    # A frame on the rim of the cone lacks one of its windows: it is run, as its window is, but goes no further.
    whole = {key for key, count in left.items() if count == covered[key[0]]}
    for number, level in todo:
        window = windows[number]
        for frame in window.frames:
            if level == 0 and (frame, 0) not in value:
                value[frame, 0] = begin(frame)
        got = denoise(list(window.frames), [value[frame, level] for frame in window.frames], level)
        for frame, weight, denoised in zip(window.frames, window.weights, got):
            key = frame, level
            if covered[frame] == 1:
                blend[key] = denoised
            else:
                blend[key] = denoised * weight if key not in blend else blend[key] + denoised * weight
            left[key] -= 1
            if left[key]:
                continue
            mixed, old = blend.pop(key), before.pop(key, None)
            if key in whole:
                result = advance(value[key], mixed, old, level)
                if level + 1 < levels:
                    value[frame, level + 1], before[frame, level + 1] = result, mixed
                elif frame >= first:
                    yield frame, result
            del value[key]
