# SPDX-License-Identifier: Apache-2.0
"""What can be wrong before a job starts: each is one sentence with the mend, in the node's status line, and nothing was sent."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from node_at_work import finish


def press(node, connection):
    from platebridge_nuke import node as buttons

    node["connection"].setValue(str(connection))
    return buttons.generate(node)


def told(nuke, node):
    """The status line; no Write is left, and proxy is as it was."""
    assert [n for n in nuke._script if n.startswith(("Write", "Multiply"))] == []
    return node["status"].value()


@pytest.fixture
def rewrite(wired, write_exr):
    """`rewrite(which, change)`: every frame of an input with its pixels changed."""
    import OpenImageIO as oiio

    def every(which, change, channels=None, **how):
        for _frame, path in wired[1].paths[which].items():
            file = oiio.ImageInput.open(str(path))
            pixels, names = file.read_image("float"), file.spec().channelnames
            file.close()
            write_exr(path, change(pixels.reshape(64, 96, -1)), channels or names, "half" if which == "mask" else "float", **how)

    return every


@pytest.mark.parametrize(
    "break_it, sentence",
    [
        (lambda nuke, node: node.setInput(0, None), "No plate is connected. Connect it"),
        (lambda nuke, node: node.setInput(1, None), "No depth is connected. Connect it"),
        (lambda nuke, node: node["last"].setValue(1010), "holds frames 1001-1004, and 1001-1010 are asked for. Change First"),
        (lambda nuke, node: node["last"].setValue(1), "ends before it begins"),
        (lambda nuke, node: node["depth_channel"].setValue("depth.W"), "has no channel depth.W. Choose another"),
        (
            lambda nuke, node: node["depth_channel"].setValue("depth"),
            "channel is depth, which is no single channel. Give it as layer.channel",
        ),
        (
            lambda nuke, node: node["mask_channel"].setValue("alpha"),
            "channel is alpha, which is no single channel. Give it as layer.channel",
        ),
        (lambda nuke, node: node.setInput(3, node.input(0)), "has no channel backward.u. Choose another"),
        (lambda nuke, node: nuke.root()["name"].setValue(""), "never saved. Save it"),
        (lambda nuke, node: node["shot"].setValue("a[b]"), "has a [ in it"),
        (lambda nuke, node: node["shot"].setValue("a/b"), "can't name a shot. Use letters"),
        (lambda nuke, node: node["views"].setValue("left"), "The script has no view left. It has main"),
        (lambda nuke, node: node.setInput(5, nuke.nodes.Dot(inputs=[node.input(0)])), "is no camera. Connect the Camera"),
        (
            lambda nuke, node: node.setInput(5, nuke.nodes.Camera2(win_scale=[2.0, 1.0])),
            "has a window scale, which is not read. Set it to 1",
        ),
        (lambda nuke, node: node.setInput(5, nuke.nodes.Camera2(winroll=3.0)), "has a window roll, which is not read. Set it to 0"),
        (
            lambda nuke, node: node.setInput(5, nuke.nodes.Camera2(projection_mode="orthographic")),
            "projects orthographic, which is not read. Set its projection to perspective",
        ),
        (lambda nuke, node: node.setInput(5, nuke.nodes.Camera2(focal=0.0)), "focal_mm = 0 must be more than 0"),
        (lambda nuke, node: node["depth_scale"].setValue(0.0), "depth_scale = 0 must be more than 0"),
        (lambda nuke, node: node["last"].setValue(10481001), "frames are more than a shot may have"),
        (lambda nuke, node: node["take_root"].setValue("P:/shots/takes"), "P:/shots/takes is no place on this machine. Choose it"),
        (lambda nuke, node: node["take_root"].setValue("takes"), "takes is no place on this machine. Choose it"),
        (lambda nuke, node: node["take_root"].setValue("/" + "x" * 300), "name too long"),
        (
            lambda nuke, node: (node["model"].setValue("vace"), node["reference"].setValue("/" + "x" * 300)),
            "Choose another under Reference",
        ),
        (lambda nuke, node: node["amount"].setValue(9.0), "amount = 9 is out of range"),
    ],
)
def test_what_is_wrong_in_the_script_is_said_before_the_server_is_asked(nuke, wired, break_it, sentence, tmp_path):
    node, _ = wired
    break_it(nuke, node)
    assert press(node, tmp_path / "none.json") is None
    assert sentence in told(nuke, node)
    assert nuke.executed == []


def test_no_server_is_said_before_anything_is_rendered(nuke, wired, tmp_path):
    assert press(wired[0], tmp_path / "none.json") is None
    assert "No server runs here" in told(nuke, wired[0]) and nuke.executed == []


def test_a_server_that_does_not_answer_is_said_before_anything_is_rendered(nuke, wired, tmp_path):
    from platebridge.connection import Connection, write_connection

    write_connection(Connection(("tcp://127.0.0.1:1",), "a" * 40, "b" * 40, "c" * 40), tmp_path / "connection.json")
    assert press(wired[0], tmp_path / "connection.json") is None
    assert "No server answers. Start it" in told(nuke, wired[0]) and nuke.executed == []


def test_a_server_of_another_version_is_said_with_the_side_to_upgrade(nuke, wired, serve, monkeypatch):
    from platebridge import protocol

    server = serve()
    monkeypatch.setattr(protocol, "VERSION", protocol.VERSION + 1)
    assert press(wired[0], server.connection) is None
    assert "pgrade" in told(nuke, wired[0]) and nuke.executed == []


def test_inputs_of_another_format_or_pixel_aspect_are_refused(nuke, wired, make_shot, tmp_path, rewrite):
    node, _ = wired
    small = make_shot(width=48, height=32, frames=4)
    other = nuke.nodes.Read(file=small.patterns["mask"], first=1001, last=1004)
    mask = node.input(2)
    node.setInput(2, other)
    assert press(node, tmp_path / "none.json") is None
    assert "is 48x32, and the plate is 96x64. Reformat it" in told(nuke, node)
    node.setInput(2, mask)
    rewrite("mask", lambda p: p, attributes={"PixelAspectRatio": 2.0})
    assert press(node, tmp_path / "none.json") is None
    assert "has pixel aspect 2, and the plate 1. Give it" in told(nuke, node)


@pytest.mark.parametrize(
    "kind, change, sentence",
    [
        ("Z", lambda p: p * 0 + 5, "has the depth 5 everywhere. Connect what writes the depth"),
        ("Z", lambda p: np.where(p > 1e9, 0, 1 / p), "is said to be Z, but shrinks with distance"),
        ("Distance", lambda p: np.where(p > 1e9, 0, 1 / p), "Set Depth is to 1/Z"),
        ("Z", lambda p: np.where(p > 1e9, np.inf, 1 / p), "is said to be Z, but shrinks with distance"),
        ("1/Z", lambda p: p, "is said to be 1/Z, but grows with distance"),
        ("Normalised, near = 0", lambda p: np.minimum(p, 100), "is said to be normalised, and goes from"),
    ],
)
def test_a_depth_that_is_evidently_another_is_said_before_anything_is_sent(nuke, wired, standing, rewrite, kind, change, sentence):
    node, _ = wired
    rewrite("depth", change)
    node["depth_kind"].setValue(kind)
    assert press(node, standing) is None
    assert sentence in told(nuke, node)
    assert not list(Path(nuke.root().name()).parent.glob("takes/*/take_*"))


@pytest.mark.parametrize(
    "kind, change",
    [
        ("Z", lambda p: p),
        ("Z", lambda p: p / 100),  # a unit of its own
        ("Z", lambda p: np.where(p > 1e9, 0, p / 100)),  # a table-top before a black sky
        ("Z", lambda p: np.where(p > 1e9, np.inf, p)),
        ("1/Z", lambda p: np.where(p > 1e9, 0, 1 / p)),
        ("Normalised, near = 1", lambda p: 1 - np.minimum(p, 100) / 100),
        ("Normalised, near = 0", lambda p: np.minimum(p, 100) / 100),
    ],
)
def test_a_depth_of_the_kind_it_is_said_to_be_is_let_through(wired, rewrite, kind, change):
    from platebridge_nuke import peek
    from platebridge_nuke.inputs import KINDS

    rewrite("depth", change, attributes={"compression": "zips"})
    peek.check_depth(wired[1].paths["depth"], KINDS[kind], "Read2")


def test_a_depth_that_shrinks_is_let_through_once_its_unit_is_given(nuke, wired, standing, rewrite):
    node, _ = wired
    rewrite("depth", lambda p: np.where(p > 1e9, 0, 1 / p))
    assert press(node, standing) is None
    assert "give its unit in Metres per unit" in told(nuke, node)
    node["depth_scale"].setValue(1000.0)
    job = press(node, standing)
    assert job is not None, node["status"].value()
    job.cancel()
    finish(nuke, job)


def test_a_mask_that_is_empty_over_the_range_is_refused_and_one_pixel_is_not_empty(nuke, wired, standing, rewrite):
    from platebridge_nuke import peek

    node, shot = wired
    rewrite("mask", lambda p: p * 0)
    assert press(node, standing) is None
    assert "Read3 is empty over the whole range. Paint what collapses" in told(nuke, node)
    pixels = np.zeros((64, 96, 1), "f4")
    pixels[63, 95] = 1e-7
    last = shot.paths["mask"][shot.last]
    rewrite("mask", lambda p: p * 0, attributes={"compression": "zips"})
    from nuke import pictures

    pictures.write(last, {"rgba.alpha": pixels[..., 0]}, pictures.read(last)[1], "rgba.alpha", "32 bit float", "Zip (1 scanline)", False)
    peek.check_mask(shot.paths["mask"], "Read3")


@pytest.mark.parametrize("kind", ["half", "float"])
@pytest.mark.parametrize("compression", ["none", "zips"])
def test_a_glance_reads_what_openimageio_wrote(tmp_path, write_exr, kind, compression):
    from platebridge_nuke import peek

    pixels = np.random.default_rng(5).normal(size=(17, 23, 1)).astype("f2" if kind == "half" else "f4")
    pixels[3] = 0
    path = write_exr(
        tmp_path / "a.exr", pixels, ("Z",), kind, data=(-2, 4), display=(0, 0, 30, 40), attributes={"compression": compression}
    )
    picture = peek.Picture(path)
    assert picture.data == (-2, 4, 20, 20) and picture.display == (0, 0, 29, 39) and picture.channels == {"Z": kind}
    assert all(picture.row(at, "Z") == tuple(float(v) for v in pixels[at, :, 0]) for at in range(17))
    assert [at for at in range(17) if picture.row_is_zero(at)] == [3]


def test_of_a_file_that_is_not_ours_a_glance_says_nothing(tmp_path, write_exr):
    from platebridge_nuke import peek

    (tmp_path / "cut.exr").write_bytes(b"v/1\x01\x02\x00\x00\x00chan")
    piz = write_exr(tmp_path / "piz.exr", np.ones((4, 4, 1)), ("Z",), attributes={"compression": "piz"})
    for path in (tmp_path / "cut.exr", tmp_path / "none.exr", piz):
        assert peek.open_picture(path) is None
    half = write_exr(tmp_path / "half.exr", np.zeros((64, 64, 1)), ("Z",), attributes={"compression": "zips"})
    half.write_bytes(half.read_bytes()[:-700])  # the disk was full, and nothing said so
    for path in (tmp_path / "cut.exr", tmp_path / "none.exr", piz, half):
        peek.check_depth({1: path}, "z", "Read1")
        peek.check_mask({1: path}, "Read1")


def test_a_generator_has_a_picture_at_every_frame_whatever_range_it_tells(nuke, wired, tmp_path):
    """A Roto's range is the script's, 1 to 100; the shot is at 1001."""
    from platebridge_nuke import inputs

    assert not inputs._ends(nuke.nodes.Constant()) and not inputs._ends(nuke.nodes.Dot(inputs=[nuke.nodes.Constant()]))
    assert inputs._ends(nuke.nodes.Dot(inputs=[wired[0].input(0)]))


def test_a_file_that_a_node_writes_or_grades_by_says_nothing_of_its_range(nuke, wired, tmp_path):
    """A Roto that is written out on its way; a photograph through an OCIOCDLTransform whose file is empty."""
    from platebridge_nuke import inputs

    node, shot = wired
    drawn, still = nuke.nodes.Constant(), nuke.nodes.Read(file=str(shot.paths["plate"][1001]), first=1001, last=1001)
    file = (tmp_path / "roto.####.exr").as_posix()
    assert not inputs._ends(nuke.nodes.Write(inputs=[drawn], file=file))
    assert inputs._ends(nuke.nodes.Write(inputs=[drawn], file=file, reading=True))
    assert inputs._ends(nuke.nodes.Write(inputs=[node.input(0)], file=file))
    node.setInput(0, nuke.nodes.OCIOCDLTransform(inputs=[still]))
    assert len(inputs.plan(node).frames) == 4


def test_blanks_that_were_pasted_along_are_no_part_of_a_name(wired, tmp_path):
    from platebridge_nuke import inputs

    node, _ = wired
    for name, said in (("shot", "tower "), ("take_root", " %s " % tmp_path), ("connection", " "), ("model", " guide ")):
        node[name].setValue(said)
    asked = inputs.plan(node)
    assert asked.folders == {"main": tmp_path / "tower"} and asked.requests["main"].model.name == "guide"
    assert inputs.typed(node, "connection") == ""


@pytest.mark.parametrize(
    "script, shot",
    [
        ("tower_v003.nk", "tower"),
        ("tower.v3.nk", "tower"),
        ("tower_comp_V12_jd.nk", "tower_comp_jd"),
        ("set_v2_tower_v003.nk", "set_v2_tower"),
        ("v003.nk", "v003"),
        ("_v003.nk", "shot"),
        ("tower_vest.nk", "tower_vest"),
    ],
)
def test_a_shot_that_is_not_named_is_the_scripts_whatever_its_version(nuke, wired, tmp_path, script, shot):
    from platebridge_nuke import inputs

    nuke.root()["name"].setValue(str(tmp_path / script))
    assert inputs.shot_folders(wired[0]) == {"main": tmp_path / "takes" / shot}


def test_the_takes_folder_and_the_shots_name_may_be_said_in_tcl(nuke, wired, tmp_path, monkeypatch):
    """As compositors say a Read's file."""
    from platebridge_nuke import inputs

    node, _ = wired
    monkeypatch.setenv("SHOT", "sh020")
    node["take_root"].setValue("[file dirname [value root.name]]/dust")
    node["shot"].setValue("[getenv SHOT]_tower")
    assert inputs.shot_folders(node) == {"main": tmp_path / "dust" / "sh020_tower"}
    node["take_root"].setValue("~/dust")
    assert inputs.shot_folders(node) == {"main": Path.home() / "dust" / "sh020_tower"}


