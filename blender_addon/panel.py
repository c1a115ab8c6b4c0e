# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab: Generate and what is under way, shot, guide, takes, server. Draws what is there; decides nothing, reads no disk.

Errors stay here until the next press. In the sequencer and the 3-D view alike.
"""

import bpy

from . import asking, dependencies, pictures, preferences, presets, runner, take_list, versions, wedges
from .layout import sentence
from .settings import DIALS

_FIRST = [name for name, dial in DIALS.items() if dial.first_row and dial.path.startswith("guide.")]
_REST = [name for name, dial in DIALS.items() if not dial.first_row and dial.path.startswith("guide.")]
_MODEL = [name for name, dial in DIALS.items() if dial.path.startswith("model.")]
_PAINT = [name for name, dial in DIALS.items() if dial.path.startswith("paint.")]


class _Panel:
    bl_region_type = "UI"
    bl_category = "Platebridge"
    inside = None  # the panel that it folds out of

    @classmethod
    def poll(cls, context):
        return versions.editing_scene(context) is not None

    def column(self, context):
        """(settings, a column with names at the left)."""
        self.layout.use_property_split, self.layout.use_property_decorate = True, False
        return versions.editing_scene(context).platebridge, self.layout.column()


class _GeneratePanel(_Panel):
    bl_label = "Generate"

    def draw(self, context):
        shot, column = self.column(context)
        absent = dependencies.missing()
        if absent:
            sentence(column, absent, "ERROR")
            return
        if getattr(context, "sequencer_scene", None) not in (None, context.scene):
            sentence(column, "Scene %s" % shot.id_data.name, "SCENE_DATA")
        row = column.row(align=True)
        row.prop(shot, "model")
        row.menu("PLATEBRIDGE_MT_models", text="", icon="DOWNARROW_HLT")
        card = asking.card(shot.model)
        if card is not None:
            if asking.absent(card):
                sentence(column, asking.absent(card), "ERROR")
            sentence(column, "%s. Trained on: %s" % (card.get("licence", "Licence unknown"), card.get("trained_on", "not said")), "INFO")
        for name in _MODEL:
            column.prop(shot.dials, name)
        column.prop(shot, "output")
        under_way = [job for job in runner.jobs if not job.finished]
        if not under_way:
            big = column.column()
            big.scale_y = 1.5
            big.operator("platebridge.generate", icon="PLAY")
            row = column.row(align=True)
            row.operator("platebridge.preview_guide", icon="HIDE_OFF")
            row.operator("platebridge.wedge", icon="MOD_ARRAY")
            row = column.row(align=True)
            row.operator("platebridge.capture")
            row.operator("platebridge.attach")
        at_work = [job for job in under_way if job.phase != "queued"][:2] or under_way[:1]
        for job in at_work:
            _draw_job(column, job)
        waiting = len(under_way) - len(at_work)
        if waiting:  # the others of a wedge
            sentence(column, "1 more take waits its turn" if waiting == 1 else "%d more takes wait their turn" % waiting, "TIME")
        if under_way:
            column.operator("platebridge.cancel", icon="CANCEL")
        if runner.trouble:
            sentence(column, runner.trouble, "ERROR")
        over = [job for job in runner.jobs if job.finished]
        for job in [job for job in over if job.error is not None] or over[-1:]:
            icon = "CHECKMARK" if job.error is None else "CANCEL" if getattr(job.error, "code", "") == "cancelled" else "ERROR"
            sentence(column, job.sentence, icon)
        for note in dict.fromkeys(note for job in runner.jobs for note in job.notes):  # a wedge's takes say the same
            sentence(column, note, "DOT")


class _PaintPanel(_Panel):
    bl_label = "Painting"
    inside = _GeneratePanel
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        shot, column = self.column(context)
        card = asking.card(shot.model)
        if card is not None and card.get("kind") != "picture":
            sentence(column, "%s paints no picture: these wait for a model that does" % shot.model, "INFO")
        for name in _PAINT:
            column.prop(shot.dials, name)
        column.prop(shot, "reference_file")


def _draw_job(column, job):
    left = job.seconds_left
    column.progress(factor=job.done / job.total if job.total else 0.0, text=job.sentence + (", %s left" % _time(left) if left else ""))
    if job.preview is not None and pictures.formed:
        column.template_icon(pictures.formed, scale=8.0)


def _time(seconds):
    return "%d s" % (seconds + 1) if seconds < 90 else "%d min" % round(seconds / 60)


class _ShotPanel(_Panel):
    bl_label = "Shot"

    def draw(self, context):
        shot, column = self.column(context)
        scene = versions.editing_scene(context)
        if shot.plate_source == "RENDER" and shot.mask_collection is None:  # nothing is set up yet; later it stands in the menus
            column.operator("platebridge.new_live_action_shot", icon="FILE_MOVIE")
        column.prop(shot, "shot")
        column.prop(shot, "take_root")
        column.prop(shot, "use_scene_range")
        if not shot.use_scene_range:
            column.prop(shot, "frame_first")
            column.prop(shot, "frame_last")
        column.separator()
        column.prop(shot, "plate_source")
        editor = scene.sequence_editor
        for which in ("plate", "depth", "mask", "vectors"):
            if which != "plate":
                column.prop(shot, which + "_source")
            source = getattr(shot, which + "_source")
            if source == "FILES":
                column.prop(shot, which + "_files", text="Files")
            elif source == "STRIP" and editor is None:
                sentence(column, "%s has no strips yet" % scene.name, "INFO")
            elif source == "STRIP":
                where = "strips" if hasattr(editor, "strips") else "sequences"
                column.prop_search(shot, which + "_strip", editor, where, text="Strip")
            elif source == "COLLECTION":
                column.prop(shot, "mask_collection", text="Collection")
            elif source == "CLIP":
                column.prop(shot, "plate_clip", text="Clip")
            elif source == "MASK":
                column.prop(shot, "mask_datablock", text="Mask")
            if which == "mask" and source in ("STRIP", "FILES"):
                column.prop(shot, "mask_channel", text="Is In")
            if which == "depth" and source == "RENDER":
                sentence(column, "Depth is Z, along the camera's axis", "BLANK1")
            elif which == "depth":
                column.prop(shot, "depth_kind")
                column.prop(shot, "depth_scale")
        column.prop(shot, "camera_source")
        column.prop(shot, "recapture")


class _GuidePanel(_Panel):
    bl_label = "Guide"

    def draw(self, context):
        shot, column = self.column(context)
        presets.draw_presets(column)
        column.use_property_decorate = True  # the dots that keyframes are set with
        for name in _FIRST:
            column.prop(shot.dials, name)


class _PresetsPanel(_Panel):
    bl_label = "Presets"
    inside = _GuidePanel
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        presets.draw_pictures(self.layout)


class _MorePanel(_Panel):
    bl_label = "More Dials"
    inside = _GuidePanel
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        shot, column = self.column(context)
        column.use_property_decorate = True
        for name in _REST:
            column.prop(shot.dials, name)
        column.use_property_decorate = False
        column.prop(shot, "guide_files")
        column.prop(shot, "bad_pixels")


class PLATEBRIDGE_UL_takes(bpy.types.UIList):
    """The shot's takes, the newest first: star, number, and what differs from the take before. The filter searches all that they say"""

    def filter_items(self, context, data, propname):
        words = self.filter_name.lower().split()
        if not words:
            return [], []
        told = [" ".join((row.name, row.differs, row.told, row.text)).lower() for row in getattr(data, propname)]
        return [self.bitflag_filter_item if all(word in text for word in words) else 0 for text in told], []

    def draw_item(self, context, layout, data, row, icon, active_data, active_property, index=0, flt_flag=0):
        line = layout.row(align=True)
        if row.heading:
            line.label(text="%s  %s" % (row.name, row.differs), icon="MOD_ARRAY")
            return
        if row.wedge:
            line.label(text="", icon="BLANK1")
        line.prop(row, "star", text="", emboss=False, icon="SOLO_ON" if row.star else "SOLO_OFF")
        line.label(text=row.name.replace("take_", ""), icon_value=pictures.of_file(row.path / "preview.mp4") if row.finished else 0)
        line.label(text=row.differs)
        from . import timeline  # needs the client, without which the extension registers all the same

        stands = [strip for strip in timeline.take_strips(versions.editing_scene(context)) if strip[timeline.TAG]["take"] == row.take_id]
        seen = any(not strip.mute for strip in stands)
        line.label(text="", icon="BLANK1" if not stands else "HIDE_OFF" if seen else "HIDE_ON")


