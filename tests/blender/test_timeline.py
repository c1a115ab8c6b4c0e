# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes on the sequencer: where they stand, how they grow, what they say of themselves; and stand-ins for newer Blenders."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import bpy
import numpy as np
import pytest
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs


@pytest.fixture
def take(addon, tmp_path, write_exr):
    """take(kind="comp", number=1) -> (TakeStrip, [files of 1001-1003])."""
    from blender_addon.timeline import TakeStrip

    def make(kind="comp", number=1):
        folder = tmp_path / ("take_%04d" % number)
        names = "RGBA" if kind == "effect" else "RGB"
        files = [
            write_exr(folder / ("%s.%d.exr" % (kind, f)), np.full((36, 64, len(names)), f / 1000), names, True) for f in (1001, 1002, 1003)
        ]
        request = GenerateRequest("shot", FrameRange(1001, 1003), Inputs()).with_dials({"amount": 1.5})
        return TakeStrip("%032x" % number, folder, kind, request), files

    return make


def reach(strip):
    return strip.frame_final_start, strip.frame_final_end - 1


def test_frames_wait_for_those_before_them():
    from blender_addon.timeline import in_order

    assert in_order(FrameRange(1, 4), {1: "a", 2: "b", 4: "d"}) == ["a", "b"]
    assert in_order(FrameRange(1, 4), {2: "b"}) == []


def test_strip_stands_where_the_frames_say_and_grows(scene, take):
    from blender_addon import timeline

    this, files = take()
    strip = timeline.insert(scene, this, files[:1], None)
    assert reach(strip) == (1001, 1001)
    assert timeline.grow(strip, files) == 2
    assert reach(strip) == (1001, 1003)
    assert [element.filename for element in strip.elements] == ["comp.1001.exr", "comp.1002.exr", "comp.1003.exr"]
    assert timeline.grow(strip, files) == 0


@pytest.mark.parametrize("end", [1002, 1007])
def test_a_strip_that_was_trimmed_or_held_while_frames_come_keeps_its_end(scene, take, end):
    from blender_addon import timeline

    this, files = take()
    strip = timeline.insert(scene, this, files[:2], None)
    strip.frame_final_end = end
    assert timeline.grow(strip, files) == 1
    assert (strip.frame_final_end, strip.channel, len(strip.elements)) == (end, 1, 3)
    strip.frame_final_end = 1004
    assert reach(strip) == (1001, 1003)


def test_the_halves_of_a_cut_strip_are_shown_hidden_and_removed_together(scene, take):
    from blender_addon import timeline

    this, files = take()
    first = timeline.insert(scene, this, files[:2], None)
    second = first.split(frame=1002, split_method="SOFT")
    timeline.grow(first, files), timeline.grow(second, files)
    assert (reach(first), reach(second), first.channel, second.channel) == ((1001, 1001), (1002, 1003), 1, 1)
    other = timeline.insert(scene, *take(number=2), None)
    timeline.show_alone(scene, other)
    assert (first.mute, second.mute) == (True, True)
    timeline.show_alone(scene, second)
    assert (first.mute, second.mute, other.mute) == (False, False, True)
    assert timeline.shown_before(scene) == other
    timeline.remove(this.take_id, "comp")
    assert list(scene.sequence_editor.strips) == [other]


@pytest.mark.parametrize("how", ["SOFT", "HARD"])
def test_a_strip_that_was_cut_in_three_grows_at_its_end_alone(scene, take, how):
    from blender_addon import timeline

    this, files = take()
    first = timeline.insert(scene, this, files[:2], None)
    rest = first.split(frame=1002, split_method=how)
    rest.frame_final_end = 1004  # held longer, and cut again there
    last = rest.split(frame=1003, split_method="SOFT")
    timeline.make_true(scene)
    strips = [first, rest, last]
    assert [reach(strip) for strip in strips] == [(1001, 1001), (1002, 1002), (1003, 1003)]
    assert [strip.channel for strip in strips] == [1, 1, 1]
    for strip in strips[1:]:
        assert [element.filename for element in strip.elements] == [path.name for path in files]
    assert [element.filename for element in first.elements][:1] == [files[0].name]


