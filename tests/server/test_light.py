# SPDX-License-Identifier: Apache-2.0
"""Dust sits in the plate's own exposure."""

from __future__ import annotations

import numpy as np
import pytest
from platebridge.request import GuideSettings
from platebridge_server import light


def street(exposure=1.0, sky=True):
    """A plate of mixed surfaces in (0.05, 1), a sky above."""
    random = np.random.default_rng(1)
    plate = random.uniform(0.05, 1.0, (40, 60, 1)) * np.array([1.1, 1.0, 0.85])
    depth = np.full((40, 60), 20.0)
    if sky:
        plate[:10], depth[:10] = (0.5, 0.8, 1.4), np.inf
    return (plate * exposure).astype(np.float32), depth


@pytest.mark.parametrize("exposure", [1e-3, 0.5, 20.0])
def test_twice_the_exposure_is_twice_the_light(exposure):
    one, more = light.estimate([street()]), light.estimate([street(exposure)])
    assert np.allclose(np.array(more.sun), np.array(one.sun) * exposure, rtol=1e-4)
    assert np.allclose(np.array(more.sky), np.array(one.sky) * exposure, rtol=1e-4)


def test_a_plate_with_a_sun_of_twenty_gives_dust_above_one_and_a_night_plate_dark_dust():
    lit = np.full((2, 2), 0.7, np.float32)
    bright = light.estimate([street(20.0)]).dust(GuideSettings()).coloured(lit, lit)
    night = light.estimate([street(0.01)]).dust(GuideSettings()).coloured(lit, lit)
    assert bright.min() > 1.0 and night.max() < 0.05


def test_sun_and_sky_dials_scale_their_own_part_and_the_tint_all():
    plate = light.estimate([street()])
    one = plate.dust(GuideSettings())
    dialled = plate.dust(GuideSettings(light=3.0, ambient=0.5))
    assert np.allclose(dialled.sun, 3 * one.sun) and np.allclose(dialled.sky, 0.5 * one.sky)
    tinted = plate.dust(GuideSettings(tint=(0.31, 0.56, 0.50)))
    assert np.allclose(tinted.sun / one.sun, [0.5, 1, 1])


def test_sun_and_sky_are_as_bright_as_a_white_wall_would_be():
    got = light.estimate([street()])
    both = (np.array(got.sun) + np.array(got.sky)) @ light.LUMINANCE
    plate, depth = street()
    high = np.quantile((plate @ light.LUMINANCE)[np.isfinite(depth)], 0.92)
    assert both == pytest.approx(high / light.BRIGHT, rel=1e-3)


def test_the_sky_is_bluer_than_the_sun_where_the_plate_s_sky_is():
    got = light.estimate([street()])
    assert got.sky[2] / got.sky[0] > 1.2 > got.sun[2] / got.sun[0]


def test_without_a_sky_the_dark_surfaces_tell():
    got = light.estimate([street(sky=False)])
    assert 0 < got.sky[1] < got.sun[1]


@pytest.mark.parametrize(
    "plate", [np.zeros((8, 8, 3), np.float32), np.full((8, 8, 3), np.nan, np.float32), np.full((8, 8, 3), -1, np.float32)]
)
def test_a_plate_without_light_gives_none(plate):
    got = light.estimate([(plate, np.full((8, 8), np.inf))])
    assert got.sun == got.sky == (0.0, 0.0, 0.0)


def test_colour_is_sun_times_sun_plus_sky_times_ambient():
    colours = light.DustLight(np.array([2.0, 1, 0]), np.array([0, 1.0, 4]))
    got = colours.coloured(np.array([[0.5]], np.float32), np.array([[0.25]], np.float32))
    assert np.allclose(got, [[[1.0, 0.75, 1.0]]])
