# SPDX-License-Identifier: Apache-2.0
"""Nuke killed, quit, its script closed, its disk full: the server goes on, and the take is attached to again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from node_at_work import finish, press, until

ROOT = Path(__file__).parents[2]
#: A Nuke in a process of its own: opens the script, presses Generate, waits for two frames in the viewer, saves, and does `END`.
NUKE = """
import sys, time
sys.path[:0] = [{fakes!r}, {gizmo!r}]
import nuke
nuke.reset()
nuke.pluginAddPath({gizmo!r}, addToSysPath=False)
nuke.scriptOpen({script!r})
node = nuke.toNode("Platebridge")
from platebridge_nuke import node as buttons
job = buttons.generate(node)
assert job is not None, node["status"].value()
end = time.monotonic() + 60
while node["result_last"].value() != 1002:
    assert time.monotonic() < end, node["status"].value()
    nuke.pump(0.05)
nuke.scriptSaveAs({script!r})
print("two frames", flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["time.sleep(600)", "sys.exit()"], ids=["killed", "quit"])
def test_after_nuke_is_gone_the_take_is_attached_to_from_the_saved_script(nuke, wired, serve, tmp_path, end):
    from platebridge.takes import verify_take
    from platebridge_nuke import node as buttons

    node, _ = wired
    server = serve()
    server.hold(1003)
    node["connection"].setValue(str(server.connection))
    script = str(tmp_path / "shot_010.nk")
    nuke.scriptSaveAs(script)
    code = textwrap.dedent(NUKE).format(fakes=str(ROOT / "tests" / "fakes"), gizmo=str(ROOT / "nuke_gizmo"), script=script, end=end)
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "two frames\n", other.communicate(timeout=30)[1]
    if "sleep" in end:
        other.send_signal(signal.SIGKILL)
        other.wait(20)
    else:
        assert other.wait(20) == 0, other.stderr.read()  # no hang at exit
    other.stdout.close(), other.stderr.close()
    nuke.scriptOpen(script)
    node = nuke.toNode("Platebridge")
    assert node["result_last"].value() == 1002 and not node.hasError()  # the frames that came are shown at once, with no server
    server.let_go(1003)
    job = buttons.attach(node)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None and verify_take(job.take) == []
    assert node["result_last"].value() == 1004


def test_a_take_that_the_command_began_is_attached_to_and_sent_by_nuke(nuke, wired, serve, tmp_path):
    """The command was ended before a frame came; no server has heard of the take."""
    from platebridge.frames import FrameRange
    from platebridge.request import ShotSettings
    from platebridge.takes import verify_take
    from platebridge_nuke import node as buttons
    from platebridge_server import command_generate as command

    node, shot = wired
    sources = command.Sources({which: shot.patterns[which].replace("####", "@@@@") for which in ("plate", "depth", "mask")})
    (request,), files = command.with_files([command.asked("tiny", FrameRange(1001, 1004), ShotSettings())], sources)
    begun = command.begin(request, sources, tmp_path / "takes", files)
    node["connection"].setValue(str(serve().connection))
    node["take"].setValue(begun.path.as_posix())
    job = buttons.attach(node)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None and verify_take(begun.path) == []
    assert node["result_last"].value() == 1004


def under_way(nuke, node, serve):
    """The server and the job of a take that is held at its second frame."""
    server = serve()
    server.hold(1002)
    job = press(node, server.connection)
    until(nuke, lambda: job.take is not None)
    return server, job


def test_quitting_in_the_moment_before_a_take_is_sent_sends_none(nuke, wired, serve, monkeypatch):
    from platebridge.courier import Courier
    from platebridge_nuke import job as jobs
    from platebridge_nuke import node as buttons

    node, _ = wired
    node["connection"].setValue(str(serve().connection))
    monkeypatch.setattr(Courier, "start", lambda courier: (jobs.jobs[0].leave(0.0), threading.Thread.start(courier)))
    job = buttons.generate(node)
    finish(nuke, job)
    assert "Cancelled before anything was sent" in str(job.error) and job.take is None


def test_closing_the_script_leaves_the_job_and_its_thread_to_end_by_themselves(nuke, wired, serve):
    from platebridge.takes import verify_take

    server, job = under_way(nuke, wired[0], serve)
    nuke.scriptClear()
    server.let_go(1002)
    finish(nuke, job)
    job._thread.join(10)
    assert job.error is None and verify_take(job.take) == [] and not job._thread.is_alive()


def test_a_script_saved_under_way_does_not_say_that_it_still_is_when_nobody_follows_the_take(nuke, wired, serve, tmp_path):
    from platebridge_nuke import node as buttons

    node, _ = wired
    server, job = under_way(nuke, node, serve)
    until(nuke, lambda: node["status"].value().endswith("1/4"))
    script = str(tmp_path / "shot_010.nk")
    nuke.scriptSaveAs(script)
    nuke.scriptOpen(script)
    again = nuke.toNode("Platebridge")
    assert again["status"].value().endswith("1/4")  # this session follows it still
    job.leave()
    buttons.jobs.clear()
    steps = nuke.Undo.undoSize()
    nuke.scriptOpen(script)
    again = nuke.toNode("Platebridge")
    assert "was under way" in again["status"].value() and "Attach under Takes" in again["status"].value()
    assert nuke.Undo.undoSize() == steps
    server.let_go(1002)
    finish(nuke, buttons.attach(again))
    assert again["status"].value().endswith("take_0001 is whole.")
    nuke.scriptSaveAs(script)
    nuke.scriptOpen(script)
    assert nuke.toNode("Platebridge")["status"].value().endswith("take_0001 is whole.")


