# SPDX-License-Identifier: GPL-3.0-or-later
"""Dials with keyframes and drivers: their values travel frame by frame, and come back from a take as keyframes."""

from __future__ import annotations

import json

import bpy
import numpy as np
import pytest
from platebridge.curves import value_at
from platebridge.errors import RequestError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs


def keyed(dials, name, *keys):
    for frame, value in keys:
        setattr(dials, name, value)
        dials.keyframe_insert(name, frame=frame)


def straight(scene):
    from blender_addon import versions

    for curve in versions.curves(scene.animation_data):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"


def plan_of(scene):
    from blender_addon import sources

    return sources.plan(scene, bpy.context.view_layer)


@pytest.fixture
def dials(scene):
    return scene.platebridge.dials


@pytest.fixture
def begin(scene, client):
    from blender_addon.job import Job

    jobs = []

    def make(plan=None):
        jobs.append(Job.generate(plan or plan_of(scene), lambda: client, "COMP"))
        return jobs[-1]

    yield make
    for job in jobs:
        job.leave()


def test_keyframes_make_the_request_that_the_same_curve_typed_makes(scene, dials):
    keyed(dials, "amount", (1001, 0.2), (1003, 2.0))
    keyed(dials, "tint", (1001, (0.6, 0.5, 0.4)), (1003, (0.3, 0.3, 0.3)))
    keyed(dials, "debris", (1001, 0), (1003, 9))
    straight(scene)
    scene.frame_set(1002)
    curves = {"amount": "1001:0.2,1003:2", "tint": "1001:0.6,0.5,0.4,1003:0.3,0.3,0.3", "debris": "1001:0,1003:9"}
    asked = plan_of(scene)
    assert asked.driven == () and scene.frame_current == 1002
    assert asked.request.animated == asked.request.with_dials(curves).animated and len(asked.request.animated) == 3


def test_eased_keyframes_travel_as_blender_evaluates_them(scene, dials):
    scene.frame_start, scene.frame_end = 1001, 1020
    keyed(dials, "rise", (1001, -1.0), (1020, 2.0))
    asked, shown = plan_of(scene).request, {}
    for frame in range(1001, 1021):
        scene.frame_set(frame)
        shown[frame] = dials.rise
    assert {f: asked.guide_at(f).rise for f in shown} == pytest.approx(shown, rel=1e-5)
    assert abs(asked.guide_at(1003).rise - (-1 + 3 * 2 / 19)) > 0.05  # no straight line


def test_stretched_time_stretches_the_dials_as_blender_shows_them(scene, dials, a_take):
    keyed(dials, "amount", (501, 0.5), (502, 2.5))
    straight(scene)
    scene.render.frame_map_old, scene.render.frame_map_new = 100, 200
    sent = plan_of(scene).request.dial_values()["amount"]
    for frame in (1002, 1003):
        scene.frame_set(frame)
        assert value_at(sent, frame) == pytest.approx(dials.amount) == pytest.approx({1002: 0.5, 1003: 1.5}[frame])
    request = a_take(amount="1001:0.2,1003:2")
    bpy.ops.platebridge.copy_dials()
    assert plan_of(scene).request.dial_values()["amount"] == request.dial_values()["amount"]


def test_a_muted_channel_of_a_colour_has_no_say(scene, dials):
    from blender_addon import versions

    keyed(dials, "tint", (1001, (0.6, 0.5, 0.4)), (1003, (0.2, 0.3, 0.2)))
    red = next(curve for curve in versions.curves(scene.animation_data) if curve.array_index == 0)
    red.mute = True
    dials.tint[0] = 0.9
    assert value_at(plan_of(scene).request.dial_values()["tint"], 1003) == pytest.approx((0.9, 0.3, 0.2))


def test_keyframes_of_one_value_are_no_curve(scene, dials):
    plain = plan_of(scene).request
    keyed(dials, "amount", (1001, 1.0), (1003, 1.0))
    assert plan_of(scene).request == plain


def test_a_curve_that_goes_out_of_range_is_held_where_the_dial_is(scene, dials):
    from blender_addon import versions

    keyed(dials, "amount", (1001, 0.0), (1003, 4.0))
    straight(scene)
    versions.curves(scene.animation_data)[0].keyframe_points[1].co.y = 12.0
    assert [plan_of(scene).request.guide_at(f).amount for f in (1001, 1002, 1003)] == [0.0, 4.0, 4.0]


def test_a_driver_travels_with_what_it_gives_at_each_frame(scene, dials, begin, client, step_until):
    dials.driver_add("wind").driver.expression = "frame - 1000"
    keyed(dials, "light", (1001, 1.0), (1003, 3.0))
    straight(scene)
    scene.frame_set(1002)
    asked = plan_of(scene)
    assert asked.driven == ("wind",)
    job = begin(asked)
    step_until(job, client.asked.is_set)
    assert [client.request.guide_at(f).wind for f in (1001, 1002, 1003)] == [1.0, 2.0, 3.0]
    assert [client.request.guide_at(f).light for f in (1001, 1002, 1003)] == [1.0, 2.0, 3.0]
    assert scene.frame_current == 1002


