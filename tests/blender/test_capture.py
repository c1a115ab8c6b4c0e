# SPDX-License-Identifier: GPL-3.0-or-later
"""Capture: what the passes hold, by number, and that the scene is as it was afterwards."""

from __future__ import annotations

import dataclasses
import json

import bpy
import numpy as np
import pytest
from platebridge.errors import InputError, RequestError, StorageError


@pytest.fixture
def captured(plan_of):
    """The captured plan of the tiny scene."""
    from blender_addon import capture

    plan = plan_of()
    list(capture.capture(plan))
    return plan


def test_depth_is_metres_along_the_axis(captured, read_exr):
    depth = read_exr(captured.sources["depth"].files[1002])["Z"]
    assert depth.dtype == np.float32
    assert depth[18, 32] == pytest.approx(7.0, abs=1e-5)  # the cube's face: 8 m less half its 2 m
    assert depth[1, 1] == pytest.approx(13.0, abs=1e-4)  # the wall, at the corner too: the axis, not the ray


def test_vectors_are_previous_less_current_and_current_less_next(captured, read_exr):
    vectors = read_exr(captured.sources["vectors"].files[1002])
    a_frame = 0.5 / 7.0 * 50 / 36 * 64  # 0.5 m at 7 m, through 50 mm on 36 mm over 64 pixels
    assert vectors["X"][18, 32] == pytest.approx(-a_frame, rel=1e-3)
    assert vectors["Z"][18, 32] == pytest.approx(-a_frame, rel=1e-3)
    assert abs(vectors["Y"][18, 32]) < 1e-4 and abs(vectors["W"][18, 32]) < 1e-4
    assert vectors["X"][1, 1] == 0


def test_mask_is_the_collection_s_coverage(captured, scene, read_exr, tmp_path):
    mask = read_exr(captured.sources["mask"].files[1002])["Y"]
    scene.frame_set(1002)
    for layer_collection in bpy.context.view_layer.layer_collection.children:
        layer_collection.holdout = True
    for thing in scene.collection.objects:  # the same cube stands in the scene's own collection too
        if thing.name in bpy.data.collections["Pieces"].objects:
            scene.collection.objects.unlink(thing)
    scene.render.film_transparent = True
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "OPEN_EXR", "RGBA"
    scene.render.image_settings.color_depth = "32"
    scene.render.filepath = str(tmp_path / "holdout.exr")
    bpy.ops.render.render(write_still=True)
    holdout = 1 - read_exr(tmp_path / "holdout.exr")["A"]
    assert np.abs(mask - holdout).max() < 1e-3  # a half float's step
    assert 0 < mask.mean() < 1 and mask.max() == 1


def test_plate_is_the_render_in_half(captured, scene, read_exr, tmp_path):
    plate = read_exr(captured.sources["plate"].files[1002])
    scene.frame_set(1002)
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
    scene.render.filepath = str(tmp_path / "beauty.exr")
    bpy.ops.render.render(write_still=True)
    beauty = read_exr(tmp_path / "beauty.exr")
    for name in "RGB":
        assert np.array_equal(plate[name], beauty[name].astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("fit", "width", "height"), [("AUTO", 64, 36), ("AUTO", 36, 64), ("HORIZONTAL", 36, 64), ("VERTICAL", 64, 36)])
