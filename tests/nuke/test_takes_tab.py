# SPDX-License-Identifier: Apache-2.0
"""Presets, and the shot's takes: what differs, stars, notes, older and newer. The same folders and words as Blender's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from node_at_work import finish, until


@pytest.fixture
def made(nuke, wired, tmp_path, write_exr):
    """`made(finished=True, **dials)`: a take of the shot on the disk, as any program leaves it; gives its folder."""
    from platebridge.frames import FrameRange
    from platebridge.request import GenerateRequest, Inputs

    def make(finished=True, **dials):
        shot = tmp_path / "takes" / "shot_010"
        folder = shot / ("take_%04d" % (1 + len(list(shot.glob("take_*")))))
        for frame in (1001, 1002):
            for kind, names in (("comp", "RGB"), ("effect", "RGBAZ")):
                write_exr(_made(folder) / ("%s.%d.exr" % (kind, frame)), np.full((8, 8, len(names)), frame, "f4"), tuple(names))
        request = GenerateRequest("shot_010", FrameRange(1001, 1002), Inputs()).with_dials(dials)
        tree = {"take_id": "%032x" % int(folder.name[-4:]), "request": request.to_dict(), "files": {}}
        (folder / ("take.json" if finished else "unfinished.json")).write_text(json.dumps(tree))
        return folder

    def _made(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    return make


def test_takes_are_listed_with_what_differs_stars_and_notes(wired, made):
    from platebridge.takes import mark
    from platebridge_nuke import node as buttons

    node, _ = wired
    made(seed=7), made(seed=8, amount=1.4), made(finished=False, seed=8, tint=(0.1, 0.2, 0.3))
    mark(made(seed=9), True, "director's <pick>")
    buttons.list_takes(node)
    assert node["takes_text"].value().split("\n") == [
        "☆ take_0001: seed 7",
        "☆ take_0002: amount 1.4, seed 8",
        "☆ take_0003: amount 1, tint 0.1/0.2/0.3, unfinished",
        "★ take_0004: tint 0.62/0.56/0.5, seed 9, “director's ‹pick›”",
    ]
    node["take"].setValue((node_folder(made) / "take_0002").as_posix())
    buttons.list_takes(node)
    assert node["takes_text"].value().split("\n")[:2] == ["☆ take_0001: amount 1, seed 7", "☆ take_0002: shown"]


def node_folder(made):
    return made().parent


def test_older_and_newer_go_through_the_takes_and_bring_star_and_note(nuke, wired, made):
    from platebridge.takes import mark
    from platebridge_nuke import node as buttons

    node, _ = wired
    one, two = made(seed=1), made(seed=2)
    mark(one, True, "the first")
    buttons.newer(node)  # from none: the newest
    assert node["take"].value() == two.as_posix()
    buttons.newer(node)
    assert "take_0002 is the newest take" in node["status"].value()
    buttons.older(node)
    assert node["take"].value() == one.as_posix() and node["star"].value() is True and node["note"].value() == "the first"
    assert node["result_file"].value() == one.as_posix() + "/comp.####.exr"
    nuke.Undo.undo()  # one step
    assert node["take"].value() == two.as_posix() and node["result_file"].value() == two.as_posix() + "/comp.####.exr"


def test_older_and_newer_go_on_past_a_take_that_has_no_frame_yet(wired, made):
    """It is named, so that Attach means it; the picture is the plate's until a frame is there."""
    from platebridge_nuke import node as buttons

    node, _ = wired
    one, two, three = made(seed=1), made(finished=False, seed=2), made(seed=3)
    for file in two.glob("*.exr"):
        file.unlink()
    buttons.newer(node)
    assert node["take"].value() == three.as_posix()
    buttons.older(node)
    assert node["take"].value() == two.as_posix() and node["result_file"].value() == ""
    assert "take_0002 has no comp frames yet. Attach to it" in node["status"].value()
    buttons.older(node)
    assert node["take"].value() == one.as_posix() and node["result_file"].value() == one.as_posix() + "/comp.####.exr"
    buttons.newer(node), buttons.newer(node)
    assert node["take"].value() == three.as_posix() and node["result_file"].value() == three.as_posix() + "/comp.####.exr"


