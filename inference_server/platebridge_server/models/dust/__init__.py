# SPDX-License-Identifier: Apache-2.0
"""The built-in model `dust`: soft guide passes in, detailed dust passes out. Import from here; `pipeline.py` is for diffusers' scripts.

What it is and how its weights were made: docs/dust.md. What it can and cannot do, as data: card.json.
"""

from platebridge_server.models.dust.network import DustNetwork
from platebridge_server.models.dust.sampling import CRISP_STEPS, DRAFT_STEPS, FINAL_STEPS, Dust, WeightsDiffer, card, load, of_frame
from platebridge_server.models.dust.scheduler import DustLevels

__all__ = ["CRISP_STEPS", "DRAFT_STEPS", "FINAL_STEPS", "Dust", "DustLevels", "DustNetwork", "WeightsDiffer", "card", "load", "of_frame"]
