# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender renders from the sequencer is the comp, bit for bit; and what keeps it from that is said."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs


def wild(frame, channels):
    """(36, 64, channels) halves from -2 to 60000, one picture a frame."""
    random = np.random.default_rng(frame)
    pixels = random.uniform(-2, 4, (36, 64, channels)).astype(np.float16).astype(np.float32)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = 60000, -0.25, 1e-7
    return pixels.astype(np.float16).astype(np.float32)


@pytest.fixture
def edit(scene, write_exr, tmp_path):
    """(plate strip, comp strip, effect strip, files by kind) of one take; comp stands on top, effect is muted."""
    from blender_addon import timeline

    files = {}
    for kind, names in (("plate", "RGB"), ("comp", "RGB"), ("effect", "RGBA")):
        folder = tmp_path / ("plate" if kind == "plate" else "take_0001")
        number = 10000 * ("plate", "comp", "effect").index(kind)
        files[kind] = {
            f: write_exr(folder / ("%s.%d.exr" % (kind, f)), wild(f + number, len(names)), names, True) for f in (1001, 1002, 1003)
        }
    request = GenerateRequest("shot", FrameRange(1001, 1003), Inputs())
    plate = timeline.plate_strip(scene, request, files["plate"])
    effect = timeline.insert(
        scene, timeline.TakeStrip("1" * 32, tmp_path / "take_0001", "effect", request), list(files["effect"].values()), plate
    )
    effect.mute = True
    comp = timeline.insert(
        scene, timeline.TakeStrip("1" * 32, tmp_path / "take_0001", "comp", request), list(files["comp"].values()), plate
    )
    return plate, comp, effect, files


def rendered(scene, tmp_path, **options):
    from blender_addon.edit import render_edit

    return dict(render_edit(scene, tmp_path / "edit" / "edit.####.exr", FrameRange(1001, 1003), **options))


@pytest.mark.parametrize("bits", [16, 32])
def test_edit_is_the_comp_bit_for_bit(scene, edit, tmp_path, read_exr, bits):
    assert bpy.ops.platebridge.exact_timeline() == {"FINISHED"}
    _, comp, _, files = edit
    from blender_addon import timeline

    assert timeline.what_keeps_it_from_exact(scene, comp) == []
    paths = rendered(scene, tmp_path, bits=bits)
    assert [path.name for path in paths.values()] == ["edit.1001.exr", "edit.1002.exr", "edit.1003.exr"]
    for frame, path in paths.items():
        edited, comped = read_exr(path), read_exr(files["comp"][frame])
        for name in "RGB":
            assert np.array_equal(edited[name], comped[name])
        assert comped["R"].max() > 1 and comped["R"].min() < 0


def test_alpha_of_a_comp_survives(scene, edit, tmp_path, read_exr, write_exr):
    from blender_addon import timeline

    see_through = [
        write_exr(tmp_path / "take_0002" / ("comp.%d.exr" % f), np.abs(wild(f, 4)) % 1, "RGBA", True) for f in (1001, 1002, 1003)
    ]
    request = GenerateRequest("shot", FrameRange(1001, 1003), Inputs())
    timeline.insert(scene, timeline.TakeStrip("2" * 32, tmp_path / "take_0002", "comp", request), see_through, edit[0])
    timeline.make_exact(scene)
    paths = rendered(scene, tmp_path, alpha=True)
    for path, comp in zip(paths.values(), see_through):
        edited, comped = read_exr(path), read_exr(comp)
        assert all(np.array_equal(edited[name], comped[name]) for name in "RGBA")


