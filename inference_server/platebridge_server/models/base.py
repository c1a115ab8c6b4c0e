# SPDX-License-Identifier: Apache-2.0
"""What a model is to the pipeline: a card of plain data, weights that are loaded once, frames one by one.

A model gives passes, not colours: sun-lit, ambient and alpha. It must not know sockets, files of a shot or holdout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Optional, Protocol, Tuple

import numpy as np
from platebridge.request import ModelSettings


@dataclass(frozen=True)
class Passes:
    """What a model makes of one frame. Each (h, w) float32, premultiplied: light in units of the light's own strength; alpha in [0, 1]."""

    sun: np.ndarray
    ambient: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True)
class GuideReader:
    """The guide as a model reads it, frame by frame and in any order.

    passes(frame) -> {"sun", "ambient", "alpha", "depth"}: (h, w) float32 at the guide's low resolution, premultiplied,
    depth in metres, +inf where clear. sun_in_view(frame) -> unit vector to the sun, in the camera's axes (x right, y up, z backwards).
    """

    passes: Callable[[int], Dict[str, np.ndarray]]
    sun_in_view: Callable[[int], Tuple[float, float, float]]


class Model(Protocol):
    """A model that the registry knows. `generate` may be called again and again once it is loaded."""

    name: str

    def card(self) -> Dict[str, Any]:
        """Plain data: what it is, licence, training data, weights' SHA-256, limits. The same stands in every take.

        `trained`: False for what learned from nothing; the label of its frames follows from it.
        """
        ...

    def load(self, device: str) -> None:
        """Weights to the device. Raises ModelError when they are absent or are not those of the card."""
        ...

    def generate(
        self,
        guide: GuideReader,
        frames: range,
        size: Tuple[int, int],
        settings: ModelSettings,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
        first_frame: Optional[int] = None,
    ) -> Iterator[Tuple[int, Passes]]:
        """Frames in order, each as soon as it is done, as (h, w) of `size`.

        first_frame: frames before it exist; those from it on are bit for bit as if all had been made. progress(done,
        total): after each call of the network. cancelled: asked before each; then Cancelled is raised.
        """
        ...
