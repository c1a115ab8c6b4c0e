# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo leaves is an artist's to go on with."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import bpy
import pytest

from demo import __main__ as demo
from demo import run


def test_the_edit_names_no_server_that_ended_with_the_demo(scene, tmp_path):
    scene.platebridge.connection = str(tmp_path / "connection.json")
    run.save_edit(scene, tmp_path / "edit.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "edit.blend"))
    assert bpy.context.scene.platebridge.connection == ""


def test_a_server_that_does_not_start_is_told_at_once_and_where_it_says_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo.extension, "build", lambda target: target)
    real = subprocess.Popen
    monkeypatch.setattr(demo.subprocess, "Popen", lambda line, **how: real([sys.executable, "-c", "raise SystemExit('no')"], **how))
    monkeypatch.setattr(sys, "argv", ["demo", "--out", str(tmp_path / "out")])
    began = time.monotonic()
    assert demo.main() == 1 and time.monotonic() - began < 30
    said = "".join(capsys.readouterr().out.split())
    assert "Theserverdidnotstart" in said and "server.log" in said and (tmp_path / "out" / "server.log").read_text().strip() == "no"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_folder_with_a_space_in_its_name_reaches_the_demo_as_one():
    line = ["make", "-n", "-o", ".venv/ready", "demo", "OUT=my shots"]
    told = subprocess.run(line, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    assert '--out "my shots"' in told