def test_the_reference_may_be_said_in_tcl_too(nuke, wired, tmp_path, monkeypatch):
    from platebridge_nuke import inputs

    node, _ = wired
    (tmp_path / "look.png").write_bytes(b"x")
    node["model"].setValue("vace")
    node["reference"].setValue("[file dirname [value root.name]]/look.png")
    assert inputs.reference(node)["reference"].files == {1: tmp_path / "look.png"}
    monkeypatch.setenv("HOME", str(tmp_path))
    node["reference"].setValue("~/look.png")
    assert inputs.reference(node)["reference"].files == {1: tmp_path / "look.png"}


def test_vectors_are_a_layer_and_no_single_channel(wired, monkeypatch):
    from platebridge.errors import InputError
    from platebridge_nuke import inputs

    node, _ = wired
    plate, there = node.input(0), node.input(0).channels()
    monkeypatch.setattr(plate, "channels", lambda: [*there, "backward.u", "backward.v"])
    node.setInput(3, plate)
    assert inputs.plan(node).channels["vectors"] == "backward"
    node["vectors_layer"].setValue("backward.u")
    with pytest.raises(InputError, match=r"has no channel backward\.u\.u\. Choose another"):
        inputs.plan(node)
    monkeypatch.setattr(plate, "channels", lambda: [*there, "forward.u", "forward.v"])
    node["vectors_layer"].setValue("forward")
    with pytest.raises(InputError, match=r"say where a pixel goes next\. Choose a layer that says where it was before"):
        inputs.plan(node)


