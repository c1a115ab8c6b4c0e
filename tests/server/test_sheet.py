# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: every take of a wedge at one frame, in the order of the dials' values; its slates are in no frame."""

import io

import numpy as np
from PIL import Image
from platebridge.dials import DIALS
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs
from platebridge_server import layers, sheet
from platebridge_server.guide import guide

DEFAULTS = {name: dial.default for name, dial in DIALS.items()}


def put(folder, number, level, **dials):
    """A take's tile: a flat grey of that level."""
    picture = np.full((90, 160, 3), level, np.uint8)
    sheet.add(folder, "%032x" % number, sheet.Tile("take_%04d" % number, 1020, {**DEFAULTS, **dials}, picture))


def middles(folder, columns, rows):
    """The level in the middle of each place of the sheet, row by row; a row is a picture and its slate."""
    request = GenerateRequest("shot", FrameRange(1001, 1030), Inputs())
    picture = np.asarray(Image.open(io.BytesIO(sheet.png(folder, request))).convert("L"))
    height, width = picture.shape
    return [[int(picture[int(height * (row + 0.5) / rows), int(width * (column + 0.5) / columns)]) for column in range(columns)]
            for row in range(rows)]


def test_one_dial_lies_in_the_order_of_its_values_whatever_came_first(tmp_path):
    put(tmp_path, 1, 200, density=2.0), put(tmp_path, 2, 50, density=0.5), put(tmp_path, 3, 120, density=1.0)
    assert middles(tmp_path, 3, 1) == [[50, 120, 200]]
    assert [tile.take for tile in sheet.tiles(tmp_path)] == ["take_0002", "take_0003", "take_0001"]


def test_two_dials_make_a_grid_and_what_has_not_come_is_left_dark(tmp_path):
    for number, (amount, density) in enumerate([(1.0, 0.5), (1.0, 2.0), (2.0, 0.5)], 1):
        put(tmp_path, number, 60 * number, amount=amount, density=density)
    assert middles(tmp_path, 2, 2) == [[60, 180], [120, 20]]


def test_a_picture_higher_than_wide_is_kept_as_wide_as_it_is_shown(tmp_path):
    sheet.add(tmp_path, "1" * 32, sheet.Tile("take_0001", 1020, DEFAULTS, np.zeros((1706, 960, 3), np.uint8)))
    assert sheet.tiles(tmp_path)[0].picture.shape == (853, 480, 3)


def test_the_wedge_knows_what_each_dial_makes_anew():
    """The table of `platebridge.wedge` is about what the server keeps: they must agree."""
    from platebridge import wedge

    for name, dial in DIALS.items():
        leaf = dial.path.split(".")[1]
        if not dial.path.startswith("guide."):
            expected = 1
        elif leaf in layers.RELIT:
            expected = 0
        else:
            expected = 1 if leaf in guide.COLOURS else 2 if leaf in guide.VIEW else 3
        assert wedge._REMADE.get(name, 3) == expected, name
