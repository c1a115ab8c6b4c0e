# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab: shot, guide, Generate, what is under way, takes. Draws what is there; decides nothing, reads no disk.

Errors stay here until the next press. In the sequencer and the 3-D view alike.
"""

import bpy

from . import dependencies, runner, versions
from .settings import DIALS

_FIRST = [name for name, dial in DIALS.items() if dial.first_row]
_REST = [name for name, dial in DIALS.items() if not dial.first_row]


class _Panel:
    bl_region_type = "UI"
    bl_category = "Platebridge"

    @classmethod
    def poll(cls, context):
        return versions.editing_scene(context) is not None

    def column(self, context):
        """(settings, a column with names at the left)."""
        self.layout.use_property_split, self.layout.use_property_decorate = True, False
        return versions.editing_scene(context).platebridge, self.layout.column()


class _ShotPanel(_Panel):
    bl_label = "Shot"

    def draw(self, context):
        shot, column = self.column(context)
        scene = versions.editing_scene(context)
        column.prop(shot, "shot")
        column.prop(shot, "take_root")
        column.prop(shot, "use_scene_range")
        if not shot.use_scene_range:
            column.prop(shot, "frame_first")
            column.prop(shot, "frame_last")
        column.separator()
        column.prop(shot, "plate_source")
        if shot.plate_source == "STRIP" and scene.sequence_editor is not None:
            where = "strips" if hasattr(scene.sequence_editor, "strips") else "sequences"
            column.prop_search(shot, "plate_strip", scene.sequence_editor, where, text="Strip")
        for which in ("plate", "depth", "mask", "vectors"):
            if which != "plate":
                column.prop(shot, which + "_source")
            if getattr(shot, which + "_source") == "FILES":
                column.prop(shot, which + "_files", text="Files")
                if which == "depth":
                    column.prop(shot, "depth_kind")
                    column.prop(shot, "depth_scale")
            elif which == "mask":
                column.prop(shot, "mask_collection", text="Collection")
        column.prop(shot, "camera_source")
        column.prop(shot, "recapture")


class _GuidePanel(_Panel):
    bl_label = "Guide"

    def draw(self, context):
        shot, column = self.column(context)
        for name in _FIRST:
            column.prop(shot.dials, name)


class _MorePanel(_Panel):
    bl_label = "More Dials"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        shot, column = self.column(context)
        for name in _REST:
            column.prop(shot.dials, name)
        column.prop(shot, "guide_files")
        column.prop(shot, "bad_pixels")


class _GeneratePanel(_Panel):
    bl_label = "Generate"

    def draw(self, context):
        shot, column = self.column(context)
        absent = dependencies.missing()
        if absent:
            _sentence(column, absent, "ERROR")
            return
        column.prop(shot, "model")
        column.prop(shot, "output")
        column.prop(shot, "connection")
        job = runner.current()
        if job is None:
            big = column.column()
            big.scale_y = 1.5
            big.operator("platebridge.generate", icon="PLAY")
            row = column.row(align=True)
            row.operator("platebridge.capture")
            row.operator("platebridge.attach")
        else:
            column.progress(factor=job.done / job.total if job.total else 0.0, text=job.sentence)
            column.operator("platebridge.cancel", icon="CANCEL")
        last = runner.jobs[-1] if runner.jobs else None
        if last is not None and last.finished:
            _sentence(column, last.sentence, "INFO" if last.error is None else "ERROR")
        for note in last.notes if last is not None else ():
            _sentence(column, note, "DOT")


class _TakesPanel(_Panel):
    bl_label = "Takes"

    def draw(self, context):
        from . import timeline

        _, column = self.column(context)
        scene = versions.editing_scene(context)
        strips = sorted(timeline.take_strips(scene), key=lambda strip: -strip.channel)
        for strip in strips:
            row = column.row(align=True)
            row.prop(strip, "mute", text="", emboss=False, icon="HIDE_ON" if strip.mute else "HIDE_OFF")
            row.label(text=strip.name)
        column.operator("platebridge.load_take")
        shown = next((strip for strip in strips if not strip.mute), None)
        faults = timeline.what_keeps_it_from_exact(scene, shown) if shown is not None else []
        for fault in faults:
            _sentence(column, "Not exact: %s" % fault, "DOT")
        if faults:
            column.operator("platebridge.exact_timeline")


def _sentence(column, text, icon):
    """A sentence, broken into lines that a sidebar can show."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) > 42:
            lines.append(line)
            line = ""
        line = "%s %s" % (line, word) if line else word
    box = column.column(align=True)
    for number, part in enumerate([*lines, line]):
        box.label(text=part, icon=icon if number == 0 else "BLANK1")


def _in(space, short):
    """The panels for one editor."""
    made = []
    for base in (_GeneratePanel, _ShotPanel, _GuidePanel, _MorePanel, _TakesPanel):
        identifier = "PLATEBRIDGE_PT_%s_%s" % (short, base.__name__.strip("_").replace("Panel", "").lower())
        made.append(type(identifier, (base, bpy.types.Panel), {"bl_idname": identifier, "bl_space_type": space, "__doc__": base.bl_label}))
    return made


CLASSES = (*_in("SEQUENCE_EDITOR", "sequencer"), *_in("VIEW_3D", "view"))


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
