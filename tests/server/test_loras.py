# SPDX-License-Identifier: Apache-2.0
"""LoRAs: what one adds to the weights by the definition, who may be one, and what the take keeps of it."""

import hashlib
import json
import pickle

import pytest
import safetensors.torch
import torch
from live_bytes import Live
from platebridge.errors import ModelError, RequestError
from platebridge_server.models import loras, speeds, store
from platebridge_server.models.vace import parts
from tiny_vace import make

RANK = 3
PLACE = "blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("model") / "tiny", second=True)


@pytest.fixture
def pipe(folder):
    return parts.load(folder, torch.float32)


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))
    loras.folder().mkdir(parents=True)


def halves(pipe, seed=0, places=(PLACE, "blocks.1.ffn.net.0.proj")):
    made = torch.Generator().manual_seed(seed)
    out = {}
    for place in places:
        rows, columns = pipe.transformer.get_parameter(place + ".weight").shape
        out[place] = torch.randn(RANK, columns, generator=made), torch.randn(rows, RANK, generator=made)
    return out


def write(name, tensors, metadata=None):
    path = loras.folder() / (name + ".safetensors")
    safetensors.torch.save_file(tensors, str(path), metadata)
    return path


def in_diffusers_names(made, prefix="transformer."):
    out = {}
    for place, (down, up) in made.items():
        out.update({prefix + place + ".lora_A.weight": down, prefix + place + ".lora_B.weight": up})
    return out


def weights(pipe, part="transformer"):
    return {name: value.clone() for name, value in getattr(pipe, part).state_dict().items()}


def added(before, after):
    return {name: after[name] - before[name] for name in before if not torch.equal(before[name], after[name])}


def test_it_adds_what_its_definition_says_to_its_layers_and_to_no_other(pipe):
    made = halves(pipe)
    write("collapse", in_diffusers_names(made))
    before = weights(pipe)
    assert loras.merge(pipe, loras.chosen("collapse:0.5/high")) == {"collapse": 2}
    change = added(before, weights(pipe))
    assert set(change) == {place + ".weight" for place in made}
    for place, (down, up) in made.items():
        torch.testing.assert_close(change[place + ".weight"], 0.5 * up @ down, atol=1e-6, rtol=1e-5)


def test_the_picture_changes_with_it(pipe):
    write("collapse", in_diffusers_names(halves(pipe)))
    made = torch.Generator().manual_seed(1)
    told = {
        "hidden_states": torch.randn(1, 16, 2, 4, 4, generator=made), "control_hidden_states": torch.randn(1, 96, 2, 4, 4, generator=made),
        "encoder_hidden_states": torch.randn(1, 6, 32, generator=made), "timestep": torch.tensor([500.0]), "return_dict": False,
    }  # fmt: skip
    with torch.no_grad():
        before = pipe.transformer(**told)[0]
        loras.merge(pipe, loras.chosen("collapse:0"))
        assert torch.equal(pipe.transformer(**told)[0], before)
        loras.merge(pipe, loras.chosen("collapse"))
        assert not torch.equal(pipe.transformer(**told)[0], before)


def test_two_add_up_in_either_order(pipe, folder):
    write("one", in_diffusers_names(halves(pipe, 1)))
    write("two", in_diffusers_names(halves(pipe, 2)))
    other = parts.load(folder, torch.float32)
    loras.merge(pipe, loras.chosen("one:0.8, two:-0.3"))
    loras.merge(other, loras.chosen("two:-0.3,one:0.8"))
    for name, value in weights(pipe).items():
        assert torch.equal(value, weights(other)[name])


def test_two_experts_take_one_each_or_both(pipe):
    write("collapse", in_diffusers_names(halves(pipe)))
    first, second = weights(pipe), weights(pipe, "transformer_2")
    loras.merge(pipe, loras.chosen("collapse/low"))
    assert added(first, weights(pipe)) == {} and added(second, weights(pipe, "transformer_2"))
    loras.merge(pipe, loras.chosen("collapse"))
    assert added(first, weights(pipe))


@pytest.mark.parametrize("style", ["original", "musubi"])
def test_files_of_the_usual_trainers_are_read_with_their_alpha(pipe, style):
    places = {"self_attn.": "attn1", "cross_attn.": "attn2"}
    made, tensors = {}, {}
    for block in range(len(pipe.transformer.blocks)):
        names = {
            "blocks.%d.%s%s" % (block, theirs, o): "blocks.%d.%s.%s" % (block, ours, c)
            for theirs, ours in places.items()
            for o, c in zip("qkvo", ("to_q", "to_k", "to_v", "to_out.0"))
        }
        names.update({"blocks.%d.ffn.%s" % (block, o): "blocks.%d.ffn.net.%s" % (block, c) for o, c in (("0", "0.proj"), ("2", "2"))})
        for theirs, ours in names.items():
            made.update(halves(pipe, block, (ours,)))
            down, up = made[ours]
            label = "diffusion_model." + theirs if style == "original" else "lora_unet_" + theirs.replace(".", "_")
            tensors.update({label + ".lora_down.weight": down, label + ".lora_up.weight": up, label + ".alpha": torch.tensor(RANK / 2)})
    write("theirs", tensors)
    before = weights(pipe)
    loras.merge(pipe, loras.chosen("theirs/high"))
    change = added(before, weights(pipe))
    assert set(change) == {place + ".weight" for place in made}
    down, up = made[PLACE]
    torch.testing.assert_close(change[PLACE + ".weight"], 0.5 * up @ down, atol=1e-6, rtol=1e-5)


