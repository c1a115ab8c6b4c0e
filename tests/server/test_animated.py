# SPDX-License-Identifier: Apache-2.0
"""Dials that change over the shot: each frame of the guide answers to the value of its own frame."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from falling_tower import FIRST, FallingTower
from platebridge.curves import Curve
from platebridge.errors import RequestError
from platebridge.frames import FrameRange
from platebridge.request import GuideSettings
from platebridge_server.guide import guide
from platebridge_server.guide.debris import Debris
from platebridge_server.guide.dials import Dials, refuse_turned
from platebridge_server.guide.emitters import Event
from platebridge_server.guide.guide import Guide, simulation_of, view_of
from platebridge_server.guide.motion import Moving

LAST = FIRST + 15
BEGUN = FIRST + 5  # the first frame with dust


def simulated(folder, **dials):
    shot = FallingTower(**dials)
    made = Guide(shot, shot.request.guide, 24.0, (27, 48), folder)
    made.simulate()
    return made


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The guide without debris, its dials as they are."""
    return simulated(tmp_path_factory.mktemp("bare"), debris=0)


def cover(made):
    """Mean alpha of every frame from the first with dust on."""
    return np.array([made.frame(f).alpha.mean() for f in range(BEGUN, LAST + 1)])


def same(a, b):
    """Whether two frames are equal bit for bit."""
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("sun", "ambient", "alpha", "depth", "light_view"))


def test_an_amount_that_grows_lets_out_little_at_first_and_more_later(bare, tmp_path):
    grown = cover(simulated(tmp_path / "grown", debris=0, amount="%d:0,%d:3" % (BEGUN, LAST)))
    most = cover(simulated(tmp_path / "most", debris=0, amount=3.0))
    assert grown[0] == 0 and grown[1] < 0.4 * most[1]  # of a dial that stands at 3 all the time
    assert 0.5 * most[-1] < grown[-1] < most[-1]
    share = grown[1:] / most[1:]
    assert share[0] < share[4] < share[-1]


def test_an_amount_that_ends_stops_the_dust_but_does_not_take_it_away(bare, tmp_path):
    ended = simulated(tmp_path, debris=0, amount="%d:1,%d:0" % (BEGUN + 3, BEGUN + 4))
    dust, whole = ([float(made._cloud(f)[0].sum()) for f in range(BEGUN, LAST + 1)] for made in (ended, bare))
    assert dust[:4] == whole[:4]
    assert 0.3 * dust[4] < dust[-1] < 1.05 * dust[4] < 0.5 * whole[-1]


def test_until_a_dial_moves_the_cloud_is_that_of_the_dial_that_stands_still_bit_for_bit(bare, tmp_path):
    sunk = simulated(tmp_path, debris=0, rise="%d:0.3,%d:-2" % (BEGUN + 4, BEGUN + 5))
    for f in range(BEGUN, BEGUN + 5):
        assert np.array_equal(sunk._cloud(f)[0], bare._cloud(f)[0]), f
    sunken, usual = (made._cloud(LAST)[0].sum((1, 2)).numpy() for made in (sunk, bare))
    assert np.average(np.arange(len(sunken)), weights=sunken) < np.average(np.arange(len(usual)), weights=usual)


def test_a_wind_that_turns_carries_the_dust_one_way_and_then_the_other(tmp_path):
    one_way = simulated(tmp_path / "one", debris=0, wind=20.0)
    turns = simulated(tmp_path / "turns", debris=0, wind=20.0, wind_direction="%d:90,%d:-90" % (BEGUN + 4, BEGUN + 5))

    def across(made, frame):
        density, facts = made._cloud(frame)
        x = facts["origin"][0] + facts["cell"] * (np.arange(density.shape[2]) + 0.5)
        return float((density.sum((0, 1)).numpy() * x).sum() / density.sum())

    assert across(turns, BEGUN + 4) == pytest.approx(across(one_way, BEGUN + 4), abs=0.4)
    assert across(turns, LAST) < across(turns, BEGUN + 5) - 1.0 and across(one_way, LAST) > across(one_way, BEGUN + 5)


@pytest.mark.parametrize("curves", [{"density": (0.5, 4.0)}, {"sun_azimuth": (-60.0, 120.0), "sun_elevation": (10.0, 60.0)}])
def test_what_is_only_seen_is_looked_at_anew_and_each_frame_is_that_of_its_value_bit_for_bit(bare, monkeypatch, curves):
    monkeypatch.setattr(guide.solver.Smoke, "step", None)  # nothing is simulated again

    def looked_at(**dials):
        shot = FallingTower(debris=0, **dials)
        made = Guide(shot, shot.request.guide, 24.0, bare.size, bare._store.folder)
        made.simulate()
        return made

    moving = looked_at(**{name: "%d:%g,%d:%g" % (BEGUN, a, LAST, b) for name, (a, b) in curves.items()})
    for f in (BEGUN, LAST - 5, LAST):
        part = (f - BEGUN) / (LAST - BEGUN)
        still = looked_at(**{name: a + (b - a) * part for name, (a, b) in curves.items()})
        camera = moving.shot.camera.at(f)
        assert same(moving.frame(f), still.frame(f)) and same(moving.through(f, camera), still.through(f, camera))
    assert moving.folder != bare.folder


