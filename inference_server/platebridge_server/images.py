# SPDX-License-Identifier: Apache-2.0
"""OpenEXR in and out: every part of a file, its windows, its pixel types and its header, exactly.

Samples stay in the file's own type (half, float, uint) from reading to writing, so a bit that nobody changed is the bit
that comes out. This module knows files and channels; it must not know what a plate or a depth is.

OpenImageIO reads, for it says what is wrong with a file and takes the channels that are wanted. OpenEXR's own module writes: each channel
in its own type, whole numbers beside light too, and a header as it was, in the format's own types.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import OpenEXR
import OpenImageIO as oiio
from platebridge.errors import InputError

MAGIC = b"v/1\x01"
#: Checked on the header, before memory is taken: 32768 pixels a side, 512 million pixels, 8 GB of samples in a part.
MAX_SIDE, MAX_PIXELS, MAX_BYTES, MAX_PARTS, MAX_CHANNELS = 32768, 1 << 29, 1 << 33, 256, 1024
#: Compressions that lose nothing. A file in another one is written anew in ZIP: bit for bit is worth more than its size.
LOSSLESS = {
    "none": OpenEXR.NO_COMPRESSION,
    "rle": OpenEXR.RLE_COMPRESSION,
    "zips": OpenEXR.ZIPS_COMPRESSION,
    "zip": OpenEXR.ZIP_COMPRESSION,
    "piz": OpenEXR.PIZ_COMPRESSION,
}
#: What a header says of how the file lies on disk, or what is said anew; the rest is metadata and kept. A preview would be of another
#: picture, and so would OpenImageIO's notes on a texture's pixels: its cache takes two files with one hash for the same picture.
_LAYOUT = (
    *("channels", "chunkCount", "compression", "dataWindow", "displayWindow", "lineOrder", "preview", "tiles", "type", "version"),
    *("oiio:AverageColor", "oiio:ConstantColor", "oiio:SHA-1"),
)
#: So much is looked at for lists of channels: headers are a few kB, though a Cryptomatte's names can be long.
HEADER_BYTES = 1 << 18
#: IPTC's words, in a header's flat key or its XMP, for a picture that a trained model had a hand in.
_BY_A_MODEL = re.compile(r"digitalsourcetype/((compositeWithT|t)rainedAlgorithmicMedia|compositeSynthetic)")
#: In a header, a compression past DWAB, the last that OpenImageIO 3.0's own OpenEXR knows: it takes such a file for a ZIP.
_NEWER = re.compile(rb"compression\0compression\0\x01\0\0\0[\x0a-\xff]")
_OTHERS = {b"\x89PNG": "a PNG", b"\xff\xd8\xff": "a JPEG", b"II*\0": "a TIFF", b"MM\0*": "a TIFF"}
_TYPES = {"half": oiio.HALF, "float": oiio.FLOAT, "uint": oiio.UINT32}
_KINDS = {np.dtype(np.float16): "half", np.dtype(np.float32): "float", np.dtype(np.uint32): "uint"}


Attribute = Union[str, int, float]


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; x, y: its first pixel, from the top left of the shot's own pixel grid."""

    x: int
    y: int
    width: int
    height: int

    def union(self, other: Window) -> Window:
        """The smallest window that holds both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Window(x, y, max(self.x + self.width, other.x + other.width) - x, max(self.y + self.height, other.y + other.height) - y)

    def slices_in(self, outer: Window) -> Tuple[Tuple[slice, slice], Tuple[slice, slice]]:
        """Where this window and `outer` meet: (rows, columns) inside `outer`, and the same pixels inside this one."""
        x0, x1 = max(self.x, outer.x), min(self.x + self.width, outer.x + outer.width)
        y0, y1 = max(self.y, outer.y), min(self.y + self.height, outer.y + outer.height)
        x1, y1 = max(x0, x1), max(y0, y1)
        return (
            (slice(y0 - outer.y, y1 - outer.y), slice(x0 - outer.x, x1 - outer.x)),
            (slice(y0 - self.y, y1 - self.y), slice(x0 - self.x, x1 - self.x)),
        )

    def __str__(self) -> str:
        return "%dx%d" % (self.width, self.height)


@dataclass(frozen=True)
class PartHeader:
    """One part (OpenEXR) or subimage (OIIO) of a file. `types`: "half", "float" or "uint" for each channel."""

    index: int
    name: str
    channels: Tuple[str, ...]
    types: Tuple[str, ...]
    data: Window
    display: Window
    compression: str
    pixel_aspect: float = 1.0


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels. `channels` lists (part index, channel name), in the file's order."""

    path: Path
    parts: Tuple[PartHeader, ...]

    @property
    def channels(self) -> List[Tuple[int, str]]:
        return [(part.index, name) for part in self.parts for name in part.channels]

    @property
    def display(self) -> Window:
        return self.parts[0].display


