# SPDX-License-Identifier: Apache-2.0
"""Which channels of a file are the plate, the depth, the mask: by the artist's word, or by the names the trade uses.

Knows headers and names; must not know pixels.
"""

from __future__ import annotations

import fnmatch
from typing import Dict, List, Optional, Tuple

from platebridge.errors import InputError

from .images import Header, Where

Channel = Tuple[int, str]
#: Usual names, best first; each line is one choice, all of whose channels must be there. Upper and lower case are one.
USUAL: Dict[str, Tuple[Tuple[str, ...], ...]] = {
    "plate": (("R", "G", "B"), ("rgba.R", "rgba.G", "rgba.B"), ("*Combined.R", "*Combined.G", "*Combined.B"), ("*.R", "*.G", "*.B")),
    "depth": (("depth.Z",), ("Z",), ("*.Depth.Z",), ("depth.V",), ("depth",), ("*.depth",), ("depth.*",), ("*.Z",)),
    "mask": (("mask",), ("mask.*",), ("A",), ("alpha",), ("rgba.A",), ("matte",), ("matte.*",), ("*.mask",), ("*.mask.*",), ("*.A",)),
    "vectors": (
        ("Vector.X", "Vector.Y"),
        ("*.Vector.X", "*.Vector.Y"),
        ("X", "Y"),
        ("backward.u", "backward.v"),
        ("R", "G"),
    ),
    "guide": (("R", "G", "B", "A"), ("rgba.R", "rgba.G", "rgba.B", "rgba.A"), ("*Combined.R", "*Combined.G", "*Combined.B", "*Combined.A")),
}
_WANT = {"plate": "R, G and B", "depth": "depth.Z or Z", "mask": "mask or A", "vectors": "Vector.X and Vector.Y", "guide": "R, G, B and A"}
_COUNT = {"plate": 3, "depth": 1, "mask": 1, "vectors": 2, "guide": 4}


def find(header: Header, input: str, named: Tuple[str, ...] = (), where: Where = Where()) -> List[Channel]:
    """The channels of an input, in order. named: the artist's choice; empty means the usual names.

    A file with a single channel is a depth or a mask whatever the channel is called.
    Raises InputError that lists what is there.
    """
    there = header.channels
    if named:
        if len(named) != _COUNT[input]:
            raise InputError("%d channels are named where %d are needed." % (len(named), _COUNT[input]), "Name them in order.", input=input)
        found = [_one(header, name) for name in named]
        if None in found:
            raise _absent(header, input, "no channel %s" % named[found.index(None)], where)
        return [f for f in found if f is not None]
    if len(there) == 1 and _COUNT[input] == 1:
        return there
    for choice in USUAL[input]:
        picked = [_one(header, pattern) for pattern in choice]
        if None not in picked:
            return [p for p in picked if p is not None]
    raise _absent(header, input, "no channel called %s" % _WANT[input], where)


def beside(header: Header, channels: List[Channel], suffix: str) -> Optional[Channel]:
    """The channel of the same layer with another last part: beside Combined.R, "A" is Combined.A. None if there is none."""
    part, name = channels[0]
    stem = name[: len(name) - 1]
    for other in header.parts[part].channels:
        if other.lower() == (stem + suffix).lower():
            return part, other
    return None


def _one(header: Header, pattern: str) -> Optional[Channel]:
    """The first channel that a name or pattern means; in files of many parts a part's name may stand before the channel's."""
    want = pattern.lower()
    for part in header.parts:
        for name in part.channels:
            if fnmatch.fnmatchcase(name.lower(), want) or (
                part.name and fnmatch.fnmatchcase("%s.%s" % (part.name.lower(), name.lower()), want)
            ):
                return part.index, name
    return None


def _absent(header: Header, input: str, what: str, where: Where) -> InputError:
    names = [name for _, name in header.channels]
    listed = ", ".join(names[:12]) + (" and %d more" % (len(names) - 12) if len(names) > 12 else "")
    return InputError(
        "The file has %s; it has %s." % (what, listed), "Say which to take with --%s-channels." % input, input=input, frame=where.frame
    )
