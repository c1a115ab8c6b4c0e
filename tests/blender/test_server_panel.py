# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender knows of its server: asked on a thread of its own, told in lines, started by a button."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import bpy
import pytest
from real_server import Server


def heard(asking):
    end = time.monotonic() + 90  # a server that just started loads its models first
    while not asking.poll():
        assert time.monotonic() < end, "nothing was heard"
        time.sleep(0.02)
    return asking.answer


@pytest.fixture
def whole_server(tmp_path):
    server = Server(tmp_path / "whole", generator=None).start()
    yield server
    server.stop()


def test_a_server_tells_what_it_is_and_what_models_it_has(scene, whole_server):
    from blender_addon import asking, preferences

    server = whole_server
    scene.platebridge.connection = str(server.connection)
    assert bpy.ops.platebridge.ask_server() == {"FINISHED"} and asking.asking
    answer = heard(asking)
    assert answer.trouble == "" and not asking.asking
    assert [card["name"] for card in answer.cards][:2] == ["dust", "guide"]
    assert not asking.absent(asking.card("dust"))
    assert "Type there: platebridge models fetch wan-vace-14b" in asking.absent(asking.card("wan-vace-14b"))
    said = " ".join(preferences.facts())
    assert "dust (Apache-2.0)" in said and "GB free" in said and "on cpu" in said
    assert asking.card("dust")["trained_on"] and asking.card("absent") is None


def test_a_server_that_is_gone_is_said_and_stays_said(scene, server):
    from blender_addon import asking

    scene.platebridge.connection = str(server.connection)
    server.kill()
    asking.PATIENCE, patience = 0.5, asking.PATIENCE
    try:
        bpy.ops.platebridge.ask_server()
        assert heard(asking).trouble and asking.answer.cards == []
    finally:
        asking.PATIENCE = patience


def test_no_server_at_all_is_said_by_the_button_and_in_the_panel(scene, tmp_path):
    from blender_addon import runner

    scene.platebridge.connection = str(tmp_path / "absent.json")
    with pytest.raises(RuntimeError, match="No server runs here"):
        bpy.ops.platebridge.ask_server()
    assert "No server runs here" in runner.trouble


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the command is a shell script")
def test_the_button_starts_the_command_that_is_found(scene, tmp_path, monkeypatch):
    from blender_addon import server

    said = tmp_path / "said"
    command = tmp_path / "bin" / "platebridge"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\necho "$@" > %s\n' % said)
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    assert server.found_command() == str(command)
    assert bpy.ops.platebridge.start_server() == {"FINISHED"}
    end = time.monotonic() + 20
    while not (said.exists() and said.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert said.read_text() == "serve\n"


def test_a_server_that_starts_is_asked_until_it_answers(scene, server, tmp_path):
    """What a server that died has left is taken for no answer."""
    from blender_addon import asking, preferences

    asking.forget()
    scene.platebridge.connection = str(tmp_path / "absent.json")
    assert not preferences._ask_if_up() and not asking.asking
    scene.platebridge.connection = str(server.connection)
    asking.answer = asking.Answer("The server doesn't answer.")
    assert not preferences._ask_if_up() and asking.asking
    assert heard(asking).trouble == ""
    assert preferences._ask_if_up()


def test_the_button_stops_the_server_and_says_why_where_it_can_t(scene, server, monkeypatch):
    from blender_addon import asking, runner

    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    scene.platebridge.connection = str(server.connection)
    bpy.ops.platebridge.ask_server()
    assert heard(asking).trouble == ""
    assert bpy.ops.platebridge.stop_server() == {"FINISHED"}, runner.trouble
    assert server.process.wait(20) == 0 and asking.answer is None
    assert bpy.ops.platebridge.stop_server() == {"CANCELLED"}
    assert "No server runs here" in runner.trouble


def test_without_the_command_the_line_to_type_can_be_copied(scene, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="No platebridge command was found"):
        bpy.ops.platebridge.start_server()
    with pytest.raises(RuntimeError, match="No platebridge command was found"):
        bpy.ops.platebridge.stop_server()
    assert bpy.ops.platebridge.copy_line() == {"FINISHED"}
