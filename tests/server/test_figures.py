# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""The figures by which dust is judged: each shows what it is there to show, and the truth is as good as can be."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from platebridge_server.models.dust import condition  # noqa: E402
from platebridge_server.training import data, evaluate, simulate  # noqa: E402
from test_training import clips, tiny  # noqa: E402, F401


def test_haze_just_beyond_the_guide_counts_as_background():
    truth, wide = torch.zeros(2, 3, 32, 32), torch.zeros(2, 4, 32, 32)
    truth[:, :, :, :8], wide[:, :3, :, :8] = 1, 1
    empty = evaluate.bare(truth, wide)
    assert not empty[:, :, :12].any() and empty[:, :, 12:].all()


def test_where_nothing_is_empty_there_is_no_figure_of_emptiness(clips):
    truth, figures = condition.encode(clips[1].truth), evaluate.Figures()
    figures.add(truth, truth, None, torch.zeros_like(truth[:, 2], dtype=torch.bool))
    assert np.isnan(figures.result()["background_alpha"])


def test_a_cut_that_lets_dust_through_shows_as_a_leak(monkeypatch):
    """The figure is of what a take's own cut leaves, not of the figure's."""
    density = torch.zeros(12, 12, 12)
    density[3:9, 3:9, 3:9] = 1.0
    camera = simulate.look_at((0.0, -3.0, 0.6), (0.0, 0.0, 0.6))
    passes = evaluate.volume.march(density, (-0.6, -0.6, 0.0), 0.1, camera, (40.0, 40.0), (12.0, 12.0), (24, 24), 20.0,
                                   torch.tensor([0.0, -0.6, 0.8]), steps=32)
    low = torch.stack([passes.sun, passes.ambient, passes.alpha])
    clip = torch.nn.functional.interpolate(low[None], scale_factor=4, mode="bilinear")[0]
    assert float(clip[2].max()) > 0.5 and evaluate.depth_leak(clip, passes) == 0
    whole = evaluate.effect.assemble
    monkeypatch.setattr(evaluate.effect, "assemble", lambda *a: (whole(*a[:4], np.full(a[4].shape, np.inf, np.float32))[0], a[4]))
    assert evaluate.depth_leak(clip, passes) > 0.1


def test_the_truth_is_as_good_as_can_be(clips):
    truth = condition.encode(clips[1].truth)
    guide, _ = data.soft_guide(clips[1].truth, clips[1].truth_depth, data.SOFT_SIGMA)
    figures = evaluate.Figures()
    figures.add(truth, truth, guide, truth[:, 2] == 0)
    result = figures.result()
    assert result["power_spectrum_db"] == 0 and result["swd"] == [0, 0, 0] and result["flicker"] == 1 and result["background_alpha"] == 0
    assert result["guide_psnr_db"] > 60


def test_blur_noise_and_flicker_each_show_in_their_figure(clips):
    truth = condition.encode(clips[1].truth)
    soft = data.blurred(truth, 2.0)
    noisy = truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)) * (truth[:, 2:] > 0)
    guide, _ = data.soft_guide(clips[1].truth, clips[1].truth_depth, data.SOFT_SIGMA)
    rows = []
    for clip in (truth, soft, noisy):
        figures = evaluate.Figures()
        figures.add(clip, truth, guide, truth[:, 2] == 0)
        rows.append(figures.result())
    assert rows[1]["power_spectrum_db"] > 3 and rows[2]["power_spectrum_db"] > 1
    assert rows[1]["swd"][0] > 1e-4 and rows[2]["flicker"] > 1.5


def test_a_weave_shows_in_its_own_figure(clips):
    truth = condition.encode(clips[1].truth)
    column = torch.arange(truth.shape[-1]).float()
    wave = 0.1 * torch.cos(2 * torch.pi * column / 8) * (truth[:, 2:] > 0.1)
    noise = 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)) * (truth[:, 2:] > 0.1)
    weaves = []
    for clip in (truth, truth + noise, truth + wave):
        figures = evaluate.Figures()
        figures.add(clip, truth, None, truth[:, 2] == 0)
        weaves.append(figures.result()["weave_db"])
    assert weaves[0] == 0 and weaves[1] < 2 < 4 < weaves[2], weaves
