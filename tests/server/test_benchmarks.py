# SPDX-License-Identifier: Apache-2.0
"""What can be trusted of a benchmark: nothing is found that an earlier run left, no memory is missed between two looks, and figures
outlive a part that fails."""

import json
import subprocess
import sys
from collections import namedtuple

import psutil
import pytest

pytest.importorskip("diffusers")

from benchmarks import __main__ as bench
from benchmarks import generation, shot, wire


def test_a_take_that_is_measured_finds_nothing_that_an_earlier_run_left(tmp_path, monkeypatch):
    """The passes of an equal take are kept for the next: no model would run, and neither its time nor its memory would be measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = [*shot.make(tmp_path / "shot", 128, 96, 20), "--set", "detail=24", "--draft"]
    for n in range(2):
        figures = generation.generate(options, tmp_path / f"run{n}")
        document = json.loads((tmp_path / f"run{n}" / "take_0001" / "take.json").read_text())
        assert "passes_of" not in document and figures["generating"] > 0 and figures["peak_mb"] > 0
    assert not (tmp_path / "cache").exists()  # nor is anything of the user's own pushed out


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS tells no process's largest resident set")
def test_memory_that_came_and_went_between_two_looks_counts():
    line = "x = b'x' * 300_000_000; del x; print('gone', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "gone\n"
        at = psutil.Process(process.pid)
        assert generation.largest(at) > 300e6 > at.memory_info().rss
        process.communicate("\n")


def test_figures_outlive_a_part_that_fails_and_say_what_could_not_be_told(tmp_path, monkeypatch, capsys):
    def fails(folder, say):
        raise RuntimeError("no Blender")

    monkeypatch.setattr(bench, "PARTS", {"one": lambda folder, say: {"a": 1.0, "b": float("nan")}, "two": fails})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json", str(tmp_path / "there" / "figures.json")])
    with pytest.raises(RuntimeError, match="no Blender"):
        bench.main()
    written = json.loads((tmp_path / "there" / "figures.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written["a"] == 1.0 and written["b"] is None and "figure" in capsys.readouterr().out


def test_files_lie_in_memory_only_where_there_is_room(tmp_path, monkeypatch):
    """A container has 64 MB there."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(wire, "MEMORY", tmp_path)
    monkeypatch.setattr(wire.shutil, "disk_usage", lambda path: usage(64e6, 0, 64e6))
    assert wire.place(tmp_path / "disk") == tmp_path / "disk"
    monkeypatch.setattr(wire.shutil, "disk_usage", lambda path: usage(8e9, 0, 8e9))
    assert wire.place(tmp_path / "disk") == tmp_path
