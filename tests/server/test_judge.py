# SPDX-License-Identifier: Apache-2.0
"""Figures of a model, each on a clip whose figure is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from platebridge_server import judge

H, W, FRAMES = 40, 60, 8


def panned(frames=FRAMES, seed=1):
    """A texture that moves two pixels to the right a frame, and the vectors that say so."""
    wide = np.random.default_rng(seed).uniform(0.05, 0.6, (H, W + 2 * frames, 3)).astype(np.float32)
    clip = np.stack([wide[:, 2 * (frames - f) : 2 * (frames - f) + W] for f in range(frames)])
    vectors = np.zeros((frames, H, W, 2), np.float32)
    vectors[..., 0] = -2.0
    return clip, vectors


def clip(**changed):
    plate, vectors = panned()
    mask = np.zeros((FRAMES, H, W), np.float32)
    mask[:, 8:32, 15:45] = 1
    alpha = 0.5 * mask
    comp = 0.5 * alpha[..., None] + (1 - alpha[..., None]) * plate
    return judge.Clip(**{"plate": plate, "mask": mask, "comp": comp, "alpha": alpha, "vectors": vectors, **changed})


def test_outside_is_what_the_model_changed_where_it_must_not():
    seen = clip()
    picture = seen.comp.copy()
    assert judge.outside(picture, seen.plate, seen.mask) == (0.0, 0.0)
    code = judge.EYES.encode(picture[3, 2, 5][None])
    picture[3, 2, 5] = judge.EYES.decode(code + np.float32(0.1))[0]
    mean, most = judge.outside(picture, seen.plate, seen.mask)
    assert most == pytest.approx(0.1, abs=1e-5)
    assert mean == pytest.approx(0.1 / (seen.mask == 0).sum(), rel=1e-3)
    assert math.isnan(judge.outside(picture, seen.plate, np.ones_like(seen.mask))[0])


def test_effect_in_place_counts_place_reach_and_amount():
    seen = clip()
    assert judge.effect_in_place(seen.alpha, seen.mask)[:2] == (1.0, 1.0)
    wanted = np.zeros_like(seen.alpha)
    wanted[:, 8:32, 15:30] = 0.5  # the left half alone
    inside, found, coverage = judge.effect_in_place(seen.alpha, seen.mask, wanted)
    assert (inside, found, coverage) == (0.5, 1.0, 2.0)
    half = np.where(np.arange(W) < 22.5, wanted, 0)
    assert judge.effect_in_place(half, seen.mask, wanted) == pytest.approx((1.0, 8 / 15, 8 / 15))


def test_warp_error_is_0_for_what_moves_with_the_plate_and_its_size_for_what_boils():
    seen = clip()
    assert judge.warp_error(seen.plate, seen.plate, seen.vectors, seen.mask) == pytest.approx(0, abs=1e-6)
    code = judge.codes(seen.plate)
    boiling = judge.EYES.decode((code + np.where(np.arange(FRAMES) % 2, 0.05, 0)[:, None, None, None]).astype(np.float32))
    assert judge.warp_error(boiling, seen.plate, seen.vectors, seen.mask) == pytest.approx(0.05, abs=1e-4)
    wrong = -seen.vectors
    assert math.isnan(judge.warp_error(seen.plate, seen.plate, wrong, np.zeros_like(seen.mask)))


def test_vectors_are_read_as_blender_writes_them_y_up():
    """A row lower in the picture was higher up a frame before: previous less current is +1 with y up, so row - 1."""
    before = np.zeros((5, 5, 3), np.float32)
    before[1, 2] = 1
    vectors = np.zeros((5, 5, 2), np.float32)
    vectors[..., 1] = 1
    carried, inside = judge._carried(before, vectors)
    assert carried[2, 2, 0] == 1 and carried.sum() == 3
    assert not inside[0].any() and inside[1:].all()


def test_hidden_pixels_do_not_count_as_warp_error():
    seen = clip()
    plate = seen.plate.copy()
    plate[4, 10:20, 20:30] = 5.0  # something new stands there for a frame
    assert judge.warp_error(plate, plate, seen.vectors, seen.mask) < 0.02


def test_flicker_is_a_share_of_the_truths():
    seen = clip()
    assert judge.flicker(seen.comp, seen.plate, seen.mask, seen.comp) == pytest.approx(1)
    code = judge.codes(seen.comp)
    shaking = judge.EYES.decode((code + np.where(np.arange(FRAMES) % 2, 0.03, 0)[:, None, None, None]).astype(np.float32))
    still = np.repeat(seen.plate[:1], FRAMES, 0)
    calm = judge.EYES.decode((judge.codes(still) + np.where(np.arange(FRAMES) % 2, 0.03, 0)[:, None, None, None]).astype(np.float32))
    assert judge.flicker(calm, still, seen.mask) == pytest.approx(0.06, abs=1e-4)
    assert judge.flicker(shaking, seen.plate, seen.mask, seen.comp) > 1.02
    assert math.isnan(judge.flicker(seen.comp[:2], seen.plate[:2], seen.mask[:2]))


def test_a_seam_shows_at_its_joint_alone():
    seen = clip()
    still = np.repeat(seen.plate[:1], FRAMES, 0)
    step = np.array([0, 0.01, 0.02, 0.03, 0.09, 0.10, 0.11, 0.12])[:, None, None, None]
    comp = judge.EYES.decode((judge.codes(still) + step).astype(np.float32))
    assert judge.seam_jump(comp, still, seen.mask, (4,)) == pytest.approx(6, rel=0.01)
    assert judge.seam_jump(comp, still, seen.mask, (2,)) == pytest.approx(1, rel=0.01)
    assert math.isnan(judge.seam_jump(comp, still, seen.mask, ()))


def test_pu21_is_the_published_curve():
    """The paper's anchors: 0 at 0.005 cd/m2, about 256 at 100, about 595 at 10000; it never falls."""
    assert judge.pu21(np.array([0.005, 100.0, 10000.0])) == pytest.approx([0, 256, 595.4], abs=0.6)
    assert (np.diff(judge.pu21(np.geomspace(0.005, 10000, 500))) > 0).all()


