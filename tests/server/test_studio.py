# SPDX-License-Identifier: Apache-2.0
"""Somebody else's truth, read from disk: a take judged against itself is perfect, its guide is not; a set that lacks something says so."""

import json
import shutil

import pytest

pytest.importorskip("diffusers")
from platebridge.errors import InputError
from platebridge_server.training import studio

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