class _TakesPanel(_Panel):
    bl_label = "Takes"

    def draw(self, context):
        _, column = self.column(context)
        manager, scene = context.window_manager, versions.editing_scene(context)
        if take_list.is_of(scene):
            row = column.row()
            row.template_list("PLATEBRIDGE_UL_takes", "", manager, "platebridge_takes", manager, "platebridge_take", rows=4)
            side = row.column(align=True)
            side.operator("platebridge.refresh_takes", text="", icon="FILE_REFRESH")
            side.operator("platebridge.open_take_folder", text="", icon="FILE_FOLDER")
            side.operator("platebridge.throw_take_away", text="", icon="TRASH")
        else:
            column.operator("platebridge.refresh_takes", text="List the Takes of %s" % scene.name, icon="FILE_REFRESH")
        chosen = take_list.selected(context)
        if take_list.chosen_row(context) is not None:
            wedges.draw_sheet(column, context)
        if chosen is not None:
            number = pictures.of_file(chosen.path / "preview.mp4") if chosen.finished else 0
            if number:
                column.template_icon(number, scale=8.0)
            under_way = any(not job.finished and job.take_path == chosen.path for job in runner.jobs)
            sentence(column, chosen.told.replace("unfinished", "under way") if under_way else chosen.told, "FILE_MOVIE")
            column.prop(chosen, "text")
            row = column.row(align=True)
            if chosen.finished:
                row.operator("platebridge.show_take", icon="HIDE_OFF")
            else:
                again = row.row(align=True)
                again.enabled = not under_way
                again.operator("platebridge.attach", text="Go On", icon="PLAY").take = chosen.folder
            row.operator("platebridge.compare_takes", icon="ARROW_LEFTRIGHT")
            row.operator("platebridge.copy_dials", icon="COPYDOWN")
        row = column.row(align=True)
        row.operator("platebridge.take_to_compositor", icon="NODE_COMPOSITING")
        if versions.has_compositor_modifier():
            row.operator("platebridge.take_onto_plate", icon="MODIFIER")
        row = column.row(align=True)
        row.operator("platebridge.another_angle", icon="CAMERA_DATA")
        row.operator("platebridge.load_take", icon="IMPORT")
        if dependencies.missing():
            return
        from . import timeline

        seen = timeline.seen_take(scene)
        faults = timeline.what_keeps_it_from_exact(scene, seen) if seen is not None else []
        for fault in faults:
            sentence(column, "Not exact: %s" % fault, "DOT")
        if faults:
            column.operator("platebridge.exact_timeline")


class _ServerPanel(_Panel):
    bl_label = "Server"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        shot, column = self.column(context)
        if dependencies.missing():
            return
        preferences.draw_server(column)
        column.prop(shot, "connection")


def _in(space, short):
    """The panels for one editor."""
    made = []
    named = {}
    for base in (_GeneratePanel, _PaintPanel, _TakesPanel, _ShotPanel, _GuidePanel, _PresetsPanel, _MorePanel, _ServerPanel):
        identifier = named[base] = "PLATEBRIDGE_PT_%s_%s" % (short, base.__name__.strip("_").replace("Panel", "").lower())
        own = {"bl_idname": identifier, "bl_space_type": space, "__doc__": base.bl_label}
        if base.inside is not None:
            own["bl_parent_id"] = named[base.inside]
        made.append(type(identifier, (base, bpy.types.Panel), own))
    return made


PANELS = (*_in("SEQUENCE_EDITOR", "sequencer"), *_in("VIEW_3D", "view"))
CLASSES = (PLATEBRIDGE_UL_takes, *PANELS)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
