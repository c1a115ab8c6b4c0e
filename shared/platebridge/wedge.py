# SPDX-License-Identifier: Apache-2.0
"""A wedge: takes that differ in one or two dials, made one after the other, and laid out on one contact sheet.

What a wedge is stands in the requests alone (`output.wedge`), so that any client can put its takes side by side again. Knows
requests and dials; nothing of how takes are made or shown.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import uuid
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from .curves import Curve, read
from .dials import DIALS, find
from .errors import RequestError
from .request import GenerateRequest, from_dict

#: Takes in one wedge: more are not told apart on a sheet.
MOST = 25
#: How much is made anew when a dial is turned: 0 nothing (a picture in another light), 1 the model's work, 2 the guide's march too.
#: Every other dial, 3: another simulation.
_REMADE = {
    **dict.fromkeys(("light", "ambient", "tint"), 0),
    **dict.fromkeys(("shadow", *(name for name, dial in DIALS.items() if not dial.path.startswith("guide."))), 1),
    **dict.fromkeys(("density", "sun_azimuth", "sun_elevation"), 2),
}


def read_values(typed: str) -> Tuple[str, List[str]]:
    """(dial, its values) of "density=0.5,1,2"; between a colour's values stand semicolons. Raises RequestError."""
    name, equals, values = typed.partition("=")
    if not equals:
        raise RequestError("%r is no wedge." % typed, "Write name=value,value, like density=0.5,1,2.")
    dial = find(name.strip())
    return dial.name, split_values(dial.name, values)


def split_values(dial: str, typed: str) -> List[str]:
    """The values of a dial as they were typed: "0.5, 1, 2"; a colour's, and words, "0.6,0.5,0.4; 0.3,0.3,0.3"."""
    return [value.strip() for value in typed.split(";" if find(dial).kind in ("colour", "text") else ",") if value.strip()]


def wedge(request: GenerateRequest, values: Sequence[Tuple[str, Sequence[Any]]]) -> List[GenerateRequest]:
    """The request once for each value of a dial, or each pair of two dials' values. Raises RequestError before one is made.

    In the order in which the least is made anew: the dial that changes the simulation turns slowest.
    """
    names = [name for name, _ in values]
    if not 1 <= len(names) <= 2 or len(set(names)) != len(names):
        raise RequestError("A wedge goes over one dial or two different ones, not over %s." % ", ".join(names), "Name one or two.")
    request.refuse_curves(names)
    each = {name: list(dict.fromkeys(read(find(name), value) for value in typed)) for name, typed in values}
    for name, distinct in each.items():
        if any(isinstance(value, Curve) for value in distinct):
            raise RequestError("A wedge over %s has a value that changes over the shot." % name, "Give values, like density=0.5,1,2.")
    count = math.prod(map(len, each.values()))
    if not 2 <= count <= MOST:
        raise RequestError("A wedge has 2 to %d takes, and this one has %d." % (MOST, count), "Separate values by commas, like 0.5,1,2.")
    slowest_first = sorted(each, key=lambda name: _REMADE.get(find(name).name, 3), reverse=True)
    made = [
        request.with_dials(dict(zip(slowest_first, combination)))
        for combination in itertools.product(*(each[name] for name in slowest_first))
    ]
    output = dataclasses.replace(request.output, wedge=uuid.uuid4().hex)
    return [from_dict(dataclasses.replace(one, output=output).to_dict()) for one in made]


def turned(takes: Iterable[Dict[str, Any]]) -> List[str]:
    """The dials in which takes differ, each given as `GenerateRequest.dial_values` has it, in the table's order."""
    rows = list(takes)
    return [name for name in DIALS if any(row[name] != rows[0][name] for row in rows)]


def shown(value: Any) -> str:
    """A dial's value as an artist reads it: 0.5, 120, draft, 0.62/0.56/0.5."""
    if isinstance(value, Curve):
        return value.summary()
    if isinstance(value, (tuple, list)):
        return "/".join(shown(part) for part in value)
    return "%.4g" % value if isinstance(value, float) else str(value)