def test_camera_puts_world_points_where_blender_sees_them(scene, fit, width, height):
    from bpy_extras.object_utils import world_to_camera_view

    from blender_addon import scene_camera

    lens = scene.camera.data
    lens.sensor_fit, lens.shift_x, lens.shift_y, lens.lens, lens.sensor_height = fit, 0.11, -0.07, 28, 20
    scene.camera.rotation_euler = (1.3, 0.1, 0.4)
    scene.camera.scale = (2, 2, 2)  # a camera's scale changes nothing
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 2 * width, 2 * height, 50
    bpy.context.view_layer.update()
    camera = scene_camera.assemble([scene_camera.camera_at(scene, bpy.context.evaluated_depsgraph_get(), 1001)])
    to_world = np.array(camera.frames[0].camera_to_world)
    assert np.allclose(to_world[:3, :3] @ to_world[:3, :3].T, np.eye(3), atol=1e-6)
    for point in ((0.3, 0.1, 0.2), (-1, 2, 1.5), (0.7, -3, -0.4)):
        seen = world_to_camera_view(scene, scene.camera, __import__("mathutils").Vector(point))
        x, y, z, _ = np.linalg.inv(to_world) @ (*point, 1)
        focal_px = camera.frames[0].focal_mm / camera.sensor_width_mm * width
        px, py = camera.frames[0].principal_px
        assert px + focal_px * x / -z == pytest.approx(seen.x * width, abs=1e-3)
        assert py - focal_px * y / -z == pytest.approx((1 - seen.y) * height, abs=1e-3)


def test_camera_json_can_be_read_by_the_command(captured):
    from platebridge.request import camera_from_dict

    camera = camera_from_dict(json.loads((captured.folder / "camera.json").read_text()))
    assert [item.frame for item in camera.frames] == [1001, 1002, 1003]
    assert (camera.focal_mm, camera.sensor_width_mm) == (50, 36)
    assert camera.frames[0].camera_to_world[1][3] == -8


def test_equal_pictures_are_equal_bytes(tmp_path, write_exr):
    """No date in the header: a still plate is sent once, not once a frame."""
    import OpenImageIO

    path = write_exr(tmp_path / "a.exr", np.zeros((4, 4, 1)), "Z")
    assert "DateTime" not in [attribute.name for attribute in OpenImageIO.ImageBuf(str(path)).spec().extra_attribs]


def test_camera_is_read_anew_where_nothing_is_rendered(scene, plan_of, write_exr, tmp_path):
    from blender_addon import capture
    from blender_addon.captured import captured_camera

    settings = scene.platebridge
    settings.plate_source = settings.depth_source = settings.mask_source = "FILES"
    settings.vectors_source = "NONE"
    still = str(write_exr(tmp_path / "still.exr", np.zeros((4, 4, 1)), "Z"))
    settings.plate_files = settings.depth_files = settings.mask_files = still
    list(capture.capture(plan_of()))
    scene.camera.location.x = 3
    list(capture.capture(plan_of()))
    assert captured_camera(plan_of())().frames[2].camera_to_world[0][3] == 3


def test_scene_units_are_turned_into_metres(scene, plan_of):
    from blender_addon import capture
    from blender_addon.captured import captured_camera

    scene.unit_settings.scale_length = 0.5
    plan = plan_of()
    list(capture.capture(plan))
    assert captured_camera(plan)().frames[0].camera_to_world[1][3] == -4
    assert plan.request.settings.depth_scale == 0.5


def everything(scene):
    """Every setting that a render has."""
    out = {}
    owners = {"render": scene.render, "image": scene.render.image_settings, "colour": scene.sequencer_colorspace_settings}
    owners.update(("layer %s" % layer.name, layer) for layer in scene.view_layers)
    for name, owner in owners.items():
        for prop in owner.bl_rna.properties:
            if not prop.is_readonly and prop.type not in ("POINTER", "COLLECTION"):
                value = getattr(owner, prop.identifier)
                out[name, prop.identifier] = tuple(value) if getattr(prop, "is_array", False) else value
    return {**out, "frame": scene.frame_current, "window": bpy.context.window.scene.name}


def test_scene_is_as_it_was(scene, plan_of):
    from blender_addon import capture

    scene.frame_set(7)
    scene.render.filepath = "//mine_"
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "PNG", "16"
    other = scene.view_layers.new("Other")
    before = everything(scene)
    list(capture.capture(plan_of()))
    assert everything(scene) == before and other.use


def test_scene_is_as_it_was_after_an_error_and_after_a_cancel(scene, plan_of, monkeypatch):
    from blender_addon import capture, passes

    before = everything(scene)
    steps = capture.capture(plan_of())
    next(steps)
    next(steps)
    between = everything(scene)
    assert between.pop("frame") == 1001  # an unbaked simulation can't be jumped back into
    assert between.items() <= before.items()
    steps.close()
    assert everything(scene) == before

    def broken(*_, **__):
        raise StorageError("No room.")

    monkeypatch.setattr(passes, "write_exr", broken)
    with pytest.raises(StorageError):
        list(capture.capture(plan_of()))
    assert everything(scene) == before


