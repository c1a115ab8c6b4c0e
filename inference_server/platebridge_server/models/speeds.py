# SPDX-License-Identifier: Apache-2.0
"""How much work a picture is worth, by name: draft, look, final. Steps, guidance, and the few-step LoRA that makes few steps enough.

A few-step LoRA is not ours and does not ship: without one in the LoRA folder, by its name for the model, a draft is more steps at full
guidance, and the take says which. Where a figure was published stands in `source`; what no one has tried on dust with real weights says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Tuple


@dataclass(frozen=True)
class Speed:
    """steps: calls of the scheduler. guidance: classifier-free; 1 is off and halves the work. strength: of the few-step LoRA, 0 is none.
    scheduler: a name of denoise.SCHEDULERS."""

    steps: int
    guidance: float
    strength: float = 0.0
    source: str = ""
    scheduler: str = "unipc"

    @property
    def passes(self) -> int:
        """Calls of the network for one window."""
        return self.steps * (2 if self.guidance > 1.0 else 1)


NAMES = ("draft", "look", "final")
#: The dial's words are those of every model; these are a painter's speeds for them.
OF_QUALITY = {"draft": "draft", "final": "look", "crisp": "final"}
#: With a few-step LoRA.
_FEW: Dict[str, Speed] = {
    "draft": Speed(4, 1.0, 0.53, "0.53: CausVid's LoRA on VACE-14B, diffusers PR 11726; 4 steps at least: WanVideoWrapper issue 576"),
    "look": Speed(8, 1.0, 1.0, "8 steps: lightx2v's LoRA on VACE-Fun, diffusers PR 12324; its strength there is not stated, 1 is ours"),
}
#: With the model alone.
_PLAIN: Dict[str, Speed] = {
    "draft": Speed(12, 5.0, source="ours: not tried with real weights"),
    "look": Speed(30, 5.0, source="ours: not tried with real weights"),
    "final": Speed(50, 5.0, source="diffusers' own default"),
}


def find(name: str, few_step_lora: bool) -> Speed:
    """The speed of that name, with a few-step LoRA or without. A final never uses one: motion suffers (WanVideoWrapper issue 576)."""
    return _FEW.get(name, _PLAIN[name]) if few_step_lora else _PLAIN[name]


def saved(name: str) -> Tuple[int, int]:
    """(passes with a few-step LoRA, passes without)."""
    return find(name, True).passes, find(name, False).passes
