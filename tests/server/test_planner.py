# SPDX-License-Identifier: Apache-2.0
"""The planner: what is chosen for which memory, by a table; that its figures are those of the real networks; and what is done of it."""

from dataclasses import replace

import pytest
import torch
from live_bytes import counted
from platebridge.errors import ModelError
from platebridge_server import planner
from platebridge_server.models import cards
from platebridge_server.models.vace import latents, parts
from platebridge_server.planner import Memory, Plan, Work
from tiny_vace import make

SMALL, LARGE, PAIR = (cards.card(name) for name in cards.names())
LOOK, FINAL = Work(832, 480), Work(1280, 720)
GB = 10**9


def card_with(gb, host=128, **how):
    """A graphics card's memory, as it would be read with nothing else on it."""
    return Memory("cuda", gb * GB, host * GB, **how)


# --- choosing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "card, work, memory, offload, tiles, fp8",
    [
        (SMALL, LOOK, card_with(24), "none", False, False),  # RTX 4090
        (SMALL, LOOK, card_with(16), "none", False, False),
        (SMALL, LOOK, card_with(12), "parts", False, False),
        (SMALL, LOOK, card_with(8), "blocks", True, False),
        (SMALL, LOOK, card_with(6, 16), "blocks", True, False),
        (LARGE, LOOK, card_with(12), "blocks", True, False),
        (LARGE, LOOK, card_with(16), "blocks", False, False),
        (LARGE, LOOK, card_with(24, 32), "blocks", False, True),  # 32 GB hold the weights in 8 bits alone
        (LARGE, LOOK, card_with(48), "none", False, False),
        (LARGE, FINAL, card_with(24), "blocks", False, False),
        (LARGE, FINAL, card_with(48), "blocks", False, False),
        (LARGE, FINAL, card_with(80), "none", False, False),  # H100
        (PAIR, LOOK, card_with(24), "blocks", False, False),
        (PAIR, LOOK, card_with(24, 64), "blocks", False, True),
        (PAIR, FINAL, card_with(80), "parts", False, False),  # one expert at a time
        (PAIR, FINAL, card_with(141), "none", False, False),  # H200
    ],
)
def test_what_is_chosen(card, work, memory, offload, tiles, fp8):
    plan = planner.plan(card, work, memory)
    assert (plan.offload, plan.tiles, plan.fp8) == (offload, tiles, fp8), plan.said()
    assert plan.device_bytes <= memory.device and plan.host_bytes <= memory.host
    assert plan.dtype == "bfloat16" and plan.attention == "native" and not plan.compile
    assert plan.why and plan.said()


@pytest.mark.parametrize("card", [SMALL, LARGE, PAIR])
@pytest.mark.parametrize("work", [LOOK, FINAL, Work(512, 512, 17)])
def test_more_memory_never_gives_a_plan_that_changes_more(card, work):
    seen = []
    for gb in range(4, 160, 4):
        try:
            plan = planner.plan(card, work, card_with(gb))
        except ModelError:
            assert not seen
            continue
        seen.append((-(plan.frames or work.frames), plan.fp8, plan.tiles))
    assert seen and seen == sorted(seen, reverse=True) and seen[-1] == (-work.frames, False, False)


def test_a_picture_that_stays_as_it_is_comes_before_one_that_changes():
    found = planner.plans(LARGE, LOOK, card_with(80))
    assert [bool(p.changes) for p in found] == sorted(bool(p.changes) for p in found)
    assert found[0].changes == "" and found[-1].fp8


@pytest.mark.parametrize(
    "card, work, memory, frames",
    [
        (SMALL, LOOK, card_with(6), 0),
        (SMALL, LOOK, card_with(5), 65),
        (SMALL, LOOK, card_with(4), 33),
        (LARGE, FINAL, card_with(24), 0),
        (LARGE, FINAL, card_with(16), 49),
        (LARGE, FINAL, card_with(12), 33),
        (LARGE, replace(FINAL, frames=41), card_with(16), 0),  # a short shot needs no windows
        (PAIR, LOOK, card_with(8), 33),
    ],
)
def test_shorter_windows_come_last_and_before_an_error(card, work, memory, frames):
    plan = planner.plan(card, work, memory)
    assert plan.frames == frames, plan.said()
    assert bool(frames) == ("windows of %d frames" % frames in plan.changes) == any("Windows of %d" % frames in why for why in plan.why)
    assert planner.facts(plan)["plan"] == plan.said() and ("%d frames at once" % frames in plan.said()) == bool(frames)