@pytest.mark.parametrize(
    "bits, exact",
    [
        *((bits, False) for bits in ("8-bit fixed", "10-bit fixed", "16-bit half float", None)),
        *((bits, True) for bits in ("16-bit fixed", "32-bit float")),
    ],
)
def test_a_plate_is_written_in_as_many_bits_as_its_file_needs(wired, monkeypatch, bits, exact):
    """A TIFF of 16 bits is no half."""
    from platebridge_nuke import inputs

    monkeypatch.setattr(wired[0].input(0), "metadata", lambda key, frame: bits)
    assert ("plate" in inputs.plan(wired[0]).exact) is exact


def test_a_dial_that_a_node_of_an_older_version_lacks_stands_as_it_comes(wired):
    from platebridge_nuke import inputs

    del wired[0]._knobs["composition"]
    assert inputs.plan(wired[0]).requests["main"].guide.composition == 0


def test_a_still_is_a_picture_at_every_frame_and_a_sequence_of_one_frame_is_not(nuke, wired):
    """A photograph that becomes a collapse."""
    from platebridge.errors import InputError
    from platebridge_nuke import inputs

    node, shot = wired
    still, cut = (nuke.nodes.Read(file=str(name), first=1001, last=1001) for name in (shot.paths["mask"][1001], shot.patterns["mask"]))
    node.setInput(2, nuke.nodes.Dot(inputs=[still]))
    assert len(inputs.plan(node).frames) == 4
    node.setInput(2, cut)
    with pytest.raises(InputError, match="holds frames 1001-1001, and 1001-1004 are asked for"):
        inputs.plan(node)


