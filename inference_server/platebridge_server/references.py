# SPDX-License-Identifier: Apache-2.0
"""Reference images: pictures of what the result should look like, in any format, as the code values that a painting model takes.

Plain functions on files and arrays. It must not know models, nor where in a picture a model puts them.
"""

from __future__ import annotations

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
    """Raises RequestError where the model has no use for them, or for so many; InputError for one that is no picture."""
    given = request.inputs.reference
    if given is None:
        return
    if card.get("kind") != "picture" or "reference" not in card.get("guides", ("reference",)):
        mend = "Leave them out, or choose a model that paints."
        raise RequestError("The model %s takes no reference images." % request.model.name, mend, input="reference")
    if not 1 <= len(given.files) <= MOST:
        said = "%d reference images were given; a model takes one to %d." % (len(given.files), MOST)
        raise RequestError(said, "Choose the best.", input="reference")
    for file in given.files:
        _opened(open_file(file.sha256), file.frame).close()


def read(path: Path, transform: colour.Transform, working_space: str, number: Optional[int] = None) -> np.ndarray:
    """(h, w, 3) float32 codes in [0, 1] of `transform`.

    A picture of whole numbers is in display codes, sRGB; one of floats is scene-linear in the working space. What is transparent is
    white, as models are taught it. number: which of them it is, for an artist.
    """
    file = _opened(path, number)
    try:
        spec = file.spec()
        whole = {"uint8": np.float32(255.0), "uint16": np.float32(65535.0)}.get(str(spec.format))
        pixels = file.read_image(0, 0, 0, min(spec.nchannels, 4), str(spec.format) if whole is not None else "float")
        if pixels is None:
            raise InputError("The picture can't be read (%s)." % file.geterror().strip()[:200], _MEND, input="reference", frame=number)
    finally:
        file.close()
    values = pixels.astype(np.float32) / whole if whole is not None else np.nan_to_num(pixels.astype(np.float32))
    alpha = values[..., -1:] if values.shape[-1] in (2, 4) else np.ones_like(values[..., :1])
    rgb = np.repeat(values[..., :1], 3, -1) if values.shape[-1] < 3 else values[..., :3]
    if whole is None:
        return colour.limited(transform.encode(np.ascontiguousarray(rgb + (1 - alpha))))[0]
    rgb = rgb if alpha.min() == 1 else rgb + (1 - alpha)  # OpenImageIO gives it premultiplied
    if transform.name != "display":
        rgb = transform.encode(colour.find("display", working_space=working_space).decode(np.ascontiguousarray(rgb)))
    return colour.limited(np.ascontiguousarray(rgb))[0]


def _opened(path: Path, number: Optional[int]) -> oiio.ImageInput:
    file = oiio.ImageInput.open(str(path))  # by content: files of the spool have no suffix
    if file is None:
        raise InputError("The picture can't be read (%s)." % oiio.geterror().strip()[:200], _MEND, input="reference", frame=number)
    return file