def test_a_folder_as_a_file_browser_names_it_is_the_take(wired, made):
    """With a slash at its end."""
    from platebridge_nuke import node as buttons

    node, _ = wired
    one, _two = made(seed=1), made(seed=2)
    made(seed=3)
    node["take"].setValue((one.parent / "take_0002").as_posix() + "/")
    buttons.list_takes(node)
    assert node["takes_text"].value().split("\n")[1] == "☆ take_0002: shown"
    buttons.older(node)
    assert node["take"].value() == one.as_posix()


def test_star_and_note_are_kept_beside_the_take(wired, made):
    from platebridge.takes import Marks, read_take
    from platebridge_nuke import node as buttons

    node, _ = wired
    take = made()
    node["take"].setValue(take.as_posix())
    node["star"].setValue(True)
    node["note"].setValue('"[good]" $5 {grün}')
    buttons.keep_marks(node)
    assert read_take(take).marks == Marks(True, '"[good]" $5 {grün}')


def test_star_and_note_of_the_take_that_is_shown_are_not_kept_for_another_that_was_named_by_hand(wired, made):
    from platebridge.takes import Marks, mark, read_take
    from platebridge_nuke import node as buttons

    node, _ = wired
    named, shown = made(seed=1), made(seed=2)
    mark(named, text="its own")
    mark(shown, text="the director's pick")
    buttons.newer(node)
    node["take"].setValue(named.as_posix())
    node["star"].setValue(True)
    buttons.keep_marks(node)
    assert read_take(named).marks == Marks(False, "its own")
    assert "those of take_0002, which is shown" in node["status"].value() and "Press Show take" in node["status"].value()
    buttons.show(node)
    assert node["note"].value() == "its own"
    node["star"].setValue(True)
    buttons.keep_marks(node)
    assert read_take(named).marks == Marks(True, "its own") and read_take(shown).marks == Marks(False, "the director's pick")


def test_keeping_a_star_leaves_the_note_that_another_program_has_changed_since_it_was_read(nuke, wired, made, tmp_path):
    """In a script that was saved and opened again, too."""
    from platebridge.takes import Marks, mark, read_take
    from platebridge_nuke import node as buttons

    node, _ = wired
    take = made()
    mark(take, text="too thick")
    buttons.newer(node)
    nuke.scriptSaveAs(tmp_path / "shot_010.nk", 1)
    nuke.scriptOpen(tmp_path / "shot_010.nk")
    node = nuke.toNode("Platebridge")
    mark(take, text="approved, says Blender")
    node["star"].setValue(True)
    buttons.keep_marks(node)
    assert read_take(take).marks == Marks(True, "approved, says Blender") and node["note"].value() == "approved, says Blender"
    mark(take, star=False)
    node["note"].setValue("")
    steps = nuke.Undo.undoSize()
    buttons.keep_marks(node)
    assert read_take(take).marks == Marks(False, "") and node["star"].value() is False and nuke.Undo.undoSize() == steps


def test_a_node_of_an_older_version_keeps_star_and_note_as_its_knobs_hold_them(wired, made):
    from platebridge.takes import Marks, read_take
    from platebridge_nuke import node as buttons

    node, _ = wired
    del node._knobs["star_read"], node._knobs["note_read"]
    take = made()
    buttons.newer(node)
    node["note"].setValue("pick")
    buttons.keep_marks(node)
    assert read_take(take).marks == Marks(False, "pick")