def test_takes_paths_that_nuke_on_windows_could_not_read_are_refused(tmp_path):
    from platebridge.errors import RequestError
    from platebridge.frames import FrameRange
    from platebridge_nuke import inputs

    folder = tmp_path / ("x" * 100) / ("y" * 120)
    with pytest.raises(RequestError, match="characters, and Nuke on Windows reads 250"):
        inputs.check_folder(folder, FrameRange(1001, 1002), windows=True)
    inputs.check_folder(folder, FrameRange(1001, 1002), windows=False)


def test_a_folder_that_may_not_be_written_is_refused(nuke, wired, tmp_path):
    if os.name != "posix" or os.geteuid() == 0:
        node = wired[0]
        (tmp_path / "file").write_text("no folder")
        node["take_root"].setValue(str(tmp_path / "file"))
    else:
        node = wired[0]
        (tmp_path / "shut").mkdir(mode=0o500)
        node["take_root"].setValue(str(tmp_path / "shut"))
    assert press(node, tmp_path / "none.json") is None
    assert str(tmp_path) in told(nuke, node) and nuke.executed == []


@pytest.mark.parametrize(
    "break_it, sentence",
    [
        (lambda nuke: setattr(nuke, "cancel_at", 1002), "The inputs were not rendered: Cancelled. Press Generate again."),
        (lambda nuke: setattr(nuke, "executing", True), "already executing something else"),
        (lambda nuke: setattr(nuke, "disk_full", True), "No space left on device"),
    ],
)
def test_a_render_that_fails_is_said_and_leaves_no_node_and_no_undo_step(nuke, wired, standing, break_it, sentence):
    node, _ = wired
    nuke.root().setProxy(True)
    node["connection"].setValue(str(standing))
    steps = nuke.Undo.undoSize()
    break_it(nuke)
    from platebridge_nuke import node as buttons

    assert buttons.generate(node) is None
    assert sentence in told(nuke, node)
    assert nuke.root()["proxy"].value() is True and nuke.Undo.undoSize() == steps and not nuke.Undo.disabled()
    nuke.cancel_at, nuke.executing, nuke.disk_full = None, False, False
    job = buttons.generate(node)
    assert job is not None, node["status"].value()
    job.cancel()
    finish(nuke, job)
