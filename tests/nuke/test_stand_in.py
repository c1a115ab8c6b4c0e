# SPDX-License-Identifier: Apache-2.0
"""The stand-in Nuke against what is known of Nuke: what it must refuse, and what it must do."""

from __future__ import annotations

import threading

import numpy as np
import pytest


def test_unknown_names_knobs_and_values_are_refused(nuke):
    write = nuke.nodes.Write()
    with pytest.raises(NameError):
        write["datatype"]  # it comes with file_type exr
    write["file_type"].setValue("exr")
    with pytest.raises(TypeError):
        write["datatype"].setValue("half")
    write["datatype"].setValue("32 bit float")
    with pytest.raises(TypeError):
        write["file"].setValue(3)
    with pytest.raises(AttributeError):
        nuke.executeInMainThred(print)
    with pytest.raises(AttributeError):
        nuke.nodes.Wrtie()


def test_the_main_thread_is_the_only_one_that_may_touch_a_node(nuke):
    write = nuke.nodes.Write()
    touches = [
        lambda: write["file"].setValue("x"),
        lambda: nuke.toNode("Write1"),
        lambda: nuke.nodes.Read(),
        lambda: nuke.Undo.disable(),
        lambda: nuke.views(),
    ]
    told = []

    def elsewhere():
        for touch in touches:
            try:
                touch()
            except AssertionError as error:
                told.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(told) == len(touches) and all("off the main thread" in said for said in told)


def test_execute_in_main_thread_hangs_on_it_and_under_t(nuke):
    with pytest.raises(AssertionError, match="hangs"):
        nuke.executeInMainThread(print)
    nuke.GUI = False
    told = []

    def elsewhere():
        try:
            nuke.executeInMainThread(print)
        except AssertionError as error:
            told.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "under -t" in told[0]


def test_execute_inside_a_callback_says_what_nuke_says(nuke):
    nuke.executing = True
    with pytest.raises(RuntimeError, match="I'm already executing something else"):
        nuke.execute(nuke.nodes.Write(), 1, 1)


def test_non_commercial_lets_python_touch_ten_nodes(nuke):
    nuke.env["nc"] = True
    for _ in range(10):
        nuke.nodes.Read()
    with pytest.raises(RuntimeError, match="10 nodes"):
        nuke.nodes.Read()


def test_undo_takes_back_steps_and_what_was_disabled_is_no_step(nuke):
    read = nuke.nodes.Read()
    before = nuke.Undo.undoSize()
    nuke.Undo.begin("both")
    read["first"].setValue(5)
    read["last"].setValue(9)
    nuke.Undo.end()
    nuke.Undo.disable()
    read["raw"].setValue(True)
    nuke.Undo.enable()
    assert nuke.Undo.undoSize() == before + 1 and nuke.Undo.undoDescribe(0) == "both"
    nuke.Undo.undo()
    assert (read["first"].value(), read["last"].value(), read["raw"].value()) == (1, 1, True)


def test_op_hash_follows_the_script_but_not_a_files_bytes(nuke, make_shot):
    shot = make_shot(frames=2)
    node = nuke.nodes.Multiply(inputs=[nuke.nodes.Read(file=shot.patterns["plate"], first=1001, last=1002)])

    def seen(frame):
        node.metadata("input/filename", frame, "main")
        return nuke.showInfo(node).split("frame=%d" % frame)[1].split("hash=")[1][:16]

    one, two = seen(1001), seen(1002)
    assert one != two and int(one, 16) in node.opHashes()
    shot.paths["plate"][1001].write_bytes(shot.paths["plate"][1002].read_bytes())
    assert seen(1001) == one
    node.input(0)["raw"].setValue(True)
    assert "hash=" + one in nuke.showInfo(node)  # until Nuke sees to the node again, it tells the old one
    assert seen(1001) != one


def test_write_honours_bounding_box_proxy_and_cancel(nuke, tmp_path, write_exr):
    write_exr(tmp_path / "p.1001.exr", np.ones((10, 20, 3), "f4"), ("R", "G", "B"), data=(-4, 3), display=(0, 0, 12, 16))
    write = nuke.nodes.Write(inputs=[nuke.nodes.Read(file=str(tmp_path / "p.####.exr"), first=1001, last=1001)])
    write["file"].setValue(str(tmp_path / "w.####.exr"))
    write["file_type"].setValue("exr")
    nuke.execute(write, 1001, 1001)
    from nuke import pictures

    spec = pictures.read(tmp_path / "w.1001.exr")[1]
    assert (spec.x, spec.y, spec.width, spec.height, spec.full_width, spec.full_height) == (-4, 3, 20, 10, 12, 16)
    nuke.root().setProxy(True)
    nuke.execute(write, 1001, 1001)
    assert pictures.read(tmp_path / "w.1001.exr")[1].width == 10
    nuke.cancel_at = 1001
    with pytest.raises(RuntimeError, match="Cancelled"):
        nuke.execute(write, 1001, 1001)


def test_a_view_is_filled_into_a_files_name(nuke):
    from nuke import pictures

    assert pictures.named("a_%V/p_%v.####.exr", 7, "left") == "a_left/p_l.0007.exr"
    assert pictures.named("p.%05d.exr", 7, "left") == "p.00007.exr"