def test_effect_or_guide_is_shown_by_a_knob(nuke, wired, made):
    from platebridge_nuke import node as buttons

    node, _ = wired
    node["take"].setValue(made().as_posix())
    node["output"].setValue("effect")
    buttons.show(node)
    assert {"rgba.alpha", "depth.Z"} <= set(node.channels())
    node["output"].setValue("guide")
    buttons.show(node)
    assert "has no guide frames yet. Attach" in node["status"].value()
    assert [read["file"].value().rsplit("/", 1)[1] for read in buttons.make_reads(node)] == ["comp.####.exr", "effect.####.exr"]


def test_a_preset_turns_the_guides_dials_in_one_step_and_leaves_the_model(nuke, wired):
    from platebridge.dials import DIALS
    from platebridge.frames import FrameRange
    from platebridge.presets import PRESETS
    from platebridge_nuke import inputs
    from platebridge_nuke import node as buttons

    node, _ = wired
    node["seed"].setValue(77)
    before = {name: node[name].value() for name in DIALS}
    for preset in PRESETS.values():
        node["preset"].setValue(preset.label)
        steps = nuke.Undo.undoSize()
        buttons.use_preset(node)
        assert {name: inputs.dial_value(node, name, FrameRange(1, 1)) for name in preset.dials} == preset.dials
        assert node["seed"].value() == 77 and nuke.Undo.undoSize() == steps + 1
        nuke.Undo.undo()
        assert {name: node[name].value() for name in DIALS} == before


def test_a_preset_turns_a_dial_that_has_keys_or_an_expression_over_the_whole_shot(nuke, wired):
    from platebridge.frames import FrameRange
    from platebridge_nuke import inputs
    from platebridge_nuke import node as buttons

    node, _ = wired
    node["amount"].curves = {0: lambda frame: frame / 1001}
    node["debris"].expression = lambda frame: 7
    node["preset"].setValue("Brick")
    buttons.use_preset(node)
    assert [inputs.dial_value(node, name, FrameRange(1001, 1004)) for name in ("amount", "debris")] == [1.0, 220]
    nuke.Undo.undo()
    assert node["amount"].isAnimated() and node["debris"].value() == 7


def test_a_new_take_brings_its_own_star_and_note(nuke, wired, made, serve):
    from platebridge.takes import mark
    from platebridge_nuke import node as buttons

    node, _ = wired
    mark(made(seed=1), True, "the good one")
    buttons.newer(node)
    node["connection"].setValue(str(serve().connection))
    job = buttons.generate(node)
    finish(nuke, job)
    assert job.error is None and (node["star"].value(), node["note"].value()) == (False, "")


def test_a_take_that_ends_before_its_first_frame_leaves_the_one_that_was_shown(nuke, wired, made, serve):
    from platebridge.takes import mark
    from platebridge_nuke import node as buttons

    node, _ = wired
    take = made(seed=1)
    mark(take, True, "the good one")
    buttons.newer(node)
    server = serve()
    server.hold(1001)
    node["connection"].setValue(str(server.connection))
    job = buttons.generate(node)
    until(nuke, lambda: job.take is not None)
    assert node["take"].value() == job.take.as_posix() and node["result_file"].value() == ""
    buttons.cancel(node)
    finish(nuke, job)
    server.let_go(1001)
    assert job.error.code == "cancelled" and not job.take.exists()
    assert node["take"].value() == take.as_posix() and node["result_file"].value() == take.as_posix() + "/comp.####.exr"
    assert (node["star"].value(), node["note"].value()) == (True, "the good one") and "ancelled" in node["status"].value()


