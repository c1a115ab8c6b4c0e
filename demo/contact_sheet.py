# SPDX-License-Identifier: GPL-3.0-or-later
"""The contact sheet: plate, guide, effect and comp over time on one page, as a person wants to see them.

Reads the take's own files and nothing else. For the eye alone: a display curve is applied here and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio
from PIL import Image, ImageDraw, ImageFont

GREY = 0.18  # what effect and guide are shown over
MARGIN, HEADER, LABEL = 6, 30, 46


def read_rgba(path: Path) -> np.ndarray:
    """(h, w, 4) float32, scene-linear, premultiplied; a file without alpha is opaque. Raises FileNotFoundError."""
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise FileNotFoundError(f"{path} can't be read: {oiio.geterror()}")
    pixels, names = source.read_image("float"), list(source.spec().channelnames)
    source.close()
    pixels = pixels.reshape(pixels.shape[0], pixels.shape[1], -1)
    colour = [pixels[..., names.index(c)] for c in "RGB"]
    alpha = pixels[..., names.index("A")] if "A" in names else np.ones_like(colour[0])
    return np.stack([*colour, alpha], axis=-1)


def display(linear: np.ndarray) -> np.ndarray:
    """Scene-linear (…, 3) to 8-bit sRGB with a soft shoulder from 0.8 up, so that values above 1 keep their drawing."""
    x = np.maximum(np.nan_to_num(linear), 0.0)
    x = np.where(x > 0.8, 0.8 + 0.2 * (1.0 - np.exp(-(x - 0.8) / 0.2 * 0.35)), x)
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(np.maximum(x, 1e-8), 1 / 2.4) - 0.055)
    return (np.clip(srgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def make(shot: Path, take: Path, frames: list[int], target: Path, title: str, credit: str = "") -> None:
    """Writes the sheet: a column a frame, rows plate, guide, effect, comp. `shot` holds plate/, `take` the take's files."""
    rows = [("plate", shot / "plate", False), ("guide", take, True), ("effect", take, True), ("comp", take, False)]
    first = read_rgba(take / f"comp.{frames[0]:04d}.exr")
    wide = 400
    high = round(wide * first.shape[0] / first.shape[1])
    font = ImageFont.load_default(size=16)
    sheet = Image.new("RGB", (LABEL + len(frames) * (wide + MARGIN), HEADER + 22 + len(rows) * (high + MARGIN)), (24, 24, 24))
    pen = ImageDraw.Draw(sheet)
    pen.text((LABEL, 5), title + (f"   {credit}" if credit else ""), fill=(220, 220, 220), font=font)
    for column, frame in enumerate(frames):
        x = LABEL + column * (wide + MARGIN)
        pen.text((x, HEADER), str(frame), fill=(170, 170, 170), font=font)
        for row, (name, folder, over_grey) in enumerate(rows):
            rgba = read_rgba(folder / f"{name}.{frame:04d}.exr")
            rgb = rgba[..., :3] + (1.0 - rgba[..., 3:]) * GREY if over_grey else rgba[..., :3]
            picture = Image.fromarray(display(rgb)).resize((wide, high), Image.Resampling.LANCZOS)
            sheet.paste(picture, (x, HEADER + 22 + row * (high + MARGIN)))
    for row, (name, *_) in enumerate(rows):
        tag = Image.new("RGB", (high, LABEL), (24, 24, 24))
        ImageDraw.Draw(tag).text((8, 14), name, fill=(220, 220, 220), font=font)
        sheet.paste(tag.rotate(90, expand=True), (0, HEADER + 22 + row * (high + MARGIN)))
    sheet.save(target)
