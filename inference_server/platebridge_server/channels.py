# SPDX-License-Identifier: Apache-2.0
"""Which channels of a file are the plate, the depth, the mask: by the artist's word, or by the names the trade uses.

Knows headers and names; must not know pixels.
"""

from __future__ import annotations

import fnmatch
from typing import Dict, List, Optional, Tuple

from platebridge.errors import InputError

from .images import Header, PartHeader, Where

Channel = Tuple[int, str]
#: Usual names, best first; each line is one choice, all of whose channels must be there, in one layer. Upper and lower case are one.
USUAL: Dict[str, Tuple[Tuple[str, ...], ...]] = {
    "plate": (("R", "G", "B"), ("rgba.R", "rgba.G", "rgba.B"), ("*Combined.R", "*Combined.G", "*Combined.B"), ("*.R", "*.G", "*.B")),
    "depth": (("depth.Z",), ("Z",), ("*.Depth.Z",), ("depth.V",), ("depth",), ("*.depth",), ("depth.*",), ("*.Z",)),
    "mask": (("mask",), ("mask.*",), ("A",), ("alpha",), ("rgba.A",), ("matte",), ("matte.*",), ("*.mask",), ("*.mask.*",), ("*.A",)),
    "vectors": (
        ("Vector.X", "Vector.Y"),
        ("*.Vector.X", "*.Vector.Y"),
        ("X", "Y"),
        ("backward.u", "backward.v"),
    ),
    "guide": (("R", "G", "B", "A"), ("rgba.R", "rgba.G", "rgba.B", "rgba.A"), ("*Combined.R", "*Combined.G", "*Combined.B", "*Combined.A")),
}
USUAL["reference"] = (*USUAL["plate"], ("Y",))
#: Motion written as colour: only where a file has nothing else, for elsewhere R and G are the picture's.
_COLOUR_AS_VECTORS = ("R", "G")
_WANT = {"plate": "R, G and B", "depth": "depth.Z or Z", "mask": "mask or A", "vectors": "Vector.X and Vector.Y", "guide": "R, G, B and A"}
_WANT["reference"] = _WANT["plate"]
_COUNT = {"plate": 3, "depth": 1, "mask": 1, "vectors": 2, "guide": 4, "reference": 1}


def find(header: Header, input: str, named: Tuple[str, ...] = (), where: Where = Where()) -> List[Channel]:
    """The channels of an input, in order. named: the artist's choice; empty means the usual names.

    A file with a single channel is a depth, a mask or a grey reference whatever the channel is called.
    Raises InputError that lists what is there, or says that what is named lies in different parts.
    """
    there = header.channels
    if named:
        if len(named) != _COUNT[input]:
            raise InputError("%d channels are named where %d are needed." % (len(named), _COUNT[input]), "Name them in order.", input=input)
        for part in header.parts:
            meant = [_meant(part, name) for name in named]
            if all(meant):
                found = [(part.index, names[0]) for names in meant]
                if input == "plate" and len(set(found)) < len(found):  # the comp is written into them, each with a colour of its own
                    said = "The plate's channel %s is named more than once." % max(found, key=found.count)[1]
                    mend = "Name three; a picture without colour is written as R, G and B."
                    raise InputError(said, mend, input=input, frame=where.frame)
                return found
        absent = [name for name in named if not any(_meant(part, name) for part in header.parts)]
        if absent:
            raise _absent(header, input, "no channel %s" % absent[0], where)
        said = "The channels %s lie in different parts of the file." % ", ".join(named)
        raise InputError(said, "Name those of one part.", input=input, frame=where.frame)
    if len(there) == 1 and _COUNT[input] == 1:
        return there
    alone = input == "vectors" and len(header.parts) == 1 and {name.lower() for _, name in there} <= set("rgba")
    for choice in USUAL[input] + ((_COLOUR_AS_VECTORS,) if alone else ()):
        found = _chosen(header, choice)
        if found:
            return found
    raise _absent(header, input, "no channel called %s" % _WANT[input], where)


def depth_with(header: Header, channels: List[Channel]) -> Optional[Channel]:
    """The depth of the picture that has these channels: the Z beside them, else what is called depth in the file. None if there is none."""
    own = beside(header, channels, "Z")
    if own is not None:
        return own
    found = (_chosen(header, choice) for choice in USUAL["depth"] if choice != ("*.Z",))  # of any layer: it may be another picture's
    return next((picked[0] for picked in found if picked), None)


def beside(header: Header, channels: List[Channel], suffix: str) -> Optional[Channel]:
    """The channel of the same layer with another last part: beside Combined.R, "A" is Combined.A. None if there is none."""
    part, name = channels[0]
    wanted = [(name[:-1] + suffix).lower()]
    if suffix == "A" and name.lower().split(".")[-1] == "red":  # as Nuke writes every layer but rgba
        wanted.append(name[: -len("red")].lower() + "alpha")
    return next(((part, other) for other in header.parts[part].channels if other.lower() in wanted), None)


def _chosen(header: Header, choice: Tuple[str, ...]) -> List[Channel]:
    """The first channels that a choice of names or patterns means, all of one layer; none if the file has no such layer."""
    for part in header.parts:
        for name in _meant(part, choice[0]):
            first = part.index, name
            found = [first, *(beside(header, [first], pattern[-1]) for pattern in choice[1:])]
            third = len(choice) == 1 and _of_a_vector(part, name)
            point = choice == ("X", "Y") and len(header.parts) > 1 and _of_a_point(part)
            if None not in found and not third and not point:
                return [channel for channel in found if channel is not None]
    return []


def _meant(part: PartHeader, pattern: str) -> List[str]:
    """A part's channels that a name or pattern means; in files of many parts the part's name may stand before the channel's.

    One that is called just so comes first: a file may have Mask beside mask, and a light's name may have brackets in it."""
    want = pattern.lower()

    def called(name: str) -> Tuple[str, ...]:
        return (name, part.name + "." + name) if part.name else (name,)

    def just_so(name: str) -> Tuple[bool, bool]:
        return pattern in called(name), want in [each.lower() for each in called(name)]

    meant = [name for name in part.channels if just_so(name)[1] or any(fnmatch.fnmatchcase(each.lower(), want) for each in called(name))]
    return sorted(meant, key=just_so, reverse=True)


def _of_a_vector(part: PartHeader, name: str) -> bool:
    """Whether a channel is the third of a layer's X, Y and Z: of a normal, a position, a motion."""
    layered = bool(part.name) or "." in name
    return layered and name.lower().endswith("z") and all(name.lower()[:-1] + c in map(str.lower, part.channels) for c in "xy")


def _of_a_point(part: PartHeader) -> bool:
    """Whether a part is a normal or a position, and no motion: it has X, Y and Z and no W, and its name speaks of no motion."""
    letters = {name.lower() for name in part.channels}
    return letters >= set("xyz") and "w" not in letters and not any(word in part.name.lower() for word in ("motion", "vec", "velocity"))


def _absent(header: Header, input: str, what: str, where: Where) -> InputError:
    names = [name for _, name in header.channels]
    option = "Say which to take (--%s-channels), or write the usual ones: %s." % (input, _WANT[input])
    mend = "Write its colour as R, G and B." if input == "reference" else option
    listed = ", ".join(names[:12]) + (" and %d more" % (len(names) - 12) if len(names) > 12 else "")
    return InputError("The file has %s; it has %s." % (what, listed), mend, input=input, frame=where.frame)
