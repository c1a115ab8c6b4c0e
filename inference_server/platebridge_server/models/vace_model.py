# SPDX-License-Identifier: Apache-2.0
"""Wan VACE as the pipeline's protocol for models that paint wants it; the model itself is in models/vace/.

Three tiers of what was computed are kept by what it was computed from: the words' embeddings, the latents of plate and control (each for
itself), and the finished latents. So a new seed pays for denoising and decoding alone, another light only for the control's latents,
and words that were met before never load the text encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional, Tuple

import numpy as np
from platebridge.errors import ModelError
from platebridge.request import ModelSettings, PaintSettings

from . import store, stored_model
from .base import Ears, Scene

if TYPE_CHECKING:  # a list of models must not wait for diffusers
    from ..cache import TensorCache
    from .vace.denoise import Recipe
    from .vace.run import Loaded

_INSTALL = "Type: pip install 'platebridge[server]'"
#: Steps from noise to picture.
STEPS = {"draft": 12, "final": 30, "crisp": 50}
#: Latent frames that neighbouring windows share: 16 frames and a little.
OVERLAP = 5
#: The flow's shift for fields of so many pixels at most, and beyond: the makers' own two values for 480 and 720 lines.
SHIFT_PIXELS, SHIFT_SMALL, SHIFT_LARGE = 600_000, 3.0, 5.0


class VaceModel:
    """See base.PictureModel. kept: the cache; None is this user's own."""

    def __init__(self, name: str, kept: Optional[TensorCache] = None) -> None:
        self.name, self._kept = name, kept
        self._loaded: Optional[Loaded] = None

    def card(self) -> Dict[str, Any]:
        return stored_model.card(self.name)

    def load(self, device: str) -> None:
        """Transformers and VAE; the text encoder is read when words are met for the first time."""
        installed = store.opened(self.name)
        try:
            from .. import cache
            from .vace import parts, run
        except (ImportError, RuntimeError) as problem:  # diffusers says it in either way
            raise ModelError("The model %s needs packages that are not here (%s)." % (self.name, problem), _INSTALL) from problem
        hashes = {name: said["sha256"] for name, said in installed.files.items()}
        wanted = installed.folder, hashes, device
        if self._loaded is not None and (self._loaded.folder, self._loaded.hashes, self._loaded.device) == wanted:
            return
        self._loaded = None  # before the next one takes its place in memory
        try:
            pipe = parts.load(installed.folder, device, run.dtype_of(device))
        except (OSError, ValueError, KeyError) as problem:
            mend = "`platebridge models verify %s` says what is wrong with it." % self.name
            raise ModelError("The model %s can't be loaded (%s)." % (self.name, problem), mend) from problem
        self._loaded = run.Loaded(pipe, installed.folder, hashes, installed.card["weights_sha256"], device)
        self._kept = self._kept or cache.TensorCache()

    def recipe(self, size: Tuple[int, int], settings: ModelSettings, dials: PaintSettings) -> Recipe:
        """How a request is generated at a size (h, w)."""
        from .vace import denoise, windows

        return denoise.Recipe(
            seed=settings.seed,
            steps=dials.steps or STEPS[settings.quality],
            guidance=dials.guidance,
            control=dials.control,
            shift=SHIFT_SMALL if size[0] * size[1] <= SHIFT_PIXELS else SHIFT_LARGE,
            window=windows.latent_frames(self.card()["limits"].get("window", 81)),
            overlap=OVERLAP,
        )

    def paint(self, scene: Scene, settings: ModelSettings, dials: PaintSettings, ears: Ears) -> Iterator[Tuple[int, np.ndarray]]:
        if self._loaded is None or self._kept is None:
            raise ModelError("The model %s is not loaded." % self.name, "Load it before generating.")
        from .vace import run

        yield from run.Run(self._loaded, self._kept, scene, dials, self.recipe(scene.size, settings, dials), ears).pictures()
