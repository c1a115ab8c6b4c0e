# SPDX-License-Identifier: Apache-2.0
"""Somebody else's truth, read from disk: a take judged against itself is perfect, its guide is not; a set that lacks something says so."""

import json
import shutil

import pytest

pytest.importorskip("diffusers")
from platebridge.errors import InputError, ModelError
from platebridge_server.training import eval_model, studio

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
