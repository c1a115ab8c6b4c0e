# SPDX-License-Identifier: Apache-2.0
"""Wan VACE laid out by plans, and with LoRAs in its weights: the picture where it must stay, the take's word where it changes.

The real classes with tiny random weights, on a processor: what is tested is that the run keeps to its plan, not what a card holds.
"""

import json
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")

import safetensors.torch
import tiny_vace
import torch
from platebridge.errors import ModelError, RequestError
from platebridge.request import GuideSettings, ModelSettings, PaintSettings
from platebridge_server import cache, checks, planner
from platebridge_server.models import cards, loras, store
from platebridge_server.models.base import Asked, Ears, Scene
from platebridge_server.models.vace import denoise, latents, parts, run
from platebridge_server.models.vace_model import VaceModel
from platebridge_server.planner import Memory, Plan

NAME = "tiny-vace"
WHOLE = Plan("float32", "none", False, False, "native", False, False, 1000, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_vace.make(tmp_path_factory.mktemp("weights") / "tiny", second=True, layers=2)


@pytest.fixture(autouse=True)
def here(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    card = tiny_vace.card(NAME)
    card["layout"]["transformer_2"] = card["layout"]["transformer"]
    small = {"transformer_parameters": 10**5, "text_encoder_parameters": 10**5, "block_parameters": 100, "vace_block_parameters": 100}
    card["network"] = {**cards.card("wan-vace-1.3b")["network"], **small}
    store.add(folder, card)


@pytest.fixture
def scene():
    plate = np.random.default_rng(5).uniform(0, 1, (5, 32, 48, 3)).astype("f4")
    region = np.zeros((32, 48), bool)
    region[8:24, 8:40] = True
    metres = np.full((32, 48), 9.0, "f4")
    names = ("plate", "dust", "depth", "region")
    return Scene(
        range(1001, 1006), 1005, (32, 48), lambda f: plate[f - 1001], lambda f: plate[f - 1001] * 0.5, lambda f: metres, lambda f: region,
        GuideSettings(), {name: name for name in names},
    )  # fmt: skip


@pytest.fixture
def paint(tmp_path, scene):
    """`paint(model=…, **dials)` -> ({frame: picture}, what was told, what was warned of). Nothing is kept from one to the next."""
    count = iter(range(99))

    def run(model=None, **dials):
        model = model or VaceModel(NAME)
        model._kept = cache.TensorCache(tmp_path / "kept" / str(next(count)))
        told, warned = {}, []
        ears = Ears(lambda done, total: None, lambda frame, codes: None, told.update, warned.append, lambda: False)
        chosen = PaintSettings(**{"steps": 2, "guidance": 1.0, **dials})
        settings = ModelSettings(NAME, 3)
        model.load("cpu", Asked(scene.size, len(scene.frames)), settings, chosen)
        made = dict(model.paint(scene, settings, chosen, ears))
        return made, told, warned

    return run


@pytest.fixture
def ladder(monkeypatch):
    """`ladder(plan, …)`: these and no others are what fits."""
    return lambda *plans: monkeypatch.setattr(planner, "plans", lambda card, work, memory: list(plans))


def equal(a, b):
    return list(a) == list(b) and all(np.array_equal(a[f], b[f]) for f in a)


@pytest.fixture
def plain(paint):
    return paint()[0]


def test_the_plan_is_made_for_the_size_that_is_asked_for_and_told(paint, monkeypatch):
    asked, plans = [], planner.plans
    monkeypatch.setattr(planner, "plans", lambda card, work, memory: asked.append((work, memory)) or plans(card, work, memory))
    _, told, warned = paint(steps=3, guidance=4.0)
    ((work, memory),) = asked
    assert (work.width, work.height) == (48, 32) and memory.kind == "cpu"
    assert told["plan"]["plan"].startswith("float32, all of it on the device") and told["plan"]["changes"] == "" and warned == []


@pytest.mark.parametrize("offload", ["parts", "blocks"])
def test_networks_that_come_and_go_paint_the_same_picture(paint, ladder, plain, offload):
    ladder(replace(WHOLE, offload=offload))
    assert equal(paint()[0], plain)


def test_8_bit_weights_paint_another_picture_and_say_so(paint, ladder, plain):
    ladder(replace(WHOLE, fp8=True, changes="8-bit weights"))
    made, told, _ = paint()
    assert not equal(made, plain) and told["plan"]["changes"] == "8-bit weights"


def test_a_model_is_read_once_for_a_plan_and_anew_for_another(paint, ladder, monkeypatch):
    read, load = [], parts.load
    monkeypatch.setattr(parts, "load", lambda *a: read.append(1) or load(*a))
    model = VaceModel(NAME)
    for plan, reads in ((WHOLE, 1), (replace(WHOLE, device_bytes=5), 1), (replace(WHOLE, offload="parts"), 2)):
        ladder(plan)
        paint(model)
        assert len(read) == reads


def test_what_does_not_fit_is_said_before_anything_is_read(paint, monkeypatch):
    monkeypatch.setattr(Memory, "of", classmethod(lambda cls, device, ours=0: Memory("cuda", 10**9, 10**9)))
    monkeypatch.setattr(parts, "load", lambda *a: pytest.fail("read"))
    with pytest.raises(ModelError, match=r"tiny-vace at 48 x 32 with 5 frames at once needs at least"):
        paint()


def once(monkeypatch, room, name):
    """The function runs out of memory the first time it is called."""
    real, calls = getattr(room, name), []

    def short(*a, **k):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*a, **k)

    monkeypatch.setattr(room, name, short)


def test_out_of_memory_while_it_is_laid_out_takes_the_next_plan(paint, ladder, plain, monkeypatch):
    """Another program took the memory between the look at it and the weights."""
    ladder(WHOLE, replace(WHOLE, device_bytes=950), replace(WHOLE, offload="parts", device_bytes=500))
    once(monkeypatch, planner, "apply")
    made, told, _ = paint()
    assert equal(made, plain) and "one network on the device at a time" in told["plan"]["plan"]


@pytest.mark.parametrize("plans", [1, 2])
def test_where_even_the_next_plan_is_too_much_it_is_an_error_with_a_sentence(paint, ladder, monkeypatch, plans):
    ladder(*[replace(WHOLE, device_bytes=1000 // n**2) for n in range(1, plans + 1)])

    def short(*a):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(planner, "apply", short)
    with pytest.raises(ModelError, match=r"ran out of memory while the model tiny-vace was loaded.*--device"):
        paint()


@pytest.mark.parametrize("where", ["denoise", "encode", "decode"])
def test_out_of_memory_goes_on_with_the_next_plan_and_paints_the_same(paint, ladder, plain, monkeypatch, where):
    ladder(WHOLE, replace(WHOLE, offload="parts", device_bytes=500))
    once(monkeypatch, run if where == "denoise" else latents, where)
    made, told, warned = paint()
    assert equal(made, plain) and "one network on the device at a time" in told["plan"]["plan"]
    assert len(warned) == 1 and "ran out of memory" in warned[0]


@pytest.mark.parametrize("frame", [0, 3])
def test_out_of_memory_while_decoding_keeps_what_came_and_denoises_nothing_again(paint, ladder, plain, monkeypatch, frame):
    decode, began = latents.decode, []

    def short(vae, clean):
        began.append(1)
        for at, picture in enumerate(decode(vae, clean)):
            if len(began) == 1 and at == frame:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield picture

    monkeypatch.setattr(latents, "decode", short)
    ladder(WHOLE, replace(WHOLE, offload="parts", device_bytes=500, frames=33, changes="VAE tiles, windows of 33 frames"))
    steps = []
    monkeypatch.setattr(denoise.UniPCMultistepScheduler, "step", _counted(denoise.UniPCMultistepScheduler.step, steps))
    made, told, _ = paint()
    assert equal(made, plain) and len(began) == 2 and len(steps) == 2
    assert told["painting"]["recipe"]["window"] == 21  # of the plan that denoised


def _counted(step, steps):
    def count(self, *a, **k):
        steps.append(1)
        return step(self, *a, **k)

    return count


def test_watching_the_picture_form_does_not_slow_quick_steps(scene, tmp_path, monkeypatch):
    seen, now = [], [0.0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(frame, codes):
        seen.append(codes)
        now[0] += 0.2

    ears = Ears(lambda done, total: None, slow, lambda told: None, lambda said: None, lambda: False)
    model = VaceModel(NAME, cache.TensorCache(tmp_path / "one"))
    dials, settings = PaintSettings(steps=8, guidance=1.0), ModelSettings(NAME, 3)
    model.load("cpu", Asked(scene.size, len(scene.frames)), settings, dials)
    dict(model.paint(scene, settings, dials, ears))
    assert len(seen) == 2 and not np.array_equal(*seen)  # the first and the last


# --- what lies in the folder ---------------------------------------------------------------------------------------------------


def own(folder, to):
    """A copy of the model's folder, taken in in its place."""
    shutil.copytree(folder, to)
    card = store.find(NAME).manifest["card"]
    store.remove(NAME)
    return to, lambda: store.add(to, card)


@pytest.mark.parametrize("part", ["transformer", "transformer_2", "vae", "text_encoder"])
def test_weights_that_lack_a_tensor_are_refused_and_not_made_up(folder, tmp_path, paint, part):
    """diffusers and transformers fill it with chance, and log that."""
    copy, add = own(folder, tmp_path / "own")
    (path,) = (copy / part).glob("*.safetensors")
    tensors = safetensors.torch.load_file(path)
    lacks = sorted(name for name in tensors if name.endswith("weight"))[3]
    del tensors[lacks]
    safetensors.torch.save_file(tensors, str(path), {"format": "pt"})
    add()
    with pytest.raises(ModelError, match=r"The files of %s in .* lack weights: %s\." % (part, lacks)):
        paint()


def test_a_text_encoder_of_another_size_than_its_settings_say_is_said_so(folder, tmp_path, paint):
    """transformers raises a RuntimeError for it, which names no weight."""
    copy, add = own(folder, tmp_path / "own")
    (path,) = (copy / "text_encoder").glob("*.safetensors")
    tensors = safetensors.torch.load_file(path)
    name = "encoder.block.0.layer.0.SelfAttention.k.weight"
    tensors[name] = tensors[name][1:].clone()
    safetensors.torch.save_file(tensors, str(path), {"format": "pt"})
    add()
    with pytest.raises(ModelError, match="the weights of text_encoder are of another shape than its settings say: " + name):
        paint()


def test_a_tokenizer_that_can_not_be_read_is_said_so(folder, tmp_path, paint):
    copy, add = own(folder, tmp_path / "own")
    (copy / "tokenizer" / "tokenizer.json").write_text("half of it")
    add()
    with pytest.raises(ModelError, match=r"text encoder and tokenizer can't be read \(.*Take another copy"):
        paint()


def test_words_that_the_model_does_not_read_to_their_end_are_said_each_time(scene, tmp_path):
    model, warned = VaceModel(NAME, cache.TensorCache(tmp_path / "one")), []
    ears = Ears(lambda done, total: None, lambda frame, codes: None, lambda told: None, warned.append, lambda: False)

    def said(**words):
        settings, dials = ModelSettings(NAME, 3), PaintSettings(**{"steps": 1, "guidance": 2.0, **words})
        model.load("cpu", Asked(scene.size, len(scene.frames)), settings, dials)
        dict(model.paint(scene, settings, dials, ears))
        return [warned.pop(0) for _ in warned[:]]

    assert said(prompt="Late sun.") == []
    for _ in range(2):  # the second time nobody asks the tokenizer
        (sentence,) = said(prompt="a" * 600)
        assert sentence.startswith("The prompt is longer than the model reads: of its ") and "the first 512 count" in sentence
    (sentence,) = said(avoid="a" * 600)
    assert sentence.startswith("What is to be avoided is longer than the model reads: of its 602 pieces")


@pytest.mark.parametrize("package", ["transformers", "ftfy", "accelerate"])
def test_a_package_that_is_not_there_is_said_before_the_model_is_read(monkeypatch, package, scene):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=r"needs packages that are not here \(.*%s.*pip install" % package):
        VaceModel(NAME).load("cpu", Asked(scene.size, 5), ModelSettings(NAME, 3), PaintSettings())


def test_words_read_by_another_vocabulary_are_read_anew(folder, tmp_path, scene):
    kept = cache.TensorCache(tmp_path / "one")
    before = painted_by(kept, scene)
    copy, add = own(folder, tmp_path / "own")
    tree = json.loads((copy / "tokenizer" / "tokenizer.json").read_text())
    (at,) = (n for n, (piece, _) in enumerate(tree["model"]["vocab"]) if piece == "a")
    tree["model"]["vocab"][at][0] = "\u00e4"  # no "a" is known any more
    (copy / "tokenizer" / "tokenizer.json").write_text(json.dumps(tree))
    add()
    assert not equal(painted_by(kept, scene), before)


def painted_by(kept, scene):
    """{frame: picture} of a fresh model that keeps what it makes there."""
    ears = Ears(lambda done, total: None, lambda frame, codes: None, lambda told: None, lambda said: None, lambda: False)
    model, settings, dials = VaceModel(NAME, kept), ModelSettings(NAME, 3), PaintSettings(steps=2, guidance=1.0)
    model.load("cpu", Asked(scene.size, len(scene.frames)), settings, dials)
    return dict(model.paint(scene, settings, dials, ears))


def test_finished_latents_of_other_settings_are_not_taken(folder, tmp_path, scene):
    """The same weights, and another step from which the second of them paints."""
    kept = cache.TensorCache(tmp_path / "one")
    before = painted_by(kept, scene)
    copy, add = own(folder, tmp_path / "own")
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": 0.1}))
    add()
    assert not equal(painted_by(kept, scene), before)


# --- LoRAs -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lora(folder):
    network = parts.load(folder, torch.float32).transformer
    rows, columns = network.get_parameter("blocks.0.attn1.to_q.weight").shape
    made = torch.Generator().manual_seed(2)
    state = {
        "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.randn(2, columns, generator=made),
        "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.randn(rows, 2, generator=made),
    }
    loras.folder().mkdir()
    safetensors.torch.save_file(state, str(loras.folder() / "collapse.safetensors"))


def test_a_lora_changes_the_picture_by_its_strength_and_stands_in_the_take(paint, lora, plain):
    model = VaceModel(NAME)
    strong, told, _ = paint(model, lora="collapse:0.8")
    assert told["loras"][0]["name"] == "collapse" and len(told["loras"][0]["sha256"]) == 64
    weak, _, _ = paint(model, lora="collapse:0.4")
    none, told, _ = paint(model)  # the same process: nothing of it is left
    assert equal(none, plain) and "loras" not in told
    assert not equal(strong, plain) and not equal(weak, plain) and not equal(weak, strong)


def test_finished_latents_of_another_strength_are_not_taken(paint, lora, plain, tmp_path, scene):
    model = VaceModel(NAME, cache.TensorCache(tmp_path / "one"))
    ears = Ears(lambda done, total: None, lambda frame, codes: None, lambda told: None, lambda said: None, lambda: False)

    def made(text):
        dials = PaintSettings(steps=2, guidance=1.0, lora=text)
        model.load("cpu", Asked(scene.size, len(scene.frames)), ModelSettings(NAME, 3), dials)
        return dict(model.paint(scene, ModelSettings(NAME, 3), dials, ears))

    assert equal(made(""), plain) and not equal(made("collapse"), plain) and equal(made(""), plain)


def test_a_lora_that_is_not_there_is_said_so(paint):
    with pytest.raises(ModelError, match=r"There is no LoRA called 'absent'"):
        paint(lora="absent:0.5")


def test_a_model_that_paints_nothing_refuses_the_dial(tiny_shot):
    request = replace(tiny_shot.request(), paint=PaintSettings(lora="collapse"))
    with pytest.raises(RequestError, match=r"has no use for lora"):
        checks.check_dials(request, {"kind": "effect"})
