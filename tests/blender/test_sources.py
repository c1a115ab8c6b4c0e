# SPDX-License-Identifier: GPL-3.0-or-later
"""Where plate and mask come from beside renders and files: movie clips, scene strips, masks drawn in Blender. By number."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from capturing import capture
from platebridge.errors import InputError

FRAMES = (1001, 1002, 1003)


def picture(frame, size=(64, 36)):
    pixels = np.random.default_rng(frame).uniform(-1, 9, (size[1], size[0], 3)).astype(np.float16).astype(np.float32)
    pixels[0, 0] = 60000
    return pixels


@pytest.fixture
def clip(scene, write_exr, tmp_path):
    """An EXR sequence of its own numbers 87 to 92 as a clip that starts at 1000; the scene's plate."""
    for number in range(87, 93):
        write_exr(tmp_path / "shot" / ("a7_v02.%04d.exr" % number), picture(number), "RGB", half=True)
    clip = bpy.data.movieclips.load(str(tmp_path / "shot" / "a7_v02.0087.exr"))
    clip.frame_start = 1000
    scene.platebridge.plate_source, scene.platebridge.plate_clip = "CLIP", clip
    return clip


def test_exr_clip_is_its_own_files_at_the_frames_that_blender_shows(scene, clip, plan_of, tmp_path):
    from blender_addon import through_nodes

    for start, offset in ((1000, 0), (1001, 0), (1001, 2), (999, 1)):
        clip.frame_start, clip.frame_offset = start, offset
        plate = plan_of().sources["plate"]
        assert plate.how == "files"
        for frame in FRAMES:
            scene.frame_set(frame)
            seen = through_nodes.clip_picture(clip, (64, 36))
            number = int(plate.files[frame].name.split(".")[1])
            assert np.array_equal(seen, picture(number)), (start, offset, frame)


def test_clip_of_another_size_is_scaled_to_the_scene(scene, clip, plan_of, read_exr):
    scene.render.resolution_percentage = 50
    plan = plan_of()
    assert plan.sources["plate"].how == "clip"
    capture(plan)
    plate = read_exr(plan.sources["plate"].files[1002])
    quarters = picture(89).reshape(18, 2, 32, 2, 3).mean((1, 3))
    assert plate["G"].shape == (18, 32) and np.abs(plate["G"][1:] - quarters[1:, :, 1]).max() < 1e-4


def test_8_bit_clip_is_what_was_stored_through_its_colour_space(scene, plan_of, read_exr, tmp_path):
    import OpenImageIO

    levels = {}
    for number in (1, 2, 3):
        stored = np.random.default_rng(number).integers(0, 256, (36, 64, 3)).astype(np.uint8)
        image = OpenImageIO.ImageBuf(OpenImageIO.ImageSpec(64, 36, 3, "uint8"))
        image.set_pixels(OpenImageIO.ROI.All, stored)
        assert image.write(str(tmp_path / ("still_%d.png" % number)))
        code = stored / 255
        levels[1000 + number] = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    clip = bpy.data.movieclips.load(str(tmp_path / "still_1.png"))
    clip.frame_start = 1001
    scene.platebridge.plate_source, scene.platebridge.plate_clip = "CLIP", clip
    plan = plan_of()
    assert plan.sources["plate"].how == "clip" and clip.colorspace_settings.name == "sRGB"
    capture(plan)
    for frame in FRAMES:
        plate = read_exr(plan.sources["plate"].files[frame])
        assert np.abs(np.stack([plate[c] for c in "RGB"], -1) - levels[frame]).max() < 4e-5


