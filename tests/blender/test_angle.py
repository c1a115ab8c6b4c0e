# SPDX-License-Identifier: GPL-3.0-or-later
"""Another angle from the panel: the chosen take's cloud through another camera, with the real pipeline and a real server."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from platebridge.takes import list_takes


@pytest.fixture
def shot(scene, tmp_path):
    """A second camera at the right of the scene's, and the quickest of takes."""
    bpy.ops.object.camera_add(location=(3, -8, 0), rotation=(np.pi / 2, 0, 0.35))
    bpy.context.object.name = "Aside"
    settings = scene.platebridge
    settings.dials.quality, settings.dials.detail, settings.dials.debris, settings.model = "draft", 24, 4, "guide"
    return tmp_path / "takes" / "shot"


def test_the_chosen_takes_cloud_through_another_camera(shot, scene, real, read_exr):
    scene.platebridge.connection = str(real.connection)
    assert bpy.ops.platebridge.generate() == {"FINISHED"}
    first = scene.camera
    scene.timeline_markers.new("Cut", frame=1001).camera = first  # a marker chooses the camera at each frame, and must not here
    assert bpy.ops.platebridge.another_angle(camera="Aside") == {"FINISHED"}
    assert scene.camera == first == scene.timeline_markers["Cut"].camera
    was, now = (take.document for take in list_takes(shot))
    assert now["simulation"] == now["request"]["simulation"] == was["simulation"] and now["request"]["guide"] == was["request"]["guide"]
    assert now["shot"] == "shot Aside" and not now["request"]["inputs"]["mask"]["files"]
    moved = now["request"]["camera"]["frames"][0]["camera_to_world"]
    assert [row[3] for row in moved[:3]] == pytest.approx([3, -8, 0])
    seen = [read_exr(shot / place / "plate" / "plate.1002.exr")["G"] for place in (".", "angle Aside")]
    assert seen[0].shape == seen[1].shape and not np.array_equal(*seen)
    names = [strip.name for strip in scene.sequence_editor.strips]
    assert "shot Aside take 0002 comp" in names and "shot Aside plate" in names
    rows = [(row.name, row.differs) for row in bpy.context.window_manager.platebridge_takes]
    assert rows == [("take_0002", "through Aside"), ("take_0001", "model guide, seed 0")]


def test_its_passes_are_known_by_the_camera_that_they_are_seen_through_alone(shot, scene, write_exr):
    """Windows and macOS take `angle Aside` and `angle aside` for one folder."""
    import json

    from platebridge.frames import FrameRange
    from platebridge.request import GenerateRequest, Inputs

    from blender_addon import angle_plan

    take = shot / "take_0001"
    take.mkdir(parents=True)
    request = GenerateRequest("shot", FrameRange(1001, 1003), Inputs()).to_dict()
    (take / "take.json").write_text(json.dumps({"take_id": "1" * 32, "request": request, "simulation": "2" * 64, "files": {}}))
    aside, above = scene.objects["Aside"], scene.camera
    above.name = "aside"
    scene.camera = None

    def known(camera):
        return angle_plan.plan(scene, bpy.context.view_layer, take, camera).fingerprints

    first = known("Aside")
    assert not set(first.values()) & set(known("aside").values())
    scene.camera = aside
    assert known("Aside") == first


def test_without_another_camera_or_a_finished_take_the_button_is_off(scene):
    bpy.ops.platebridge.refresh_takes()
    assert not bpy.ops.platebridge.another_angle.poll()
