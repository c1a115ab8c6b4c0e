# SPDX-License-Identifier: Apache-2.0
"""A large model pressed from Nuke: the knob's name is all. Real server, real pipeline, Wan VACE with tiny random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from node_at_work import finish, pixels, press
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "server"))
pytest.importorskip("torch", reason="the server's packages are not here: pip install 'platebridge[server]'")
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")

NAME, DIALS = "tiny-vace", {"detail": 24, "debris": 8, "seed": 7, "amount": 3.0, "quality": "draft"}


@pytest.fixture
def with_models(tmp_path, monkeypatch):
    """The models' folder that the server will read, with the tiny one in it."""
    import tiny_vace
    from platebridge_server.models import store

    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store.add(tiny_vace.make(tmp_path / "weights"), tiny_vace.card(NAME))


def test_a_draft_by_dust_and_a_final_by_vace_stand_in_one_list_with_one_guide(with_models, nuke, wired, serve, tmp_path):
    from platebridge.takes import read_take
    from platebridge_nuke import node as buttons

    node, shot = wired
    server = serve("platebridge_server.generate:generate")

    def made(**knobs):
        for name, value in knobs.items():
            node[name].setValue(value)
        job = press(node, server.connection)
        finish(nuke, job)
        assert job.error is None, job.error
        return read_take(job.take)

    drafted = made(**DIALS)
    node["model"].setValue(NAME)
    node["reference"].setValue((tmp_path / "absent.png").as_posix())
    assert press(node, server.connection) is None and "There is no file" in node["status"].value()
    Image.new("RGB", (16, 16), (200, 150, 90)).save(tmp_path / "look.png")
    painted = made(model=NAME, rim=6, steps=2, led_by="draft", reference=(tmp_path / "look.png").as_posix())
    assert painted.document["painting"]["references"] == 1
    again = made(model="dust")  # a painter's knobs wait for the next final
    assert "paint" not in again.document["request"] and "reference" not in again.document["request"]["inputs"]
    node["take"].setValue("")
    buttons.list_takes(node)
    first, second, _ = node["takes_text"].value().split("\n")
    assert "take_0001: " in first and "take_0002: model %s" % NAME in second and "led by draft" in second
    assert painted.document["simulation"] == drafted.document["simulation"] and painted.document["draft"]["model"] == "dust"
    covered = 0
    for frame in range(shot.first, shot.last + 1):
        guides = [pixels(take.path / ("guide.%04d.exr" % frame)) for take in (drafted, painted)]
        assert np.array_equal(*guides, equal_nan=True)
        covered += int((pixels(painted.path / ("effect.%04d.exr" % frame))[..., 3] > 0).sum())
    assert covered and node["result_last"].value() == shot.last and node["led_by"].value() == "draft"