def test_10_bit_movie_keeps_its_levels_as_a_clip_and_as_a_strip(scene, plan_of, read_exr, tmp_path):
    av = pytest.importorskip("av")
    ramp = np.linspace(0, 65535, 64 * 36).round().astype(np.uint16).reshape(36, 64)
    with av.open(str(tmp_path / "film.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "gbrp10le"
        for number in range(4):
            ramp[0] = number * 2570
            frame = av.VideoFrame.from_ndarray(np.repeat(ramp[..., None], 3, -1), format="rgb48le").reformat(format="gbrp10le")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    clip = bpy.data.movieclips.load(str(tmp_path / "film.mkv"))
    clip.frame_start = 1000
    settings = scene.platebridge
    settings.plate_source, settings.plate_clip = "CLIP", clip
    plan = plan_of()
    capture(plan)
    by_clip = read_exr(plan.sources["plate"].files[1002])["G"]
    code = ramp / 65535
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    assert np.abs(by_clip - linear)[1:].max() < 2.6 / 1023  # half a step of ten bits, where the curve is steepest, and ffmpeg's rounding
    assert len(np.unique(by_clip[1:])) > 900
    second = 2 * 2570 / 65535
    assert by_clip[0, 0] == pytest.approx(second / 12.92 if second <= 0.04045 else ((second + 0.055) / 1.055) ** 2.4, rel=0.02)
    scene.sequence_editor_create().strips.new_movie("Film", str(tmp_path / "film.mkv"), 1, 1000)
    settings.plate_source, settings.plate_strip = "STRIP", "Film"
    plan = plan_of()
    assert plan.sources["plate"].how == "strip"
    capture(plan)
    assert np.array_equal(read_exr(plan.sources["plate"].files[1002])["G"], by_clip)


def test_what_is_wrong_with_a_clip_is_said(scene, clip, plan_of, tmp_path):
    clip.frame_start = 1002
    with pytest.raises(InputError, match=r"a7_v02\.0087\.exr holds frames 1002-1007, and 1001-1003 are asked for"):
        plan_of()
    clip.frame_start = 1001
    (tmp_path / "shot" / "a7_v02.0088.exr").unlink()
    with pytest.raises(InputError, match="plate frame 1002: 1 of 3 files are missing"):
        plan_of()
    scene.platebridge.plate_clip = None
    with pytest.raises(InputError, match="No movie clip is chosen"):
        plan_of()


def test_lens_distortion_is_said_in_pixels(scene, clip, plan_of):
    assert plan_of().notes == ()
    lens = clip.tracking.camera
    lens.sensor_width, lens.focal_length, lens.k1 = 36, 36, -0.1
    radius = np.hypot(32, 18) / 64
    assert "by %.1f pixels at the corner" % (0.1 * radius**3 * 64) in plan_of().notes[0]
    lens.k1 = -1e-4
    assert plan_of().notes == ()


def test_scene_strip_is_that_scene_s_render(scene, plan_of, read_exr, tmp_path):
    other = bpy.data.scenes.new("Other")
    other.render.engine, other.cycles.samples, other.cycles.use_denoising = "CYCLES", 2, False
    other.render.resolution_x, other.render.resolution_y = 64, 36  # a strip shows the scene at its own size
    for thing in scene.objects:
        other.collection.objects.link(thing)
        if thing.type == "MESH":  # nothing but light of its own: 5 for the cube, 0.25 for the wall, and no noise
            glow = bpy.data.materials.new(thing.name)
            glow.use_nodes = True
            glow.node_tree.nodes.clear()
            emit, out = glow.node_tree.nodes.new("ShaderNodeEmission"), glow.node_tree.nodes.new("ShaderNodeOutputMaterial")
            emit.inputs["Color"].default_value = (1, 1, 1, 1)
            emit.inputs["Strength"].default_value = 5 if thing.name.startswith("Cube") else 0.25
            glow.node_tree.links.new(emit.outputs[0], out.inputs["Surface"])
            thing.data.materials.append(glow)
    strips = scene.sequence_editor_create().strips
    strip = strips.new_scene("Street", other, 1, 1001)
    strip.frame_final_end = 1004
    settings = scene.platebridge
    settings.plate_source, settings.plate_strip = "STRIP", "Street"
    with pytest.raises(InputError, match="The scene Other, which the strip Street shows, has no camera"):
        plan_of()
    other.camera = scene.camera
    other.frame_start, other.frame_end = 1001, 1003
    plan = plan_of()
    capture(plan)
    plate = read_exr(plan.sources["plate"].files[1002])
    settings.plate_source, settings.shot = "RENDER", "direct"
    plan = plan_of()
    capture(plan)
    direct = read_exr(plan.sources["plate"].files[1002])
    assert plate["R"].max() == 5.0
    same = np.abs(plate["R"] - direct["R"]) < 1e-3  # Cycles takes other samples inside a strip: the edges' pixels differ
    assert same.mean() > 0.94 and same[18, 32]


def test_strip_that_is_larger_than_the_scene_comes_through_the_sequencer(scene, plan_of, write_exr, tmp_path):
    files = [write_exr(tmp_path / "p" / ("p.%d.exr" % frame), picture(frame), "RGB", half=True) for frame in FRAMES]
    strip = scene.sequence_editor_create().strips.new_image("Plate", str(files[0]), 1, 1001)
    for path in files[1:]:
        strip.elements.append(path.name)
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Plate"
    assert plan_of().sources["plate"].how == "files"
    scene.render.resolution_percentage = 50
    assert plan_of().sources["plate"].how == "strip"


# --- a mask that was drawn -----------------------------------------------------------------------------------------------------


def at(x, y, size=(64, 36)):
    """Pixels, y down, as a mask's own coordinates: the longer side is 1, the middle is the middle."""
    longer = max(size)
    return (x - size[0] / 2) / longer + 0.5, (size[1] / 2 - y) / longer + 0.5


def draw(spline, corners):
    for point, corner in zip(spline.points, corners):
        point.handle_type = "FREE"
        point.co = point.handle_left = point.handle_right = corner


@pytest.fixture
def drawn(scene):
    """A rectangle with corners (10.5, 10.25) and (30.25, 25.75) in pixels; the scene's mask."""
    mask = bpy.data.masks.new("Roto")
    spline = mask.layers.new(name="House").splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    draw(spline, [at(10.5, 10.25), at(30.25, 10.25), at(30.25, 25.75), at(10.5, 25.75)])
    settings = scene.platebridge
    settings.mask_source, settings.mask_datablock, settings.vectors_source = "MASK", mask, "NONE"
    return mask


def covered(left, top, right, bottom):
    """Exact coverage of pixels by a rectangle."""
    columns = np.clip(right - np.arange(64), 0, 1) - np.clip(left - np.arange(64), 0, 1)
    rows = np.clip(bottom - np.arange(36), 0, 1) - np.clip(top - np.arange(36), 0, 1)
    return rows[:, None] * columns


def test_drawn_mask_is_exact_and_anti_aliased_at_the_plate_s_size(drawn, plan_of, read_exr):
    plan = plan_of()
    assert plan.sources["mask"].how == "mask"
    capture(plan)
    mask = read_exr(plan.sources["mask"].files[1002])["Y"]
    want = covered(10.5, 10.25, 30.25, 25.75)
    assert np.abs(mask - want).max() < 0.13  # Blender's rasteriser adds up to a sample's width around, an eighth of a pixel here
    assert 0 <= mask.sum() - want.sum() < 72 / 8
    assert (mask[12:25, 12:29] == 1).all() and (mask[:10] == 0).all()
    assert not [scene.name for scene in bpy.data.scenes if "scratch" in scene.name]


def test_slanted_edge_of_a_drawn_mask_is_smooth(drawn, plan_of, read_exr):
    angle = 0.3
    corners = [(32 + 12 * np.cos(angle + k * np.pi / 2), 18 + 12 * np.sin(angle + k * np.pi / 2)) for k in range(4)]
    draw(drawn.layers[0].splines[0], [at(*corner) for corner in corners])
    plan = plan_of()
    capture(plan)
    mask = read_exr(plan.sources["mask"].files[1001])["Y"]
    assert 0 <= mask.sum() - 2 * 12**2 < 68 / 8
    assert len(np.unique(mask)) > 30


def test_drawn_mask_of_a_plate_on_disk_has_the_plate_s_size(scene, drawn, plan_of, write_exr, read_exr, tmp_path):
    settings = scene.platebridge
    settings.plate_source, settings.plate_files = "FILES", str(write_exr(tmp_path / "p.exr", np.zeros((72, 128, 3)), "RGB"))
    settings.depth_source, settings.depth_files = "FILES", str(write_exr(tmp_path / "z.exr", np.ones((72, 128, 1)), "Z"))
    settings.vectors_source = "NONE"
    plan = plan_of()
    capture(plan)
    mask = read_exr(plan.sources["mask"].files[1002])["Y"]
    assert mask.shape == (72, 128) and mask.sum() == pytest.approx(4 * covered(10.5, 10.25, 30.25, 25.75).sum(), rel=0.02)


def test_animated_splines_move_frame_by_frame_and_a_still_mask_is_drawn_once(scene, clip, drawn, plan_of, read_exr, monkeypatch):
    from blender_addon import through_nodes

    made = []
    draw_once = through_nodes.mask_picture
    monkeypatch.setattr(through_nodes, "mask_picture", lambda *wanted: made.append(1) or draw_once(*wanted))
    capture(plan_of())
    assert len(made) == 1
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "CLIP_EDITOR"
    area.spaces.active.clip, area.spaces.active.mode, area.spaces.active.mask = clip, "MASK", drawn
    region = next(region for region in area.regions if region.type == "WINDOW")
    spline = drawn.layers[0].splines[0]
    for frame, left in ((1001, 10), (1003, 20)):
        scene.frame_set(frame)
        draw(spline, [at(left, 10), at(left + 8, 10), at(left + 8, 20), at(left, 20)])
        with bpy.context.temp_override(window=window, area=area, region=region):
            assert bpy.ops.mask.select_all(action="SELECT") == {"FINISHED"}
            assert bpy.ops.mask.shape_key_insert() == {"FINISHED"}
    scene.platebridge.recapture = True
    plan = plan_of()
    capture(plan)
    for frame, left in ((1001, 10), (1002, 15), (1003, 20)):
        mask = read_exr(plan.sources["mask"].files[frame])["Y"]
        assert np.abs(mask - covered(left, 10, left + 8, 20)).max() < 0.13, frame
    assert len(made) == 4


def test_empty_and_unseen_masks_are_said(scene, drawn, plan_of):
    draw(drawn.layers[0].splines[0], [at(-40, -40), at(-20, -40), at(-20, -20), at(-40, -20)])
    with pytest.raises(InputError, match="sees nothing of the mask Roto"):
        capture(plan_of())
    drawn.layers.remove(drawn.layers[0])
    with pytest.raises(InputError, match="Nothing is drawn in the mask Roto"):
        plan_of()
    scene.platebridge.mask_datablock = None
    with pytest.raises(InputError, match="No mask is chosen"):
        plan_of()


def test_pieces_that_appear_by_their_keys_are_in_the_mask_wherever_the_playhead_stands(scene, plan_of, read_exr):
    """The usual swap: the whole building renders until the fall begins, its pieces from then on."""
    whole = bpy.data.collections["Pieces"].objects[0]
    piece = whole.copy()
    piece.name = "Piece"
    bpy.data.collections["Pieces"].objects.link(piece)
    piece.animation_data_clear()
    piece.location = (2, 0, 1)
    for frame, hidden in ((1001, True), (1003, False)):
        piece.hide_render = hidden
        piece.keyframe_insert("hide_render", frame=frame)
        whole.hide_render = not hidden
        whole.keyframe_insert("hide_render", frame=frame)
    always_off = bpy.data.objects.new("Never", None)
    always_off.hide_render = True
    bpy.data.collections["Pieces"].objects.link(always_off)
    plans = []
    for frame in (1001, 1003):
        scene.frame_set(frame)
        plans.append(plan_of())
    assert plans[0].mask_objects == plans[1].mask_objects == ("Cube", "Piece")
    assert plans[0].fingerprints == plans[1].fingerprints
    capture(plans[0])
    first, last = (read_exr(plans[0].sources["mask"].files[frame])["Y"] for frame in (1001, 1003))
    assert first.sum() > 20 and last.sum() > 20 and not ((first > 0.5) & (last > 0.5)).any()


def test_what_is_linked_lies_beside_its_own_blend(scene, clip, tmp_path, write_exr):
    """A studio's layout file holds the clip, `//` and all; the shot's file lies elsewhere and links it."""
    from platebridge.frames import FrameRange

    from blender_addon import footage, mattes, sources

    first = tmp_path / "shot" / "a7_v02.0088.exr"
    strip = scene.sequence_editor_create().strips.new_image("Plate", str(first), 1, 1001)
    strip.frame_final_end = 1004
    scene.name = "Layout"
    layout = tmp_path / "shot" / "layout.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(layout))
    bpy.ops.file.make_paths_relative()
    assert clip.filepath == "//a7_v02.0087.exr" and strip.directory == "//"
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    (tmp_path / "elsewhere").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "shot.blend"))
    with bpy.data.libraries.load(str(layout), link=True) as (_, wanted):
        wanted.scenes = ["Layout"]
    linked, held = bpy.data.scenes["Layout"], bpy.data.movieclips[0]
    assert footage.files(held, FrameRange(1001, 1001)) == {1001: first}
    plate = linked.sequence_editor.strips["Plate"]
    assert sources._files_of(plate, "plate", FrameRange(1001, 1001)).files == {1001: first}
    assert sources._its_files(plate) == [first]
    assert mattes.channel_of_strip("AUTO", plate) == "BRIGHTNESS"