def test_capture_goes_on_where_it_was_broken_off(scene, plan_of):
    from blender_addon import capture

    steps = capture.capture(plan_of())
    assert [next(steps), next(steps)] == [(0, 3), (1, 3)]
    steps.close()
    first = plan_of().sources["depth"].files[1001].stat().st_mtime_ns
    assert list(capture.capture(plan_of()))[-1] == (3, 3)  # the first frame for its camera alone
    assert plan_of().sources["depth"].files[1001].stat().st_mtime_ns == first
    assert list(capture.capture(plan_of())) == []


def test_other_settings_are_captured_again(captured, scene, plan_of, read_exr):
    from blender_addon import capture

    scene.render.resolution_x = 48
    plan = plan_of()
    assert list(capture.capture(plan))[-1] == (3, 3)
    assert read_exr(plan.sources["plate"].files[1003])["R"].shape == (36, 48)


def test_what_changes_one_input_renders_that_one_again(captured, scene, plan_of):
    from blender_addon import capture

    plate = captured.sources["plate"].files[1002]
    before = plate.stat().st_mtime_ns
    bpy.data.collections["Pieces"].objects.link(next(thing for thing in scene.objects if thing.name.startswith("Plane")))
    scene.name = "Renamed"
    assert [which for which, now in plan_of().fingerprints.items() if now != captured.fingerprints[which]] == ["mask"]
    assert list(capture.capture(plan_of()))[-1] == (3, 3)
    assert plate.stat().st_mtime_ns == before
    scene.render.film_transparent = True  # a plate with alpha, and the mask is not rendered again
    assert list(capture.capture(plan_of()))[-1] == (3, 3)
    scene.platebridge.vectors_source = "NONE"
    assert list(capture.capture(plan_of())) == []
    scene.platebridge.vectors_source = "RENDER"
    assert list(capture.capture(plan_of())) == []


def test_capture_killed_between_file_and_record_is_no_stranger_to_itself(scene, plan_of, monkeypatch):
    from blender_addon import capture, captured

    monkeypatch.setattr(captured.Record, "add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        list(capture.capture(plan_of()))
    monkeypatch.undo()
    assert plan_of().sources["plate"].files[1001].is_file()
    assert list(capture.capture(plan_of()))[-1] == (3, 3)


def test_files_of_others_are_never_written_over(scene, plan_of):
    from blender_addon import capture

    mine = plan_of().sources["plate"].files[1002]
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"plate\.1002\.exr"):
        list(capture.capture(plan_of()))
    assert mine.read_bytes() == b"mine"


def test_exr_strip_is_taken_as_it_is(scene, plan_of, write_exr, tmp_path):
    files = {frame: write_exr(tmp_path / "p" / ("p.%d.exr" % frame), np.full((36, 64, 3), frame), "RGB") for frame in range(1001, 1004)}
    strips = scene.sequence_editor_create().strips
    strip = strips.new_image("Plate", str(files[1001]), 1, 1001)
    for frame in (1002, 1003):
        strip.elements.append(files[frame].name)
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Plate"
    assert plan_of().sources["plate"].how == "files"
    assert plan_of().sources["plate"].files == files


def test_trimmed_strip_and_held_still_give_the_files_that_are_seen(scene, plan_of, write_exr, tmp_path):
    files = [write_exr(tmp_path / "p" / ("p.%d.exr" % number), np.zeros((36, 64, 3)), "RGB") for number in range(10)]
    strips = scene.sequence_editor_create().strips
    strip = strips.new_image("Plate", str(files[0]), 1, 999)
    for path in files[1:]:
        strip.elements.append(path.name)
    strip.frame_final_start = 1001
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Plate"
    assert list(plan_of().sources["plate"].files.values()) == files[2:5]
    still = strips.new_image("Still", str(files[7]), 2, 1001)
    still.frame_final_end = 1004
    scene.platebridge.plate_strip = "Still"
    assert list(plan_of().sources["plate"].files.values()) == [files[7]] * 3


