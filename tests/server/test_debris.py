# SPDX-License-Identifier: Apache-2.0
"""Chunks and grit: thrown by what breaks, falling as stones do, drawn where the plate lets them be seen."""

from __future__ import annotations

import numpy as np
import pytest
from platebridge.request import GuideSettings
from platebridge_server.camera import Pinhole
from platebridge_server.guide import chunk_layer, debris
from platebridge_server.guide.debris import Chunks, Debris
from platebridge_server.guide.dials import Dials
from platebridge_server.guide.emitters import Event
from platebridge_server.guide.motion import Moving

EVENT = Event(scale=20.0, ground=0.0, thickness=8.0)
CAMERA = Pinhole(np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), 100.0, 100.0, 80.0, 60.0, (120, 160))
SUN, UP = np.array([0.6, 0.6, 0.53]), np.array([0.0, 1, 0])


def breaking(frame):
    """A wall of 300 points that falls between frames 10 and 30."""
    if not 10 <= frame <= 30:
        return None
    random = np.random.default_rng(frame)
    points = np.stack([random.uniform(-5, 5, 300), np.full(300, 40.0), random.uniform(0, 20, 300)], 1)
    return Moving(points, np.tile([0, 0, -6.0], (300, 1)), np.ones(300), np.zeros(300), np.ones(300), np.zeros(300, bool))


def flown(last=40, **dials):
    """Chunks at every frame from 10 on."""
    made = Debris(Dials(GuideSettings(**dials)), EVENT, 1 / 24, breaking, 10, 30)
    return [made.step(frame) for frame in range(10, last + 1)]


def test_as_many_chunks_fly_as_the_dial_says():
    for count in (0, 7, 200):
        assert (flown(debris=count)[-1].number < count).sum() == count
    assert len(flown(debris=0)[-1]) == 0


def test_no_amount_of_dust_is_no_debris():
    assert len(flown(amount=0.0)[-1]) == 0


def test_sizes_reach_the_dial_and_small_ones_are_many():
    size = flown(debris=500, debris_size=2.0)[-1].size
    chunks = size[size > 0.24]
    assert 1.2 < chunks.max() <= 2.0
    assert np.median(chunks) < 0.6
    assert (size < 0.2).sum() > 100 * 0.2  # grit


def test_nothing_flies_before_something_moves():
    made = Debris(Dials(GuideSettings()), EVENT, 1 / 24, lambda frame: breaking(frame) if frame >= 20 else None, 10, 30)
    assert [len(made.step(frame)) for frame in range(10, 20)] == [0] * 10


def test_everything_comes_to_rest_on_the_ground():
    at_last = flown(last=300)[-1]
    assert len(at_last) == 60  # grit is lost on the ground
    assert np.all(at_last.velocity == 0)
    assert np.allclose(at_last.position[:, 2], EVENT.ground + 0.3 * at_last.size, atol=1e-3)


def test_in_the_air_they_fall_with_gravity():
    frames = flown()
    one, two = frames[15], frames[16]
    both = np.intersect1d(one.number, two.number)
    a, b = (c.velocity[np.isin(c.number, both)] for c in (one, two))
    high = one.position[np.isin(one.number, both), 2] > 3
    large = one.size[np.isin(one.number, both)] > 0.2
    assert (b - a)[high & large, 2].mean() * 24 == pytest.approx(-debris.GRAVITY, rel=0.15)


def test_the_same_composition_flies_the_same_and_another_differently():
    a, b, c = flown()[20], flown()[20], flown(composition=1)[20]
    assert np.array_equal(a.position, b.position) and np.array_equal(a.turn, b.turn)
    assert a.position.shape != c.position.shape or not np.array_equal(a.position, c.position)


def test_a_few_large_ones_trail_dust_while_they_fly():
    position, _, radius = flown()[14].trails()
    assert 0 < len(position) <= debris.FINGERS and radius.min() > 0
    assert len(flown(last=300)[-1].trails()[0]) == 0


# --- drawn ------------------------------------------------------------------------------------------------------------------


def chunk(at=(0.0, 20.0, 0.0), size=2.0, velocity=(0.0, 0, 0), number=0):
    pick = (at, velocity, (0.3, 0.2, 0.1))
    return Chunks(*(np.array([a], np.float32) for a in pick), np.array([size], np.float32), np.array([number]), np.zeros(1, np.float32))


def drawn(chunks, depth=np.inf, shutter=1 / 48):
    plate = np.broadcast_to(np.float32(depth), CAMERA.size) if np.isscalar(depth) else depth
    return chunk_layer.draw(chunks, CAMERA, plate, SUN, UP, shutter)


