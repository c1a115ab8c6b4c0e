# SPDX-License-Identifier: Apache-2.0
"""Views: a take each, one after the other; shown together by %V; each with its own camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from node_at_work import finish, press, until


@pytest.fixture
def stereo(nuke, wired, make_shot):
    """The node in a script of the views left and right, whose inputs differ by view. Gives (node, {view: shot})."""
    node, left = wired
    nuke._views[:] = ["left", "right"]
    right = make_shot(frames=4)
    for path in right.paths["plate"].values():  # another picture
        path.write_bytes(left.paths["plate"][1001 + (int(path.name.split(".")[1]) - 1000) % 4].read_bytes())
    for number, which in enumerate(("plate", "depth", "mask")):
        reads = [node.input(number), nuke.nodes.Read(file=right.patterns[which], first=1001, last=1004)]
        node.setInput(number, nuke.nodes.JoinViews(inputs=reads))
    node["views"].setValue("all")
    return node, {"left": left, "right": right}


def test_each_view_becomes_a_take_of_one_number_and_the_viewer_shows_them_by_view(nuke, stereo, serve):
    node, shots = stereo
    (Path(nuke.root().name()).parent / "takes" / "shot_010_right" / "take_0004").mkdir(parents=True)
    job = press(node, serve().connection)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None, job.error
    assert [(take.parent.name, take.name) for take in job.takes] == [("shot_010_left", "take_0005"), ("shot_010_right", "take_0005")]
    assert node["result_file"].value().endswith("takes/shot_010_%V/take_0005/comp.####.exr")
    for view, shot in shots.items():
        from nuke import pictures

        seen = node._image(1002, view)[0]["rgba.red"]
        assert np.array_equal(seen, pictures.read(shot.paths["plate"][1002])[0]["rgba.red"])
    assert "left: Generating" in nuke.ProgressTask.said and "right: Generating" in nuke.ProgressTask.said
    from platebridge_nuke import node as buttons

    reads = buttons.make_reads(node)
    assert [read["file"].value() for read in reads] == [node["result_file"].value()]


def test_one_view_of_a_stereo_script_is_a_take_of_its_own(nuke, stereo, serve):
    node, _ = stereo
    node["views"].setValue("right")
    job = press(node, serve().connection)
    finish(nuke, job)
    assert job.error is None and [take.parent.name for take in job.takes] == ["shot_010_right"]
    assert "%V" not in node["result_file"].value()


def test_cancel_in_the_first_view_begins_no_second(nuke, stereo, serve):
    from platebridge_nuke import node as buttons

    node, _ = stereo
    server = serve()
    server.hold(1002)
    job = press(node, server.connection)
    until(nuke, lambda: job.take is not None and buttons.frames_there(job.take, "comp") == [1001])
    buttons.cancel(node)
    finish(nuke, job)
    server.let_go(1002)
    assert job.error.code == "cancelled" and len(job.takes) == 1
    again = buttons.attach(node)
    assert again is not None, node["status"].value()
    finish(nuke, again)
    assert again.error is None and again.takes == job.takes


def test_each_view_has_its_own_camera(nuke, stereo):
    from platebridge.frames import FrameRange
    from platebridge_nuke.camera import camera

    node, _ = stereo
    matrices = {"left": [1.0, 0, 0, -3, 0, 1, 0, 2, 0, 0, 1, 0, 0, 0, 0, 1], "right": [1.0, 0, 0, 3, 0, 1, 0, 2, 0, 0, 1, 0, 0, 0, 0, 1]}
    cameras = [nuke.nodes.Camera2(world_matrix=matrix, focal=50.0) for matrix in matrices.values()]
    node.setInput(5, nuke.nodes.Dot(inputs=[nuke.nodes.JoinViews(inputs=cameras)]))
    node["camera_scale"].setValue(0.01)
    seen = {view: camera(node, FrameRange(1001, 1002), view) for view in matrices}
    assert [round(seen[view].frames[0].camera_to_world[0][3], 6) for view in matrices] == [-0.03, 0.03]
    assert seen["left"].up == (0.0, 1.0, 0.0) and len(seen["left"].frames) == 2
    assert (seen["left"].focal_mm, seen["left"].sensor_width_mm) == (50.0, 24.576)
