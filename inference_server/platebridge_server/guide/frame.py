# SPDX-License-Identifier: Apache-2.0
"""One frame of the guide, whoever made it: our simulation (`guide.py`) or the artist (`own.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch

from . import volume
from .debris import Chunks


@dataclass(frozen=True)
class GuideFrame:
    """Every array float32, (h, w) at the guide's size; light is premultiplied and has no colour yet.

    sun, ambient, alpha: the passes, **not** held out by the plate. depth: metres along the camera's axis, inf where
    there is no dust. light_view: (3,) unit vector towards the sun in the camera's axes. deep: how alpha grows with depth
    (our own guide has it), or None: then `depth` is where all of it stands, and dust of depth inf is held out by
    nothing. chunks: debris to draw. chroma: (h, w, 3) colour of luminance 1 to give the result, or None.
    """

    sun: np.ndarray
    ambient: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    light_view: np.ndarray
    deep: Optional[volume.Deep] = None
    chunks: Optional[Chunks] = None
    chroma: Optional[np.ndarray] = None

    @property
    def empty(self) -> bool:
        """Whether nothing at all is to be seen, dust or debris."""
        return not (self.alpha.any() or (self.chunks is not None and len(self.chunks)))


def nothing(size: tuple[int, int], light_view: np.ndarray) -> GuideFrame:
    """A frame before the collapse."""
    zeros = np.zeros(size, np.float32)
    return GuideFrame(zeros, zeros, zeros, np.full(size, np.inf, np.float32), light_view.astype(np.float32))


def coarse(deep: volume.Deep) -> volume.Deep:
    """The same dust, what it keeps for each plane rounded to half floats: `packed` keeps that exactly, in half the space."""
    depths = (deep.cumulative_depth / deep.planes[-1]).to(torch.float16).float() * deep.planes[-1]
    return volume.Deep(deep.planes, deep.cumulative_alpha.to(torch.float16).float(), depths, deep.front)


def packed(frame: GuideFrame) -> dict[str, np.ndarray]:
    """The dust of a frame as arrays to keep, cropped to where it is; empty for a frame without any. Chunks and chroma are not in it.

    Exact for a `coarse` frame, as our own guide's are.
    """
    rows, columns = np.nonzero(frame.alpha.any(1))[0], np.nonzero(frame.alpha.any(0))[0]
    if not len(rows):
        return {}
    y, x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    out = {name: getattr(frame, name)[y, x] for name in ("sun", "ambient", "alpha", "depth")}
    out["at"] = np.array([y.start, y.stop, x.start, x.stop], np.int64)
    if frame.deep is not None:
        deep = frame.deep
        out["planes"], out["front"] = deep.planes.numpy(), deep.front[y, x].numpy()
        out["cumulative_alpha"] = deep.cumulative_alpha[:, y, x].to(torch.float16).numpy()
        out["cumulative_depth"] = (deep.cumulative_depth[:, y, x] / deep.planes[-1]).to(torch.float16).numpy()
    return out


def unpacked(arrays: dict[str, np.ndarray], size: tuple[int, int], light_view: np.ndarray) -> GuideFrame:
    """What `packed` kept, exactly."""
    if "at" not in arrays:
        return nothing(size, light_view)
    top, bottom, left, right = (int(v) for v in arrays["at"])

    def whole(name: str, fill: float) -> np.ndarray:
        part = arrays[name]
        out = np.full((*part.shape[:-2], *size), fill, np.float32)
        out[..., top:bottom, left:right] = part
        return out

    deep = None
    if "planes" in arrays:
        fields = (
            torch.from_numpy(whole(name, fill)) for name, fill in (("cumulative_alpha", 0.0), ("cumulative_depth", 0.0), ("front", np.inf))
        )
        alphas, depths, front = fields
        planes = torch.from_numpy(arrays["planes"])
        deep = volume.Deep(planes, alphas, depths * planes[-1], front)
    return GuideFrame(
        whole("sun", 0.0),
        whole("ambient", 0.0),
        whole("alpha", 0.0),
        whole("depth", np.inf),
        light_view.astype(np.float32),
        deep,
    )
