# SPDX-License-Identifier: Apache-2.0
"""Frame ranges and file patterns, in the shot's own frame numbers, and which names no file may have.

The thin client's small half of it (a range is inclusive, a pattern has one run of #); the server's command uses fileseq
for everything an artist may type beyond that.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator, Tuple

from .errors import RequestError


@dataclass(frozen=True)
class FrameRange:
    """Inclusive: 1001-1048 is 48 frames."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise RequestError(
                "The frame range %d-%d ends before it begins." % (self.first, self.last), "Give it as first-last, like 1001-1048."
            )

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __contains__(self, frame: object) -> bool:
        return isinstance(frame, int) and self.first <= frame <= self.last

    def __str__(self) -> str:
        return "%d-%d" % (self.first, self.last)


def parse_range(text: str) -> FrameRange:
    """"1001-1048" or "1001" to a range; negative frames are allowed ("-10--2").

    Raises RequestError with the form that is wanted.
    """
    found = re.fullmatch(r"\s*(-?\d+)\s*(?:-\s*(-?\d+)\s*)?", text)
    if not found:
        raise RequestError("%r is not a frame range." % text, "Give it as first-last, like 1001-1048.")
    first = int(found.group(1))
    return FrameRange(first, int(found.group(2)) if found.group(2) is not None else first)


def name_at(pattern: str, frame: int) -> str:
    """The file a pattern means at a frame: 'p.####.exr' at 1001 is 'p.1001.exr'. No # means one file for all frames."""
    runs = list(re.finditer(r"#+", pattern))
    if not runs:
        return pattern
    at = runs[-1]
    sign, digits = ("-" if frame < 0 else ""), str(abs(frame))
    return pattern[: at.start()] + sign + digits.zfill(at.end() - at.start() - len(sign)) + pattern[at.end():]


def windows_keeps(name: str) -> bool:
    """Whether Windows keeps the name for a device of its own, with any ending: CON, nul.exr."""
    return re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d) *(\..*)?", name) is not None


def split_name(name: str) -> Tuple[str, int, str]:
    """'comp.1001.exr' to ('comp', 1001, '.exr'). Raises RequestError when there is no frame number."""
    found = re.fullmatch(r"(.*?)\.?(-?\d+)(\.[A-Za-z0-9]+)", name)
    if not found:
        raise RequestError("%r has no frame number." % name, "Name frames like comp.1001.exr.")
    return found.group(1), int(found.group(2)), found.group(3)
