# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""Quality as a named speed: with the few-step LoRA where one lies in the folder for this model, else in plain steps. Takes say which."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")
torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from platebridge.request import ModelSettings, PaintSettings  # noqa: E402
from platebridge_server.models import loras, speeds  # noqa: E402
from platebridge_server.models.base import Asked  # noqa: E402
from platebridge_server.models.vace import denoise  # noqa: E402
from platebridge_server.models.vace_model import VaceModel  # noqa: E402
from vace_takes import NAME, alone, frames, guides, installed, make, shot  # noqa: E402, F401

SIZE = (64, 96)


@pytest.fixture
def few_steps(installed):
    """`few_steps(*names, seed=0)`: small LoRAs of these names in the folder; gone after the test."""
    made = []

    def put(*names, seed=0):
        loras.folder().mkdir(exist_ok=True)
        for name in names:
            torch.manual_seed(seed)
            module = "transformer.blocks.1.attn1.to_q"
            tensors = {"%s.lora_A.weight" % module: torch.randn(2, 24), "%s.lora_B.weight" % module: torch.randn(24, 2)}
            made.append(loras.folder() / (name + ".safetensors"))
            safetensors.torch.save_file(tensors, str(made[-1]))

    yield put
    for path in made:
        path.unlink(missing_ok=True)


def chosen(quality, **dials):
    """(steps, guidance, scheduler, LoRAs) of a request."""
    model, settings, paint = VaceModel(NAME), ModelSettings(NAME, 0, quality), PaintSettings(**dials)
    recipe = model.recipe(SIZE, settings, paint)
    return recipe.steps, recipe.guidance, recipe.scheduler, [(lora["name"], lora["strength"]) for lora in model.made_of(settings, paint)]


LORA = "few-steps-" + NAME


@pytest.mark.parametrize(
    "quality, dials, plain, few",
    [
        ("draft", {}, (12, 5.0, []), (4, 1.0, [(LORA, 0.53)])),
        ("final", {}, (30, 5.0, []), (8, 1.0, [(LORA, 1.0)])),
        ("crisp", {}, (50, 5.0, []), (50, 5.0, [])),  # a speed that is never hurried
        ("draft", {"steps": 7}, (7, 5.0, []), (7, 5.0, [])),  # an artist's own steps are the model's own
        ("draft", {"guidance": 3.0}, (12, 3.0, []), (4, 3.0, [(LORA, 0.53)])),
        ("final", {"lora": "look:0.4"}, (30, 5.0, [("look", 0.4)]), (8, 1.0, [(LORA, 1.0), ("look", 0.4)])),
    ],
    ids=str,
)
def test_a_quality_is_a_named_speed(few_steps, quality, dials, plain, few):
    few_steps("look")
    for put, (steps, guidance, names) in ((False, plain), (True, few)):
        if put:
            few_steps(LORA)
        assert chosen(quality, **dials) == (steps, guidance, "unipc", names)


def test_one_for_another_model_is_not_taken_and_two_experts_want_a_pair(few_steps):
    few_steps("few-steps-wan-vace-14b", LORA + "-high")
    assert chosen("draft")[0] == 12
    few_steps(LORA + "-low")
    assert chosen("draft")[:2] == (4, 1.0) and chosen("draft")[3] == [(LORA + "-high", 0.53), (LORA + "-low", 0.53)]
    assert loras.few_steps(NAME, 0.5) == "%s-high:0.5/high, %s-low:0.5/low" % (LORA, LORA)


@pytest.mark.parametrize(
    "size, frames, quality, dials, seen, at_once, passes, quick",
    [
        ((64, 96), 41, "final", {}, (96, 64), 41, 30 * 2, False),
        ((64, 96), 40, "draft", {}, (96, 64), 41, 12 * 2, True),  # made up to 4k + 1
        ((64, 96), 300, "draft", {"guidance": 1.0}, (96, 64), 81, 12 * 5, True),  # five windows
        ((128, 160), 41, "draft", {"steps": 3}, (96, 64), 41, 3 * 2 * 6, True),  # six tiles
        ((64, 96), 300, "draft", {"skip": 0.1}, (96, 64), 81, 0, True),  # not compiled
    ],
)
def test_the_planner_is_asked_for_what_will_be_done(installed, size, frames, quality, dials, seen, at_once, passes, quick):
    work = VaceModel(NAME)._work(Asked(size, frames, 1), ModelSettings(NAME, 0, quality), PaintSettings(**dials))
    assert (work.width, work.height, work.frames, work.references, work.passes, work.quick) == (*seen, at_once, 1, passes, quick)
    assert work.clip == frames + (1 - frames) % 4
    assert work.whole == ((size[1], size[0]) if size[0] * size[1] > 64 * 96 else None)


def test_every_speed_names_a_scheduler_and_a_source():
    for quality, name in speeds.OF_QUALITY.items():
        assert quality in ("draft", "final", "crisp") and name in speeds.NAMES
        assert all(speeds.find(name, few).scheduler in denoise.SCHEDULERS and speeds.find(name, few).source for few in (True, False))


def test_another_scheduler_is_another_picture():
    from tiny_vace import WIDTH

    class Config(dict):
        __getattr__ = dict.__getitem__

    class Pipe:
        class scheduler:
            config = Config(num_train_timesteps=1000, prediction_type="flow_prediction", use_flow_sigmas=True)

    made = {name: denoise.scheduler(Pipe, denoise.Recipe(steps=4, scheduler=name), "cpu") for name in denoise.SCHEDULERS}
    assert {name: len(one.timesteps) for name, one in made.items()} == {"unipc": 4, "euler": 4} and WIDTH
    assert made["euler"].sigmas[0] == 1.0 and made["euler"].sigmas[-1] == 0.0


def test_the_take_says_which_speed_it_had_and_a_changed_file_of_the_same_name_is_another_take(make, shot, few_steps, tmp_path):
    def take():
        _, files = make(passes=tmp_path / "passes", quality="draft", steps=0)
        told = json.loads(files["take.json"])
        return frames(files), told["speed"], told["painting"]["recipe"]["steps"], [lora["name"] for lora in told.get("loras", ())]

    slow, speed, steps, names = take()
    assert (speed["name"], speed["few_step_lora"], steps, names) == ("draft", "", 12, []) and speed["source"].startswith("ours")
    few_steps(LORA)
    quick, speed, steps, names = take()
    assert (speed["name"], speed["few_step_lora"], steps, names) == ("draft", LORA + ":0.53", 4, [LORA]) and "CausVid" in speed["source"]
    few_steps(LORA, seed=1)
    assert take()[0] != quick != slow


@pytest.mark.parametrize("name, shifts", [("wan-vace-14b", (3.0, 5.0)), ("wan2.2-vace-fun-a14b", (12.0, 12.0))])
def test_the_flows_shift_is_the_cards_and_a_few_step_loras_its_own(few_steps, name, shifts):
    model, paint = VaceModel(name), PaintSettings()
    sizes = (480, 832), (720, 1280)
    assert tuple(model.recipe(size, ModelSettings(name, 0, "final"), paint).shift for size in sizes) == shifts
    few_steps("few-steps-" + name)
    assert tuple(model.recipe(size, ModelSettings(name, 0, "final"), paint).shift for size in sizes) == (3.0, 5.0)
