# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with takes that are there: show one, compare two, take its dials back, throw it away. Knows no server."""

import os
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from . import runner, take_list, versions
from .saying import says
from .versions import BLEND_RELATIVE


class _OnTheChosen(bpy.types.Operator):
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        if versions.editing_scene(context) is None or take_list.selected(context) is None:
            cls.poll_message_set("Choose a take in the list")
            return False
        return True


class PLATEBRIDGE_OT_refresh_takes(bpy.types.Operator):
    """Look into the shot's folder again, for takes that others have made"""

    bl_idname = "platebridge.refresh_takes"
    bl_label = "Refresh Takes"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return versions.editing_scene(context) is not None

    @says
    def execute(self, context):
        take_list.refresh(versions.editing_scene(context))
        return {"FINISHED"}


class PLATEBRIDGE_OT_load_take(bpy.types.Operator):
    """Put a take on the timeline, whoever made it and in whatever program"""

    bl_idname = "platebridge.load_take"
    bl_label = "Load Take"
    bl_options = {"REGISTER", "UNDO"}

    take: StringProperty(
        name="Take", subtype="DIR_PATH", options=BLEND_RELATIVE | {"SKIP_SAVE"}, description="The take's folder. Empty: you are asked"
    )
    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"}, description="Where the file browser stands")
    filter_folder: BoolProperty(default=True, options={"HIDDEN"}, description="Show folders in the file browser")
    output: EnumProperty(
        name="Show", items=[("COMP", "Comp", "The finished picture"), ("EFFECT", "Effect", "The dust alone, over what stands below")]
    )

    @classmethod
    def poll(cls, context):
        return versions.editing_scene(context) is not None

    def draw(self, context):
        self.layout.prop(self, "output", expand=True)

    def invoke(self, context, event):
        """Asks for the folder, beginning where the shot's takes lie."""
        if self.take:
            return self.execute(context)
        folder = take_list.shot_folder(versions.editing_scene(context))
        if folder is not None and folder.is_dir():
            self.directory = os.path.join(str(folder), "")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    @says
    def execute(self, context):
        from . import loading

        folder = Path(bpy.path.abspath(self.take or self.directory))
        strip = loading.load(versions.editing_scene(context), folder, self.output.lower())
        self.report({"INFO"}, "%s stands on channel %d" % (strip.name, strip.channel))
        return {"FINISHED"}


class PLATEBRIDGE_OT_show_take(_OnTheChosen):
    """Show the chosen take on the timeline, and hide the shot's others"""

    bl_idname = "platebridge.show_take"
    bl_label = "Show"

    @says
    def execute(self, context):
        from . import loading, timeline

        scene, row = versions.editing_scene(context), take_list.selected(context)
        kind = scene.platebridge.output.lower()
        _, strip = timeline.find(row.take_id, kind, scene)
        if strip is None:
            strip = loading.load(scene, row.path, kind)
        timeline.show_alone(scene, strip)
        return {"FINISHED"}


class PLATEBRIDGE_OT_compare_takes(bpy.types.Operator):
    """Go back and forth between the take that is shown and the one that was shown before it"""

    bl_idname = "platebridge.compare_takes"
    bl_label = "A/B"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return versions.editing_scene(context) is not None

    @says
    def execute(self, context):
        from platebridge.errors import InputError

        from . import timeline

        scene = versions.editing_scene(context)
        other = timeline.shown_before(scene)
        if other is None:
            raise InputError("There is no second take to compare with.", "Show one take, then another.")
        timeline.show_alone(scene, other)
        self.report({"INFO"}, other.name)
        return {"FINISHED"}


