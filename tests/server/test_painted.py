# SPDX-License-Identifier: Apache-2.0
"""What is kept of a painted shot is named by all that it depends on."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from falling_tower import FallingTower
from platebridge.request import FrameFile, Pass
from platebridge_server.light import DustLight
from platebridge_server.painted import Painting

LIGHT = DustLight(np.ones(3), np.ones(3))
CARD = {"limits": {"sizes": [[96, 64]], "multiple_of": 16}}


@pytest.fixture
def prints(tmp_path):
    """`prints(geometry, **inputs)`: by what is kept, its name, for a shot whose dust takes the whole picture."""

    def of(geometry="", **inputs):
        shot = FallingTower()
        shot.geometry = geometry
        request = dataclasses.replace(shot.request, inputs=dataclasses.replace(shot.request.inputs, **inputs))
        guide, model = SimpleNamespace(bbox=(0.0, 0.0, 1.0, 1.0)), SimpleNamespace(card=lambda: CARD)
        return Painting(shot, guide, request, lambda frame: LIGHT, model, tmp_path).scene(range(1001, 1005)).prints

    return of


def changed(one, other):
    return {name for name in one if one[name] != other[name]}


def given(name, sha256="5" * 64):
    return Pass(name, (), (FrameFile(1001, sha256, 9),))


def test_another_geometry_of_the_plate_is_another_depth_and_region(prints):
    """A plate that is written anew as anamorphic: its colours are as they were, and the camera sees through other pixels."""
    assert changed(prints("squeezed"), prints("square")) == {"dust", "depth", "region"}


def test_another_depth_is_another_guide_and_another_name_of_it_is_none(prints):
    was = prints(depth=given("depth.####.exr"))
    assert changed(was, prints(depth=given("depth_v2.####.exr"))) == set()
    assert changed(was, prints(depth=given("depth.####.exr", "6" * 64))) == {"dust", "depth", "region"}


def test_another_reference_is_neither_another_plate_nor_another_guide(prints):
    assert changed(prints(), prints(reference=Pass())) == {"reference"}
