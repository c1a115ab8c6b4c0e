# SPDX-License-Identifier: Apache-2.0
"""nuke -t platebridge_generate.py: exit codes, and the reason in words."""

from __future__ import annotations

import pytest


@pytest.fixture
def farm(nuke, wired, monkeypatch):
    """`farm(*arguments)`: the exit code; scriptOpen finds the wired script."""
    import platebridge_generate

    nuke.GUI = False
    monkeypatch.setattr(nuke, "scriptOpen", lambda path: None, raising=False)
    return lambda *arguments: platebridge_generate.main(list(arguments))


def test_a_whole_take_ends_with_0_and_its_folder(farm, wired, serve, capsys):
    node, _ = wired
    node["connection"].setValue(str(serve().connection))
    assert farm("shot_010.nk", "Platebridge", "1002-1003") == 0
    assert capsys.readouterr().out.strip().endswith("take_0001")
    assert (node["result_first"].value(), node["result_last"].value()) == (1002, 1003)


def test_what_is_refused_ends_with_1_and_the_sentence(farm, wired, capsys, tmp_path):
    wired[0]["connection"].setValue(str(tmp_path / "none.json"))
    assert farm("shot_010.nk", "Platebridge") == 1
    assert "No server runs here" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("shot.nk",), ("shot.nk", "Nobody"), ("shot.nk", "Platebridge", "ten")])
def test_a_wrong_call_ends_with_2(farm, arguments):
    assert farm(*arguments) == 2
