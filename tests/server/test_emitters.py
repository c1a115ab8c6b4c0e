# SPDX-License-Identifier: Apache-2.0
"""What moves under the mask, how fast, and how much dust it throws out."""

from __future__ import annotations

import numpy as np
import pytest
from falling_tower import FIRST, FallingTower
from platebridge.frames import FrameRange
from platebridge.request import GuideSettings
from platebridge_server.camera import CameraPath
from platebridge_server.guide import domain, motion
from platebridge_server.guide.dials import Dials
from platebridge_server.guide.emitters import Emitters, Event

UP = np.array([0.0, 0.0, 1.0])


def found(shot, frame, before=None):
    """What moves at a frame, in the world."""
    before = frame - 1 if before is None else before
    now, then = (motion.look(shot.depth(f), shot.mask(f), shot.vectors(f), shot.camera.at(f)) for f in (frame, before))
    return motion.moving(now, then, (frame - before) / 24, UP)


@pytest.mark.parametrize("size, pixels", [((54, 96), 0.2), ((1080, 1920), 0.2), ((1080, 1920), 0.05)])
def test_rest_is_less_than_a_tenth_of_a_pixel_of_the_plate_however_it_is_thinned(size, pixels):
    """At many frames a second a large plate's falls begin with fractions of a pixel."""
    camera = CameraPath.from_request(None, FrameRange(1, 2), size[1], size[0]).at(1)
    wall, mask = np.full(size, 60.0, np.float32), np.ones(size, np.float32)
    vectors = np.broadcast_to(np.float32([0, pixels]), (*size, 2))
    now, then = (motion.look(wall, mask, v, camera) for v in (vectors, None))
    speed = np.linalg.norm(motion.moving(now, then, 1 / 240, UP).velocity, axis=1)
    if pixels < motion.VECTOR_NOISE:
        assert not len(speed)
    else:
        assert np.median(speed) == pytest.approx(pixels * 60 / camera.fx * 240, rel=0.01)


def test_a_large_frame_does_not_stay_in_memory_for_the_few_pixels_that_are_looked_at():
    """The last frames are kept to be compared; of a plate of 4K each would be a tenth of a gigabyte."""
    camera = CameraPath.from_request(None, FrameRange(1, 1), 1920, 1080).at(1)
    large = np.ones((1080, 1920), np.float32)
    seen = motion.look(large, large, np.zeros((1080, 1920, 2), np.float32), camera)
    assert seen.step == 4 and not np.shares_memory(seen.depth, large) and not np.shares_memory(seen.mask, large)
    assert max(a.nbytes for a in (seen.depth, seen.mask, seen.vectors)) < large.nbytes / 7


@pytest.mark.parametrize("velocity", [(0, 0, -8.0), (6.0, 0, 0), (-3.0, 4.0, -5.0), (0, -12.0, 0)])
def test_vectors_give_metres_per_second_though_the_camera_moves(velocity):
    shot = FallingTower(begin=0, velocity=velocity, travel=0.7)
    got = found(shot, FIRST + 4)
    assert len(got) > 100
    assert np.median(got.velocity, axis=0) == pytest.approx(velocity, abs=0.3)


def test_vectors_point_to_where_the_surface_was_with_y_up():
    shot = FallingTower(begin=0, velocity=(0, 0, -8.0), travel=0.0)
    assert shot.vectors(FIRST + 4)[shot.mask(FIRST + 4) > 0][:, 1].min() > 0  # it was higher


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("travel", [0.0, 0.4, 1.5, 4.0])
@pytest.mark.parametrize("size", [(54, 96), (90, 160), (217, 301)])
def test_a_mask_that_stands_still_moves_nothing_however_the_camera_moves(vectors, travel, size):
    shot = FallingTower(begin=None, travel=travel, vectors=vectors, size=size)
    assert [len(found(shot, FIRST + k)) for k in range(1, 8)] == [0] * 7
    assert len(found(shot, FIRST + 7, FIRST + 3)) == 0 or vectors


def test_without_vectors_a_falling_tower_is_seen_to_fall():
    shot = FallingTower(size=(108, 192), begin=0, velocity=(0, 0, -9.0), vectors=False, travel=0.3)
    got = found(shot, FIRST + 8, FIRST + 4)
    falling = got.velocity[:, 2] < -3
    assert falling.sum() > 50
    assert np.median(got.velocity[falling, 2]) == pytest.approx(-9.0, abs=4.0)


def test_a_mask_that_appears_is_fresh_once():
    shot = FallingTower(begin=None, vectors=False)
    appears = shot.mask
    shot.mask = lambda frame: appears(frame) * (frame >= FIRST + 4)
    assert [len(found(shot, FIRST + k)) > 0 for k in range(2, 7)] == [False, False, True, False, False]
    assert found(shot, FIRST + 4).fresh.all()