def test_a_large_picture_in_tiles_needs_a_tiles_memory_and_the_vaes_tiles():
    whole = Work(1280, 720, 17, whole=(3840, 2160))
    plan = planner.plan(LARGE, whole, card_with(24))
    assert plan.tiles and whole.tokens == Work(1280, 720, 17).tokens
    assert any("3840 x 2160 in tiles of 1280 x 720" in why for why in plan.why)
    assert plan.device_bytes < planner.plan(LARGE, Work(3840, 2160, 17), card_with(80)).device_bytes
    with pytest.raises(ModelError):
        planner.plan(LARGE, Work(3840, 2160, 17), card_with(24))


@pytest.mark.parametrize(
    "passes, memory, attention, compiled",
    [
        (24, card_with(80), "native", False),  # a short draft
        (24, card_with(80, flash=True), "flash", False),
        (24 * 4, card_with(80), "native", True),  # a long one
        (24 * 4, card_with(16, flash=True), "flash", False),  # its blocks come and go
        (24 * 4, Memory("cpu", 400 * GB, 400 * GB), "native", False),
    ],
)
def test_a_draft_takes_the_quick_attention_and_compiles_where_that_pays_and_says_why(passes, memory, attention, compiled):
    draft = replace(LOOK, quick=True, passes=passes)
    plan = planner.plan(LARGE, draft, memory)
    assert (plan.attention, plan.compile) == (attention, compiled)
    assert any("attention" in why for why in plan.why) == (attention != "native")
    assert any("Compiled: %d passes" % passes in why for why in plan.why) == compiled
    final = planner.plan(LARGE, replace(draft, quick=False), memory)
    assert (final.attention, final.compile) == ("native", False)


def test_speed_is_chosen_only_where_the_last_bits_may_differ():
    quick = replace(LOOK, quick=True)
    plan = planner.plan(LARGE, quick, card_with(80, flash=True))
    assert plan.attention == "flash" and plan.compile and "compiled" in plan.changes and "flash" in plan.changes
    assert planner.plan(LARGE, quick, card_with(80)).attention == "native"  # not installed
    assert not planner.plan(LARGE, replace(quick, passes=8), card_with(80)).compile  # would not pay
    assert not planner.plan(LARGE, quick, card_with(16)).compile  # not while blocks come and go


@pytest.mark.parametrize("memory, dtype", [(card_with(24, bfloat16=False), "float16"), (Memory("cpu", 64 * GB, 64 * GB, False), "float32")])
def test_a_device_without_bfloat16_gets_another_type_and_is_told(memory, dtype):
    plan = planner.plan(SMALL, LOOK, memory)
    assert plan.dtype == dtype and any(dtype in why for why in plan.why)


def test_on_a_processor_nothing_is_moved():
    plan = planner.plan(SMALL, LOOK, Memory("cpu", 64 * GB, 64 * GB))
    assert plan.offload == "none" and not plan.fp8 and not plan.text_on_device and plan.host_bytes == 0


def test_words_are_read_on_the_card_only_where_they_fit():
    assert planner.plan(LARGE, LOOK, card_with(80)).text_on_device
    assert not planner.plan(SMALL, LOOK, card_with(8)).text_on_device


@pytest.mark.parametrize(
    "card, work, memory, lower",
    [
        (LARGE, FINAL, card_with(10), r"10\.0 GB are free.*It would fit at 832 x 480"),
        (LARGE, Work(3840, 2160, 17), card_with(24), r"needs at least .* GB on the device.*It would fit at 1280 x 720"),
        (LARGE, FINAL, card_with(24, 8), r"GB of the computer's memory, where 8\.0 GB are free.*smaller model"),
        (LARGE, LOOK, card_with(2), r"Close what else.*smaller model.*--device"),
        (SMALL, LOOK, Memory("cpu", 4 * GB, 4 * GB), r"needs at least"),
    ],
)
def test_when_nothing_fits_it_says_what_is_lacking_and_what_to_lower(card, work, memory, lower):
    with pytest.raises(ModelError, match=lower) as found:
        planner.plan(card, work, memory)
    assert card["name"] in str(found.value)


