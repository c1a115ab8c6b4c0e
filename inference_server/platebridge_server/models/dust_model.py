# SPDX-License-Identifier: Apache-2.0
"""The built-in model `dust` as the pipeline's protocol wants it; the network itself is in models/dust/."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

from platebridge.errors import ModelError
from platebridge.request import ModelSettings
from platebridge.takes import hash_file

from .. import devices
from . import dust
from .base import GuideReader, Passes

#: Evaluations of the network per frame.
STEPS = {"draft": dust.DRAFT_STEPS, "final": dust.FINAL_STEPS, "crisp": dust.CRISP_STEPS}


class DustModel:
    """See base.Model. folder: other weights than those that ship, in diffusers' layout."""

    name = "dust"

    def __init__(self, folder: Optional[Path] = None) -> None:
        self._folder = folder
        self._dust: Optional[dust.Dust] = None
        self._device = ""

    def card(self) -> Dict[str, Any]:
        """The shipped one's; of other weights it says by their files what passes are theirs, sampler and all."""
        if self._folder is None:
            return dust.card()
        files = sorted(path for path in self._folder.glob("*/*") if path.is_file())
        made_of = {path.relative_to(self._folder).as_posix(): hash_file(path) for path in files}
        return {**dust.card(), "weights_sha256": dust.sampling.weights_sha256(self._folder), "files": made_of}

    def load(self, device: str) -> None:
        if self._dust is not None and self._device == device:
            return
        try:
            self._dust = dust.load(device, folder=self._folder)
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

        def called(done: int, total: int) -> None:
            devices.give_back()
            progress(done, total)

        made = self._dust.sample(
            guide.passes,
            frames,
            size,
            seed=settings.seed,
            steps=STEPS[settings.quality],
            light_view=lambda frame: dust.of_frame(guide.sun_in_view(frame), guide.cell(frame)),
            on_progress=called,
            cancelled=cancelled,
            first_needed_frame=first_frame,
            texture=settings.texture,
        )
        for frame, passes in made:
            yield frame, Passes(passes["sun"], passes["ambient"], passes["alpha"])
