# SPDX-License-Identifier: Apache-2.0
"""The node inside a group: what is connected to the group counts as connected to the node."""

from __future__ import annotations

import pytest
from node_at_work import finish, press


@pytest.fixture
def grouped(nuke, wired):
    """(node, the group's inputs): the node in Group1, its plate, depth, mask and camera through the group's Inputs."""
    node, shot = wired
    outer = [node.input(number) for number in range(3)]
    outer.append(nuke.nodes.Camera2(world_matrix=[float(row == column) for row in range(4) for column in range(4)]))
    group = nuke.Group("Group", "Group1", outer)
    nuke._script["Group1"] = group
    node.setName("Group1.Platebridge")
    for number in range(4):
        inner = nuke.nodes.Input(number=number)
        inner.setName("Group1.Input%d" % number)
        inner._image = outer[number]._image
        inner._range = outer[number]._range
        node.setInput(number if number < 3 else 5, inner)
    group.nodes = lambda: []
    return node, shot


def test_its_camera_is_found(nuke, grouped):
    from platebridge.frames import FrameRange
    from platebridge_nuke.camera import camera

    assert camera(grouped[0], FrameRange(1001, 1002), "main").sensor_width_mm == 24.576


def test_an_input_that_is_too_short_is_refused(grouped, tmp_path):
    node, _ = grouped
    node["last"].setValue(1010)
    assert press(node, tmp_path / "none.json") is None
    assert "holds frames 1001-1004, and 1001-1010 are asked for" in node["status"].value()


def test_a_file_outside_of_the_group_that_was_overwritten_is_rendered_again(nuke, grouped, serve):
    node, shot = grouped
    server = serve()
    finish(nuke, press(node, server.connection))
    before = len(nuke.executed)
    finish(nuke, press(node, server.connection))
    assert nuke.executed[before:] == []
    shot.paths["depth"][1002].write_bytes(shot.paths["depth"][1004].read_bytes())
    finish(nuke, press(node, server.connection))
    assert sorted(frame for pattern, frame in nuke.executed[before:] if "depth" in pattern) == [1001, 1002, 1003, 1004]


def test_the_group_is_found_though_a_buttons_code_begins_inside_the_node(nuke, grouped, monkeypatch):
    """There a name means a node of the group at hand, unless it is said from the script on."""
    from platebridge_nuke.inputs import parent_of

    found = nuke.toNode
    monkeypatch.setattr(nuke, "toNode", lambda name: found(name) if name.startswith("root.") else None)
    assert parent_of(grouped[0]) is nuke._script["Group1"]
