# SPDX-License-Identifier: Apache-2.0
"""The guide of a whole shot: empty until something moves, led by its dials, the same every time."""

from __future__ import annotations

import dataclasses

import falling_tower
import numpy as np
import pytest
import torch
from falling_tower import FIRST, FallingTower
from platebridge.errors import Cancelled, RequestError, StorageError
from platebridge_server.guide import dials, domain, frame, guide
from platebridge_server.guide.dials import Dials
from platebridge_server.guide.guide import Guide
from platebridge_server.work import CroppedGuide, WorkArea

LAST = FIRST + 15


def simulated(folder, shot=None, size=(27, 48), **dials):
    shot = shot or FallingTower(**dials)
    made = Guide(shot, shot.request.guide, 24.0, size, folder)
    made.simulate()
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The guide as it is with the dials as they are."""
    return simulated(tmp_path_factory.mktemp("plain"))


def same(a, b):
    """Whether two frames are equal bit for bit."""
    pictures = all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("sun", "ambient", "alpha", "depth"))
    pieces = (a.chunks.arrays() if a.chunks else {}), (b.chunks.arrays() if b.chunks else {})
    return pictures and pieces[0].keys() == pieces[1].keys() and all(np.array_equal(pieces[0][k], pieces[1][k]) for k in pieces[0])


def test_a_tower_that_stands_gives_no_dust_where_its_vectors_say_nothing(tmp_path, monkeypatch):
    """The camera passes it by: a vector of 0 would be a tower that goes along with the camera."""
    straight = falling_tower.looking
    monkeypatch.setattr(falling_tower, "looking", lambda eye, target: straight(eye, (eye[0], *target[1:])))
    shot = FallingTower(frames=4, begin=None, travel=0.6)
    told = shot.vectors
    monkeypatch.setattr(shot, "vectors", lambda frame: np.where(shot.mask(frame)[..., None] > 0, np.nan, told(frame)))
    assert simulated(tmp_path, shot).bbox is None


def test_before_the_collapse_there_is_exactly_nothing_then_dust(plain):
    assert [plain.empty(FIRST + k) for k in range(4)] == [True] * 4
    assert plain.frame(FIRST + 3).alpha.max() == 0
    assert not plain.empty(FIRST + 8)


def test_it_starts_thin_and_grows(plain):
    covered = [float(plain.frame(f).alpha.mean()) for f in range(FIRST + 4, LAST + 1)]
    assert covered[0] < 0.1 * covered[-1]
    assert np.all(np.diff(covered) > -1e-3)
    assert plain.frame(LAST).alpha.max() > 0.9  # nearly opaque near the source


def test_dust_lies_where_the_tower_is(plain):
    shot = plain.shot
    alpha = plain.frame(LAST).alpha
    x, y, _ = shot.camera.at(LAST).resized(plain.size).project(np.array([0.0, 0, 4]))
    rows, columns = np.indices(alpha.shape)
    assert (alpha * columns).sum() / alpha.sum() == pytest.approx(x, abs=5)
    assert (alpha * rows).sum() / alpha.sum() == pytest.approx(y, abs=5)


def test_passes_are_premultiplied_and_depth_is_where_there_is_dust(plain):
    seen = plain.frame(LAST)
    assert np.all(seen.sun <= seen.alpha + 1e-5) and np.all(seen.ambient <= seen.alpha + 1e-5)
    assert np.all(np.isfinite(seen.depth[seen.alpha > 1e-3])) and np.all(np.isinf(seen.depth[seen.alpha == 0]))
    assert np.median(seen.depth[seen.alpha > 0.5]) == pytest.approx(60, abs=15)
    assert np.linalg.norm(seen.light_view) == pytest.approx(1, abs=1e-5)


def test_the_box_of_the_picture_holds_all_dust_that_can_be_seen(plain):
    left, top, right, bottom = plain.bbox
    h, w = plain.size
    for f in plain.frames:
        rows, columns = np.nonzero(plain.frame(f).alpha > 1 / 1024)
        if len(rows):
            assert rows.min() >= top * h and rows.max() + 1 <= bottom * h
            assert columns.min() >= left * w and columns.max() + 1 <= right * w


def test_the_same_request_gives_the_same_bits(plain, tmp_path):
    again = simulated(tmp_path)
    assert all(same(plain.frame(f), again.frame(f)) for f in plain.frames)


def test_another_composition_is_another_cloud(plain, tmp_path):
    assert not same(plain.frame(LAST), simulated(tmp_path, composition=1).frame(LAST))


def test_an_interrupted_run_is_taken_up_and_ends_equal(plain, tmp_path):
    shot = FallingTower()
    asked = []
    with pytest.raises(Cancelled):
        Guide(shot, shot.request.guide, 24.0, (27, 48), tmp_path).simulate(cancelled=lambda: asked.append(1) or len(asked) > 26)
    came = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("views/*/frame.*")}
    assert 0 < len(came) < 16
    whole = simulated(tmp_path)
    assert all((whole.folder / name).stat().st_mtime_ns == at for name, at in came.items() if not plain.empty(int(name.split(".")[1])))
    assert all(same(plain.frame(f), whole.frame(f)) for f in plain.frames)


def test_what_is_kept_of_a_frame_is_exactly_what_was_seen(plain):
    seen = plain.through(LAST, plain.shot.camera.at(LAST).resized((40, 60)))
    again = frame.unpacked(frame.packed(seen), (40, 60), seen.light_view)
    assert same(seen, again)
    assert all(
        bool((getattr(seen.deep, n) == getattr(again.deep, n)).all()) for n in ("planes", "cumulative_alpha", "cumulative_depth", "front")
    )


def test_dust_all_over_the_plate_is_rendered_once(plain, tmp_path, monkeypatch):
    area = WorkArea(0, 0, 96, 54, (108, 192))
    again = plain.through(LAST, area.camera(plain.shot.camera.at(LAST), plain.size))
    monkeypatch.setattr(plain, "through", None)
    seen = CroppedGuide(plain, area, plain.shot.camera.at, tmp_path, "crop").frame(LAST)
    assert same(seen, again) and bool((seen.deep.cumulative_alpha == again.deep.cumulative_alpha).all())


def test_two_crops_of_one_guide_are_kept_side_by_side(plain, tmp_path):
    """Two takes of one view at work at once: a draft and its painting, or two workers."""
    areas = WorkArea(8, 4, 64, 40, (80, 128)), WorkArea(0, 0, 96, 54, (54, 96))
    alone = [plain.through(LAST, area.camera(plain.shot.camera.at(LAST), area.guide_size)) for area in areas]
    one, two = (CroppedGuide(plain, area, plain.shot.camera.at, tmp_path, "crop") for area in areas)
    assert same(one.frame(LAST), alone[0]) and same(two.frame(LAST), alone[1])
    fresh = [CroppedGuide(plain, area, plain.shot.camera.at, tmp_path, "crop") for area in areas]
    assert [same(crop.frame(LAST), wanted) for crop, wanted in zip(fresh, alone)] == [True, True]
    assert len(list(tmp_path.rglob("frame.*"))) == 2  # each is kept once


def test_a_model_is_told_how_large_a_cell_of_the_cloud_is_in_its_field(plain, tmp_path):
    area = WorkArea(0, 0, 96, 54, (108, 192))
    cropped = CroppedGuide(plain, area, plain.shot.camera.at, tmp_path, "crop")
    edge, thick = plain.cell(LAST)
    size, told_thick = cropped.cell(LAST)
    camera = area.camera(plain.shot.camera.at(LAST), area.size)
    seen = cropped.frame(LAST)
    near, far = (float(f(seen.depth[seen.alpha > 0])) for f in (np.min, np.max))
    assert camera.fy * edge / far < size < camera.fy * edge / near and told_thick == thick
    twice = CroppedGuide(plain, dataclasses.replace(area, size=(216, 384)), plain.shot.camera.at, tmp_path / "twice", "crop")
    assert twice.cell(LAST)[0] == pytest.approx(2 * size, rel=0.02)
    assert cropped.cell(FIRST) is None and plain.cell(FIRST) is None


def test_a_frame_s_dust_is_lit_once_whoever_looks(plain, monkeypatch):
    monkeypatch.setattr(guide.volume, "light", None)
    camera = plain.shot.camera.at(LAST).resized(plain.size)
    assert np.array_equal(plain.through(LAST, camera).sun, plain.frame(LAST).sun)
    assert plain.through(LAST, camera.resized((54, 96), (0.1, 0.2, 0.7, 0.9))).sun.max() > 0.1


def test_a_guide_that_is_there_is_not_made_again(plain, monkeypatch):
    monkeypatch.setattr(guide.solver.Smoke, "step", None)
    taken = Guide(FallingTower(), plain.settings, 24.0, plain.size, plain._store.folder)
    seen = []
    taken.simulate(lambda done, total: seen.append((done, total)))
    assert same(taken.frame(LAST), plain.frame(LAST)) and seen[-1][0] == seen[-1][1]


def test_what_another_request_left_is_not_taken(plain, tmp_path):
    simulated(tmp_path, amount=0.0)
    assert same(simulated(tmp_path).frame(LAST), plain.frame(LAST))


def test_light_and_colour_dials_need_no_new_simulation(plain, monkeypatch):
    monkeypatch.setattr(guide.solver.Smoke, "step", None)
    shot = FallingTower(tint=(0.1, 0.2, 0.3), light=2.0, ambient=0.5)
    relit = Guide(shot, shot.request.guide, 24.0, plain.size, plain._store.folder)
    relit.simulate()
    assert same(relit.frame(LAST), plain.frame(LAST))


# --- dials -------------------------------------------------------------------------------------------------------------------


def cover(made, frame=LAST):
    return float(made.frame(frame).alpha.mean())


def centre(made, frame=LAST):
    """Centre of the dust in level space: right, away, up."""
    density, facts = made._cloud(frame)
    d = density.numpy()
    z, y, x = (np.indices(d.shape) + 0.5) * facts["cell"] + np.array(facts["origin"])[::-1].reshape(3, 1, 1, 1)
    return np.array([(d * a).sum() / d.sum() for a in (x, y, z)])


def width(made, frame=LAST):
    """Root mean square distance of the dust from its centre, sideways."""
    density, facts = made._cloud(frame)
    d = density.numpy().sum((0, 1))
    x = (np.arange(len(d)) + 0.5) * facts["cell"]
    return float(np.sqrt((d * (x - (d * x).sum() / d.sum()) ** 2).sum() / d.sum()))


def test_amount_nothing_is_exactly_nothing(tmp_path):
    made = simulated(tmp_path, amount=0.0)
    assert made.bbox is None and all(made.empty(f) for f in made.frames)


def test_amount_covers_more(plain, tmp_path):
    less, more = (cover(simulated(tmp_path / str(a), amount=a)) for a in (0.3, 3.0))
    assert less < 0.9 * cover(plain) and cover(plain) < 0.9 * more


def test_density_is_thicker_but_the_same_cloud(plain, tmp_path):
    thin, thick = (simulated(tmp_path / str(d), density=d) for d in (0.2, 4.0))
    assert cover(thin) < cover(plain) < cover(thick)
    assert np.allclose(centre(thin), centre(thick))


def test_speed_throws_it_wider(plain, tmp_path):
    assert width(simulated(tmp_path / "slow", speed=0.3)) < width(plain) < width(simulated(tmp_path / "fast", speed=2.5))


def test_spread_swells_it(plain, tmp_path):
    assert cover(simulated(tmp_path / "tight", spread=0.2)) < cover(plain) < cover(simulated(tmp_path / "wide", spread=3.0))


def test_rise_lifts_and_below_nothing_hugs_the_ground(plain, tmp_path):
    low, high = centre(simulated(tmp_path / "low", rise=-2.0))[2], centre(simulated(tmp_path / "high", rise=4.0))[2]
    assert low < centre(plain)[2] < high


@pytest.mark.parametrize(("towards", "axis", "sign"), [(90, 0, 1), (-90, 0, -1), (0, 1, 1), (180, 1, -1)])
def test_wind_carries_the_dust_where_it_blows(plain, tmp_path, towards, axis, sign):
    blown = centre(simulated(tmp_path, wind=12.0, wind_direction=towards)) - centre(plain)
    assert sign * blown[axis] > 1.0


def test_turbulence_breaks_the_cloud_up(tmp_path):
    def swirl(turbulence):
        made = simulated(tmp_path / str(turbulence), turbulence=turbulence, detail=56, frames=16)
        density, _ = made._cloud(LAST)
        bumps = sum(float(density.diff(n=2, dim=d).abs().sum()) for d in (0, 1, 2))
        return bumps / float(density.sum())

    assert swirl(3.0) > 1.05 * swirl(0.0)


def test_billows_crease_the_cloud_and_leave_it_where_it_is(tmp_path):
    round_, creased = (simulated(tmp_path / str(depth), billows=depth, detail=56, frames=16) for depth in (0.0, 0.8))
    before, after = (made._cloud(LAST)[0] for made in (round_, creased))
    assert float(after.sum()) == pytest.approx(float(before.sum()), rel=0.02)
    assert 0.01 < float((before - after).clamp_min(0).sum() / before.sum()) < 0.5
    assert cover(creased) == pytest.approx(cover(round_), rel=0.1)


def test_nothing_before_the_start_frame(tmp_path):
    made = simulated(tmp_path, start_frame=FIRST + 10)
    assert all(made.empty(f) for f in range(FIRST, FIRST + 10)) and not made.empty(LAST)


def test_more_detail_is_the_same_amount_of_dust(plain, tmp_path):
    assert cover(simulated(tmp_path, detail=56)) == pytest.approx(cover(plain), rel=0.25)


def test_a_final_has_the_draft_s_cloud_in_finer_cells(tmp_path):
    draft, final = (simulated(tmp_path / quality, detail=48, frames=28, quality=quality) for quality in ("draft", "final"))
    assert (draft.cells, final.cells) == (48, 72)
    assert final.cell(LAST)[0] == pytest.approx(draft.cell(LAST)[0] / dials.FINER)
    pair = [np.stack([made.frame(f).alpha for f in made.frames]) for made in (draft, final)]
    assert np.corrcoef(*(alpha.ravel() for alpha in pair))[0, 1] > 0.9


def test_a_final_follows_the_air_of_its_draft(tmp_path, monkeypatch):
    """Left to itself, finer cells would drift into another cloud."""

    def apart(name, follows):
        monkeypatch.setattr(guide, "FOLLOWS", follows)
        smokes, step = {}, guide.solver.Smoke.step
        monkeypatch.setattr(guide.solver.Smoke, "step", lambda smoke, *more: (step(smoke, *more), smokes.update({smoke.cell: smoke}))[0])
        simulated(tmp_path / name, quality="final", frames=24)
        fine, coarse = (smokes[cell].velocity for cell in sorted(smokes))
        seen = torch.nn.functional.interpolate(fine[None], coarse.shape[1:], mode="area")[0]
        return float((seen - coarse).square().mean() / coarse.square().mean())

    assert apart("led", 0.3) < 0.5 * apart("free", 0.0)


def test_drafts_and_looks_at_the_guide_share_a_simulation_and_finals_have_their_own():
    draft, final = (FallingTower(quality=quality).request for quality in ("draft", "final"))
    look = dataclasses.replace(final, model=dataclasses.replace(final.model, name="guide"))
    crisp = dataclasses.replace(final, model=dataclasses.replace(final.model, quality="crisp"))
    names = [guide.simulation_of(request, "") for request in (draft, look, final, crisp)]
    assert names[0] == names[1] != names[2] == names[3]


def test_a_named_simulation_keeps_its_cells_whatever_is_made_of_it(tmp_path):
    shot = FallingTower(quality="final")
    made = simulated(tmp_path, shot)
    again = simulated(tmp_path, FallingTower(simulation=guide.simulation_of(shot.request, "")))
    assert again.cells == made.cells == 48 and same(again.frame(LAST), made.frame(LAST))


def test_no_final_has_more_cells_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(domain, "MOST_CELLS", 1500)  # half as many again as the box's
    box = domain.Box((0.0, 0.0, 0.0), (10, 10, 10), 1.0)
    assert box.finer(3.0).shape == (12, 12, 12) and box.finer(3.0).cell == pytest.approx(1.5 ** (-1 / 3))
    assert domain.Box((0.0, 0.0, 0.0), (20, 10, 10), 1.0).finer(1.5).cell == 1.0


def test_one_frame_of_broken_depth_makes_the_collapse_no_larger(tmp_path):
    shot, broken = FallingTower(frames=24), FallingTower(frames=24)
    depth = broken.depth
    broken.depth = lambda frame: depth(frame) * (10 if frame == FIRST + 9 else 1)
    heights = []
    for number, each in enumerate((shot, broken)):
        made = Guide(each, each.request.guide, 24.0, (27, 48), tmp_path / str(number))
        heights.append(made._survey(lambda: None).event().height)
    assert heights[1] == pytest.approx(heights[0], rel=0.1)


def test_the_sun_lights_the_side_it_stands_at(tmp_path):
    def lit(azimuth):
        seen = simulated(tmp_path / str(azimuth), sun_azimuth=azimuth, sun_elevation=20).frame(LAST)
        ratio = seen.sun.sum(0) / np.maximum(seen.alpha.sum(0), 1e-3)
        there = np.nonzero(seen.alpha.sum(0) > 1)[0]
        half = len(there) // 2
        return ratio[there[half:]].mean() - ratio[there[:half]].mean()

    assert lit(90) > 0.05 and lit(-90) < -0.05


# --- where it is -----------------------------------------------------------------------------------------------------------


def test_a_moving_camera_sees_the_cloud_fixed_in_the_world(tmp_path):
    moving, still = simulated(tmp_path / "m", FallingTower(travel=0.8)), simulated(tmp_path / "s", FallingTower(travel=0.0))

    def middle(made):
        level = np.linalg.inv(made.level)
        return level[:3, :3] @ centre(made) + level[:3, 3]

    # Each shot has level axes of its own, so other patches of the tower emit: near, not equal.
    assert middle(moving) == pytest.approx(middle(still), abs=3.5)  # of a tower 25 m tall and 18 m wide
    for f in (FIRST + 9, LAST):  # its picture lies where that point is seen
        level = np.linalg.inv(moving.level)
        x, _, _ = moving.shot.camera.at(f).resized(moving.size).project(level[:3, :3] @ centre(moving, f) + level[:3, 3])
        alpha = moving.frame(f).alpha
        assert (alpha.sum(0) * (np.arange(alpha.shape[1]) + 0.5)).sum() / alpha.sum() == pytest.approx(x, abs=2.5)


def test_another_camera_sees_the_same_cloud(plain):
    camera = plain.shot.camera.at(LAST)
    whole = plain.through(LAST, camera.resized(plain.size))
    assert np.array_equal(whole.alpha, plain.frame(LAST).alpha)
    window = plain.through(LAST, camera.resized(plain.size, (0.25, 0.25, 0.75, 0.75)))
    assert window.alpha[::2, ::2].mean() == pytest.approx(plain.frame(LAST).alpha[7:21, 12:36].mean(), rel=0.15)


@pytest.fixture(scope="module")
def aside(plain):
    """`aside(**dials)`: the simulation of `plain` through a camera that stands at its right, with a camera path of its own."""

    def see(**how):
        shot = FallingTower(eye=(45, -38, 9), travel=-0.3, simulation=guide.simulation_of(plain.shot.request, ""), **how)
        shot.mask = shot.vectors = None  # never asked for
        return Guide(shot, shot.request.guide, 24.0, plain.size, plain._store.folder)

    return see


def test_a_second_camera_sees_the_very_same_density_without_a_simulation(plain, aside, monkeypatch):
    monkeypatch.setattr(guide.solver.Smoke, "step", None)
    other, steps = aside(), []
    other.simulate(lambda done, total: steps.append((done, total)))
    assert steps[-1] == (16, 16) and np.array_equal(other.level, plain.level)
    for f in (FIRST + 8, LAST):
        assert np.array_equal(other._cloud(f)[0], plain._cloud(f)[0])
        assert np.array_equal(other._chunks(f).position, plain._chunks(f).position)
    assert other.folder != plain.folder and not same(other.frame(LAST), plain.frame(LAST))


def test_what_the_first_camera_sees_lies_in_the_second_s_picture_where_its_lens_puts_it(plain, aside):
    other = aside()
    other.simulate()
    for f in (FIRST + 12, LAST):
        for mine, its in ((plain, other), (other, plain)):
            seen, camera = mine.frame(f), mine.shot.camera.at(f).resized(mine.size)
            thick = seen.alpha > 0.5
            rows, columns = np.nonzero(thick)
            points = camera.unproject_at(columns + 0.5, rows + 0.5, seen.depth[thick])
            x, y, depth = its.shot.camera.at(f).resized(its.size).project(points)
            inside = (x >= 0) & (x < its.size[1]) & (y >= 0) & (y < its.size[0])
            there = its.frame(f)
            at = y[inside].astype(int), x[inside].astype(int)
            assert inside.mean() > 0.5 and (there.alpha[at] > 0.1).mean() > 0.95
            # Nothing that one sees lies before what the other sees first there, but for what is thin.
            assert (depth[inside] > there.deep.front[at].numpy() - 2.0).mean() > 0.95


def test_a_second_camera_may_look_through_another_density_and_sun(plain, aside):
    thick = aside(density=4.0, sun_azimuth=-60)
    thick.simulate()
    usual = aside()
    usual.simulate()
    assert cover(thick) > 1.1 * cover(usual) and np.array_equal(thick._cloud(LAST)[0], plain._cloud(LAST)[0])


@pytest.mark.parametrize(("how", "said"), [({"rise": 1.0}, "rise is 1.0"), ({"frames": 17}, "frames 1001-1016")])
def test_a_kept_simulation_keeps_its_dials_and_frames(aside, how, said):
    with pytest.raises(RequestError, match=said):
        aside(**how)


@pytest.mark.parametrize("kind", ["cloud", "frame"])
def test_what_a_power_cut_has_damaged_is_said_once_and_made_anew(tmp_path, kind):
    last, first = FIRST + 7, simulated(tmp_path, frames=8)
    seen, camera = first.frame(last), first.shot.camera.at(last).resized(first.size)
    for store in (first._store, first._view):
        for path in store.folder.glob("%s.%d.*" % (kind, last)):
            path.write_bytes(b"")
    with pytest.raises(StorageError, match="damaged"):
        first.through(last, camera) if kind == "cloud" else first.frame(last)
    again = simulated(tmp_path, frames=8)
    assert same(again.frame(last), seen)
    assert np.array_equal(again.through(last, camera).alpha, seen.alpha)


def test_a_rate_is_the_same_whoever_rounded_it(tmp_path):
    """A host says 24000 / 1001, an artist types 23.976."""
    first = FallingTower(frames=2)
    Guide(first, first.request.guide, 24000 / 1001, (27, 48), tmp_path).simulate()
    second = FallingTower(frames=2, simulation=guide.simulation_of(first.request, ""))
    assert len(Guide(second, second.request.guide, 23.976, (27, 48), tmp_path).frames) == 2
    with pytest.raises(RequestError, match=r"at 23\.976 a second"):
        Guide(second, second.request.guide, 24.0, (27, 48), tmp_path)


def test_a_simulation_that_is_gone_is_said_to_be(tmp_path):
    shot = FallingTower(simulation="5" * 64)
    with pytest.raises(RequestError, match="not kept"):
        Guide(shot, shot.request.guide, 24.0, (27, 48), tmp_path)


def test_a_world_far_from_its_origin_gives_the_same_cloud(plain, tmp_path):
    shot = FallingTower()
    far = np.eye(4)
    far[:3, 3] = 4e5, -3e6, 200
    camera = shot.request.camera
    frames = tuple(dataclasses.replace(f, camera_to_world=tuple(map(tuple, far @ np.array(f.camera_to_world)))) for f in camera.frames)
    depth, mask, vectors = ({f: read(f) for f in shot.request.frames} for read in (shot.depth, shot.mask, shot.vectors))
    shot.camera = type(shot.camera).from_request(dataclasses.replace(camera, frames=frames), shot.request.frames, 96, 54)
    shot.depth, shot.mask, shot.vectors = depth.get, mask.get, vectors.get
    assert cover(simulated(tmp_path, shot)) == pytest.approx(cover(plain), rel=0.02)


def test_up_may_be_any_axis(plain, tmp_path):
    shot = FallingTower()
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # z up becomes y up
    camera = shot.request.camera
    frames = tuple(dataclasses.replace(f, camera_to_world=tuple(map(tuple, turn @ np.array(f.camera_to_world)))) for f in camera.frames)
    depth, mask, vectors = ({f: read(f) for f in shot.request.frames} for read in (shot.depth, shot.mask, shot.vectors))
    shot.camera = type(shot.camera).from_request(dataclasses.replace(camera, frames=frames, up=(0, 1, 0)), shot.request.frames, 96, 54)
    shot.depth, shot.mask, shot.vectors = depth.get, mask.get, vectors.get
    assert cover(simulated(tmp_path, shot)) == pytest.approx(cover(plain), rel=0.02)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
def test_no_range_of_depth_takes_unbounded_memory(factor):
    survey, random = domain.Survey(), np.random.default_rng(0)
    for _ in range(5):
        points = random.normal(0, 1, (200, 3)) * [factor * 1e3, factor, factor] + [0, 50, 0]
        points[0] = 1e9
        survey.moved.append(np.stack([np.quantile(points, 0.01, axis=0), np.quantile(points, 0.99, axis=0)]))
        survey.bases.append(-factor)
        survey.widths.append(factor)
    shot = FallingTower(detail=192)
    box = survey.box(survey.event(), Dials(shot.request.guide), 2000, 1 / 24)
    assert np.prod(box.shape) <= 1.2 * domain.MOST_CELLS and min(box.shape) >= domain.FEWEST


def test_seen_from_high_above_dust_may_fall_towards_the_camera_s_foot_too():
    """The lens is far away, though its foot is near: nothing there is to be cut off along a line."""
    def box(height):
        survey = domain.Survey()
        survey.moved.append(np.array([[-20.0, 6.0, -height], [20.0, 26.0, 40.0 - height]]))
        survey.bases.append(-height)
        survey.widths.append(40.0)
        return survey.box(survey.event(), Dials(FallingTower().request.guide), 48, 1 / 24)

    low, high = box(2.0), box(130.0)
    assert low.origin[1] == pytest.approx(0.3 * 6)  # eye to eye, dust ends at three tenths of the way
    assert high.origin[1] < -10


def test_a_shot_in_which_nothing_moves_has_no_dust(tmp_path):
    made = simulated(tmp_path, FallingTower(begin=None, frames=6))
    assert made.bbox is None and all(made.empty(f) for f in made.frames)


def test_one_frame_is_a_shot_too(tmp_path):
    made = simulated(tmp_path, FallingTower(frames=1))
    assert made.empty(FIRST)


def test_its_shadow_falls_on_the_street_away_from_the_sun(tmp_path):
    made = simulated(tmp_path, shadow=0.5, sun_azimuth=90, sun_elevation=25, density=3.0)
    depth = made.shot.depth(LAST)
    shadow = made.shadow(LAST, depth)
    assert shadow.shape == depth.shape and 0.2 < shadow.max() <= 0.5 and not shadow[~np.isfinite(depth)].any()
    assert shadow[:, :48].sum() > 1.5 * shadow[:, 48:].sum()
    assert made.shadow(FIRST, depth) is None


def test_the_shadow_dial_at_nothing_leaves_the_plate_alone(plain):
    assert plain.shadow(LAST, plain.shot.depth(LAST)) is None
