# SPDX-License-Identifier: Apache-2.0
"""A request from outside: what can't be kept or written down is refused in a sentence, never in a traceback."""

from __future__ import annotations

import pytest
from platebridge.dials import DIALS
from platebridge.errors import RequestError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs, Pass, camera_from_dict, from_dict, shot_name

HUGE = 10**400
CODED = b"caf\xe9".decode("utf-8", "surrogateescape")  # what Python makes of a file's name that is no UTF-8


@pytest.mark.parametrize("turn", [DIALS["amount"].check, DIALS["debris"].check, lambda v: DIALS["tint"].check((v, 0, 0))])
def test_a_dial_that_no_float_can_hold_is_refused(turn):
    for value in (HUGE, -HUGE):
        with pytest.raises(RequestError, match="out of range"):
            turn(value)


@pytest.mark.parametrize("field", ["focal_mm", "sensor_width_mm", "up", "frames"])
def test_a_camera_that_no_float_can_hold_is_refused(field):
    matrix = [[HUGE, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    value = {"up": [0, 0, HUGE], "frames": [{"frame": 1, "camera_to_world": matrix}]}.get(field, HUGE)
    with pytest.raises(RequestError, match="not a finite number"):
        camera_from_dict({field: value})


@pytest.mark.parametrize("point", [[960.0], [], 960.0])
def test_a_cameras_principal_point_is_two_numbers(point):
    frame = {"frame": 1, "camera_to_world": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "principal_px": point}
    with pytest.raises(RequestError, match="principal_px must be"):
        camera_from_dict({"frames": [frame]})
    assert camera_from_dict({"frames": [{**frame, "principal_px": [960, 540]}]}).frames[0].principal_px == (960.0, 540.0)
    assert camera_from_dict({"frames": [{**frame, "principal_px": None}]}).frames[0].principal_px is None


@pytest.mark.parametrize("rows", [None, 5, [], [[1, 0, 0, 0]] * 3, [[1, 0, 0]] * 4, [None] * 4])
def test_a_camera_without_its_matrix_is_told_so(rows):
    with pytest.raises(RequestError, match=r"camera_to_world must be 4 rows of 4 numbers\. Write"):
        camera_from_dict({"frames": [{"frame": 1, **({} if rows is None else {"camera_to_world": rows})}]})


def test_what_is_no_list_is_not_called_too_long():
    with pytest.raises(RequestError, match=r"camera\.frames must be a list\. Write"):
        camera_from_dict({"frames": None})


@pytest.mark.parametrize("name", ["con", "NUL", "aux.v2", "Com1", "lpt9 .x", "a\x01b", "tower.", " tower", "..", "a/b", "\u65e5" * 100])
def test_a_name_that_some_system_gives_no_folder_names_no_shot(name):
    with pytest.raises(RequestError, match="can't name a shot"):
        shot_name(name)


@pytest.mark.parametrize("name", ["console", "aux_010", "com10", "tower v2", "\u65e5" * 80, "t\u00e5rn"])
def test_a_name_that_only_looks_like_one_is_fine(name):
    assert shot_name(name) == name


def test_a_name_that_is_no_text_names_no_shot():
    with pytest.raises(RequestError, match=r"'caf\\udce9' can't name a shot"):
        shot_name(CODED)


@pytest.mark.parametrize("plate", [Pass(CODED + ".####.exr"), Pass("plate", (CODED,))], ids=["file", "channel"])
def test_an_input_whose_name_is_no_text_is_refused(plate):
    with pytest.raises(RequestError, match=r"plate: .*caf\\udce9.* is not in UTF-8"):
        from_dict(GenerateRequest("tower", FrameRange(1, 2), Inputs(plate)).to_dict())


@pytest.mark.parametrize("where", [("paint", "prompt"), ("settings", "working_space")])
def test_words_that_are_no_text_are_refused(where):
    """take.json could not be written in the end."""
    tree = GenerateRequest("tower", FrameRange(1, 2), Inputs()).to_dict()
    tree.setdefault(where[0], {})[where[1]] = CODED
    with pytest.raises(RequestError):
        from_dict(tree)
