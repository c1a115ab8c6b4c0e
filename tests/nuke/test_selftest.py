# SPDX-License-Identifier: Apache-2.0
"""The self-test for whoever owns Nuke: on the stand-in everything passes, a fault is found, and the report is written."""

from __future__ import annotations

import pytest
from node_at_work import pixels


@pytest.fixture
def lines(nuke, tmp_path, monkeypatch, capsys):
    """`lines(connection)`: {name: (what, told)} of a run under -t, and the exit code."""

    def run(connection):
        from platebridge_nuke import selftest

        monkeypatch.setenv("PLATEBRIDGE_CONNECTION", str(connection))
        nuke.GUI = False
        code = selftest.main([str(tmp_path / "report.txt")])
        written = (tmp_path / "report.txt").read_text(encoding="utf-8")
        said = capsys.readouterr().out
        assert all(line.strip() in said for line in written.splitlines())
        out = {}
        for line in written.splitlines():
            name, _, told = line[8:].partition(": ")
            out[name] = (line[:7].strip(), told)
        return out, code

    return run


def test_on_the_stand_in_everything_passes_the_whole_way(lines, serve):
    told, code = lines(serve().connection)
    assert code == 0, told
    assert {what for what, _ in told.values()} == {"passed", "fact", "skipped"}
    skipped = {name for name, (what, _) in told.items() if what == "skipped"}
    assert skipped == {"our own zmq is private, or this is a checkout", "a ProgressTask moved from a thread"}
    assert told["the whole way, four frames"] == ("passed", "take_0002 is whole")
    assert told["what did not change is not rendered again, where hashes are believed"][1] == "12 of 12 files are as they were"
    assert told["a take is shown, frame by frame"] == ("passed", "a frame that is missing shows 1.0")
    assert told["Nuke's own numpy"][0] == "fact" and "16.0v3" in told["Nuke"][1]


def test_without_a_server_the_whole_way_is_skipped_with_the_reason(lines, tmp_path):
    told, code = lines(tmp_path / "none.json")
    assert code == 0
    assert told["the whole way, four frames"][0] == "skipped" and "No server runs here" in told["the whole way, four frames"][1]


def test_a_nuke_that_differs_is_found_out_and_the_rest_goes_on(nuke, lines, tmp_path, monkeypatch):
    from nuke import tables

    monkeypatch.setitem(tables.EXR_ONLY, "compression", ("none", "ZIPS"))
    nuke.blind_hashes = True
    told, code = lines(tmp_path / "none.json")
    assert code == 1
    assert (
        told["Write takes the knobs and values that we set"][0] == "failed"
        and "Zip (1 scanline)" in told["Write takes the knobs and values that we set"][1]
    )
    assert told["the inputs are rendered"][0] == "failed"
    assert told["a take is shown, frame by frame"][0] == "passed"
    assert told["a frame's op hash can be read and believed"][1].startswith("False")


def test_the_report_is_written_though_the_temporary_folder_cant_be_removed(lines, tmp_path, monkeypatch):
    """Windows removes no file that is open, and Nuke reads the shot still."""
    import os

    def refused(path, **how):
        raise PermissionError(13, "The process cannot access the file because it is being used by another process", str(path))

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with monkeypatch.context() as windows:
        remove = os.unlink
        windows.setattr(os, "unlink", lambda path, **how: (refused if str(path).endswith(".exr") else remove)(path, **how))
        told, code = lines(tmp_path / "none.json")
    assert code == 0 and told["the inputs are rendered"][0] == "passed"


def test_sample_shot_is_read_by_another_tool(tmp_path):
    from platebridge_nuke import sample_shot

    patterns = sample_shot.write_shot(tmp_path)
    plate = pixels(patterns["plate"].replace("####", "1002"))
    assert plate.shape == (56, 72, 3) and plate.max() == 6.5 and plate.min() == -0.25
    depth = pixels(patterns["depth"].replace("####", "1001"))
    assert depth[0, 0, 0] == 0 and abs(depth[10, 30, 0] - 1 / 22) < 1e-7
    assert pixels(patterns["mask"].replace("####", "1001")).sum() == 16 * 14
