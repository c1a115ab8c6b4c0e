# SPDX-License-Identifier: Apache-2.0
"""The presets that ship turn dials that there are, within their ranges, and each makes a request of its own."""
from __future__ import annotations

import pytest
from platebridge.frames import FrameRange
from platebridge.presets import PRESETS
from platebridge.request import GenerateRequest, Inputs


def turned(preset):
    return GenerateRequest(shot="s", frames=FrameRange(1, 2), inputs=Inputs()).with_dials(preset.dials)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_turns_the_guides_dials_alone(name):
    request = turned(PRESETS[name])
    assert {k: request.dial_values()[k] for k in PRESETS[name].dials} == PRESETS[name].dials
    assert request.model == GenerateRequest(shot="s", frames=FrameRange(1, 2), inputs=Inputs()).model


def test_every_preset_turns_the_same_dials_so_that_going_from_one_to_another_leaves_nothing_behind():
    assert len({frozenset(preset.dials) for preset in PRESETS.values()}) == 1
    assert len({turned(preset).hash() for preset in PRESETS.values()}) == len(PRESETS)
