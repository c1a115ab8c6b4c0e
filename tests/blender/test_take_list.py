# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of takes and what is done with one: read from real folders, shown, compared, its dials taken back, thrown away."""

from __future__ import annotations

import json
import shutil
import threading

import bpy
import numpy as np
import pytest
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs
from platebridge.takes import list_takes, read_take


@pytest.fixture
def made(scene, tmp_path, write_exr):
    """made(finished=True, **dials): a take of the shot on the disk, as any program leaves it; gives its folder."""

    def make(finished=True, **dials):
        shot = tmp_path / "takes" / "shot"
        folder = shot / ("take_%04d" % (1 + len(list(shot.glob("take_*")))))
        for frame in (1001, 1002, 1003):
            write_exr(folder / ("comp.%d.exr" % frame), np.full((36, 64, 3), frame / 1000), "RGB", True)
        request = GenerateRequest("shot", FrameRange(1001, 1003), Inputs()).with_dials(dials)
        tree = {"take_id": "%032x" % int(folder.name[-4:]), "request": request.to_dict(), "seconds": {"total": 31.4}, "files": {}}
        (folder / ("take.json" if finished else "unfinished.json")).write_text(json.dumps(tree))
        return folder

    return make


def rows():
    return list(bpy.context.window_manager.platebridge_takes)


def choose(name):
    bpy.context.window_manager.platebridge_take = [row.name for row in rows()].index(name)


def visible(scene):
    return [strip.name for strip in scene.sequence_editor.strips if not strip.mute and "take" in strip.get("platebridge", {})]


def test_takes_are_listed_newest_first_with_what_differs(made):
    made(seed=7), made(seed=8), made(seed=8, amount=1.4, tint=(0.1, 0.2, 0.3)), made(finished=False, seed=8)
    assert bpy.ops.platebridge.refresh_takes() == {"FINISHED"}
    assert [(row.name, row.differs) for row in rows()] == [
        ("take_0004", "amount 1, tint 0.62/0.56/0.5"),
        ("take_0003", "amount 1.4, tint 0.1/0.2/0.3"),
        ("take_0002", "seed 8"),
        ("take_0001", "seed 7"),
    ]
    assert [row.told for row in rows()][:2] == ["dust, unfinished", "dust, 3 frames, 31 s"]


def test_who_looks_at_an_older_take_goes_on_looking_at_it(made):
    made(), made()
    bpy.ops.platebridge.refresh_takes()
    choose("take_0001")
    made()
    bpy.ops.platebridge.refresh_takes()
    assert rows()[bpy.context.window_manager.platebridge_take].name == "take_0001"
    choose("take_0003")
    made()
    bpy.ops.platebridge.refresh_takes()
    assert rows()[bpy.context.window_manager.platebridge_take].name == "take_0004"


def test_a_folder_that_is_no_take_of_ours_is_left_out(made, tmp_path):
    made()
    (tmp_path / "takes" / "shot" / "take_0009").mkdir()
    bpy.ops.platebridge.refresh_takes()
    assert [row.name for row in rows()] == ["take_0001"]


def test_star_and_note_go_to_the_disk_and_come_back(made):
    folder = made()
    bpy.ops.platebridge.refresh_takes()
    rows()[0].star, rows()[0].text = True, "edge at the left"
    assert (read_take(folder).marks.star, read_take(folder).marks.text) == (True, "edge at the left")
    bpy.context.window_manager.platebridge_takes.clear()
    bpy.ops.platebridge.refresh_takes()
    assert (rows()[0].star, rows()[0].text) == (True, "edge at the left")


def read_to_its_end():
    """The list is read on a thread."""
    for thread in threading.enumerate():
        if thread.name == "platebridge takes":
            thread.join()


def test_a_star_leaves_the_note_that_nuke_wrote_since_the_list_was_read(made):
    from platebridge.takes import mark

    folder = made()
    bpy.ops.platebridge.refresh_takes()
    mark(folder, text="from Nuke")
    rows()[0].star = True
    assert (read_take(folder).marks.star, read_take(folder).marks.text) == (True, "from Nuke")


@pytest.mark.parametrize("what", ["star", "throw away"])
def test_what_was_read_before_a_button_was_pressed_is_not_shown_after_it(made, scene, monkeypatch, what):
    """The list is read on a thread: it may have looked before, and be heard after."""
    from blender_addon import runner, take_list

    made(), made()
    bpy.ops.platebridge.refresh_takes()
    take_list.look(scene)
    read_to_its_end()
    if what == "star":
        rows()[0].star = True
    else:
        bpy.ops.platebridge.throw_take_away()
    monkeypatch.setattr(runner, "_shown", [])  # no job has begun or ended meanwhile: that would be another look
    runner._takes_to_come = True
    for _ in range(500):
        if runner._tick() is None:
            break
        assert rows()[0].star if what == "star" else len(rows()) == 1
        read_to_its_end()
    assert not runner._takes_to_come and (rows()[0].star if what == "star" else len(rows()) == 1)


