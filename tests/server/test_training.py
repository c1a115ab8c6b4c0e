# SPDX-License-Identifier: Apache-2.0
"""How the dust model is made: data that follow from a seed, training that goes on where it stopped."""

import dataclasses
import json
import signal
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from platebridge.errors import InputError, PlatebridgeError, RequestError  # noqa: E402
from platebridge_server.models import dust  # noqa: E402
from platebridge_server.models.dust import condition  # noqa: E402
from platebridge_server.training import data, distil, simulate, train, users  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

FINE, COARSE = (36, 24, 18), (12, 8, 6)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny():
    """Simulations of a size that takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "SIZE", (48, 72))
        patch.setattr(simulate, "CLIP_FRAMES", 6)
        yield patch


@pytest.fixture(scope="module")
def clips(tiny):
    return simulate.simulate(6, FINE, COARSE)


@pytest.fixture(scope="module")
def folder(tiny, clips, tmp_path_factory):
    """Two shards, one of them held out."""
    out = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "simulate", lambda seed, **_: clips)
        data.make_shard(out, 6)
        data.make_shard(out, simulate.HELD_OUT_SEED + 6)
    return out


def test_a_shard_of_an_earlier_recipe_is_made_anew(tiny, clips, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(simulate, "simulate", lambda seed, **_: made.append(seed) or clips)
    data.make_shard(tmp_path, 6)
    data.make_shard(tmp_path, 6)
    assert made == [6]
    monkeypatch.setattr(simulate, "RECIPE", simulate.RECIPE + 1)
    data.make_shard(tmp_path, 6)
    data.make_shard(tmp_path, 6)
    assert made == [6, 6]


def test_a_seed_is_the_same_clip_bit_for_bit(tiny, clips):
    again = simulate.simulate(6, FINE, COARSE)
    assert all(torch.equal(a.truth, b.truth) and torch.equal(a.guide, b.guide) for a, b in zip(clips, again))


def test_another_truth_has_the_same_guide_and_other_billows(tiny, tmp_path, monkeypatch):
    """What a perfect model would be measured against: the same composition, not the same dust. And nothing trains on it."""
    large = (72, 48, 33), (24, 16, 11)  # smaller grids have no room for turbulence of their own
    clips, others = (simulate.simulate(6, *large, chance=chance) for chance in (0, 1))
    for clip, other in zip(clips, others):
        assert torch.equal(clip.guide, other.guide) and torch.equal(clip.light_view, other.light_view)
        assert not torch.equal(clip.truth, other.truth)
    alpha = [torch.nn.functional.avg_pool2d(part[1].truth[:, 2:3], 4).flatten() for part in (clips, others)]
    assert float(torch.corrcoef(torch.stack(alpha))[0, 1]) > 0.9
    monkeypatch.setattr(simulate, "simulate", lambda seed, chance: (clips, others)[chance])
    for chance in (0, 1):
        data.make(tmp_path, 1, 6, chance=chance)
    assert [p.name for p in data.shards(tmp_path)] == ["sim_00006.safetensors"]
    assert torch.allclose(data.read_shard(data.shard_path(tmp_path, 6, chance=1))[1].truth, others[1].truth, atol=2e-3)


def test_clips_have_dust_passes_and_a_guide_of_a_quarter(clips):
    assert len(clips) == 2
    for clip in clips:
        assert clip.truth.shape == (6, 3, 48, 72) and clip.guide.shape == (6, 3, 12, 18)
        assert float(clip.truth.min()) >= 0 and float(clip.truth.max()) <= 1
    assert float(clips[1].truth[:, 2].mean()) > 0.01


def test_the_light_is_told_in_the_cameras_axes(clips):
    for clip in clips:
        torch.testing.assert_close(clip.light_view.norm(dim=1), torch.ones(6))
    camera = simulate.look_at((0, -3, 0), (0, 0, 0))
    torch.testing.assert_close(camera[:3, :3].T @ torch.tensor([1.0, 0, 0]), torch.tensor([1.0, 0, 0]))  # from the right
    torch.testing.assert_close(camera[:3, :3].T @ torch.tensor([0, -1.0, 0]), torch.tensor([0, 0, 1.0]))  # from behind the camera


def test_the_coarse_twin_emits_as_much_as_the_fine_one():
    """Sources are parts of voxels: a coarse cloud is not fatter at its source."""
    event = simulate.Collapse(np.random.default_rng(5))
    points = event.points(event.start + 0.3 * event.fall_time)
    mass = []
    for shape in ((144, 96, 66), (48, 32, 22)):
        smoke = simulate.boxed(shape, simulate.solver.SmokeSettings(), 0)
        mass.append(float(simulate.emit(points, smoke).density.sum()) * smoke.cell**3)
    assert mass[1] == pytest.approx(mass[0], rel=0.15)


def test_a_shard_that_is_there_is_not_made_again(folder, monkeypatch):
    monkeypatch.setattr(simulate, "simulate", lambda seed, **_: pytest.fail("made again"))
    data.make(folder, 1, 6)
    assert sorted(p.name for p in folder.iterdir()) == ["sim_00006.safetensors", "sim_09006.safetensors"]


def test_held_out_shards_are_never_trained_on(folder):
    assert [p.name for p in data.shards(folder)] == ["sim_00006.safetensors"]
    assert [p.name for p in data.shards(folder, held_out=True)] == ["sim_09006.safetensors"]


def test_what_training_never_sees(folder):
    """A façade topples outward: its dust is born ahead of its foot, and its seeds are held out."""
    seed = simulate.UNSEEN_EMITTER_SEED
    event = simulate.collapse(seed)
    assert event.kind == "façade" and seed >= simulate.HELD_OUT_SEED
    at = event.points(event.start + 0.8 * event.fall_time)[0] - [*event.centre, 0]
    ahead = event._world(np.array([[0.0, -1.0, 0.0]]))[0]
    assert float((at @ ahead).mean()) > 0.1
    assert {simulate.collapse(n).kind for n in range(simulate.WIDER_SEED)} == {"tower", "wall", "blast"}
    assert {simulate.collapse(n).kind for n in range(simulate.WIDER_SEED, 60)} == {"tower", "wall", "blast", "floors", "surge"}
    assert {simulate.collapse(n).kind for n in range(simulate.HELD_OUT_SEED, simulate.HELD_OUT_SEED + 20)} <= {"tower", "wall", "blast"}
    random = np.random.default_rng(3)
    lights = [simulate._view(random, 20, True, grazing).sun[2] for grazing in (False, True) for _ in range(20)]
    assert min(lights[:20]) > 0.19 and max(lights[20:]) < 0.13


def test_later_simulations_are_framed_as_takes_are():
    """A take's field has few pixels a cell, and its guide's cells are mostly thicker than the early simulations'."""
    for number in range(20):
        framed, close = (simulate._view(np.random.default_rng(number), 20, True, framed=to) for to in (np.random.default_rng(number), None))
        pixels = framed.focal / (simulate.COARSE[2] * float(framed.camera_to_world[0, :3, 3].norm()))
        assert 2.6 < pixels < 6.0 and 0.8 <= framed.extinction / simulate.COARSE[2] <= 4.0
        assert torch.equal(framed.camera_to_world, close.camera_to_world) and torch.equal(framed.sun, close.sun)


