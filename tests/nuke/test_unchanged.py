# SPDX-License-Identifier: Apache-2.0
"""Generate renders only the frames whose content changed since the last take, and never shows an old one for a new."""

from __future__ import annotations

from pathlib import Path

import pytest
from node_at_work import finish, press


@pytest.fixture
def rendered(nuke, wired, standing):
    """`rendered()`: presses Generate, waits for the take, gives {input: frames rendered}."""
    node, _ = wired

    def go():
        before = len(nuke.executed)
        job = press(node, standing)
        assert job is not None, node["status"].value()
        finish(nuke, job)
        assert job.error is None, job.error
        out = {}
        for pattern, frame in nuke.executed[before:]:
            out.setdefault(Path(pattern).name.partition(".")[0], []).append(frame)
        return {which: sorted(frames) for which, frames in out.items()}

    rendered_first = go()
    assert rendered_first == {which: [1001, 1002, 1003, 1004] for which in ("plate", "depth", "mask")}
    return go


def test_nothing_changed_renders_nothing_and_still_makes_a_take(wired, rendered):
    wired[0]["seed"].setValue(8)
    assert rendered() == {}
    assert wired[0]["take"].value().endswith("take_0002")


def test_a_changed_value_upstream_renders_that_input_again(nuke, wired, rendered):
    node, _ = wired
    grade = nuke.nodes.Multiply(inputs=[node.input(0)], value=1.0)
    node.setInput(0, grade)
    assert rendered() == {"plate": [1001, 1002, 1003, 1004]}
    grade["value"].setValue(2.0)
    assert rendered() == {"plate": [1001, 1002, 1003, 1004]}
    assert rendered() == {}


def test_a_range_that_moves_renders_what_it_lacks(nuke, wired, rendered):
    node, _shot = wired
    for number in range(3):
        held = nuke.nodes.TimeOffset(inputs=[node.input(number)], time_offset=2)
        node.setInput(number, held)
    node["first"].setValue(1003)
    assert rendered() == {which: [1003, 1004] for which in ("plate", "depth", "mask")}
    node["last"].setValue(1006)
    assert rendered() == {which: [1005, 1006] for which in ("plate", "depth", "mask")}


def test_a_file_overwritten_in_place_is_rendered_again_though_nukes_own_hash_is_the_same(nuke, wired, rendered):
    _, shot = wired
    shot.paths["depth"][1002].write_bytes(shot.paths["depth"][1004].read_bytes())
    assert rendered() == {"depth": [1001, 1002, 1003, 1004]}


@pytest.mark.parametrize("reads, found", [(True, {"plate": [1001, 1002, 1003, 1004]}), (False, {})])
def test_a_precomps_write_counts_as_a_file_where_it_reads_it(nuke, wired, rendered, reads, found):
    node, _ = wired
    write = nuke.nodes.Write(inputs=[node.input(0)], file=nuke.root().name() + ".####.exr", reading=reads)
    node.setInput(0, write)
    assert rendered() == {"plate": [1001, 1002, 1003, 1004]}
    Path(nuke.root().name() + ".1001.exr").write_bytes(b"precomp")
    assert rendered() == found


def test_a_file_whose_name_is_not_understood_counts_as_changed(nuke, wired, rendered, monkeypatch):
    """Where its bytes lie nobody knows; Nuke's own hash says nothing of them."""
    named, source = nuke.filename, wired[0].input(1)
    monkeypatch.setattr(nuke, "filename", lambda node, *told: "/somewhere/else.exr" if node is source else named(node))
    assert [rendered() for _ in "ab"] == [{"depth": [1001, 1002, 1003, 1004]}] * 2


def test_a_file_named_by_tcl_that_goes_with_the_frame_counts_as_changed(nuke, wired, rendered, monkeypatch):
    """Nuke puts the Tcl in for the frame that shows: of the other frames' files nothing is known, and one of them was overwritten."""
    node, shot = wired
    source, named = node.input(1), nuke.filename
    monkeypatch.setattr(source["file"], "value", lambda: "/shots/depth.[expr {[value root.frame]}].exr")
    monkeypatch.setattr(nuke, "filename", lambda node, *told: str(shot.paths["depth"][1001]) if node is source else named(node))
    rendered()
    shot.paths["depth"][1003].write_bytes(shot.paths["depth"][1004].read_bytes())
    assert rendered() == {"depth": [1001, 1002, 1003, 1004]}


@pytest.mark.parametrize("cls, knob", [("Vectorfield", "vfield_file"), ("GeoReference", "file_path")])
def test_a_lut_or_geometry_overwritten_in_place_is_seen_by_whatever_knob_it_is_read(nuke, wired, rendered, tmp_path, cls, knob):
    node, _ = wired
    (tmp_path / "show.3dl").write_text("warm")
    node.setInput(0, getattr(nuke.nodes, cls)(inputs=[node.input(0)], **{knob: (tmp_path / "show.3dl").as_posix()}))
    assert rendered() == {"plate": [1001, 1002, 1003, 1004]}
    assert rendered() == {}
    (tmp_path / "show.3dl").write_text("colder")
    assert rendered() == {"plate": [1001, 1002, 1003, 1004]}


