# SPDX-License-Identifier: Apache-2.0
"""What the lists of takes say of a take: the first by itself, each other one by what sets it apart."""

from dataclasses import replace

from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs, ModelSettings, told_apart

PLAIN = GenerateRequest("sh010", FrameRange(1001, 1048), Inputs())
PAINTED = replace(PLAIN, model=ModelSettings("wan-vace-14b", seed=7))


def test_a_first_take_says_its_seed_and_a_model_that_is_not_the_built_in_one():
    assert told_apart(PLAIN, None) == "seed 0"
    assert told_apart(PAINTED, None) == "model wan-vace-14b, seed 7"


def test_a_later_one_says_what_differs():
    assert told_apart(PAINTED, PLAIN) == "model wan-vace-14b, seed 7"
    assert told_apart(PLAIN.with_dials({"density": 2.0}), PLAIN) == "density 2"
    assert told_apart(PLAIN, PLAIN) == "same dials"
