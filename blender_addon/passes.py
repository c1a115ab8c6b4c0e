# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels in files: a rendered multilayer EXR to named channels, and single passes to EXR.

Uses the OpenImageIO that Blender ships. Knows numpy and files; nothing of bpy scenes, settings or requests.
Rows run from the top of the picture, as in the file.
"""

from __future__ import annotations

import re
import struct
import sys
import uuid
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

import numpy as np
from platebridge.errors import InputError, StorageError
from platebridge.takes import rename_over

HALF_MAX = 65504.0
LONGEST_NAME = 64
"""So many bytes of a channel's name are written by Blender before 5.0."""
_IN_MANIFEST = re.compile(r'"(.*?)":"([0-9a-f]{8})"(?=[,}])', re.S)
"""A name and its hash. No JSON: Cycles writes names as they are, quotes and backslashes too; EEVEE escapes them."""


def image_io() -> Any:
    """OpenImageIO: Blender's own. In the bpy module its folder is not on the path until it is asked for.

    Raises InputError where Blender has none: Linux distributions build it without.
    """
    try:
        import OpenImageIO
    except ImportError:
        import bpy

        bundled = Path(bpy.utils.resource_path("LOCAL"), "python", "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
        sys.path.append(str(bundled))  # last, so that it hides nothing
        try:
            import OpenImageIO
        except ImportError:
            raise InputError(
                "This Blender was built without OpenImageIO for Python, and passes can't be captured.",
                "Install python3-openimageio, or Blender from blender.org; or take every input from files.",
            ) from None
    return OpenImageIO


def read_layers(path: Path) -> Tuple[Dict[str, np.ndarray], Dict[str, Any]]:
    """Every channel of every part: {"ViewLayer.Depth.Z": (height, width) float32}, and the header's attributes.

    4.5 writes one part, 5.x a part per pass: they look alike here. Raises InputError when the file can't be read.
    """
    oiio = image_io()
    file = oiio.ImageInput.open(str(path))
    if file is None:
        raise InputError(
            "The rendered passes can't be read (%s)." % oiio.geterror().strip(), "Check that %s has room, and try again." % path.parent
        )
    channels: Dict[str, np.ndarray] = {}
    header: Dict[str, Any] = {}
    try:
        part = 0
        while file.seek_subimage(part, 0):
            spec = file.spec()
            pixels = file.read_image(part, 0, 0, spec.nchannels, oiio.FLOAT)
            if pixels is None:
                raise InputError(
                    "The rendered passes can't be read (%s)." % file.geterror().strip(),
                    "Check that %s has room, and try again." % path.parent,
                )
            for index, name in enumerate(spec.channelnames):
                channels[name] = pixels[..., index]
            header.update((attribute.name, attribute.value) for attribute in spec.extra_attribs)
            part += 1
    finally:
        file.close()
    return channels, header


def read_picture(path: Path) -> Tuple[List[str], np.ndarray]:
    """The channels' names and pixels of a picture of any kind, (height, width, channels) float32: what was 8 or 16 bit is 0…1 as stored.

    Colour that was not multiplied by its alpha is. Raises InputError when the file can't be read.
    """
    oiio = image_io()
    file = oiio.ImageInput.open(str(path))
    pixels = file.read_image(0, 0, 0, file.spec().nchannels, oiio.FLOAT) if file is not None else None
    if pixels is None:
        why = file.geterror() if file is not None else oiio.geterror()
        raise InputError("%s can't be read (%s)." % (path, why.strip() or "no picture"), "Check the file.")
    names = list(file.spec().channelnames)
    file.close()
    return names, pixels


def channel_names(path: Path) -> List[str]:
    """The names of a file's channels, every part's. Raises InputError when it can't be read."""
    oiio = image_io()
    file = oiio.ImageInput.open(str(path))
    if file is None:
        raise InputError("%s can't be read (%s)." % (path, oiio.geterror().strip()), "Check the file.")
    names, part = [], 0
    while file.seek_subimage(part, 0):
        names += file.spec().channelnames
        part += 1
    file.close()
    return names


def display_size(path: Path) -> Tuple[int, int]:
    """(width, height) of the picture that the file is of, whatever part of it is stored. Raises InputError."""
    oiio = image_io()
    file = oiio.ImageInput.open(str(path))
    if file is None:
        raise InputError("%s can't be read (%s)." % (path, oiio.geterror().strip()), "Check the file.")
    spec = file.spec()
    file.close()
    return spec.full_width, spec.full_height


def layer(channels: Dict[str, np.ndarray], view_layer: str, name: str, parts: str) -> np.ndarray:
    """One pass: `layer(c, "ViewLayer", "Vector", "XYZW")` is (height, width, 4). Raises InputError naming the pass."""
    try:
        return np.stack([channels["%s.%s.%s" % (view_layer, name, part)] for part in parts], -1)
    except KeyError as error:
        _refuse_long_name(channels, view_layer, error.args[0])
        raise InputError(
            "The render has no %s pass (channel %s is missing)." % (name, error.args[0]),
            "Render with Cycles, or take this input from files.",
        ) from None


def _refuse_long_name(channels: Dict[str, np.ndarray], view_layer: str, missing: str) -> None:
    """Raises InputError where a channel is missing because Blender before 5.0 shortened its name in the file: it then lies on others."""
    shortened = missing.encode()[:LONGEST_NAME].decode("utf-8", "ignore")
    if shortened != missing and shortened in channels:
        raise InputError(
            "The name of the view layer %s is too long: this Blender shortens it in files, and passes are lost." % view_layer,
            "Give it a name of at most %d letters." % (LONGEST_NAME - len(".CryptoObject00.r")),
        )


def cryptomatte_coverage(channels: Dict[str, np.ndarray], header: Dict[str, Any], view_layer: str, names: Iterable[str]) -> np.ndarray:
    """How much of each pixel the named objects cover: (height, width) float32 in [0, 1], anti-aliased as the render is.

    Psyop's Cryptomatte 1.2: ids are hashes written as floats, two (id, coverage) pairs a level; ids stand in the manifest.
    """
    manifest: Dict[str, str] = {}
    typename = "%s.CryptoObject" % view_layer
    for key, value in header.items():
        found = re.fullmatch(r"cryptomatte/([^/]+)/name", key)
        if found and value == typename:
            manifest = dict(_IN_MANIFEST.findall(header["cryptomatte/%s/manifest" % found.group(1)]))
    hashes = [manifest.get(name) or manifest.get(re.sub(r'(["\\])', r"\\\1", name)) for name in names]
    ids = np.array([struct.unpack("<f", struct.pack("<I", int(known, 16)))[0] for known in hashes if known], np.float32)
    levels = sorted({key[:-2] for key in channels if key.startswith(typename) and key.endswith(".r")})
    if not levels:
        _refuse_long_name(channels, view_layer, typename + "00.r")
        raise InputError("The render has no Cryptomatte pass.", "Render with Cycles or EEVEE, or take the mask from files.", input="mask")
    total = np.zeros_like(channels[levels[0] + ".r"])
    for level in levels:
        for name, coverage in (("r", "g"), ("b", "a")):
            total += np.where(np.isin(channels["%s.%s" % (level, name)], ids), channels["%s.%s" % (level, coverage)], 0)
    return np.clip(total, 0, 1)


def write_exr(path: Path, pixels: np.ndarray, names: Sequence[str], *, half: bool) -> None:
    """(height, width, channels) float32 to one EXR, whole or not at all: written beside, then renamed.

    `half` clips to the largest half float, so that a sun does not become inf. Raises StorageError.
    """
    oiio = image_io()
    pixels = np.ascontiguousarray(pixels, np.float32)
    if half:
        pixels = np.clip(pixels, -HALF_MAX, HALF_MAX)
    height, width, count = pixels.shape
    spec = oiio.ImageSpec(width, height, count, oiio.HALF if half else oiio.FLOAT)
    spec.channelnames = tuple(names)
    spec.attribute("compression", "zip")
    spec.attribute("DateTime", "")  # else today's: equal pictures must be equal bytes, to be sent once
    beside = path.with_name(".%s.exr" % uuid.uuid4().hex[:8])  # a name of its own: on a farm two Blenders may capture one shot
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError("The folder %s can't be made (%s)." % (path.parent, error.strerror), "Choose another folder.") from error
    file = oiio.ImageOutput.create(str(beside))
    written = file is not None and file.open(str(beside), spec) and file.write_image(pixels)
    why = file.geterror() if file is not None else oiio.geterror()
    if not (file is not None and file.close() and written):
        beside.unlink(missing_ok=True)
        raise StorageError("%s can't be written (%s)." % (path, why.strip() or "no room?"), "Make room, or choose another folder.")
    try:
        rename_over(beside, path)
    except OSError as error:  # on Windows, a file that a player holds open
        beside.unlink(missing_ok=True)
        raise StorageError("%s can't be replaced (%s)." % (path, error.strerror), "Close what has it open, and press again.") from error


def files_that_stand(paths: Iterable[Path]) -> List[Path]:
    """Those of the paths that are files with something in them."""
    return [path for path in paths if path.is_file() and path.stat().st_size]