def test_a_stray_file_in_a_take_holds_up_no_strip(scene, take):
    """A copy that a file browser made beside the frames; and a strip that somebody gave another picture."""
    from blender_addon import timeline

    this, files = take()
    changed = timeline.insert(scene, *take(number=2), None)
    changed.elements[0].filename = "still.exr"
    strip = timeline.insert(scene, this, files[:1], None)
    for name in ("comp.1001 copy.exr", "comp.1001 2.exr"):
        (this.path / name).write_bytes(files[0].read_bytes())
    timeline.make_true(scene)
    assert (reach(strip), len(changed.elements)) == ((1001, 1003), 3)
    assert timeline.frames_on_disk(this.path, "comp") == dict(zip((1001, 1002, 1003), files))


def test_a_strip_whose_folder_may_not_be_entered_keeps_no_other_from_growing(scene, take, monkeypatch):
    """A colleague's file, with takes in their home: pathlib raises there."""
    from blender_addon import timeline

    timeline.insert(scene, *take(number=2), None)
    this, files = take()
    strip = timeline.insert(scene, this, files[:1], None)
    real = timeline.frames_on_disk

    def looked(folder, kind):
        if folder.name == "take_0002":
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder, kind)

    monkeypatch.setattr(timeline, "frames_on_disk", looked)
    timeline.make_true(scene)
    assert reach(strip) == (1001, 1003)


def test_strips_of_a_linked_scene_are_looked_for_beside_their_own_file(scene, take, tmp_path):
    from blender_addon import timeline

    this, files = take()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "edit.blend"))
    timeline.insert(scene, this, files, None)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_homefile(use_empty=True)
    (tmp_path / "elsewhere").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "shot.blend"))
    with bpy.data.libraries.load(str(tmp_path / "edit.blend"), link=True) as (_, wanted):
        wanted.scenes = ["Scene"]
    linked = next(scene for scene in bpy.data.scenes if scene.library)
    (strip,) = timeline.take_strips(linked)
    assert timeline.folder_of(strip) == this.path


def test_takes_stand_above_the_plate_and_above_each_other(scene, take):
    from blender_addon import timeline

    strips = scene.sequence_editor_create().strips
    plate = strips.new_effect("Plate", "COLOR", 3, frame_start=1001, frame_end=1004)
    strips.new_effect("Elsewhere", "COLOR", 4, frame_start=2001, frame_end=2004)
    strips.new_effect("In the way", "COLOR", 5, frame_start=1003, frame_end=1010)
    first = timeline.insert(scene, *take(number=1), plate)
    second = timeline.insert(scene, *take(number=2), plate)
    assert (first.channel, second.channel) == (4, 6)


def test_a_take_stands_on_no_muted_channel_and_one_that_is_muted_there_is_not_seen(scene, take):
    from blender_addon import timeline

    channels = scene.sequence_editor_create().channels
    channels[1].mute = True
    this, files = take()
    strip = timeline.insert(scene, this, files, None)
    assert strip.channel == 2 and timeline.seen_take(scene) == strip
    channels[2].mute = True
    assert timeline.seen_take(scene) is None


def test_another_angle_s_take_stands_over_its_own_plate_and_never_over_the_one_that_is_chosen(scene, take):
    import dataclasses

    from blender_addon import loading, timeline

    this, files = take()
    angle = dataclasses.replace(this.request, shot="shot Aside", simulation="2" * 64)
    by_frame = dict(zip((1001, 1002, 1003), files))
    chosen = timeline.plate_strip(scene, this.request, by_frame)
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", chosen.name
    assert loading.plate_below(scene, angle) is None
    own = timeline.plate_strip(scene, angle, by_frame, chosen.name)  # as Attach asks for it
    assert own.name == "shot Aside plate" and loading.plate_below(scene, angle) == own
    same = dataclasses.replace(this.request, simulation="2" * 64)  # of this very shot, as the command makes it
    assert loading.plate_below(scene, same) == timeline.plate_strip(scene, same, by_frame, chosen.name) == chosen


