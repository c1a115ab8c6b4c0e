# SPDX-License-Identifier: Apache-2.0
"""Somebody else's truth, read from disk: a take judged against itself is perfect, its guide is not; a set that lacks something says so."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from platebridge.errors import InputError, ModelError, RequestError, StorageError
from platebridge_server import images
from platebridge_server.models import dust
from platebridge_server.models.dust.sampling import WEIGHTS
from platebridge_server.training import data, eval_model, studio, studio_data, train
from platebridge_server.training.__main__ import eval_dust
from platebridge_server.training.__main__ import main as command

DIALS = {"detail": 24, "debris": 4, "amount": 2.0, "quality": "draft"}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def make_set(tiny_shot, tmp_path):
    """A set of one shot, called tiny, whose truth are copies of some EXRs by frame."""

    def make(truth):
        folder = tmp_path / "set" / "tiny"
        for name in ("plate", "depth", "mask"):
            shutil.copytree(tiny_shot.folder / name, folder / name, dirs_exist_ok=True)
        for frame, path in truth.items():
            shutil.copy(path, folder / ("truth.%d.exr" % frame))
        (folder / "options.json").write_text(json.dumps({"dials": DIALS}))
        return folder.parent

    return make


def test_a_take_judged_against_itself_is_perfect_and_against_its_guide_is_not(make_set, tiny_shot, tmp_path):
    frames = range(tiny_shot.first, tiny_shot.last + 1)
    shot = studio.shots(make_set({frame: tiny_shot.paths["plate"][frame] for frame in frames}))[0]
    assert shot.frames.first == tiny_shot.first and len(shot.frames) == len(frames) and shot.options["dials"] == DIALS
    take = studio.make_take(shot, tmp_path / "takes")
    figures = studio.evaluate(make_set({frame: take / ("effect.%d.exr" % frame) for frame in frames}), lambda text: None)
    assert figures["model"]["power_spectrum_db"] == 0 and figures["model"]["flicker"] == 1
    assert figures["shots"]["tiny"]["coverage"] == 1 and figures["shots"]["tiny"]["swd"] == [0, 0, 0]
    assert figures["upsampled_guide"]["power_spectrum_db"] > 0.5


def test_what_a_set_lacks_is_named(make_set, tiny_shot, tmp_path):
    with pytest.raises(InputError, match="no shot with a truth"):
        studio.shots(tiny_shot.folder)
    with pytest.raises(InputError, match="no folder"):
        studio.shots(tmp_path / "nowhere")
    folder = make_set({1001: tiny_shot.paths["plate"][1001]})
    with pytest.raises(InputError, match="lacks one of R, G, B and A"):
        studio.read_rgba(folder / "tiny" / "truth.1001.exr")
    shutil.rmtree(folder / "tiny" / "mask")
    with pytest.raises(InputError, match="no mask"):
        studio.shots(folder)


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"sun_azimuth": 90}', 'says sun_azimuth.*within "dials"'),
        ('{"dephts": "z"}', "says dephts"),
        ("[1]", r"says \[1\]"),
        ('{"fps": 25', "is no JSON"),
        ('{"dials": [1]}', r"says dials \[1\]"),
        ('{"light": "sun"}', "says light 'sun'"),
        ('{"light": {"sun": [1, 1, 1]}}', "says light .*two colours"),
        ('{"light": {"sun": [1, 1], "sky": [0, 1]}}', "says light .*two colours"),
        ('{"light": {"sun": [1, 1, 1], "sky": ["a", 0, 1]}}', "says light .*two colours"),
        ('{"light": {"sun": [0, 0, 0], "sky": [0.2, 0.3, 0.5]}}', "says light .*not black"),
    ],
)
def test_an_option_that_would_be_lost_is_refused(make_set, tiny_shot, text, said):
    """The sun's place beside "dials" and not within it would light every guide from elsewhere, without a word."""
    folder = make_set({1001: tiny_shot.paths["plate"][1001]})
    (folder / "tiny" / "options.json").write_text(text)
    with pytest.raises(InputError, match=said):
        studio.shots(folder)


def _rgba(alpha):
    return {"R": 0.5 * alpha, "G": 0.4 * alpha, "B": 0.3 * alpha, "A": alpha}


def _write(path, samples):
    height, width = samples["A"].shape
    window = images.Window(0, 0, width, height)
    path.write_bytes(images.encode([images.new_part(samples, window, window)]))


