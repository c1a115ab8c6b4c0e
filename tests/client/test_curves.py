# SPDX-License-Identifier: Apache-2.0
"""Dials that change over a shot: typed, sampled, kept in the request, and read back."""

from __future__ import annotations

import math
import struct

import pytest
from platebridge import curves
from platebridge.curves import Curve
from platebridge.dials import DIALS, find
from platebridge.errors import RequestError, VersionError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs, differing_dials, from_dict

PLAIN = GenerateRequest("sh010", FrameRange(1001, 1048), Inputs())


def single(value):
    """As a host keeps it."""
    return struct.unpack("f", struct.pack("f", value))[0]


@pytest.mark.parametrize(
    "form", ["1001:0.2,1048:2", " 1048: 2; 1001: 0.2 ", {1001: 0.2, 1048: 2}, {"1001": 0.2, "1048": 2}, [[1001, 0.2], [1048, 2]]]
)
def test_however_a_curve_is_given_it_is_the_same_request(form):
    asked = PLAIN.with_dials({"amount": form})
    assert asked.animated == (Curve("amount", ((1001, 0.2), (1048, 2.0))),)
    assert asked.hash() == PLAIN.with_dials({"amount": "1001:0.2,1048:2"}).hash() != PLAIN.hash()


def test_values_lie_on_straight_lines_between_the_keys_and_are_held_outside_them():
    asked = PLAIN.with_dials({"amount": "1010:1,1020:3"})
    assert [asked.guide_at(f).amount for f in (1001, 1010, 1015, 1020, 1048)] == [1, 1, 2, 3, 3]
    assert asked.guide_at(1015).density == 1.0


def test_whole_numbers_stay_whole_and_colours_go_channel_by_channel():
    asked = PLAIN.with_dials({"debris": "1001:0,1003:5", "tint": "1001:0.6,0.5,0.4,1003:0.2,0.5,0"})
    assert [asked.guide_at(f).debris for f in (1001, 1002, 1003)] == [0, 3, 5]  # a half goes up, as hosts round it
    assert asked.guide_at(1002).tint == pytest.approx((0.4, 0.5, 0.2))


@pytest.mark.parametrize("same", ["1001:1.5,1048:1.5", "1020:1.5", {1001: 1.5, 1020: 1.5}, "900:9e-1,1000:1.5", "1048:1.5,1100:3"])
def test_a_curve_that_is_constant_over_the_frames_is_the_dial_itself(same):
    asked = PLAIN.with_dials({"amount": same})
    assert asked == PLAIN.with_dials({"amount": 1.5}) and "animated" not in asked.to_dict()


def test_what_lies_beyond_the_frames_and_what_says_nothing_is_not_kept():
    asked = PLAIN.with_dials({"rise": {991: 0, 1011: 2, 1020: 2, 1030: 2, 1048: 0, 1060: 4}})
    assert asked.animated == (Curve("rise", ((1001, 1.0), (1011, 2.0), (1030, 2.0), (1048, 0.0))),)
    assert from_dict(asked.to_dict()) == asked


def test_a_request_without_curves_is_the_one_that_older_versions_make_and_read():
    tree = PLAIN.to_dict()
    assert tree["version"] == 1 and "animated" not in tree and from_dict(tree) == PLAIN


def test_an_animated_request_has_a_version_that_older_sides_refuse():
    tree = PLAIN.with_dials({"light": "1001:0,1048:1"}).to_dict()
    assert tree["version"] == 2 and from_dict(tree).to_dict() == tree
    with pytest.raises(VersionError, match="Upgrade this side"):
        from_dict({**tree, "version": 3})


def test_dials_are_carried_over_to_another_request_curves_and_all_and_taken_off_again():
    asked = PLAIN.with_dials({"amount": "1001:0.2,1048:2", "density": 3.0})
    assert PLAIN.with_dials(asked.dial_values()) == asked
    assert asked.with_dials({"amount": 1.0, "density": 1.0}) == PLAIN
    assert list(differing_dials(PLAIN, asked)) == ["amount", "density"]
    assert [str(v) for v in differing_dials(PLAIN, asked)["amount"]] == ["1.0", "1001:0.2,1048:2"]


