# SPDX-License-Identifier: Apache-2.0
"""A shot of a few frames, written with nothing but Python, for the self-test: a block falls before a wall. Knows no Nuke."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Callable, Dict, List, Tuple

WIDTH, HEIGHT, FIRST, LAST = 64, 48, 1001, 1004
OVERSCAN = 4  # the plate reaches so many pixels beyond its format, on every side
Box = Tuple[int, int, int, int]
Value = Callable[[int, int], float]


def write_exr(path: Path, channels: Dict[str, Tuple[str, Value]], data: Box, display: Box, pixel_aspect: float = 1.0) -> None:
    """An uncompressed scanline EXR. `channels`: name -> ("half" or "float", value at x, y); boxes: (x0, y0, x1, y1), ends included."""
    names = sorted(channels)
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iB3xii", {"half": 1, "float": 2}[channels[name][0]], 0, 1, 1) for name in names)
    head = struct.pack("<II", 20000630, 2)
    for name, kind, value in (
        ("channels", "chlist", listed + b"\0"),
        ("compression", "compression", b"\0"),
        ("dataWindow", "box2i", struct.pack("<4i", *data)),
        ("displayWindow", "box2i", struct.pack("<4i", *display)),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", pixel_aspect)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1.0)),
    ):
        head += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    columns, rows = range(data[0], data[2] + 1), range(data[1], data[3] + 1)
    lines: List[bytes] = []
    for y in rows:
        line = b""
        for name in names:
            kind, value_at = channels[name]
            line += struct.pack("<%d%s" % (len(columns), "e" if kind == "half" else "f"), *(value_at(x, y) for x in columns))
        lines.append(struct.pack("<ii", y, len(line)) + line)
    at, table = len(head) + 8 * len(lines), b""
    for line in lines:
        table += struct.pack("<Q", at)
        at += len(line)
    path.write_bytes(head + table + b"".join(lines))


def write_shot(folder: Path) -> Dict[str, str]:
    """Plate (half, overscan, light above 1 and below 0), depth (float, 1/Z, the sky 0) and mask, four frames. Gives the patterns."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = (0, 0, WIDTH - 1, HEIGHT - 1)
    around = (-OVERSCAN, -OVERSCAN, WIDTH - 1 + OVERSCAN, HEIGHT - 1 + OVERSCAN)
    for frame in range(FIRST, LAST + 1):
        top = 8 + 3 * (frame - FIRST) ** 2

        def block(x: int, y: int, top: int = top) -> bool:
            return 24 <= x < 40 and top <= y < top + 14

        def plate(part: int) -> Value:
            return lambda x, y: (0.5, 0.4, 0.3)[part] if block(x, y) else 6.5 if y < 6 else -0.25 if y > 44 else 0.2 + x / 128 + part / 10

        def depth(x: int, y: int) -> float:
            return 0.0 if y < 6 else 1 / 22.0 if block(x, y) else 1 / (30.0 if y < 36 else 30.0 - (y - 35) * 1.8)

        def mask(x: int, y: int) -> float:
            return 1.0 if block(x, y) else 0.0

        write_exr(folder / ("plate.%d.exr" % frame), {c: ("half", plate(at)) for at, c in enumerate("RGB")}, around, inside)
        write_exr(folder / ("depth.%d.exr" % frame), {"Z": ("float", depth)}, inside, inside)
        write_exr(folder / ("mask.%d.exr" % frame), {"A": ("half", mask)}, inside, inside)
    return {which: "%s/%s.####.exr" % (folder.as_posix(), which) for which in ("plate", "depth", "mask")}
