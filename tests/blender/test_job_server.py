# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender with a real server: real sockets, real processes really killed. The generator alone is small."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from real_server import until

ROOT = Path(__file__).parents[2]
FRAMES = range(1001, 1005)


@pytest.fixture
def shot(scene, server, tmp_path, write_exr):
    """The scene set to four frames of files and to the server; gives its settings."""
    settings = scene.platebridge
    scene.frame_start, scene.frame_end = FRAMES[0], FRAMES[-1]
    for which, names in (("plate", "RGB"), ("depth", "Z"), ("mask", "Y")):
        for frame in FRAMES:
            write_exr(
                tmp_path / which / ("%s.%d.exr" % (which, frame)), np.full((36, 64, len(names)), frame / 1000), names, which != "depth"
            )
        setattr(settings, which + "_source", "FILES")
        setattr(settings, which + "_files", str(tmp_path / which / (which + ".####.exr")))
    settings.vectors_source, settings.camera_source, settings.connection = "NONE", "NONE", str(server.connection)
    return settings


@pytest.fixture
def job(scene, shot):
    from platebridge.client import Client

    from blender_addon import sources
    from blender_addon.job import Job

    job = Job.generate(sources.plan(scene, bpy.context.view_layer), lambda: Client(shot.connection, "test"))
    yield job
    job.leave()


def strip_frames(scene):
    found = [strip for strip in scene.sequence_editor.strips if strip.name.endswith("comp")] if scene.sequence_editor else []
    return [int(element.filename.split(".")[1]) for element in found[-1].elements] if found else []


def assert_take_is_whole(take, tmp_path):
    for frame in FRAMES:
        assert (take / ("comp.%d.exr" % frame)).read_bytes() == (tmp_path / "plate" / ("plate.%d.exr" % frame)).read_bytes()
    assert (take / "take.json").is_file() and not (take / "unfinished.json").exists()


def test_generate_from_button_to_timeline(scene, shot, tmp_path):
    assert bpy.ops.platebridge.generate() == {"FINISHED"}
    take = tmp_path / "takes" / "shot" / "take_0001"
    assert_take_is_whole(take, tmp_path)
    assert strip_frames(scene) == list(FRAMES)
    assert json.loads((take / "take.json").read_text())["origin"]["application"].startswith("Blender ")


def test_second_take_sends_none_of_the_plate_again(scene, shot, step_until):
    from platebridge.client import Client

    from blender_addon import sources
    from blender_addon.job import Job

    sent = []
    for seed in (1, 2):
        shot.dials.seed = seed
        client = Client(shot.connection, "test")
        job = Job.generate(sources.plan(scene, bpy.context.view_layer), lambda client=client: client)
        step_until(job, lambda job=job: job.finished)
        assert job.error is None and job.take_path.name == "take_%04d" % seed
        sent.append(client.sent["put"])
    assert sent[0] > 0 and sent[1] == 0
    assert [strip.channel for strip in scene.sequence_editor.strips] == [1, 2, 3]


def test_server_killed_in_the_midst_and_started_again(scene, server, job, step_until, tmp_path):
    server.hold(1003)
    step_until(job, lambda: strip_frames(scene) == [1001, 1002])
    server.kill()
    step_until(job, lambda: job.waiting)
    server.let_go(1003)
    server.start()
    step_until(job, lambda: job.finished)
    assert job.error is None
    assert_take_is_whole(job.take_path, tmp_path)
    assert strip_frames(scene) == list(FRAMES) and server.made() == list(FRAMES)


def test_cancel_keeps_what_came_and_the_next_take_is_whole(scene, server, job, step_until, tmp_path):
    server.hold(1003)
    step_until(job, lambda: strip_frames(scene) == [1001, 1002])
    job.cancel()
    step_until(job, lambda: job.finished)
    assert job.error.code == "cancelled" and strip_frames(scene) == [1001, 1002]
    server.let_go(1003)
    assert bpy.ops.platebridge.generate() == {"FINISHED"}
    assert_take_is_whole(tmp_path / "takes" / "shot" / "take_0002", tmp_path)


OTHER_BLENDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import bpy, blender_addon
blender_addon.register()
bpy.ops.wm.open_mainfile(filepath=sys.argv[2])
bpy.ops.platebridge.generate()
"""


def test_blender_killed_in_the_midst_then_attach(scene, shot, server, tmp_path):
    server.hold(1003)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    take = tmp_path / "takes" / "shot" / "take_0001"
    with open(tmp_path / "other.log", "wb") as log:
        other = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", OTHER_BLENDER, str(ROOT), str(tmp_path / "shot.blend")],
            stdout=log,
            stderr=log,
        )
    until(lambda: (take / "comp.1002.exr").is_file() or other.poll() is not None, 60)
    assert other.poll() is None, (tmp_path / "other.log").read_text()
    other.kill()
    other.wait()
    server.let_go(1003)
    assert bpy.ops.platebridge.attach() == {"FINISHED"}
    assert_take_is_whole(take, tmp_path)
    assert strip_frames(scene) == list(FRAMES) and server.made() == list(FRAMES)
    with pytest.raises(RuntimeError, match="has no unfinished take"):
        bpy.ops.platebridge.attach()


def test_a_take_of_the_commands_is_attached_to_when_command_and_server_are_dead_and_its_files_are_sent_again(scene, shot, server, tmp_path):
    server.hold(1003)
    take = tmp_path / "takes" / "shot" / "take_0001"
    command = [sys.executable, "-m", "platebridge_server", "generate", "--server", server.connection, "--frames", "1001-1004"]
    for which, name in (("plate", "plate.@@@@.exr"), ("depth", "depth.%04d.exr"), ("mask", "mask.####.exr")):
        command += ["--" + which, tmp_path / which / name]
    with open(tmp_path / "other.log", "wb") as log:
        other = subprocess.Popen([*map(str, command), "--shot", "shot", "--out", str(take.parent)], stdout=log, stderr=log)
    until(lambda: (take / "comp.1002.exr").is_file() or other.poll() is not None, 60)
    assert other.poll() is None, (tmp_path / "other.log").read_text()
    other.kill()
    other.wait()
    server.kill()
    shutil.rmtree(server.root / "data")
    server.let_go(1003)
    server.start()
    assert bpy.ops.platebridge.attach() == {"FINISHED"}
    assert_take_is_whole(take, tmp_path)
    assert strip_frames(scene) == list(FRAMES) and server.made() == list(FRAMES)
