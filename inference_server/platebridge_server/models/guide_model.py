# SPDX-License-Identifier: Apache-2.0
"""The model `guide`: the guide itself as the effect, enlarged and no more. What diffusion will be led by, in the guide's own seconds."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import numpy as np
import torch
from platebridge.errors import Cancelled
from platebridge.request import ModelSettings

from .base import GuideReader, Passes
from .dust.condition import condition, decode

_CARD = {
    "name": "guide",
    "version": "1",
    "licence": "Apache-2.0",
    "summary": "The guide itself, enlarged: a look at composition, speed and light before any model runs.",
    "trained_on": "Nothing: it is a simulation and has no weights.",
    "trained": False,
    "weights_sha256": "",
    "guides": ["sun", "ambient", "alpha", "depth"],
    "limits": {"frames": None},
}


class GuideModel:
    """See base.Model. Seed and quality change nothing here."""

    name = "guide"

    def card(self) -> Dict[str, Any]:
        return dict(_CARD)

    def load(self, device: str) -> None:
        """Nothing to load."""

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
        for done, frame in enumerate(frames, 1):
            if first_frame is not None and frame < first_frame:
                continue
            if cancelled():
                raise Cancelled()
            made = enlarged(guide.passes(frame), size)
            progress(done, len(frames))
            yield frame, made


def enlarged(seen: Dict[str, np.ndarray], size: Tuple[int, int]) -> Passes:
    """The guide's passes, as GuideReader gives them, at another size (h, w)."""
    low = torch.from_numpy(np.stack([np.asarray(seen[k], np.float32) for k in ("sun", "ambient", "alpha")]))
    depth = torch.from_numpy(np.ascontiguousarray(seen["depth"], np.float32))
    return Passes(*decode(condition(low[None], depth[None], size)[:, :3])[0].numpy())
