# SPDX-License-Identifier: Apache-2.0
"""Our loop over the parts against a plain diffusers script, bit for bit, and what our loop adds: windows, leaving, looking in.

The script is spelled out as diffusers' documentation has it. The weights are tiny and random, the classes are the real ones.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")
torch = pytest.importorskip("torch")

import tiny_vace  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from platebridge.errors import Cancelled  # noqa: E402
from platebridge_server.models.vace import conditioning, latents, parts, watch, windows  # noqa: E402
from platebridge_server.models.vace.denoise import Recipe, denoise  # noqa: E402
from vace_fixtures import FRAMES, SIZE, scene  # noqa: E402

WORDS, AVOID = "A cloud of grey concrete dust bursts from the falling wall.", "blurred, static, subtitles"
RECIPE = Recipe(seed=42, steps=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_vace.make(tmp_path_factory.mktemp("vace"))


@pytest.fixture(scope="module")
def two_experts(tmp_path_factory):
    return tiny_vace.make(tmp_path_factory.mktemp("vace22"), second=True)


@pytest.fixture(scope="module")
def pipe(folder):
    return parts.load(folder, torch.float32)


@pytest.fixture(scope="module")
def told(pipe, folder):
    """(conditioning, prompt, negative), encoded our way: plate and control apart, a few frames at a time, words without the rest."""
    return ours(pipe, folder)


def ours(pipe, folder):
    plate, led_by, region = scene()
    mask = conditioning.pooled(lambda i: region[i], FRAMES)

    def coded(inside):
        def read(i):
            lead = conditioning.lead(plate[i], led_by[i], 0.5)
            picture = torch.from_numpy(np.ascontiguousarray((lead if inside else plate[i]).transpose(2, 0, 1)))
            there = torch.from_numpy(mask(i).astype(np.float32))
            return (2.0 * picture - 1.0) * (there if inside else 1 - there)

        return latents.encode(pipe.vae, read, FRAMES)

    folded = conditioning.fold(mask, FRAMES, SIZE)
    parts.read_text_encoder(pipe, folder, "cpu", torch.float32)
    words = [parts.embedding(pipe, text) for text in (WORDS, AVOID)]
    parts.drop_text_encoder(pipe)
    return torch.cat([coded(False), coded(True), folded], 1), *words


def script(folder, output="np", steps=3, **more):
    """What diffusers' documentation says to type, with float tensors instead of eight-bit pictures."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanVACEPipeline

    plate, led_by, region = scene()
    mask = conditioning.pooled(lambda i: region[i], FRAMES)
    mask = np.stack([mask(i) for i in range(FRAMES)]).astype(np.float32)
    video = np.where(mask[..., None] > 0, led_by, plate)
    vae = AutoencoderKLWan.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    pipe = WanVACEPipeline.from_pretrained(folder, vae=vae, torch_dtype=torch.float32)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=3.0)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        video=torch.from_numpy(video).permute(0, 3, 1, 2)[None],
        mask=torch.from_numpy(mask)[None, :, None].repeat(1, 1, 3, 1, 1),
        prompt=WORDS,
        negative_prompt=AVOID,
        height=SIZE[0],
        width=SIZE[1],
        num_frames=FRAMES,
        num_inference_steps=steps,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(42),
        output_type=output,
        **more,
    ).frames


def pictures(pipe, clean):
    return np.stack([frame.permute(1, 2, 0).numpy() for frame in latents.decode(pipe.vae, clean)])


def test_the_frames_are_a_plain_diffusers_scripts_bit_for_bit(folder, pipe, told):
    assert (pictures(pipe, denoise(pipe, *told, RECIPE)) == script(folder)[0]).all()