@pytest.fixture
def true_set(make_set, tiny_shot):
    """The set of one shot whose truth is a cloud that moves, and where the truth of a frame lies."""
    folder = make_set({})
    for frame in range(tiny_shot.first, tiny_shot.last + 1):
        _write(folder / "tiny" / ("truth.%d.exr" % frame), _rgba(np.roll(_dust()["A"], frame % 10, axis=1)))
    return folder, lambda frame: folder / "tiny" / ("truth.%d.exr" % frame)


def _with_a_nan(path):
    samples = _rgba(_dust()["A"])
    samples["G"][10, 20] = np.nan
    _write(path, samples)


ODD = {
    "a frame is missing": (lambda at: at(1003).unlink(), "frame 1003.*tiny has no truth here"),
    "two frames": (lambda at: [at(frame).unlink() for frame in range(1003, 1009)], r"tiny's truth is too short \(2 of the 3"),
    "no dust": (lambda at: [_write(at(frame), _rgba(0 * _dust()["A"])) for frame in range(1001, 1009)], "tiny's truth has no dust"),
    "a pixel is NaN": (lambda at: _with_a_nan(at(1005)), "truth.1005.exr holds NaN or infinity in G"),
    "a frame of another size": (lambda at: _write(at(1004), _rgba(_dust(32, 48)["A"])), "frame 1004.*tiny's truth is 48x32.*plate 96x64"),
    "a frame is cut short": (lambda at: at(1006).write_bytes(at(1006).read_bytes()[:900]), r"truth.1006.exr.*cut short"),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_truth_that_no_figure_can_be_made_of_is_named_before_any_take_is_made(true_set, monkeypatch, odd):
    folder, at = true_set
    spoil, said = ODD[odd]
    shutil.copytree(folder / "tiny", folder / "another")  # its figures would be lost
    spoil(at)
    monkeypatch.setattr(studio, "make_take", lambda *_, **__: pytest.fail("a take was made"))
    for judge in (studio.evaluate, lambda folder: eval_model.run("dust", folder)):
        with pytest.raises(InputError, match=said):
            judge(folder)


LATE = {
    "a dial there is not": ("options", '{"dials": {"ammount": 2}}', "ammount"),
    "a dial of another model": ("options", '{"dials": {"prompt": "dusk"}}', "paints no picture"),
    "no frames in a second": ("options", '{"fps": 0}', "fps"),
    "a camera that is no JSON": ("camera", "{", "camera.json is no JSON"),
    "a depth that lacks a frame": ("depth", None, "frame 1003.*zz has no depth here"),
}


@pytest.mark.parametrize("late", LATE)
def test_what_no_take_can_be_made_of_is_named_before_the_first_take_is_made(true_set, monkeypatch, late):
    """In the last shot of a set it would cost the figures of all the others."""
    folder, _ = true_set
    spoilt, (what, text, said) = folder / "zz", LATE[late]
    shutil.copytree(folder / "tiny", spoilt)
    if text is None:
        next((spoilt / what).glob("*1003.exr")).unlink()
    else:
        (spoilt / f"{what}.json").write_text(text)
    monkeypatch.setattr(studio, "make_take", lambda *_, **__: pytest.fail("a take was made"))
    for judge in (studio.evaluate, lambda folder: eval_model.run("dust", folder)):
        with pytest.raises((InputError, RequestError), match=said):
            judge(folder)


def test_figures_of_a_shot_are_said_before_the_next_is_made(true_set, monkeypatch):
    """A run that is cut off after hours has said what it had."""
    folder, _ = true_set
    shutil.copytree(folder / "tiny", folder / "zz")
    real, said = studio.make_take, []

    def made(shot, *given, **named):
        if shot.folder.name == "zz":
            raise KeyboardInterrupt
        return real(shot, *given, **named)

    monkeypatch.setattr(studio, "make_take", made)
    with pytest.raises(KeyboardInterrupt):
        studio.evaluate(folder, said.append)
    row = next(line for line in "\n".join(said).splitlines() if line.startswith("tiny  ")).split()
    heads = ("spectrum", "SWD fine", "middle", "weave", "flicker", "background", "coverage")  # this cloud leaves nothing empty
    assert len(row) == 8 and all(float(value) >= -99 or name == "background" for name, value in zip(heads, row[1:]))


def test_dust_too_faint_for_patches_costs_no_other_shot_its_figure(true_set):
    folder, _ = true_set
    shutil.copytree(folder / "tiny", folder / "faint")
    for frame in range(1001, 1009):
        _write(folder / "faint" / ("truth.%d.exr" % frame), _rgba(0.01 * np.roll(_dust()["A"], frame % 10, axis=1)))
    figures = studio.evaluate(folder, lambda text: None)
    assert np.isnan(figures["shots"]["faint"]["swd"]).all()
    assert figures["model"]["swd"] == figures["shots"]["tiny"]["swd"] and np.isfinite(figures["model"]["swd"]).all()


def test_a_shot_whose_sequences_lie_in_folders_may_be_the_set(true_set):
    shot = true_set[0] / "tiny"
    (shot / "truth").mkdir()
    for path in shot.glob("truth.*.exr"):
        path.rename(shot / "truth" / path.name)
    assert [found.folder.name for found in studio.shots(shot)] == ["tiny"]


def test_options_may_come_from_windows_editors_and_may_name_a_seed(true_set):
    options = true_set[0] / "tiny" / "options.json"
    options.write_text(json.dumps({"dials": {"seed": 5, "quality": "draft"}}), encoding="utf-8-sig")
    model = studio.asked(studio.shots(true_set[0])[0]).model
    assert model.seed == 5 and model.quality == "draft"


def test_what_a_take_warns_of_is_said(true_set):
    said = []
    figures = studio.evaluate(true_set[0], said.append)
    assert any("camera: No camera was given" in line for line in said)
    assert figures["model"]["flicker"] > 0


def test_a_figure_that_cannot_be_told_is_null_in_the_json(true_set, tmp_path):
    """A truth in which nothing moves has no flicker to compare with."""
    folder, at = true_set
    for frame in range(1001, 1009):
        _write(at(frame), _rgba(_dust()["A"]))
    studio.run(folder, tmp_path / "figures.json")
    written = json.loads((tmp_path / "figures.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written["model"]["flicker"] is None and written["model"]["power_spectrum_db"] > 0


def test_weights_of_a_studios_own_are_what_a_set_judges(make_set, tiny_shot, tmp_path):
    """They have the shipped ones' numbers and another sampler: not even the passes that a take of those left may be taken."""
    frames = range(tiny_shot.first, tiny_shot.last + 1)
    shot = studio.shots(make_set({frame: tiny_shot.paths["plate"][frame] for frame in frames}))[0]
    take = studio.make_take(shot, tmp_path / "takes")
    folder = make_set({frame: take / ("effect.%d.exr" % frame) for frame in frames})
    weights = tmp_path / "weights"
    shutil.copytree(WEIGHTS, weights)
    dust.DustLevels(sigma_min=0.8, sigma_max=5.0).write(weights / "scheduler")
    command(["evaluate", "--set", str(folder), "--weights", str(weights), "--json", str(tmp_path / "own.json")])
    command(["evaluate", "--set", str(folder), "--json", str(tmp_path / "shipped.json"), "--out", str(tmp_path / "kept")])
    assert (tmp_path / "kept" / "tiny" / "take_0001" / "take.json").is_file()  # to look at
    own, shipped = (json.loads((tmp_path / name).read_text()) for name in ("own.json", "shipped.json"))
    assert shipped["model"]["power_spectrum_db"] == 0 < own["model"]["power_spectrum_db"]
    assert own["weights_sha256"] == shipped["weights_sha256"] == dust.card()["weights_sha256"]  # figures say whose they are


def test_an_option_that_judging_a_set_would_lose_is_refused(make_set, capsys):
    with pytest.raises(SystemExit) as end:
        command(["evaluate", "--set", str(make_set({})), "--floor", "--strip", "strip.png", "--simulations", "2"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and all(name in said.splitlines()[-1] for name in ("--floor", "--strip", "--simulations"))
    assert "--data" not in said.splitlines()[-1]


def test_takes_are_kept_of_a_set_alone_and_where_they_can_be(make_set, tmp_path, capsys):
    with pytest.raises(SystemExit):
        eval_dust(["--out", str(tmp_path)])
    assert "platebridge eval-dust: error: --out: of a --set" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file, not a folder"):
        eval_dust(["--set", str(make_set({})), "--out", str(tmp_path / "file")])


def test_a_set_is_named_from_within_and_from_home(make_set, tiny_shot, monkeypatch):
    folder = make_set({1001: tiny_shot.paths["plate"][1001]})
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    monkeypatch.chdir(folder / "tiny")
    assert [shot.folder.name for named in (".", "~/set") for shot in studio.shots(named)] == ["tiny", "tiny"]


def test_a_model_is_judged_on_a_set_by_table_sheet_and_json(make_set, tiny_shot, tmp_path, capsys):
    """The truth is the take itself, so the comp is the truth's: same seed, same take."""
    frames = range(tiny_shot.first, tiny_shot.last + 1)
    folder = make_set({frame: tiny_shot.paths["plate"][frame] for frame in frames})
    take = studio.make_take(studio.shots(folder)[0], tmp_path / "takes")
    folder = make_set({frame: take / ("effect.%d.exr" % frame) for frame in frames})
    with pytest.raises(ModelError, match="no model called 'dusty'"):
        eval_model.run("dusty", folder)
    figures = eval_model.run("dust", folder, tmp_path / "figures.json", tmp_path / "sheets")["tiny"]
    assert figures["flicker"] == pytest.approx(1, abs=0.01) and figures["coverage"] == 1 and figures["inside"] > 0.9
    assert figures["pu21_psnr"] > 60  # half floats of the comp
    printed = capsys.readouterr().out
    assert "PU21-PSNR" in printed and "tiny" in printed and (tmp_path / "sheets" / "tiny.png").read_bytes()[:4] == b"\x89PNG"
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["model"] == "dust" and written["shots"]["tiny"]["outside_mean"] is None


def test_a_plate_with_overscan_is_judged_by_what_is_seen_of_it(true_set, tmp_path):
    folder, _ = true_set
    for path in (folder / "tiny" / "plate").iterdir():
        (part,) = images.read(path)
        wide = {name: np.pad(samples, 4, mode="edge") for name, samples in part.samples.items()}
        path.write_bytes(images.encode([images.new_part(wide, images.Window(-4, -4, 104, 72), part.header.display)]))
    (folder / "tiny" / "options.json").write_text(json.dumps({"dials": DIALS}))
    figures = eval_model.run("guide", folder, say=lambda text: None)["tiny"]
    assert figures["comp_outside"] >= 0 and figures["pu21_psnr"] > 0


@pytest.fixture
def whole_set(make_set, tiny_shot):
    """Writes whole.####.exr from passes (sun, ambient, alpha) of any light; returns the set's folder and how to write."""
    folder = make_set({frame: tiny_shot.paths["plate"][frame] for frame in range(tiny_shot.first, tiny_shot.first + 2)})

    def write(frames, samples):
        for number in range(frames):
            _write(folder / "tiny" / ("whole.%d.exr" % (1001 + number)), samples)

    return folder, write


def _dust(height=64, width=96):
    across = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.ones((height, 1), np.float32)
    alpha = np.exp(-4 * across**2).astype(np.float32)
    return {"sun.Y": 0.7 * alpha * (across > 0), "ambient.Y": 0.4 * alpha, "A": alpha, "Z": np.full_like(alpha, 12.0)}


def _large():
    """As large as the least that is learned from."""
    return _dust(96, 128)


def test_a_studios_own_passes_become_a_shard_to_train_on(whole_set, tmp_path):
    folder, write = whole_set
    write(24, _large())
    assert studio_data.make(folder, tmp_path / "data", lambda text: None) == 2
    path = data.shards(tmp_path / "data")[0]
    assert path.name.startswith("set_tiny_") and data.shards(tmp_path / "data", held_out=True) == []
    first = data.read_shard(path)[0]
    assert first.truth.shape == (20, 3, 96, 128) and first.guide.shape == (20, 3, 24, 32)
    np.testing.assert_allclose(first.truth[0].numpy(), np.stack([_large()[name] for name in ("sun.Y", "ambient.Y", "A")]), atol=2e-3)
    assert first.truth_depth[0, 48, 64] == 1 and first.light_view.norm(dim=1).numpy() == pytest.approx(np.ones(20), abs=1e-3)
    clips = train.Clips(tmp_path / "data", np.random.default_rng(0))
    assert clips.refresh() == 2
    residual, wide, light = clips.crop(8, (32, 32))
    assert residual.shape == (8, 3, 32, 32) and wide.shape == (8, 8, 32, 32) and light.shape == (8, 8)
    assert not light[:, 3:6].any() and light[:, 6:].all()  # of a studio's simulation nothing is known but what its guide shows


def test_light_of_two_colours_is_told_apart_and_of_one_colour_is_refused(whole_set, tmp_path):
    folder, write = whole_set
    passes, light = _large(), {"sun": [1.0, 0.8, 0.6], "sky": [0.2, 0.3, 0.5]}
    colour = {c: light["sun"][i] * passes["sun.Y"] + light["sky"][i] * passes["ambient.Y"] for i, c in enumerate("RGB")}
    write(20, {**colour, "A": passes["A"], "Z": passes["Z"]})
    options = folder / "tiny" / "options.json"
    options.write_text(json.dumps({"light": light}))
    clip = studio_data.clips(studio.shots(folder)[0])[0]
    np.testing.assert_allclose(clip.truth[0, :2].numpy(), np.stack([passes["sun.Y"], passes["ambient.Y"]]), atol=2e-3)
    options.write_text(json.dumps({"light": {"sun": [1, 0.9, 0.8], "sky": [0.5, 0.45, 0.4]}}))
    with pytest.raises(RequestError, match="told apart"):
        studio_data.clips(studio.shots(folder)[0])


def test_what_training_on_a_set_lacks_is_named(whole_set, make_set):
    folder, write = whole_set
    shot = studio.shots(folder)[0]
    with pytest.raises(InputError, match="no whole"):
        studio_data.clips(shot)
    write(5, _large())
    with pytest.raises(InputError, match="5 frames"):
        studio_data.clips(shot)
    write(20, _dust(90, 128))
    with pytest.raises(InputError, match=r"128x90; .* 96 pixels"):
        studio_data.clips(shot)
    write(20, {"A": _large()["A"], "Z": _large()["Z"]})
    with pytest.raises(InputError, match="sun"):
        studio_data.clips(shot)


def test_a_set_that_has_changed_is_learned_from_as_it_is_now(whole_set, tmp_path):
    """A corrected light, or a corrected frame, makes another shard; another set's shot of the same name has its own."""
    folder, write = whole_set
    write(20, _large())

    def shards(of=folder):
        studio_data.make(of, tmp_path / "data", lambda text: None)
        return data.shards(tmp_path / "data")

    (first,) = shards()
    assert shards() == [first]
    (folder / "tiny" / "options.json").write_text(json.dumps({"dials": {**DIALS, "sun_azimuth": 200}}))
    (second,) = shards()
    write(20, {name: 0.5 * part for name, part in _large().items()})
    (third,) = shards()
    assert len({first, second, third}) == 3
    assert data.read_shard(third)[0].truth.max() < 0.6
    whole = third.read_bytes()
    third.write_bytes(whole[:4000])  # a disk was full
    assert shards() == [third] and third.read_bytes() == whole
    shutil.copytree(folder, tmp_path / "other")
    both = shards(tmp_path / "other")
    assert third in both and len(both) == 2


def test_of_a_shot_that_was_taken_out_of_a_set_nothing_more_is_learned(whole_set, tmp_path):
    folder, write = whole_set
    write(20, _large())
    shutil.copytree(folder / "tiny", folder / "of_a_bad_day")
    data.write_shard(tmp_path / "set_by_hand.safetensors", studio_data.clips(studio.shots(folder)[1]))
    assert studio_data.make(folder, tmp_path, lambda text: None) == 2
    shutil.rmtree(folder / "of_a_bad_day")
    assert studio_data.make(folder, tmp_path, lambda text: None) == 1
    assert sorted(path.name[:9] for path in data.shards(tmp_path)) == ["set_by_ha", "set_tiny_"]


def test_a_frame_that_would_spoil_what_is_learned_is_named(whole_set, tmp_path):
    folder, write = whole_set

    def clips():
        return studio_data.clips(studio.shots(folder)[0])

    write(22, _large())
    spoilt, whole = _large(), folder / "tiny" / "whole.1004.exr"
    spoilt["sun.Y"][10, 20] = np.nan
    _write(whole, spoilt)
    with pytest.raises(InputError, match=r"whole.1004.exr holds NaN or infinity in sun.Y"):
        clips()
    _write(whole, _dust(32, 48))
    with pytest.raises(InputError, match=r"frame 1004.*48x32.*128x96"):
        clips()
    _write(whole, _large())
    whole.write_bytes(whole.read_bytes()[:900])
    with pytest.raises(InputError, match=r"whole.1004.exr.*cut short"):
        clips()
    whole.unlink()
    with pytest.raises(InputError, match=r"frame 1004.*tiny has no whole here"):
        clips()


def test_depth_is_told_whatever_its_unit_and_where_it_is_infinite(whole_set, tmp_path):
    """80 m in millimetres are more than half floats hold; sky behind thin dust is infinitely far."""
    folder, write = whole_set
    metres = 80 + np.linspace(-2, 2, 128, dtype=np.float32)[None] * np.ones((96, 1), np.float32)
    far = 1000 * metres
    far[:8] = np.inf
    write(20, {**_large(), "Z": far})
    studio_data.make(folder, tmp_path / "data", lambda text: None)
    clip = data.read_shard(data.shards(tmp_path / "data")[0])[0]
    assert torch.isinf(clip.truth_depth[:, :8]).all() and torch.isfinite(clip.truth_depth[:, 8:, 30:98]).all()
    np.testing.assert_allclose(clip.truth_depth[0, 48, 30:98].numpy(), metres[48, 30:98] / 80, rtol=2e-3)
