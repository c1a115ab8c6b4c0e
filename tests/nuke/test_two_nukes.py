# SPDX-License-Identifier: Apache-2.0
"""Two Nukes on one shot: each sends and keeps its own inputs, or says that it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from node_at_work import finish, pixels, press

ROOT = Path(__file__).parents[2]
#: Another Nuke, in a process of its own: opens the script and renders the node's inputs.
OTHER = """
import sys
sys.path[:0] = [{fakes!r}, {gizmo!r}]
import nuke
nuke.pluginAddPath({gizmo!r}, addToSysPath=False)
nuke.scriptOpen({script!r})
from platebridge_nuke import node as buttons
from platebridge_nuke import inputs, rendering
node = nuke.toNode("Platebridge")
rendering.render(node, inputs.plan(node), "main")
"""


@pytest.fixture
def other(nuke, wired, tmp_path):
    """`other(by)`: what has another Nuke render the same shot's inputs, its depth multiplied by that."""
    node, _ = wired

    def saved(by):
        node["shot"].setValue("tower")
        plain, here, script = node.input(1), nuke.root().name(), str(tmp_path / "other.nk")
        if by != 1:
            node.setInput(1, nuke.nodes.Multiply(inputs=[plain], value=by))
        nuke.scriptSaveAs(script)
        nuke.root()["name"].setValue(here)
        node.setInput(1, plain)
        code = OTHER.format(fakes=str(ROOT / "tests" / "fakes"), gizmo=str(ROOT / "nuke_gizmo"), script=script)

        def render():
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr

        return render

    return saved


def afterwards(monkeypatch, module, name, then):
    """`module.name` does what it does, and then `then()` happens, once."""
    real, waiting = getattr(module, name), [then]

    def both(*told):
        out = real(*told)
        for call in waiting[:]:
            waiting.clear()
            call()
        return out

    monkeypatch.setattr(module, name, both)


@pytest.mark.parametrize("reuse", ["what changed", "every frame"])
def test_inputs_that_another_nuke_rendered_before_they_were_sent_are_not_sent_for_ours(nuke, wired, serve, other, monkeypatch, reuse):
    from platebridge_nuke import rendering

    node, _ = wired
    node["reuse"].setValue(reuse)
    afterwards(monkeypatch, rendering, "render", other(1.5))
    job = press(node, serve().connection)
    finish(nuke, job)
    assert job.error is not None and ".1001.exr was written by another Nuke" in node["status"].value()
    assert job.take is None
    again = press(node)
    finish(nuke, again)
    assert again.error is None, again.error


@pytest.mark.parametrize("by", [1.5, 1], ids=["another depth", "the same depth"])
def test_inputs_that_another_nuke_renders_at_the_same_time_are_each_ones_own(nuke, wired, serve, other, monkeypatch, by):
    node, shot = wired
    connection = serve().connection
    afterwards(monkeypatch, nuke, "executeMultiple", other(by))
    finish(nuke, press(node, connection))
    job = press(node)
    finish(nuke, job)
    assert job.error is None, job.error
    folder = job.take.parent
    for frame, path in shot.paths["depth"].items():
        assert pixels(folder / "depth" / ("depth.%d.exr" % frame)).tobytes() == pixels(path).tobytes()
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("take_")) == ["depth", "mask", "plate"]


def test_a_disk_that_tells_another_time_of_a_file_later_is_no_other_nuke(nuke, wired, serve, monkeypatch, tmp_path):
    from platebridge_nuke import rendering

    def later():
        for path in (tmp_path / "takes").glob("*/*/*.exr"):
            os.utime(path, (1, 1))

    afterwards(monkeypatch, rendering, "render", later)
    job = press(wired[0], serve().connection)
    finish(nuke, job)
    assert job.error is None, job.error
