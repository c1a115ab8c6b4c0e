# SPDX-License-Identifier: GPL-3.0-or-later
"""The collapse: pieces that add up, stay until they are let go, do not fly off, and render the plate until they move."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import OpenImageIO as oiio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.collapse import bodies, camera_match, clean_plate, convex, debris, keys, meshes, projection
from blender_addon.collapse.contacts import touching
from blender_addon.collapse.fracture import Piece, face_planes, fracture, seeds_inside


@pytest.fixture(autouse=True)
def empty_file():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    yield
    bpy.ops.wm.read_factory_settings(use_empty=True)


def edges_open(solid: convex.Solid) -> int:
    """Edges that do not run exactly once each way."""
    _, faces, _ = solid.indexed()
    seen: dict[tuple[int, int], int] = {}
    for face in faces:
        for a, b in zip(face, face[1:] + face[:1]):
            seen[a, b] = seen.get((a, b), 0) + 1
    return sum(1 for (a, b), n in seen.items() if n != 1 or (b, a) not in seen)


def wall(count: int = 12) -> list[Piece]:
    """A wall of 4 x 0.4 x 3 m on the ground, in pieces."""
    return fracture([convex.box((0, 0, 0), (4, 0.4, 3))], [count], seed=2)


def let_go(pieces: list[Piece], frame: int, strength: float = 0.0) -> bodies.Plan:
    pairs, area = touching(pieces)
    return bodies.Plan(np.full(len(pieces), frame), np.zeros((len(pieces), 3)), np.zeros((len(pieces), 3)), pairs, strength * area)


# pieces


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 999), turn=st.floats(0, 1.5))
def test_pieces_of_a_ring_add_up_to_the_ring_and_are_closed_and_convex(count, seed, turn):
    section, tags = [(3.0, 0.0), (4.0, 0.3), (4.2, 2.0), (3.1, 2.2)], [convex.INNER, convex.SKIN, convex.SKIN, convex.INNER]
    parts = convex.ring(section, tags, (1.0, -2.0), turn)[:2]
    pieces = fracture(parts, [count, 3], seed=seed)
    assert sum(p.volume for p in pieces) == pytest.approx(sum(s.volume() for s in parts), rel=1e-9)
    for piece in pieces:
        assert edges_open(piece.solid) == 0
        corners, planes = np.array(piece.solid.points()), face_planes(piece.solid)
        assert (corners @ planes[:, :3].T - planes[:, 3]).max() < 1e-6


def test_the_count_is_what_was_asked_for_and_the_seed_decides_the_rest():
    assert len(wall(40)) == 40
    assert [p.centre for p in wall(9)] == [p.centre for p in wall(9)]
    part = convex.box((0, 0, 0), (1, 1, 1))
    assert len(seeds_inside(part, 200, np.random.default_rng(0))) == 200


def test_skin_stays_skin_and_what_the_fracture_opened_is_cut():
    area = {convex.SKIN: 0.0, convex.CUT: 0.0}
    for piece in wall():
        for face, tag in zip(piece.solid.faces, piece.solid.tags):
            p = np.array(face)
            area[tag] += 0.5 * np.linalg.norm(np.cross(p, np.roll(p, -1, 0)).sum(0))
    assert area[convex.SKIN] == pytest.approx(2 * (4 * 0.4 + 4 * 3 + 0.4 * 3))
    assert area[convex.CUT] > 0


def test_a_flat_part_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="Part 0 of the building is flat"):
        fracture([convex.box((0, 0, 0), (1, 1, 0))], [3])


def test_touching_faces_are_found_with_their_area():
    boxes = [convex.box((0, 0, 0), (1, 1, 1)), convex.box((1, 0.25, 0.5), (2, 2, 3)), convex.box((5, 0, 0), (6, 1, 1))]
    pairs, area = touching(fracture(boxes, [1, 1, 1]))
    assert pairs.tolist() == [[0, 1]]
    assert area[0] == pytest.approx(0.75 * 0.5)


# rigid bodies


def test_nothing_moves_before_its_release_then_everything_falls_and_nothing_flies_off():
    pieces = wall()
    lifted = [
        Piece(
            convex.Solid([[(x, y, z + 2) for x, y, z in f] for f in p.solid.faces], p.solid.tags),
            0,
            p.volume,
            (*p.centre[:2], p.centre[2] + 2),
        )
        for p in pieces
    ]
    placements = bodies.simulate(lifted, let_go(lifted, 6), frames=30)
    at_rest = np.tile(np.eye(4), (len(lifted), 1, 1))
    at_rest[:, :3, 3] = [p.centre for p in lifted]
    assert np.abs(placements[:6] - at_rest).max() < 1e-6
    assert (placements[-1, :, 2, 3] < placements[0, :, 2, 3] - 0.5).all()
    assert np.linalg.norm(np.diff(placements[:, :, :3, 3], axis=0), axis=2).max() * 24 < 15
    assert placements[:, :, 2, 3].min() > 0  # the ground holds
    assert (placements == bodies.simulate(lifted, let_go(lifted, 6), frames=30)).all()
    assert not [s for s in bpy.data.scenes if "simulation" in s.name]
    assert not bpy.data.objects


def test_a_piece_leaves_with_the_velocity_that_was_asked_for():
    piece = fracture([convex.box((-0.5, -0.5, 50), (0.5, 0.5, 51))], [1])
    plan = bodies.Plan(np.array([4]), np.array([[3.0, -2.0, 0.0]]), np.array([[0, 0, 1.5]]), np.empty((0, 2), int), np.empty(0))
    track = bodies.simulate(piece, plan, frames=8)[:, 0]
    leaving = (track[4, :3, 3] - track[3, :3, 3]) * 24
    assert leaving[:2] == pytest.approx([3.0, -2.0], rel=0.02)
    assert np.arctan2(track[4, 1, 0], track[4, 0, 0]) - np.arctan2(track[3, 1, 0], track[3, 0, 0]) == pytest.approx(1.5 / 24, rel=0.05)


def test_what_is_never_released_stands_for_ever():
    pieces = wall(6)
    plan = let_go(pieces, 2)
    plan.release[:3] = bodies.NEVER
    placements = bodies.simulate(pieces, plan, frames=12)
    assert np.abs(placements[:, :3] - placements[0, :3]).max() < 1e-6


def test_a_piece_that_was_fired_away_falls_like_a_stone_instead():
    track = np.tile(np.eye(4), (20, 1, 1, 1))
    track[:, 0, :3, 3] = [0, 0, 30]
    track[8:, 0, 0, 3] = np.arange(12) * 9.0  # 216 m/s
    tamed = bodies.tame(track)
    assert (tamed[:8] == track[:8]).all()
    assert np.abs(np.diff(tamed[:, 0, :3, 3], axis=0)).max() * 24 < 30
    assert tamed[-1, 0, 2, 3] < 29


def test_a_plan_that_does_not_fit_is_refused_in_a_sentence():
    pieces = wall(4)
    plan = let_go(pieces[:3], 2)
    with pytest.raises(ValueError, match="release has shape"):
        bodies.simulate(pieces, plan, frames=4)


def test_chips_ride_inside_their_piece_until_it_breaks_off():
    pieces = wall(8)
    placements = np.tile(np.eye(4), (12, len(pieces), 1, 1))
    placements[:, :, :3, 3] = [p.centre for p in pieces]
    placements[5:, 0, 0, 3] -= np.arange(1, 8) * 0.5
    pairs, _ = touching(pieces)
    assert set(debris.breaks(pieces, pairs, placements)[(pairs == 0).any(1)]) == {5}
    shards, paths = debris.chips(pieces, pairs, placements, count=20)
    assert shards and paths.shape == (12, len(shards), 4, 4)
    for number, shard in enumerate(shards):
        assert np.linalg.norm(paths[:5, number, :3, 3] - pieces[shard.part].centre, axis=1).max() < 0.3


# keys and projection


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_quaternions_and_matrices_are_the_same_turn(q):
    w, x, y, z = np.array(q) / np.linalg.norm(q)
    matrix = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    assert abs(keys.quaternions(matrix[None])[0] @ [w, x, y, z]) == pytest.approx(1, abs=1e-9)


def passes(path: Path) -> dict[str, np.ndarray]:
    source = oiio.ImageInput.open(str(path))
    pixels = source.read_image(0, 0, 0, source.spec().nchannels, oiio.FLOAT)
    names = [name.split(".", 1)[1] for name in source.spec().channelnames]
    source.close()
    return {name: pixels[..., i] for i, name in enumerate(names)}


def save(path: Path, pixels: np.ndarray) -> str:
    out = oiio.ImageOutput.create(str(path))
    out.open(str(path), oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], oiio.FLOAT))
    out.write_image(np.ascontiguousarray(pixels, np.float32))
    out.close()
    return str(path)


def test_unmoved_pieces_are_the_plate_exactly_and_depth_and_vectors_tell_where_moved_ones_are(tmp_path):
    # odd sizes; values above 1 and below 0
    camera = camera_match.Camera(61, 41, 60.0, camera_match.level_rotation(0.1), np.array([2.0, -8.0, 1.0]))
    plate = np.random.default_rng(1).uniform(-0.5, 6.0, (41, 61, 4)).astype(np.float32)
    plate[..., 3] = 1.0
    pieces = wall()
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1001, 1002
    eye = projection.match_camera(camera)
    scene.collection.objects.link(eye)
    scene.camera = eye
    projection.exact_render(scene, camera, samples=1)
    image = projection.picture(save(tmp_path / "plate.exr", plate), "plate")
    material = projection.plate_material("plate", camera, image, image)
    blocks = [meshes.visible_piece(f"piece {i}", p, (0.5, 0.4, 0.3), scene.collection, material) for i, p in enumerate(pieces)]
    placements = np.tile(np.eye(4), (2, len(pieces), 1, 1))
    placements[:, :, :3, 3] = [p.centre for p in pieces]
    placements[1, :, :3, 3] += [0.3, 0.0, -0.1]
    first = keys.bake(blocks, placements, [1001, 1002])
    assert (first == 1).all()
    output = scene.render.image_settings
    output.file_format, output.color_depth, output.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    result = []
    for frame in (1001, 1002):
        scene.frame_set(frame)
        scene.render.filepath = str(tmp_path / f"{frame}.exr")
        bpy.ops.render.render(write_still=True)
        result.append(passes(tmp_path / f"{frame}.exr"))
    rest, moved = result
    covered = rest["Combined.A"] == 1
    assert covered.sum() > 400
    for n, channel in enumerate("RGB"):
        assert (rest[f"Combined.{channel}"][covered] == plate[..., n][covered]).all()

    # the skin faces -y at y = 0: what a pixel's depth says must lie on it, and its vector must lead to where it goes
    y, x = np.nonzero(covered & (rest["Depth.Z"] < 9))
    front = camera.unproject(np.stack([x + 0.5, y + 0.5], 1), rest["Depth.Z"][y, x])
    on_skin = np.abs(front[:, 1]) < 0.02
    assert on_skin.sum() > 200
    x, y, front = x[on_skin], y[on_skin], front[on_skin]
    there = camera.project(front + [0.3, 0.0, -0.1])[0]
    flow = np.stack([-rest["Vector.Z"][y, x], rest["Vector.W"][y, x]], 1)
    assert flow == pytest.approx(there - np.stack([x + 0.5, y + 0.5], 1), abs=0.02)
    assert np.abs(moved["Vector.X"][moved["Combined.A"] == 1]).min() > 1.0
    assert np.abs(rest["Vector.X"]).max() < 1e-4


# camera match


@pytest.mark.parametrize(("focal", "yaw", "pitch"), [(600.0, 0.6, -0.05), (900.0, -0.9, 0.12), (500.0, 0.35, 0.0)])
def test_lines_along_two_directions_give_back_the_camera(focal, yaw, pitch):
    true = camera_match.Camera(640, 427, focal, camera_match.level_rotation(pitch, yaw), np.array([1.0, -30.0, 4.0]))
    spots = true.unproject(np.array([[200.0, 150.0], [420.0, 330.0], [320.0, 90.0]]), np.array([25.0, 30.0, 28.0]))
    along = [true.project(np.concatenate([spots, spots + np.eye(3)[axis] * 6]))[0].reshape(2, 3, 2).swapaxes(0, 1) for axis in (0, 1)]
    found = camera_match.from_vanishing_lines(*along, 640, 427)
    assert found.focal_px == pytest.approx(focal, rel=1e-6)
    # which of two opposite directions is "x" a picture cannot tell; z is up
    same = np.abs(found.rotation.T @ true.rotation)
    assert same == pytest.approx(np.eye(3), abs=1e-6) or (found.rotation[2] == pytest.approx(true.rotation[2], abs=1e-6))


def test_corners_of_a_solid_give_back_camera_and_solid_together():
    true = np.array([5.8, -0.03, 0.2, 12.0, 7.0])

    def corners(x):
        camera = camera_match.Camera(640, 427, x[0] * 100, camera_match.level_rotation(x[1]), np.array([0, 0, 10.0]))
        angle = x[2] + np.arange(4) * np.pi / 2
        ring = np.stack([x[3] * np.sin(angle), 60 - x[3] * np.cos(angle)], 1)
        points = np.concatenate([np.c_[ring, np.full(4, 2.0)], np.c_[ring, np.full(4, 10.0 + x[4])]])
        return camera.project(points)[0]

    marks = corners(true)
    found, rms = camera_match.least_squares(lambda x: (corners(x) - marks).ravel(), np.array([7.0, 0.0, 0.0, 10.0, 5.0]))
    assert found == pytest.approx(true, rel=1e-5)
    assert rms < 1e-5


def test_lines_that_cannot_be_a_camera_are_refused_in_a_sentence():
    same = np.array([[[0, 0], [100, 10]], [[0, 100], [100, 100]]], float)
    with pytest.raises(ValueError, match="right angles"):
        camera_match.from_vanishing_lines(same, same, 640, 427)
    with pytest.raises(ValueError, match="at least two lines"):
        camera_match.from_vanishing_lines(same[:1], same, 640, 427)


# clean plate


def test_a_membrane_carries_a_gradient_through_a_hole():
    y, x = np.mgrid[0:60, 0:80]
    sky = np.stack([0.01 * x + 0.02 * y, 0.5 + 0.005 * y, np.full(x.shape, 0.7)], -1)
    hole = (np.abs(x - 40) < 15) & (np.abs(y - 30) < 12)
    spoiled = np.where(hole[..., None], 9.0, sky)
    assert clean_plate.membrane_fill(spoiled, hole) == pytest.approx(sky, abs=0.02)


def test_a_difference_matte_gives_back_the_coverage_it_was_mixed_with():
    rng = np.random.default_rng(0)
    alpha = rng.uniform(0, 1, (20, 30))
    own, behind = np.full((20, 30, 3), [0.2, 0.1, 0.05]), np.full((20, 30, 3), [0.7, 0.8, 0.9])
    mixed = own * alpha[..., None] + behind * (1 - alpha[..., None])
    assert clean_plate.difference_matte(mixed, behind, own) == pytest.approx(alpha)


def test_colours_are_pushed_outward_and_kept_inside():
    picture = np.zeros((20, 20, 3))
    picture[:, :10] = [0.8, 0.4, 0.2]
    valid = np.zeros((20, 20), bool)
    valid[:, :8] = True
    pushed = clean_plate.push_colours(picture, valid, reach=6)
    assert pushed[:, :14] == pytest.approx(np.broadcast_to([0.8, 0.4, 0.2], (20, 14, 3)))
    assert (clean_plate.grow(valid, 3)[:, :11]).all()
    assert not clean_plate.grow(valid, 3)[:, 11:].any()