def test_pu21_psnr_counts_a_highlight_as_it_is_seen():
    truth = np.full((2, 8, 8, 3), 0.5, np.float32)
    assert judge.pu21_psnr(truth, truth) == math.inf
    middle, bright = truth.copy(), truth.copy()
    bright[0, 0, 0] = 40.0
    truth_bright = truth.copy()
    truth_bright[0, 0, 0] = 41.0
    middle[0, 0, 0] = 1.5
    assert judge.pu21_psnr(bright, truth_bright) > judge.pu21_psnr(middle, truth) + 20
    off = judge.pu21(np.array([50.0]))[0] - judge.pu21(np.array([60.0]))[0]
    assert judge.pu21_psnr(truth * 1.2, truth) == pytest.approx(20 * math.log10(256 / abs(off)), abs=1e-3)


def test_judge_leaves_a_dash_where_a_figure_cannot_be_told():
    seen = clip(vectors=None)
    figures = judge.judge(seen)
    assert set(figures) == {key for _, key in judge.COLUMNS}
    assert all(math.isnan(figures[key]) for key in ("outside_mean", "coverage", "warp", "seam", "pu21_psnr"))
    assert figures["comp_outside"] == 0 and figures["inside"] == 1
    lines = judge.table({"one": figures, "two": judge.judge(clip(truth=seen.comp, truth_alpha=seen.alpha))}).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["one", "two", "mean"]
    assert " - " in lines[1] and "inf" in lines[2]


def test_contact_sheet_shows_the_frames_side_by_side():
    sheet = judge.contact_sheet(clip(truth=clip().comp), count=3)
    assert sheet.shape == (3 * H, 5 * W, 3) and sheet.dtype == np.uint8
    assert (sheet[:H, W : 2 * W] == sheet[:H, 2 * W : 3 * W]).all()
    assert set(np.unique(sheet[:, 3 * W : 4 * W])) == {0, 128}
