# SPDX-License-Identifier: Apache-2.0
"""The dust model as callers see it: windows that change nothing, seeds, resuming, cancelling, and the weights that ship."""

import copy
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from platebridge.errors import Cancelled  # noqa: E402
from platebridge_server.models import dust  # noqa: E402
from platebridge_server.models.dust import condition, sampling, windows  # noqa: E402
from platebridge_server.models.dust.pipeline import DustPipeline, DustScheduler, DustUNet  # noqa: E402
from platebridge_server.training import data as training_data  # noqa: E402

SIZE = (48, 64)



@pytest.fixture(scope="module")
def small():
    """The same pipeline with a tiny network of random weights: what is tested here does not depend on training."""
    torch.manual_seed(0)
    network = DustUNet(widths=(8, 12), blocks=(1, 1), embedding=16)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return DustPipeline(network.eval(), DustScheduler())


@pytest.fixture(scope="module")
def shipped():
    return dust.load()


def guide(frame):
    """A soft ball that grows, at a quarter of SIZE."""
    y, x = np.mgrid[0:12, 0:16].astype(np.float32)
    away = np.hypot(x - 7 - 0.1 * frame, y - 6)
    alpha = np.clip((3.5 + 0.05 * frame - away) / 2, 0, 1)
    return {"sun": 0.7 * alpha, "ambient": 0.5 * alpha, "alpha": alpha, "depth": np.where(alpha > 0, 20 + 0.1 * x, np.inf)}


def made(pipe, frames=range(1, 7), seed=3, **options):
    return {number: np.stack(list(got.values())) for number, got in pipe.sample(guide, frames, SIZE, seed, **{"steps": 3, **options})}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@given(total=st.integers(1, 400), length=st.integers(3, 40), data=st.data())
