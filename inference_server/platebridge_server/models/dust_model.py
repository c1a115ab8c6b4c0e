# SPDX-License-Identifier: Apache-2.0
"""The built-in model `dust` as the pipeline's protocol wants it; the network itself is in models/dust/."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Optional, Tuple

from platebridge.errors import ModelError
from platebridge.request import ModelSettings

from . import dust
from .base import GuideReader, Passes

#: Evaluations of the network per frame.
STEPS = {"draft": dust.DRAFT_STEPS, "final": dust.FINAL_STEPS, "crisp": dust.CRISP_STEPS}


class DustModel:
    """See base.Model."""

    name = "dust"

    def __init__(self) -> None:
        self._dust: Optional[dust.Dust] = None
        self._device = ""

    def card(self) -> Dict[str, Any]:
        return dust.card()

    def load(self, device: str) -> None:
        if self._dust is not None and self._device == device:
            return
        try:
            self._dust = dust.load(device)
        except dust.WeightsDiffer as problem:
            raise ModelError(str(problem), "`platebridge doctor` shows what is there.") from problem
        except OSError as problem:
            raise ModelError("The dust model's weights can't be read (%s)." % problem, "Install Platebridge again.") from problem
        self._device = device

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
        if self._dust is None:
            raise ModelError("The dust model is not loaded.", "Load it before generating.")
        made = self._dust.sample(
            guide.passes,
            frames,
            size,
            seed=settings.seed,
            steps=STEPS[settings.quality],
            light_view=lambda frame: dust.of_frame(guide.sun_in_view(frame), guide.cell(frame)),
            on_progress=progress,
            cancelled=cancelled,
            first_needed_frame=first_frame,
        )
        for frame, passes in made:
            yield frame, Passes(passes["sun"], passes["ambient"], passes["alpha"])
