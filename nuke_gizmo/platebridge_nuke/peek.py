# SPDX-License-Identifier: Apache-2.0
"""A glance into the EXRs that this node rendered, with nothing but Python: is the depth what it is said to be, is the mask empty?

Reads scanline files with no compression or with Zip (1 scanline), one part, as our Write makes them; of any other file it says nothing,
for the server looks at every pixel anyway. Knows files; must not know Nuke.
"""

from __future__ import annotations

import math
import struct
import zlib
from itertools import accumulate
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from platebridge.depths import DEPTHS
from platebridge.errors import InputError

MAGIC = 20000630
SKY_FROM = 1e9  # renderers write 1e10, 1e30 or inf where nothing is
ROWS, COLUMNS = 48, 64  # so many are looked at
ODD = (OSError, ValueError, KeyError, IndexError, struct.error, zlib.error)  # what a file that is cut, or none of ours, raises


class Picture:
    """One file's header, and its rows when asked. `channels`: name -> "half", "float" or "uint". `data`, `display`: (x0, y0, x1, y1),
    both ends included. Raises ValueError where it is no file of ours."""

    def __init__(self, path: Path) -> None:
        self._bytes = path.read_bytes()
        magic, version = struct.unpack_from("<II", self._bytes)
        if magic != MAGIC or version & ~0x400 != 2:  # 0x400: long names; anything else is tiles, deep or many parts
            raise ValueError("no plain scanline EXR")
        self.attributes, at = _attributes(self._bytes, 8)
        self.channels = _channels(self.attributes["channels"][1])
        self.data: Tuple[int, int, int, int] = struct.unpack("<4i", self.attributes["dataWindow"][1])
        self.display: Tuple[int, int, int, int] = struct.unpack("<4i", self.attributes["displayWindow"][1])
        self.compression = self.attributes["compression"][1][0]
        if self.compression not in (0, 2):
            raise ValueError("neither plain nor Zip (1 scanline)")
        self._table = at
        width = self.data[2] - self.data[0] + 1
        self._spans: Dict[str, Tuple[int, int, str]] = {}
        start = 0
        for name, kind in self.channels.items():
            size = width * (2 if kind == "half" else 4)
            self._spans[name] = (start, start + size, {"half": "e", "float": "f", "uint": "I"}[kind])
            start += size
        self._row_bytes = start

    @property
    def pixel_aspect(self) -> float:
        return float(struct.unpack("<f", self.attributes["pixelAspectRatio"][1])[0])

    def rows(self) -> int:
        return self.data[3] - self.data[1] + 1

    def row(self, number: int, channel: str) -> Tuple[float, ...]:
        """One row's values; row 0 is the data window's top."""
        start, end, letter = self._spans[channel]
        part = self._row(number)[start:end]
        return struct.unpack("<%d%s" % (len(part) // struct.calcsize(letter), letter), part)

    def row_is_zero(self, number: int) -> bool:
        """Whether every sample of a row is +0; quicker than reading it."""
        packed, whole = self._chunk(number)
        if whole:
            return not any(packed)
        plain = zlib.decompress(packed)
        return plain[:1] == b"\0" and plain[1:] == b"\x80" * (len(plain) - 1)  # differences of 0 are stored as 128

    def _chunk(self, number: int) -> Tuple[bytes, bool]:
        (at,) = struct.unpack_from("<Q", self._bytes, self._table + 8 * number)
        _, size = struct.unpack_from("<ii", self._bytes, at)
        return self._bytes[at + 8 : at + 8 + size], size == self._row_bytes

    def _row(self, number: int) -> bytes:
        packed, whole = self._chunk(number)
        if whole:
            return packed
        sums = bytes(accumulate(zlib.decompress(packed), _undone))
        out = bytearray(len(sums))
        half = (len(sums) + 1) // 2
        out[0::2], out[1::2] = sums[:half], sums[half:]
        return bytes(out)


def _undone(before: Any, step: int) -> int:
    """Zip stores each byte as its step from the one before, with 128 for none."""
    return int((before + step - 128) & 255)


def _attributes(raw: bytes, at: int) -> Tuple[Dict[str, Tuple[str, bytes]], int]:
    found = {}
    while raw[at]:
        name, at = _word(raw, at)
        kind, at = _word(raw, at)
        (size,) = struct.unpack_from("<i", raw, at)
        found[name] = (kind, raw[at + 4 : at + 4 + size])
        at += 4 + size
    return found, at + 1


def _word(raw: bytes, at: int) -> Tuple[str, int]:
    end = raw.index(b"\0", at)
    return raw[at:end].decode("utf-8", "replace"), end + 1


def _channels(raw: bytes) -> Dict[str, str]:
    found, at = {}, 0
    while raw[at]:
        name, at = _word(raw, at)
        kind, _, across, down = struct.unpack_from("<iIii", raw, at)
        if (across, down) != (1, 1):
            raise ValueError("subsampled")
        found[name] = ("uint", "half", "float")[kind]
        at += 16
    return found


def open_picture(path: Path) -> Optional[Picture]:
    """The file, or None where it is not one that is read here."""
    try:
        return Picture(path)
    except ODD:
        return None


def check_depth(files: Mapping[int, Path], kind: str, name: str, scale: float = 1.0) -> None:
    """Raises InputError where the first frame's depth is the same everywhere, or evidently of another kind than it is said to be.

    `scale`: metres per unit. In a unit of its own, an even distance may be small everywhere: it is then taken at its word.
    """
    frame = min(files)
    picture = open_picture(files[frame])
    if picture is None or len(picture.channels) != 1:
        return
    try:
        rows = list(_glance(picture))
    except ODD:
        return
    values = [value for row in rows for value in row if not math.isnan(value)]
    if not values:
        return
    least, most = min(values), max(values)

    def wrong(sentence: str, mend: str) -> InputError:
        return InputError("%s %s" % (name, sentence), mend, input="depth", frame=frame)

    if least == most:
        raise wrong(
            "has the depth %g everywhere." % least, "Connect what writes the depth, or choose its channel under Shot, Depth channel."
        )
    if kind in ("near_one", "near_zero"):
        if least < -0.01 or most > 1.01:
            raise wrong("is said to be normalised, and goes from %g to %g." % (least, most), "Choose another kind under Shot, Depth is.")
    elif kind == "inverse":
        if most >= SKY_FROM or (least >= 1.0 and _grows(rows, upward=True)):
            raise wrong(
                "is said to be 1/Z, but grows with distance, up to %g." % most,
                "Set Depth is to Z, or to Distance where it goes along the ray.",
            )
    elif scale == 1.0 and _farthest(rows) <= 1.0 and _grows(rows, upward=False):
        raise wrong(
            "is said to be %s, but shrinks with distance and is nowhere more than 1." % DEPTHS[kind].label,
            "Set Depth is to 1/Z, or give its unit in Metres per unit.",
        )


def check_mask(files: Mapping[int, Path], name: str) -> None:
    """Raises InputError where the mask is 0 in every pixel of every frame. Stops at the first pixel that is not."""
    for path in files.values():
        picture = open_picture(path)
        if picture is None:
            return
        try:
            if not all(picture.row_is_zero(number) for number in range(picture.rows())):
                return
        except ODD:
            return
    raise InputError(
        "%s is empty over the whole range." % name,
        "Paint what collapses, or choose its channel under Shot, Mask channel.",
        input="mask",
        frame=min(files),
    )


def _glance(picture: Picture) -> Iterator[List[float]]:
    count, channel = picture.rows(), next(iter(picture.channels))
    for number in range(0, count, max(1, count // ROWS)):
        row = picture.row(number, channel)
        yield list(row[:: max(1, len(row) // COLUMNS)])


def _known(rows: List[List[float]]) -> List[List[float]]:
    """The rows that have a depth, without their sky and holes. A sky of 0 says nothing: 1/Z writes infinity so, and so do masks of Z."""
    known = [[v for v in row if 0 < v < SKY_FROM] for row in rows]
    return [row for row in known if row]


def _farthest(rows: List[List[float]]) -> float:
    return max((v for row in _known(rows) for v in row), default=math.inf)


def _middle(rows: List[List[float]]) -> float:
    values = sorted(v for row in rows for v in row)
    return values[len(values) // 2]


def _grows(rows: List[List[float]], upward: bool) -> bool:
    """Whether numbers are clearly larger in the upper quarter (far, as a rule) of the rows that have a depth than in the lower, or the
    other way round. The server looks at them so too (depth.py)."""
    known = _known(rows)
    if not known:
        return False
    quarter = max(1, len(known) // 4)
    top, bottom = _middle(known[:quarter]), _middle(known[-quarter:])
    return top > 1.2 * bottom if upward else bottom > 1.2 * top


def header(path: Path) -> Dict[str, Any]:
    """What a file says of itself, for the self-test: channels, windows, compression, pixel aspect."""
    picture = Picture(path)
    return {
        "channels": picture.channels,
        "data": picture.data,
        "display": picture.display,
        "compression": picture.compression,
        "pixel_aspect": picture.pixel_aspect,
    }
