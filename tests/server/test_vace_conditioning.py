# SPDX-License-Identifier: Apache-2.0
"""What VACE is told: each rule of its own that is easily broken in silence, by name, against diffusers' own code where that has it."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from platebridge_server.models.vace import conditioning as c  # noqa: E402


def picked(count):
    """The frames whose mask diffusers' transformer reads."""
    at = torch.arange(count, dtype=torch.float32)[None, None]
    return torch.nn.functional.interpolate(at, size=(count + 3) // 4, mode="nearest-exact")[0, 0].int().tolist()


def test_the_transformer_reads_the_mask_of_one_frame_in_four_and_not_of_its_own_four():
    """The trap that pooling is for: diffusers' own picking, so that we hear when it changes."""
    assert picked(17) == [1, 5, 8, 11, 15]
    assert [(f + 3) // 4 for f in picked(17)] == [1, 2, 2, 3, 4]


@settings(max_examples=60)
@given(st.integers(1, 40), st.data())
def test_a_region_of_a_single_frame_always_reaches_the_latent_frame_that_codes_it(latents, data):
    count = 4 * latents - 3
    only = data.draw(st.integers(0, count - 1))
    pooled = c.pooled(lambda i: np.full((1, 1), i == only), count)
    assert pooled(picked(count)[(only + 3) // 4]).all()


def test_the_region_is_the_same_for_all_frames_of_a_latent_frame_and_a_frame_wider():
    there = {9: [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], 0: [0, 1, 2, 3, 4, 5, 6, 7, 8]}
    for only, reached in there.items():
        pooled = c.pooled(lambda i, only=only: np.full((1, 1), i == only), 17)
        got = [i for i in range(17) if pooled(i).all()]
        assert set(got) <= set(reached) and {(i + 3) // 4 for i in got} >= {(only + 3) // 4}
        assert all(pooled(a).all() == pooled(b).all() for a, b in ((1, 4), (5, 8), (9, 12), (13, 16)))


def test_the_fold_of_the_mask_is_diffusers_own():
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler

    pytest.importorskip("transformers", reason="diffusers' WanVACEPipeline needs it")
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel

    tiny = WanVACETransformer3DModel(num_attention_heads=1, attention_head_dim=12, num_layers=1, vace_layers=[0], ffn_dim=8, text_dim=8)
    pipe = WanVACEPipeline(None, None, AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1]), UniPCMultistepScheduler(), tiny)
    masks = np.random.default_rng(0).random((17, 32, 48)) > 0.5
    stock = pipe.prepare_masks(torch.from_numpy(masks.astype(np.float32))[None, None].repeat(1, 3, 1, 1, 1), [[]])
    assert torch.equal(c.fold(lambda i: masks[i], 17, (32, 48)), stock)


def test_grey_is_nothing_in_the_models_own_space():
    assert 2.0 * c.GREY - 1.0 == 0.0


def test_follow_goes_from_grey_through_the_guide_to_the_plate():
    plate, dust = np.full((2, 2, 3), 0.2, np.float32), np.full((2, 2, 3), 0.8, np.float32)
    values = [float(c.lead(plate, dust, f)[0, 0, 0]) for f in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert values == pytest.approx([0.5, 0.65, 0.8, 0.5, 0.2]) and c.lead(plate, dust, 0.5).dtype == np.float32


def test_near_is_white_and_one_scale_holds_for_the_whole_shot():
    """Per-frame scales pump: a wall that stands still must keep its code while something comes nearer."""
    wall, nearer = np.full((4, 4), 20.0, np.float32), np.full((4, 4), 20.0, np.float32)
    nearer[0, 0], wall[3, 3] = 5.0, np.inf
    code = c.NearIsWhite([wall, nearer])
    assert code(wall)[1, 1, 0] == code(nearer)[1, 1, 0] == pytest.approx(0.25)
    assert code(nearer)[0, 0].tolist() == [1, 1, 1] and code(wall)[3, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [(1, 500), (500, 1)])
def test_a_reference_that_is_a_mere_line_is_one_pixel_wide_and_on_white(size):
    """The stock pipeline would make nothing of it, and fail on that."""
    made = c.on_white(np.zeros((*size, 3), np.float32), (64, 96))
    assert made.shape == (3, 64, 96) and 0 < int((made == -1).all(0).sum()) <= 96 and float(made.max()) == 1.0


@given(st.integers(1, 300), st.integers(0, 50))
def test_no_frame_is_lost_to_four_k_plus_one(count, beyond):
    """diffusers rounds 18 frames to 17 with a warning in the log; ours are made up with real frames, then with the last again."""
    frames = range(1001, 1001 + count)
    clip = c.clip_frames(frames, frames[-1] + beyond)
    assert len(clip) % 4 == 1 and clip[:count] == list(frames) and len(clip) < count + 4
    assert clip == sorted(clip) and clip[-1] <= frames[-1] + beyond