@pytest.mark.parametrize("which", ["depth", "mask"])
def test_depth_and_mask_from_a_strip_are_its_own_files(scene, plan_of, write_exr, tmp_path, which):
    from platebridge.errors import InputError

    files = {f: write_exr(tmp_path / "s" / ("s.%d.exr" % f), np.ones((36, 64, 1)), ["Z"]) for f in (1001, 1002, 1003)}
    strip = scene.sequence_editor_create().strips.new_image("Pass", str(files[1001]), 1, 1001)
    settings = scene.platebridge
    setattr(settings, which + "_source", "STRIP")
    with pytest.raises(InputError, match="No %s strip is chosen" % which):
        plan_of()
    setattr(settings, which + "_strip", "Pass")
    with pytest.raises(InputError, match="Pass holds frames 1001-1001, and 1001-1003 are asked for"):
        plan_of()
    for frame in (1002, 1003):
        strip.elements.append(files[frame].name)
    settings.depth_kind = "inverse"
    plan = plan_of()
    assert plan.sources[which].files == files and plan.sources[which].how == "files"
    assert plan.request.settings.depth_kind == ("inverse" if which == "depth" else "z")
    strip.color_multiply = 2
    if which == "mask":
        assert plan_of().sources[which].how == "strip"  # what the sequencer shows is a mask as well
        return
    with pytest.raises(InputError, match="Pass is not EXR files shown as they are"):
        plan_of()


def test_graded_strip_comes_through_the_sequencer(scene, plan_of, write_exr, read_exr, tmp_path):
    from blender_addon import capture

    path = write_exr(tmp_path / "p.exr", np.full((36, 64, 3), (3.0, 0.25, -0.5)), "RGB")
    strips = scene.sequence_editor_create().strips
    strip = strips.new_image("Plate", str(path), 1, 1001)
    for _ in range(2):
        strip.elements.append(path.name)
    strip.color_multiply = 2
    strips.new_effect("Cover", "COLOR", 2, frame_start=1001, frame_end=1004)
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Plate"
    plan = plan_of()
    assert plan.sources["plate"].how == "strip"
    list(capture.capture(plan))
    plate = read_exr(plan.sources["plate"].files[1002])
    assert [plate[name][18, 32] for name in "RGB"] == [6.0, 0.5, -1.0]
    assert [plan.sources["plate"].files[f].read_bytes() for f in (1001, 1003)] == [plan.sources["plate"].files[1002].read_bytes()] * 2
    assert [other.mute for other in strips] == [False, False]


