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

from . import colour

#: More of them are no use: each takes the place of a latent frame in every window.
MOST = 4
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
    white, as models are taught it. number: which of them it is, for an artist.
    """
    pixels = _pixels(path, number)
    whole = {"uint8": np.float32(255.0), "uint16": np.float32(65535.0)}.get(str(pixels.dtype))
    values = pixels.astype(np.float32) / whole if whole is not None else np.nan_to_num(pixels.astype(np.float32))
    alpha = values[..., -1:] if values.shape[-1] in (2, 4) else np.ones_like(values[..., :1])
    rgb = np.repeat(values[..., :1], 3, -1) if values.shape[-1] < 3 else values[..., :3]
    if whole is None:
        return colour.limited(transform.encode(np.ascontiguousarray(rgb + (1 - alpha))))[0]
    rgb = rgb if alpha.min() == 1 else rgb + (1 - alpha)  # OpenImageIO gives it premultiplied
    if transform.name != "display":
        rgb = transform.encode(colour.find("display", working_space=working_space).decode(np.ascontiguousarray(rgb)))
    return colour.limited(np.ascontiguousarray(rgb))[0]


def _pixels(path: Path, number: Optional[int]) -> np.ndarray:
    """(h, w, channels) uint8 or uint16 as they are in the file, else float32: grey or colour, and alpha where the picture has one."""
    file = oiio.ImageInput.open(os.fsencode(path))  # by content: files of the spool have no suffix
    if file is None:
        raise _unread(oiio.geterror(), number)
    try:
        spec = file.spec()
        kind = str(spec.format) if str(spec.format) in ("uint8", "uint16") else "float"
        colours = 3 if spec.nchannels > 2 else 1
        pixels = file.read_image(0, 0, 0, colours + (spec.alpha_channel == colours), kind)  # what else comes next, a depth, is no alpha
        if pixels is None:
            raise _unread(file.geterror(), number)
        return pixels
    finally:
        file.close()


def _unread(said: str, number: Optional[int]) -> InputError:
    why = (said.strip() or "no more is known").splitlines()[0][:200]
    return InputError("The picture can't be read (%s)." % why, _MEND, input="reference", frame=number)
