# SPDX-License-Identifier: Apache-2.0
"""Effect over plate: bit for bit outside the effect, `rgb + (1 - a) * plate` of the file's own numbers inside."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platebridge_server import composite
from platebridge_server.light import DustLight

SIZE = (5, 6)
SKY = np.full(SIZE, np.inf, np.float32)
NEAR = np.full(SIZE, 5.0, np.float32)
LIGHT = DustLight(np.array([1.3, 1.1, 0.9]), np.array([0.2, 0.3, 0.5]))


def bits(array):
    return array.view("u%d" % array.dtype.itemsize)


@st.composite
def plates(draw):
    """A plate of any bits at all: NaN payloads, infinities, negatives, values above 1."""
    kind = draw(st.sampled_from([np.float16, np.float32]))
    raw = draw(
        st.binary(min_size=SIZE[0] * SIZE[1] * 3 * np.dtype(kind).itemsize, max_size=SIZE[0] * SIZE[1] * 3 * np.dtype(kind).itemsize)
    )
    return {c: a.copy() for c, a in zip("RGB", np.frombuffer(raw, kind).reshape(3, *SIZE))}


@st.composite
def effects(draw):
    """Passes float32 (h, w, 3), premultiplied, some of them empty, and a shadow (h, w), some of it none."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    alpha = random.uniform(-0.2, 1.1, SIZE) * (random.uniform(size=SIZE) < 0.6)
    shadow = random.uniform(-0.2, 1.1, SIZE) * (random.uniform(size=SIZE) < 0.5)
    return np.stack([alpha * random.uniform(0, 8, SIZE), alpha * random.uniform(0, 8, SIZE), alpha], -1).astype(np.float32), shadow


@given(plates(), effects())
@settings(max_examples=150, deadline=None)
def test_outside_effect_and_shadow_every_bit_is_the_plates(plate, given):
    passes, shadow = given
    made = composite.settle(passes, NEAR, np.full(SIZE, 9.0, np.float32), shadow)
    comp = composite.over(made.rgba(LIGHT), plate, shadow=made.shadow)
    clear = (made.alpha == 0) & (made.shadow == 0)
    for c in "RGB":
        assert comp[c].dtype == plate[c].dtype
        assert (bits(comp[c])[clear] == bits(plate[c])[clear]).all()


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_behind_thin_dust_a_light_without_end_is_bright_and_what_is_no_number_is_nothing(kind):
    rgba = np.zeros((1, 3, 4), np.float16)
    rgba[..., 3] = 0.25
    plate = {c: np.array([[np.inf, -np.inf, np.nan]], kind) for c in "RGB"}
    comp = composite.over(rgba, plate, np.full((1, 3), np.inf, kind))
    assert all(comp[c][0].tolist() == pytest.approx([0.75 * 65504, 0, 0], rel=1e-3) for c in "RGB") and comp["A"].tolist() == [[0.25] * 3]


