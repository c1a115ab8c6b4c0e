# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong is told in the panel: what, where, what to do. It stays there until the next press."""

from __future__ import annotations

import os

import bpy
import numpy as np
import pytest
from platebridge import errors
from platebridge.events import Failed, Progress, Started


@pytest.fixture
def files(scene, tmp_path, write_exr):
    """Three frames of plate, depth and mask on the disk, chosen in the panel."""
    settings = scene.platebridge
    for which, names in (("plate", "RGB"), ("depth", "Z"), ("mask", "Y")):
        for frame in (1001, 1002, 1003):
            write_exr(tmp_path / which / ("%s.%d.exr" % (which, frame)), np.full((36, 64, len(names)), 1.0), names, which != "depth")
        setattr(settings, which + "_source", "FILES")
        setattr(settings, which + "_files", str(tmp_path / which / (which + ".####.exr")))
    settings.vectors_source, settings.camera_source = "NONE", "NONE"
    return settings


def no_camera(scene, settings, tmp_path):
    settings.camera_source, scene.camera = "SCENE", None


def no_mask(scene, settings, tmp_path):
    settings.mask_source, settings.mask_collection = "COLLECTION", None


def empty_mask(scene, settings, tmp_path):
    settings.mask_source, settings.mask_collection = "COLLECTION", bpy.data.collections.new("Nothing")


def missing_files(scene, settings, tmp_path):
    (tmp_path / "depth" / "depth.1002.exr").unlink()


def another_s_folder(scene, settings, tmp_path):
    settings.depth_files = str(tmp_path / ("d" * 300) / "depth.####.exr")  # the system refuses to look there, as where one may not enter


def never_saved(scene, settings, tmp_path):
    settings.take_root = "//takes/"


def beyond_the_strip(scene, settings, tmp_path):
    editor = scene.sequence_editor_create()
    strip = editor.strips.new_image(name="Plate", filepath=str(tmp_path / "plate/plate.1001.exr"), channel=1, frame_start=1001)
    strip.elements.append("plate.1002.exr")
    settings.plate_source, settings.plate_strip = "STRIP", "Plate"


@pytest.mark.parametrize(
    "fault, said",
    [
        (no_camera, ["camera", "The scene has no camera", "make it active"]),
        (no_mask, ["mask", "No mask is chosen", "Choose the collection"]),
        (empty_mask, ["mask", "Nothing has no object", "Put the pieces that fall into it"]),
        (missing_files, ["depth frame 1002", "1 of 3 files are missing", "depth.1002.exr", "change the range"]),
        pytest.param(
            another_s_folder,
            ["depth", "depth.1001.exr can't be looked at (File name too long)", "access to its folder"],
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows says of such a name that it isn't there"),
        ),
        (never_saved, ["was never saved", "Save it"]),
        (beyond_the_strip, ["plate", "Plate holds frames 1001-1002, and 1001-1003 are asked for", "Change the frame range"]),
    ],
)
def test_what_is_refused_at_the_press_stays_in_the_panel_until_the_next(scene, files, tmp_path, fault, said):
    from blender_addon import runner

    fault(scene, files, tmp_path)
    with pytest.raises(RuntimeError):
        bpy.ops.platebridge.generate()
    assert all(word in runner.trouble for word in said), runner.trouble
    bpy.context.view_layer.update()
    assert runner.trouble  # it stays
    files.take_root = str(tmp_path / "takes")
    bpy.ops.platebridge.refresh_takes()
    assert runner.trouble == ""


FAILURES = [
    errors.ConnectionFailed("The server doesn't know this key.", "Give it your public key: preferences show it."),
    errors.VersionError("The server is of version 0.0.9.", "Upgrade the server."),
    errors.ModelError("The card ran out of memory.", "Lower the guide detail, or shorten the range."),
    errors.JobError("The server doesn't know this job any more.", "Generate again."),
    errors.StorageError("No room is left on the server's disk.", "Free some there."),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda e: e.code)
def test_what_fails_at_the_server_stays_with_its_job_in_the_panel(scene, files, client, step_until, error):
    from blender_addon import runner, sources
    from blender_addon.job import Job

    job = Job.generate(sources.plan(scene, bpy.context.view_layer), lambda: client, "COMP")
    runner.jobs[:] = [job]
    try:
        step_until(job, client.asked.is_set)
        client.say(Started("dust", "cpu"), Progress("generating", 1, 3), Failed(error.to_dict()))
        step_until(job, lambda: job.finished)
        assert type(job.error) is type(error) and error.mend and job.sentence == str(error)
        runner._tick()
        assert runner.jobs == [job] and job.sentence == str(error)  # the panel draws it from there
    finally:
        job.leave()
        runner.jobs.clear()


def test_a_tick_that_breaks_down_says_so_and_the_next_one_still_comes(scene, files, client, step_until, monkeypatch):
    from blender_addon import runner, sources
    from blender_addon.job import Job

    job = Job.generate(sources.plan(scene, bpy.context.view_layer), lambda: client, "COMP")
    runner.jobs[:] = [job]

    def broken():
        raise ValueError("what nobody thought of")

    try:
        step_until(job, client.asked.is_set)
        monkeypatch.setattr(runner.asking, "poll", broken)
        assert runner._tick() == runner.INTERVAL  # not a silent stop: Blender calls it again
        assert "broke down (ValueError: what nobody thought of)" in runner.trouble
        monkeypatch.undo()
        assert runner._tick() == runner.INTERVAL and not job.finished
    finally:
        job.leave()
        runner.jobs.clear()
        runner.trouble = ""
