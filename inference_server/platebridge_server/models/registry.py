# SPDX-License-Identifier: Apache-2.0
"""The models there are, by name. A model is imported when it is asked for, so a list costs nothing."""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

from platebridge.errors import ModelError

from .base import Model


def _dust() -> Model:
    from .dust_model import DustModel

    return DustModel()


def _guide() -> Model:
    from .guide_model import GuideModel

    return GuideModel()


_MODELS: Dict[str, Callable[[], Model]] = {"dust": _dust, "guide": _guide}
_made: Dict[Tuple[str, Callable[[], Model]], Model] = {}


def names() -> List[str]:
    """Every model's name, the built-in one first."""
    return list(_MODELS)


def find(name: str) -> Model:
    """The model of that name, the same each time: what it has loaded serves every take. Raises ModelError that lists what there is."""
    if name not in _MODELS:
        raise ModelError("There is no model called %r." % name, "There is %s." % " and ".join(names()))
    make = _MODELS[name]
    if (name, make) not in _made:
        _made[name, make] = make()
    return _made[name, make]