def test_a_shot_without_a_folder_is_not_given_the_takes_that_were_still_being_read(made, scene):
    from blender_addon import take_list, take_rows

    made()
    take_rows.look(take_list.shot_folder(scene))
    take_rows.look(None)
    heard = None
    for _ in range(500):
        heard = take_rows.heard()
        if heard is not None:
            break
        read_to_its_end()
    assert heard == []


def test_a_star_that_cant_be_kept_is_said_in_the_panel(made):
    from blender_addon import runner

    folder = made()
    bpy.ops.platebridge.refresh_takes()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    rows()[0].star = True
    assert "does not exist any more" in runner.trouble
    bpy.ops.platebridge.refresh_takes()
    assert runner.trouble == "" and rows() == []


def test_one_take_is_shown_and_two_are_compared_back_and_forth(made, scene):
    made(), made(seed=1), made(seed=2)
    bpy.ops.platebridge.refresh_takes()
    for name in ("take_0001", "take_0003"):
        choose(name)
        assert bpy.ops.platebridge.show_take() == {"FINISHED"}
    assert visible(scene) == ["shot take 0003 comp"]
    assert bpy.ops.platebridge.compare_takes() == {"FINISHED"} and visible(scene) == ["shot take 0001 comp"]
    assert bpy.ops.platebridge.compare_takes() == {"FINISHED"} and visible(scene) == ["shot take 0003 comp"]
    choose("take_0001")
    bpy.ops.platebridge.show_take()  # it stands there already: no second strip
    assert len(scene.sequence_editor.strips) == 2 and visible(scene) == ["shot take 0001 comp"]


def test_there_is_nothing_to_compare_one_take_with(made, scene):
    made()
    bpy.ops.platebridge.refresh_takes()
    bpy.ops.platebridge.show_take()
    with pytest.raises(RuntimeError, match="no second take to compare with"):
        bpy.ops.platebridge.compare_takes()


def test_dials_of_a_take_go_back_onto_the_scene(made, scene):
    made(amount=1.7, seed=11, quality="draft")
    bpy.ops.platebridge.refresh_takes()
    assert bpy.ops.platebridge.copy_dials() == {"FINISHED"}
    values = scene.platebridge.dials.values()
    assert (values["amount"], values["seed"], values["quality"]) == (1.7, 11, "draft")


def test_a_take_that_is_thrown_away_leaves_the_timeline_and_lies_in_the_trash(made, scene, tmp_path):
    made(), made()
    bpy.ops.platebridge.refresh_takes()
    choose("take_0002")
    bpy.ops.platebridge.show_take()
    assert bpy.ops.platebridge.throw_take_away() == {"FINISHED"}
    assert visible(scene) == [] and [row.name for row in rows()] == ["take_0001"]
    shot = tmp_path / "takes" / "shot"
    assert [take.path.name for take in list_takes(shot)] == ["take_0001"]
    assert (shot / "trash" / "take_0002" / "comp.1003.exr").is_file()


def test_show_in_a_copied_scene_leaves_the_other_scene_alone(made, scene):
    made(), made()
    bpy.ops.platebridge.refresh_takes()
    for name in ("take_0001", "take_0002"):
        choose(name)
        bpy.ops.platebridge.show_take()
    bpy.ops.scene.new(type="FULL_COPY")
    copy = bpy.context.window.scene
    choose("take_0001")
    assert copy != scene and bpy.ops.platebridge.show_take() == {"FINISHED"}
    assert (visible(copy), visible(scene)) == (["shot take 0001 comp"], ["shot take 0002 comp"])


def test_a_take_or_sheet_that_somebody_moved_away_is_said(made):
    folder = made()
    bpy.ops.platebridge.refresh_takes()
    rows()[0].sheet = str(folder / "sheet.png")
    shutil.rmtree(folder)
    with pytest.raises(RuntimeError, match=r"There is no folder .*take_0001 any more. Press Refresh Takes"):
        bpy.ops.platebridge.open_take_folder()
    for button in (bpy.ops.platebridge.copy_dials, bpy.ops.platebridge.take_to_compositor):
        with pytest.raises(RuntimeError, match="take_0001 is no take"):
            button()
    with pytest.raises(RuntimeError, match=r"The sheet can't be read .*Press Refresh Takes"):
        bpy.ops.platebridge.open_sheet()


def test_without_a_chosen_take_the_buttons_are_off(scene):
    bpy.ops.platebridge.refresh_takes()
    assert not bpy.ops.platebridge.copy_dials.poll() and not bpy.ops.platebridge.throw_take_away.poll()


