# SPDX-License-Identifier: Apache-2.0
"""The effect out of a generated picture, against effects that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from platebridge_server import colour, matte

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


def test_effect_over_plate_gives_the_generated_picture_back(case):
    given, _, (rgb, alpha) = case
    back = np.abs(code(comp(rgb, alpha, given["plate"])) - code(given["generated"])).mean(-1)
    assert back[given["mask"] & (given["visible"] > 0)].mean() < 0.01


def test_nothing_outside_the_mask_and_where_hidden(case):
    given, _, (rgb, alpha) = case
    none = ~given["mask"] | (given["visible"] == 0)
    assert (alpha[none] == 0).all() and (rgb[none] == 0).all()
    assert (alpha <= given["visible"]).all() and (rgb >= 0).all() and (alpha[given["mask"]] > 0.5).any()
    assert rgb.dtype == alpha.dtype == np.float32
