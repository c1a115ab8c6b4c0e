# SPDX-License-Identifier: Apache-2.0
"""The gizmo as a real Tcl interpreter reads it, and the stand-in Nuke against what is known of Nuke."""

from __future__ import annotations

import runpy
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GIZMO = ROOT / "nuke_gizmo" / "Platebridge.gizmo"


@pytest.fixture
def group(nuke):
    from nuke.tcl import read_group

    return read_group(GIZMO.read_text(encoding="utf-8"))


def test_gizmo_is_what_the_table_makes():
    assert GIZMO.read_text(encoding="utf-8") == runpy.run_path(str(ROOT / "tools" / "gizmo.py"))["text"]()


def test_inputs_resolve_to_the_right_children(group):
    names = {child.knobs["name"]: child for child in group.children}
    assert [c.knobs["number"] for c in group.children if c.cls == "Input"] == ["4", "3", "2", "1", "0"]
    assert [c.knobs["name"] for c in names["Show"].inputs] == ["plate", "Result"]
    assert names["Output1"].inputs == [names["Show"]]
    assert not any(child.cls == "Write" for child in group.children)


def test_node_and_a_temporary_write_are_ten_nodes(group):
    assert 1 + len(group.children) + 1 <= 10


def test_every_button_compiles_and_calls_what_is_there(group):
    from platebridge_nuke import node

    for name, code in group.buttons.items():
        compile(code, name, "exec")
        assert callable(getattr(node, name))


def test_dials_stand_in_the_tables_order_with_its_defaults(group):
    from platebridge.dials import DIALS

    assert [name for name in group.knobs if name in DIALS] == list(DIALS)
    for name, row in DIALS.items():
        value = group.knobs[name][0]
        assert (tuple(value) if row.kind == "colour" else value) == row.default


@pytest.mark.parametrize("text", ['"', "\\", "[", "]", "$x", "{", "}", "a\nb", "grün 数", "\\n", 'a"b[c$d{e\\'])
def test_any_text_comes_back_from_tcl(text):
    import tkinter

    quoted = runpy.run_path(str(ROOT / "tools" / "gizmo.py"))["quoted"]
    inner = tkinter.Tcl().splitlist(quoted(text))
    assert inner == (text,)


def test_group_that_does_not_close_is_refused(nuke):
    from nuke.tcl import read_group

    with pytest.raises(ValueError, match="does not close"):
        read_group(GIZMO.read_text(encoding="utf-8").replace("end_group", ""))


def test_stand_in_refuses_what_nuke_refuses(nuke):
    write = nuke.nodes.Write()
    with pytest.raises(NameError):
        write["datatype"]
    write["file_type"].setValue("exr")
    with pytest.raises(TypeError):
        write["datatype"].setValue("half")
    with pytest.raises(AttributeError):
        nuke.executeInMainThred(print)
    with pytest.raises(AssertionError, match="hangs"):
        nuke.executeInMainThread(print)
    told = []

    def elsewhere():
        try:
            write["file"].setValue("x")
        except AssertionError as error:
            told.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "off the main thread" in told[0]


def test_stand_in_lets_python_touch_ten_nodes_in_non_commercial(nuke):
    nuke.env["nc"] = True
    for _ in range(10):
        nuke.nodes.Read()
    with pytest.raises(RuntimeError, match="10 nodes"):
        nuke.nodes.Read()
