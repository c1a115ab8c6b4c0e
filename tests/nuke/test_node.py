# SPDX-License-Identifier: Apache-2.0
"""Generate to viewer frames on the stand-in Nuke, against a real server over real sockets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from node_at_work import finish, pixels, press, until


def test_frames_stand_in_the_viewer_one_by_one_while_nuke_is_free(nuke, wired, serve):
    node, _shot = wired
    server = serve()
    server.hold(1003)
    job = press(node, server.connection)
    assert job is not None, node["status"].value()
    until(nuke, lambda: node["result_last"].value() == 1002)
    assert not job.ended.is_set()
    assert np.array_equal(node._image(1002)[0]["rgba.red"], wired[0].input(0)._image(1002)[0]["rgba.red"])
    server.let_go(1003)
    finish(nuke, job)
    assert job.error is None
    assert (node["result_first"].value(), node["result_last"].value()) == (1001, 1004)
    assert [n for n in nuke._script if n.startswith("Write")] == []


def test_frames_equal_those_of_the_command_bit_for_bit(nuke, wired, serve, tmp_path):
    from platebridge.frames import FrameRange
    from platebridge.request import ShotSettings
    from platebridge.takes import read_take
    from platebridge_server import command_generate as command

    node, shot = wired
    dials = {"detail": 24, "debris": 8, "seed": 7, "amount": 2.0, "quality": "draft"}
    for name, value in dials.items():
        node[name].setValue(value)
    job = press(node, serve("platebridge_server.generate:generate").connection)
    finish(nuke, job)
    assert job.error is None, job.error
    request = read_take(job.take).document["request"]
    sources = command.Sources({which: str(job.take.parent / which / (which + ".####.exr")) for which in ("plate", "depth", "mask")})
    (tmp_path / "camera.json").write_text(json.dumps(request["camera"]))
    frames, settings = FrameRange(shot.first, shot.last), ShotSettings(**request["settings"])
    asked = command.asked(job.take.parent.name, frames, settings, camera=tmp_path / "camera.json", dials=dials)
    (there,), files = command.with_files([asked], sources)
    writer = command.begin(there, sources, tmp_path / "command")
    command.run_here(there, files, writer, lambda event: None, lambda: False, "cpu")
    for frame in there.frames:
        for kind in ("comp", "effect"):
            name = "%s.%04d.exr" % (kind, frame)
            assert pixels(job.take / name).tobytes() == pixels(writer.path / name).tobytes(), name


def test_inputs_are_the_plate_bit_for_bit_and_depth_in_single_floats(nuke, wired, standing):
    node, shot = wired
    nuke.root().setProxy(True)
    finish(nuke, press(node, standing))
    assert nuke.root()["proxy"].value() is True
    rendered = Path(node["take"].value()).parent
    for which in ("plate", "depth", "mask"):
        for _frame, path in shot.paths[which].items():
            mine, theirs = pixels(rendered / which / path.name), pixels(path)
            assert mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("knob, own", [("autocrop", "1"), ("write_ACES_compliant_EXR", "1"), ("interleave", "2")])
def test_a_studios_defaults_for_its_writes_change_no_input(nuke, wired, write_exr, tmp_path, knob, own):
    """As they stand in many an init.py."""
    from platebridge_nuke import inputs, peek, rendering

    node, shot = wired
    moved = {frame: tmp_path / ("v.%d.exr" % frame) for frame in shot.paths["plate"]}
    for path in moved.values():
        write_exr(path, np.ones((64, 96, 2), "f4"), ("backward.u", "backward.v"))
    node.setInput(3, nuke.nodes.Read(file=str(tmp_path / "v.####.exr"), first=shot.first, last=shot.last))
    nuke.knobDefault("Write.exr." + knob, own)
    for which, made in rendering.render(node, inputs.plan(node), "main")[0].items():
        for frame, path in made.files.items():
            mine, theirs = pixels(path), pixels({**shot.paths, "vectors": moved}[which][frame])
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
    assert list(peek.header(path)["channels"]) == ["backward.u", "backward.v"]


@pytest.mark.parametrize("first", [1003, 1001])  # frames that all differ; frames of which three are equal
def test_cancel_keeps_what_came_and_attach_goes_on(nuke, wired, make_shot, serve, first):
    from platebridge_nuke import node as buttons

    node, _ = wired
    shot = make_shot(frames=6)
    for number, which in enumerate(("plate", "depth", "mask")):
        node.input(number)["file"].setValue(shot.patterns[which])
        node.input(number)["last"].setValue(shot.last)
    node["first"].setValue(first)
    node["last"].setValue(first + 3)
    server = serve()
    server.hold(first + 2)
    job = press(node, server.connection)
    until(nuke, lambda: node["result_last"].value() == first + 1)
    buttons.cancel(node)
    finish(nuke, job)
    assert job.error.code == "cancelled"
    assert buttons.frames_there(job.take, "comp") == [first, first + 1]
    server.let_go(first + 2)
    again = buttons.attach(node)
    finish(nuke, again)
    assert again.error is None and again.take == job.take
    assert buttons.frames_there(job.take, "comp") == list(range(first, first + 4))


def test_server_killed_is_waited_for_and_the_take_ends_whole(nuke, wired, serve):
    node, _ = wired
    server = serve()
    server.hold(1003)
    job = press(node, server.connection)
    until(nuke, lambda: node["result_last"].value() == 1002)
    server.kill()
    server.let_go(1003)
    server.start()
    finish(nuke, job)
    assert job.error is None
    assert node["result_last"].value() == 1004


def test_news_that_came_while_nuke_was_busy_is_heard_at_once(nuke, wired, tmp_path, monkeypatch):
    """Attaching to a long take tells of every frame that lies there: looked at one by one, each would be a listing of the folder."""
    from platebridge.courier import Began, Ended, Landed
    from platebridge.events import Progress
    from platebridge_nuke import job as jobs
    from platebridge_nuke import showing

    node, _ = wired
    take = tmp_path / "take_0001"
    take.mkdir()
    frames = range(1001, 1301)
    for frame in frames:
        (take / ("comp.%d.exr" % frame)).touch()
    news = [Began("a" * 32, take, None, "", {}), *(Landed("comp", frame, take / "x") for frame in frames)]
    news += [Progress("writing", 1, 2), Ended(None)]
    looks, look = [], showing.frames_there
    monkeypatch.setattr(showing, "frames_there", lambda *told: looks.append(told) or look(*told))

    class Told:
        cancel = leave = start = lambda self: None
        take_news = lambda self: news.pop(0)  # noqa: E731

    job = jobs.Job(node, [("main", tmp_path, Told)])
    job.start()
    job._thread.join(20)
    nuke.pump()
    assert len(looks) == 1 and (node["result_first"].value(), node["result_last"].value()) == (1001, 1300)
    assert node["status"].value().endswith("take_0001 is whole.")


def test_deleting_the_node_does_not_end_the_take(nuke, wired, serve):
    from platebridge.takes import verify_take

    node, _ = wired
    server = serve()
    server.hold(1002)
    job = press(node, server.connection)
    until(nuke, lambda: node["take"].value() != "")
    nuke.delete(node)
    server.let_go(1002)
    finish(nuke, job)
    assert job.error is None
    assert verify_take(job.take) == []


def test_take_made_elsewhere_is_listed_and_read(nuke, wired, serve):
    """The folders are the same: a take of the client alone, as Blender's courier writes it, shows here."""
    from platebridge_nuke import node as buttons

    node, shot = wired
    server = serve()
    from platebridge.client import Client
    from platebridge.takes import TakeWriter

    writer = TakeWriter.create(Path(nuke.root().name()).parent / "takes" / "shot_010", "a" * 32)
    with Client(server.connection) as client:
        client.run(shot.request(), shot.open_file, writer)
    buttons.list_takes(node)
    assert node["takes_text"].value() == "☆ take_0001: seed 7"
    node["take"].setValue(writer.path.as_posix())
    buttons.show(node)
    assert node["result_last"].value() == 1004
    reads = buttons.make_reads(node)
    assert [(r["first"].value(), r["last"].value(), r["raw"].value()) for r in reads] == [(1001, 1004, True)]


