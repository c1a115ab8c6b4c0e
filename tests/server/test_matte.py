# SPDX-License-Identifier: Apache-2.0
"""The effect out of a generated picture, against effects that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from platebridge_server import colour, matte
from platebridge_server.training import matting
from platebridge_server.training.simulate import Clip
from safetensors.torch import load_file, save_file

DISPLAY = colour.find("display")
H, W, FRAMES = 96, 144, 4


def smooth(shape, sigma, random):
    """Noise of standard deviation 1, correlated over sigma pixels. shape: (frames, h, w, channels)."""
    planes = torch.from_numpy(random.normal(size=(shape[0], shape[3], *shape[1:3])).astype(np.float32))
    planes = matte._blurred(planes, sigma).numpy()
    return np.moveaxis(planes / planes.std(), 1, -1)


def dust(random):
    """(frames, h, w, 3) premultiplied, (frames, h, w): a billowing cloud that drifts two pixels a frame, lit from its left."""
    lumps = smooth((1, H, W + 40, 1), 6.0, random)[0, ..., 0] * 0.6 + smooth((1, H, W + 40, 1), 2.5, random)[0, ..., 0] * 0.25
    y, x = np.mgrid[0:H, 0 : W + 40]
    fall = 2.2 - np.hypot((y - H / 2) / 22, (x - W / 2 - 20) / 32) ** 1.5
    thick = 1 - np.exp(-np.maximum(fall + lumps, 0) * 1.2)
    light = np.clip(0.7 + 0.35 * np.gradient(fall * 3 + lumps, axis=1), 0.3, 1.3)
    alpha = np.stack([thick[:, 20 - 2 * f : 20 - 2 * f + W] for f in range(FRAMES)]).astype(np.float32)
    lit = np.stack([light[:, 20 - 2 * f : 20 - 2 * f + W] for f in range(FRAMES)])[..., None]
    return (alpha[..., None] * lit * np.array([0.55, 0.49, 0.42])).astype(np.float32), alpha


def made(kind: str, sigma: float = 0.015, seed: int = 1):
    """A generated picture with its truth, all as dictionaries of (frames, ...) arrays."""
    random = np.random.default_rng(seed)
    rgb, alpha = dust(random)
    texture = 0.6 * smooth((1, H, W + 8, 3), 1.2, random)[0] + 0.6 * smooth((1, H, W + 8, 1), 5.0, random)[0]
    texture = np.stack([texture[:, f : f + W] for f in range(FRAMES)])
    plate = {
        "textured": np.array([0.22, 0.20, 0.17]) * np.exp(0.5 * texture),
        "near": np.array([0.44, 0.39, 0.34]) * np.exp(0.12 * texture),
        "dark": np.array([0.02, 0.02, 0.025]) * np.exp(0.5 * texture),
        "sky": np.array([1.8, 2.4, 3.6]) * np.exp(0.1 * smooth((1, H, W, 1), 20.0, random)),
    }[kind] + np.zeros((FRAMES, H, W, 3))
    visible = np.ones((FRAMES, H, W), np.float32)
    visible[:, 30:, 80:86] = 0.0
    alpha, rgb = alpha * visible, rgb * visible[..., None]
    plate = plate.astype(np.float32)
    clean = rgb + (1 - alpha[..., None]) * plate
    grain = 0.9 * smooth(clean.shape, 1.5, random) + 0.43 * smooth(clean.shape, 6.0, random)
    generated = DISPLAY.decode(np.clip(DISPLAY.encode(clean) + sigma * grain, 0, 1).astype(np.float32))
    guide = matte._blurred(torch.from_numpy(alpha), 2.5).numpy()
    mask = torch.nn.functional.max_pool2d(torch.from_numpy(alpha)[:, None], 17, 1, 8)[:, 0].numpy() > 0.01
    given = {"generated": generated, "plate": plate, "mask": mask, "guide_alpha": guide, "visible": visible}
    return given, {"alpha": alpha, "clean": clean}


def code(x):
    return np.clip(DISPLAY.encode(x), 0, 1)


def comp(rgb, alpha, plate):
    return rgb + (1 - alpha[..., None]) * plate


@pytest.fixture(scope="module", params=["textured", "near", "dark", "sky"])
def case(request):
    given, truth = made(request.param)
    return given, truth, matte.estimate(**given)


#: Mean error of alpha that is let pass. 0.03 is the aim; dust of the plate's own colours is not there yet, but better than its guide.
LET_PASS = {"textured": 0.031, "near": 0.04, "dark": 0.023, "sky": 0.027}


def test_alpha_is_near_the_truth(case, request):
    given, truth, (_, alpha) = case
    there = given["mask"] & (given["visible"] > 0)
    assert np.abs(alpha - truth["alpha"])[there].mean() <= LET_PASS[request.node.callspec.params["case"]]
    assert np.abs(given["guide_alpha"] * given["visible"] - truth["alpha"])[there].mean() > 0.043  # the guide alone is worse


def test_effect_over_plate_gives_the_picture_back_within_a_hundredth(case):
    """The generated picture, noise and all, and the one without noise that is the truth."""
    given, truth, (rgb, alpha) = case
    there = given["mask"] & (given["visible"] > 0)
    back = code(comp(rgb, alpha, given["plate"]))
    assert np.abs(back - code(given["generated"])).mean(-1)[there].mean() <= 0.01
    assert np.abs(back - code(truth["clean"])).mean(-1)[there].mean() <= 0.01


def test_nothing_outside_the_mask_and_where_hidden(case):
    given, _, (rgb, alpha) = case
    none = ~given["mask"] | (given["visible"] == 0)
    assert (alpha[none] == 0).all() and (rgb[none] == 0).all()
    assert (alpha <= given["visible"]).all() and (rgb >= 0).all() and (alpha[given["mask"]] > 0.5).any()
    assert rgb.dtype == alpha.dtype == np.float32


def test_where_no_dust_is_the_noise_is_none_either(case):
    given, truth, (rgb, alpha) = case
    empty = given["mask"] & (given["visible"] > 0) & (truth["alpha"] < 0.002)
    assert alpha[empty].mean() < 0.02
    changed = np.abs(code(comp(rgb, alpha, given["plate"])) - code(given["plate"])).mean(-1)[empty].mean()
    noise = np.abs(code(given["generated"]) - code(given["plate"])).mean(-1)[empty].mean()
    assert changed < 0.4 * noise


@pytest.mark.parametrize("sigma", [0.01, 0.02])
def test_a_plate_with_a_vaes_noise_and_no_dust_has_no_alpha(sigma):
    given, _ = made("textured", sigma)
    random = np.random.default_rng(5)
    plain = DISPLAY.decode(np.clip(code(given["plate"]) + sigma * smooth(given["plate"].shape, 1.5, random), 0, 1).astype(np.float32))
    given = {**given, "generated": plain, "guide_alpha": np.zeros_like(given["guide_alpha"])}
    _, alpha = matte.estimate(**given)
    difference_key = np.clip(np.abs(code(plain) - code(given["plate"])).max(-1) / 0.25, 0, 1)[given["mask"]].mean()
    assert alpha[given["mask"]].mean() < 0.003 < 0.1 * difference_key


def test_alpha_stands_still_where_the_picture_does():
    """One frame four times, each with noise of its own: the neighbours take a good part of what is left of it in alpha."""
    given, _ = made("textured", 0.0)
    still = {key: np.repeat(value[:1], FRAMES, 0) for key, value in given.items()}
    grain = 0.015 * smooth(still["plate"].shape, 1.5, np.random.default_rng(7))
    still["generated"] = DISPLAY.decode(np.clip(code(still["generated"]) + grain, 0, 1).astype(np.float32))
    _, alpha = matte.estimate(**still, noise=0.015)
    alone = np.stack([matte.estimate(**{key: value[f : f + 1] for key, value in still.items()}, noise=0.015)[1][0] for f in range(FRAMES)])
    there = still["mask"][0]
    shakes, unsteadied = (np.abs(np.diff(a, axis=0))[:, there].mean() for a in (alpha, alone))
    assert shakes < 0.6 * unsteadied and shakes < 0.01


def test_frames_come_one_at_a_time_and_the_same():
    given, _ = made("near")

    class Opened(list):
        """A sequence that counts how far it was read."""

        def __init__(self, frames):
            super().__init__(frames)
            self.furthest = 0

        def __getitem__(self, at):
            self.furthest = max(self.furthest, at)
            return super().__getitem__(at)

    whole = matte.estimate(**given, noise=0.015)
    read = {key: Opened(value) for key, value in given.items()}
    for at, (rgb, alpha) in enumerate(matte.estimates(**read, noise=0.015)):
        assert (rgb == whole[0][at]).all() and (alpha == whole[1][at]).all()
        assert read["generated"].furthest == min(at + 1, FRAMES - 1)


def test_a_highlight_above_the_transforms_white_is_no_dust_and_shines_through():
    """The model saw the sun at white, 16, and gave it back so; the plate has 300."""
    given, _ = made("textured", 0.005)
    given["plate"][:, 40:50, 60:70] = 300.0
    given["generated"][:, 40:50, 60:70] = 16.0
    given["guide_alpha"][:] = 0
    rgb, alpha = matte.estimate(**given)
    assert (comp(rgb, alpha, given["plate"])[:, 42:48, 62:68] > 150).all()


def test_the_noise_is_measured_outside_the_mask():
    for sigma in (0.008, 0.02):
        given, _ = made("textured", sigma)
        assert matte.measured_noise(given["generated"], given["plate"], given["mask"]) == pytest.approx(sigma, rel=0.25)
    put_back = np.where(given["mask"][..., None], given["generated"], given["plate"])
    assert matte.measured_noise(put_back, given["plate"], given["mask"]) == 0.015
    assert matte.measured_noise(given["generated"], given["plate"], np.ones_like(given["mask"])) == 0.015


def test_an_empty_mask_and_an_odd_size():
    given, _ = made("dark")
    cut = {key: value[:2, :61, :83] for key, value in given.items()}
    rgb, alpha = matte.estimate(**cut)
    assert rgb.shape == (2, 61, 83, 3) and alpha.shape == (2, 61, 83) and alpha.max() > 0.5
    rgb, alpha = matte.estimate(**{**cut, "mask": np.zeros_like(cut["mask"])})
    assert not rgb.any() and not alpha.any()


def test_what_it_is_trained_on_and_that_training_writes_weights_of_its_kind(tmp_path):
    random = np.random.default_rng(1)
    truth, guide = (torch.rand(2, 3, *size) for size in ((128, 192), (32, 48)))
    clip = Clip(truth, torch.ones(2, 128, 192), guide, torch.ones(2, 32, 48), torch.ones(2, 3), torch.ones(2, 2))
    for _ in range(4):
        one = matting.picture(random, [clip])
        assert all(np.isfinite(value).all() for value in one.values())
        assert one["alpha"].min() >= 0 and one["alpha"].max() <= 1 and (one["picture"] >= 0).all()
    (tmp_path / "data").mkdir()
    save_file({key: value[None].half() for key, value in vars(clip).items()}, tmp_path / "data" / "sim_00000.safetensors")
    matting.train(tmp_path / "data", tmp_path / "matte.safetensors", 0.01, pictures=3, start=matte.WEIGHTS)
    shipped, written = load_file(matte.WEIGHTS), load_file(tmp_path / "matte.safetensors")
    assert {key: value.shape for key, value in shipped.items()} == {key: value.shape for key, value in written.items()}
    assert all(torch.isfinite(value).all() for value in written.values())