def test_what_is_free_now_is_read():
    now = Memory.of("cpu")
    assert now.kind == "cpu" and 0 < now.device == now.host and not now.bfloat16
    assert Memory.of("cpu", 10 * 2**40).host > 10 * 2**40  # what a model that gives way leaves


def test_what_our_own_model_holds_on_the_card_is_free_to_it(monkeypatch):
    """Else the second take would be planned for what the first one left, and the model laid out anew."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 55 * GB)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert Memory.of("cuda:0").device == 75 * GB


# --- its figures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card, layers, every", [(SMALL, 6, 2), (LARGE, 6, 5)])
def test_the_transformers_figure_is_what_a_pass_holds_at_real_width(card, layers, every):
    """Counted on fewer blocks of the real width, with the VACE branch as dense as it is: more blocks hold no more."""
    from diffusers import WanVACETransformer3DModel

    net, work = card["network"], Work(832, 480, 17)
    branch = list(range(0, layers, every))
    fewer = {**card, "network": {**net, "vace_blocks": len(branch)}}
    with counted() as live:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            network = WanVACETransformer3DModel(
                num_attention_heads=net["heads"], ffn_dim=net["feed_forward"], num_layers=layers, vace_layers=branch
            ).eval()
        finally:
            torch.set_default_dtype(before)
        size = (5, 60, 104)
        told = {
            "hidden_states": torch.zeros(1, 16, *size, dtype=torch.bfloat16),
            "control_hidden_states": torch.zeros(1, 96, *size, dtype=torch.bfloat16),
            "encoder_hidden_states": torch.zeros(1, 512, 4096, dtype=torch.bfloat16),
            "timestep": torch.tensor([500.0]),
            "control_hidden_states_scale": torch.ones(len(branch), dtype=torch.bfloat16),
        }
        live.leave_out(network)
        with live:
            network(**told, return_dict=False)
    assert 0.85 * planner.activations(fewer, work, 2) <= live.peak <= 1.02 * planner.activations(fewer, work, 2)


@pytest.mark.parametrize("frames", [9, 13])
def test_the_vaes_figure_is_what_our_decoding_holds_and_does_not_grow_with_the_shot(frames):
    from diffusers import AutoencoderKLWan

    work = Work(832, 480, frames)
    with counted() as live:
        vae = AutoencoderKLWan().eval()
        z = torch.zeros(1, 16, (frames - 1) // 4 + 1, 60, 104)
        live.leave_out(vae)
        with live:
            for _ in latents.decode(vae, z):
                pass
    own = sum(p.numel() for p in vae.parameters()) * 4
    assert 0.9 * planner.vae_bytes(SMALL, work, False) <= live.peak + own <= planner.vae_bytes(SMALL, work, False)


TINY = {"base_dim": 4, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}


def held_in_tiles(work, kind, **how):
    """(bytes held at most in one device's memory while a clip is decoded in tiles, bytes of the VAE). "meta" stands for a graphics card."""
    from diffusers import AutoencoderKLWan

    with counted(kind) as live:
        vae = AutoencoderKLWan(**how).eval()
        vae.enable_tiling()
        for module in vae.modules():
            for name, value in module._parameters.items():
                module._parameters[name] = None if value is None else torch.nn.Parameter(torch.empty(value.shape, device="meta"))
        z = torch.zeros(1, 16, (work.frames - 1) // 4 + 1, work.height // 8, work.width // 8, device="meta")
        live.leave_out(vae)
        with live:
            assert {frame.device.type for frame in latents.decode(vae, z)} == {"cpu"}
    return live.peak, sum(p.numel() for p in vae.parameters()) * 4


def test_in_tiles_the_vae_holds_one_tile_on_the_device_however_long_the_shot():
    work = Work(320, 256, 9)
    peak, own = held_in_tiles(work, "meta")
    assert 0.9 * planner.vae_bytes(SMALL, work, True) <= peak + own <= planner.vae_bytes(SMALL, work, True)
    (short, _), (long, _) = (held_in_tiles(replace(work, frames=frames), "meta", **TINY) for frames in (9, 17))
    assert long < 1.05 * short


def test_the_tiles_of_the_whole_shot_are_put_together_here_and_counted():
    work = Work(448, 256, 5)
    peak, _ = held_in_tiles(work, "cpu", **TINY)
    assert 0.95 * planner.gathered_bytes(work, True) <= peak <= planner.gathered_bytes(work, True)
    assert planner.gathered_bytes(work, False) == 0


@pytest.mark.parametrize("offload", ["parts", "blocks"])
def test_a_long_shot_in_tiles_needs_no_more_on_the_device_and_more_here(offload):
    window, long = (replace(LOOK, clip=clip) for clip in (0, 481))
    one, other = (planner._planned(SMALL, work, card_with(8), "bfloat16", offload, False, True, 0) for work in (window, long))
    assert one.device_bytes == other.device_bytes
    assert other.host_bytes - one.host_bytes == pytest.approx(planner.VAE_GATHERED * 832 * 480 * 400 * 12)
    with pytest.raises(ModelError, match=r"GB of the computer's memory, where 11\.0 GB"):
        planner.plan(SMALL, long, card_with(8, 11))
    assert planner.plan(SMALL, window, card_with(8, 11)).tiles


@pytest.mark.parametrize("card", [SMALL, LARGE])
def test_the_cards_figures_are_those_of_the_real_classes(card):
    from diffusers import AutoencoderKLWan, WanVACETransformer3DModel

    net, said = card["network"], card["layout"]["transformer"]["config"]
    with torch.device("meta"):
        network = WanVACETransformer3DModel(
            num_attention_heads=net["heads"], num_layers=said["num_layers"], vace_layers=said["vace_layers"], ffn_dim=net["feed_forward"]
        )
        vae = AutoencoderKLWan()

    def size(module):
        return sum(p.numel() for p in module.parameters())

    assert size(network) == net["transformer_parameters"] and size(vae) == net["vae_parameters"]
    assert (size(network.blocks[0]), size(network.vace_blocks[0])) == (net["block_parameters"], net["vace_block_parameters"])
    assert (len(network.blocks), len(network.vace_blocks)) == (net["blocks"], net["vace_blocks"])


# --- doing -------------------------------------------------------------------------------------------------------------------

PLAIN = Plan("float32", "none", False, False, "native", False, False, 100, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("model") / "tiny", second=True)


def passed(pipe, transformer="transformer"):
    """One pass of a transformer on fixed input, and one decoded frame."""
    made = torch.Generator().manual_seed(3)
    network = getattr(pipe, transformer)
    size = (2, 4, 4)
    out = network(
        hidden_states=torch.randn(1, 16, *size, generator=made),
        control_hidden_states=torch.randn(1, 96, *size, generator=made),
        encoder_hidden_states=torch.randn(1, 6, 32, generator=made),
        timestep=torch.tensor([500.0]),
        return_dict=False,
    )[0]
    frames = torch.stack(list(latents.decode(pipe.vae, torch.randn(1, 16, *size, generator=made))))
    return out.detach(), frames


@pytest.mark.parametrize("offload", ["none", "parts", "blocks"])
def test_offloading_leaves_the_picture_bit_for_bit_as_it_is(folder, offload):
    plain = passed(parts.load(folder, torch.float32))
    pipe = parts.load(folder, torch.float32)
    place = planner.apply(replace(PLAIN, offload=offload), pipe, "cpu")
    place.turn("transformer")
    for a, b in zip(plain, passed(pipe)):
        assert torch.equal(a, b)
    place.close()


def test_8_bit_weights_are_in_8_bits_and_change_the_picture_a_little(folder):
    plain, _ = passed(parts.load(folder, torch.float32))
    pipe = parts.load(folder, torch.float32)
    planner.apply(replace(PLAIN, fp8=True), pipe, "cpu")
    assert sum(p.dtype == torch.float8_e4m3fn for p in pipe.transformer.parameters()) > 10
    seen, _ = passed(pipe)
    assert not torch.equal(seen, plain) and (seen - plain).abs().mean() < 0.2 * plain.abs().mean()


def test_tiles_are_switched_on(folder):
    pipe = parts.load(folder, torch.float32)
    planner.apply(replace(PLAIN, tiles=True), pipe, "cpu")
    assert pipe.vae.use_tiling


def test_tiles_are_put_together_to_the_bits_of_diffusers_own(folder):
    vae = parts.load(folder, torch.float32).vae
    vae.enable_tiling(64, 64, 48, 48)
    made = torch.Generator().manual_seed(3)
    pictures = torch.rand(5, 3, 96, 80, generator=made) * 2 - 1
    with torch.no_grad():
        coded = vae.encode(pictures.transpose(0, 1)[None]).latent_dist.mode()
        mean, scale = latents._statistics(vae, "cpu")
        decoded = vae.decode(((coded - mean) * scale) / scale + mean).sample
    z = latents.encode(vae, lambda i: pictures[i], 5)
    assert torch.equal(z, (coded - mean) * scale)
    assert torch.equal(torch.stack(list(latents.decode(vae, z)), 1), (decoded[0] * 0.5 + 0.5).clamp(0, 1))
    assert not vae.encoder._forward_pre_hooks and not vae.decoder._forward_hooks


class Network:
    """Where it was sent, and when it was called."""

    def __init__(self, name, log):
        self.name, self.log, self.device, self.hook = name, log, torch.device("cpu"), None

    def to(self, device):
        if torch.device(device) != self.device:
            self.device = torch.device(device)
            self.log.append((self.name, self.device.type))
        return self

    def register_forward_pre_hook(self, hook):
        self.hook = hook
        return self

    def remove(self):
        self.hook = None

    def __call__(self):
        if self.hook:
            self.hook(self, ())
        assert self.device.type == "cuda"


def test_parts_take_turns_and_two_experts_change_over_where_the_loop_calls_the_other():
    class Pipe:
        pass

    log, pipe = [], Pipe()
    for name in ("transformer", "transformer_2", "vae"):
        setattr(pipe, name, Network(name, log))
    place = planner.apply(replace(PLAIN, offload="parts"), pipe, "cuda:0")
    assert log == []
    place.turn("vae")
    pipe.transformer()
    pipe.transformer()
    pipe.transformer_2()
    place.turn("vae")
    assert log == [
        ("vae", "cuda"), ("vae", "cpu"), ("transformer", "cuda"), ("transformer", "cpu"), ("transformer_2", "cuda"),
        ("transformer_2", "cpu"), ("vae", "cuda"),
    ]  # fmt: skip
    place.close()
    assert pipe.transformer.hook is None


# --- out of memory -----------------------------------------------------------------------------------------------------------

LADDER = [replace(PLAIN, device_bytes=size) for size in (100, 95, 60, 40)]


def test_out_of_memory_goes_on_once_from_where_it_was_with_a_plan_that_takes_less():
    seen, warned = [], []

    def make_frames(plan, first):
        for frame in range(first or 1001, 1006):
            if plan.device_bytes == 100 and frame == 1003:
                raise torch.OutOfMemoryError("CUDA out of memory")
            seen.append((plan.device_bytes, frame))
            yield frame, str(frame)

    made = list(planner.generated(LADDER, make_frames, warned.append))
    assert [frame for frame, _ in made] == [1001, 1002, 1003, 1004, 1005]
    assert seen == [(100, 1001), (100, 1002), (60, 1003), (60, 1004), (60, 1005)]
    assert len(warned) == 1 and "goes on with less" in warned[0]


@pytest.mark.parametrize("ladder, tries", [(LADDER, [100, 60]), (LADDER[:2], [100]), (LADDER[:1], [100])])
def test_a_second_time_or_nothing_lighter_is_an_error_and_what_came_is_kept(ladder, tries):
    tried, came = [], []

    def make_frames(plan, first):
        tried.append(plan.device_bytes)
        if first is None:
            yield 1001, "a"
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelError, match=r"ran out of memory.*frames that came are kept"):
        for frame, _ in planner.generated(ladder, make_frames, lambda said: None):
            came.append(frame)
    assert tried == tries and came == [1001]


def test_any_other_error_is_not_tried_again():
    def make_frames(plan, first):
        yield 1001, "a"
        raise RuntimeError("another")

    with pytest.raises(RuntimeError, match=r"another"):
        list(planner.generated(LADDER, make_frames, lambda said: None))
