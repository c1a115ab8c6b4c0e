# SPDX-License-Identifier: Apache-2.0
"""Effect over plate: bit for bit outside the effect, `rgb + (1 - a) * plate` of the file's own numbers inside."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platebridge_server import composite

SIZE = (5, 6)


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
    """rgba float32 (h, w, 4) premultiplied, some of it empty."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    alpha = random.uniform(-0.2, 1.1, SIZE) * (random.uniform(size=SIZE) < 0.6)
    return np.concatenate([alpha[..., None] * random.uniform(0, 8, (*SIZE, 3)), alpha[..., None]], -1).astype(np.float32)


@given(plates(), effects())
@settings(max_examples=150, deadline=None)
def test_outside_the_effect_every_bit_is_the_plates(plate, rgba):
    made = composite.settle(rgba, np.full(SIZE, 5.0, np.float32), np.full(SIZE, np.inf, np.float32))
    comp = composite.over(made.rgba, plate)
    clear = made.rgba[..., 3] == 0
    for c in "RGB":
        assert comp[c].dtype == plate[c].dtype
        assert (bits(comp[c])[clear] == bits(plate[c])[clear]).all()


@given(effects(), st.sampled_from([np.float16, np.float32]), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_effect_over_plate_is_comp_to_the_plates_own_rounding(rgba, kind, seed):
    plate = {c: a.astype(kind) for c, a in zip("RGB", np.random.default_rng(seed).normal(1, 3, (3, *SIZE)))}
    made = composite.settle(rgba, np.full(SIZE, 5.0, np.float32), np.full(SIZE, np.inf, np.float32))
    comp = composite.over(made.rgba, plate)
    e = made.rgba.astype(np.float64)
    for i, c in enumerate("RGB"):
        exact = e[..., i] + (1 - e[..., 3]) * plate[c].astype(np.float64)
        size = np.abs(e[..., i]) + np.abs(plate[c].astype(np.float64))
        assert (np.abs(comp[c] - exact) <= 2 * np.finfo(kind).eps * size + 2 * float(np.finfo(kind).smallest_subnormal)).all()


@given(effects(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_what_is_nearer_holds_the_effect_out(rgba, seed):
    random = np.random.default_rng(seed)
    plate_depth, z = random.uniform(1, 10, (2, *SIZE)).astype(np.float32)
    made = composite.settle(rgba, z, plate_depth)
    there = made.rgba[..., 3] > 0
    assert not (there & (plate_depth < made.z)).any()
    assert not made.rgba[plate_depth < z].any()
    assert np.isinf(made.z[~there]).all()


def test_dust_before_the_sky_is_never_behind_a_sky_of_1e10():
    made = composite.settle(np.ones((*SIZE, 4), np.float32), np.full(SIZE, np.inf, np.float32), np.full(SIZE, np.inf, np.float32))
    assert (made.rgba[..., 3] == 1).all() and (made.z < 1e10).all()


def test_too_thin_to_see_is_exactly_nothing():
    rgba = np.full((*SIZE, 4), composite.LEAST_ALPHA * 0.9, np.float32)
    made = composite.settle(rgba, np.ones(SIZE, np.float32), np.full(SIZE, np.inf, np.float32))
    assert not made.rgba.any() and np.isinf(made.z).all()


def test_what_is_not_finite_in_the_effect_is_nothing():
    rgba = np.ones((*SIZE, 4), np.float32)
    rgba[0, 0, 1], rgba[0, 1, 3] = np.nan, np.inf
    made = composite.settle(rgba, np.ones(SIZE, np.float32), np.full(SIZE, np.inf, np.float32))
    assert not made.rgba[0, :2].any() and made.rgba[1:].all()


def test_a_shadow_is_black_over_the_plate_and_can_be_taken_out_again():
    rgba = np.zeros((*SIZE, 4), np.float32)
    rgba[..., 3], rgba[..., 0] = 0.25, 0.5
    shadow = np.full(SIZE, 0.5, np.float32)
    made = composite.settle(rgba, np.ones(SIZE, np.float32), np.full(SIZE, 9.0, np.float32), shadow)
    comp = composite.over(made.rgba, {c: np.full(SIZE, 2.0, np.float32) for c in "RGB"})
    assert comp["R"] == pytest.approx(0.5 + 0.75 * 2.0 * 0.5, abs=2e-3)
    assert comp["G"] == pytest.approx(0.75 * 2.0 * 0.5, abs=2e-3)
    dust = 1 - (1 - made.rgba[..., 3].astype(float)) / (1 - made.shadow.astype(float))
    assert dust == pytest.approx(0.25, abs=2e-3)


def test_a_shadow_alone_lies_on_the_plate_and_never_on_the_sky():
    depth = np.full(SIZE, 9.0, np.float32)
    depth[0] = np.inf
    made = composite.settle(np.zeros((*SIZE, 4), np.float32), np.full(SIZE, np.inf, np.float32), depth, np.full(SIZE, 0.5, np.float32))
    assert (made.rgba[1:, :, 3] == 0.5).all() and (made.z[1:] == 9.0).all()
    assert not made.rgba[0].any()


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