def test_sky_and_holes_in_the_mask_and_broken_vectors_are_left_out():
    shot = FallingTower(begin=0, velocity=(0, 0, -8.0))
    depth, vectors, random = shot.depth, shot.vectors, np.random.default_rng(0)
    spoilt = random.random(shot.size) < 0.1

    def holed(frame):
        return np.where(spoilt & (random.random(shot.size) < 0.5), np.inf, np.where(spoilt, 0.0, depth(frame))).astype(np.float32)

    def broken(frame):
        out = vectors(frame).copy()
        out[random.random(shot.size) < 0.05] = 1e10
        out[random.random(shot.size) < 0.05] = np.nan
        return out

    shot.depth, shot.vectors = holed, broken
    got = found(shot, FIRST + 4)
    assert all(np.isfinite(a).all() for a in got.arrays())
    assert np.median(got.velocity, axis=0) == pytest.approx((0, 0, -8.0), abs=0.7)
    assert np.linalg.norm(got.velocity, axis=1).max() <= motion.FASTEST + 1e-6


def test_an_empty_mask_moves_nothing():
    shot = FallingTower(begin=0)
    shot.mask = lambda frame: np.zeros(shot.size, np.float32)
    assert len(found(shot, FIRST + 4)) == 0


def emitted(size, frame=FIRST + 8, **dials):
    """(what a frame emits, the points it came from), of the tower seen at a picture size."""
    shot = FallingTower(size=size)
    level = domain.level_from_world(shot.camera, FIRST)
    now, then = (motion.look(shot.depth(f), shot.mask(f), shot.vectors(f), shot.camera.at(f).moved(level)) for f in (frame, frame - 1))
    got = motion.moving(now, then, 1 / 24, UP)
    return Emitters(Dials(GuideSettings(**dials)), Event(25.0, -6.0, 8.0), 1 / 24).emit(got, frame), got


def dust(burst):
    """Cubic metres of dust of density 1 per second."""
    return float((burst.volume * burst.density).sum())


def test_emission_does_not_depend_on_the_plate_s_resolution():
    small, large = (dust(emitted(size)[0]) for size in ((108, 192), (324, 576)))
    assert large == pytest.approx(small, rel=0.10)


def test_thinning_points_keeps_the_area_they_stand_for():
    _, moving = emitted((108, 192))
    assert len(moving) > 300
    assert moving.thinned(300, np.random.default_rng(0)).area.sum() == pytest.approx(moving.area.sum())


def test_amount_nothing_emits_nothing_and_more_emits_more():
    assert emitted((54, 96), amount=0.0)[0] is None
    amounts = [dust(emitted((54, 96), amount=a)[0]) for a in (0.25, 0.5, 1.0, 2.0, 4.0)]
    assert np.all(np.diff(amounts) > 0)


def test_speed_throws_outward_harder_and_spread_swells_more():
    def outward(speed):
        burst, _ = emitted((54, 96), speed=speed)
        return float(np.linalg.norm(burst.velocity[:, :2], axis=1).mean())

    assert outward(0.5) < 0.7 * outward(1.0) < 0.7 * 0.7 * outward(2.0)
    assert emitted((54, 96), spread=2.0)[0].swell.sum() == pytest.approx(2 * emitted((54, 96), spread=1.0)[0].swell.sum(), rel=1e-4)


def test_the_surge_leaves_at_ten_to_thirty_metres_a_second_from_a_forty_metre_fall():
    event = Event(40.0, 0.0, 12.0)
    n = 500
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(-10, 10, n), np.full(n, 60.0), random.uniform(0, 30, n)], 1)
    falling = motion.Moving(points, np.tile([0, 0, -12.0], (n, 1)), np.full(n, 1.0), np.zeros(n), np.zeros(n), np.zeros(n, bool))
    burst = Emitters(Dials(GuideSettings()), event, 1 / 24).emit(falling, 1001)
    low = burst.position[:, 2] < 0.13 * event.height
    speeds = np.linalg.norm(burst.velocity[low], axis=1)
    assert 10 < np.quantile(speeds, 0.5) < 30


def test_a_fall_far_above_open_ground_makes_no_surge_but_one_behind_trees_does():
    n = 500
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(-10, 10, n), np.full(n, 60.0), random.uniform(25, 40, n)], 1)
    emitters = Emitters(Dials(GuideSettings()), Event(40.0, 0.0, 12.0), 1 / 24)

    def lowest(hidden):
        falling = motion.Moving(points, np.tile([0, 0, -12.0], (n, 1)), np.ones(n), np.zeros(n), np.zeros(n), np.full(n, hidden))
        return emitters.emit(falling, 1001).position[:, 2].min()

    assert lowest(False) > 10 and lowest(True) < 5


def test_an_edge_whose_depth_was_averaged_with_the_sky_s_moves_nothing():
    """As a reformat or a filter leaves it: a few pixels that stand kilometres away took the shot's surge and all of its debris."""
    shot, seen = FallingTower((108, 192), eye=(0, -60, 1.7)), []
    for frame in (FIRST + 8, FIRST + 9):
        depth, mask = shot.depth(frame), shot.mask(frame)
        sky = ~np.isfinite(depth)
        beside = np.zeros_like(sky)
        beside[:, 1:] |= sky[:, :-1]
        beside[:, :-1] |= sky[:, 1:]
        mixed = np.where(beside & (mask > 0), 0.5 * (depth + 65504), depth)
        seen.append(motion.look(mixed, mask, shot.vectors(frame), shot.camera.at(frame)))
    moved = motion.moving(seen[1], seen[0], 1 / 24, UP)
    assert len(moved) > 300 and np.abs(moved.points).max() < 100
