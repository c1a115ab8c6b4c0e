# SPDX-License-Identifier: GPL-3.0-or-later
"""PNG bytes to pixels, on any thread: the small pictures that a server sends of what it makes.

Blender's own loader would do it on the main thread (10 to 30 ms), and keep a copy of each in the user's thumbnail cache. Knows no bpy.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type: grey, RGB, grey and alpha, RGBA
_LARGEST = 4_000_000  # pixels


def pixels(data: bytes) -> np.ndarray:
    """(height, width, 4) uint8, the top row first, alpha 255 where the file has none.

    Raises ValueError: no PNG, damaged, larger than four million pixels, not 8 bits a channel, a palette, or interlaced.
    """
    header, packed = b"", []
    for kind, body in _chunks(data):
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed.append(body)
    if len(header) != 13:
        raise ValueError("a PNG without a header")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if bits != 8 or colour not in _CHANNELS or interlaced or not 0 < width * height <= _LARGEST:
        raise ValueError("a PNG of a kind that is not read here")
    count = _CHANNELS[colour]
    size = height * (1 + width * count)
    try:
        raw = zlib.decompressobj().decompress(b"".join(packed), size)
    except zlib.error as error:
        raise ValueError("a damaged PNG") from error
    if len(raw) != size:
        raise ValueError("a PNG that ends too soon")
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * count)
    picture = _unfiltered(lines[:, 0], lines[:, 1:].reshape(height, width, count))
    out = np.full((height, width, 4), 255, np.uint8)
    out[..., :3] = picture[..., :3] if count > 2 else picture[..., :1]
    if count in (2, 4):
        out[..., 3] = picture[..., -1]
    return out


def _chunks(data: bytes):
    if data[:8] != _SIGNATURE:
        raise ValueError("no PNG")
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _unfiltered(kinds: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """What each row's filter took away put back (PNG specification, 9.2).

    A pixel needs its neighbours to the left, above, and above to the left: so all pixels of an anti-diagonal can be made at once.
    """
    if kinds.max() > 4:
        raise ValueError("a damaged PNG")
    height, width, count = lines.shape
    out = np.zeros((height + 1, width + 1, count), np.int16)
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left, up, corner = out[y + 1, x], out[y, x + 1], out[y, x]
        guess = left + up - corner
        a, b, c = abs(guess - left), abs(guess - up), abs(guess - corner)
        nearest = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
        taken = np.choose(kinds[y, np.newaxis], (0, left, up, (left + up) >> 1, nearest))
        out[y + 1, x + 1] = (lines[y, x] + taken) & 255
    return out[1:, 1:]
