# SPDX-License-Identifier: Apache-2.0
"""nuke -t platebridge_generate.py, in a process of its own as a farm starts it: exit codes, lines, and the reason in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What `nuke -t FILE ARGUMENTS` does: no window, every init.py on the plug-in path, then the file as __main__.
NUKE_T = """
import runpy, sys
sys.path.insert(0, {fakes!r})
import nuke
nuke.GUI = False
runpy.run_path({init!r})
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def farm(nuke, wired, tmp_path):
    """`farm(connection, *arguments)`: the finished process; "script" stands for the saved script."""

    def run(connection, *arguments):
        wired[0]["connection"].setValue(str(connection))
        script = str(tmp_path / "shot_010.nk")
        nuke.scriptSaveAs(script)
        code = NUKE_T.format(fakes=str(ROOT / "tests" / "fakes"), init=str(ROOT / "nuke_gizmo" / "init.py"))
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}  # a log that knows few letters
        words = [script if word == "script" else word for word in arguments]
        line = [sys.executable, "-c", code, str(ROOT / "nuke_gizmo" / "platebridge_generate.py"), *words]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=str(tmp_path), env=environment)

    return run


def test_a_whole_take_ends_with_0_and_its_folder(farm, serve, tmp_path):
    from platebridge.takes import verify_take

    done = farm(serve().connection, "script", "Platebridge", "1002-1003")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == str(tmp_path / "takes" / "shot_010" / "take_0001")
    assert [line for line in lines if line.startswith("Fra:")] == ["Fra:1002 Platebridge", "Fra:1003 Platebridge"]
    assert "Saved: '%s/comp.1002.exr'" % lines[-1] in lines and "Platebridge | Generating 2/2" in lines
    assert verify_take(lines[-1]) == []


def test_a_shot_whose_name_the_log_cant_write_is_made_all_the_same(farm, wired, serve):
    wired[0]["shot"].setValue("塔")
    done = farm(serve().connection, "script", "Platebridge", "1002")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("/takes/\\u5854/take_0001")


def test_the_range_that_was_asked_for_wins_over_an_expression(nuke, wired, monkeypatch):
    import platebridge_generate
    from platebridge_nuke import node as buttons

    node, asked = wired[0], []
    node["first"].expression = node["last"].expression = lambda frame: 1004
    monkeypatch.setattr(nuke, "scriptOpen", lambda path: None)
    monkeypatch.setattr(buttons, "generate", lambda node: asked.append((node["first"].value(), node["last"].value())))
    platebridge_generate.main(["shot_010.nk", "Platebridge", "1002-1003"])
    assert asked == [(1002, 1003)]


def test_what_is_refused_ends_with_1_and_the_sentence(farm, tmp_path):
    done = farm(tmp_path / "none.json", "script", "Platebridge")
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("Error: No server runs here")


def test_a_take_that_fails_on_the_way_ends_with_1(farm, serve):
    done = farm(serve("no_such_module:generate").connection, "script", "Platebridge")
    assert done.returncode == 1 and done.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ((), "nuke -t platebridge_generate.py script.nk Node"),
        (("script",), "nuke -t platebridge_generate.py script.nk Node"),
        (("script", "Nobody"), "has no Platebridge node called Nobody"),
        (("script", "Read1"), "has no Platebridge node called Read1"),
        (("script", "Platebridge", "ten"), "'ten' is not a frame range"),
        (("absent.nk", "Platebridge"), "absent.nk can't be opened"),
    ],
)
def test_a_wrong_call_ends_with_2(farm, tmp_path, arguments, sentence):
    done = farm(tmp_path / "none.json", *arguments)
    assert done.returncode == 2 and sentence in done.stderr
