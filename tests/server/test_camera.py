# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera: pixels to points and back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import Camera, CameraFrame
from platebridge_server.camera import EYE_HEIGHT, CameraPath

STILL = ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))


def path(*frames, up=(0, 0, 1), size=(40, 60)):
    return CameraPath.from_request(Camera(30.0, 36.0, up, frames), FrameRange(1, 10), size[1], size[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pixels_go_to_points_and_come_back(seed):
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, random.normal(0, 1e4, 3)
    camera = path(CameraFrame(1, tuple(map(tuple, matrix)), random.uniform(10, 200), tuple(random.uniform(0, 60, 2)))).at(1)
    depth = random.uniform(0.1, 1e3, (40, 60))
    x, y, z = camera.project(camera.unproject(depth))
    assert np.allclose(z, depth, rtol=1e-9, atol=1e-6)
    assert np.allclose(x, np.arange(60) + 0.5, atol=1e-5)
    assert np.allclose(y, (np.arange(40) + 0.5)[:, None], atol=1e-5)


def test_x_is_right_y_is_up_and_it_looks_along_minus_z():
    camera = path(CameraFrame(1, STILL)).at(1)
    points = camera.unproject(np.full((40, 60), 5.0))
    assert points[0, 0, 0] < 0 < points[0, 0, 1]  # row 0 is the top
    assert np.all(points[..., 2] == -5.0)
    x, y, _ = camera.project(np.array([0.0, 0, -3]))
    assert (x, y) == (30.0, 20.0)


def test_focal_length_is_millimetres_over_the_sensor_in_pixels():
    assert path(CameraFrame(1, STILL)).at(1).focal_px == (50.0, 50.0)
    assert path(CameraFrame(1, STILL, focal_mm=60.0)).at(1).fx == 100.0


def test_pixels_twice_as_wide_as_high_are_the_squeezed_picture_of_square_ones():
    lens = Camera(30.0, 36.0, (0, 0, 1), (CameraFrame(1, STILL),))
    square = CameraPath.from_request(lens, FrameRange(1, 1), 120, 40).at(1)
    scanned = CameraPath.from_request(lens, FrameRange(1, 1), 60, 40, 2.0).at(1)
    points = np.random.default_rng(3).normal(size=(50, 3)) - (0, 0, 9)
    (x, y, _), (wide, high, _) = scanned.project(points), square.project(points)
    assert np.allclose(2 * x, wide) and np.allclose(y, high)


def test_ray_scale_turns_distance_into_depth():
    camera = path(CameraFrame(1, STILL)).at(1)
    depth = np.full((40, 60), 7.0)
    distance = np.linalg.norm(camera.unproject(depth), axis=-1)
    assert np.allclose(distance * camera.ray_scale(), depth)


def test_a_frame_that_is_not_listed_holds_the_nearest():
    moved = tuple(map(tuple, np.eye(4) + np.array([[0, 0, 0, 9.0]] + [[0, 0, 0, 0]] * 3)))
    cameras = path(CameraFrame(2, STILL), CameraFrame(6, moved))
    assert [cameras.at(f).camera_to_world[0, 3] for f in (-5, 2, 3, 4, 5, 99)] == [0, 0, 0, 0, 9, 9]


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 1, 0), (0.0, -2.0, 0)])
def test_without_a_camera_one_stands_level_at_eye_height(up):
    cameras = CameraPath.from_request(Camera(up=up), FrameRange(1, 3), 60, 40)
    assert not cameras.given
    matrix = cameras.at(1).camera_to_world
    assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3)) and np.isclose(np.linalg.det(matrix[:3, :3]), 1)
    assert np.allclose(matrix[:3, 1], cameras.up) and np.isclose(matrix[:3, 3] @ cameras.up, EYE_HEIGHT)
    assert np.array_equal(cameras.at(1).camera_to_world, cameras.at(3).camera_to_world)


def test_a_window_sees_the_same_points():
    camera = path(CameraFrame(1, STILL)).at(1)
    window = camera.resized((30, 20), (0.25, 0.5, 0.5, 1.0))  # columns 15 to 30, rows 20 to 40
    x, y, _ = window.project(camera.unproject_at(np.array([15.0, 30.0]), np.array([20.0, 40.0]), np.array([3.0, 8.0])))
    assert np.allclose(x, [0, 20]) and np.allclose(y, [0, 30])


def test_scale_in_the_matrix_is_taken_out():
    scaled = np.diag([0.01, 0.01, 0.01, 1.0])
    scaled[:3, 3] = 1, 2, 3
    matrix = path(CameraFrame(1, tuple(map(tuple, scaled)))).at(1).camera_to_world
    assert np.allclose(matrix[:3, :3], np.eye(3)) and np.allclose(matrix[:3, 3], [1, 2, 3])


def test_a_mirroring_camera_is_refused_by_frame():
    mirrored = tuple(map(tuple, np.diag([-1.0, 1, 1, 1])))
    with pytest.raises(InputError) as caught:
        path(CameraFrame(1, STILL), CameraFrame(4, mirrored))
    assert (caught.value.input, caught.value.frame) == ("camera", 4)


def test_a_matrix_that_was_written_column_by_column_is_refused_by_frame():
    """Maya and Houdini write it so: read row by row it would be a camera at the world's origin, turned the other way."""
    stands = np.array([[1.0, 0, 0, 5], [0, 0, -1, 2], [0, 1, 0, 1.7], [0, 0, 0, 1]])
    with pytest.raises(InputError, match=r"ends in 5, 2, 1\.7, 1") as caught:
        path(CameraFrame(1, STILL), CameraFrame(4, tuple(map(tuple, stands.T))))
    assert (caught.value.input, caught.value.frame) == ("camera", 4) and "row by row" in caught.value.mend
    assert np.allclose(path(CameraFrame(1, tuple(map(tuple, stands)))).at(1).camera_to_world, stands)


def test_another_world_is_the_same_picture():
    camera = path(CameraFrame(1, STILL)).at(1)
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], [5, 6, 7]
    point = np.array([0.3, -0.2, -4.0])
    moved = camera.moved(transform).project(transform[:3, :3] @ point + transform[:3, 3])
    assert np.allclose(moved, camera.project(point))
    assert dataclasses.is_dataclass(camera)