def test_a_folder_that_names_the_plain_euler_scheduler_is_led_out_by_the_same_unipc(folder, pipe, told, tmp_path):
    """Its settings say nothing of what is predicted: UniPC by itself would take it for noise."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    shutil.copytree(folder, tmp_path / "euler")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(tmp_path / "euler" / "scheduler")
    euler = parts.load(tmp_path / "euler", torch.float32)
    mine = denoise(euler, *told, RECIPE)
    assert torch.equal(mine, denoise(pipe, *told, RECIPE))


def test_so_they_are_with_the_two_experts_of_wan_2_2(two_experts):
    pipe = parts.load(two_experts, torch.float32)
    got = denoise(pipe, *ours(pipe, two_experts), Recipe(seed=42, steps=4))
    assert torch.equal(got, script(two_experts, "latent", 4))
    assert not torch.equal(got, denoise(pipe, *ours(pipe, two_experts), Recipe(seed=42, steps=4, guidance_2=1.5)))


def test_in_bfloat16_too_and_the_vae_stays_in_float32(folder):
    from diffusers import AutoencoderKLWan, WanVACEPipeline

    pipe = parts.load(folder, torch.bfloat16)
    assert pipe.vae.dtype == torch.float32 and pipe.transformer.dtype == torch.bfloat16
    told = ours(pipe, folder)
    got = denoise(pipe, *told, RECIPE)
    vae = AutoencoderKLWan.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    stock = WanVACEPipeline.from_pretrained(folder, vae=vae, text_encoder=None, tokenizer=None, torch_dtype=torch.bfloat16)
    stock.prepare_video_latents = lambda *_, **__: told[0][:, :32]
    stock.prepare_masks = lambda *_, **__: told[0][:, 32:]
    want = stock(
        prompt_embeds=told[1], negative_prompt_embeds=told[2], height=SIZE[0], width=SIZE[1], num_frames=FRAMES, num_inference_steps=3,
        generator=torch.Generator().manual_seed(42), output_type="latent",
    ).frames  # fmt: skip
    assert torch.equal(got, want)


def test_another_seed_other_words_and_every_number_of_the_recipe_change_the_result(pipe, told):
    plain, kept = denoise(pipe, *told, RECIPE), {}
    for name, value in {"seed": 43, "steps": 4, "guidance": 3.0, "control": 0.5, "shift": 5.0}.items():
        kept[name] = denoise(pipe, *told, Recipe(**{**vars(RECIPE), name: value}))
        assert not torch.equal(plain, kept[name]), name
    assert not torch.equal(plain, denoise(pipe, told[0], told[1] * 0.5, told[2], RECIPE))
    assert torch.equal(plain, denoise(pipe, *told, RECIPE))


# Windows.


@given(st.integers(1, 400), st.integers(2, 30), st.data())
def test_the_windows_weights_sum_to_one_at_every_frame_and_every_window_is_whole(total, length, data):
    overlap = data.draw(st.integers(1, length - 1))
    plan = windows.plan(total, length, overlap)
    sums = np.zeros(total)
    for window in plan:
        assert len(window.weights) == min(total, length) and min(window.weights) > 0
        sums[window.first : window.stop] += window.weights
    assert np.abs(sums - 1).max() < 1e-12
    assert all(b.first < a.stop and b.first > a.first and a.stop - b.first >= overlap for a, b in zip(plan, plan[1:]))
    assert plan[0].first == 0 and plan[-1].stop == total


def test_a_window_as_long_as_the_shot_is_no_window_bit_for_bit(pipe, told):
    one = denoise(pipe, *told, Recipe(**{**vars(RECIPE), "window": 5, "overlap": 2}))
    assert torch.equal(one, denoise(pipe, *told, Recipe(**{**vars(RECIPE), "window": 99})))


def test_windows_agree_where_the_network_looks_at_each_frame_alone(pipe, told, monkeypatch):
    """Blending inside the step over one noise: what sees no neighbours gives the same with windows and without."""

    def alone(hidden_states, control_hidden_states, timestep, **_):
        return (torch.tanh(hidden_states + control_hidden_states[:, :16]),)

    monkeypatch.setattr(pipe.transformer, "forward", alone)
    whole = denoise(pipe, *told, RECIPE)
    cut = denoise(pipe, *told, Recipe(**{**vars(RECIPE), "window": 3, "overlap": 1}))
    assert (whole - cut).abs().max() < 1e-5


def test_each_window_has_the_real_plate_in_it_and_the_references_before_it(pipe, told, monkeypatch):
    seen = []
    real = pipe.transformer.forward

    def looked_at(**given):
        seen.append((given["hidden_states"].shape[2], given["control_hidden_states"]))
        return real(**given)

    monkeypatch.setattr(pipe.transformer, "forward", looked_at)
    with_reference = torch.cat([told[0][:, :, :1], told[0]], 2)
    out = denoise(pipe, with_reference, *told[1:], Recipe(seed=1, steps=1, window=3, overlap=1), references=1)
    assert out.shape[2] == 5 and [n for n, _ in seen] == [4, 4, 4, 4]
    assert torch.equal(seen[0][1], with_reference[:, :, :4])
    assert torch.equal(seen[2][1], torch.cat([with_reference[:, :, :1], with_reference[:, :, 3:]], 2))


# Leaving.


def test_left_at_any_place_within_a_step_or_the_vae_the_next_run_is_as_a_fresh_one(pipe, told):
    plate, _, _ = scene()

    def run(cancelled=lambda: False):
        with watch.watched(watch.places(pipe), cancelled):
            latents.encode(pipe.vae, lambda i: torch.from_numpy(plate[i].transpose(2, 0, 1)), 9)
            return pictures(pipe, denoise(pipe, *told, Recipe(seed=5, steps=1)))

    asked = [0]

    def count():
        asked[0] += 1
        return False

    fresh = run(count)
    places = asked[0]
    # three latent frames in, two calls of 2 + 3 blocks, five latent frames out
    assert places == 3 + 2 * 5 + 5
    for stop in (1, 3, 4, 9, 14, 16, places):
        asked[0] = 0

        def now(stop=stop):
            asked[0] += 1
            return asked[0] == stop

        with pytest.raises(Cancelled):
            run(now)
        assert asked[0] == stop
    assert (run() == fresh).all()
    assert not any(module._forward_pre_hooks for module in watch.places(pipe))


def test_the_picture_as_it_forms_is_the_result_after_the_last_step(pipe, told):
    forming = []
    clean = denoise(pipe, *told, RECIPE, stepped=lambda step, look: forming.append(look()))
    assert len(forming) == 3 and (forming[-1] - clean).abs().max() < 1e-4
    assert torch.equal(clean, denoise(pipe, *told, RECIPE))


# The VAE, a few frames at a time.


def test_encoding_and_decoding_group_by_group_are_the_vaes_own_bit_for_bit(pipe):
    plate, _, _ = scene()
    clip = torch.from_numpy(plate.transpose(3, 0, 1, 2))
    with torch.no_grad():
        stock = pipe.vae.encode(clip[None]).latent_dist.mode()
        mean, scale = latents._statistics(pipe.vae, "cpu")
        coded = latents.encode(pipe.vae, lambda i: clip[:, i], FRAMES)
        assert torch.equal(coded, (stock - mean) * scale)
        back = pipe.vae.decode(coded / scale + mean, return_dict=False)[0]
    ours = torch.stack(list(latents.decode(pipe.vae, coded)), 1)
    assert torch.equal(ours, (back[0] * 0.5 + 0.5).clamp(0, 1))
    assert latents.groups(9) == [range(0, 1), range(1, 5), range(5, 9)]


def test_no_frame_is_read_before_it_is_coded(pipe):
    plate, _, _ = scene()
    order, real = [], pipe.vae.encoder.forward
    pipe.vae.encoder.forward = lambda *a, **k: (order.append("code"), real(*a, **k))[1]
    try:
        latents.encode(pipe.vae, lambda i: (order.append(i), torch.from_numpy(plate[i].transpose(2, 0, 1)))[1], 9)
    finally:
        del pipe.vae.encoder.forward
    assert order == [0, "code", 1, 2, 3, 4, "code", 5, 6, 7, 8, "code"]
