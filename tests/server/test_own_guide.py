# SPDX-License-Identifier: Apache-2.0
"""The artist's own guide: any size, with or without depth, in the place of ours."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, GuideSettings, Inputs
from platebridge_server.camera import CameraPath
from platebridge_server.guide.own import OwnGuide
from platebridge_server.images import Window
from platebridge_server.light import LUMINANCE
from platebridge_server.shot import GuidePicture


def shot(pictures, size=(40, 60), over=(0, 0)):
    """pictures: frame -> what a GuidePicture is made of. over: pixels of overscan above and below, left and right."""
    span = FrameRange(1, max(pictures))
    camera, (y, x) = CameraPath.from_request(None, span, size[1], size[0]), over
    part = (-x / size[1], -y / size[0], 1 + x / size[1], 1 + y / size[0])
    canvas = Window(-x, -y, size[1] + 2 * x, size[0] + 2 * y)
    wider = CameraPath({f: camera.at(f).resized((canvas.height, canvas.width), part) for f in span}, camera.up, camera.given)
    return SimpleNamespace(
        request=GenerateRequest("own", span, Inputs()), size=(canvas.height, canvas.width), window=canvas,
        display=Window(0, 0, size[1], size[0]), camera=wider,
        guide_image=lambda f: GuidePicture(*pictures[f]) if f in pictures else None,
    )


def cloud(h, w, colour=(0.8, 0.4, 0.2), alpha=0.5):
    """Half of the picture, the right one, is covered."""
    rgba = np.zeros((h, w, 4), np.float32)
    rgba[:, w // 2 :] = (*(alpha * np.array(colour)), alpha)
    return rgba


def own(pictures, **dials):
    made = OwnGuide(shot(pictures), GuideSettings(**dials), (20, 30))
    made.simulate()
    return made


@pytest.mark.parametrize("size", [(20, 30), (40, 60), (400, 600), (7, 11), (33, 100)])
def test_it_may_have_any_size(size):
    seen = own({1: (cloud(*size), None)}).frame(1)
    assert seen.alpha.shape == (20, 30)
    assert np.allclose(seen.alpha[:, 22:27], 0.5, atol=1e-5) and np.allclose(seen.alpha[:, 2:8], 0, atol=1e-5)
    assert seen.alpha.mean() == pytest.approx(0.25, abs=0.04)


def test_resizing_keeps_premultiplied_light_and_no_dark_edge():
    seen = own({1: (cloud(400, 600), None)}).frame(1)
    there = seen.alpha > 0.01
    light = (seen.sun + seen.ambient)[there] / seen.alpha[there]
    assert np.allclose(light, light.max(), rtol=1e-3)


def test_its_colour_is_kept_beside_its_luminance():
    seen = own({1: (cloud(20, 30), None)}).frame(1)
    assert np.allclose(seen.chroma[10, 20] / seen.chroma[10, 20, 1], np.array([0.8, 0.4, 0.2]) / 0.4, rtol=1e-4)
    assert np.allclose(seen.chroma[10, 3], 1)


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.05])
def test_a_thin_guide_leads_by_its_own_brightness_too(alpha):
    seen = own({1: (cloud(20, 30, (5.0, 5.0, 5.0), alpha), None)}).frame(1)
    assert np.allclose(seen.sun + seen.ambient, seen.alpha, atol=1e-4)


def test_a_pixel_below_nothing_gives_no_colour_brighter_than_the_picture():
    """As a filter that rings leaves beside an edge: red and blue that all but cancel out in luminance."""
    rgba = cloud(20, 30, (0.5, 0.5, 0.5))
    rgba[10, 14] = (-0.003, 0.0, 0.009, 0.02)
    seen = own({1: (rgba, None)}).frame(1)
    assert seen.chroma.max() <= 1 / LUMINANCE.min()


def test_its_depth_is_never_averaged():
    depth = np.where(np.indices((400, 600))[1] % 2 == 0, 10.0, 90.0).astype(np.float32)
    seen = own({1: (cloud(400, 600), depth)}).frame(1)
    assert set(np.unique(seen.depth)) <= {np.float32(10), np.float32(90)}
    assert np.all(np.isinf(own({1: (cloud(40, 60), None)}).frame(1).depth))


def test_a_window_shows_its_part():
    made = own({1: (cloud(40, 60), None)})
    right = made.through(1, made.shot.camera.at(1).resized((20, 15), (0.5, 0.0, 1.0, 1.0)))
    assert np.allclose(right.alpha[:, 1:-1], 0.5, atol=1e-5)


def test_over_a_plate_with_overscan_it_lies_where_it_lay_over_the_display_window():
    made = OwnGuide(shot({1: (cloud(40, 60), None)}, over=(10, 30)), GuideSettings(), (60, 120))
    made.simulate()
    seen = made.frame(1)  # a cell a pixel: the display window is rows 10 to 50, columns 30 to 90
    assert np.allclose(seen.alpha[11:49, 61:89], 0.5, atol=1e-5)
    assert not seen.alpha[:, :59].any() and not seen.alpha[:, 91:].any() and not seen.alpha[:9].any() and not seen.alpha[51:].any()
    assert made.bbox == pytest.approx((0.5, 10 / 60, 0.75, 50 / 60))


def test_its_own_overscan_is_shown_where_the_plate_has_some():
    """It shows a quarter of the display window more on every side."""
    whole = np.full((60, 90, 4), 0.5, np.float32)
    made = OwnGuide(shot({1: (whole, None, (-0.25, -0.25, 1.25, 1.25))}, over=(20, 30)), GuideSettings(), (80, 120))
    made.simulate()
    seen = made.frame(1)
    assert np.allclose(seen.alpha[11:69, 16:104], 0.5, atol=1e-5)
    assert not seen.alpha[:9].any() and not seen.alpha[71:].any() and not seen.alpha[:, :14].any() and not seen.alpha[:, 106:].any()


def test_dust_that_reaches_a_few_cells_beyond_it_has_its_depth_too():
    """A cell may be many pixels of the picture: dust of no depth would be held out by nothing."""
    rgba, depth = np.zeros((1000, 1500, 4), np.float32), np.full((1000, 1500), np.inf, np.float32)
    rgba[400:600, 700:800], depth[400:600, 700:800] = 0.5, 20.0
    seen = own({1: (rgba, depth)}).frame(1)
    covered = np.argwhere(seen.alpha > 0.01)
    (top, left), (bottom, right) = covered.min(0), covered.max(0)
    assert (seen.depth[top - 3 : bottom + 4, left - 3 : right + 4] == 20).all() and np.isinf(seen.depth[0]).all()


def test_frames_without_cover_are_empty_and_the_box_is_where_it_covers():
    made = own({1: (np.zeros((20, 30, 4), np.float32), None), 2: (cloud(20, 30), None)})
    assert made.empty(1) and not made.empty(2)
    assert made.bbox == (0.5, 0.0, 1.0, 1.0)


def test_amount_thins_it_and_nothing_is_nothing():
    made = own({1: (cloud(20, 30), None)}, amount=0.0)
    assert made.empty(1) and made.bbox is None
    assert own({1: (cloud(20, 30), None)}, amount=0.5).frame(1).alpha.max() == pytest.approx(0.25)


def test_a_missing_picture_is_named_by_its_frame():
    with pytest.raises(InputError) as caught:
        own({2: (cloud(20, 30), None)})
    assert (caught.value.input, caught.value.frame) == ("guide", 1)