def test_8_bit_picture_is_linear_afterwards(scene, plan_of, read_exr, tmp_path):
    import OpenImageIO

    from blender_addon import capture

    image = OpenImageIO.ImageBuf(OpenImageIO.ImageSpec(64, 36, 3, OpenImageIO.UINT8))
    OpenImageIO.ImageBufAlgo.fill(image, (0.5, 0.5, 0.5))
    assert image.write(str(tmp_path / "still.png"))
    level = float(image.getpixel(3, 3)[0])
    scene.frame_end = 1001
    scene.sequence_editor_create().strips.new_image("Still", str(tmp_path / "still.png"), 1, 1001)
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Still"
    plan = plan_of()
    list(capture.capture(plan))
    assert read_exr(plan.sources["plate"].files[1001])["G"][18, 32] == pytest.approx(((level + 0.055) / 1.055) ** 2.4, rel=2e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: setattr(s, "camera", None), "camera: The scene has no camera. Add one"),
        (lambda s: setattr(s.platebridge, "mask_collection", None), "mask: No mask is chosen."),
        (
            lambda s: setattr(s.platebridge, "mask_collection", bpy.data.collections.new("Empty")),
            "mask: The collection Empty has no object",
        ),
        (lambda s: setattr(s.platebridge, "plate_source", "STRIP"), "plate: No plate strip is chosen."),
        (lambda s: setattr(s.platebridge, "depth_source", "FILES"), "depth: No files are named."),
        (
            lambda s: (setattr(s.platebridge, "mask_source", "FILES"), setattr(s.platebridge, "mask_files", "/none/m.####.exr")),
            "mask frame 1001: 3 of 3 files are missing",
        ),
        (
            lambda s: (setattr(s.platebridge, "plate_source", "FILES"), setattr(s.platebridge, "plate_files", "//p.####.exr")),
            "plate: //p.####.exr is beside the .blend, and it was never saved.",
        ),
        (lambda s: setattr(s.render, "use_motion_blur", True), "vectors: Motion blur is on"),
        (lambda s: setattr(s.platebridge, "take_root", "//takes"), "The takes go beside the .blend, and it was never saved."),
        (lambda s: setattr(s.platebridge, "take_root", "P:\\takes"), "P:\\takes is no place on this machine. Choose it under Takes"),
        (lambda s: setattr(s.platebridge, "take_root", "takes"), "The takes' folder takes is no place on this machine."),
        (lambda s: setattr(s.platebridge, "shot", "a/b"), "can't name a shot"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence_before_any_work(scene, plan_of, change, says, tmp_path):
    change(scene)
    with pytest.raises((InputError, RequestError)) as told:
        plan_of()
    assert says in str(told.value) and not (tmp_path / "takes").exists()


def test_mask_that_the_camera_never_sees(scene, plan_of):
    from blender_addon import capture

    for thing in bpy.data.collections["Pieces"].objects:
        thing.animation_data_clear()
        thing.location = (0, -40, 0)
    with pytest.raises(InputError, match="sees nothing of the collection Pieces"):
        list(capture.capture(plan_of()))


def test_range_outside_the_strip(scene, plan_of, write_exr, tmp_path):
    path = write_exr(tmp_path / "p.exr", np.zeros((36, 64, 3)), "RGB")
    scene.sequence_editor_create().strips.new_image("Short", str(path), 1, 1001)
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Short"
    with pytest.raises(InputError, match="Short holds frames 1001-1001, and 1001-1003 are asked for"):
        plan_of()


def test_unbaked_simulation_is_stepped_through_from_its_start(scene, plan_of, read_exr):
    """A ball that falls from frame 991 on is where gravity has brought it, though the shot begins at 1001; and again after a break."""
    from blender_addon import capture, simulation

    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.5, location=(2, 0, 3))
    ball = bpy.context.object
    bpy.ops.rigidbody.world_add()
    bpy.ops.rigidbody.object_add()
    scene.rigidbody_world.point_cache.frame_start, scene.rigidbody_world.point_cache.frame_end = 991, 1010
    assert simulation.frames_to_visit(scene, [1002, 1003]) == list(range(991, 1004))
    seen = {}
    for _ in capture.capture(plan_of()):
        seen[scene.frame_current] = ball.matrix_world.translation.z
    seconds = 12 / 24
    assert seen[1003] == pytest.approx(3 - 9.81 * seconds**2 / 2, abs=0.12)  # Bullet's steps are coarser than the formula
    assert seen[1001] > seen[1002] > seen[1003]


def test_baked_scene_is_not_stepped_through(scene):
    from blender_addon import simulation

    assert simulation.frames_to_visit(scene, [1002, 1003]) == [1002, 1003]


def test_the_artist_s_last_render_is_still_there_after_a_capture(scene, plan_of, read_exr, tmp_path):
    from blender_addon import capture

    scene.render.image_settings.file_format = "OPEN_EXR"

    def last_render(name):
        result = next(image for image in bpy.data.images if image.type == "RENDER_RESULT")
        result.save_render(str(tmp_path / name), scene=scene)
        return read_exr(tmp_path / name)["R"], result.render_slots

    scene.frame_end = 1001
    scene.frame_set(1001)
    bpy.ops.render.render()
    before, _ = last_render("before.exr")
    bpy.data.lights[0].energy = 0
    for _ in range(2):
        list(capture.capture(dataclasses.replace(plan_of(), recapture=True)))
    after, slots = last_render("after.exr")
    assert before.max() > 0 and np.array_equal(before, after)
    assert slots.active_index == 0 and [slot.name for slot in slots].count("Platebridge") == 1