def test_knobs_with_keys_or_an_expression_are_sent_as_curves_in_the_commands_own_form(nuke, wired, serve):
    from platebridge.request import from_dict
    from platebridge.takes import read_take
    from platebridge_nuke import node as buttons

    node, _ = wired
    node["amount"].curves = {0: lambda frame: (frame - 1001) / 3 * 2}
    node["wind"].expression = lambda frame: 5.0  # the same at every frame: no curve
    node["tint"].curves = {part: (lambda frame, part=part: 0.25 * (part + 1) if frame < 1003 else 0.5) for part in range(3)}
    node["connection"].setValue(str(serve().connection))
    job = buttons.generate(node)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None
    request = from_dict(read_take(job.take).document["request"])
    typed = request.with_dials({"amount": "1001:0,1004:2", "tint": "1001:0.25,0.5,0.75;1002:0.25,0.5,0.75;1003:0.5,0.5,0.5", "wind": 5})
    assert request.dial_values() == typed.dial_values() and request.guide.wind == 5.0
    node["take"].setValue("")
    buttons.list_takes(node)
    node["amount"].curves = None
    second = buttons.generate(node)
    finish(nuke, second)
    node["take"].setValue("")
    buttons.list_takes(node)
    assert node["takes_text"].value().split("\n")[1] == "☆ take_0002: amount 1"


def test_a_grey_colour_which_nuke_gives_as_one_number_is_a_colour(wired):
    from platebridge.frames import FrameRange
    from platebridge_nuke import inputs

    node, _ = wired
    node["tint"].setValue([0.5, 0.5, 0.5])
    assert node["tint"].value() == 0.5 and inputs.dial_value(node, "tint", FrameRange(1, 2)) == (0.5, 0.5, 0.5)


def test_a_dial_that_cannot_change_over_a_shot_says_why(nuke, wired, tmp_path):
    from platebridge_nuke import node as buttons

    node, _ = wired
    node["seed"].curves = {0: lambda frame: frame}
    assert buttons.generate(node) is None
    assert "Seed can't be animated: the noise is drawn once" in node["status"].value()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("dial", ["debris", "amount"])
def test_an_expression_that_gives_no_number_at_a_frame_is_refused_in_a_sentence(wired, dial, value):
    """100/(frame-1001), at 1001."""
    from platebridge_nuke import node as buttons

    node, _ = wired
    node[dial].expression = lambda frame: value if frame == 1001 else 1.0
    assert buttons.generate(node) is None
    assert "%s = %s is out of range" % (dial, value) in node["status"].value()


def test_a_knob_of_single_floats_gives_what_was_typed():
    from platebridge_nuke.inputs import as_typed

    assert [as_typed(float(np.float32(value))) for value in (0.3, 0.1, 1.4, -2.0, 1e-5)] == [0.3, 0.1, 1.4, -2.0, 1e-5]
    assert as_typed(0.1234567890123) == 0.1234567890123


@pytest.mark.parametrize("button", ["show", "keep_marks", "attach", "make_reads", "cancel", "older"])
def test_a_button_with_nothing_to_do_says_so(nuke, wired, button):
    from platebridge_nuke import node as buttons

    node, _ = wired
    assert getattr(buttons, button)(node) is None
    assert node["status"].value().startswith(("No take is named. Name one", "Nothing is under way", "There is no take yet"))


@pytest.mark.parametrize("button", ["show", "make_reads", "attach", "keep_marks"])
def test_a_take_that_cant_be_looked_at_is_said_in_a_sentence(wired, button):
    from platebridge_nuke import node as buttons

    node, _ = wired
    node["take"].setValue("/" + "x" * 300)
    assert getattr(buttons, button)(node) is None
    assert "ame too long" in node["status"].value()


@pytest.mark.parametrize("place", ["a#1", "b [v2]", "c%04d"])
def test_a_take_under_a_path_that_nuke_reads_otherwise_is_neither_shown_nor_gone_on_with(nuke, wired, made, tmp_path, place):
    from platebridge_nuke import node as buttons

    node, _ = wired
    made(), made(finished=False)
    shot = (tmp_path / "takes").rename(tmp_path / place) / "shot_010"
    for button, take in ((buttons.show, "take_0001"), (buttons.make_reads, "take_0001"), (buttons.attach, "take_0002")):
        node["take"].setValue((shot / take).as_posix())
        node["status"].setValue("")
        assert button(node) is None
        assert "in it, which Nuke does not read as it is. Move the take" in node["status"].value()
    assert node["result_file"].value() == "" and len(nuke._script) == 4
