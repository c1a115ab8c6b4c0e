# SPDX-License-Identifier: Apache-2.0
"""The cards of the large open models: what they are, under which licence, what they were trained on, what they take. Data in `cards/`.

A card says what can be known without the weights. Nothing here touches a model, a disk beyond the package, or the network.
`source.revision` is the commit that `fetch` pins, and `revision_source` how we know of it; None where we have no two witnesses of
one, and then it must be given.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List

from platebridge.errors import ModelError

FOLDER = Path(__file__).parent / "cards"
_ORDER = ("wan-vace-1.3b", "wan-vace-14b", "wan2.2-vace-fun-a14b")
#: What every card must say, whoever wrote it.
NEEDED = ("name", "licence", "summary", "trained_on", "pipeline", "layout", "limits")


def names() -> List[str]:
    """The models that we know and don't ship, the smallest first."""
    return list(_ORDER)


def card(name: str) -> Dict[str, Any]:
    """The card of that model, the caller's own to change. Raises ModelError that lists what there is."""
    if name not in _ORDER:
        raise ModelError("There is no card of a model called %r." % name, "There is %s; or give your own with --card." % ", ".join(_ORDER))
    return json.loads(_text(name))


def from_file(path: Path) -> Dict[str, Any]:
    """A studio's own card. Raises ModelError that says what it lacks."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError("The card %s can't be read (%s)." % (path, problem), "It is JSON: docs/models.md shows a whole one.") from problem
    return checked(found, str(path))


def checked(found: Any, where: str) -> Dict[str, Any]:
    """A card that came from outside, as it is if it says what is needed. Raises ModelError."""
    absent = [part for part in NEEDED if not isinstance(found, dict) or part not in found]
    if absent:
        raise ModelError("The card %s does not say %s." % (where, ", ".join(absent)), "docs/models.md shows a whole one.")
    name = found["name"]
    if not isinstance(name, str) or not name or set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789.-_") or name[0] in ".-_":
        raise ModelError("%r can't name a model." % (name,), "Use small letters, digits, dots, - and _.")
    return found


@lru_cache(None)
def _text(name: str) -> str:
    return (FOLDER / (name + ".json")).read_text(encoding="utf-8")
