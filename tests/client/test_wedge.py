# SPDX-License-Identifier: Apache-2.0
"""A wedge: one request to the takes that differ in a dial or two."""
from __future__ import annotations

import pytest
from platebridge.errors import RequestError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs
from platebridge.wedge import wedge

ASKED = GenerateRequest("tower", FrameRange(1001, 1002), Inputs())


def test_a_wedge_of_far_too_many_takes_is_counted_and_none_is_made(monkeypatch):
    """Making them first took minutes, in a window that doesn't answer meanwhile."""
    monkeypatch.setattr(GenerateRequest, "with_dials", lambda *_: pytest.fail("a take was made"))
    with pytest.raises(RequestError, match="this one has 1000000"):
        wedge(ASKED, [("seed", range(1000)), ("amount", [n / 250 for n in range(1000)])])


def test_one_value_typed_twice_is_one_take():
    made = wedge(ASKED, [("amount", ["1", "1.0", 2]), ("tint", ["0.5,0.5,0.5", (0.5, 0.5, 0.5)])])
    assert [(one.guide.amount, one.guide.tint) for one in made] == [(1.0, (0.5, 0.5, 0.5)), (2.0, (0.5, 0.5, 0.5))]
