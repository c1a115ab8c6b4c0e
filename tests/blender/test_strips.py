# SPDX-License-Identifier: GPL-3.0-or-later
"""Strips as plates and masks: alone whatever their blend mode, never a sound, and captured anew when what they are made of changed."""

from __future__ import annotations

import os

import bpy
import numpy as np
import pytest
from capturing import capture
from platebridge.errors import InputError


@pytest.fixture
def strips(scene, write_exr, tmp_path):
    """The strips of a shot of one frame whose plate is the strip Plate; two EXR of 0.5 lie at `tmp_path`/p.1001.exr and so on."""
    for frame in (1001, 1002):
        write_exr(tmp_path / ("p.%d.exr" % frame), np.full((36, 64, 3), 0.5), "RGB")
    scene.frame_end = 1001
    shot = scene.platebridge
    shot.plate_source, shot.plate_strip, shot.vectors_source = "STRIP", "Plate", "NONE"
    return scene.sequence_editor_create().strips


def pictures(strips, tmp_path, name, channel):
    strip = strips.new_image(name, str(tmp_path / "p.1001.exr"), channel, 1001)
    strip.elements.append("p.1002.exr")
    return strip


def effect(strips, name, kind, channel, **inputs):
    last = {"frame_end": 1003} if bpy.app.version < (5, 0) else {"length": 2}
    return strips.new_effect(name=name, type=kind, channel=channel, frame_start=1001, **last, **inputs)


@pytest.mark.parametrize("blend", ["MULTIPLY", "SUBTRACT"])
def test_a_strip_that_darkens_what_is_below_is_captured_as_its_own_picture(scene, strips, plan_of, read_exr, tmp_path, blend):
    strip = pictures(strips, tmp_path, "Plate", 1)
    strip.color_multiply, strip.blend_type = 0.5, blend
    plan = plan_of()
    capture(plan)
    assert read_exr(plan.sources["plate"].files[1001])["R"].mean() == pytest.approx(0.25, abs=1e-6)
    assert strip.blend_type == blend


