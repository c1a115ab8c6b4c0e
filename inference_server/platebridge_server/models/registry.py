# SPDX-License-Identifier: Apache-2.0
"""The models there are, by name. A model is imported when it is asked for, so a list costs nothing.

Those that ship come first, then the large ones that we know, here or not, then a studio's own.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Tuple

from platebridge.errors import ModelError, PlatebridgeError

from . import cards as known
from . import store, stored_model
from .base import Model


def _dust() -> Model:
    from .dust_model import DustModel

    return DustModel()


def _guide() -> Model:
    from .guide_model import GuideModel

    return GuideModel()


def _large(name: str) -> Model:
    from .vace_model import VaceModel

    return VaceModel(name)


_MODELS: Dict[str, Callable[[], Model]] = {"dust": _dust, "guide": _guide, **{name: partial(_large, name) for name in known.names()}}
_made: Dict[Tuple[str, Callable[[], Model]], Model] = {}


def names() -> List[str]:
    """Every model's name, the built-in one first."""
    return list(_MODELS) + [name for name in store.names() if name not in _MODELS]


def ships(name: str) -> bool:
    """Whether a model is a part of Platebridge: always here, never fetched or removed."""
    return name in _MODELS and not isinstance(_MODELS[name], partial)


def find(name: str) -> Model:
    """The model of that name, the same each time: what it has loaded serves every take. Raises ModelError that lists what there is."""
    if name not in _MODELS and name in store.names():
        _MODELS[name] = partial(_large, name)
    if name not in _MODELS:
        raise ModelError("There is no model called %r." % name, "There is %s." % " and ".join(names()))
    make = _MODELS[name]
    if (name, make) not in _made:
        _made[name, make] = make()
    return _made[name, make]


@contextlib.contextmanager
def in_place_of(name: str, model: Model) -> Iterator[None]:
    """Within it another model makes this process's takes by that name: one that is being judged, and not for artists to choose."""
    before, _MODELS[name] = _MODELS[name], lambda: model
    try:
        yield
    finally:
        _made.pop((name, _MODELS[name]), None)
        _MODELS[name] = before


def cards() -> List[Dict[str, Any]]:
    """What each model says of itself. One that can't (its weights are gone) says why in `problem`; the others are listed all the same."""
    return [_card(name, lambda name=name: find(name).card()) for name in names()]


def refreshed(cards: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """A list that another process gave a while ago, with the large models as they are on the disk now. Loads and imports none of them."""
    large = list(dict.fromkeys([*known.names(), *store.names()]))
    own = [card for card in cards if card.get("name") in _MODELS and card["name"] not in large]
    return own + [_card(name, lambda name=name: stored_model.card(name)) for name in large]


def _card(name: str, read: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    try:
        return dict(read())
    except PlatebridgeError as error:
        return {"name": name, "problem": error.to_dict()}


def ready(name: str) -> None:
    """Raises ModelError, with the line to type, for a model that is not on this machine, or not whole: before any work is done for it."""
    card = find(name).card()
    if card.get("installed") is False:
        raise ModelError("The model %s is not installed." % name, "Type: %s" % card["install"])
    model = store.find(name) if card.get("installed") else None
    if model is not None:
        store.check_there(model)


def opened(name: str, progress: store.Progress, cancelled: Callable[[], bool]) -> None:
    """As `ready`, and a large model's files are those that were taken in. That takes minutes where they are hashed for the first time."""
    ready(name)
    if find(name).card().get("installed"):
        store.opened(name, progress, cancelled)
