# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""`platebridge eval-model` with a model that paints: what it changed outside the mask, before the comp, is in the table."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")

from platebridge_server.training import eval_model
from vace_takes import NAME, alone, guides, installed, make, shot  # noqa: F401


def test_a_painters_own_picture_is_judged_before_the_comp(make, shot, tmp_path):
    folder = tmp_path / "set" / "tiny"
    for name in ("plate", "depth", "mask", "vectors"):
        shutil.copytree(shot.folder / name, folder / name)
    _, files = make()
    for frame in shot.paths["plate"]:
        (folder / ("truth.%d.exr" % frame)).write_bytes(files["effect.%d.exr" % frame])
    dials = {"detail": 24, "debris": 8, "amount": 3.0, "steps": 1, "guidance": 1.0, "rim": 6}
    (folder / "options.json").write_text(json.dumps({"dials": dials}))
    said = []
    figures = eval_model.run(NAME, folder.parent, tmp_path / "figures.json", tmp_path / "sheets", said.append)["tiny"]
    assert math.isfinite(figures["outside_mean"]) and figures["outside_mean"] > 0
    assert (tmp_path / "sheets" / "tiny.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "figures.json").read_text())["model"] == NAME and "tiny" in said[-1]