def test_late_simulations_have_clips_as_long_as_shots(tiny, folder, tmp_path, monkeypatch):
    """Of as many frames as a seed says, from 24 to 96 by default; their camera goes no farther in them than in a short one."""
    assert simulate.LONG == (24, 96)
    short, long = (simulate._view(np.random.default_rng(7), frames, True).camera_to_world[:, :3, 3] for frames in (20, 80))
    assert len(long) == 80 and 0 < float((long[76] - long[0]).norm()) == pytest.approx(float((short[19] - short[0]).norm()), rel=1e-3)
    monkeypatch.setattr(simulate, "LONG", (8, 11))
    clips = simulate.simulate(simulate.LONG_SEED, FINE, COARSE)
    assert len({len(part) for clip in clips for part in vars(clip).values()}) == 1 and 8 <= len(clips[0].truth) <= 11
    assert clips[1].truth[-1, 2].mean() > 0.004  # there is dust to its end
    shard = data.shards(folder)[0]
    (tmp_path / shard.name).write_bytes(shard.read_bytes())
    data.write_shard(data.shard_path(tmp_path, simulate.LONG_SEED), clips)
    taught = train.Clips(tmp_path, np.random.default_rng(1))
    taught.begin()  # beside those of another length
    assert {len(truth) for truth, *_ in taught.clips} == {6, len(clips[0].truth)}


