# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets of the guide: those that ship, with pictures, and the artist's own in Blender's presets folder."""

from __future__ import annotations

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


def test_every_preset_that_ships_has_a_picture(addon):
    from blender_addon.presets import THUMBNAILS

    assert sorted(path.stem for path in THUMBNAILS.glob("*.jpg")) == sorted(PRESETS)


def test_an_unknown_preset_is_said(scene):
    with pytest.raises(RuntimeError, match=r"no preset called 'thunder'\. There are concrete_collapse"):
        bpy.ops.platebridge.preset(name="thunder")


def test_an_artist_keeps_dials_as_a_preset_finds_them_again_and_removes_them(scene):
    dials = scene.platebridge.dials
    dials.amount, dials.tint, dials.seed = 2.5, (0.25, 0.5, 0.75), 3
    assert bpy.ops.platebridge.preset_add(name="My wall") == {"FINISHED"}
    path = bpy.utils.preset_find("My wall", "platebridge", display_name=True)
    assert path
    dials.amount, dials.tint, dials.seed = 1.0, (1, 1, 1), 4
    bpy.ops.script.execute_preset(filepath=path, menu_idname="PLATEBRIDGE_MT_presets")
    assert dials.amount == 2.5 and tuple(dials.tint) == (0.25, 0.5, 0.75)
    assert dials.seed == 4  # a seed is no part of a preset
    bpy.ops.platebridge.preset_add(remove_active=True)
    assert not bpy.utils.preset_find("My wall", "platebridge", display_name=True)
