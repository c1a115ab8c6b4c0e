# SPDX-License-Identifier: Apache-2.0
"""The one table of what a depth's numbers can mean: panels, knobs, the command's help and the checks are made from it.

Knows names and words alone; what becomes of the numbers is the server's business (its depth.py).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Dict


@dataclass(frozen=True)
class Depth:
    """One kind. `label` stands in a menu. `scale`: what a request's `depth_scale` is for this kind, in metres per unit."""

    name: str
    label: str
    tooltip: str
    scale: str


_ALL = (
    Depth("z", "Z", "Distance along the camera's axis, as Blender renders it", "metres of one unit"),
    Depth("distance", "Distance", "Distance along each ray from the camera", "metres of one unit"),
    Depth("inverse", "1/Z", "One over Z: near is large and the sky is 0, as Nuke's ScanlineRender writes it", "metres of one unit"),
    Depth("near_one", "Normalised, near = 1", "Even steps from 1 at the camera to 0 at the far end, which is taken as sky", "metres from the camera to the far end"),
    Depth("near_zero", "Normalised, near = 0", "Even steps from 0 at the camera to 1 at the far end, which is taken as sky", "metres from the camera to the far end"),
)  # fmt: skip
DEPTHS: Dict[str, Depth] = {depth.name: depth for depth in _ALL}
