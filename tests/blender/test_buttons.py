# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons that ask for takes in other ways than Generate: a wedge, a look at the guide, another model. Real server, small generator."""

from __future__ import annotations

import types

import bpy
import numpy as np
import pytest
from platebridge.takes import list_takes


@pytest.fixture
def shot(scene, server, tmp_path, write_exr):
    """Three frames of files; gives the shot's folder."""
    settings = scene.platebridge
    for which, names in (("plate", "RGB"), ("depth", "Z"), ("mask", "Y")):
        for frame in (1001, 1002, 1003):
            path = tmp_path / which / ("%s.%d.exr" % (which, frame))
            write_exr(path, np.full((36, 64, len(names)), frame / 1000), names, which != "depth")
        setattr(settings, which + "_source", "FILES")
        setattr(settings, which + "_files", str(tmp_path / which / (which + ".####.exr")))
    settings.vectors_source, settings.camera_source, settings.connection = "NONE", "NONE", str(server.connection)
    return tmp_path / "takes" / "shot"


def requests(folder):
    return [take.document["request"] for take in list_takes(folder)]


def test_a_wedge_is_a_take_for_each_value_and_all_else_as_it_stands(shot, scene):
    scene.platebridge.dials.amount = 1.5
    assert bpy.ops.platebridge.wedge(dial="density", values="0.5, 1,2") == {"FINISHED"}
    assert [(r["guide"]["density"], r["guide"]["amount"]) for r in requests(shot)] == [(0.5, 1.5), (1.0, 1.5), (2.0, 1.5)]
    assert scene.platebridge.dials.density == 1.0
    assert [(row.heading, row.differs) for row in bpy.context.window_manager.platebridge_takes] == [
        (True, "density"),
        (False, "density 2"),
        (False, "density 1"),
        (False, "density 0.5"),
    ]


def test_a_wedge_over_two_dials_makes_every_pair_and_its_sheet_opens(shot, scene):
    from blender_addon import take_list

    made = bpy.ops.platebridge.wedge(dial="seed", values="1, 2", second="amount", second_values="0.7,1.4")
    assert made == {"FINISHED"}
    assert [(r["guide"]["amount"], r["model"]["seed"]) for r in requests(shot)] == [(0.7, 1), (0.7, 2), (1.4, 1), (1.4, 2)]
    assert len({r["output"]["wedge"] for r in requests(shot)}) == 1
    heading = take_list.chosen_row(bpy.context)  # who looks at the newest sees the wedge
    assert (heading.heading, heading.differs, heading.told) == (True, "amount × seed", "A wedge of 4 takes")
    assert take_list.selected(bpy.context) is None and not bpy.ops.platebridge.copy_dials.poll()
    assert not bpy.ops.platebridge.open_sheet.poll()  # the small generator draws none
    picture = bpy.data.images.new("sheet", 8, 8)
    picture.filepath_raw, picture.file_format = str(shot / "take_0004" / "sheet.png"), "PNG"
    picture.save()
    bpy.data.images.remove(picture)
    bpy.ops.platebridge.refresh_takes()
    assert take_list.chosen_sheet(bpy.context) == str(shot / "take_0004" / "sheet.png")
    assert bpy.ops.platebridge.open_sheet() == {"FINISHED"} and "sheet.png" in bpy.data.images


@pytest.mark.parametrize(
    ("dial", "values", "said"),
    [
        ("density", "1", "2 to 25 takes, and this one has 1"),
        ("density", "1, 900", "density = 900 is out of range"),
        ("seed", "1, 1.5", "seed = '1.5' must be a whole number"),
        ("quality", "draft, best", "'best'"),
    ],
)
def test_a_wedge_that_cant_be_is_refused_before_one_take_is_made(shot, dial, values, said):
    with pytest.raises(RuntimeError, match=said):
        bpy.ops.platebridge.wedge(dial=dial, values=values)
    assert list_takes(shot) == []


@pytest.mark.parametrize(
    ("dial", "values", "count"), [("density", "0.5, 1,2,", 3), ("tint", "0.6,0.5,0.4; 0.3,0.3,0.3", 2), ("quality", "draft, final", 2)]
)
def test_the_dialog_counts_the_takes_that_will_be_made(addon, dial, values, count):
    from blender_addon.wedges import PLATEBRIDGE_OT_wedge

    asked = types.SimpleNamespace(dial=dial, values=values, second="NONE", second_values="1,2")
    assert PLATEBRIDGE_OT_wedge._count(asked) == count
    asked.second = "amount"
    assert PLATEBRIDGE_OT_wedge._count(asked) == 2 * count


def test_a_wedge_whose_first_take_cant_be_begun_makes_no_other(shot, scene):
    cube = scene.platebridge.mask_collection.objects[0]
    cube.animation_data_clear()
    cube.location.x, scene.platebridge.mask_source = 500, "COLLECTION"
    with pytest.raises(RuntimeError, match="The camera sees nothing of the collection Pieces"):
        bpy.ops.platebridge.wedge(dial="density", values="0.5, 1, 2")
    assert list_takes(shot) == []


def test_attach_means_the_newest_unfinished_take_whichever_one_was_named_before(scene):
    """Blender gives a button the values that its operator was called with last, but for those it is told not to keep."""
    assert bpy.ops.platebridge.attach.get_rna_type().properties["take"].is_skip_save


def test_a_look_at_the_guide_asks_for_no_model_and_leaves_the_shots_own_chosen(shot, scene):
    assert bpy.ops.platebridge.preview_guide() == {"FINISHED"}
    assert [r["model"]["name"] for r in requests(shot)] == ["guide"] and scene.platebridge.model == "dust"
    bpy.ops.platebridge.refresh_takes()
    assert bpy.ops.platebridge.copy_dials() == {"FINISHED"} and scene.platebridge.model == "dust"


def test_a_look_at_the_guide_needs_nothing_of_what_a_painting_model_was_told(shot, scene, tmp_path):
    """Prompt and reference stand for the next final; the guide paints nothing and would refuse them."""
    look = bpy.data.images.new("look", 16, 16)
    look.filepath_raw, look.file_format = str(tmp_path / "look.png"), "PNG"
    look.save()
    scene.platebridge.model, scene.platebridge.reference_file = "wan-vace-14b", str(tmp_path / "look.png")
    scene.platebridge.dials.prompt = "Late evening sun"
    assert bpy.ops.platebridge.preview_guide() == {"FINISHED"}
    (asked,) = requests(shot)
    assert asked["model"]["name"] == "guide" and "paint" not in asked and "reference" not in asked["inputs"]
    assert (scene.platebridge.model, scene.platebridge.dials.prompt) == ("wan-vace-14b", "Late evening sun")


def test_another_model_is_chosen_by_name(shot, scene):
    assert bpy.ops.platebridge.choose_model(model="guide") == {"FINISHED"}
    assert bpy.ops.platebridge.generate() == {"FINISHED"}
    assert [r["model"]["name"] for r in requests(shot)] == ["guide"]
