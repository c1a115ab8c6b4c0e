# SPDX-License-Identifier: Apache-2.0
"""Whether diffusers' caches skip anything on Wan VACE, and that what is offered is right where they are not.

The real transformer with tiny random weights. What a real model's picture loses is not known here; that the sums are those of a cache is.
"""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="diffusers' WanVACEPipeline needs it")
torch = pytest.importorskip("torch")

import tiny_vace  # noqa: E402
from diffusers import FirstBlockCacheConfig, TaylorSeerCacheConfig  # noqa: E402
from platebridge.errors import Cancelled  # noqa: E402
from platebridge_server.models.vace import parts, skipping  # noqa: E402
from platebridge_server.models.vace.denoise import Recipe, denoise  # noqa: E402

STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_vace.make(tmp_path_factory.mktemp("vace"), layers=4)


@pytest.fixture
def pipe(folder):
    return parts.load(folder, torch.float32)


def given(seed=0, h=8, w=12):
    made = torch.Generator().manual_seed(seed)
    told, words = torch.randn(1, 96, 5, h, w, generator=made), torch.randn(1, 8, tiny_vace.WIDTH, generator=made)
    return told, words, words * 0.5


def ran(network):
    """How often each block is computed: {"blocks.1": [...]}; a skipped block's attention is not called."""
    seen = {}
    for room in ("blocks", "vace_blocks"):
        for number, block in enumerate(getattr(network, room)):
            calls = seen["%s.%d" % (room, number)] = []
            block.attn1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
    return seen


def one_call(network, latents, told, words, strength):
    with torch.no_grad(), network.cache_context("one"):
        return network(
            hidden_states=latents, timestep=torch.tensor([500.0]), encoder_hidden_states=words, control_hidden_states=told,
            control_hidden_states_scale=strength, return_dict=False,
        )[0]  # fmt: skip


def test_diffusers_first_block_cache_skips_blocks_of_the_trunk_and_none_of_the_control_branch(pipe):
    network, (told, words, _) = pipe.transformer, given()
    seen = ran(network)
    network.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    latents, strength = torch.randn(1, 16, 5, 8, 12), torch.ones(len(network.config.vace_layers))
    for _ in range(3):
        one_call(network, latents, told, words, strength)
    network.disable_cache()
    assert [len(seen["blocks.%d" % n]) for n in range(4)] == [3, 1, 1, 1]
    assert [len(seen["vace_blocks.%d" % n]) for n in range(2)] == [3, 3]


def test_by_itself_it_adds_the_control_twice_and_ours_does_not(pipe):
    """The same call again is skipped, so it must give the same picture. When diffusers' own does, `control_kept` may go."""
    network, (told, words, _) = pipe.transformer, given()
    latents, strength = torch.randn(1, 16, 5, 8, 12), torch.ones(len(network.config.vace_layers))
    network.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    whole, skipped = (one_call(network, latents, told, words, strength) for _ in range(2))
    assert (whole - skipped).abs().max() > 1e-2
    network.disable_cache()
    with skipping.on([network, None], 10.0):
        results = []
        for _ in range(2):
            with skipping.control_kept(network, strength) as scale:
                results.append(one_call(network, latents, told, words, scale))
    assert torch.allclose(results[0], whole, atol=1e-6) and torch.allclose(results[1], whole, atol=1e-5)
    assert torch.equal(strength, torch.ones_like(strength)) and not network.is_cache_enabled


def test_the_default_taylorseer_skips_nothing_so_it_is_not_offered(pipe):
    network, (told, words, _) = pipe.transformer, given()
    seen = ran(network)
    network.enable_cache(TaylorSeerCacheConfig())
    for _ in range(8):
        one_call(network, torch.randn(1, 16, 5, 8, 12), told, words, torch.ones(len(network.config.vace_layers)))
    network.disable_cache()
    assert all(len(calls) == 8 for calls in seen.values())


def run(pipe, skip, seen=None, **how):
    told, words, negative = given()
    return denoise(pipe, told, words, negative, Recipe(seed=4, steps=STEPS, skip=skip, **how))


def test_more_is_skipped_and_more_of_the_picture_lost_by_a_higher_threshold(pipe):
    seen, counts, losses = ran(pipe.transformer), [], []
    plain = run(pipe, 0.0)
    for skip in (0.0, 0.05, 0.2, 1.0):
        seen["blocks.1"].clear()
        losses.append(float((run(pipe, skip) - plain).norm() / plain.norm()))
        counts.append(len(seen["blocks.1"]))
    assert counts == sorted(counts, reverse=True) and counts[0] == 2 * STEPS and counts[-1] < counts[0]
    assert losses[0] == 0.0 and losses[-1] > 0.0 and losses == sorted(losses)


def test_each_window_has_a_memory_of_its_own(pipe):
    """Windows that stand at other places must not take each other's change for their own: as many are skipped as for each alone."""
    seen = ran(pipe.transformer)
    run(pipe, 1.0, window=3, overlap=1)
    windows = len(seen["blocks.1"]), len(seen["blocks.0"])
    assert windows[1] == 2 * 2 * STEPS and windows[0] >= 2 * 2  # the first step of each window and of each prompt is whole


def test_nothing_of_it_is_left_after_a_run_or_a_cancelled_one(pipe):
    plain = run(pipe, 0.0)
    first = run(pipe, 0.3)
    told, words, negative = given()
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 5:
            raise Cancelled()

    with pytest.raises(Cancelled):
        denoise(pipe, told, words, negative, Recipe(seed=4, steps=STEPS, skip=0.3), called=stop)
    assert torch.equal(run(pipe, 0.3), first) and torch.equal(run(pipe, 0.0), plain)
