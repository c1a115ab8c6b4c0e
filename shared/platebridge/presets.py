# SPDX-License-Identifier: Apache-2.0
"""The presets that ship: names for sets of dials, the same in every program. Dials that a preset does not name stay as they are.

Where an artist's own presets lie is each program's business.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

from .dials import Value
from .errors import RequestError


@dataclass(frozen=True)
class Preset:
    """`dials`: the guide's dials it turns, by name. `tooltip`: what the picture looks like with them."""

    name: str
    label: str
    tooltip: str
    dials: Dict[str, Value]


_ALL = (
    Preset(
        "concrete_collapse",
        "Concrete collapse",
        "A heavy grey cloud that swells out of the falling storeys, with large pieces in it",
        {"amount": 1.3, "density": 1.6, "speed": 1.0, "rise": 0.2, "spread": 1.2, "turbulence": 1.0, "debris": 90, "debris_size": 0.9, "tint": (0.58, 0.56, 0.53)},
    ),
    Preset(
        "brick",
        "Brick",
        "Warm, thinner dust with many small pieces, thrown wide and quick to settle",
        {"amount": 1.0, "density": 1.0, "speed": 1.4, "rise": 0.0, "spread": 0.9, "turbulence": 1.2, "debris": 220, "debris_size": 0.3, "tint": (0.62, 0.47, 0.38)},
    ),
    Preset(
        "distant",
        "Distant",
        "Seen from far away: slow, pale, tall, without pieces that the eye could make out",
        {"amount": 1.0, "density": 0.5, "speed": 0.8, "rise": 0.6, "spread": 1.0, "turbulence": 0.5, "debris": 0, "debris_size": 0.5, "tint": (0.66, 0.64, 0.62)},
    ),
    Preset(
        "ground_blast",
        "Ground blast",
        "A hard low surge along the ground that hides the foot of the building",
        {"amount": 1.6, "density": 1.8, "speed": 2.6, "rise": -0.8, "spread": 0.8, "turbulence": 1.3, "debris": 120, "debris_size": 0.6, "tint": (0.56, 0.50, 0.43)},
    ),
    Preset(
        "light_fall_of_dust",
        "Light fall of dust",
        "A thin veil that trickles down, as before the collapse or from a cracked wall",
        {"amount": 0.35, "density": 0.2, "speed": 0.4, "rise": -0.3, "spread": 0.3, "turbulence": 0.4, "debris": 15, "debris_size": 0.15, "tint": (0.66, 0.61, 0.55)},
    ),
)  # fmt: skip
PRESETS: Dict[str, Preset] = {preset.name: preset for preset in _ALL}


def find(name: str) -> Preset:
    """The preset of that name. Raises RequestError that lists those there are."""
    if name not in PRESETS:
        raise RequestError("There is no preset called %r." % name, "There are %s." % ", ".join(PRESETS))
    return PRESETS[name]
