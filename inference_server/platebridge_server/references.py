# SPDX-License-Identifier: Apache-2.0
"""Reference images: pictures of what the result should look like, in any format, as the code values that a painting model takes.

Plain functions on files and arrays. It must not know models, nor where in a picture a model puts them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

import numpy as np
import OpenImageIO as oiio
from platebridge.errors import InputError, RequestError
from platebridge.request import GenerateRequest

from . import channels, colour, images
from .depth import HALF_MAX

#: More of them are no use: each takes the place of a latent frame in every window.
MOST = 4
#: By EXIF's number, how a picture is set upright: a camera writes the rows as they come from its chip, however it was held.
_UPRIGHT: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
_MEND = "Give a picture that OpenImageIO reads: PNG, JPEG, TIFF or OpenEXR."


def check(request: GenerateRequest, card: Mapping[str, Any], open_file: Callable[[str], Path]) -> None:
    """Raises RequestError as `check_number`; InputError for one that is no picture, or half of one."""
    given = request.inputs.reference
    if given is None:
        return
    check_number(len(given.files), request.model.name, card)
    for file in given.files:
        _pixels(open_file(file.sha256), file.frame)


def check_number(count: int, model: str, card: Mapping[str, Any]) -> None:
    """Raises RequestError where the model has no use for references, or for so many. count: of those that were given."""
    if card.get("kind") != "picture" or "reference" not in card.get("guides", ("reference",)):
        mend = "Leave them out, or choose a model that paints."
        raise RequestError("The model %s takes no reference images." % model, mend, input="reference")
    if not 1 <= count <= MOST:
        said = "%d reference images were given; a model takes one to %d." % (count, MOST)
        raise RequestError(said, "Choose the best.", input="reference")


def read(path: Path, transform: colour.Transform, working_space: str, number: Optional[int] = None) -> np.ndarray:
    """(h, w, 3) float32 codes in [0, 1] of `transform`.

    A picture of whole numbers is in display codes, sRGB; one of floats is scene-linear in the working space. What is transparent is
    white, the code 1 in whatever curve, as models are taught it. number: which of them it is, for an artist.
    """
    pixels = _pixels(path, number)
    whole = {"uint8": np.float32(255.0), "uint16": np.float32(65535.0)}.get(str(pixels.dtype))
    values = pixels.astype(np.float32)
    values = values / whole if whole is not None else np.nan_to_num(values, posinf=HALF_MAX, neginf=-HALF_MAX)
    alpha = np.clip(values[..., -1:], 0, 1) if values.shape[-1] in (2, 4) else np.ones_like(values[..., :1])
    rgb = np.repeat(values[..., :1], 3, -1) if values.shape[-1] < 3 else values[..., :3]
    rgb = np.ascontiguousarray(rgb / np.where(alpha > 0, alpha, np.float32(1)))  # it came premultiplied
    if whole is None:
        codes = transform.encode(rgb)
    elif transform.name != "display":
        config = "" if colour.known_linear(working_space) else transform.parameters.get("config", "")  # a space of the studio's own
        codes = transform.encode(colour.find("display", working_space=working_space, config=config).decode(rgb))
    else:
        codes = rgb
    return colour.limited(codes)[0] * alpha + (1 - alpha)


def _pixels(path: Path, number: Optional[int]) -> np.ndarray:
    """(h, w, channels) uint8 or uint16 as they are in the file, else float32, upright: grey or colour, premultiplied, and alpha where the
    picture has one."""
    file = oiio.ImageInput.open(os.fsencode(path))  # by content: files of the spool have no suffix
    if file is None:
        raise _unread(oiio.geterror(), number)
    try:
        if file.format_name() == "openexr":
            return _of_layers(path, images.Where("reference", number))
        spec = file.spec()
        kind = str(spec.format) if str(spec.format) in ("uint8", "uint16") else "float"
        colours = 3 if spec.nchannels > 2 else 1
        pixels = file.read_image(0, 0, 0, colours + (spec.alpha_channel == colours), kind)  # what else comes next, a depth, is no alpha
        if pixels is None:
            raise _unread(file.geterror(), number)
        return _UPRIGHT.get(spec.get_int_attribute("Orientation", 1), lambda as_it_is: as_it_is)(pixels)
    finally:
        file.close()


def _of_layers(path: Path, where: images.Where) -> np.ndarray:
    """As `_pixels`, of an OpenEXR, which may have many layers: its colour by the trade's names, not whichever comes first."""
    header = images.read_header(path, where)
    found = channels.find(header, "reference", (), where)
    alpha = channels.beside(header, found, "A")
    found = [*found, alpha] if alpha else found
    samples = images.read_channels(header, found, where)
    return np.stack([samples[channel] for channel in found], -1).astype(np.float32)


def _unread(said: str, number: Optional[int]) -> InputError:
    why = (said.strip() or "no more is known").splitlines()[0][:200]
    return InputError("The picture can't be read (%s)." % why, _MEND, input="reference", frame=number)