def test_a_resolution_that_is_changed_meanwhile_is_said_and_spoils_no_frame(scene, plan_of, read_exr):
    from blender_addon import capture

    with pytest.raises(InputError, match="frame 1002: The resolution was changed while the passes were rendered"):
        for done, _ in capture.capture(plan_of()):
            scene.render.resolution_percentage = 50 if done else 100
    scene.render.resolution_percentage = 100
    plan = plan_of()
    first = plan.sources["depth"].files[1001]
    written = first.stat().st_mtime_ns
    list(capture.capture(plan))
    assert first.stat().st_mtime_ns == written  # it is good, and stays
    assert {read_exr(path)["Z"].shape for path in plan.sources["depth"].files.values()} == {(36, 64)}


def test_the_window_shows_its_view_layer_again_after_another_scene_was_rendered(scene):
    from blender_addon.rendering import in_window

    window, other = bpy.context.window_manager.windows[0], bpy.data.scenes.new("Other")
    window.view_layer = scene.view_layers.new("Dust")
    with in_window(other):
        assert (window.scene, window.view_layer) == (other, other.view_layers[0])
    assert (window.scene, window.view_layer.name) == (scene, "Dust")


def test_unbaked_simulation_zone_is_stepped_through_from_the_scene_s_first_frame(scene):
    """Nested in another group, as most are."""
    from blender_addon import simulation

    zone, tree = (bpy.data.node_groups.new(name, "GeometryNodeTree") for name in ("Zone", "Tree"))
    begin, end = zone.nodes.new("GeometryNodeSimulationInput"), zone.nodes.new("GeometryNodeSimulationOutput")
    begin.pair_with_output(end)
    tree.nodes.new("GeometryNodeGroup").node_tree = zone
    modifier = bpy.data.collections["Pieces"].objects[0].modifiers.new("Dust", "NODES")
    modifier.node_group = tree
    assert simulation.frames_to_visit(scene, [1003]) == [1001, 1002, 1003]
    modifier.bakes[0].use_custom_simulation_frame_range, modifier.bakes[0].frame_start = True, 999
    assert simulation.frames_to_visit(scene, [1003]) == [999, 1000, 1001, 1002, 1003]


@pytest.fixture
def brightened(scene, write_exr, tmp_path):
    """A plate strip of 0.1 that is doubled, so the sequencer must render it; the scene is one frame long."""
    from blender_addon import versions

    path = write_exr(tmp_path / "p.exr", np.full((36, 64, 3), 0.1), "RGB")
    strip = scene.sequence_editor_create().strips.new_image("Plate", str(path), 3, 1001)
    strip.color_multiply, strip.colorspace_settings.name = 2, versions.linear_space(bpy.data)
    scene.platebridge.plate_source, scene.platebridge.plate_strip, scene.frame_end = "STRIP", "Plate", 1001
    return strip


def burn_in_metadata(scene):
    scene.render.use_stamp, scene.render.stamp_font_size = True, 12


def mute_its_channel(scene):
    scene.sequence_editor.channels[3].mute = True


@pytest.mark.parametrize("change", [burn_in_metadata, mute_its_channel])
def test_strip_is_captured_as_it_looks_whatever_the_output_and_channels_are_set_to(scene, brightened, plan_of, read_exr, change):
    from blender_addon import capture

    change(scene)
    plan = plan_of()
    list(capture.capture(plan))
    plate = read_exr(plan.sources["plate"].files[1001])["G"]
    assert plate.min() == plate.max() == pytest.approx(0.2, abs=1e-6)
    assert scene.render.use_stamp == (change is burn_in_metadata)
    assert scene.sequence_editor.channels[3].mute == (change is mute_its_channel)


