# SPDX-License-Identifier: GPL-3.0-or-later
"""A live-action shot from its footage alone: what is set up, and the whole way through a camera that Blender itself solved, to a take."""

from __future__ import annotations

import json
from fractions import Fraction

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector
from real_server import Server

SIZE = (64, 36)
FRAMES = range(101, 107)


def picture(frame):
    pixels = np.random.default_rng(frame).uniform(-0.2, 3, (SIZE[1], SIZE[0], 3)).astype(np.float16).astype(np.float32)
    pixels[0, 0] = 60000
    return pixels


@pytest.fixture
def footage(tmp_path, write_exr):
    return [write_exr(tmp_path / "footage" / ("sc010_plate.%04d.exr" % frame), picture(frame), "RGB", half=True) for frame in FRAMES]


@pytest.fixture
def shot(addon, footage):
    """The scene that the button makes of the footage in a fresh file."""
    assert bpy.ops.platebridge.new_live_action_shot(filepath=str(footage[2])) == {"FINISHED"}
    return bpy.context.window.scene


def test_the_button_sets_up_everything_from_the_footage(shot, tmp_path):
    render, ours = shot.render, shot.platebridge
    assert shot.name == "sc010_plate" and ours.shot == "sc010_plate"
    assert (render.resolution_x, render.resolution_y, render.resolution_percentage) == (64, 36, 100)
    assert (shot.frame_start, shot.frame_end, shot.frame_current) == (101, 106, 101)
    clip = shot.active_clip
    assert (clip.frame_start, clip.frame_duration) == (101, 6)
    assert shot.camera.constraints[0].clip == clip
    behind = shot.camera.data.background_images[0]
    assert (behind.clip, behind.source, shot.camera.data.show_background_images) == (clip, "MOVIE_CLIP", True)
    assert [collection.name for collection in shot.collection.children] == ["Building", "Ground", "Holdout"]
    assert ours.mask_collection.name == "Building" and [thing.name for thing in ours.mask_collection.objects] == ["Building Proxy"]
    assert (ours.plate_source, ours.depth_source, ours.mask_source, ours.camera_source) == ("STRIP", "RENDER", "COLLECTION", "SCENE")
    box = ours.mask_collection.objects[0]
    heights = []
    for frame in (101, 102, 126, 141):
        shot.frame_set(frame)
        heights.append(box.matrix_world.translation.z)
    assert heights == pytest.approx([0, 0, -9.81 / 2, -12], abs=0.02)  # it falls as things fall: a second from frame 102 on
    assert shot.sequencer_colorspace_settings.name == "Linear Rec.709" and shot.view_settings.view_transform == "Standard"
    strip = shot.sequence_editor.strips["Plate"]
    assert [element.filename for element in strip.elements] == ["sc010_plate.%04d.exr" % frame for frame in FRAMES]


def test_the_panel_offers_it_until_a_shot_is_set_up(addon, footage):
    from test_addon_panel import drawn

    from blender_addon import panel

    shown = next(cls for cls in panel.PANELS if cls.bl_label == "Shot")
    assert "platebridge.new_live_action_shot" in drawn(shown)
    bpy.ops.platebridge.new_live_action_shot(filepath=str(footage[0]))
    assert "platebridge.new_live_action_shot" not in drawn(shown)


def test_plate_is_the_footage_bit_for_bit(shot, footage, tmp_path):
    from blender_addon import sources

    shot.platebridge.take_root = str(tmp_path / "takes")
    for source in ("STRIP", "CLIP"):
        shot.platebridge.plate_source = source
        plate = sources.plan(shot, shot.view_layers[0]).sources["plate"]
        assert (plate.how, list(plate.files.values())) == ("files", footage)


