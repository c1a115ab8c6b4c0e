# SPDX-License-Identifier: Apache-2.0
"""A large model that may be on this machine or not: its card either way, and the one line to type where it isn't."""

from __future__ import annotations

from typing import Any, Dict

from platebridge.errors import ModelError

from . import cards, store


def card(name: str) -> Dict[str, Any]:
    """The card of a large model. `installed`: whether it is here; if not, `install` is the line to type. Raises ModelError."""
    model = store.find(name)
    if model is None:
        return {**cards.card(name), "installed": False, "install": store.how_to_get(name)}
    return {**model.card, "installed": True}


class StoredModel:
    """See base.Model. What it paints with comes from whoever runs pictures; this one knows only whether the weights are here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def card(self) -> Dict[str, Any]:
        return card(self.name)

    def load(self, device: str) -> None:
        store.opened(self.name)
        raise ModelError("This version keeps %s, but can't paint with it yet." % self.name, "Take the model dust.")

    def generate(self, *_: Any, **__: Any) -> Any:
        raise ModelError("The model %s is not loaded." % self.name, "Load it before generating.")