def test_a_sound_is_no_plate(scene, strips, plan_of, tmp_path):
    import wave

    with wave.open(str(tmp_path / "hum.wav"), "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(8000), out.writeframes(bytes(16000))
    strips.new_sound("Plate", str(tmp_path / "hum.wav"), 1, 1001)
    with pytest.raises(InputError, match=r"plate: The strip Plate is sound. Choose the strip that holds the plate"):
        plan_of()


def in_a_meta(strips, tmp_path):
    meta = strips.new_meta("Plate", 5, 1001)
    inside = pictures(strips, tmp_path, "Inside", 7)
    inside.move_to_meta(meta)
    return lambda: setattr(inside, "color_multiply", 0.2)


def an_effects_input(strips, tmp_path):
    below = pictures(strips, tmp_path, "Below", 1)
    effect(strips, "Plate", "GAUSSIAN_BLUR", 2, input1=below)
    return lambda: setattr(below, "color_multiply", 0.2)


def an_effects_own(strips, tmp_path):
    blur = effect(strips, "Plate", "GAUSSIAN_BLUR", 2, input1=pictures(strips, tmp_path, "Below", 1))
    return lambda: setattr(blur, "size_x", 20.0)


def a_colour(strips, tmp_path):
    colour = effect(strips, "Plate", "COLOR", 1)
    return lambda: setattr(colour, "color", (1, 0, 0))


def a_hold_offset(strips, tmp_path):
    strip = pictures(strips, tmp_path, "Plate", 1)
    strip.color_multiply = 0.9
    name = "content_trim_start" if hasattr(strip, "content_trim_start") else "animation_offset_start"
    return lambda: setattr(strip, name, 1)


def a_retiming(strips, tmp_path):
    strip = pictures(strips, tmp_path, "Plate", 1)
    strip.color_multiply = 0.9
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "SEQUENCE_EDITOR"
    region = next(region for region in area.regions if region.type == "WINDOW")

    def halve_the_speed():
        strips.id_data.sequence_editor.active_strip, strip.select = strip, True
        with bpy.context.temp_override(window=window, area=area, region=region):
            assert bpy.ops.sequencer.retiming_segment_speed_set(speed=50) == {"FINISHED"}

    return halve_the_speed


@pytest.mark.parametrize("made", [in_a_meta, an_effects_input, an_effects_own, a_colour, a_hold_offset, a_retiming])
def test_what_a_plate_strip_is_made_of_is_captured_anew_when_it_was_changed(scene, strips, plan_of, tmp_path, made):
    change = made(strips, tmp_path)
    before = plan_of().fingerprints["plate"]
    assert plan_of().fingerprints["plate"] == before
    change()
    assert plan_of().fingerprints["plate"] != before


def test_a_mask_in_a_meta_strip_is_as_stored(scene, strips, plan_of, read_exr, tmp_path):
    drawn = bpy.data.images.new("roto", 64, 36)
    drawn.pixels[:] = [0.5, 0.5, 0.5, 1.0] * (64 * 36)
    drawn.filepath_raw, drawn.file_format = str(tmp_path / "roto.png"), "PNG"
    drawn.save()
    meta = strips.new_meta("Roto", 5, 1001)
    inside = strips.new_image("Inside", str(tmp_path / "roto.png"), 7, 1001)
    inside.move_to_meta(meta)
    shot = scene.platebridge
    shot.plate_source, shot.mask_source, shot.mask_strip = "RENDER", "STRIP", "Roto"
    plan = plan_of()
    capture(plan)
    assert read_exr(plan.sources["mask"].files[1001])["Y"].mean() == pytest.approx(128 / 255, abs=4e-3)
    assert inside.colorspace_settings.name == "sRGB"  # lent, and given back


@pytest.mark.parametrize("which", ["plate", "mask"])
def test_files_of_another_size_than_the_render_s_are_said_before_any_work(scene, plan_of, write_exr, tmp_path, which):
    for frame in (1001, 1002, 1003):
        write_exr(tmp_path / ("big.%d.exr" % frame), np.zeros((72, 128, 3)), "RGB")
    shot = scene.platebridge
    setattr(shot, which + "_source", "FILES")
    setattr(shot, which + "_files", str(tmp_path / "big.####.exr"))
    said = r"%s: big.1001.exr is 128 x 72, and the scene renders 64 x 36\. Set the resolution in Output properties" % which
    with pytest.raises(InputError, match=said):
        plan_of()
    scene.render.resolution_x, scene.render.resolution_y = 128, 72
    plan_of()


def test_a_scratch_file_that_somebody_still_reads_costs_no_frame(scene, strips, plan_of, tmp_path, monkeypatch):
    """Windows' scanners do, and a file that is open can't be taken away there."""
    pictures(strips, tmp_path, "Plate", 1).color_multiply = 0.9
    plan, unlink = plan_of(), os.unlink

    def refuse(path, **more):
        if str(path).endswith("frame.exr"):
            raise PermissionError(13, "in use", str(path))
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", refuse)
    assert capture(plan)[-1] == (1, 1) and plan.sources["plate"].files[1001].is_file()


def test_a_scanner_that_looks_at_captured_files_for_a_moment_ends_no_capture(tmp_path, write_exr, monkeypatch):
    from blender_addon import captured

    replace, refusals = os.replace, iter([True, True, False, True, False])

    def scanned(*paths):
        if next(refusals):
            raise PermissionError(13, "in use", str(paths[1]))
        replace(*paths)

    monkeypatch.setattr(os, "replace", scanned)
    write_exr(tmp_path / "p.1001.exr", np.zeros((2, 2, 3)), "RGB")
    captured._write_json(tmp_path / "capture.json", {"frames": [1001]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture.json", "p.1001.exr"]


def test_two_blenders_may_write_one_captured_file_at_once(tmp_path, write_exr, read_exr, monkeypatch):
    """A farm that makes two takes of one shot: both capture the same frames."""
    from blender_addon import captured

    path, record, replace, others = tmp_path / "p.1001.exr", tmp_path / "capture.json", os.replace, iter("ab")

    def meanwhile(*paths):
        which = next(others, None)
        if which == "a":
            write_exr(path, np.ones((2, 2, 3)), "RGB")
        elif which == "b":
            captured._write_json(record, {"frames": [1002]})
        replace(*paths)

    monkeypatch.setattr(os, "replace", meanwhile)
    write_exr(path, np.zeros((2, 2, 3)), "RGB")
    assert not read_exr(path)["R"].any()
    captured._write_json(record, {"frames": [1001]})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["capture.json", "p.1001.exr"]


def test_a_shot_s_folder_that_cant_be_looked_into_is_said(strips, plan_of, tmp_path, monkeypatch):
    """A colleague's, for their eyes alone. The system refuses root nothing, so here it is made to."""
    from platebridge.errors import StorageError

    from blender_addon.captured import Record

    pictures(strips, tmp_path, "Plate", 1).blend_alpha = 0.5
    plan = plan_of()
    (plan.folder / "plate").mkdir(parents=True)

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    with monkeypatch.context() as shut:
        shut.setattr(os, "listdir", refuse)
        with pytest.raises(StorageError, match=r"plate can't be written: no access\. Choose a folder"):
            Record(plan)
    (plan.folder / "capture.json").mkdir()
    with pytest.raises(StorageError, match=r"capture\.json"):
        Record(plan)


def test_a_captured_file_that_cant_be_replaced_is_said(tmp_path, write_exr):
    from platebridge.errors import StorageError

    (tmp_path / "p.1001.exr").mkdir()
    with pytest.raises(StorageError, match=r"p.1001.exr can't be replaced .*Close what has it open"):
        write_exr(tmp_path / "p.1001.exr", np.zeros((2, 2, 3)), "RGB")
    assert [path.name for path in tmp_path.iterdir()] == ["p.1001.exr"]
    (tmp_path / "plate").write_text("no folder")
    with pytest.raises(StorageError, match=r"The folder .*plate can't be made"):
        write_exr(tmp_path / "plate" / "p.1001.exr", np.zeros((2, 2, 3)), "RGB")


def test_one_picture_of_a_sequence_that_would_stand_for_all_is_said(scene, plan_of, write_exr, tmp_path):
    for frame in (1001, 1002):
        write_exr(tmp_path / ("p.%d.exr" % frame), np.zeros((36, 64, 3)), "RGB")
    shot = scene.platebridge
    shot.plate_source, shot.plate_files = "FILES", str(tmp_path / "p.1001.exr")
    assert plan_of().notes == ("The plate files: p.1001.exr is taken at every frame. For the whole sequence write p.####.exr.",)
    (tmp_path / "p.1002.exr").unlink()
    assert plan_of().notes == ()


def test_a_clip_s_footage_that_was_written_anew_is_captured_anew(scene, plan_of, tmp_path):
    for frame in (1001, 1002, 1003):
        drawn = bpy.data.images.new("p", 64, 36)
        drawn.filepath_raw, drawn.file_format = str(tmp_path / ("p.%d.png" % frame)), "PNG"
        drawn.save()
    clip = bpy.data.movieclips.load(str(tmp_path / "p.1001.png"))
    clip.frame_start = 1001
    scene.platebridge.plate_source, scene.platebridge.plate_clip = "CLIP", clip
    before = plan_of().fingerprints["plate"]
    assert plan_of().fingerprints["plate"] == before
    os.utime(tmp_path / "p.1002.png", ns=(1, 1))
    assert plan_of().fingerprints["plate"] != before
