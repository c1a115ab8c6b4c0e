# SPDX-License-Identifier: GPL-3.0-or-later
"""`--command platebridge`: the whole job with a real server, lines that a farm reads, exit codes that say who is at fault."""

from __future__ import annotations

import re
import shutil

import bpy
import pytest
from platebridge.takes import list_takes


@pytest.fixture
def served(server, scene):
    scene.platebridge.connection = str(server.connection)
    return server


@pytest.fixture
def command(scene):
    from blender_addon import command_line

    return lambda text: command_line.main(text.split())


def test_a_farm_generates_reads_progress_and_gets_a_take(served, command, scene, capfd, tmp_path):
    assert command("generate --set amount=1.4 --set seed=5 --frames 1001-1002") == 0
    said = capfd.readouterr().out
    assert re.findall(r"^Fra:(\d+) Platebridge \| Frames (\d)/2$", said, re.M) == [("1001", "1"), ("1002", "2")]
    assert "Saved: '%s'" % (tmp_path / "takes" / "shot" / "take_0001" / "comp.1002.exr") in said
    take = list_takes(tmp_path / "takes" / "shot")[0]
    assert take.finished and take.document["request"]["guide"]["amount"] == 1.4 and take.document["request"]["model"]["seed"] == 5


def test_a_preset_leaves_keyed_dials_alone_and_says_so_and_what_is_set_wins(served, command, scene, capfd, tmp_path):
    dials = scene.platebridge.dials
    for frame, value in ((1001, 0.0), (1003, 2.0)):
        dials.amount = dials.speed = value
        dials.keyframe_insert("amount", frame=frame), dials.keyframe_insert("speed", frame=frame)
    assert command("generate --preset brick --set speed=1.1") == 0
    assert "Amount and Speed are animated and stay as they are" in capfd.readouterr().out
    request = list_takes(tmp_path / "takes" / "shot")[0].document["request"]
    assert [curve["dial"] for curve in request["animated"]] == ["amount"]
    assert (request["guide"]["speed"], request["guide"]["debris"]) == (1.1, 220)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("generate --set loudness=1", 2, "no dial called 'loudness'"),
        ("generate --set amount", 2, "--set amount names no value"),
        ("generate --frames 1003-1001", 2, "1003-1001"),
        ("generate --preset thunder", 2, "no preset called 'thunder'"),
        ("generate --scene Absent", 2, "no scene called 'Absent'"),
        ("generate --loud", 2, "unrecognized arguments: --loud"),
        ("attach /nowhere/take_0001", 1, "/nowhere/take_0001"),
        ("", 2, "action"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(served, command, capfd, words, code, said):
    assert command(words) == code
    assert said in capfd.readouterr().err


def test_no_server_is_said(command, scene, tmp_path, capfd):
    scene.platebridge.connection = str(tmp_path / "absent.json")
    assert command("generate") == 1
    assert "No server runs here" in capfd.readouterr().err


def test_the_file_can_be_saved_with_the_take_on_its_timeline(served, command, scene, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert command("generate --frames 1001-1001 --save") == 0
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert "shot take 0001 comp" in bpy.context.scene.sequence_editor.strips


def test_so_can_one_whose_take_was_gone_on_with(served, command, scene, step_until, tmp_path):
    from blender_addon import server as servers
    from blender_addon import sources
    from blender_addon.job import Job

    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    job = Job.generate(sources.plan(scene, bpy.context.view_layer), servers.client_of(scene), "COMP")
    step_until(job, lambda: job.take_path)
    job.leave()
    assert command("attach %s --save" % job.take_path) == 0
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert "shot take 0001 comp" in bpy.context.scene.sequence_editor.strips


def test_a_file_that_cant_be_saved_is_said_with_its_whole_take(served, command, scene, tmp_path, capfd):
    (tmp_path / "desk").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "desk" / "shot.blend"))
    shutil.rmtree(tmp_path / "desk")
    assert command("generate --frames 1001-1001 --save") == 1
    assert "take_0001 is whole: 1 frames, but the .blend can't be saved" in capfd.readouterr().err


def test_a_farm_renders_the_view_layer_that_the_artist_left_open(served, command, scene, tmp_path):
    import json

    from blender_addon import sources

    window = bpy.context.window_manager.windows[0]
    window.view_layer = scene.view_layers.new("Dust")
    in_the_window = sources.plan(scene, bpy.context.view_layer).fingerprints
    assert command("generate --frames 1001-1001") == 0
    kept = json.loads((tmp_path / "takes" / "shot" / "capture.json").read_text())["inputs"]
    assert kept["depth"]["fingerprint"] == in_the_window["depth"]


def test_what_the_line_says_for_once_is_not_saved_in_the_file(served, command, scene, tmp_path):
    shot = scene.platebridge
    shot.connection, shot.frame_first, shot.model = str(tmp_path / "own.json"), 990, "dust"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    once = "--frames 1001-1001 --recapture --model guide --connection %s" % served.connection
    assert command("generate --save %s" % once) == 0
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    shot = bpy.context.scene.platebridge
    assert len(bpy.context.scene.sequence_editor.strips) == 2
    assert (shot.use_scene_range, shot.frame_first, shot.frame_last, shot.recapture, shot.model) == (True, 990, 1048, False, "dust")
    assert shot.connection == str(tmp_path / "own.json")
