# SPDX-License-Identifier: Apache-2.0
"""Dials that change over a shot: a value at some frames, straight between them, held before the first and after the last.

The same curve is typed (`amount=1001:0.2,1048:2`), sampled from a host's keyframes, sent, kept in take.json and read back. Knows dials
and frames; must not know what a dial does to the dust.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from .dials import Dial, Value, find
from .errors import RequestError
from .frames import FrameRange

#: Keys of a curve at most: as many as a shot may have frames.
MAX_KEYS = 100_000
#: Hosts keep single floats: two values that differ by less than this part of themselves are the same to them.
SINGLE = 1e-6
_KEY = re.compile(r"(?:^|[,;\s])\s*(-?\d+)\s*:")
Keys = Tuple[Tuple[int, Value], ...]


@dataclass(frozen=True)
class Curve:
    """A dial's values over a shot. `keys`: (frame, value), frames ascending. str() gives what `--set` takes."""

    dial: str
    keys: Keys

    def at(self, frame: int) -> Value:
        """The value at a frame."""
        after = bisect_left(self.keys, (frame + 1,))  # a shorter tuple comes first: no value is ever compared
        if after == 0 or after == len(self.keys) or self.keys[after - 1][0] == frame:
            return self.keys[max(after - 1, 0)][1]
        (left, a), (right, b) = self.keys[after - 1 : after + 1]
        return _between(find(self.dial), a, b, (frame - left) / (right - left))

    def within(self, frames: FrameRange) -> Union[Value, Curve]:
        """The same curve as a request for these frames keeps it, or the one value it has there.

        Keys beyond the range become its value at the range's ends, and keys between two of the same value go: so the same
        values are the same request.
        """
        inside = [key for key in self.keys if frames.first < key[0] < frames.last]
        keys = [(frames.first, self.at(frames.first)), *inside, (frames.last, self.at(frames.last))]
        kept = [keys[n] for n in range(len(keys)) if n in (0, len(keys) - 1) or not keys[n - 1][1] == keys[n][1] == keys[n + 1][1]]
        if len(frames) == 1 or all(value == kept[0][1] for _, value in kept):
            return kept[0][1]
        return Curve(self.dial, tuple(kept))

    def summary(self) -> str:
        """For a list of takes: '0.2→2', and the farthest value in between where the curve goes beyond its ends: '1→3→1'."""
        values = [value for _, value in self.keys]
        shown = [values[0], values[-1]]
        if not isinstance(values[0], tuple):
            low, high = sorted(float(v) for v in shown)  # type: ignore[arg-type]
            beyond = max(values, key=lambda v: max(low - float(v), float(v) - high))  # type: ignore[arg-type]
            if not low <= float(beyond) <= high:  # type: ignore[arg-type]
                shown.insert(1, beyond)
        return "→".join(_said(value, "%.4g", "/") for value in shown)

    def __str__(self) -> str:
        between = ";" if find(self.dial).kind == "colour" else ","
        return between.join("%d:%s" % (frame, _said(value, "%.9g", ",")) for frame, value in self.keys)


def read(dial: Dial, value: Any) -> Union[Value, Curve]:
    """What a dial is turned to, checked: one value, or a curve.

    A curve is a `Curve`, text like "1001:0.2,1048:2" (colours: "1001:0.6,0.5,0.4;1048:0.3,0.3,0.3"), {frame: value}, or a list of
    [frame, value]. Raises RequestError: out of range, no frame, a frame twice, a dial that can't change over a shot.
    """
    keys = None if dial.kind == "text" else _keys(dial, value)  # "at 10:30" is no curve
    if keys is None:
        return dial.check(value)
    if dial.still:
        raise RequestError("%s can't be animated: %s." % (dial.label, dial.still), "Give it one value for the whole shot.")
    if not 0 < len(keys) <= MAX_KEYS:
        raise RequestError("%s has %d keys." % (dial.name, len(keys)), "Give 1 to %d, like %s." % (MAX_KEYS, _example(dial)))
    found: Dict[int, Value] = {}
    for frame, one in keys:
        if isinstance(frame, bool) or not isinstance(frame, int) or abs(frame) > 10**9:
            raise RequestError(
                "%s has a key at %r, which is no frame." % (dial.name, frame), "Frames are whole numbers, like %s." % _example(dial)
            )
        if frame in found:
            raise RequestError("%s has two values at frame %d." % (dial.name, frame), "Leave one of them.")
        found[frame] = dial.check(one)
    return Curve(dial.name, tuple(sorted(found.items())))