def test_a_chunk_is_as_large_and_where_the_camera_sees_it():
    layer = drawn(chunk())
    x = (layer.alpha.sum(0) * (np.arange(layer.alpha.shape[1]) + layer.left + 0.5)).sum() / layer.alpha.sum()
    y = (layer.alpha.sum(1) * (np.arange(layer.alpha.shape[0]) + layer.top + 0.5)).sum() / layer.alpha.sum()
    assert (x, y) == (pytest.approx(80, abs=1), pytest.approx(60, abs=1))
    assert 0.3 * 78 < layer.alpha.sum() < 1.1 * 78  # a disc of 10 pixels across has 78
    assert layer.alpha.max() == pytest.approx(1, abs=1e-5)
    assert np.allclose(layer.z[layer.alpha > 0], 20) and np.all(np.isinf(layer.z[layer.alpha == 0]))


def test_its_edges_are_smooth_and_its_facets_differ():
    layer = drawn(chunk(size=6.0))
    assert ((layer.alpha > 0.05) & (layer.alpha < 0.95)).sum() > 20
    whole = layer.alpha > 0.999
    assert len(np.unique(np.round(layer.sun[whole], 3))) >= 4


def test_no_two_stones_are_alike():
    a, b = drawn(chunk(size=4.0, number=1)), drawn(chunk(size=4.0, number=2))
    assert a.alpha.shape != b.alpha.shape or np.abs(a.alpha - b.alpha).max() > 0.5


def test_motion_draws_it_out_over_half_a_frame():
    still, fast = drawn(chunk()), drawn(chunk(velocity=(96.0, 0, 0)))
    assert fast.alpha.sum() == pytest.approx(still.alpha.sum(), rel=0.03)  # the same light, drawn out

    def width(layer):
        return np.count_nonzero(layer.alpha.max(0) > 0.02)

    assert width(fast) - width(still) == pytest.approx(96 / 48 * 100 / 20, abs=2)  # 2 m of way, 5 pixels to the metre


def test_grit_is_as_much_as_it_covers():
    small = drawn(chunk(size=0.1))
    assert small.alpha.sum() == pytest.approx(0.7854 * 0.5**2, rel=0.02)  # half a pixel across


@pytest.mark.parametrize("size", [0.1, 0.4, 6.0, 20.0])
def test_on_an_anamorphic_plate_a_stone_is_squeezed_as_the_picture_is(size):
    """Pixels twice as wide as high: half as many of them across."""
    stones, (h, w) = chunk(size=size), CAMERA.size
    squeezed = Pinhole(CAMERA.camera_to_world, CAMERA.fx / 2, CAMERA.fy, CAMERA.cx / 2, CAMERA.cy, (h, w // 2))
    plain = chunk_layer.draw(stones, CAMERA, np.full((h, w), np.inf, np.float32), SUN, UP, 1 / 48)
    made = chunk_layer.draw(stones, squeezed, np.full((h, w // 2), np.inf, np.float32), SUN, UP, 1 / 48)
    assert made.alpha.sum() == pytest.approx(plain.alpha.sum() / 2, rel=0.05)
    if size >= 6:
        rows, columns = (np.count_nonzero(made.alpha.max(axis) > 0.5) / np.count_nonzero(plain.alpha.max(axis) > 0.5) for axis in (1, 0))
        assert rows == pytest.approx(1, abs=0.06) and columns == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("size", [0.1, 2.0])
def test_the_plate_hides_what_lies_behind_it_and_no_more(size):
    assert drawn(chunk(size=size), 20.0) is None and drawn(chunk(size=size), 19.0) is None
    assert np.array_equal(drawn(chunk(size=size), 20.01).alpha, drawn(chunk(size=size)).alpha)
    half = np.full(CAMERA.size, np.inf, np.float32)
    half[:, :80] = 5.0
    layer = drawn(chunk(size=size), half)
    assert layer.alpha[:, : max(80 - layer.left, 0)].sum() == 0 < layer.alpha.sum()


def test_the_nearer_stone_is_before_the_farther():
    near, far = chunk((0, 20.0, 0), 2.0, number=1), chunk((0, 30.0, 0), 6.0, number=2)
    both = Chunks(*(np.concatenate([a, b]) for a, b in zip(vars(near).values(), vars(far).values())))
    layer = drawn(both)
    middle = 60 - layer.top, 80 - layer.left
    assert layer.z[middle] == 20 and layer.alpha[middle] == pytest.approx(1)
    assert np.all(layer.z[layer.alpha > 0] <= 30)


def test_what_is_behind_the_camera_or_beside_the_picture_is_nothing():
    assert drawn(chunk((0, -5.0, 0))) is None and drawn(chunk((500.0, 20, 0))) is None
    assert chunk_layer.bounds(chunk((0, -5.0, 0)), CAMERA, 1 / 48) is None


def test_the_bounds_hold_all_that_is_drawn():
    chunks = chunk(size=3.0, velocity=(40.0, 0, 30))
    left, top, right, bottom = chunk_layer.bounds(chunks, CAMERA, 1 / 48)
    layer = drawn(chunks)
    rows, columns = np.nonzero(layer.alpha)
    assert left * 160 <= columns.min() + layer.left and columns.max() + layer.left + 1 <= right * 160
    assert top * 120 <= rows.min() + layer.top and rows.max() + layer.top + 1 <= bottom * 120
