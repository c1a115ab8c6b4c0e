# SPDX-License-Identifier: Apache-2.0
"""The words that a picture model is told: a default for every preset from its dials, the artist's own after them."""

import dataclasses

import pytest
from platebridge.frames import FrameRange
from platebridge.presets import PRESETS
from platebridge.request import GenerateRequest, GuideSettings, Inputs
from platebridge_server.models.vace import prompts

#: A word or two that the preset's default must have.
SAYS = {
    "concrete_collapse": ("rolling wall", "grey concrete dust", "large chunks"),
    "brick": ("reddish brick dust", "many small pieces"),
    "distant": ("Soft drifting clouds", "pale", "billowing up"),
    "ground_blast": ("rolling wall", "low along the ground", "many large chunks"),
    "light_fall_of_dust": ("thin veil", "trickling down slowly"),
}


def of(name):
    return GenerateRequest("s", FrameRange(1, 2), Inputs()).with_dials(dict(PRESETS[name].dials)).guide


def test_every_preset_has_a_default_of_its_own_that_tells_the_whole_picture():
    assert SAYS.keys() == PRESETS.keys()
    said = {name: prompts.prompt(of(name), "") for name in PRESETS}
    assert len(set(said.values())) == len(said)
    for name, words in SAYS.items():
        assert said[name].startswith("A building collapses. ") and said[name].endswith("steady colours."), name
        assert all(word in said[name] for word in words), (name, said[name])


@pytest.mark.parametrize("own", ["Late evening sun.", ""])
def test_the_artists_words_come_after_them_and_those_to_avoid_in_place_of_ours(own):
    guide = GuideSettings()
    assert prompts.prompt(guide, own) == (prompts.prompt(guide, "") + " " + own).strip()
    assert prompts.avoided(own) == (own or prompts.AVOID)


def test_a_dial_that_is_turned_after_a_preset_is_in_the_words():
    brick = of("brick")
    assert "strong wind" in prompts.prompt(dataclasses.replace(brick, wind=9.0), "") and "strong wind" not in prompts.prompt(brick, "")
    assert "pieces" not in prompts.prompt(dataclasses.replace(brick, debris=0), "")