def test_a_driver_is_looked_up_also_when_no_pass_is_left_to_render(scene, dials, begin, client, step_until):
    from blender_addon import capture

    list(capture.capture(plan_of(scene)))
    driver = dials.driver_add("amount").driver
    variable = driver.variables.new()
    variable.name, variable.targets[0].id_type = "width", "CAMERA"
    variable.targets[0].id, variable.targets[0].data_path = scene.camera.data, "sensor_width"
    driver.expression = "width / 36 + 0.5 * (frame == 1003)"
    job = begin()
    step_until(job, client.asked.is_set)
    assert [client.request.guide_at(f).amount for f in (1001, 1002, 1003)] == [1.0, 1.0, 1.5]


def test_what_the_command_or_a_script_turns_wins_over_driver_and_keyframes(scene, dials):
    dials.driver_add("wind").driver.expression = "frame"
    keyed(dials, "amount", (1001, 0.2), (1003, 2.0))
    turned = plan_of(scene).turned({"wind": 3, "amount": "1.5"})
    assert turned.driven == () and turned.request.animated == ()
    assert (turned.request.guide.wind, turned.request.guide.amount) == (3.0, 1.5)


def test_a_wedge_over_a_dial_with_keyframes_or_a_driver_is_refused_in_a_sentence(scene, dials):
    keyed(dials, "amount", (1001, 0.2), (1003, 2.0))
    dials.driver_add("wind").driver.expression = "frame"
    for dial, said in (("amount", "Amount changes over the shot"), ("wind", "Wind has a driver")):
        with pytest.raises(RuntimeError, match=said):
            bpy.ops.platebridge.wedge(dial=dial, values="1, 2")
    with pytest.raises(RequestError, match="remove the driver"):
        plan_of(scene).refuse_driven(["wind"])


@pytest.mark.parametrize("name", ["seed", "quality", "start_frame", "composition", "detail"])
def test_dials_that_have_one_value_for_the_shot_take_no_keyframes(dials, name):
    with pytest.raises(TypeError, match="not animatable"):
        dials.keyframe_insert(name, frame=1001)


@pytest.fixture
def a_take(scene, tmp_path, write_exr):
    """a_take(**dials): a finished take of the shot, shown in the list and chosen."""

    def make(**turned):
        shot = tmp_path / "takes" / "shot"
        folder = shot / ("take_%04d" % (1 + len(list(shot.glob("take_*")))))
        write_exr(folder / "comp.1001.exr", np.zeros((36, 64, 3)), "RGB", True)
        request = GenerateRequest("shot", FrameRange(1001, 1003), Inputs()).with_dials(turned)
        tree = {"take_id": folder.name[-4:] * 8, "request": request.to_dict(), "seconds": {"total": 1.0}, "files": {}}
        (folder / "take.json").write_text(json.dumps(tree))
        bpy.ops.platebridge.refresh_takes()
        bpy.context.window_manager.platebridge_take = 0
        return request

    return make


def test_a_take_s_dials_come_back_as_keyframes_and_make_the_same_request(scene, dials, a_take):
    from blender_addon import versions

    keyed(dials, "density", (1001, 1.0), (1003, 5.0))
    request = a_take(amount="1001:0.2,1003:2", tint="1001:0.6,0.5,0.4,1003:0.3,0.3,0.3", seed=4)
    rows = bpy.context.window_manager.platebridge_takes
    a_take(amount="1001:0.2,1002:3,1003:2", tint="1001:0.6,0.5,0.4,1003:0.3,0.3,0.3", seed=4)
    assert rows[0].differs == "amount 0.2→3→2"
    bpy.context.window_manager.platebridge_take = 1
    assert bpy.ops.platebridge.copy_dials() == {"FINISHED"}
    again = plan_of(scene).request
    assert again.dial_values() == request.dial_values()
    scene.frame_set(1003)
    assert dials.density == pytest.approx(1.0) and dials.amount == pytest.approx(2.0)  # its own keyframes are gone
    assert {c.data_path for c in versions.curves(scene.animation_data)} == {"platebridge.dials.amount", "platebridge.dials.tint"}


def test_a_dial_that_a_driver_holds_stays_when_dials_are_copied_and_that_is_said(scene, dials, a_take, capfd):
    dials.driver_add("wind").driver.expression = "7"
    a_take(wind=2.0, amount=1.5)
    bpy.ops.platebridge.copy_dials()
    scene.frame_set(1002)
    assert dials.wind == 7.0 and dials.amount == 1.5