def test_no_channel_left(scene, take):
    from blender_addon import timeline

    this, files = take()
    plate = scene.sequence_editor_create().strips.new_effect("Top", "COLOR", 128, frame_start=1001, frame_end=1004)
    with pytest.raises(InputError, match="no free channel"):
        timeline.insert(scene, this, files, plate)


def test_strip_says_what_it_is(scene, take):
    from blender_addon import timeline

    this, files = take()
    strip = timeline.insert(scene, this, files, None)
    tag = strip["platebridge"].to_dict()
    assert (tag["take"], tag["kind"], tag["model"], tag["dials"]["amount"]) == (this.take_id, "comp", "dust", 1.5)
    assert tag["request"] == this.request.hash() and tag["folder"] == str(this.path)
    assert strip.name == "shot take 0001 comp"


def test_strip_is_found_by_its_take_whatever_it_is_called_and_wherever(scene, take):
    from blender_addon import timeline

    this, files = take()
    strip = timeline.insert(scene, this, files, None)
    strip.name, scene.name = "mine", "Renamed"
    bpy.data.scenes.new("Another")
    assert timeline.find(this.take_id, "comp") == (scene, strip)
    assert timeline.find("0" * 32, "comp") == (None, None)


def test_plate_strip_is_made_once(scene, take):
    from blender_addon import timeline

    this, files = take()
    by_frame = dict(zip((1001, 1002, 1003), files))
    first = timeline.plate_strip(scene, this.request, by_frame)
    assert reach(first) == (1001, 1003)
    assert timeline.plate_strip(scene, this.request, by_frame) == first
    assert len(scene.sequence_editor.strips) == 1


def test_the_plate_s_strip_shows_the_version_that_the_take_was_made_over(scene, take, write_exr, tmp_path, read_exr):
    from blender_addon import edit, timeline

    this, files = take()
    strip = timeline.plate_strip(scene, this.request, dict(zip((1001, 1002, 1003), files)))
    scene.sequencer_colorspace_settings.name = "Linear Rec.709"

    def seen(number):
        ((_, path),) = edit.render_edit(scene, tmp_path / ("edit%d.####.exr" % number), FrameRange(1002, 1002))
        return float(read_exr(path)["R"][0, 0])

    assert seen(1) == pytest.approx(1.002, abs=1e-3)
    newer = {f: write_exr(tmp_path / "v002" / ("v002.%d.exr" % f), np.full((36, 64, 3), 0.25), "RGB") for f in (1001, 1002, 1003)}
    assert timeline.plate_strip(scene, this.request, newer) == strip
    assert (timeline.folder_of(strip), seen(2)) == (tmp_path / "v002", 0.25)
    gone = {frame: tmp_path / "gone" / path.name for frame, path in newer.items()}  # as the note of an unfinished take may name them
    assert timeline.plate_strip(scene, this.request, gone) == strip and timeline.folder_of(strip) == tmp_path / "v002"


def test_paths_are_relative_beside_the_blend(scene, take, tmp_path):
    from blender_addon import timeline

    this, files = take()
    assert timeline.stored(files[0].parent) == str(files[0].parent) + "/"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    strip = timeline.insert(scene, this, files, None)
    assert strip.directory == "//take_0001/"


def test_load_take_from_any_folder(scene, take, take_json, tmp_path):
    this, _ = take("effect")
    (this.path / "take.json").write_bytes(take_json(this.request, this.take_id).data)
    assert bpy.ops.platebridge.load_take(take=str(this.path), output="EFFECT") == {"FINISHED"}
    strip = scene.sequence_editor.strips[0]
    assert (reach(strip), strip.blend_type, strip.alpha_mode) == ((1001, 1003), "ALPHA_OVER", "PREMUL")
    with pytest.raises(RuntimeError, match="has no comp frames yet"):
        bpy.ops.platebridge.load_take(take=str(this.path), output="COMP")
    with pytest.raises(RuntimeError, match="is no take"):
        bpy.ops.platebridge.load_take(take=str(tmp_path))