@dataclass
class Part:
    """One part with its samples. `samples`: name -> (height, width) in the channel's own type, in the file's order. `metadata`: what
    else its header says, as OpenEXR's module has it."""

    header: PartHeader
    samples: Dict[str, np.ndarray]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Where:
    """Which input and frame a file is, for the sentence when it can't be used."""

    input: str = ""
    frame: Optional[int] = None


def read_header(path: Path, where: Where = Where()) -> Header:
    """Every part's channels, types and windows; no pixel is read, nor what else the header says: that is `metadata`.

    Raises InputError on what is no scanline or tiled OpenEXR of a size we take: missing, empty, cut short, another format
    under the name, deep samples, subsampled chroma, a header that claims the moon.
    """
    with _opened(path, where) as file:
        parts: List[PartHeader] = []
        while file.seek_subimage(len(parts), 0):
            if len(parts) == MAX_PARTS:
                raise InputError(
                    "The file has more than %d parts." % MAX_PARTS, "Write fewer layers into it.", input=where.input, frame=where.frame
                )
            try:
                parts.append(_part_header(len(parts), file.spec(), where))
            except UnicodeDecodeError:  # a layer's name, or a part's
                raise _no_text(where) from None
        file.geterror()  # the seek past the last part left one; read, it is gone
        if not parts:
            raise InputError("The file has no picture in it.", "Write this frame again.", input=where.input, frame=where.frame)
        return Header(Path(path), tuple(parts))


def read_channels(header: Header, wanted: Iterable[Tuple[int, str]], where: Where = Where()) -> Dict[Tuple[int, str], np.ndarray]:
    """Samples of some channels: (part index, name) -> (height, width) in the channel's own type.

    Raises InputError when the file ends before its last pixel.
    """
    by_part: Dict[int, List[str]] = {}
    for index, name in wanted:
        by_part.setdefault(index, []).append(name)
    out: Dict[Tuple[int, str], np.ndarray] = {}
    with _opened(header.path, where) as file:
        for index, names in by_part.items():
            part = header.parts[index]
            for first, last, kind in _runs(part, names):
                block = file.read_image(index, 0, first, last, _TYPES[kind])
                if block is None:
                    file.geterror()
                    raise _unread(header.path, where)
                for at in range(first, last):
                    if part.channels[at] in names:
                        out[index, part.channels[at]] = block[:, :, at - first]
    return out


def read(path: Path, where: Where = Where()) -> List[Part]:
    """A whole file: every part with every channel's samples. Raises InputError as `read_header` and `read_channels` do."""
    header = read_header(path, where)
    samples = read_channels(header, header.channels, where)
    told = metadata(path, where)
    return [Part(part, {name: samples[part.index, name] for name in part.channels}, told[part.index]) for part in header.parts]


def check_canvas(window: Window, where: Where = Where()) -> None:
    """Raises InputError where the windows of a picture, each of which may be small, lie on a canvas larger than we take."""
    if max(window.width, window.height) > MAX_SIDE or window.width * window.height > MAX_PIXELS:
        raise InputError(
            "The picture's windows span %s pixels, more than this server takes." % window,
            "Stay below %d pixels a side." % MAX_SIDE,
            input=where.input,
            frame=where.frame,
        )