def test_footage_of_another_kind(addon, tmp_path):
    import av

    with av.open(str(tmp_path / "A001.mov"), "w") as out:
        stream = out.add_stream("mpeg4", rate=Fraction(24000, 1001))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * level, np.uint8), format="rgb24")))
        out.mux(stream.encode())
    assert bpy.ops.platebridge.new_live_action_shot(filepath=str(tmp_path / "A001.mov"), first_frame=1001) == {"FINISHED"}
    scene = bpy.context.window.scene
    assert (scene.name, scene.render.resolution_x, scene.render.resolution_y) == ("A001", 64, 48)
    assert (scene.frame_start, scene.frame_end) == (1001, 1005)
    assert scene.render.fps == 24 and scene.render.fps_base == pytest.approx(1.001)
    strip = scene.sequence_editor.strips["Plate"]
    assert strip.type == "MOVIE" and (strip.frame_final_start, strip.frame_final_end) == (1001, 1006)


def test_a_gap_in_the_sequence_is_said_and_chosen_files_are_kept_to(addon, footage):
    from blender_addon import live_action

    footage[4].unlink()
    run, said = live_action.sequence_of(footage[1])
    assert run == footage[:4] and "missing around 101-104: 4 of 5" in said
    run, said = live_action.sequence_of(footage[1], [path.name for path in footage[1:3]])
    assert (run, said) == (footage[1:3], "")


@pytest.mark.parametrize(
    ("rate", "kept"),
    [(24, (24, 1)), (23.976, (24, 1.001)), (25, (25, 1)), (29.97, (30, 1.001)), (59.94006, (60, 1.001)), (12.5, (12, 0.96))],
)
def test_frame_rates_are_kept_as_blender_keeps_them(addon, rate, kept):
    from blender_addon import live_action

    assert live_action.frame_rate(rate) == pytest.approx(kept)


def test_this_scene_keeps_its_camera_and_its_pieces(scene, footage):
    camera, before = scene.camera, set(scene.objects)
    assert bpy.ops.platebridge.new_live_action_shot(filepath=str(footage[0]), into="HERE") == {"FINISHED"}
    assert scene.camera == camera and not camera.constraints and set(scene.objects) == before
    assert scene.platebridge.mask_collection.name == "Pieces" and scene.platebridge.shot == "shot"
    assert (scene.frame_start, scene.frame_end) == (101, 106)


def test_a_clip_that_another_scene_uses_stays_as_it_is(scene, footage):
    from blender_addon import live_action

    clip = bpy.data.movieclips.load(str(footage[0]))
    clip.tracking.tracks.new(name="Corner", frame=1)
    scene.camera.constraints.new("CAMERA_SOLVER").clip = clip
    other = bpy.data.scenes.new("Other")
    said = live_action.set_up(other, footage[0])
    assert (clip.frame_start, clip.use_proxy) == (1, False) and "a copy of its own" in said[0]
    assert other.active_clip != clip and other.active_clip.frame_start == 101
    assert [track.name for track in other.active_clip.tracking.tracks] == ["Corner"]


def test_a_clip_that_this_scene_alone_uses_is_the_shots_own(scene, footage):
    from blender_addon import live_action

    clip = scene.active_clip = bpy.data.movieclips.load(str(footage[0]))
    scene.camera.constraints.new("CAMERA_SOLVER").clip = clip
    live_action.set_up(scene, footage[0])
    assert (scene.active_clip, clip.frame_start, len(bpy.data.movieclips)) == (clip, 101, 1)


def test_wrong_footage_is_said_and_leaves_nothing_behind(addon, tmp_path):
    (tmp_path / "notes.0001.exr").write_text("no picture")
    for path, says in ((tmp_path / "none.mov", "No footage was chosen"), (tmp_path / "notes.0001.exr", "is no picture")):
        with pytest.raises(RuntimeError, match=says):
            bpy.ops.platebridge.new_live_action_shot(filepath=str(path))
    assert [scene.name for scene in bpy.data.scenes] == ["Scene"] and not bpy.data.movieclips


# --- tracked, solved, generated ------------------------------------------------------------------------------------------------