def test_the_load_take_button_asks_for_the_folder_where_the_takes_lie(scene, take, take_json, tmp_path):
    from blender_addon.take_operators import PLATEBRIDGE_OT_load_take as operator

    this, _ = take("effect")
    (this.path / "take.json").write_bytes(take_json(this.request, this.take_id).data)
    scene.platebridge.shot, scene.platebridge.take_root = this.path.parent.name, str(this.path.parent.parent)
    asked = []
    button = types.SimpleNamespace(take="", directory="")
    context = types.SimpleNamespace(scene=scene, window_manager=types.SimpleNamespace(fileselect_add=asked.append))
    assert operator.invoke(button, context, None) == {"RUNNING_MODAL"} and asked == [button]
    assert Path(button.directory) == this.path.parent
    assert bpy.ops.platebridge.load_take(directory=str(this.path) + "/", output="EFFECT") == {"FINISHED"}
    assert len(scene.sequence_editor.strips) == 1


# --- Blenders that are not here: stand-ins with their names --------------------------------------------------------------------


def test_strips_of_4_2_and_of_5():
    from blender_addon import versions

    new, old = types.SimpleNamespace(strips=[], strips_all=[1]), types.SimpleNamespace(sequences=[], sequences_all=[2])
    assert versions.strips(new) is new.strips and versions.strips(old) is old.sequences
    assert (versions.all_strips(new), versions.all_strips(old)) == ([1], [2])


def test_handles_of_5_2():
    from blender_addon import versions

    class Strip:
        left_handle, right_handle = 1001, 1049

        @property
        def frame_final_start(self):
            raise AssertionError("deprecated in 5.2, gone in 6.0")

        frame_final_end = frame_final_start

    assert (versions.first_frame(Strip()), versions.end_frame(Strip())) == (1001, 1049)


def test_5_asks_for_a_media_type_before_the_format():
    from blender_addon import versions

    class Image:
        media_type, file_format, color_mode, color_depth, exr_codec = "VIDEO", "FFMPEG", "RGB", "8", "DWAA"

        def __setattr__(self, name, value):
            if name == "file_format":
                allowed = {"IMAGE": ("PNG", "OPEN_EXR"), "MULTI_LAYER_IMAGE": ("OPEN_EXR_MULTILAYER",), "VIDEO": ("FFMPEG",)}
                assert value in allowed[self.media_type]
            if name == "color_depth":
                assert value in (("16", "32") if "EXR" in self.file_format else ("8",))
            super().__setattr__(name, value)

    image = Image()
    for layers in (True, False):
        with versions.borrowed(versions.exr_changes(image, layers=layers, bits=32)):
            assert image.file_format == ("OPEN_EXR_MULTILAYER" if layers else "OPEN_EXR") and image.color_depth == "32"
        assert (image.media_type, image.file_format, image.color_depth, image.exr_codec) == ("VIDEO", "FFMPEG", "8", "DWAA")


def test_everything_borrowed_is_given_back_even_if_one_thing_can_t_be():
    from blender_addon import versions

    class Stubborn:
        a, c = 1, 3
        _b = 2

        @property
        def b(self):
            return self._b

        @b.setter
        def b(self, value):
            if value == 2:
                raise TypeError("gone")
            self._b = value

    thing = Stubborn()
    with pytest.raises(TypeError), versions.borrowed([(thing, "a", 10), (thing, "b", 20), (thing, "c", 30)]):
        assert (thing.a, thing.b, thing.c) == (10, 20, 30)
    assert (thing.a, thing.c) == (1, 3)


def test_sequencer_scene_of_5_may_be_none():
    from blender_addon import versions

    assert versions.editing_scene(types.SimpleNamespace(scene="shown", sequencer_scene=None)) == "shown"
    assert versions.editing_scene(types.SimpleNamespace(scene="shown", sequencer_scene="edit")) == "edit"
    assert versions.editing_scene(types.SimpleNamespace(scene="shown")) == "shown"