def sampled(name: str, values: Mapping[int, Any]) -> Union[Value, Curve]:
    """A dial's values frame by frame, as a host evaluates its keyframes, as the curve with the fewest keys that gives them back.

    To the single float that the host keeps: keys set on a straight line come out as its two ends, as they would be typed.
    """
    dial = find(name)
    at = [(frame, dial.check(values[frame])) for frame in sorted(values)]
    if not at:
        raise RequestError("%s has no value at any frame." % name, "Give it one.")
    if all(_same(value, at[0][1]) for _, value in at):
        return at[0][1]
    keys, spans = {0, len(at) - 1}, [(0, len(at) - 1)]
    while spans:  # the frame that is farthest off a line becomes a key, and each half is looked at anew
        first, last = spans.pop()
        worst = _farthest_off(dial, at, first, last)
        if worst is not None:
            keys.add(worst)
            spans += [(first, worst), (worst, last)]
    curve = read(dial, [at[n] for n in sorted(keys)])
    assert isinstance(curve, Curve)
    return curve


def value_at(values: Union[Value, Curve], frame: int) -> Value:
    """The value at a frame, of a dial that changes or doesn't."""
    return values.at(frame) if isinstance(values, Curve) else values


def _keys(dial: Dial, value: Any) -> Optional[List[Tuple[Any, Any]]]:
    """Pairs of frame and value, unchecked; None where it is one value."""
    if isinstance(value, Curve):
        return list(value.keys)
    if isinstance(value, str) and ":" in value and dial.kind not in ("text", "choice"):
        parts = _KEY.split(value.strip())
        if parts[0].strip() or len(parts) < 3:
            raise RequestError("%s = %r is no curve." % (dial.name, value), "Write frames and values like %s." % _example(dial))
        return [(int(frame), text.strip(" ,;")) for frame, text in zip(parts[1::2], parts[2::2])]
    if isinstance(value, Mapping):
        return [(int(f) if isinstance(f, str) and re.fullmatch(r"-?\d+", f) else f, v) for f, v in value.items()]  # JSON's keys are text
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, (list, tuple)) for part in value):
        if any(len(part) != 2 for part in value):
            raise RequestError("A key of %s is not a frame and a value." % dial.name, "Write [[1001, 0.2], [1048, 2]].")
        return [(part[0], part[1]) for part in value]
    return None


def _between(dial: Dial, a: Value, b: Value, part: float) -> Value:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return tuple(x + (y - x) * part for x, y in zip(a, b))  # type: ignore[return-value]
    number = float(a) + (float(b) - float(a)) * part  # type: ignore[arg-type]
    return math.floor(number + 0.5) if dial.kind == "int" else min(max(number, dial.minimum), dial.maximum)


def _farthest_off(dial: Dial, at: List[Tuple[int, Value]], first: int, last: int) -> Optional[int]:
    """Which of the values between two is farthest off the line between them; None where all are on it."""
    (left, a), (right, b) = at[first], at[last]
    worst, how_far = None, 0.0
    for n in range(first + 1, last):
        frame, value = at[n]
        on_line = _between(dial, a, b, (frame - left) / (right - left))
        off = max(abs(x - y) for x, y in _pairs(on_line, value))
        if off > how_far and not _same(on_line, value):
            worst, how_far = n, off
    return worst


def _pairs(a: Value, b: Value) -> List[Tuple[float, float]]:
    left, right = (value if isinstance(value, tuple) else (value,) for value in (a, b))
    return [(float(x), float(y)) for x, y in zip(left, right)]


def _same(a: Value, b: Value) -> bool:
    return all(abs(x - y) <= SINGLE * max(1e-3, abs(x), abs(y)) for x, y in _pairs(a, b))


def _said(value: Value, form: str, between: str) -> str:
    if isinstance(value, tuple):
        return between.join(form % part for part in value)
    return form % value if isinstance(value, float) else str(value)


def _example(dial: Dial) -> str:
    return "1001:0.6,0.5,0.4;1048:0.3,0.3,0.3" if dial.kind == "colour" else "%s=1001:%g,1048:%g" % (dial.name, dial.minimum, dial.maximum)