def test_a_shadow_that_fades_in_is_that_of_its_frame(bare):
    def shadows(value):
        shot = FallingTower(debris=0, shadow=value)
        made = Guide(shot, shot.request.guide, 24.0, bare.size, bare._store.folder)
        return {f: made.shadow(f, shot.depth(f)) for f in (BEGUN, LAST - 5, LAST)}

    fading, half, full = shadows("%d:0,%d:1" % (LAST - 10, LAST)), shadows(0.5), shadows(1.0)
    assert fading[BEGUN] is None
    assert np.array_equal(fading[LAST - 5], half[LAST - 5]) and np.array_equal(fading[LAST], full[LAST])


def breaking(frame):
    random = np.random.default_rng(frame)
    points = random.uniform((-10, -1, 0), (10, 1, 20), (300, 3))
    return Moving(points, np.tile([0.0, 0, -5], (300, 1)), np.ones(300), np.zeros(300), np.full(300, 2.0), np.zeros(300, bool))


def born(first=10, last=40, **curves):
    """How many chunks (no grit) and how large they are, by the frame in which they start."""
    animated = tuple(Curve(name, keys) for name, keys in sorted(curves.items()))
    made = Debris(Dials(GuideSettings(debris=400), animated), Event(20.0, 0.0, 8.0, first), 1 / 24, breaking, first, last)
    out, seen = {}, set()
    for frame in range(first, last + 1):
        chunks = made.step(frame)
        new = [(n, s) for n, s in zip(chunks.number, chunks.size) if n not in seen and not made.is_grit[n]]
        seen |= {n for n, _ in new}
        out[frame] = [float(s) for _, s in new]
    return out


def test_chunks_start_as_many_as_the_dial_says_in_their_frame():
    still, opened = born(), born(debris=((10, 0), (19, 0), (20, 400)))
    assert sum(len(opened[f]) for f in range(10, 20)) == 0 < sum(len(still[f]) for f in range(10, 20))
    assert {f: opened[f] for f in range(20, 41)} == {f: still[f] for f in range(20, 41)}
    halved = born(debris=((10, 400), (11, 200), (40, 200)))
    assert sum(map(len, halved.values())) == pytest.approx(len(still[10]) + 0.5 * sum(len(still[f]) for f in range(11, 41)), rel=0.15)


def test_chunks_are_as_large_as_the_dial_says_in_their_frame():
    still, grown = born(), born(debris_size=((10, 0.5), (25, 0.5), (26, 2.0)))
    for f in range(10, 41):
        assert grown[f] == pytest.approx([s * (1.0 if f <= 25 else 4.0) for s in still[f]], rel=1e-5)


@pytest.mark.parametrize("name", [n for n in guide.COLOURS if n != "tint"])
def test_light_and_shadow_that_change_leave_the_simulation_and_its_view_what_they_are(name):
    plain, moving = FallingTower().request, FallingTower(**{name: {FIRST: 0.0, LAST: 1.0}}).request
    assert moving.animated and moving.hash() != plain.hash()
    assert simulation_of(moving, "") == simulation_of(plain, "") and view_of(moving, "", (27, 48)) == view_of(plain, "", (27, 48))


@pytest.mark.parametrize("name", guide.VIEW)
def test_dials_of_the_view_that_change_leave_the_simulation_what_it_is(name):
    plain, moving = FallingTower().request, FallingTower(**{name: {FIRST: 1.0, LAST: 2.0}}).request
    still = FallingTower(**{name: 1.0}).request
    assert simulation_of(moving, "") == simulation_of(plain, "")
    assert len({view_of(r, "", (27, 48)) for r in (plain, moving, still)}) == 3 or name == "density"
    assert view_of(moving, "", (27, 48)) != view_of(still, "", (27, 48))


@pytest.mark.parametrize(
    "name", ["amount", "speed", "rise", "spread", "turbulence", "billows", "wind", "wind_direction", "debris", "debris_size"]
)
def test_dials_of_the_simulation_that_change_are_another_simulation(name):
    less = 0 if name == "debris" else 0.5
    moving, still = (FallingTower(**{name: value}).request for value in ({FIRST: 1.0, LAST: less}, 1.0))
    assert simulation_of(moving, "") != simulation_of(still, "")


def test_a_second_camera_takes_a_simulation_whose_dials_changed_and_only_with_the_same_curve(tmp_path):
    rise = "%d:0.3,%d:2" % (FIRST, LAST)
    first = simulated(tmp_path, rise=rise)

    def aside(frames=16, **dials):
        shot = FallingTower(eye=(45, -38, 9), frames=frames, simulation=simulation_of(first.shot.request, ""), **dials)
        return Guide(shot, shot.request.guide, 24.0, first.size, first._store.folder)

    assert aside(rise=rise).frames == first.frames
    assert len(aside(frames=9, rise=rise).frames) == 9  # the same curve, cut to fewer frames
    with pytest.raises(RequestError, match=r"rise is 0\.3 at frame 1002, and in the simulation it is 0\.41"):
        aside()


@pytest.mark.parametrize(("name", "keys"), [("rise", "1001:-0.3,1011:0.7,1016:-0.5"), ("debris", "1001:0,1011:7")])
def test_a_curve_through_nothing_and_one_of_whole_numbers_are_the_same_curve_cut_to_fewer_frames(name, keys):
    whole = FallingTower(**{name: keys}).request
    for last in range(FIRST + 2, LAST):
        for first in range(FIRST, last):
            part = dataclasses.replace(whole, frames=FrameRange(first, last), animated=()).with_dials({name: whole.dial_values()[name]})
            refuse_turned(Dials.of(part), Dials.of(whole), part.frames, guide.SIMULATED)
    with pytest.raises(RequestError, match=name):
        refuse_turned(Dials.of(FallingTower(**{name: 3}).request), Dials.of(whole), whole.frames, guide.SIMULATED)
