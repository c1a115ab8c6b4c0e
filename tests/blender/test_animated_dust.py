# SPDX-License-Identifier: GPL-3.0-or-later
"""A keyed dial all the way with the real dust: keyframes in Blender, a real server, the built-in model, effect files by number."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from platebridge.takes import list_takes

FRAMES = range(1001, 1009)
BEGINS = 1004  # until this frame the amount is 0


@pytest.fixture
def falls(scene):
    """The cube falls from the shot's first frame on, before its wall."""
    from blender_addon import versions

    cube = scene.platebridge.mask_collection.objects[0]
    cube.animation_data_clear()
    for frame in FRAMES:
        cube.location = (0, 0, 1.5 - 0.5 * 9.8 * ((frame - FRAMES[0]) / 24) ** 2)
        cube.keyframe_insert("location", frame=frame)
    scene.frame_start, scene.frame_end = FRAMES[0], FRAMES[-1]
    dials = scene.platebridge.dials
    dials.quality, dials.detail, dials.debris = "draft", 24, 0
    scene.platebridge.model = "dust"
    for frame, amount in ((BEGINS, 0.0), (FRAMES[-1], 3.0)):
        dials.amount = amount
        dials.keyframe_insert("amount", frame=frame)
    for curve in versions.curves(scene.animation_data):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    return scene


def test_where_a_keyed_amount_is_nothing_there_is_no_dust_and_later_there_is_more_and_more(falls, real, read_exr, tmp_path):
    falls.platebridge.connection = str(real.connection)
    assert bpy.ops.platebridge.generate() == {"FINISHED"}
    shot = tmp_path / "takes" / "shot"
    take = list_takes(shot)[0]
    assert take.finished and take.document["request"]["model"]["name"] == "dust"
    assert [curve["dial"] for curve in take.document["request"]["animated"]] == ["amount"]
    cover = [float(read_exr(take.path / ("effect.%d.exr" % frame))["A"].mean()) for frame in FRAMES]
    print(["%.5f" % value for value in cover])
    none, some = cover[: BEGINS - FRAMES[0] + 1], cover[BEGINS - FRAMES[0] + 1 :]
    assert max(none) == 0
    assert some == sorted(some) and some[-1] > 3 * some[0] > 0
    for frame in FRAMES:
        comp, plate = read_exr(take.path / ("comp.%d.exr" % frame)), read_exr(shot / "plate" / ("plate.%d.exr" % frame))
        changed = any(not np.array_equal(comp[c], plate[c]) for c in "RGB")
        assert changed == (frame > BEGINS), frame