def test_effect_goes_premultiplied_over_the_untouched_plate_and_its_layers_are_passed_over(scene, edit, tmp_path, read_exr, write_exr):
    from blender_addon import timeline

    _, comp, effect, files = edit
    pixels = np.zeros((36, 64, 4), np.float32)
    pixels[10:20, 10:20] = 0.5, 0.25, 2.0, 0.5
    layers = np.random.default_rng(3).uniform(0, 1, (36, 64, 3)).astype(np.float32)
    for path in files["effect"].values():
        write_exr(path, np.concatenate([pixels, layers], -1), [*"RGBA", "ambient.Y", "shadow", "sun.Y"], True)
    comp.mute, effect.mute = True, False
    timeline.make_exact(scene)
    for frame, path in rendered(scene, tmp_path, bits=32).items():
        edited, plate = read_exr(path), read_exr(files["plate"][frame])
        for index, name in enumerate("RGB"):
            over = pixels[..., index] + plate[name] * (1 - pixels[..., 3])
            clear = pixels[..., 3] == 0
            assert np.array_equal(edited[name][clear], plate[name][clear])
            assert np.allclose(edited[name], over, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda scene, comp: setattr(scene.sequencer_colorspace_settings, "name", "sRGB"), "The sequencer works in sRGB"),
        (lambda scene, comp: setattr(comp.colorspace_settings, "name", "sRGB"), "is read as sRGB"),
        (lambda scene, comp: setattr(comp, "color_saturation", 0.5), "graded"),
        (lambda scene, comp: setattr(comp.transform, "offset_x", 3), "moved"),
        (lambda scene, comp: setattr(comp, "blend_alpha", 0.5), "see-through"),
        (lambda scene, comp: setattr(scene.render, "resolution_percentage", 50), "The scene renders 32 x 18, and the take is 64 x 36"),
        (
            lambda scene, comp: scene.sequence_editor.strips.new_effect("Title", "COLOR", 9, frame_start=1002, frame_end=1003),
            "Title lies above",
        ),
        (lambda scene, comp: setattr(scene.render, "use_sequencer", False), "Sequencer is off"),
        (lambda scene, comp: setattr(scene.sequence_editor.channels[comp.channel], "mute", True), "The channel Channel 3 is muted"),
        (lambda scene, comp: setattr(inside_a_meta(scene, comp), "mute", True), "The strip Group, which holds it, is muted"),
        (lambda scene, comp: setattr(inside_a_meta(scene, comp).transform, "offset_x", 3), "The strip Group, which holds it, is muted"),
    ],
)
def test_what_keeps_it_from_exact_is_said(scene, edit, change, says):
    from blender_addon import timeline

    timeline.make_exact(scene)
    change(scene, edit[1])
    assert any(says in fault for fault in timeline.what_keeps_it_from_exact(scene, edit[1]))


def inside_a_meta(scene, strip):
    group = scene.sequence_editor.strips.new_meta("Group", 9, frame_start=1001)
    strip.move_to_meta(group)
    strip.frame_final_end = group.frame_final_end = 1004  # the group is as long as what it holds from then on
    return group


@pytest.mark.parametrize("what", ["in a meta strip", "under a muted channel"])
def test_what_only_seems_to_cover_the_comp_is_no_fault(scene, edit, tmp_path, read_exr, what):
    from blender_addon import timeline

    _, comp, _, files = edit
    timeline.make_exact(scene)
    if what == "in a meta strip":
        inside_a_meta(scene, comp)
    else:
        scene.sequence_editor.strips.new_effect("Title", "COLOR", 9, frame_start=1001, frame_end=1004)
        scene.sequence_editor.channels[9].mute = True
    assert timeline.seen_take(scene) == comp and timeline.what_keeps_it_from_exact(scene, comp) == []
    path = rendered(scene, tmp_path, bits=32)[1002]
    assert np.array_equal(read_exr(path)["G"], read_exr(files["comp"][1002])["G"])


def test_rendering_the_edit_changes_no_setting(scene, edit, tmp_path):
    scene.render.filepath, scene.render.image_settings.file_format = "//mine_", "PNG"
    scene.render.use_sequencer = False
    scene.frame_set(5)
    rendered(scene, tmp_path)
    assert (scene.render.filepath, scene.render.image_settings.file_format, scene.frame_current) == ("//mine_", "PNG", 5)
    assert not scene.render.use_sequencer