def test_non_commercial_reaches_the_whole_way_with_every_input(nuke, wired, standing, write_exr, tmp_path):
    node, shot = wired
    for frame in shot.paths["plate"]:
        write_exr(tmp_path / ("v.%d.exr" % frame), np.zeros((64, 96, 2), "f4"), ("backward.u", "backward.v"))
        write_exr(tmp_path / ("g.%d.exr" % frame), np.zeros((32, 48, 4), "f4"), ("R", "G", "B", "A"))
    for number, name in ((3, "v"), (4, "g")):
        node.setInput(number, nuke.nodes.Read(file=str(tmp_path / (name + ".####.exr")), first=1001, last=1004))
    still = [float(row == column) for row in range(4) for column in range(4)]
    node.setInput(5, nuke.nodes.Camera2(world_matrix=still))
    node["connection"].setValue(str(standing))
    nuke._touched.clear()  # what the artist has made, Python did not touch
    nuke.env["nc"] = True
    job = press(node)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None
    assert node["result_last"].value() == 1004
    from platebridge_nuke import node as buttons

    assert buttons.attach(node) is None and buttons.older(node) is None  # it still may touch what these touch
    assert len(nuke._touched) <= nuke.NC_LIMIT


@pytest.mark.parametrize("broken", ["__init__", "setMessage", "setProgress", "isCancelled"])
def test_a_progress_bar_that_nuke_refuses_a_thread_costs_the_bar_alone(nuke, wired, standing, monkeypatch, broken):
    def refuse(self, *told):
        raise RuntimeError("ProgressTask: not on this thread")

    monkeypatch.setattr(nuke.ProgressTask, broken, refuse)
    node, _ = wired
    job = press(node, standing)
    finish(nuke, job)
    assert job.error is None and node["status"].value().endswith("take_0001 is whole.")


@pytest.mark.parametrize("window", [True, False])
def test_a_job_that_breaks_down_says_so_and_lets_the_node_go(nuke, wired, standing, monkeypatch, window):
    from platebridge.courier import Courier
    from platebridge_nuke import node as buttons

    def broken(self):
        raise RuntimeError("out of threads")

    node, _ = wired
    nuke.GUI = window
    with monkeypatch.context() as once:
        once.setattr(Courier, "take_news", broken)
        job = press(node, standing)
        finish(nuke, job)
    assert "Platebridge broke down (RuntimeError: out of threads). Attach to the take" in node["status"].value()
    assert job.error is not None and buttons.jobs == []
    job._courier.join(60)  # it has let go of the take, which can be attached to
    assert not job._courier.is_alive()


def test_what_looks_like_a_tag_is_not_taken_for_one(wired):
    from platebridge_nuke.job import say

    say(wired[0], "'<' not supported between 'str' and 'int'")
    assert wired[0]["status"].value() == "'\u2039' not supported between 'str' and 'int'"


def test_terminal_mode_waits_for_the_end(nuke, wired, standing):
    node, _ = wired
    nuke.GUI = False
    job = press(node, standing)
    assert job.ended.is_set() and job.error is None
    assert node["result_last"].value() == 1004