def test_another_ocio_config_or_another_text_of_it_renders_every_input_again(nuke, wired, rendered, tmp_path, monkeypatch):
    """A studio's config is a variable of the shell, and is mended where it lies."""
    every = {which: [1001, 1002, 1003, 1004] for which in ("plate", "depth", "mask")}
    nuke.root()["workingSpaceLUT"].setValue("ACEScg")
    assert rendered() == every and rendered() == {}
    (tmp_path / "config.ocio").write_text("ocio_profile_version: 2")
    monkeypatch.setenv("OCIO", str(tmp_path / "config.ocio"))
    assert rendered() == every and rendered() == {}
    (tmp_path / "config.ocio").write_text("ocio_profile_version: 2.1")
    assert rendered() == every


def test_a_file_that_tcl_names_by_the_scripts_folder_is_as_good_as_any(nuke, wired, rendered, monkeypatch):
    node, _ = wired
    monkeypatch.setattr(node.input(1)["file"], "value", lambda: "[file dirname [value root.name]]/frame/depth.####.exr")
    assert rendered() == {}


@pytest.mark.parametrize("note", ["[]", "{}", '{"version": 1}', '{"version": 1, "frames": []}', '{"version": 1, "frames": {"x": 1}}', "x"])
def test_a_note_that_is_damaged_is_no_note(wired, rendered, note):
    (Path(wired[0]["take"].value()).parent / "depth" / "rendered.json").write_text(note)
    assert rendered() == {"depth": [1001, 1002, 1003, 1004]}


def test_a_rendered_file_that_is_gone_or_was_touched_is_rendered_again(nuke, wired, rendered):
    from pathlib import Path

    folder = Path(wired[0]["take"].value()).parent
    (folder / "plate" / "plate.1002.exr").unlink()
    (folder / "mask" / "mask.1003.exr").write_bytes((folder / "mask" / "mask.1004.exr").read_bytes() + b"\0")
    assert rendered() == {"plate": [1002], "mask": [1003]}


def test_other_bits_or_another_channel_are_other_files(wired, rendered):
    wired[0]["plate_type"].setValue("32 bit float")
    assert rendered() == {"plate": [1001, 1002, 1003, 1004]}


def test_every_frame_is_rendered_when_the_artist_says_so(wired, rendered):
    wired[0]["reuse"].setValue("every frame")
    assert set(rendered()) == {"plate", "depth", "mask"}


def test_a_nuke_whose_hashes_do_not_follow_its_values_is_not_believed(nuke, rendered):
    nuke.blind_hashes = True
    assert set(rendered()) == {"plate", "depth", "mask"}


@pytest.mark.parametrize("told", ["", "Op for {frame=1001} hash=zzz", "Op for {frame=1001} hash=0123456789abcdef"])
def test_a_form_of_the_hash_that_is_not_understood_is_not_believed(nuke, monkeypatch, rendered, told):
    monkeypatch.setattr(nuke, "showInfo", lambda node: told)
    assert set(rendered()) == {"plate", "depth", "mask"}


def test_a_cancelled_render_leaves_no_frame_that_looks_kept(nuke, wired, rendered):
    node, _ = wired
    node.setInput(0, nuke.nodes.Multiply(inputs=[node.input(0)], value=2.0))
    nuke.cancel_at = 1003
    from platebridge_nuke import node as buttons

    assert buttons.generate(node) is None
    assert not list(Path(node["take"].value()).parent.glob("part-*"))
    nuke.cancel_at = None
    assert rendered() == {"plate": [1001, 1002, 1003, 1004]}


@pytest.mark.parametrize(
    "name, meant",
    [
        ("p.####.exr", {"p.1001.exr", "p.-001.exr"}),
        ("p.%04d.exr", {"p.1001.exr", "p.-001.exr"}),
        ("p.exr", {"p.exr"}),
        ("p_%V.####.exr", {"p_left.1001.exr"}),
        ("%V/2k/p.%04d.exr", {"left/2k/p.1001.exr", "right/2k/p.1001.exr"}),  # views above the last folder
        ("take.####/p.exr", {"take.1001/p.exr", "take.1002/p.exr"}),  # a folder a frame
        ("[a]/p.####.exr", {"[a]/p.1001.exr"}),
    ],
)
def test_a_pattern_means_its_own_files_alone(tmp_path, name, meant):
    from platebridge_nuke.rendering import _sequence

    for folder in ("left/2k", "right/2k", "take.1001", "take.1002", "[a]"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / ("p.exr" if "take" in folder else "p.1001.exr")).write_bytes(b"x")
    for there in ("p.1001.exr", "p.-001.exr", "p.exr", "p_left.1001.exr", "q.1001.exr", "p.1001.exr.part"):
        (tmp_path / there).write_bytes(b"x")
    assert {path[len(tmp_path.as_posix()) + 1 :] for path, _, _ in _sequence("%s/%s" % (tmp_path.as_posix(), name))} == meant