def test_an_alpha_beside_the_tensors_counts(pipe):
    made = halves(pipe)
    about = {"transformer.r": RANK, "transformer.lora_alpha": 2 * RANK}
    write("collapse", in_diffusers_names(made), {"lora_adapter_metadata": json.dumps(about)})
    before = weights(pipe)
    loras.merge(pipe, loras.chosen("collapse/high"))
    down, up = made[PLACE]
    torch.testing.assert_close(added(before, weights(pipe))[PLACE + ".weight"], 2.0 * up @ down, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "about, scale",
    [
        ({"transformer.use_rslora": True}, 6 / RANK**0.5),
        ({"transformer.alpha_pattern": {"attn1.to_q": 12}}, 12 / RANK),
        ({"transformer.alpha_pattern": {"blocks.1.attn1.to_q": 12, "1.to_q": 12}}, 6 / RANK),  # whole names of modules
        ({"transformer.r": 2 * RANK, "transformer.rank_pattern": {PLACE: RANK}}, 6 / RANK),
    ],
    ids=str,
)
def test_what_peft_says_of_a_layers_own_alpha_and_rank_counts(pipe, about, scale):
    made = halves(pipe)
    about = {"transformer.r": RANK, "transformer.lora_alpha": 6, **about}
    write("collapse", in_diffusers_names(made), {"lora_adapter_metadata": json.dumps(about)})
    before = weights(pipe)
    loras.merge(pipe, loras.chosen("collapse/high"))
    down, up = made[PLACE]
    torch.testing.assert_close(added(before, weights(pipe))[PLACE + ".weight"], scale * up @ down, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pattern", [{"(": 2}, {"attn1.to_q": "much"}, ["attn1.to_q"]], ids=str)
def test_an_alpha_that_is_no_sense_is_refused(pipe, pattern):
    about = {"transformer.r": RANK, "transformer.lora_alpha": 6, "transformer.alpha_pattern": pattern}
    write("collapse", in_diffusers_names(halves(pipe)), {"lora_adapter_metadata": json.dumps(about)})
    with pytest.raises(ModelError, match=r"The LoRA collapse does not belong"):
        loras.merge(pipe, loras.chosen("collapse"))


@pytest.mark.parametrize("label", ["diffusion_model.vace_blocks.0.self_attn.q", "lora_unet_vace_blocks_0_self_attn_q"])
def test_one_for_the_control_branch_under_the_original_names_is_not_called_another_models(pipe, label):
    down, up = halves(pipe)[PLACE]
    write("log", {label + ".lora_down.weight": down, label + ".lora_up.weight": up, label + ".alpha": torch.tensor(1.0)})
    with pytest.raises(ModelError, match=r"The LoRA log names layers of the control branch .* diffusers' names"):
        loras.merge(pipe, loras.chosen("log"))
    write("log", in_diffusers_names({"vace_blocks.0.attn1.to_q": (down, up)}))
    assert loras.merge(pipe, loras.chosen("log/high")) == {"log": 1}


def test_a_dora_is_refused_and_changes_nothing(pipe):
    """diffusers leaves its third part out: what remains is another look than the one that was trained."""
    made = in_diffusers_names(halves(pipe))
    write("collapse", {**made, "transformer.%s.dora_scale" % PLACE: torch.ones(24, 1)})
    before = weights(pipe)
    with pytest.raises(ModelError, match=r"The LoRA collapse is a DoRA"):
        loras.merge(pipe, loras.chosen("collapse"))
    assert added(before, weights(pipe)) == {}


def test_in_half_precision_the_sum_is_rounded_once(folder):
    pipe = parts.load(folder, torch.bfloat16)
    made = halves(pipe)
    write("collapse", in_diffusers_names(made))
    before = weights(pipe)
    loras.merge(pipe, loras.chosen("collapse:0.25/high"))
    down, up = made[PLACE]
    expected = (before[PLACE + ".weight"].float() + up @ down * 0.25).to(torch.bfloat16)
    assert torch.equal(pipe.transformer.get_parameter(PLACE + ".weight"), expected)


def test_the_sum_of_several_is_made_in_their_order_and_to_the_bit(pipe):
    one, two = halves(pipe, 1), halves(pipe, 2)
    bias = torch.randn(len(two[PLACE][1]), generator=torch.Generator().manual_seed(3))
    write("one", in_diffusers_names(one))
    write("two", {**in_diffusers_names(two), "transformer.%s.lora_B.bias" % PLACE: bias})
    before = weights(pipe)
    loras.merge(pipe, loras.chosen("one:0.8/high, two:-0.3/high"))
    after = weights(pipe)
    for place in one:
        (down, up), (down_, up_) = one[place], two[place]
        assert torch.equal(after[place + ".weight"], before[place + ".weight"] + (up @ down * 0.8 + up_ @ down_ * -0.3))
    assert torch.equal(after[PLACE + ".bias"], before[PLACE + ".bias"] + bias * -0.3)


def test_products_are_held_for_one_layer_at_a_time(pipe):
    """Counted: all of them together are as large as the model in float32."""
    places = [name[: -len(".weight")] for name, value in pipe.transformer.named_parameters() if name.endswith("weight") and value.ndim == 2]
    sizes = [4 * pipe.transformer.get_parameter(place + ".weight").numel() for place in places]
    for name in ("one", "two"):
        write(name, in_diffusers_names(halves(pipe, places=places)))
    live = Live()
    live.leave_out(pipe.transformer)
    live.leave_out(pipe.transformer_2)
    with live:
        assert loras.merge(pipe, loras.chosen("one, two:0.5")) == {"one": 2 * len(places), "two": 2 * len(places)}
    held = 2 * sum(4 * half.numel() for pair in halves(pipe, places=places).values() for half in pair)
    assert live.peak <= held + 4 * max(sizes) < sum(sizes)


def test_one_for_another_model_is_refused_and_changes_nothing(pipe):
    write("good", in_diffusers_names(halves(pipe)))
    write("deep", in_diffusers_names({"blocks.99.attn1.to_q": halves(pipe)[PLACE]}))
    down, up = halves(pipe)[PLACE]
    write("wide", in_diffusers_names({PLACE: (torch.cat([down, down], 1), up)}))
    write("picture", {"some.weight": torch.ones(2)})
    before = weights(pipe)
    write("flat", in_diffusers_names({PLACE: (down[0], up)}))
    for name in ("deep", "wide", "picture", "flat"):
        with pytest.raises(ModelError, match=r"The LoRA %s does not belong to this model" % name):
            loras.merge(pipe, loras.chosen("good, " + name))
    assert added(before, weights(pipe)) == {}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_one_that_holds_what_is_no_number_is_refused_and_changes_nothing(pipe, number):
    """Every picture would be empty, and nobody would say why."""
    made = in_diffusers_names(halves(pipe))
    next(iter(made.values()))[0, 0] = number
    write("burst", made)
    before = weights(pipe)
    with pytest.raises(ModelError, match=r"The LoRA burst holds NaN or infinity"):
        loras.merge(pipe, loras.chosen("burst"))
    assert added(before, weights(pipe)) == {}


def test_one_for_an_expert_that_is_not_there_is_refused(pipe):
    write("collapse", in_diffusers_names(halves(pipe)))
    pipe.transformer_2 = None
    with pytest.raises(ModelError, match=r"low-noise expert"):
        loras.merge(pipe, loras.chosen("collapse/low"))


def test_a_pickle_is_never_one():
    (loras.folder() / "evil.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match=r"pickle"):
        loras.chosen("evil")
    (loras.folder() / "evil.safetensors").write_bytes(pickle.dumps(list(range(500))))
    with pytest.raises(ModelError, match=r"no safetensors file"):
        loras.chosen("evil")


@pytest.mark.parametrize("left", [9, -9])
def test_half_a_copy_is_refused_before_the_model_is_loaded(pipe, left):
    path = write("collapse", in_diffusers_names(halves(pipe)))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ModelError, match=r"The LoRA collapse .*Copy it again|The LoRA collapse .*half a copy"):
        loras.chosen("collapse")


@pytest.mark.parametrize("text", ["collapse:", "collapse:x", "collapse:3", "collapse:nan", "collapse:1/middle", "collapse:1, collapse:2"])
def test_what_is_not_understood_is_said_so(pipe, text):
    write("collapse", in_diffusers_names(halves(pipe)))
    with pytest.raises(RequestError, match=r"collapse"):
        loras.chosen(text)


@pytest.mark.parametrize("name", ["absent", "../absent", ".hidden", "a\\b"])
def test_one_that_is_not_there_says_where_to_put_it(name):
    with pytest.raises((ModelError, RequestError)):
        loras.chosen(name)
    assert loras.chosen("") == () and loras.chosen(" , ") == ()


def test_the_take_keeps_name_strength_and_hash(pipe):
    path = write("collapse", in_diffusers_names(halves(pipe)))
    assert loras.names() == ["collapse"]
    assert loras.facts(loras.chosen("collapse:0.8")) == [
        {"name": "collapse", "strength": 0.8, "expert": "", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    ]


def test_speeds_cost_what_they_say_and_a_final_is_never_hurried():
    assert [speeds.saved(name) for name in speeds.NAMES] == [(4, 24), (8, 60), (100, 100)]
    assert speeds.find("final", True) == speeds.find("final", False) and speeds.find("draft", True).strength == 0.53
    assert all(speeds.find(name, few).source for name in speeds.NAMES for few in (True, False))
