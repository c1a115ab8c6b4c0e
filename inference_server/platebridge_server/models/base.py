# SPDX-License-Identifier: Apache-2.0
"""What a model is to the pipeline: a card of plain data, weights that are loaded once, frames one by one.

There are two kinds. One gives passes, not colours: sun-lit, ambient and alpha (`Model`). The other paints whole pictures over a scene
that it is shown (`PictureModel`); what of them is effect is found by the pipeline. Neither may know sockets, files of a shot or holdout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Protocol, Tuple

import numpy as np
from platebridge.request import GuideSettings, ModelSettings, PaintSettings


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
    cell(frame) -> of a cell of its simulation, at the dust's mean depth: pixels of the model's field across, and its optical depth at
    density 1; None where there is none, as in a guide that an artist has made.
    """

    passes: Callable[[int], Dict[str, np.ndarray]]
    sun_in_view: Callable[[int], Tuple[float, float, float]]
    cell: Callable[[int], Optional[Tuple[float, float]]] = lambda frame: None


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


@dataclass(frozen=True)
class Scene:
    """A shot as a picture model is shown it, at the model's own size (h, w), frame by frame and in any order.

    frames: those wanted; `last`: up to here there are real ones beyond them. plate(frame), dust(frame): (h, w, 3) float32 code values in
    [0, 1], the plate and the guide's dust and debris over it. depth(frame): (h, w) float32 metres of what is seen there, inf is sky.
    region(frame): (h, w) bool, where to paint. guide: its dials, for words. prints: of what plate, dust, depth and region are made, each a
    string that is another one when the pixels are. references: (h, w, 3) code values each, of any size: what it should look like.
    """

    frames: range
    last: int
    size: Tuple[int, int]
    plate: Callable[[int], np.ndarray]
    dust: Callable[[int], np.ndarray]
    depth: Callable[[int], np.ndarray]
    region: Callable[[int], np.ndarray]
    guide: GuideSettings
    prints: Mapping[str, str]
    references: Tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Asked:
    """How much a painting is, before it is begun. size: (h, w) of its pictures; frames, references: how many there are."""

    size: Tuple[int, int]
    frames: int
    references: int = 0


@dataclass(frozen=True)
class Ears:
    """Who listens to a picture model at work. progress(done, total): after each piece of work. forming(frame, codes): a small picture
    (h, w, 3) of what is coming. told(facts): what take.json should say of the run. warned(sentence): what an artist should know.
    cancelled(): asked at every block; then Cancelled is raised."""

    progress: Callable[[int, int], None]
    forming: Callable[[int, np.ndarray], None]
    told: Callable[[Mapping[str, Any]], None]
    warned: Callable[[str], None]
    cancelled: Callable[[], bool]


class PictureModel(Protocol):
    """A model that paints. `card` as Model's; the card's `kind` is "picture", and under `limits` it says what it takes:
    `multiple_of` both sides, and the `sizes` [width, height] that it was made for."""

    name: str

    def card(self) -> Dict[str, Any]: ...

    def load(self, device: str, asked: Asked, settings: ModelSettings, dials: PaintSettings) -> None:
        """Weights to the device, laid out so that what is asked fits. Raises ModelError: absent, changed, or too large."""
        ...

    def made_of(self, settings: ModelSettings, dials: PaintSettings) -> Any:
        """Plain data: what beside the card's weights goes into a painting by name alone, by its content (LoRAs)."""
        ...

    def paint(self, scene: Scene, settings: ModelSettings, dials: PaintSettings, ears: Ears) -> Iterator[Tuple[int, np.ndarray]]:
        """Every frame of scene.frames in order, as (h, w, 3) float32 code values in [0, 1], each as soon as it is decoded."""
        ...
