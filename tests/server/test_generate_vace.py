# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""The whole way with a model that paints: real guide, the real VACE pipeline with tiny random weights, real files.

Random weights paint noise. What is tested holds for any weights: where the effect may be, that the plate is untouched, what is recorded,
what is made anew and what is found.
"""

import dataclasses
import json
import sys
import threading
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")

import tiny_vace
import torch
from platebridge.errors import Cancelled, ModelError, RequestError
from platebridge.events import FileReady, Preview, Progress
from platebridge.takes import hash_file
from platebridge_server import cache, matte, painted
from platebridge_server.generate import generate
from platebridge_server.models import registry, store
from platebridge_server.models.vace import parts, run
from vace_takes import NAME, TAKE, alone, frames, guides, installed, make, pixels, plain, shot, wanted  # noqa: F401


def test_a_take_has_an_effect_over_an_untouched_plate_and_says_what_was_asked(make, shot, tmp_path):
    events, files = make(prompt="Late evening sun from the left.")
    told = json.loads(files["take.json"])
    assert told["model"]["name"] == NAME and told["weights_sha256"] == registry.find(NAME).card()["weights_sha256"]
    assert told["painting"]["prompt"].startswith("A building collapses.")
    assert told["matte"]["weights_sha256"] == hash_file(matte.WEIGHTS)  # the other network that has a part in it
    assert told["painting"]["prompt"].endswith("steady colours. Late evening sun from the left.")
    assert told["painting"]["negative_prompt"] and told["painting"]["recipe"]["seed"] == 7
    assert told["colour_transform"]["name"] == "display" and told["joints"] == []
    assert all(side % 16 == 0 for side in told["work_area"]["size"])
    assert told["digital_source_type"]["effect"].endswith("trainedAlgorithmicMedia")
    seen = 0
    for frame in shot.paths["plate"]:
        effect, comp = (pixels(files, "%s.%d.exr" % (kind, frame), tmp_path / "take") for kind in ("effect", "comp"))
        plate_file = oiio.ImageInput.open(str(shot.paths["plate"][frame]))
        plate = plate_file.read_image(0, 0, 0, 3, "half")
        depth = oiio.ImageInput.open(str(shot.paths["depth"][frame])).read_image(0, 0, 0, 1, "float")[..., 0]
        clear = effect["A"] == 0
        seen += (~clear).sum()
        assert set(effect) == {"R", "G", "B", "A", "Z", "shadow"}
        for i, c in enumerate("RGB"):
            assert (comp[c].view(np.uint16)[clear] == np.ascontiguousarray(plate[..., i]).view(np.uint16)[clear]).all()
            assert not effect[c][clear].any()
        assert not (depth < effect["Z"])[~clear].any() and np.isinf(effect["Z"][clear]).all()
        assert not effect["A"][shot.post()].any()
    assert seen > 300
    assert not pixels(files, "effect.1001.exr", tmp_path / "take")["A"].any()
    assert any(e.phase == "generating" and e.done == e.total for e in events if isinstance(e, Progress))


def test_the_same_request_gives_the_same_files_and_the_picture_is_seen_as_it_forms(make):
    events, first = make()
    _, again = make()
    assert frames(first) == frames(again) and frames(first, "comp") == frames(again, "comp")
    written = [n for n, e in enumerate(events) if isinstance(e, FileReady) and e.kind == "comp"]
    network = [n for n, e in enumerate(events) if isinstance(e, Progress) and e.phase == "generating"]
    forming = [e for e in events[network[0] : next(n for n in written if n > network[0])] if isinstance(e, Preview)]
    assert len(forming) >= 2 and forming[-1].png.startswith(b"\x89PNG")


@pytest.mark.parametrize("model", ["dust", "guide"])
@pytest.mark.parametrize("dial", [{"prompt": "At night."}, {"follow": 0.1, "steps": 4}], ids=str)
def test_a_model_that_paints_nothing_refuses_the_painters_dials_with_a_sentence(make, shot, model, dial):
    request = shot.request(**dial)
    request = dataclasses.replace(request, model=dataclasses.replace(request.model, name=model))
    with pytest.raises(RequestError, match="%s paints no picture and has no use for %s" % (model, " and ".join(dial))):
        make(request)


def test_a_model_that_is_not_here_is_refused_before_any_work_with_the_line_to_type(make, shot):
    with pytest.raises(ModelError, match="not installed") as refused:
        make(wanted(shot, "wan-vace-14b"))
    assert "platebridge models fetch wan-vace-14b" in str(refused.value)


def test_weights_that_were_changed_are_refused(make, tmp_path, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))
    folder = tiny_vace.make(tmp_path / "weights")
    store.add(folder, tiny_vace.card(NAME))
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not what was taken in"):
        make()


def test_a_model_is_hashed_for_the_first_time_before_any_work_and_can_be_cancelled_in_it(shot, tmp_path):
    """On a machine that is new to it that takes minutes; and weights that are none of it are said before the guide is made."""
    heard, work = [], iter(generate(wanted(shot), shot.open_file, TAKE, scratch=tmp_path, device="cpu", cancelled=lambda: bool(heard)))
    with pytest.raises(Cancelled):
        for event in work:
            heard += [event] if isinstance(event, Progress) else []
    assert {(event.phase, event.total) for event in heard} == {("loading", 100)}


def test_what_was_painted_is_kept_when_asked_for_and_is_the_plate_where_nothing_was(make, shot, tmp_path, plain):
    request = wanted(shot)
    request = dataclasses.replace(request, output=dataclasses.replace(request.output, picture=True))
    _, files = make(request, passes=tmp_path / "passes")
    _, again = make(request, passes=tmp_path / "passes")  # the shelf has effects alone, and no pictures
    assert frames(files, "picture") == frames(again, "picture") and len(frames(files, "picture")) == len(request.frames)
    told, off = json.loads(files["take.json"]), []
    assert "picture" not in wanted(shot).to_dict()["output"] and told["request"]["output"]["picture"] is True
    area = told["work_area"]
    for frame in request.frames:
        picture, comp = (pixels(files, "%s.%d.exr" % (kind, frame), tmp_path / kind) for kind in ("picture", "comp"))
        alpha = pixels(files, "effect.%d.exr" % frame, tmp_path / "effect")["A"]
        off += [float(np.abs(picture[c].astype("f4") - comp[c].astype("f4"))[alpha > 0.9].mean()) for c in "RGB" if (alpha > 0.9).any()]
        if not alpha.any():
            continue
        outside = np.ones(alpha.shape, bool)
        outside[max(0, area["y"]) : area["y"] + area["height"], max(0, area["x"]) : area["x"] + area["width"]] = False
        assert all((picture[c] == comp[c])[outside].all() for c in "RGB")
    assert off and np.mean(off) < 0.2  # where the effect is whole, it is what was painted
    first = pixels(files, "picture.1001.exr", tmp_path / "picture")
    assert all((first[c] == pixels(files, "comp.1001.exr", tmp_path / "comp")[c]).all() for c in "RGB")
    for name, data in frames(files).items():
        ours, theirs = pixels({name: data}, name, tmp_path / "a"), pixels({name: plain[name]}, name, tmp_path / "b")
        assert all((ours[c] == theirs[c]).all() for c in ours)


def test_light_that_no_half_float_holds_is_never_infinite_in_the_picture(make_shot, write_exr, tmp_path):
    """The sun in a plate of floats: the picture is in half, and one infinite pixel spoils every blur over it."""
    shot = make_shot(width=64, height=48, frames=1, plate_type="float")
    light = np.full((48, 64, 3), 0.5, np.float32)
    light[3, 5], light[4, 6] = 1e6, -1e6
    write_exr(shot.paths["plate"][1001], light, "RGB", "float")
    request = wanted(shot)
    request = dataclasses.replace(request, output=dataclasses.replace(request.output, picture=True))
    files = {e.name: e.data for e in generate(request, shot.open_file, TAKE, scratch=tmp_path, device="cpu") if isinstance(e, FileReady)}
    picture, comp = (pixels(files, "%s.1001.exr" % kind, tmp_path / kind) for kind in ("picture", "comp"))
    assert all((picture[c][3, 5], picture[c][4, 6], picture[c][0, 0]) == (65504, -65504, 0.5) for c in "RGB")
    assert (comp["R"][3, 5], comp["R"][4, 6]) == (1e6, -1e6)


def test_a_model_that_paints_nothing_has_no_picture_to_keep(make, shot):
    request = shot.request()
    with pytest.raises(RequestError, match="paints no picture that could be kept"):
        make(dataclasses.replace(request, output=dataclasses.replace(request.output, picture=True)))


# What is kept.


@pytest.fixture
def loaded(monkeypatch):
    """What was computed: "text", "encode" (a latent frame), "network" and "decode"."""
    done = []
    read = parts.read_text_encoder
    monkeypatch.setattr(parts, "read_text_encoder", lambda *a: (done.append("text"), read(*a))[1])
    load = parts.load

    def counted(*a):
        pipe = load(*a)
        pipe.vae.encoder.register_forward_pre_hook(lambda *_: done.append("encode"))
        pipe.vae.decoder.register_forward_pre_hook(lambda *_: done.append("decode"))
        pipe.transformer.register_forward_pre_hook(lambda *_: done.append("network"))
        return pipe

    monkeypatch.setattr(parts, "load", counted)
    return done


def test_another_seed_pays_for_denoising_and_decoding_alone(make, loaded):
    make()
    assert loaded.count("text") == 2 and loaded.count("encode") == 4 and loaded.count("network") == 4
    loaded.clear()
    make(seed=8)
    assert set(loaded) == {"network", "decode"}


def test_each_tier_is_made_anew_only_for_what_it_is_made_of(make, loaded):
    make()
    for dials, made in (
        ({"prompt": "At night."}, {"text", "network", "decode"}),
        ({"guidance": 3.0}, {"network", "decode"}),
        ({"light": 2.0}, {"encode", "network", "decode"}),
        ({"shadow": 0.5}, {"decode"}),
    ):
        loaded.clear()
        make(**dials)
        assert set(loaded) == made, dials
    loaded.clear()
    make(light=3.0)
    assert loaded.count("encode") == 2  # the control's two latent frames; the plate's are there
    loaded.clear()
    make(rim=10)
    assert loaded.count("encode") == 4


def test_what_was_kept_is_read_as_it_was_made(make):
    _, first = make()
    kept = cache.TensorCache()
    for entry in kept.entries():
        assert entry.kind in ("text", "plate", "control", "final")
    _, again = make()  # finished latents from the cache
    kept.clear("final")
    _, third = make()  # the rest from the cache
    assert frames(first) == frames(again) == frames(third)


# Leaving.


def test_cancelled_within_a_step_the_next_run_is_as_on_a_fresh_server(make, plain):
    stop = threading.Event()
    asked = [0]

    def soon():
        asker = sys._getframe(2)  # the pipeline hands the question on
        if "vace" in Path(asker.f_code.co_filename).parts:
            asked[0] += 1
        return stop.is_set() or asked[0] >= 15

    with pytest.raises(Cancelled):
        make(cancelled=soon)
    assert asked[0] == 15 and not [e for e in cache.TensorCache().entries() if e.kind == "final"]
    assert frames(make()[1]) == plain
    assert torch.is_grad_enabled()


# How it is put together.


def test_the_pipeline_knows_no_model_by_name():
    source = Path(painted.__file__).read_text()
    assert "vace" not in source.lower()


# Through a server.


@pytest.mark.slow
def test_through_a_real_server_the_frames_are_the_same(shot, houses, tmp_path, plain):
    from platebridge.client import Client
    from platebridge.takes import TakeWriter, verify_take

    house = houses(generator="platebridge_server.generate:generate").start()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        client.run(wanted(shot), shot.open_file, writer)
        cards = {card["name"]: card for card in client.models().result(10)}
        store.add(tiny_vace.make(tmp_path / "later"), tiny_vace.card("later"))
        try:
            now = {card["name"]: card for card in client.models().result(10)}
        finally:
            store.remove("later")
        gone = [card["name"] for card in client.models().result(10)]
    assert now.keys() - cards.keys() == {"later"} and now["later"]["installed"] and gone == list(cards)  # no restart
    assert verify_take(writer.path) == []
    assert (cards[NAME]["installed"], cards["wan-vace-1.3b"]["installed"]) == (True, False)
    for name, data in plain.items():
        theirs = pixels({name: (writer.path / name).read_bytes()}, name, tmp_path / "theirs")
        ours = pixels({name: data}, name, tmp_path / "ours")
        for channel in ours:  # not bit for bit: the server's sums are split among other threads than this test's
            assert np.isclose(ours[channel].astype(np.float32), theirs[channel].astype(np.float32), atol=0.02, equal_nan=True).mean() > 0.99
    assert any(pixels({n: (writer.path / n).read_bytes()}, n, tmp_path / "theirs")["A"].any() for n in plain)


# Laid out by a plan.


def planned(name):
    """A studio's card that says how large the model is: then it is planned for."""
    from platebridge_server.models import cards

    return {**tiny_vace.card(name), "network": cards.card("wan-vace-1.3b")["network"]}