def metadata(path: Path, where: Where = Where()) -> List[Dict[str, Any]]:
    """Of each part, what its header says beside channels, windows and how the pixels lie. Raises InputError where that can't be kept."""
    try:
        headers = [part.header for part in OpenEXR.File(os.fsencode(path), header_only=True).parts]
    except UnicodeDecodeError:
        raise _no_text(where) from None
    except (RuntimeError, ValueError) as error:
        raise _refused(str(error), where) from None
    return [{name: value for name, value in header.items() if name not in _LAYOUT and not _empty(value)} for header in headers]


def _empty(value: Any) -> bool:
    """An empty list: OpenEXR's module reads one, and can't tell of which kind to write it."""
    return isinstance(value, list) and not value


def encode(parts: Sequence[Part], attributes: Mapping[str, Attribute] = {}) -> bytes:
    """The bytes of an EXR with these parts: windows, types and metadata as they have them, `attributes` added to each.

    Labels among them take the place of another take's. Its XMP stays as `platebridge:plate_xmp`.
    attributes: by OpenEXR's names. A lossy compression becomes ZIP. The same parts give the same bytes: where a header has no date, none
    is made up. The work is done without the GIL, on one thread.
    """
    made = []
    for part in parts:
        head = part.header
        told = {
            **(_inherited(part.metadata) if attributes else part.metadata),
            **attributes,
            "compression": LOSSLESS.get(head.compression, OpenEXR.ZIP_COMPRESSION),
            "dataWindow": _corners(head.data),
            "displayWindow": _corners(head.display),
            "type": OpenEXR.scanlineimage,
        }
        made.append(OpenEXR.Part(told, {name: np.ascontiguousarray(a) for name, a in part.samples.items()}, head.name))
    out = io.BytesIO()
    OpenEXR.File(made, num_threads=0).write(out)
    return out.getvalue()


