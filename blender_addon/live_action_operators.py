# SPDX-License-Identifier: GPL-3.0-or-later
"""The button that makes a live-action shot of footage, and the Platebridge menu that search and shortcuts find everything in.

The work is done in `live_action`; this chooses files, scene and view.
"""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from . import versions
from .saying import says

_ORDER = (
    ("new_live_action_shot",),
    ("generate", "preview_guide", "wedge", "capture", "attach", "cancel"),
    ("load_take", "show_take", "compare_takes", "copy_dials", "take_to_compositor", "refresh_takes", "exact_timeline"),
)
APART = {
    "choose_model": "it has a menu of its own, by name",
    "preset": "it has a menu of its own, by name",
    "own_preset": "it has a menu of its own, by name",
    "preset_add": "Blender's own plus and minus beside the presets",
    "throw_take_away": "it throws away what is chosen in the list, and belongs beside the list",
    "copy_line": "it belongs beside the line",
    "use_other_server": "it belongs to the preferences",
}
"""What has a place of its own and is not in the menu."""


class PLATEBRIDGE_MT_main(bpy.types.Menu):
    """Everything that Platebridge does"""

    bl_label = "Platebridge"

    def draw(self, context):
        self.layout.operator_context = "INVOKE_DEFAULT"
        placed = {name for names in _ORDER for name in names} | set(APART)
        for names in (*_ORDER, sorted(set(dir(bpy.ops.platebridge)) - placed)):
            for name in names:
                self.layout.operator("platebridge." + name)
            self.layout.separator()


class PLATEBRIDGE_OT_new_live_action_shot(bpy.types.Operator):
    """Make a scene of footage: the clip behind a camera, the plate on the timeline, proxies for ground and building, exact colour"""

    bl_idname = "platebridge.new_live_action_shot"
    bl_label = "New Live-Action Shot"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"}, description="The movie, or one picture of the sequence")
    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"}, description="The folder of the chosen pictures")
    files: CollectionProperty(
        type=bpy.types.OperatorFileListElement,
        options={"SKIP_SAVE", "HIDDEN"},
        description="The chosen pictures: one of a sequence stands for all of it, several for those alone",
    )
    filter_image: BoolProperty(default=True, options={"HIDDEN"}, description="Show pictures in the file browser")
    filter_movie: BoolProperty(default=True, options={"HIDDEN"}, description="Show movies in the file browser")
    filter_folder: BoolProperty(default=True, options={"HIDDEN"}, description="Show folders in the file browser")
    into: EnumProperty(
        name="Set up",
        default="NEW",
        items=[
            ("NEW", "A new scene", "Make a scene of its own for the shot; nothing in this one is changed"),
            ("HERE", "This scene", "Keep its camera, mask collection and objects; take size, range, rate and colour from the footage"),
        ],
        description="Where the shot goes",
    )
    first_frame: IntProperty(
        name="Movie starts at", default=1001, description="The frame at which a movie begins; a sequence keeps its own numbers"
    )
    rate: FloatProperty(
        name="Frame rate", default=24.0, min=1.0, max=1000.0, description="Frames a second of a sequence that doesn't say; movies say"
    )

    def draw(self, context):
        column = self.layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(self, "into", expand=True)
        column.prop(self, "first_frame")
        column.prop(self, "rate")

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    @says
    def execute(self, context):
        from platebridge.errors import InputError

        from . import live_action

        path = Path(bpy.path.abspath(self.filepath))
        only = [item.name for item in self.files]
        if not path.is_file() and only:
            path = Path(bpy.path.abspath(self.directory)) / only[0]
        if not path.is_file():
            raise InputError("No footage was chosen.", "Choose a movie, or one picture of a sequence.", input="plate")
        new = self.into == "NEW"
        scene = bpy.data.scenes.new(live_action.shot_of(path)) if new else versions.editing_scene(context)
        try:
            said = live_action.set_up(scene, path, first=self.first_frame, rate=self.rate, only=only)
        except InputError:
            if new:
                bpy.data.scenes.remove(scene)
            raise
        if new:
            live_action.quick_to_render(scene)
            _show(context, scene)
        for sentence in said[:-1]:
            self.report({"WARNING"}, sentence)
        self.report({"INFO"}, said[-1])
        return {"FINISHED"}


def _show(context, scene):
    """The scene in the window, in 5.x's sequencer too, and its camera in the 3-D views."""
    window = context.window or context.window_manager.windows[0]
    window.scene = scene
    if hasattr(window.workspace, "sequencer_scene"):
        window.workspace.sequencer_scene = scene
    for area in window.screen.areas:
        if area.type == "VIEW_3D":
            area.spaces.active.region_3d.view_perspective = "CAMERA"


def _in_render_menu(self, context):
    """Under Render, in every editor's window: F3 searches menus, and a right click there gives a shortcut."""
    self.layout.separator()
    self.layout.menu("PLATEBRIDGE_MT_main")


def _in_new_menu(self, context):
    self.layout.separator()
    self.layout.operator("platebridge.new_live_action_shot", icon="FILE_MOVIE")


CLASSES = (PLATEBRIDGE_OT_new_live_action_shot, PLATEBRIDGE_MT_main)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.TOPBAR_MT_render.append(_in_render_menu)
    bpy.types.TOPBAR_MT_file_new.append(_in_new_menu)


def unregister():
    bpy.types.TOPBAR_MT_file_new.remove(_in_new_menu)
    bpy.types.TOPBAR_MT_render.remove(_in_render_menu)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