def test_edit_is_rendered_without_metadata_burnt_in(scene, brightened, read_exr, tmp_path):
    from platebridge.frames import FrameRange

    from blender_addon.edit import render_edit

    burn_in_metadata(scene)
    [(_, file)] = render_edit(scene, tmp_path / "edit.####.exr", FrameRange(1001, 1001))
    edit = read_exr(file)["G"]
    assert edit.min() == edit.max()


def test_open_meta_strip_is_said_before_any_work(scene, brightened, plan_of, tmp_path):
    editor = scene.sequence_editor
    editor.display_stack(editor.strips.new_meta("Meta", 7, 1001))
    with pytest.raises(InputError, match=r"plate: A meta strip is open\. Leave it \(Tab\) and press again"):
        plan_of()
    assert not (tmp_path / "takes").exists()


@pytest.mark.parametrize("name", ['Wall 12"', "a\\b", '"', "Häuser, Süd"])
def test_objects_may_be_called_anything(scene, plan_of, read_exr, name):
    from blender_addon import capture

    bpy.data.collections["Pieces"].objects[0].name = name
    scene.frame_end = 1001
    plan = plan_of()
    list(capture.capture(plan))
    assert read_exr(plan.sources["mask"].files[1001])["Y"].sum() > 100


@pytest.mark.parametrize(("length", "told"), [(47, ""), (48, "is too long"), (50, "is too long"), (63, "is too long")])
def test_a_view_layer_s_name_that_4_5_shortens_in_files_is_said(scene, plan_of, read_exr, length, told):
    """An EXR of 4.5 keeps 64 letters of a channel's name: of one layer's channels the last then lies on the others."""
    from blender_addon import capture

    bpy.context.view_layer.name = "x" * length
    scene.frame_end = 1001
    plan = plan_of()
    if told and bpy.app.version < (5, 0):
        with pytest.raises(InputError, match="x %s: .* at most 47 letters" % told):
            list(capture.capture(plan))
    else:
        list(capture.capture(plan))
        assert read_exr(plan.sources["mask"].files[1001])["Y"].sum() > 100


def test_manifest_that_escapes_names_is_read_too(monkeypatch):
    """EEVEE's does."""
    from blender_addon import passes

    channels = {"L.CryptoObject00.%s" % part: np.ones((1, 1), np.float32) for part in "rgba"}
    header = {"cryptomatte/1/name": "L.CryptoObject", "cryptomatte/1/manifest": '{"a\\\\b 12\\"":"3f800000"}'}
    assert passes.cryptomatte_coverage(channels, header, "L", ['a\\b 12"']).item() == 1


@pytest.fixture
def instance(scene):
    """The cube stands in the collection Asset, in no scene; the mask holds an Empty that shows Asset."""
    asset, pieces = bpy.data.collections.new("Asset"), bpy.data.collections["Pieces"]
    cube = pieces.objects[0]
    asset.objects.link(cube)
    for collection in (pieces, scene.collection):
        if cube.name in collection.objects:
            collection.objects.unlink(cube)
    shown = bpy.data.objects.new("Building", None)
    shown.instance_type, shown.instance_collection = "COLLECTION", asset
    pieces.objects.link(shown)
    return shown


def test_collection_instance_in_the_mask_is_masked(scene, instance, plan_of, read_exr):
    from blender_addon import capture

    scene.frame_end = 1001
    plan = plan_of()
    list(capture.capture(plan))
    mask = read_exr(plan.sources["mask"].files[1001])["Y"]
    assert mask[18, 32] == 1 and mask[1, 1] == 0


def test_instance_whose_objects_stand_outside_the_mask_too_is_refused(scene, instance, plan_of):
    neighbour = instance.copy()
    street = bpy.data.collections.new("Street")
    scene.collection.children.link(street)
    street.objects.link(neighbour)
    with pytest.raises(InputError, match=r"mask: Cube stands in the mask as a collection instance, and outside .* Make the instance real"):
        plan_of()
    bpy.context.view_layer.layer_collection.children["Street"].exclude = True  # as assets' own collections are
    assert plan_of().mask_objects == ("Building", "Cube")