def by_a_model(headers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a file's headers, as `metadata` gives them, say that a trained model had a hand in the picture."""
    return any(_BY_A_MODEL.search(str(header.get(name))) for header in headers for name in ("Iptc4xmpExt:DigitalSourceType", "xmp"))


def _inherited(metadata: Mapping[str, Any]) -> Dict[str, Any]:
    """What a header still says once a take of ours labels it: nothing of an earlier one: its weights would stand beside our model."""
    packet = metadata.get("platebridge:plate_xmp", metadata.get("xmp"))
    kept = {name: value for name, value in metadata.items() if not name.startswith("platebridge:")}
    return {**kept, **({} if packet is None else {"platebridge:plate_xmp": packet})}


def _corners(window: Window) -> Tuple[Tuple[int, int], Tuple[int, int]]:
    """A box as OpenEXR has it: its first and its last pixel."""
    return (window.x, window.y), (window.x + window.width - 1, window.y + window.height - 1)


def new_part(samples: Mapping[str, np.ndarray], data: Window, display: Window) -> Part:
    """A part made here, not read. samples: name -> (height, width) float16, float32 or uint32, all of the data window's size."""
    kinds = tuple(_KINDS[a.dtype] for a in samples.values())
    return Part(PartHeader(0, "", tuple(samples), kinds, data, display, "zip"), dict(samples))


@contextlib.contextmanager
def _opened(path: Path, where: Where):
    """The file, open, after the checks that need only its first bytes."""
    again = "Write this frame again."
    try:
        with open(path, "rb") as raw:
            start = raw.read(HEADER_BYTES)
    except FileNotFoundError:
        raise InputError(
            "The file %s is missing." % Path(path).name,
            "Write this frame, or shorten the frame range.",
            input=where.input,
            frame=where.frame,
        ) from None
    except OSError as error:
        raise InputError(
            "The file can't be opened (%s)." % (error.strerror or error), "Give read access to it.", input=where.input, frame=where.frame
        ) from None
    if not start:
        raise InputError("The file is empty (0 bytes).", again, input=where.input, frame=where.frame)
    if start[:4] != MAGIC:
        kind = next((kind + ", not OpenEXR" for magic, kind in _OTHERS.items() if start.startswith(magic)), "not an OpenEXR file")
        raise InputError("The file is %s." % kind, "Convert it to a scene-linear OpenEXR.", input=where.input, frame=where.frame)
    if _subsampled(start):
        raise _refused("subsampled", where)
    # By content: files of the spool have no suffix. As bytes: an old archive's folder may have a name that is no text.
    file = oiio.ImageInput.open(os.fsencode(path))
    if file is None:
        raise _refused(oiio.geterror(), where)
    try:
        yield file
    finally:
        file.close()


def _subsampled(start: bytes) -> bool:
    """Whether a channel has fewer samples than pixels. OIIO 3.0 would read such a file as if it had not (3.2 refuses it)."""
    for found in re.finditer(rb"channels\0chlist\0....", start, re.DOTALL):
        at = found.end()
        while 0 < (end := start.find(b"\0", at)) != at and end + 17 <= len(start):
            if struct.unpack_from("<2i", start, end + 9) != (1, 1):
                return True
            at = end + 17
    return False


def _refused(reason: str, where: Where) -> InputError:
    """OIIO's reason in an artist's words."""
    low = reason.lower()
    if "subsampl" in low or "luminance" in low:
        said = ("The file has subsampled colour (luminance-chroma).", "Write it as plain RGB.")
    elif "deep" in low:
        said = ("The file holds deep samples.", "Flatten it to a plain OpenEXR.")
    elif "exceeds" in low or "limit" in low:
        said = ("The header claims a size that no picture has.", "Write this frame again.")
    else:
        said = ("The file can't be read as OpenEXR; it is cut short or damaged.", "Write this frame again.")
    return InputError(*said, input=where.input, frame=where.frame)


def _unread(path: Path, where: Where) -> InputError:
    """Why pixels can't be had of a file whose header could be read."""
    with open(path, "rb") as raw:
        newer = _NEWER.search(raw.read(HEADER_BYTES))
    if newer:
        said = ("The file's compression is newer than what this server reads (HTJ2K, for instance).", "Write it as ZIP, PIZ or DWAA.")
    else:
        said = ("The file is cut short or damaged.", "Write this frame again.")
    return InputError(*said, input=where.input, frame=where.frame)


def _no_text(where: Where) -> InputError:
    said = "The header holds text that is not UTF-8."
    return InputError(said, "Write the file without it, or in UTF-8.", input=where.input, frame=where.frame)


def _part_header(index: int, spec: oiio.ImageSpec, where: Where) -> PartHeader:
    if spec.deep:
        raise _refused("deep", where)
    samples = spec.width * spec.height
    if (
        max(spec.width, spec.height) > MAX_SIDE
        or samples > MAX_PIXELS
        or spec.nchannels > MAX_CHANNELS
        or samples * spec.nchannels * 4 > MAX_BYTES
    ):
        raise InputError(
            "The picture is %dx%d with %d channels, more than this server takes." % (spec.width, spec.height, spec.nchannels),
            "Stay below %d pixels a side, and write fewer layers into one file." % MAX_SIDE,
            input=where.input,
            frame=where.frame,
        )
    formats = spec.channelformats or (spec.format,) * spec.nchannels
    return PartHeader(
        index,
        spec.get_string_attribute("oiio:subimagename") or spec.get_string_attribute("name"),
        tuple(spec.channelnames),
        tuple(str(f) if str(f) in _TYPES else "float" for f in formats),
        Window(spec.x, spec.y, spec.width, spec.height),
        Window(spec.full_x, spec.full_y, spec.full_width, spec.full_height),
        spec.get_string_attribute("compression") or "none",
        spec.get_float_attribute("PixelAspectRatio", 1.0),
    )


def _runs(part: PartHeader, names: List[str]) -> List[Tuple[int, int, str]]:
    """Channels that lie side by side in one type, as (first, last + 1, type): each run is read at once, in its own type."""
    wanted = sorted(part.channels.index(name) for name in set(names))
    runs: List[Tuple[int, int, str]] = []
    for at in wanted:
        if runs and runs[-1][1] == at and runs[-1][2] == part.types[at]:
            runs[-1] = (runs[-1][0], at + 1, part.types[at])
        else:
            runs.append((at, at + 1, part.types[at]))
    return runs