def test_floors_burst_from_the_top_down_and_outward():
    seed = next(n for n in range(simulate.WIDER_SEED, 60) if simulate.collapse(n).kind == "floors")
    event = simulate.collapse(seed)
    begins = [begin for _, begin, _ in sorted(event.floors, reverse=True)]
    assert len(begins) >= 4 and begins == sorted(begins)
    floor, begin, _ = event.floors[-1]
    event.chunks, event.jets = [], []
    without, event.floors = event.floors, []
    silent = event.points(begin + 0.01)
    event.floors = without
    at, velocity = (part[len(silent[0]) :] for part in event.points(begin + 0.01)[:2])
    assert len(at) >= 1500 and np.abs(at[:1500, 2] - floor).max() < 0.031
    away = at[:1500, :2] - event.centre
    assert float((away * velocity[:1500, :2]).sum(1).min()) >= 0


def test_a_shard_keeps_the_clip(folder, clips):
    again = data.read_shard(data.shards(folder)[0])
    torch.testing.assert_close(again[1].truth, clips[1].truth, atol=2e-3, rtol=0)
    torch.testing.assert_close(again[1].cell, clips[1].cell, atol=0, rtol=2e-3, equal_nan=True)


def test_a_clip_knows_how_large_a_cell_of_its_guide_is(clips):
    for clip in clips:
        dusty = clip.guide[:, 2].amax((1, 2)) > 0.05
        size, thick = clip.cell[dusty].T
        assert bool(((size > 3) & (size < 20)).all()) and bool(((thick > 0.3) & (thick < 8)).all())
        assert clip.told.shape == (len(clip.truth), 6) and bool((clip.told[dusty, 3] == 1).all())


def test_a_crop_is_now_and_then_of_an_unknown_simulation(folder):
    source = train.Clips(folder, np.random.default_rng(0))
    source.refresh()
    known = [bool(source.crop(2, (32, 32))[2][:, 3].any()) for _ in range(60)]
    assert 0.5 < np.mean(known) < 1.0


def test_a_soft_guide_keeps_the_amount_and_the_depth():
    truth, depth = torch.zeros(2, 3, 64, 64), torch.full((2, 64, 64), torch.inf)
    truth[:, :, 20:40, 24:44], depth[:, 20:40, 24:44] = 0.8, 12.0
    guide, low_depth = data.soft_guide(truth, depth, 2.6)
    assert guide.shape == (2, 3, 16, 16)
    assert float(guide.mean()) == pytest.approx(float(truth.mean()), rel=1e-3)
    torch.testing.assert_close(low_depth[torch.isfinite(low_depth)], torch.full_like(low_depth[torch.isfinite(low_depth)], 12.0))
    assert bool(torch.isinf(low_depth[:, 0, 0]).all())


def test_a_crop_is_guide_plus_residual(folder, clips):
    source = train.Clips(folder, np.random.default_rng(0))
    source.refresh()
    residual, wide, light = source.crop(4, (32, 32))
    assert residual.shape == (4, 3, 32, 32) and wide.shape == (4, condition.CHANNELS, 32, 32) and light.shape == (4, 8)
    whole = residual + wide[:, :3]
    assert float(whole.min()) > -1e-3 and float(whole.max()) < 1 + 1e-3


@pytest.mark.parametrize(("top", "left"), [(0, 0), (16, 40), (8, 20)])
def test_a_widened_crop_is_the_crop_of_the_widened(top, left):
    low = torch.rand(2, 4, 12, 18, generator=torch.Generator().manual_seed(1))
    whole = condition.widen(low, (48, 72))[..., top : top + 32, left : left + 32]
    torch.testing.assert_close(train.widened(low, top, left, (32, 32), 4), whole)


def test_the_loss_of_the_right_answer_is_nothing():
    class Knows:
        sigma_data = 0.5

        def __call__(self, *_):
            return residual

    residual = torch.randn(2, 3, 3, 8, 8)
    loss = train.edm_loss(Knows(), residual, torch.tensor([0.1, 3.0]), None, None, torch.randn(2, 3, 3, 8, 8))
    assert float(loss.max()) == 0.0


SMALL = {"widths": (8, 12), "blocks": (1, 1), "embedding": 16}


