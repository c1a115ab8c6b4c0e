# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar: every panel draws, and names only properties and operators that there are. (No window here: a stand-in layout checks.)"""

from __future__ import annotations

import types

import bpy
import pytest


class Layout:
    """Refuses what Blender's layout refuses: properties and operators that don't exist, progress outside 0 to 1."""

    def __init__(self, said=None):
        self.said = [] if said is None else said

    def column(self, align=False, **_):
        return Layout(self.said)

    row = box = grid_flow = column

    def separator(self):
        pass

    def prop(self, owner, name, **_):
        assert name in owner.bl_rna.properties, name
        self.said.append(name)

    def prop_search(self, owner, name, where, collection, **_):
        assert name in owner.bl_rna.properties and collection in where.bl_rna.properties
        self.said.append(name)

    def operator(self, name, **_):
        kind = getattr(bpy.ops.platebridge, name.partition(".")[2]).get_rna_type()
        self.said.append(name)
        return Properties(kind)

    def menu(self, name, **_):
        assert issubclass(getattr(bpy.types, name), bpy.types.Menu)

    def template_list(self, kind, _, data, rows_name, active_data, active_name, **__):
        assert issubclass(getattr(bpy.types, kind), bpy.types.UIList)
        assert rows_name in data.bl_rna.properties and active_name in active_data.bl_rna.properties
        draw_item = getattr(bpy.types, kind).draw_item
        for row in getattr(data, rows_name):
            draw_item(None, bpy.context, self, data, row, 0, active_data, active_name)

    def template_icon(self, number, scale=1.0):
        assert number

    def progress(self, factor, text):
        assert 0 <= factor <= 1
        self.said.append(text)

    def label(self, text, **_):
        self.said.append(text)


class Properties:
    """An operator's properties in a layout: only those that there are can be set."""

    def __init__(self, kind):
        object.__setattr__(self, "kind", kind)

    def __setattr__(self, name, value):
        assert name in self.kind.properties, name


def drawn(panel):
    """What a panel shows."""
    stand_in = types.SimpleNamespace(layout=Layout())
    stand_in.column = types.MethodType(panel.column, stand_in)
    panel.draw(stand_in, bpy.context)
    return stand_in.layout.said


@pytest.fixture
def panels(scene):
    from blender_addon import panel

    return {cls.bl_label: cls for cls in panel.PANELS if cls.bl_space_type == "SEQUENCE_EDITOR"}


def test_every_panel_draws_in_both_editors(scene):
    from blender_addon import panel

    assert len(panel.PANELS) == 16
    for cls in panel.PANELS:
        assert drawn(cls), cls.bl_idname


def test_every_dial_is_shown_once(panels):
    from platebridge.dials import DIALS

    labels = ("Guide", "More Dials", "Generate", "Painting")
    assert sorted(name for label in labels for name in drawn(panels[label]) if name in DIALS) == sorted(DIALS)


def test_shot_shows_what_its_sources_need(panels, scene):
    scene.sequence_editor_create()
    settings = scene.platebridge
    settings.plate_source, settings.depth_source = "STRIP", "FILES"
    shown = drawn(panels["Shot"])
    assert {"plate_strip", "depth_files", "depth_kind", "depth_scale", "mask_collection"} <= set(shown)
    assert not {"plate_files", "mask_files", "frame_first"} & set(shown)


def test_a_strip_is_asked_for_only_where_there_are_strips(panels, scene):
    scene.platebridge.plate_source = "STRIP"
    scene.sequence_editor_clear()
    assert "Scene has no strips yet" in drawn(panels["Shot"]) and "plate_strip" not in drawn(panels["Shot"])
    scene.sequence_editor_create()
    assert "plate_strip" in drawn(panels["Shot"])


def test_a_tick_draws_the_sidebar_of_a_3_d_view_and_not_its_scene(addon, monkeypatch):
    from blender_addon import runner

    told = []
    regions = [types.SimpleNamespace(type=kind, tag_redraw=lambda kind=kind: told.append(kind)) for kind in ("WINDOW", "UI")]
    area = types.SimpleNamespace(type="VIEW_3D", regions=regions, tag_redraw=lambda: told.append("all"))
    manager = types.SimpleNamespace(windows=[types.SimpleNamespace(screen=types.SimpleNamespace(areas=[area]))])
    monkeypatch.setattr(runner, "_show_takes", lambda: None)
    monkeypatch.setattr(runner, "bpy", types.SimpleNamespace(context=types.SimpleNamespace(window_manager=manager)))
    runner._tick()
    assert told == ["UI"]


def test_job_under_way_can_be_cancelled_and_its_error_stays(panels, monkeypatch):
    from blender_addon import runner

    job = types.SimpleNamespace(
        phase="generating", finished=False, done=2, total=4, sentence="Generating 2/4", notes=["The depth has holes."], error=None,
        seconds_left=61.2, preview=None,
    )
    monkeypatch.setattr(runner, "jobs", [job])
    shown = drawn(panels["Generate"])
    assert "Generating 2/4, 62 s left" in shown and "platebridge.cancel" in shown and "platebridge.generate" not in shown
    assert "The depth has holes." in shown
    job.finished, job.error, job.sentence = True, ValueError(), "mask: The mask is empty."
    shown = drawn(panels["Generate"])
    assert "mask: The mask is empty." in shown and "platebridge.generate" in shown


def test_a_tab_of_another_scene_than_the_listed_takes_has_a_button_in_their_place(panels, scene):
    bpy.ops.platebridge.refresh_takes()
    assert "platebridge.throw_take_away" in drawn(panels["Takes"])
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    shown = drawn(panels["Takes"])
    assert "platebridge.refresh_takes" in shown and "platebridge.throw_take_away" not in shown


def test_a_take_that_is_being_made_is_not_called_unfinished(panels, scene, monkeypatch):
    import json

    from platebridge.frames import FrameRange
    from platebridge.request import GenerateRequest, Inputs

    from blender_addon import runner, sources

    folder = sources.shot_folder(scene) / "take_0001"
    folder.mkdir(parents=True)
    note = {"take_id": "1" * 32, "request": GenerateRequest("shot", FrameRange(1001, 1003), Inputs()).to_dict()}
    (folder / "unfinished.json").write_text(json.dumps(note))
    bpy.ops.platebridge.refresh_takes()
    assert "dust, unfinished" in drawn(panels["Takes"])
    job = types.SimpleNamespace(finished=False, take_path=folder)
    monkeypatch.setattr(runner, "jobs", [job])
    assert "dust, under way" in drawn(panels["Takes"])
    assert "mask_channel" not in drawn(panels["Shot"])
    scene.platebridge.mask_source = "FILES"
    assert {"mask_files", "mask_channel"} <= set(drawn(panels["Shot"]))
