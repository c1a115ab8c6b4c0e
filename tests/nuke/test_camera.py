# SPDX-License-Identifier: Apache-2.0
"""Which camera is meant by what is connected: the one that the pictures are seen through, or none, in a sentence."""

from __future__ import annotations

import pytest


def matrix(x):
    return [1.0, 0, 0, x, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@pytest.fixture
def seen(nuke, wired):
    """`seen(connected)`: where along x the request's camera stands, with that node connected."""
    from platebridge.frames import FrameRange
    from platebridge_nuke.camera import camera

    def through(connected):
        wired[0].setInput(5, connected)
        return camera(wired[0], FrameRange(1001, 1004), "main").frames[0].camera_to_world[0][3]

    return through


def test_behind_a_switch_it_is_the_camera_that_is_switched_to(nuke, seen):
    cameras = [nuke.nodes.Camera2(world_matrix=matrix(x)) for x in (1.0, 2.0)]
    switch = nuke.nodes.Switch(inputs=cameras)
    assert seen(nuke.nodes.Dot(inputs=[switch])) == 1.0
    switch["which"].setValue(1.0)
    assert seen(nuke.nodes.Dot(inputs=[switch])) == 2.0


def test_a_switch_that_goes_to_another_camera_within_the_shot_is_none(nuke, seen):
    from platebridge.errors import InputError

    switch = nuke.nodes.Switch(inputs=[nuke.nodes.Camera2(world_matrix=matrix(x)) for x in (1.0, 2.0)])
    switch["which"].curves = {0: lambda frame: float(frame > 1002)}
    with pytest.raises(InputError, match=r"Switch1 is no camera\. Connect the Camera"):
        seen(switch)


@pytest.mark.parametrize("cls", ["TimeOffset", "Multiply"])
def test_a_camera_behind_a_node_that_may_change_it_is_not_taken_as_it_was(nuke, seen, cls):
    """Its moves come at other frames behind a TimeOffset."""
    from platebridge.errors import InputError

    with pytest.raises(InputError, match=r"%s1 is no camera\. Connect the Camera" % cls):
        seen(getattr(nuke.nodes, cls)(inputs=[nuke.nodes.Camera2(world_matrix=matrix(1.0))]))


def test_an_axis_has_a_place_and_no_lens(nuke, wired, tmp_path):
    from platebridge_nuke import node as buttons

    node, _ = wired
    node.setInput(5, nuke.nodes.Axis3(world_matrix=matrix(1.0)))
    node["connection"].setValue(str(tmp_path / "none.json"))
    assert buttons.generate(node) is None
    assert "Axis31 is no camera. Connect the Camera" in node["status"].value() and nuke.executed == []
