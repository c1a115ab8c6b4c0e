# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets of the guide: those that ship, with pictures, and the artist's own in Blender's presets folder."""

from __future__ import annotations

import types

import bpy
import pytest
from platebridge.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_turns_the_dials_it_names_and_leaves_the_others(scene, name):
    dials = scene.platebridge.dials
    dials.seed, dials.wind = 9, 4.0
    assert bpy.ops.platebridge.preset(name=name) == {"FINISHED"}
    values = dials.values()
    assert {dial: values[dial] for dial in PRESETS[name].dials} == PRESETS[name].dials
    assert (values["seed"], values["wind"]) == (9, 4.0)


def test_a_preset_leaves_animated_dials_their_animation_and_says_which(scene, capfd):
    from blender_addon import sources

    dials = scene.platebridge.dials
    for frame, value in ((1001, 0.0), (1003, 2.0)):
        dials.amount = value
        dials.keyframe_insert("amount", frame=frame)
    dials.driver_add("speed").driver.expression = "1.25"
    scene.frame_set(1002)
    assert bpy.ops.platebridge.preset(name="brick") == {"FINISHED"}
    assert "Amount and Speed are animated and stay as they are" in "".join(capfd.readouterr())
    assert (dials.density, dials.debris) == (1.0, 220) and dials.amount == pytest.approx(1.0)
    request = sources.plan(scene, bpy.context.view_layer).request
    assert {curve.dial for curve in request.animated} == {"amount"} and request.guide.tint == (0.62, 0.47, 0.38)
    dials.driver_remove("speed")
    dials.keyframe_delete("amount", frame=1001), dials.keyframe_delete("amount", frame=1003)
    bpy.ops.platebridge.preset(name="brick")
    assert "animated" not in "".join(capfd.readouterr())


def test_every_preset_that_ships_has_a_picture(addon):
    from blender_addon.presets import THUMBNAILS

    assert sorted(path.stem for path in THUMBNAILS.glob("*.jpg")) == sorted(PRESETS)


def test_an_unknown_preset_is_said(scene):
    with pytest.raises(RuntimeError, match=r"no preset called 'thunder'\. There are concrete_collapse"):
        bpy.ops.platebridge.preset(name="thunder")


def test_presets_of_your_own_are_kept_from_and_turn_the_scene_that_is_seen(scene):
    """5.x's 3-D view may show another scene than the sequencer's."""
    from blender_addon import presets

    other = bpy.data.scenes.new("Sequencer's")
    view = types.SimpleNamespace(
        area=types.SimpleNamespace(type="VIEW_3D"), scene=scene, sequencer_scene=other, temp_override=bpy.context.temp_override
    )
    dials = scene.platebridge.dials
    dials.amount = 2.5
    with bpy.context.temp_override(sequencer_scene=other):
        with presets._seen(view):
            assert bpy.context.sequencer_scene == scene  # what a preset's file looks at, before the window's scene
        assert bpy.context.sequencer_scene == other
    bpy.ops.platebridge.preset_add(name="Seen")
    path = bpy.utils.preset_find("Seen", "platebridge", display_name=True)
    dials.amount = 1.0
    with bpy.context.temp_override(sequencer_scene=other):
        presets.PLATEBRIDGE_OT_own_preset.execute(types.SimpleNamespace(filepath=path, report=print), view)
    assert (dials.amount, other.platebridge.dials.amount) == (2.5, 1.0)
    bpy.ops.platebridge.preset_add(name="Seen", remove_name=True)


def test_a_preset_s_file_that_is_broken_is_said(scene, tmp_path):
    (tmp_path / "broken.py").write_text("import bpy\nbpy.context.scene.nothing.of_it = 1\n")
    with pytest.raises(RuntimeError, match="The preset can't be used"):
        bpy.ops.platebridge.own_preset(filepath=str(tmp_path / "broken.py"))


def test_an_artist_keeps_dials_as_a_preset_finds_them_again_and_removes_them(scene, capfd):
    dials = scene.platebridge.dials
    dials.amount, dials.tint, dials.seed = 2.5, (0.25, 0.5, 0.75), 3
    assert bpy.ops.platebridge.preset_add(name="My wall") == {"FINISHED"}
    path = bpy.utils.preset_find("My wall", "platebridge", display_name=True)
    assert path
    dials.amount, dials.tint, dials.seed = 1.0, (1, 1, 1), 4
    assert bpy.ops.platebridge.own_preset(filepath=path) == {"FINISHED"}
    assert dials.amount == 2.5 and tuple(dials.tint) == (0.25, 0.5, 0.75)
    assert dials.seed == 4  # a seed is no part of a preset
    dials.amount, dials.density = 0.5, 0.5
    dials.keyframe_insert("amount", frame=1001)
    bpy.ops.platebridge.own_preset(filepath=path)
    assert (dials.amount, dials.density) == (0.5, 1.0)
    assert "Amount is animated and stays as it is" in "".join(capfd.readouterr())
    bpy.ops.platebridge.preset_add(remove_active=True)
    assert not bpy.utils.preset_find("My wall", "platebridge", display_name=True)