def test_training_goes_on_where_it_stopped_and_exports_what_loads(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    options = {"threads": 1, "compiled": False, "config": SMALL}
    first = train.train(folder, tmp_path / "run", 0.03, **options)
    more = train.train(folder, tmp_path / "run", 0.06, resume=True, **options)
    assert more > first > 0
    state = json.loads((tmp_path / "run" / "state.json").read_text())
    assert state["iterations"] == more and state["seconds"] >= 3.5
    assert not list((tmp_path / "run").glob("*.part"))
    pipe = dust.load(folder=train.export(tmp_path / "run", "0", tmp_path / "weights"))
    assert tuple(pipe.unet.options["widths"]) == (8, 12)


def test_the_last_lesson_goes_on_where_it_stopped_and_its_sampler_goes_with_the_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    monkeypatch.setattr(distil, "FRAMES", 4)
    monkeypatch.setattr(distil, "VIEW", (48, 64))
    train.train(folder, tmp_path / "run", 0.02, threads=1, compiled=False, config=SMALL)
    weights = train.export(tmp_path / "run", "0", tmp_path / "weights")
    options = {"steps": 2, "sigma_min": 0.8, "compiled": False}
    first = distil.distil(folder, weights, tmp_path / "last", 0.03, **options)
    seconds = json.loads((tmp_path / "last" / "state.json").read_text())["seconds"]
    more = distil.distil(folder, weights, tmp_path / "last", seconds / 60 + 0.03, resume=True, **options)
    assert more > first > 0
    out = train.export(tmp_path / "last", "1", tmp_path / "out")
    pipe = dust.load(folder=out)
    pipe.scheduler.set_timesteps(2)
    assert pipe.scheduler.sigmas.tolist() == pytest.approx([14.0, 0.8])
    told = json.loads((out / "training.json").read_text())
    assert told["iterations"] == more and told["begun_from"]["version"] == "0"
    before, after = (load_file(f / "unet" / "diffusion_pytorch_model.safetensors") for f in (weights, out))
    assert any(not torch.equal(before[key], after[key]) for key in before)
    halfway = train.export(tmp_path / "last", "2", tmp_path / "half", weights, 0.5) / "unet" / "diffusion_pytorch_model.safetensors"
    old, new, between = (rows["enter.weight"].float() for rows in (before, after, load_file(halfway)))
    torch.testing.assert_close(between, (old + new) / 2, atol=1e-3, rtol=0)


@pytest.fixture
def small(tmp_path):
    """Weights of a small network, with a sampler of their own."""
    network = dust.DustNetwork(frame_numbers=condition.FRAME_NUMBERS, condition_channels=condition.CHANNELS, **SMALL)
    network.half().write(tmp_path / "small" / "unet")
    dust.DustLevels(sigma_min=0.8, sigma_max=12.0).write(tmp_path / "small" / "scheduler")
    return tmp_path / "small"


def test_weights_that_learned_more_keep_the_sampler_they_had(folder, small, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    train.train(folder, tmp_path / "run", 0.01, threads=1, compiled=False, start=small)
    options = dust.DustLevels.read(train.export(tmp_path / "run", "0", tmp_path / "weights") / "scheduler").options
    assert options["sigma_min"] == 0.8 and options["sigma_max"] == 12.0 and options["noise_taps"] == train.NOISE_TAPS


def test_a_loss_that_is_no_number_stops_the_run_before_anything_is_learned_of_it(folder, small, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    real, calls = train.edm_loss, []

    def spoilt(*given):
        calls.append(given)
        return real(*given) * (torch.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(train, "edm_loss", spoilt)
    with pytest.raises(PlatebridgeError, match="iteration 3"):
        train.train(folder, tmp_path / "run", 1, threads=1, compiled=False, start=small)
    assert len(calls) == 3 and not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("spoilt", ["edm_loss", "critic"])
def test_a_last_lesson_whose_loss_is_no_number_keeps_the_checkpoint_before(folder, small, tmp_path, monkeypatch, spoilt):
    monkeypatch.setattr(distil, "FRAMES", 4)
    monkeypatch.setattr(distil, "VIEW", (48, 64))
    run, options = tmp_path / "run", {"steps": 2, "sigma_min": 0.8, "compiled": False}
    distil.distil(folder, small, run, 0.01, **options)
    kept = {path.name: path.read_bytes() for path in run.glob("*.safetensors")}
    if spoilt == "critic":  # as it is taught: of what is to fool it its word is a number
        word = distil.Critic.forward
        monkeypatch.setattr(distil.Critic, "forward", lambda self, *given: word(self, *given) * (torch.nan if _taught(self) else 1))
    else:
        loss = train.edm_loss
        monkeypatch.setattr(train, "edm_loss", lambda *given: loss(*given) * torch.nan)
    with pytest.raises(PlatebridgeError, match=r"no number any more .* --resume"):
        distil.distil(folder, small, run, 0.2, resume=True, **options)
    assert {path.name: path.read_bytes() for path in run.glob("*.safetensors")} == kept


def _taught(critic):
    return next(critic.parameters()).requires_grad


def test_what_the_sampler_casts_without_gradients_is_forgotten_before_the_last_evaluation(folder, small, tmp_path, monkeypatch):
    """Earlier torch (pytorch issue 112583) gives it to that evaluation again: of weights that were cast so no gradient is known."""
    monkeypatch.setattr(distil, "FRAMES", 4)
    monkeypatch.setattr(distil, "VIEW", (48, 64))
    monkeypatch.setattr(distil, "quick_bfloat16", lambda device: True)
    said, forward, clear = [], dust.DustNetwork.forward, torch.clear_autocast_cache
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: said.append("forgotten") or clear())
    monkeypatch.setattr(dust.DustNetwork, "forward", lambda *given: said.append(torch.is_grad_enabled()) or forward(*given))
    distil.distil(folder, small, tmp_path / "run", 0.01, steps=2, sigma_min=0.8, compiled=False)
    assert said[:3] == [False, "forgotten", True]


def test_a_shard_with_no_numbers_in_it_is_named(clips, tmp_path):
    truth = clips[1].truth.clone()
    truth[3, 0, 20, 30] = torch.nan
    data.write_shard(tmp_path / "sim_00001.safetensors", [dataclasses.replace(clips[1], truth=truth)])
    with pytest.raises(InputError, match=r"sim_00001.safetensors holds NaN"):
        train.Clips(tmp_path, np.random.default_rng(0)).refresh()


def checkpoint(run, spoilt=False):
    """One of a small network in `run`."""
    run.mkdir(exist_ok=True)
    network = dust.DustNetwork(**SMALL)
    average = {name: value.detach().clone() for name, value in network.named_parameters()}
    if spoilt:
        average["enter.weight"][0, 0, 0, 0] = torch.nan
    train._save(run, network, average, torch.optim.AdamW(network.parameters()), {"iterations": 1, "seconds": 1.0})


@pytest.mark.parametrize("half", [0, 100, 4000])
def test_half_a_shard_is_named(clips, tmp_path, half):
    path = tmp_path / "sim_00001.safetensors"
    data.write_shard(path, clips)
    path.write_bytes(path.read_bytes()[:half])
    with pytest.raises(InputError, match=r"sim_00001.safetensors can't be read"):
        train.Clips(tmp_path, np.random.default_rng(0)).begin()
    path.rename(tmp_path / "use_00001.safetensors")
    with pytest.raises(InputError, match=r"use_00001.safetensors can't be read"):
        users.read(tmp_path)


def test_a_run_is_not_written_over_by_another(folder, small, tmp_path):
    checkpoint(tmp_path / "run")
    kept = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(RequestError, match="--resume"):
        train.train(folder, tmp_path / "run", 0.01, threads=1, compiled=False, config=SMALL)
    with pytest.raises(RequestError, match="--resume"):
        distil.distil(folder, small, tmp_path / "run", 0.01, steps=2, sigma_min=0.8, compiled=False)
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == kept


def test_one_clip_is_enough_to_learn_from(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    data.write_shard(tmp_path / "set_short.safetensors", clips[1:])
    assert train.train(tmp_path, tmp_path / "run", 0.01, threads=1, compiled=False, config=SMALL) > 0


def test_a_run_says_what_it_began_from(tmp_path):
    assert train.begun_from(train.WEIGHTS)["begun_from"]["version"] == dust.sampling.card()["version"]
    assert train.begun_from(tmp_path) == {}


def test_processes_average_their_gradients_and_go_by_the_first_ones_clock(monkeypatch):
    team = train.Team()
    team.size = 2
    network = torch.nn.Linear(2, 1, bias=False)
    network.weight.grad = torch.tensor([[1.0, 3.0]])
    # What the other process adds: its gradient, no clock, its loss.
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(torch.tensor([3.0, -1.0, 0.0, 0.5])))
    seconds, loss = team.agree(network, 12.0, 0.25)
    assert network.weight.grad.tolist() == [[2.0, 1.0]]
    assert seconds == 12.0 and loss == 0.375


@pytest.fixture(scope="module")
def guides(tmp_path_factory):
    """One shot's guide, smaller than those of a lesson."""
    out = tmp_path_factory.mktemp("guides")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "SIZE", (48, 48))
        patch.setattr(users, "PLATE", (120, 200))
        patch.setattr(users.Falling, "size", (120, 200))
        patch.setattr(users, "CLIP_FRAMES", 4)
        users.make(out, 1, 7)
        users.make(out, 1, 7)  # what is there stays
    return out


def test_a_users_guide_follows_from_its_seed_and_is_read_as_it_was_made(guides):
    ((guide, depth, light, cell),) = users.read(guides)
    assert guide.shape[:2] == (4, 3) and depth.shape == (4, *guide.shape[2:]) and light.shape == (4, 3) and cell.shape == (4, 2)
    assert float(guide[-1, 2].max()) > 0.5 and bool(torch.isfinite(depth[guide[:, 2] > 0.1]).all())
    torch.testing.assert_close(light.norm(dim=-1), torch.ones(4), atol=2e-3, rtol=0)
    assert bool((cell > 0).all())
    ours, again, other = users.Falling(7), users.Falling(7), users.Falling(8)
    assert ours.request == again.request != other.request


def test_a_users_guide_of_an_earlier_guides_code_is_made_anew(guides, monkeypatch):
    (path,) = guides.glob("use_*")
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(users, "_guide", lambda shot: load_file(path))
    users.make(guides, 1, 7)
    assert path.stat().st_mtime_ns == before
    monkeypatch.setattr(users, "VERSION", users.VERSION + 1)
    users.make(guides, 1, 7)
    assert path.stat().st_mtime_ns > before


def test_the_last_lesson_answers_users_guides_too(folder, guides, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    monkeypatch.setattr(distil, "FRAMES", 4)
    monkeypatch.setattr(distil, "VIEW", (48, 64))
    monkeypatch.setattr(distil, "ASKED", 0.5)
    for path in (*guides.iterdir(), *folder.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    train.train(folder, tmp_path / "run", 0.02, threads=1, compiled=False, config=SMALL)
    weights = train.export(tmp_path / "run", "0", tmp_path / "weights")
    lines, options = [], {"steps": 2, "sigma_min": 0.8, "compiled": False}
    monkeypatch.setattr(distil.Weave, "owed", lambda self, made, truth: lines.append(made.shape) or made.sum() * 0)
    count = distil.distil(tmp_path, weights, tmp_path / "last", 0.03, **options)
    assert 0 < len(lines) <= count and lines[0] == (1, 4, 3, 16, 32)


@pytest.mark.parametrize("lesson", ["train", "distil"])
def test_ctrl_c_ends_a_run_with_a_checkpoint(folder, small, tmp_path, monkeypatch, lesson):
    monkeypatch.setattr(train, "CROP", 32)
    monkeypatch.setattr(distil, "FRAMES", 4)
    monkeypatch.setattr(distil, "VIEW", (48, 64))
    real, before = train.edm_loss, signal.getsignal(signal.SIGINT)

    def pressed(*given):
        signal.raise_signal(signal.SIGINT)
        return real(*given)

    monkeypatch.setattr(train, "edm_loss", pressed)
    if lesson == "train":
        count = train.train(folder, tmp_path / "run", 5, threads=1, compiled=False, start=small)
    else:
        count = distil.distil(folder, small, tmp_path / "run", 5, steps=2, sigma_min=0.8, compiled=False)
    assert count == 1 and json.loads((tmp_path / "run" / "state.json").read_text())["iterations"] == 1
    assert load_file(tmp_path / "run" / "checkpoint.safetensors") and signal.getsignal(signal.SIGINT) is before


def test_a_last_lesson_that_was_cut_off_while_it_saved_goes_on(folder, small, tmp_path, monkeypatch):
    monkeypatch.setattr(distil, "FRAMES", 4)
    monkeypatch.setattr(distil, "VIEW", (48, 64))
    run, options = tmp_path / "run", {"steps": 2, "sigma_min": 0.8, "compiled": False}
    first = distil.distil(folder, small, run, 0.01, **options)

    def cut_off(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    seconds = json.loads((run / "state.json").read_text())["seconds"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(data, "save_file", cut_off)
        distil.distil(folder, small, run, seconds / 60 + 0.01, resume=True, **options)
    last = distil.distil(folder, small, run, seconds / 60 + 0.01, resume=True, **options)
    assert last > first
    kept = load_file(run / "critic.safetensors")  # the critic went on, and did not begin anew
    assert int(kept["optimiser.0.step"]) == int(kept["account.waves.count"]) == last


def test_a_run_is_gone_on_with_as_the_lesson_that_it_was(folder, small, tmp_path):
    """Weights that were taught for one sampler would be exported with another."""
    run, options = tmp_path / "run", {"compiled": False, "resume": True}
    checkpoint(run)
    with pytest.raises(RequestError, match="holds a run of `train`"):
        distil.distil(folder, small, run, 1, steps=2, sigma_min=0.8, **options)
    state = json.loads((run / "state.json").read_text())
    (run / "state.json").write_text(json.dumps({**state, "steps": 3, "sigma_min": 0.5}))
    with pytest.raises(RequestError, match=r"`distil --steps 3 --sigma-min 0\.5`"):
        distil.distil(folder, small, run, 1, steps=2, sigma_min=0.5, **options)
    with pytest.raises(RequestError, match="`distil --steps 3"):
        train.train(folder, run, 1, **options)


@pytest.mark.parametrize("half, said", [(None, "holds NaN"), (4000, "can't be read")])
def test_a_spoilt_shard_that_comes_meanwhile_costs_a_run_nothing(clips, folder, small, tmp_path, monkeypatch, capsys, half, said):
    monkeypatch.setattr(train, "CROP", 32)
    monkeypatch.setattr(train, "LOOK_AGAIN", 0.0)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    real = train.edm_loss

    def meanwhile(*given):
        path = tmp_path / "sim_00001.safetensors"
        data.write_shard(path, [dataclasses.replace(clips[1], truth=clips[1].truth * torch.nan)])
        path.write_bytes(path.read_bytes()[:half])
        return real(*given)

    monkeypatch.setattr(train, "edm_loss", meanwhile)
    assert train.train(tmp_path, tmp_path / "run", 0.02, threads=1, compiled=False, start=small) > 1
    assert f"sim_00001.safetensors {said}" in capsys.readouterr().out


def test_what_cannot_be_compiled_is_said_with_the_option_that_does_without(folder, small, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: refused)
    for lesson in (lambda **o: train.train(folder, tmp_path, 1, start=small, **o),
                   lambda **o: distil.distil(folder, small, tmp_path, 1, steps=2, sigma_min=0.8, **o)):
        with pytest.raises(RequestError, match=r"No working C.*--no-compile"):
            lesson(threads=1)


def test_a_sheet_shows_clips_of_any_size(clips, tmp_path):
    data.write_shard(tmp_path / "sim_00001.safetensors", clips)
    large = [torch.nn.functional.interpolate(part, scale_factor=2) for part in (clips[1].truth, clips[1].guide)]
    far = [torch.full_like(part[:, 0], torch.inf) for part in large]
    clip = dataclasses.replace(clips[1], truth=large[0], guide=large[1], truth_depth=far[0], guide_depth=far[1])
    data.write_shard(tmp_path / "set_studio.safetensors", [clip])
    data.contact_sheet(tmp_path, tmp_path / "there" / "sheet.png")
    wide, high = struct.unpack(">II", (tmp_path / "there" / "sheet.png").read_bytes()[16:24])
    assert (wide, high) == (2 * 3 * 144, 96)


def test_a_worker_that_fails_leaves_none_working_behind(tmp_path, monkeypatch):
    waited = []

    class Worker:
        def __init__(self, command, **_):
            self.failed = "0" in command[command.index("--seeds") + 1].split(",")

        def wait(self):
            waited.append(self.failed)
            return int(self.failed)

    monkeypatch.setattr(data.subprocess, "Popen", Worker)
    with pytest.raises(PlatebridgeError, match="A worker"):
        data.make(tmp_path, 4, 0, workers=2)
    assert waited == [True, False]