def test_a_list_of_takes_that_was_saved_along_is_not_shown_where_the_script_is_opened(nuke, wired, tmp_path):
    from platebridge_nuke import node as buttons

    buttons.list_takes(wired[0])
    assert wired[0]["takes_text"].value() == "There is no take yet."
    script = str(tmp_path / "shot_010.nk")
    nuke.scriptSaveAs(script)
    steps = nuke.Undo.undoSize()
    nuke.scriptOpen(script)
    assert nuke.toNode("Platebridge")["takes_text"].value() == "" and nuke.Undo.undoSize() == steps


def test_a_node_of_the_same_name_in_the_next_script_is_another_node(nuke, wired, serve, tmp_path):
    """Fresh nodes are all called Platebridge: the next shot's must neither show this take nor be held up or cancelled by it."""
    from platebridge.takes import verify_take
    from platebridge_nuke import node as buttons

    server, job = under_way(nuke, wired[0], serve)
    nuke.scriptSaveAs(str(tmp_path / "shot_010.nk"))
    nuke.scriptClear()
    other = nuke.createNode("Platebridge")
    assert other.fullName() == job.name and job.node() is None
    buttons.cancel(other)
    assert "Nothing is under way" in other["status"].value()
    server.let_go(1002)
    finish(nuke, job)
    assert job.error is None and verify_take(job.take) == [] and job not in buttons.jobs
    assert other["take"].value() == other["result_file"].value() == "" and "Nothing is under way" in other["status"].value()


def test_a_node_may_be_renamed_meanwhile(nuke, wired, serve):
    from platebridge_nuke import node as buttons

    node, _ = wired
    server, job = under_way(nuke, node, serve)
    node.setName("Dust_of_the_tower")
    assert job.name == "Dust_of_the_tower"
    assert buttons.generate(node) is None and "still under way" in node["status"].value()
    server.let_go(1002)
    finish(nuke, job)
    assert job.error is None and node["result_last"].value() == 1004 and "whole" in node["status"].value()


def test_a_renamed_nodes_script_may_be_closed_and_opened_again_meanwhile(nuke, wired, serve, tmp_path):
    from platebridge_nuke import node as buttons

    node, _ = wired
    server, job = under_way(nuke, node, serve)
    node.setName("Dust_of_the_tower")
    until(nuke, lambda: node["result_last"].value() == 1001)
    script = str(tmp_path / "shot_010.nk")
    nuke.scriptSaveAs(script)
    nuke.scriptOpen(script)
    again = nuke.toNode("Dust_of_the_tower")
    assert job.node() is again is not node
    assert buttons.generate(again) is None and "still under way" in again["status"].value()
    server.let_go(1002)
    finish(nuke, job)
    assert job.error is None and again["result_last"].value() == 1004 and "whole" in again["status"].value()


def test_a_node_that_was_deleted_and_brought_back_by_undo_goes_on_with_its_take(nuke, wired, serve):
    node, _ = wired
    server, job = under_way(nuke, node, serve)
    nuke.delete(node)
    assert job.node() is None
    nuke.Undo.undo()
    again = nuke.toNode("Platebridge")
    assert job.node() is again is not node
    server.let_go(1002)
    finish(nuke, job)
    assert again["result_last"].value() == 1004


def test_a_full_disk_is_said_and_with_room_made_the_take_goes_on(nuke, wired, serve, monkeypatch):
    from platebridge import takes
    from platebridge_nuke import node as buttons

    node, _ = wired
    server, job = under_way(nuke, node, serve)
    full = {"after": 1}
    real = os.fsync

    def fsync(handle):
        full["after"] -= 1
        if full["after"] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    until(nuke, lambda: node["result_last"].value() == 1001)
    monkeypatch.setattr(takes.os, "fsync", fsync)
    server.let_go(1002)
    finish(nuke, job)
    assert job.error.code == "storage" and "The disk is full" in node["status"].value() and "Make room" in node["status"].value()
    assert buttons.frames_there(job.take, "comp") == [1001, 1002]
    monkeypatch.undo()
    again = buttons.attach(node)
    finish(nuke, again)
    assert again.error is None and again.take == job.take
    assert takes.verify_take(job.take) == []


def test_a_second_node_may_not_render_over_a_shot_that_is_under_way(nuke, wired, serve, tmp_path):
    from platebridge_nuke import node as buttons

    node, _ = wired
    server, job = under_way(nuke, node, serve)
    second = nuke.createNode("Platebridge")
    for number in range(3):
        second.setInput(number, node.input(number))
    for name in ("last", "depth_kind", "connection"):
        second[name].setValue(node[name].value())
    assert buttons.generate(second) is None
    assert "under way at Platebridge" in second["status"].value()
    rendered = len(nuke.executed)
    (tmp_path / "link").symlink_to(tmp_path)
    for root in (tmp_path / "other" / ".." / "takes", tmp_path / "link" / "takes"):  # the same folder by another way
        second["take_root"].setValue(str(root))
        assert buttons.generate(second) is None and "under way at Platebridge" in second["status"].value()
    assert len(nuke.executed) == rendered
    assert buttons.generate(node) is None
    assert "still under way. Wait for it" in node["status"].value()
    server.let_go(1002)
    finish(nuke, job)


def test_a_job_leaves_no_step_to_undo(nuke, wired, serve):
    node, _ = wired
    connection = serve().connection
    node["connection"].setValue(str(connection))
    steps = nuke.Undo.undoSize()
    from platebridge_nuke import node as buttons

    finish(nuke, buttons.generate(node))
    assert nuke.Undo.undoSize() == steps and not nuke.Undo.disabled()
    nuke.Undo.undo()  # what the artist did before: the take stays shown
    assert node["connection"].value() == "" and node["result_last"].value() == 1004
