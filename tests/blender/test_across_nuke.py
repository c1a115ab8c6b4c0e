# SPDX-License-Identifier: GPL-3.0-or-later
"""A take made in Blender opens in Nuke, and the other way round: real files of real programs (Nuke's is the stand-in), one server."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from real_server import until

ROOT = Path(__file__).parents[2]
FRAMES = range(1001, 1005)


@pytest.fixture
def nuke(tmp_path):
    for folder in (ROOT / "tests" / "fakes", ROOT / "nuke_gizmo"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    import nuke

    nuke.reset(str(tmp_path / "shot.nk"))
    nuke.pluginAddPath((ROOT / "nuke_gizmo").as_posix(), addToSysPath=False)
    return nuke


@pytest.fixture
def files(tmp_path, write_exr):
    """{input: pattern} of four frames."""
    rows = np.linspace(40, 4, 36, dtype="f4")[:, None, None] * np.ones((36, 64, 1), "f4")
    for frame in FRAMES:
        random = np.random.default_rng(frame)
        write_exr(tmp_path / "plate" / ("plate.%d.exr" % frame), random.uniform(-1, 9, (36, 64, 3)), "RGB", True)
        write_exr(tmp_path / "depth" / ("depth.%d.exr" % frame), rows, "Z")
        write_exr(tmp_path / "mask" / ("mask.%d.exr" % frame), np.ones((36, 64, 1)), "A", True)
    return {which: str(tmp_path / which / (which + ".####.exr")) for which in ("plate", "depth", "mask")}


@pytest.fixture
def node(nuke, files, server, tmp_path):
    """The node on the files, with Blender's shot folder and name."""
    node = nuke.createNode("Platebridge")
    for number, which in enumerate(("plate", "depth", "mask")):
        node.setInput(number, nuke.nodes.Read(file=files[which], first=1001, last=1004))
    told = {"last": 1004, "depth_kind": "Z", "take_root": str(tmp_path / "takes"), "shot": "shot", "connection": str(server.connection)}
    for name, value in told.items():
        node[name].setValue(value)
    return node


def in_blender(scene, files, server):
    """Generates in Blender and gives the take."""
    from platebridge.client import Client

    from blender_addon import sources
    from blender_addon.job import Job

    settings = scene.platebridge
    scene.frame_start, scene.frame_end = FRAMES[0], FRAMES[-1]
    for which, pattern in files.items():
        setattr(settings, which + "_source", "FILES")
        setattr(settings, which + "_files", pattern)
    settings.vectors_source, settings.camera_source, settings.connection = "NONE", "NONE", str(server.connection)
    job = Job.generate(sources.plan(scene, bpy.context.view_layer), lambda: Client(str(server.connection), "test"))
    until(lambda: job.step(0.01) or job.rest(0.02))
    assert job.error is None, job.error
    return job.take_path


def in_nuke(nuke, node):
    from platebridge_nuke import node as buttons

    job = buttons.generate(node)
    assert job is not None, node["status"].value()
    until(lambda: job.ended.is_set() or nuke.pump(0.02))
    nuke.pump()
    assert job.error is None, job.error
    return job.take


def test_a_take_of_blenders_is_listed_marked_and_shown_in_nuke(scene, nuke, node, files, server, read_exr):
    from platebridge.takes import mark
    from platebridge_nuke import node as buttons

    scene.platebridge.dials.set_values({"amount": 1.4, "seed": 7})
    take = in_blender(scene, files, server)
    mark(take, True, "from Blender")
    buttons.list_takes(node)
    assert node["takes_text"].value() == "★ take_0001: seed 7, “from Blender”"
    buttons.newer(node)
    assert node["take"].value() == take.as_posix() and node["note"].value() == "from Blender"
    assert (node["result_first"].value(), node["result_last"].value()) == (1001, 1004)
    for frame in FRAMES:
        shown = node._image(frame)[0]
        assert np.array_equal(shown["rgba.red"], read_exr(take / ("comp.%d.exr" % frame))["R"])
    assert [read["file"].value() for read in buttons.make_reads(node)] == [take.as_posix() + "/comp.####.exr"]


def test_a_take_of_nukes_is_listed_and_stands_on_blenders_timeline(scene, nuke, node, files, server):
    from platebridge_nuke import node as buttons

    node["amount"].setValue(2.5)
    take = in_nuke(nuke, node)
    node["star"].setValue(True)
    node["note"].setValue("from Nuke")
    buttons.keep_marks(node)
    scene.frame_start, scene.frame_end = FRAMES[0], FRAMES[-1]
    assert bpy.ops.platebridge.refresh_takes() == {"FINISHED"}
    (row,) = bpy.context.window_manager.platebridge_takes
    assert (row.name, row.star, row.text, row.finished) == ("take_0001", True, "from Nuke", True)
    assert bpy.ops.platebridge.load_take(take=str(take)) == {"FINISHED"}
    (strip,) = [strip for strip in scene.sequence_editor.strips if "take" in strip.get("platebridge", {})]
    assert [element.filename for element in strip.elements] == ["comp.%d.exr" % frame for frame in FRAMES]
    assert Path(bpy.path.abspath(strip.directory)) == take


def test_takes_of_both_stand_in_one_row_and_differ_in_the_same_words(scene, nuke, node, files, server):
    from platebridge_nuke import node as buttons

    in_blender(scene, files, server)
    node["density"].setValue(2.0)
    in_nuke(nuke, node)
    node["take"].setValue("")
    buttons.list_takes(node)
    bpy.ops.platebridge.refresh_takes()
    in_words = [line.split(": ")[1] for line in node["takes_text"].value().split("\n")]
    assert in_words == [row.differs for row in bpy.context.window_manager.platebridge_takes][::-1] == ["seed 0", "density 2"]


def test_a_take_that_blender_was_interrupted_at_is_gone_on_with_in_nuke(scene, nuke, node, files, server):
    from platebridge.client import Client
    from platebridge.takes import verify_take
    from platebridge_nuke import node as buttons

    from blender_addon import sources
    from blender_addon.job import Job

    settings = scene.platebridge
    scene.frame_start, scene.frame_end = FRAMES[0], FRAMES[-1]
    for which, pattern in files.items():
        setattr(settings, which + "_source", "FILES")
        setattr(settings, which + "_files", pattern)
    settings.vectors_source, settings.camera_source = "NONE", "NONE"
    server.hold(1003)
    job = Job.generate(sources.plan(scene, bpy.context.view_layer), lambda: Client(str(server.connection), "test"))
    until(lambda: job.step(0.01) or job.frames_there == 2)
    job.leave()
    node["take"].setValue(job.take_path.as_posix())
    again = buttons.attach(node)
    assert again is not None, node["status"].value()
    server.let_go(1003)
    until(lambda: again.ended.is_set() or nuke.pump(0.02))
    nuke.pump()
    assert again.error is None and verify_take(job.take_path) == []
    assert node["result_last"].value() == 1004
