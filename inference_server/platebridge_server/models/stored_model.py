# SPDX-License-Identifier: Apache-2.0
"""A large model that may be on this machine or not: its card either way, and the one line to type where it isn't."""

from __future__ import annotations

from typing import Any, Dict

from . import cards, store


def card(name: str) -> Dict[str, Any]:
    """The card of a large model. `installed`: whether it is here; if not, `install` is the line to type. Raises ModelError."""
    model = store.find(name)
    if model is None:
        return {**cards.card(name), "installed": False, "install": store.how_to_get(name)}
    return {**model.card, "installed": True}