def test_windows_cover_every_frame_with_weights_that_sum_to_one(total, length, data):
    overlap = data.draw(st.integers(1, length // 3))
    plan = windows.plan(range(1001, 1001 + total), length, overlap)
    weights = np.zeros(total)
    for window in plan:
        assert len(window.weights) <= length
        weights[window.first - 1001 : window.first - 1001 + len(window.weights)] += window.weights
    np.testing.assert_allclose(weights, 1.0, atol=1e-12)
    for number in range(len(plan) - 2):  # only neighbours overlap, or the order of running would be wrong
        assert plan[number].frames.stop <= plan[number + 2].first


@given(count=st.integers(1, 30), levels=st.integers(1, 6))
def test_a_window_runs_only_after_its_neighbours_had_the_level_before(count, levels):
    plan = windows.plan(range(12 * count + 4), 16, 4)
    done = set()
    for window, level in windows.order(plan, levels):
        for near in (window - 1, window, window + 1):
            assert level == 0 or not 0 <= near < len(plan) or (near, level - 1) in done
        done.add((window, level))
    assert len(done) == len(plan) * levels


def test_blending_windows_of_a_frame_wise_denoiser_changes_nothing():
    """A denoiser that looks at single frames cannot tell windows from none."""
    def results(length):
        plan = windows.plan(range(50), length, 4)
        return list(windows.run(plan, 3, lambda frames, values, level: [0.5 * v + level for v in values],
                                lambda value, denoised, before, level: denoised + 0.1 * value, lambda frame: float(frame)))

    whole, parts = results(64), results(16)
    assert [frame for frame, _ in parts] == list(range(50))
    np.testing.assert_allclose([v for _, v in parts], [v for _, v in whole], rtol=1e-12)


def test_few_frames_are_held_at_a_time():
    began, finished, most = set(), set(), 0

    def begin(frame):
        nonlocal most
        began.add(frame)
        most = max(most, len(began) - len(finished))
        return 0.0

    plan = windows.plan(range(600), 16, 4)
    for frame, _ in windows.run(plan, 4, lambda frames, values, level: values, lambda v, d, b, s: d, begin):
        finished.add(frame)
    assert most <= 16 * 5


def test_a_shot_that_fits_one_window_is_not_windowed(small):
    assert same(made(small), made(small, window=64, overlap=1))


def test_the_same_seed_gives_the_same_bits(small):
    assert same(made(small, window=4, overlap=1), made(small, window=4, overlap=1))


def test_noise_belongs_to_the_frame_not_to_the_range():
    assert torch.equal(sampling.noise(5, 1010, SIZE), sampling.noise(5, 1010, SIZE))
    assert not torch.equal(sampling.noise(5, 1010, SIZE), sampling.noise(5, 1011, SIZE))
    assert not torch.equal(sampling.noise(5, 1010, SIZE), sampling.noise(6, 1010, SIZE))


def test_noise_may_hang_together_in_time_and_stays_unit_noise():
    scheduler = DustScheduler(noise_taps=(1.0, 2.0, 1.0))
    white = torch.randn(402, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = scheduler.in_time(white)
    assert noise.shape[0] == 400
    assert float(noise.std()) == pytest.approx(1.0, abs=0.03)
    assert float((noise[1:] * noise[:-1]).mean()) == pytest.approx(2 / 3, abs=0.03)
    assert torch.equal(DustScheduler().in_time(white), white)


@pytest.mark.parametrize("first", [1, 2, 9, 14, 20, 22])
def test_going_on_after_a_break_gives_the_same_bits_as_never_stopping(small, first):
    frames = range(1, 23)
    whole = made(small, frames, window=7, overlap=2)
    rest = made(small, frames, window=7, overlap=2, first_needed_frame=first)
    assert sorted(rest) == list(range(first, 23))
    assert all(np.array_equal(rest[k], whole[k]) for k in rest)


def test_going_on_near_the_end_costs_less_than_the_whole(small):
    counts = []
    for first in (None, 34):
        calls = []
        options = {"window": 7, "overlap": 2, "first_needed_frame": first}
        made(small, range(1, 40), on_progress=lambda done, total, calls=calls: calls.append((done, total)), **options)
        assert calls[-1][0] == calls[-1][1]
        counts.append(len(calls))
    assert counts[1] < counts[0] * 0.75


def test_frames_come_in_order_and_the_first_long_before_the_last_call(small):
    calls, first = [], None
    for frame, _ in small.sample(guide, range(1, 40), SIZE, 0, 3, window=7, overlap=2, on_progress=lambda done, total: calls.append(total)):
        first = first or (frame, len(calls))
    assert first[0] == 1 and first[1] <= 0.5 * calls[0]


def test_each_guide_is_read_once(small):
    read = []

    def reader(frame):
        read.append(frame)
        return guide(frame)

    list(small.sample(reader, range(1, 23), SIZE, 0, 3, window=7, overlap=2))
    assert sorted(read) == list(range(1, 23))


def test_cancelling_stops_before_the_next_network_call(small):
    calls = []
    with pytest.raises(Cancelled):
        made(small, on_progress=lambda done, total: calls.append(done), cancelled=lambda: len(calls) >= 2)
    assert calls == [1, 2]


def test_passes_keep_their_ranges_and_nothing_is_outside_the_support(small):
    for passes in made(small).values():
        sun, ambient, alpha = passes
        assert passes.dtype == np.float32 and passes.shape == (3, *SIZE)
        assert alpha.min() >= 0 and alpha.max() <= 1 and sun.min() >= 0 and ambient.min() >= 0
        assert np.abs(passes[:, :4, -8:]).max() == 0.0


def test_texture_draws_more_or_less_of_the_detail_over_the_same_guide(small):
    """Half as much is half way between the guide, as the network sees it, and the result; ranges and support stay."""
    whole, half, none, harsh = (made(small, texture=texture) for texture in (1.0, 0.5, 0.0, 1.5))
    assert same(whole, made(small))
    for frame in whole:
        seen = guide(frame)
        low = torch.from_numpy(np.stack([seen[name] for name in ("sun", "ambient", "alpha")])).float()
        wide = condition.condition(low[None], torch.from_numpy(seen["depth"])[None].float(), SIZE)
        there = condition.support(wide)[0].numpy()
        np.testing.assert_allclose(none[frame], condition.decode(wide[:, :3])[0].numpy() * there, atol=1e-6)
        a, b, c = (condition.encode(torch.from_numpy(part[frame])).numpy() for part in (none, half, whole))
        inside = (a > 0.01) & (b > 0.01) & (c > 0.01) & (c < 0.99) & (a < 0.99)  # nothing was cut off there
        assert inside.any() and np.abs(c - a)[inside].max() > 0.01
        np.testing.assert_allclose(b[inside], (a + c)[inside] / 2, atol=1e-5)
        assert harsh[frame].min() >= 0 and harsh[frame][2].max() <= 1 and not (harsh[frame] * (1 - there)).any()


def test_a_veil_has_less_of_the_detail_and_a_rim_of_thick_dust_all_of_it():
    alpha = torch.zeros(1, 1, 60, 120)
    alpha[..., 10:50, 8:50] = 0.3  # a veil
    alpha[..., 10:50, 70:112] = 1.0
    part = condition.drawn(torch.cat([alpha, alpha, alpha], 1))[0, 0]
    assert part.shape == (60, 120) and part.min() == condition.VEIL_DETAIL and part.max() == 1
    assert bool((part[:, :50] == condition.VEIL_DETAIL).all())  # its rim is one of the veil
    assert bool((part[15:45, 68:114] == 1).all()) and bool((part[10:50, 69:113] > 0.9).all())  # of its rim outside, too
    assert bool((part[30, 50:70].diff() >= 0).all())  # with no step between them


def test_the_network_sees_only_what_lies_about_a_windows_dust(shipped, monkeypatch):
    """A cloud in a corner of a field six times as wide costs little more than by itself, and comes out as if all of it had been seen."""
    wide, size, seen = (30, 72), (120, 288), []

    def cornered(frame):
        y, x = np.mgrid[: wide[0], : wide[1]].astype(np.float32)
        alpha = np.clip((5 - np.hypot(x - 9, y - 10)) / 2, 0, 1) * (frame > 8)
        return {"sun": 0.7 * alpha, "ambient": 0.5 * alpha, "alpha": alpha, "depth": np.where(alpha > 0, 20 + 0.1 * x, np.inf)}

    def run():
        return np.stack([np.stack(list(p.values())) for _, p in shipped.sample(cornered, range(1, 13), size, 3, 2, window=6, overlap=2)])

    trunk = shipped.unet._trunk
    monkeypatch.setattr(shipped.unet, "_trunk", lambda s, *told: seen.append(s.shape[-2] * s.shape[-1]) or trunk(s, *told))
    near = run()
    count = len(seen)
    monkeypatch.setattr(sampling, "_about", lambda there, multiple: (...,))
    whole = run()
    assert count < len(seen) - count  # a window without dust asks nothing of it
    assert max(seen[:count]) < 0.35 * seen[-1]
    assert near[-1, 2].max() > 0.5
    assert np.abs(near - whole).max() < 0.02


def test_a_gpu_that_only_emulates_bfloat16_is_not_quick_at_it(monkeypatch):
    """Those before Ampere: torch says that they have it, unless asked for the real thing."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not sampling.quick_bfloat16(torch.device("cuda"))


def test_sizes_need_not_be_multiples_of_anything(small):
    got = dict(small.sample(guide, range(1, 4), (45, 61), 0, 2))
    assert got[3]["alpha"].shape == (45, 61)


def test_encoding_and_decoding_are_inverse():
    passes = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(condition.decode(condition.encode(passes)), passes)
    assert float(condition.decode(torch.full((1, 3, 2, 2), -0.3)).abs().max()) == 0.0


def test_a_guide_is_widened_through_its_own_pixels_and_smoothly():
    """A spline: at a pixel's middle its own value, and no waves of the guide's grid, which a bicubic has."""
    low = torch.rand(1, 4, 9, 11, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(condition.widen(low, (27, 33))[..., 1::3, 1::3], low)
    assert torch.equal(condition.widen(low, (9, 11)), low)
    torch.testing.assert_close(condition.widen(torch.full((1, 4, 5, 7), 0.3), (18, 30)), torch.full((1, 4, 18, 30), 0.3))

    at = (torch.arange(128) + 0.5) / 4 - 0.5
    def waves(place):
        return (0.5 + 0.3 * torch.sin(2 * torch.pi * place / 8)).expand(1, 4, 1, -1)

    bicubic = torch.nn.functional.interpolate(waves(torch.arange(32)).expand(1, 4, 32, 32), (128, 128), mode="bicubic")[..., :1, :]
    errors = [(wide - waves(at))[..., 16:-16].abs().max() for wide in (condition.widen(waves(torch.arange(32.0)), (1, 128)), bicubic)]
    assert errors[0] < 0.1 * errors[1]


def test_depth_is_told_without_units():
    got = guide(5)
    alpha, depth = torch.tensor(got["alpha"])[None], torch.tensor(got["depth"], dtype=torch.float32)[None]
    torch.testing.assert_close(condition.normal_depth(alpha, depth), condition.normal_depth(alpha, 3.0 * depth + 7.0), atol=1e-3, rtol=1e-3)


def test_a_step_that_knows_the_answer_arrives_at_it():
    scheduler = DustScheduler()
    for steps in (1, 2, 4, 9):
        scheduler.set_timesteps(steps)
        sample, before, answer = torch.randn(8) * 14, None, torch.linspace(-1, 1, 8)
        assert float(scheduler.sigmas[0]) == pytest.approx(14.0)
        assert steps == 1 or float(scheduler.sigmas[-1]) == pytest.approx(0.1)
        for level in range(steps):
            sample, before = scheduler.advance(sample, answer, before, level), answer
        torch.testing.assert_close(sample, answer)


def test_what_is_told_of_a_frame_stays_within_what_training_has():
    light = (0.0, 0.6, 0.8)
    assert dust.of_frame(light, None) == pytest.approx((*light, 0, 0, 0))
    assert dust.of_frame(light, condition.USUAL_CELL) == pytest.approx((*light, 1, 0, 0))
    assert dust.of_frame(light, (100.0, 0.01)) == dust.of_frame(light, (16.0, 0.7)) != dust.of_frame(light, (15.0, 0.8))


def test_how_fine_a_guide_is_is_told_by_its_detail_where_there_is_dust():
    random = torch.Generator().manual_seed(3)
    passes, grain = torch.full((2, 4, 24, 32), 0.4), training_data.blurred(0.3 * torch.randn(2, 4, 24, 32, generator=random), 1.0)
    fine, finer, soft = (condition.fineness(passes + part) for part in (grain, 1.5 * grain, training_data.blurred(grain, 1.0)))
    assert fine.shape == (2, 2) and bool((soft < fine).all() and (fine < finer).all())
    assert torch.equal(condition.fineness(passes), condition.fineness(0.5 * passes))  # no less than training has
    beside = torch.zeros(2, 4, 24, 64)
    beside[..., 16:48] = grain + 0.4  # its rims are detail too
    assert bool((condition.fineness(beside) > fine).all())
    assert torch.equal(condition.fineness(torch.zeros(2, 4, 8, 8)), torch.zeros(2, 2))


def test_how_fine_and_how_thick_each_place_is_is_told():
    alpha = torch.full((1, 1, 24, 32), 0.9)
    alpha[..., 16:] = 0.999
    guide = torch.cat([torch.full((1, 2, 24, 32), 0.25), alpha], dim=1)
    guide[:, 0, :12] += 0.01 * torch.randn(12, 32, generator=torch.Generator().manual_seed(5))
    told = condition.tell(guide, torch.full((1, 24, 32), 9.0))
    assert told.shape == (1, condition.CHANNELS, 24, 32)
    fine, thick = told[0, 4:7], told[0, 7]
    assert float(fine[0, :10].min()) > float(fine[0, 14:].max()) + 1 and float(fine[1].std()) == 0
    assert float(fine[2, 4, 16]) > float(fine[2, 4, 4])  # where the alpha has an edge
    torch.testing.assert_close(thick[0, 20] / thick[0, 4], torch.tensor(3.0))  # an alpha of 0.999 is three times as thick as one of 0.9
    assert bool(torch.isfinite(condition.tell(torch.ones(1, 3, 8, 8), torch.full((1, 8, 8), torch.inf))).all())


def test_a_network_that_hears_more_says_the_same_at_first(small):
    told = lambda frame: dust.of_frame((0.0, 0.6, 0.8), (6.0, 2.0))  # noqa: E731
    before = list(small.sample(guide, range(3), SIZE, light_view=told))
    alone = list(small.sample(guide, range(3), SIZE, light_view=lambda frame: (0.0, 0.6, 0.8)))
    more = dust.Dust(copy.deepcopy(small.unet), dust.DustLevels())
    more.unet.hear(8, 8)
    after = list(more.sample(guide, range(3), SIZE, light_view=told))
    for (_, a), (_, b), (_, c) in zip(before, alone, after):
        assert all(np.array_equal(a[name], b[name]) and np.allclose(a[name], c[name], atol=1e-6) for name in a)
    for weight in (more.unet.embed[0].weight[:, -2:], more.unet.enter.weight[:, -16:]):
        with torch.no_grad():
            weight += 1.0
        assert not np.allclose(next(iter(more.sample(guide, range(3), SIZE, light_view=told)))[1]["sun"], before[0][1]["sun"], atol=1e-4)
        with torch.no_grad():
            weight -= 1.0


def test_diffusers_step_and_ours_agree():
    scheduler = DustScheduler()
    scheduler.set_timesteps(4)
    sample = other = torch.randn(6) * 14
    before = None
    for level, sigma in enumerate(scheduler.timesteps):
        denoised = torch.tanh(sample)
        sample, before = scheduler.advance(sample, denoised, before, level), denoised
        other = scheduler.step(torch.tanh(other), sigma, other).prev_sample
    torch.testing.assert_close(sample, other)


def test_saving_and_loading_gives_the_same_dust(small, tmp_path):
    small.save_pretrained(tmp_path)
    again = DustPipeline(DustUNet.from_pretrained(tmp_path / "unet"), DustScheduler.from_pretrained(tmp_path / "scheduler"))
    assert same(made(small), made(again))
    assert not list(tmp_path.rglob("*.bin"))


def test_what_the_server_writes_and_reads_diffusers_reads_and_writes(small, tmp_path):
    small.save_pretrained(tmp_path / "theirs")
    ours = dust.load(folder=tmp_path / "theirs")
    assert same(made(small), made(ours))
    folder = tmp_path / "ours"
    ours.unet.half().write(folder / "unet")
    ours.scheduler.write(folder / "scheduler")
    theirs = DustPipeline(DustUNet.from_pretrained(folder / "unet").float(), DustScheduler.from_pretrained(folder / "scheduler"))
    assert same(made(dust.load(folder=folder)), made(theirs))
    assert theirs.unet.config.widths == [8, 12] and theirs.scheduler.config.sigma_max == 14.0


def test_generating_does_not_import_diffusers():
    """A worker would be seconds later at its first frame."""
    code = "import sys, platebridge_server.generate; print('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_calling_the_pipeline_gives_what_sample_gives(small):
    frames = small([guide(n) for n in range(4)], SIZE, seed=3, num_inference_steps=3).frames
    assert np.array_equal(frames, np.stack(list(made(small, range(4)).values())))


def test_shipped_weights_are_those_of_the_card():
    card = dust.card()
    assert sampling.weights_sha256() == card["weights_sha256"]
    assert card["licence"] == "Apache-2.0" and card["name"] == "dust"
    assert (sampling.WEIGHTS / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size < 20e6


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(sampling, "weights_sha256", lambda folder=None: "0" * 64)
    with pytest.raises(dust.WeightsDiffer):
        dust.load()


def coarse(passes):
    return torch.nn.functional.avg_pool2d(torch.from_numpy(passes)[None], 8)[0].numpy()


def test_a_seed_changes_the_detail_and_not_the_composition(shipped):
    one, two = (made(shipped, range(4), seed=seed, steps=4)[2] for seed in (1, 2))
    fine, large = np.abs(one - two).mean(), np.abs(coarse(one) - coarse(two)).mean()
    assert fine > 0
    assert large < 0.6 * fine
    assert large < 0.02


def test_the_shipped_model_keeps_to_the_guide(shipped):
    got = made(shipped, range(4), steps=4)[2]
    low = torch.nn.functional.avg_pool2d(torch.from_numpy(got)[None], 4)[0].numpy()
    wanted = np.stack([guide(2)[k] for k in ("sun", "ambient", "alpha")])
    assert np.abs(low - wanted).mean() < 0.04
