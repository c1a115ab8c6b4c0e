# SPDX-License-Identifier: Apache-2.0
"""The effect's laws: held out by the plate, debris set into the dust by depth, nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from platebridge_server import effect
from platebridge_server.guide import volume
from platebridge_server.guide.chunk_layer import Layer
from platebridge_server.guide.frame import GuideFrame

SIZE, GUIDE = (24, 32), (6, 8)


def dust(random=None, near=10.0, far=20.0, alpha=0.8, size=GUIDE, planes=6):
    """A guide frame of dust between two depths; evenly thick, or at random."""
    steps = np.linspace(0, 1, planes + 1)[:, None, None] * np.ones((1, *size))
    alphas = np.full(size, alpha)
    front = np.full(size, near)
    if random is not None:
        steps = np.cumsum(np.concatenate([np.zeros((1, *size)), random.exponential(1, (planes, *size)) ** 2 + 1e-6]), 0)
        steps /= steps[-1:]
        alphas = random.uniform(0, 1, size) * (random.random(size) < 0.8)
        front = near + random.uniform(0, 0.5, size) * (far - near) / planes
    z = np.linspace(near, far, planes + 1)
    cumulative = steps * alphas
    middles = 0.5 * (z[1:] + z[:-1])[:, None, None]
    depth = np.concatenate([np.zeros((1, *size)), np.cumsum(np.diff(cumulative, axis=0) * np.maximum(middles, front), 0)])
    deep = volume.Deep(*(torch.tensor(a, dtype=torch.float32) for a in (z, cumulative, depth, np.where(alphas > 0, front, np.inf))))
    flat = (0.5 * alphas).astype(np.float32)
    mean = np.where(alphas > 0, depth[-1] / np.maximum(alphas, 1e-9), np.inf).astype(np.float32)
    return GuideFrame(flat, flat, alphas.astype(np.float32), mean, np.array([0, 0, 1], np.float32), deep)


def passes(random=None, alpha=0.8):
    a = (
        np.full(SIZE, alpha, np.float32)
        if random is None
        else (random.uniform(0, 1, SIZE) * (random.random(SIZE) < 0.7)).astype(np.float32)
    )
    return 0.7 * a, 0.4 * a, a


def stone(top, left, shape, z, alpha=1.0):
    flat = np.full(shape, alpha, np.float32)
    return Layer(top, left, 0.3 * flat, 0.1 * flat, flat, np.full(shape, z, np.float32))


seeds = settings(max_examples=40, deadline=None)


@seeds
@given(st.integers(0, 2**32 - 1))
def test_no_effect_where_the_plate_is_nearer_and_never_behind_it(seed):
    random = np.random.default_rng(seed)
    plate = np.where(random.random(SIZE) < 0.2, np.inf, random.uniform(5, 25, SIZE)).astype(np.float32)
    layer = stone(4, 5, (8, 9), 13.0, 0.6)
    layer.alpha[plate[layer.where] <= 13.0] = 0  # as it is drawn: held out already
    for part in (layer.sun, layer.ambient):
        part[layer.alpha == 0] = 0
    out, z = effect.assemble(*passes(random), dust(random), plate, layer)
    there = out[..., 2] > 0
    assert np.all(out[plate <= 10.0] == 0)
    assert np.all(z[there] <= plate[there]) and np.all(z[there] >= 10.0)
    assert np.all(np.isinf(z[~there])) and np.all(out[~there] == 0)
    assert out[..., 2].max() <= 1 + 1e-6 and out.min() >= 0


@seeds
@given(st.integers(0, 2**32 - 1))
def test_a_plate_farther_away_never_shows_less_dust(seed):
    random = np.random.default_rng(seed)
    seen, made = dust(random), passes(random)
    nearer = random.uniform(5, 25, SIZE).astype(np.float32)
    farther = nearer + random.uniform(0, 5, SIZE).astype(np.float32)
    a, b = (effect.assemble(*made, seen, plate)[0][..., 2] for plate in (nearer, farther))
    assert np.all(b >= a - 1e-5)


def test_before_an_empty_plate_the_passes_come_through_whole():
    sun, ambient, alpha = passes()
    out, z = effect.assemble(sun, ambient, alpha, dust(), np.full(SIZE, np.inf, np.float32))
    assert all(np.allclose(out[..., i], given) for i, given in enumerate((sun, ambient, alpha)))
    assert np.allclose(z, 15.0, atol=0.5)


def test_half_way_through_even_dust_half_of_it_is_left():
    out, _ = effect.assemble(*passes(), dust(), np.full(SIZE, 15.0, np.float32))
    assert np.allclose(out[..., 2], 0.4, atol=0.01)


def test_what_is_too_thin_to_see_is_exactly_nothing():
    out, z = effect.assemble(*passes(alpha=effect.LEAST_ALPHA * 0.9), dust(), np.full(SIZE, np.inf, np.float32))
    assert not out.any() and np.all(np.isinf(z))


def test_the_edge_of_what_stands_before_is_as_sharp_as_the_plate_s():
    plate = np.full(SIZE, 40.0, np.float32)
    plate[:, 13:16] = 4.0
    alpha = effect.assemble(*passes(), dust(), plate)[0][..., 2]
    assert np.all(alpha[:, 13:16] == 0) and np.allclose(alpha[:, :13], 0.8) and np.allclose(alpha[:, 16:], 0.8)


FAR = np.full(SIZE, 100.0, np.float32)


def test_a_stone_before_the_dust_hides_it():
    out, z = effect.assemble(*passes(), dust(), FAR, stone(4, 5, (3, 3), 8.0))
    assert np.allclose(out[4:7, 5:8, 0], 0.3) and np.allclose(out[4:7, 5:8, 2], 1)
    assert np.all(z[4:7, 5:8] == 8.0)


def test_a_stone_behind_the_dust_shows_through_it():
    out, _ = effect.assemble(*passes(), dust(), FAR, stone(4, 5, (3, 3), 30.0))
    assert np.allclose(out[4:7, 5:8, 0], 0.7 * 0.8 + 0.2 * 0.3, atol=1e-4)
    assert np.allclose(out[4:7, 5:8, 2], 1, atol=1e-4)


def test_a_stone_within_the_dust_has_some_before_it_and_some_behind():
    front = 0.4  # even dust, alpha 0.8, cut half way
    out, _ = effect.assemble(*passes(), dust(), FAR, stone(4, 5, (3, 3), 15.0, 0.5))
    expected = front + (1 - front) * 0.5 + (1 - 0.5) * (0.8 - front)
    assert np.allclose(out[4:7, 5:8, 2], expected, atol=0.01)


def test_beside_the_stones_the_dust_is_untouched():
    without, _ = effect.assemble(*passes(), dust(), FAR)
    with_stones, _ = effect.assemble(*passes(), dust(), FAR, stone(4, 5, (3, 3), 15.0))
    beside = np.ones(SIZE, bool)
    beside[4:7, 5:8] = False
    assert np.array_equal(without[beside], with_stones[beside])


def test_a_stone_without_dust_is_itself():
    out, z = effect.assemble(*passes(alpha=0.0), dust(), FAR, stone(4, 5, (3, 3), 15.0, 0.5))
    assert np.allclose(out[4:7, 5:8], [0.15, 0.05, 0.5]) and out.astype(bool).sum() == 9 * 3
    assert np.all(z[4:7, 5:8] == 15.0)


def test_debris_alone_needs_no_deep_dust():
    blank = GuideFrame(*(np.zeros(GUIDE, np.float32),) * 3, np.full(GUIDE, np.inf, np.float32), np.array([0, 0, 1.0]))
    out, _ = effect.assemble(*passes(alpha=0.0), blank, FAR, stone(4, 5, (3, 3), 15.0))
    assert np.allclose(out[5, 6, 2], 1)


def test_the_same_passes_give_the_same_bits():
    random = np.random.default_rng(5)
    seen, made, plate = dust(random), passes(random), random.uniform(5, 25, SIZE).astype(np.float32)
    one, two = (effect.assemble(*made, seen, plate) for _ in range(2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def test_a_large_plate_is_cut_in_parts_that_meet(monkeypatch):
    random = np.random.default_rng(6)
    seen, made, plate = dust(random), passes(random), random.uniform(5, 25, SIZE).astype(np.float32)
    whole = effect.assemble(*made, seen, plate)
    monkeypatch.setattr(effect, "_AT_ONCE", 7)
    parts = effect.assemble(*made, seen, plate)
    assert all(np.allclose(a, b, atol=1e-6, equal_nan=True) for a, b in zip(whole, parts))


@pytest.mark.parametrize(("z", "kept"), [(np.inf, True), (50.0, True), (150.0, False)])
def test_an_artist_s_guide_is_cut_at_its_own_depth_or_not_at_all(z, kept):
    flat = np.full(GUIDE, 0.8, np.float32)
    seen = GuideFrame(
        flat, flat, flat, np.full(GUIDE, z, np.float32), np.array([0, 0, 1.0]), chroma=np.full((*GUIDE, 3), (1.5, 1.0, 0.5), np.float32)
    )
    out, depth = effect.assemble(*passes(), seen, FAR)
    assert bool(out.any()) == kept
    assert np.allclose(effect.hue(seen, SIZE), (1.5, 1.0, 0.5)) and effect.hue(dust(), SIZE) is None
    if kept:
        assert np.all(depth <= FAR)


def test_the_finished_dust_is_so_many_times_thicker_than_the_guide():
    seen = dust(alpha=0.5)
    alpha = np.full(SIZE, 0.75, np.float32)
    alpha[:, :8] = 0.0
    times = effect.thickening(alpha, seen)
    assert np.allclose(times[:, 8:], 2.0) and not times[:, :8].any()  # 0.75 is 0.5 twice over
    assert np.all(effect.thickening(alpha, dust(alpha=0.0)) == 1.0)