@given(effects(), st.sampled_from([np.float16, np.float32]), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_effect_over_the_shadowed_plate_is_comp_to_the_plates_own_rounding(given, kind, seed):
    passes, shadow = given
    plate = {c: a.astype(kind) for c, a in zip("RGB", np.random.default_rng(seed).normal(1, 3, (3, *SIZE)))}
    made = composite.settle(passes, NEAR, np.full(SIZE, 9.0, np.float32), shadow)
    comp = composite.over(made.rgba(LIGHT), plate, shadow=made.shadow)
    e, lit = made.rgba(LIGHT).astype(np.float64), 1 - made.shadow.astype(np.float64)
    for i, c in enumerate("RGB"):
        exact = e[..., i] + (1 - e[..., 3]) * plate[c].astype(np.float64) * lit
        size = np.abs(e[..., i]) + np.abs(plate[c].astype(np.float64))
        assert (np.abs(comp[c] - exact) <= 2 * np.finfo(kind).eps * size + 2 * float(np.finfo(kind).smallest_subnormal)).all()


@given(effects(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_what_is_nearer_holds_the_effect_out(given, seed):
    random = np.random.default_rng(seed)
    plate_depth, z = random.uniform(1, 10, (2, *SIZE)).astype(np.float32)
    made = composite.settle(given[0], z, plate_depth)
    there = made.alpha > 0
    assert not (there & (plate_depth < made.z)).any()
    assert not made.rgba(LIGHT)[plate_depth < z].any()
    assert np.isinf(made.z[~there]).all()


@given(effects())
@settings(max_examples=50, deadline=None)
def test_colour_follows_from_the_passes_as_they_are_written(given):
    made = composite.settle(given[0], NEAR, SKY)
    rgb = [s * made.sun.astype(np.float64) + k * made.ambient.astype(np.float64) for s, k in zip(LIGHT.sun, LIGHT.sky)]
    half = made.rgba(LIGHT)[..., :3].astype(np.float64)
    assert np.abs(np.stack(rgb, -1) - half).max() <= 2.0**-11 * max(1e-6, half.max())
    assert not made.sun[made.alpha == 0].any() and not made.ambient[made.alpha == 0].any()


def test_light_above_one_is_not_clamped_and_never_infinite():
    made = composite.settle(np.ones((*SIZE, 3), np.float32), NEAR, SKY)
    assert (made.rgba(DustLight(np.full(3, 50.0), np.zeros(3)))[..., 0] == 50).all()
    assert (made.rgba(DustLight(np.full(3, 1e6), np.zeros(3)))[..., 0] == 65504).all()


def test_an_artists_colour_is_laid_over_the_light():
    made = composite.settle(np.ones((*SIZE, 3), np.float32), NEAR, SKY, chroma=np.full((*SIZE, 3), (1.5, 1.0, 0.5), np.float32))
    assert made.rgba(DustLight(np.full(3, 2.0), np.zeros(3)))[0, 0].tolist() == [3.0, 2.0, 1.0, 1.0]


def test_dust_before_the_sky_is_never_behind_a_sky_of_1e10():
    made = composite.settle(np.ones((*SIZE, 3), np.float32), SKY, SKY)
    assert (made.alpha == 1).all() and (made.z < 1e10).all()


def test_too_thin_to_see_is_exactly_nothing():
    made = composite.settle(np.full((*SIZE, 3), composite.LEAST_ALPHA * 0.9, np.float32), np.ones(SIZE, np.float32), SKY)
    assert not made.rgba(LIGHT).any() and np.isinf(made.z).all()


def test_what_is_not_finite_in_the_effect_is_nothing():
    passes = np.ones((*SIZE, 3), np.float32)
    passes[0, 0, 1], passes[0, 1, 2] = np.nan, np.inf
    made = composite.settle(passes, np.ones(SIZE, np.float32), SKY).rgba(LIGHT)
    assert not made[0, :2].any() and made[1:].all()


def test_a_shadow_darkens_the_plate_under_the_effect_and_is_none_of_it():
    passes = np.full((*SIZE, 3), (0.5, 0.0, 0.25), np.float32)
    made = composite.settle(passes, np.ones(SIZE, np.float32), np.full(SIZE, 9.0, np.float32), np.full(SIZE, 0.5, np.float32))
    comp = composite.over(made.rgba(DustLight(np.array([1.0, 0, 0]), np.zeros(3))), {c: np.full(SIZE, 2.0, np.float32) for c in "RGB"},
                          shadow=made.shadow)
    assert (comp["R"] == 0.5 + 0.75 * 2.0 * 0.5).all() and (comp["G"] == 0.75 * 2.0 * 0.5).all()
    assert (made.alpha == 0.25).all()


def test_a_shadow_never_falls_on_the_sky_and_has_no_depth():
    depth = np.full(SIZE, 9.0, np.float32)
    depth[0] = np.inf
    made = composite.settle(np.zeros((*SIZE, 3), np.float32), SKY, depth, np.full(SIZE, 0.5, np.float32))
    assert (made.shadow[1:] == 0.5).all() and not made.shadow[0].any()
    assert not made.alpha.any() and np.isinf(made.z).all()


def test_over_half_the_comp_never_becomes_infinite():
    rgba = np.zeros((*SIZE, 4), np.float16)
    rgba[..., :3], rgba[..., 3] = 60000, 0.5
    comp = composite.over(rgba, {c: np.full(SIZE, 60000, np.float16) for c in "RGB"})
    assert (comp["R"] == 65504).all()


def test_under_the_effect_a_nan_of_the_plate_counts_as_zero():
    rgba = np.full((*SIZE, 4), 0.5, np.float16)
    comp = composite.over(rgba, {c: np.full(SIZE, np.nan, np.float32) for c in "RGB"})
    assert (comp["B"] == 0.5).all()


def test_the_plates_own_alpha_is_covered_too():
    rgba = np.zeros((*SIZE, 4), np.float16)
    rgba[0] = 0.5
    plate = {c: np.ones(SIZE, np.float16) for c in "RGB"}
    comp = composite.over(rgba, plate, np.full(SIZE, 0.5, np.float16))
    assert (comp["A"][0] == 0.75).all() and (comp["A"][1:] == 0.5).all()