def moved(index):
    """Where the true camera stands after so many frames, in its own first coordinates."""
    turned = Matrix.Rotation(np.radians(-0.3 * index), 4, "X") @ Matrix.Rotation(np.radians(0.4 * index), 4, "Y")
    return Matrix.Translation((0.25 * index, 0.1 * index, -0.1 * index)) @ turned


def track_and_solve(clip):
    """Tracks of points in space as a true camera sees them; Blender's own solver then finds the camera."""
    lens = clip.tracking.camera
    lens.sensor_width, lens.focal_length = 36, 35
    focal = 35 / 36 * SIZE[0]
    for number, point in enumerate(np.random.default_rng(1).uniform([-8, -3, -40], [8, 6, -20], (24, 3))):
        track = clip.tracking.tracks.new(name="Point %d" % number, frame=1)
        for index in range(len(FRAMES)):
            x, y, z = moved(index).inverted() @ Vector(point)
            track.markers.insert_frame(index + 1, co=(0.5 + focal * x / -z / SIZE[0], 0.5 + focal * y / -z / SIZE[1]))
    tracked = clip.tracking.objects[0]
    tracked.keyframe_a, tracked.keyframe_b = 1, len(FRAMES)
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "CLIP_EDITOR"
    area.spaces.active.clip = clip
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):  # nothing of ours runs meanwhile
        assert bpy.ops.clip.solve_camera() == {"FINISHED"}
    assert clip.tracking.reconstruction.is_valid and clip.tracking.reconstruction.average_error < 0.01


def test_from_footage_to_a_take_through_a_solved_camera(shot, footage, tmp_path, read_exr):
    """The real pipeline: depth and mask from the proxies through the tracked camera, plate from the footage, equal where no dust is."""
    ours = shot.platebridge
    track_and_solve(shot.active_clip)
    shot.camera.data.lens, shot.camera.data.sensor_width = 35, 36
    ours.take_root, ours.model, ours.dials.detail, ours.dials.amount = str(tmp_path / "takes"), "guide", 32, 4
    server = Server(tmp_path / "server", generator=None).start()
    try:
        ours.connection = str(server.connection)
        assert bpy.ops.platebridge.generate() == {"FINISHED"}
    finally:
        server.stop()
    folder = tmp_path / "takes" / "sc010_plate"
    take = folder / "take_0001"
    document = json.loads((take / "take.json").read_text())
    frames = {item["frame"]: np.array(item["camera_to_world"]) for item in document["request"]["camera"]["frames"]}
    relative = np.linalg.inv(frames[101]) @ frames[103]
    assert relative[:3, :3] == pytest.approx(np.array(moved(2))[:3, :3], abs=1e-4)
    way, true = relative[:3, 3], np.array(moved(2))[:3, 3]
    assert way / np.linalg.norm(way) == pytest.approx(true / np.linalg.norm(true), abs=1e-3)  # a solve knows no scale

    depth, mask = read_exr(folder / "depth" / "depth.0103.exr")["Z"], read_exr(folder / "mask" / "mask.0103.exr")["Y"]
    row, column = 14, 32
    assert mask[row, column] == 1 and mask[row, 2] == 0
    focal = 35 / 36 * SIZE[0]
    ray = frames[103][:3, :3] @ np.array([(column + 0.5 - 32) / focal, (18 - row - 0.5) / focal, -1.0])
    assert depth[row, column] == pytest.approx((25 - frames[103][1, 3]) / ray[1], rel=5e-3)  # the box's front is at y = 25

    changed = 0
    for frame, path in zip(FRAMES, footage):
        comp, plate, effect = (read_exr(p) for p in (take / ("comp.%04d.exr" % frame), path, take / ("effect.%04d.exr" % frame)))
        clear = effect["A"] == 0
        changed += (~clear).sum()
        for name in "RGB":
            assert np.array_equal(comp[name][clear], plate[name][clear])
    assert changed > 0
    assert shot.sequence_editor.strips["Plate"].channel < max(strip.channel for strip in shot.sequence_editor.strips)