class PLATEBRIDGE_OT_copy_dials(_OnTheChosen):
    """Turn every dial to where it stood for the chosen take, keyframes and all. Keyframes that a dial has now are taken off"""

    bl_idname = "platebridge.copy_dials"
    bl_label = "Copy Dials"

    @says
    def execute(self, context):
        from . import animated, loading

        row = take_list.selected(context)
        request, _ = loading.asked_for(row.path)
        scene = versions.editing_scene(context)
        shot, held = scene.platebridge, animated.restore(scene, request.dial_values())
        if request.model.name != "guide":  # a look at the guide is no wish for another model
            shot.model = request.model.name
        if held:
            self.report({"WARNING"}, "%s: a driver holds it, and it stays. The other dials stand as for %s" % (", ".join(held), row.name))
        else:
            self.report({"INFO"}, "The dials stand as for %s" % row.name)
        return {"FINISHED"}


class PLATEBRIDGE_OT_take_to_compositor(_OnTheChosen):
    """Put the chosen take's effect into the compositor, over its plate: a node group with its layers, shadow and all, to grade and merge"""

    bl_idname = "platebridge.take_to_compositor"
    bl_label = "To Compositor"

    @says
    def execute(self, context):
        from . import compositor

        scene = versions.editing_scene(context)
        node = compositor.insert(scene, take_list.selected(context).path)
        instead = compositor.what_is_rendered_instead(scene)
        if instead:
            self.report({"INFO"}, instead)
        if not node.inputs["Plate"].is_linked:
            self.report({"WARNING"}, "No plate strip has all its frames: link the plate to %s yourself" % node.label)
        return {"FINISHED"}


class PLATEBRIDGE_OT_take_onto_plate(_OnTheChosen):
    """Lay the chosen take over its plate's strip as a modifier, shadow and all, and hide the shot's take strips: it renders the comp"""

    bl_idname = "platebridge.take_onto_plate"
    bl_label = "Onto Plate"

    @says
    def execute(self, context):
        from . import strip_modifier

        scene = versions.editing_scene(context)
        modifier = strip_modifier.lay_over(scene, take_list.selected(context).path)
        self.report({"INFO"}, "%s lies over its plate" % modifier.name)
        return {"FINISHED"}


class PLATEBRIDGE_OT_throw_take_away(_OnTheChosen):
    """Take the chosen take off the timeline and move its folder into the shot's folder `trash`. Nothing is deleted"""

    bl_idname = "platebridge.throw_take_away"
    bl_label = "Throw Take Away"

    def invoke(self, context, event):
        told = "Its folder moves into the shot's folder trash. Nothing is deleted."
        return context.window_manager.invoke_confirm(self, event, title="Throw Take Away?", message=told, confirm_text="Throw Away")

    @says
    def execute(self, context):
        from platebridge.errors import InputError
        from platebridge.takes import throw_away

        from . import timeline

        scene, row = versions.editing_scene(context), take_list.selected(context)
        if any(not job.finished and job.take_path == row.path for job in runner.jobs):
            raise InputError("%s is being made." % row.name, "Cancel it first.")
        name, place = row.name, throw_away(row.path)
        for kind in ("comp", "effect"):
            timeline.remove(row.take_id, kind)
        take_list.refresh(scene)
        self.report({"INFO"}, "%s lies in %s" % (name, place.parent))
        return {"FINISHED"}


class PLATEBRIDGE_OT_open_take_folder(_OnTheChosen):
    """Open the chosen take's folder in the system's file browser"""

    bl_idname = "platebridge.open_take_folder"
    bl_label = "Open Folder"
    bl_options = {"REGISTER"}

    @says
    def execute(self, context):
        from platebridge.errors import InputError

        path = take_list.selected(context).path
        if not path.is_dir():
            raise InputError("There is no folder %s any more." % path, "Press Refresh Takes.")
        return bpy.ops.wm.path_open(filepath=str(path))


CLASSES = (
    PLATEBRIDGE_OT_refresh_takes,
    PLATEBRIDGE_OT_load_take,
    PLATEBRIDGE_OT_show_take,
    PLATEBRIDGE_OT_compare_takes,
    PLATEBRIDGE_OT_copy_dials,
    PLATEBRIDGE_OT_take_to_compositor,
    PLATEBRIDGE_OT_take_onto_plate,
    PLATEBRIDGE_OT_throw_take_away,
    PLATEBRIDGE_OT_open_take_folder,
)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
