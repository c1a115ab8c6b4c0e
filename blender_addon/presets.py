# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets of the guide: those that ship (platebridge.presets) with a picture each, and the artist's own, kept as Blender keeps presets.

No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

from pathlib import Path

import bpy
from bl_operators.presets import AddPresetBase
from bpy.props import StringProperty

from . import pictures, versions
from .saying import says
from .settings import DIALS

try:
    from platebridge.presets import PRESETS
except ImportError:  # dependencies.missing() tells the artist
    PRESETS = {}

SUBDIR = "platebridge"
THUMBNAILS = Path(__file__).parent / "thumbnails"
#: The scene that is edited, in words that a preset's file can hold; `_seen` makes them mean the one of versions.editing_scene.
_SCENE = "(getattr(bpy.context, 'sequencer_scene', None) or bpy.context.scene)"


def _seen(context):
    """Makes a preset's file mean the scene that is seen: in 5.x's 3-D view that need not be the sequencer's.

    No operator may be called meanwhile, for the reason said in `rendering.in_window`.
    """
    return context.temp_override(sequencer_scene=versions.editing_scene(context))


class PLATEBRIDGE_OT_preset(bpy.types.Operator):
    """Turn the guide's dials to this preset. Model, seed, quality and dials with keyframes or a driver stay"""

    bl_idname = "platebridge.preset"
    bl_label = "Preset"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(name="Preset", description="A preset's name")

    @classmethod
    def description(cls, context, properties):
        preset = PRESETS.get(properties.name)
        return preset.tooltip if preset is not None else cls.__doc__

    @says
    def execute(self, context):
        from platebridge.presets import find

        from . import animated

        scene, preset = versions.editing_scene(context), find(self.name)
        scene.platebridge.dials.set_values(animated.not_animated(scene, preset.dials))
        PLATEBRIDGE_MT_presets.bl_label = preset.label
        _tell(self, scene, preset.dials)
        return {"FINISHED"}


class PLATEBRIDGE_OT_own_preset(bpy.types.Operator):
    """Turn the guide's dials to this preset of your own. Dials with keyframes or a driver stay"""

    bl_idname = "platebridge.own_preset"
    bl_label = "Own Preset"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"}, description="The preset's file")

    def execute(self, context):
        from . import animated

        scene = versions.editing_scene(context)
        dials = scene.platebridge.dials
        before = dials.values()
        PLATEBRIDGE_MT_presets.bl_label = bpy.path.display_name(Path(self.filepath).name, title_case=False)
        try:
            with _seen(context):
                bpy.utils.execfile(self.filepath)
        except Exception as error:  # it is a script: anything may be wrong with it
            self.report({"ERROR"}, "The preset can't be used (%s: %s)" % (type(error).__name__, error))
        free = animated.not_animated(scene, before)
        turned = {name for name, value in dials.values().items() if value != before[name]}
        dials.set_values({name: value for name, value in before.items() if name not in free})
        _tell(self, scene, turned)
        return {"FINISHED"}


def _tell(operator, scene, values):
    from . import animated

    kept = animated.keep_their_own(scene, values)
    if kept:
        operator.report({"WARNING"}, "%s. Take the keyframes or the driver off to have the preset's" % kept)


class PLATEBRIDGE_OT_preset_add(AddPresetBase, bpy.types.Operator):
    """Keep the dials as they stand under a name of your own, or remove the preset that is chosen"""

    bl_idname = "platebridge.preset_add"
    bl_label = "Add Guide Preset"

    preset_menu = "PLATEBRIDGE_MT_presets"
    preset_subdir = SUBDIR
    preset_defines = ["dials = %s.platebridge.dials" % _SCENE]
    preset_values = ["dials.%s" % name for name, dial in DIALS.items() if dial.path.startswith("guide.")]

    def execute(self, context):
        with _seen(context):
            return super().execute(context)


class PLATEBRIDGE_MT_presets(bpy.types.Menu):
    """The presets by name: those that ship, and your own"""

    bl_label = "Presets"
    preset_subdir = SUBDIR
    preset_operator = "platebridge.own_preset"

    def draw(self, context):
        for preset in PRESETS.values():
            self.layout.operator("platebridge.preset", text=preset.label, icon_value=picture(preset.name)).name = preset.name
        if bpy.utils.preset_paths(SUBDIR):
            self.layout.separator()
            bpy.types.Menu.draw_preset(self, context)


def draw_presets(layout):
    """The row with the menu and the buttons that add and remove; under it the presets that ship, as pictures."""
    row = layout.row(align=True)
    row.menu("PLATEBRIDGE_MT_presets", text=bpy.types.PLATEBRIDGE_MT_presets.bl_label)
    row.operator("platebridge.preset_add", text="", icon="ADD")
    row.operator("platebridge.preset_add", text="", icon="REMOVE").remove_active = True


def draw_pictures(layout):
    """The presets that ship, each with its picture."""
    grid = layout.grid_flow(columns=2, even_columns=True, align=True)
    for preset in PRESETS.values():
        cell = grid.box().column(align=True)
        number = picture(preset.name)
        if number:
            cell.template_icon(number, scale=5.0)
        cell.operator("platebridge.preset", text=preset.label).name = preset.name


def picture(name):
    """The icon of a preset that ships."""
    return pictures.of_file(THUMBNAILS / ("%s.jpg" % name))


CLASSES = (PLATEBRIDGE_OT_preset, PLATEBRIDGE_OT_own_preset, PLATEBRIDGE_OT_preset_add, PLATEBRIDGE_MT_presets)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
