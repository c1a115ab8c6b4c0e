# SPDX-License-Identifier: Apache-2.0
"""What the stand-in's nodes show, read and written as real EXRs by OpenImageIO, with their data and display windows."""

import re
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

EXR_NAMES = {"R": "rgba.red", "G": "rgba.green", "B": "rgba.blue", "A": "rgba.alpha", "Z": "depth.Z"}
LAYERS = {"rgb": ("rgba.red", "rgba.green", "rgba.blue"), "rgba": ("rgba.red", "rgba.green", "rgba.blue", "rgba.alpha")}
_BACK = {value: key for key, value in EXR_NAMES.items() if key != "Z"}


def named(pattern, frame, view):
    """The file that a pattern means: # and %04d are the frame, %V the view, %v its first letter."""
    pattern = pattern.replace("%V", view).replace("%v", view[:1])
    pattern = re.sub(r"%0(\d)d", lambda found: "#" * int(found.group(1)), pattern)
    return re.sub(r"#+", lambda run: "%0*d" % (len(run.group()), frame), pattern)


def read(path):
    """({channel: (h, w) float32}, spec). Raises RuntimeError as a Read does."""
    file = oiio.ImageInput.open(str(path))
    if file is None:
        oiio.geterror()
        raise RuntimeError("%s: Read error: No such file or directory" % path)
    spec, pixels = file.spec(), file.read_image("float")
    file.close()
    return {EXR_NAMES.get(name, name): pixels[..., at] for at, name in enumerate(spec.channelnames)}, spec


def bits(path):
    """What a Read's metadata says of its file's bits."""
    file = oiio.ImageInput.open(str(path))
    if file is None:
        oiio.geterror()
        return None
    kind = str(file.spec().format)
    file.close()
    return {"half": "16-bit half float", "float": "32-bit float"}.get(kind, kind)


def write(path, picture, source, channels, datatype, compression, proxy, autocrop=False, aces=False, parts=False):
    """One frame as a Write makes it: the bounding box is the data window, with `autocrop` what of it is not 0.

    `aces`: no channels but red, green and blue, black where they were not asked for, in half and as they are (NDK, exrWriter.cpp).
    `parts`: a part for each layer, which alone has its name then; ours is one.
    """
    if proxy:
        picture = {name: pixels[::2, ::2] for name, pixels in picture.items()}
    names = LAYERS.get(channels) or [name for name in picture if name == channels or name.startswith(channels + ".")]
    absent = [name for name in names if name not in picture]
    if absent or not names:
        raise RuntimeError("Write: no channel %s" % channels)
    if aces:
        black = np.zeros_like(picture[names[0]])
        picture = {name: picture[name] if name in names else black for name in LAYERS["rgb"]}
        names, datatype, compression = list(LAYERS["rgb"]), "16 bit half", "none"
    pixels = np.stack([picture[name] for name in names], -1)
    rows, columns = (np.flatnonzero(pixels.any((axis, 2))) for axis in (1, 0))
    left, top = (columns[0], rows[0]) if autocrop and len(rows) else (0, 0)
    if autocrop:
        pixels = pixels[top : rows[-1] + 1, left : columns[-1] + 1] if len(rows) else pixels[:1, :1]
    kind = "half" if datatype == "16 bit half" else "float"
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(names), kind)
    spec.channelnames = tuple(_BACK.get(name, name.rpartition(".")[2] if parts else name) for name in names)
    spec.x, spec.y = source.x + int(left), source.y + int(top)
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = source.full_x, source.full_y, source.full_width, source.full_height
    spec.attribute("PixelAspectRatio", source.get_float_attribute("PixelAspectRatio", 1.0))
    spec.attribute("compression", "zips" if compression == "Zip (1 scanline)" else "none")
    spec.attribute("DateTime", "")  # a time of day would make every render another file; so would Nuke's metadata, which is off
    file = oiio.ImageOutput.create(str(path))
    if not Path(path).parent.is_dir() or not file.open(str(path), spec):
        raise RuntimeError("Write: %s: %s" % (path, file.geterror() or "No such file or directory"))
    with np.errstate(over="ignore"):
        file.write_image(np.ascontiguousarray(pixels.astype("f2" if kind == "half" else "f4")))
    file.close()


class Format:
    def __init__(self, width, height, aspect):
        self._size, self._aspect = (width, height), aspect

    def width(self):
        return self._size[0]

    def height(self):
        return self._size[1]

    def pixelAspect(self):
        return self._aspect