def test_a_plan_lays_it_out_out_of_memory_goes_on_with_the_next_and_both_are_told(make, tmp_path, monkeypatch, plain):
    from platebridge_server import planner
    from platebridge_server.models.vace import latents

    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))
    store.add(tiny_vace.make(tmp_path / "weights"), planned(NAME))
    least = planner.Plan("float32", "none", False, False, "native", False, False, 10, 0, ("It fits.",))
    monkeypatch.setattr(planner, "plans", lambda *_: [planner.replace(least, device_bytes=20, tiles=True, changes="VAE tiles"), least])
    real, tried = latents.decode, []

    def decode(vae, clean):
        tried.append(vae.use_tiling)
        for at, frame in enumerate(real(vae, clean)):
            if at == 2 and len(tried) == 1:
                raise torch.OutOfMemoryError("made up")
            yield frame

    monkeypatch.setattr(latents, "decode", decode)
    events, files = make()
    assert tried == [True, False]
    assert any("goes on with less" in getattr(e, "message", "") for e in events)
    assert json.loads(files["take.json"])["plan"]["changes"] == ""
    assert {n: len(d) for n, d in frames(files).items()}.keys() == plain.keys()


def test_what_does_not_fit_is_refused_before_it_is_loaded(make, tmp_path, monkeypatch):
    from platebridge_server import planner

    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))
    store.add(tiny_vace.make(tmp_path / "weights"), planned(NAME))
    monkeypatch.setattr(planner.Memory, "of", classmethod(lambda cls, device, ours=0: cls("cpu", 10**9, 10**9)))
    with pytest.raises(ModelError, match="needs at least"):
        make()


def test_a_lora_is_in_the_picture_and_in_the_take(make, installed, plain):
    import safetensors.torch

    torch.manual_seed(4)
    place = installed / "loras"
    place.mkdir(exist_ok=True)
    module = "transformer.blocks.1.attn1.to_q"
    tensors = {"%s.lora_A.weight" % module: torch.randn(2, 24), "%s.lora_B.weight" % module: torch.randn(24, 2)}
    safetensors.torch.save_file(tensors, str(place / "collapse.safetensors"))
    _, files = make(lora="collapse:0.8")
    told = json.loads(files["take.json"])["loras"]
    assert [(lora["name"], lora["strength"], len(lora["sha256"])) for lora in told] == [("collapse", 0.8, 64)]
    assert frames(files) != plain
    _, without = make()
    assert frames(without) == plain


def test_a_painting_that_is_no_numbers_is_an_error_and_not_an_empty_effect(make, monkeypatch):
    """Weights that burst in 16 bits, for instance."""
    monkeypatch.setattr(run.Run, "pictures", lambda self, told: iter([(1003, np.full((*self.scene.size, 3), np.nan, np.float32))]))
    with pytest.raises(ModelError, match="gave pixels that are no numbers in frame 1003"):
        make()