@pytest.mark.parametrize(
    "values, said",
    [
        ({"seed": "1001:1,1002:2"}, "Seed can't be animated: the noise is drawn once"),
        ({"quality": {1001: "draft", 1002: "final"}}, "Quality can't be animated"),
        ({"start_frame": "1001:1,1002:2"}, "Start frame can't be animated"),
        ({"composition": "1001:1,1002:2"}, "Composition seed can't be animated"),
        ({"detail": "1001:96,1002:48"}, "Guide detail can't be animated"),
        ({"amount": "1001:9,1048:1"}, "amount = 9 is out of range"),
        ({"amount": "1001:1,1001:2"}, "two values at frame 1001"),
        ({"amount": "soon:1"}, "no curve"),
        ({"amount": [[1001.5, 1]]}, "no frame"),
        ({"amount": [[1001, 1, 1]]}, "not a frame and a value"),
        ({"amount": {}}, "0 keys"),
    ],
)
def test_what_can_not_be_a_curve_is_refused_in_a_sentence(values, said):
    with pytest.raises(RequestError, match=said):
        PLAIN.with_dials(values)


@pytest.mark.parametrize("animated", [1, [1], [{"dial": "amount"}], [{"dial": "amount", "keys": [1]}], [{"dial": "amount", "keys": 3}],
                                      [{"dial": "nothing", "keys": [[1, 1]]}], [{"dial": "amount", "keys": [[1, 1]], "more": 1}],
                                      [{"dial": "amount", "keys": [[1, 1]]}] * 2])
def test_a_tree_from_outside_is_checked(animated):
    with pytest.raises(RequestError):
        from_dict({**PLAIN.to_dict(), "version": 2, "animated": animated})


def test_every_dial_of_the_models_stays_still_and_words_are_never_a_curve():
    assert all(dial.still for dial in DIALS.values() if not dial.path.startswith("guide."))
    assert PLAIN.with_dials({"prompt": "at 5: dust, 6: more"}).dial_values()["prompt"] == "at 5: dust, 6: more"


def test_sampled_keyframes_on_a_straight_line_are_the_two_keys_that_would_be_typed():
    line = {f: float("%.7g" % single(0.2 + 1.8 * (f - 1001) / 47)) for f in PLAIN.frames}
    assert curves.sampled("amount", line) == Curve("amount", ((1001, 0.2), (1048, 2.0)))
    held = {f: min(line[f], 1.0) for f in PLAIN.frames}
    assert len(curves.sampled("amount", held).keys) <= 4


def test_any_sampled_curve_is_given_back_to_the_single_float():
    values = {f: single(1 + math.sin(f / 9)) for f in PLAIN.frames}
    curve = curves.sampled("amount", values)
    assert all(curve.at(f) == pytest.approx(v, rel=2e-6, abs=1e-8) for f, v in values.items())
    assert curves.sampled("amount", dict.fromkeys(PLAIN.frames, 1.5)) == 1.5


@pytest.mark.parametrize(
    "typed, told", [("1001:0.2,1048:2", "0.2→2"), ("1001:1,1020:3,1048:1", "1→3→1"), ("1001:1,1020:0,1048:2", "1→0→2")]
)
def test_a_curve_is_told_in_a_word(typed, told):
    curve = curves.read(find("amount"), typed)
    assert curve.summary() == told and curves.read(find("amount"), str(curve)) == curve


def test_words_with_a_time_of_day_in_them_are_no_curve():
    from platebridge.curves import read
    from platebridge.dials import find

    assert read(find("prompt"), "Morning, at 10:30 sharp.") == "Morning, at 10:30 sharp."