@pytest.mark.parametrize(("editor", "scene"), [("SEQUENCE_EDITOR", "edit"), ("VIEW_3D", "shown"), ("TOPBAR", "shown")])
def test_another_editor_than_the_sequencer_works_on_the_scene_that_is_seen(editor, scene):
    from blender_addon import versions

    area = types.SimpleNamespace(type=editor)
    assert versions.editing_scene(types.SimpleNamespace(scene="shown", sequencer_scene="edit", area=area)) == scene


def test_view_layer_is_the_sequencer_scene_s_own():
    from blender_addon import versions

    edit = types.SimpleNamespace(view_layers=["first", "second"])
    assert versions.editing_view_layer(types.SimpleNamespace(scene="shown", sequencer_scene=edit, view_layer="window's")) == "first"
    assert versions.editing_view_layer(types.SimpleNamespace(scene="shown", view_layer="window's")) == "window's"


def test_working_space_of_5_is_believed():
    from blender_addon import versions

    for space in ("Linear Rec.2020", "ACEScg"):
        assert versions.linear_space(types.SimpleNamespace(colorspace=types.SimpleNamespace(working_space=space))) == space
    assert versions.linear_space(bpy.data) == "Linear Rec.709"


def test_a_studio_s_own_ocio_configuration_says_which_space_is_linear():
    """Blender 4.5 names its working space nowhere. A configuration is read at the start, so this Blender is another one."""
    looks = """
import sys
sys.path.insert(0, %r)
import bpy
from blender_addon import versions
space = versions.linear_space(bpy.data)
bpy.context.scene.sequencer_colorspace_settings.name = space
print("linear is", space)
"""
    said = subprocess.run(
        [sys.executable, "-c", looks % str(Path(__file__).parents[2])], capture_output=True, text=True, timeout=120,
        env={**os.environ, "OCIO": "ocio://cg-config-v1.0.0_aces-v1.3_ocio-v2.1"},
    )
    assert "linear is ACEScg" in said.stdout, said.stderr


def test_passes_in_many_parts_look_like_passes_in_one(tmp_path):
    import OpenImageIO as oiio

    from blender_addon import passes

    pixels = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    path = tmp_path / "parts.exr"
    specs = []
    for name in ("ViewLayer.Combined", "ViewLayer.Depth"):
        spec = oiio.ImageSpec(3, 2, 1, oiio.FLOAT)
        spec.channelnames = (name + (".R" if "Combined" in name else ".Z"),)
        spec.attribute("oiio:subimagename", name)
        specs.append(spec)
    specs[1].attribute("cryptomatte/1234567/name", "ViewLayer.CryptoObject")
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), tuple(specs)) and out.write_image(pixels)
    assert out.open(str(path), specs[1], "AppendSubimage") and out.write_image(pixels + 10) and out.close()
    channels, header = passes.read_layers(path)
    assert np.array_equal(channels["ViewLayer.Combined.R"], pixels[..., 0])
    assert np.array_equal(passes.layer(channels, "ViewLayer", "Depth", "Z"), pixels + 10)
    assert header["cryptomatte/1234567/name"] == "ViewLayer.CryptoObject"
    with pytest.raises(InputError, match="no Vector pass"):
        passes.layer(channels, "ViewLayer", "Vector", "XYZW")


def test_a_take_under_a_plate_that_wears_another_take_is_not_the_one_that_is_seen(scene, take, monkeypatch):
    from blender_addon import sources, timeline

    one, files = take()
    strip = timeline.insert(scene, one, files, None)
    assert timeline.seen_take(scene) == strip
    cover = scene.sequence_editor.strips.new_effect("Cover", "COLOR", 5, frame_start=1001, frame_end=1004)
    assert timeline.seen_take(scene) == strip  # what keeps it from exact says that something lies above it
    cover.modifiers.new("Take", "BRIGHT_CONTRAST")
    monkeypatch.setattr(sources, "is_our_modifier", lambda modifier: modifier.name == "Take")
    assert timeline.seen_take(scene) is None
    cover.mute = True
    assert timeline.seen_take(scene) == strip
    strip.mute = True
    assert timeline.seen_take(scene) is None