def test_files_that_a_linked_scene_names_lie_beside_its_own_blend(scene, tmp_path, write_exr):
    from blender_addon import sources

    for frame in FRAMES:
        write_exr(tmp_path / "layout" / "in" / ("plate.%d.exr" % frame), picture(frame), "RGB")
    scene.platebridge.plate_source, scene.platebridge.plate_files = "FILES", "//in/plate.####.exr"
    scene.name = "Layout"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "layout" / "layout.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "layout" / "layout.blend"), link=True) as (_, wanted):
        wanted.scenes = ["Layout"]
    linked = bpy.data.scenes["Layout"]
    plan = sources.plan(linked, linked.view_layers[0])
    assert plan.sources["plate"].files[1002] == tmp_path / "layout" / "in" / "plate.1002.exr"


def test_a_linked_scene_of_the_name_of_this_file_s_own_is_the_one_that_is_rendered(scene, tmp_path, read_exr):
    from blender_addon import sources

    own = scene.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "layout.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert bpy.context.scene.name == own
    with bpy.data.libraries.load(str(tmp_path / "layout.blend"), link=True) as (_, wanted):
        wanted.scenes = [own]
    linked = bpy.context.window.scene = wanted.scenes[0]
    plan = sources.plan(linked, linked.view_layers[0])
    assert capture(plan)[-1] == (3, 3)
    assert read_exr(plan.sources["depth"].files[1002])["Z"].min() == pytest.approx(7.0, abs=1e-3)


def test_blender_without_openimageio_says_so(scene, plan_of, monkeypatch):
    from blender_addon import live_action, passes

    monkeypatch.setitem(sys.modules, "OpenImageIO", None)
    with pytest.raises(InputError, match="built without OpenImageIO"):
        passes.image_io()
    assert live_action._rate_in_header(Path("plate.1001.exr")) is None
