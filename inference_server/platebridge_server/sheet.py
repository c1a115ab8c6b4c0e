# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of a wedge: a picture of each take that is done, all at one frame, on each its slate.

The pictures wait in a folder by the wedge's name for the takes that come after, so that each take adds to what the earlier ones
left, in this process or another. Slates are burned into the sheet alone. Knows pictures and dials; must not know shots or models.
"""

from __future__ import annotations

import io
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from platebridge import wedge
from platebridge.curves import Curve
from platebridge.dials import DIALS
from platebridge.request import GenerateRequest

NAME = "sheet.png"
#: Width of one picture, and of the widest sheet, pixels.
TILE, WIDEST = 480, 2400
_GAP = 8
_BACK, _SLATE, _QUIET = (20, 20, 20), (235, 235, 235), (140, 140, 140)


@dataclass(frozen=True)
class Tile:
    """One take of the wedge. `take`: what its folder is called. `dials`: all of them. `picture`: (h, w, 3) uint8."""

    take: str
    frame: int
    dials: Mapping[str, Any]
    picture: np.ndarray


def add(folder: Path, take_id: str, tile: Tile) -> None:
    """Puts a take's picture with those of the wedge's other takes."""
    picture = Image.fromarray(tile.picture)
    picture.thumbnail((TILE, picture.height))  # as wide as it is shown, however high
    dials = {name: str(value) if isinstance(value, Curve) else value for name, value in tile.dials.items()}  # one curve for all takes
    told = {"take": tile.take, "frame": tile.frame, "dials": dials}
    partial = folder / (".%s.%d" % (take_id, os.getpid()))
    with open(partial, "wb") as out:
        np.savez(out, picture=np.asarray(picture), told=json.dumps(told))
    os.replace(partial, folder / ("%s.npz" % take_id))


def tiles(folder: Path) -> List[Tile]:
    """What has come so far, in the order of the dials' values."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as kept:
            told = json.loads(str(kept["told"]))
            found.append(Tile(told["take"], told["frame"], told["dials"], kept["picture"]))
    over = wedge.turned([tile.dials for tile in found]) if found else []
    return sorted(found, key=lambda tile: ([tile.dials[name] for name in over], tile.take))


def frame_of(folder: Path) -> Optional[int]:
    """The frame that the pictures show; None before the first has come."""
    return next((tile.frame for tile in tiles(folder)), None)


def png(folder: Path, request: GenerateRequest) -> bytes:
    """The sheet of what has come so far, as a PNG's bytes. request: of any take of the wedge, for the line on top."""
    found = tiles(folder)
    over = wedge.turned([tile.dials for tile in found])
    title = [request.shot, "frame %d" % found[0].frame, request.model.name]
    title += [] if "quality" in over else [request.model.quality]
    out = io.BytesIO()
    drawn(found, over, "  ·  ".join(title)).save(out, "PNG", optimize=True)
    return out.getvalue()


def drawn(found: Sequence[Tile], over: Sequence[str], title: str) -> Image.Image:
    """The sheet: two dials make a grid (the first to the right, the second downwards), one a block of rows.

    found: at least one, in order, their pictures of one size. over: the dials that differ.
    """
    places, columns, rows = _places(found, over)
    width = min(TILE, max(160, (WIDEST - _GAP) // columns - _GAP))
    shape = found[0].picture.shape
    height = max(1, round(width * shape[0] / shape[1]))
    text = max(11, width // 24)
    font, small = ImageFont.load_default(text), ImageFont.load_default(max(10, round(text * 0.85)))
    bar, head = round(text * 1.8), round(text * 2.2)
    sheet = Image.new("RGB", (_GAP + columns * (width + _GAP), head + rows * (height + bar + _GAP)), _BACK)
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, head // 2), title, fill=_SLATE, font=font, anchor="lm")
    for tile, (column, row) in zip(found, places):
        x, y = _GAP + column * (width + _GAP), head + row * (height + bar + _GAP)
        sheet.paste(Image.fromarray(tile.picture).resize((width, height), Image.Resampling.LANCZOS), (x, y))
        said = "   ".join("%s %s" % (DIALS[name].label, wedge.shown(tile.dials[name])) for name in over)
        number = tile.take.replace("_", " ")
        pen.text((x + width, y + height + bar // 2), number, fill=_QUIET, font=small, anchor="rm")
        room = width - pen.textlength(number, small) - text
        while said and pen.textlength(said, font) > room:
            said = said[:-2].rstrip() + "…" if len(said) > 2 else ""
        pen.text((x, y + height + bar // 2), said, fill=_SLATE, font=font, anchor="lm")
    return sheet


def _places(found: Sequence[Tile], over: Sequence[str]) -> Tuple[List[Tuple[int, int]], int, int]:
    """(column, row) of each tile, and how many of each there are."""
    if len(over) == 2:
        values: Dict[str, List[Any]] = {name: [] for name in over}
        for name in over:
            for tile in sorted(found, key=lambda tile: tile.dials[name]):
                if tile.dials[name] not in values[name]:
                    values[name].append(tile.dials[name])
        right, down = over
        places = [(values[right].index(tile.dials[right]), values[down].index(tile.dials[down])) for tile in found]
        return places, len(values[right]), len(values[down])
    columns = len(found) if len(found) <= 3 else math.ceil(math.sqrt(len(found)))
    return [(n % columns, n // columns) for n in range(len(found))], columns, -(-len(found) // columns)
