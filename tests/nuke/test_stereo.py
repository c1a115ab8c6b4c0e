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
    assert node["status"].value().endswith("is whole. Shown in every view; it was made for right.")


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


def test_a_second_view_that_is_gone_on_with_leaves_the_first_its_own_picture(nuke, stereo, serve):
    from platebridge_nuke import node as buttons

    node, _ = stereo
    server = serve()
    server.hold(1004)
    job = press(node, server.connection)
    until(nuke, lambda: job.take is not None and buttons.frames_there(job.take, "comp") == [1001, 1002, 1003])
    server.hold(1002)
    server.let_go(1004)
    until(nuke, lambda: len(job.takes) == 2 and buttons.frames_there(job.takes[1], "comp") == [1001])
    buttons.cancel(node)
    finish(nuke, job)
    server.let_go(1002)
    by_view = node["result_file"].value()
    assert "shot_010_%V" in by_view
    again = buttons.attach(node)
    assert again is not None, node["status"].value()
    finish(nuke, again)
    assert again.error is None and again.takes == job.takes[1:]
    assert node["result_file"].value() == by_view and "every view" not in node["status"].value()


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


@pytest.fixture
def on_disk(nuke, wired, tmp_path, write_exr):
    """`on_disk(view, ...)`: (node, the first view's take), a take of one number of each view as any program leaves it."""

    def make(*views):
        takes = [tmp_path / "takes" / ("shot_010_" + view) / "take_0001" for view in views]
        for value, take in enumerate(takes):
            take.mkdir(parents=True)
            (take / "unfinished.json").write_text("{}")
            for frame in (1001, 1002):
                write_exr(take / ("comp.%d.exr" % frame), np.full((4, 4, 3), value, "f4"), ("R", "G", "B"))
        wired[0]["take"].setValue(takes[0].as_posix())
        return wired[0], takes[0]

    return make


def test_takes_of_fewer_views_than_the_script_has_are_shown_by_view_all_the_same(nuke, on_disk):
    from platebridge_nuke import node as buttons

    nuke._views[:] = ["main", "left", "right"]
    node, take = on_disk("left", "right")
    buttons.show(node)
    assert node["result_file"].value() == take.parent.parent.as_posix() + "/shot_010_%V/take_0001/comp.####.exr"
    assert [node._image(1001, view)[0]["rgba.red"][0, 0] for view in ("left", "right")] == [0, 1]
    assert node["status"].value() == "Shown by view; there is none for main."
    assert [read["file"].value() for read in buttons.make_reads(node)] == [node["result_file"].value()]


def test_a_take_of_one_view_says_that_the_other_eye_shows_it_too(nuke, on_disk):
    from platebridge_nuke import node as buttons

    nuke._views[:] = ["left", "right"]
    node, take = on_disk("left")
    steps = nuke.Undo.undoSize()
    buttons.show(node)
    assert node["result_file"].value() == take.as_posix() + "/comp.####.exr"
    assert node["status"].value() == "Shown in every view; it was made for left." and nuke.Undo.undoSize() == steps + 1
    node["status"].setValue("")
    assert len(buttons.make_reads(node)) == 1 and node["status"].value() == "Shown in every view; it was made for left."


def test_older_goes_through_the_takes_of_the_view_that_is_named(nuke, on_disk):
    from platebridge_nuke import node as buttons

    nuke._views[:] = ["left", "right"]
    node, _ = on_disk("left", "right")
    node["views"].setValue("all")
    node["take"].setValue((Path(node["take"].value()).parent.parent / "shot_010_right" / "take_0001").as_posix())
    buttons.older(node)
    assert node["status"].value() == "take_0001 is the oldest take." and node["take"].value().endswith("shot_010_right/take_0001")


def test_a_view_whose_name_ends_as_another_does_is_not_taken_for_it(nuke, on_disk):
    from platebridge_nuke import node as buttons

    nuke._views[:] = ["left", "far_left"]
    node, take = on_disk("left", "far_left")
    node["take"].setValue((take.parent.parent / "shot_010_far_left" / "take_0001").as_posix())
    buttons.show(node)
    assert node["result_file"].value() == take.parent.parent.as_posix() + "/shot_010_%V/take_0001/comp.####.exr"


@pytest.mark.parametrize("knob, moved, sentence", [("win_translate", 0.2, "translate"), ("win_scale", 1.5, "scale")])
def test_a_window_that_moves_later_or_in_one_view_alone_is_refused_with_its_frame(nuke, stereo, knob, moved, sentence):
    from platebridge.errors import InputError
    from platebridge.frames import FrameRange
    from platebridge_nuke.camera import camera

    node, _ = stereo
    seen = nuke.nodes.Camera2(world_matrix=[float(row == column) for row in range(4) for column in range(4)])
    node.setInput(5, seen)
    still, plain = float(knob == "win_scale"), seen[knob].getValueAt
    seen[knob].getValueAt = lambda frame, at=0, view=None: moved if (frame, view) == (1003, "right") else plain(frame, at, view)
    assert plain(1003, 0) == still and camera(node, FrameRange(1001, 1004), "left").frames
    with pytest.raises(InputError, match="frame 1003.* has a window %s" % sentence):
        camera(node, FrameRange(1001, 1004), "right")