def test_a_tab_that_shows_another_scene_offers_that_scene_s_takes(made, scene):
    """5.x's sequencer and 3-D view may show different scenes; there is one list."""
    from blender_addon import runner, take_list

    made(seed=7)
    bpy.ops.platebridge.refresh_takes()
    assert take_list.is_of(scene) and take_list.selected(bpy.context).name == "take_0001"
    other = bpy.data.scenes.new("Other")
    other.platebridge.shot, other.platebridge.take_root = "other", scene.platebridge.take_root
    bpy.context.window.scene = other
    assert not take_list.is_of(other) and take_list.selected(bpy.context) is None
    assert not bpy.ops.platebridge.throw_take_away.poll()
    runner._read_takes_again()  # after undo: what is listed stays the first scene's
    assert [row.name for row in rows()] == ["take_0001"] and take_list.is_of(scene)
    bpy.ops.platebridge.refresh_takes()
    assert rows() == [] and take_list.is_of(other) and not take_list.is_of(scene)


def test_takes_of_a_job_are_listed_for_the_scene_that_it_is_for(made, scene, monkeypatch):
    import types

    from blender_addon import runner, take_list, versions

    folder = made(seed=7)
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    job = types.SimpleNamespace(finished=True, take_path=folder, scene=versions.session_id(scene))
    monkeypatch.setattr(runner, "jobs", [job])
    while runner._tick() is not None:
        read_to_its_end()
    assert [row.name for row in rows()] == ["take_0001"] and take_list.is_of(scene)


def test_undo_has_no_say_in_the_list(made, scene):
    made()
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.platebridge.refresh_takes()
    rows()[0].star = True
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    assert [row.star for row in rows()] == [True]


def test_a_damaged_take_is_left_out_alone(made):
    made(), (made() / "take.json").write_text("{"), made()
    bpy.ops.platebridge.refresh_takes()
    assert [row.name for row in rows()] == ["take_0003", "take_0001"]


def test_while_a_job_is_under_way_takes_are_read_off_the_main_thread_and_once(made, monkeypatch):
    from blender_addon import runner, take_rows

    made(), made()
    readers = []
    read = take_rows.read_take
    monkeypatch.setattr(take_rows, "read_take", lambda path: readers.append((path.name, threading.current_thread())) or read(path))
    for shown in (2, 3):
        runner._shown = None  # as when a take was begun or has ended
        while runner._tick() is not None:
            read_to_its_end()
        assert len(rows()) == shown
        made(amount=1.5)
    assert [name for name, _ in readers] == ["take_0001", "take_0002", "take_0003"]
    assert threading.main_thread() not in [thread for _, thread in readers]


def test_takes_survive_another_name_of_the_blend_and_another_place_of_the_project(made, scene, tmp_path):
    project = tmp_path / "project"
    scene.platebridge.take_root, scene.platebridge.shot = "//takes/", "shot"
    made(seed=7), made(seed=8)
    project.mkdir()
    (tmp_path / "takes").rename(project / "takes")
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "shot.blend"))
    bpy.ops.platebridge.refresh_takes()
    choose("take_0001")
    assert bpy.ops.platebridge.show_take() == {"FINISHED"}
    bpy.ops.wm.save_mainfile()
    elsewhere = tmp_path / "another disk"
    project.rename(elsewhere)
    (elsewhere / "shot.blend").rename(elsewhere / "final_v02.blend")

    bpy.ops.wm.open_mainfile(filepath=str(elsewhere / "final_v02.blend"))
    scene = bpy.context.scene
    assert [(row.name, row.folder) for row in rows()] == [
        (name, str(elsewhere / "takes" / "shot" / name)) for name in ("take_0002", "take_0001")
    ]
    assert visible(scene) == ["shot take 0001 comp"]
    strip = scene.sequence_editor.strips["shot take 0001 comp"]
    assert bpy.path.abspath(strip.directory).rstrip("/") == str(elsewhere / "takes" / "shot" / "take_0001")
    choose("take_0002")
    assert bpy.ops.platebridge.show_take() == {"FINISHED"}
    assert visible(scene) == ["shot take 0002 comp"] and bpy.ops.platebridge.compare_takes() == {"FINISHED"}
    assert visible(scene) == ["shot take 0001 comp"]


def test_the_lists_filter_searches_dials_model_and_notes(made):
    from types import SimpleNamespace

    from blender_addon.panel import PLATEBRIDGE_UL_takes

    made(seed=7), made(seed=8), made(seed=8, amount=1.4)
    bpy.ops.platebridge.refresh_takes()
    rows()[2].text = "the director's favourite"

    def found(text):
        shown = SimpleNamespace(filter_name=text, bitflag_filter_item=1)
        flags, _ = PLATEBRIDGE_UL_takes.filter_items(shown, bpy.context, bpy.context.window_manager, "platebridge_takes")
        return [row.name for row, flag in zip(rows(), flags or [1] * len(rows())) if flag]

    assert found("amount") == ["take_0003"] and found("SEED 8") == ["take_0002"]
    assert found("favourite") == ["take_0001"] and found("fog") == [] and len(found("")) == 3
