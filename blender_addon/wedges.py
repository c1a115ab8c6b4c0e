# SPDX-License-Identifier: GPL-3.0-or-later
"""A wedge from the panel: takes that differ in one or two dials, and their contact sheet. Knows what is asked for, not how it is made.

The sheet is a picture that the server makes beside each take of the wedge; here it is only shown.
No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

import bpy
from bpy.props import EnumProperty, StringProperty

from . import pictures, server, take_list, versions
from .layout import sentence
from .operators import _Operator
from .saying import says
from .settings import DIALS

_DIALS = [(name, dial.label, dial.tooltip) for name, dial in DIALS.items() if dial.kind != "text"]


class PLATEBRIDGE_OT_wedge(_Operator):
    """A take for each of several values of one or two dials, and a contact sheet of them. What a dial leaves alone is made once"""

    bl_idname = "platebridge.wedge"
    bl_label = "Wedge"

    dial: EnumProperty(
        name="Dial", items=_DIALS, default="density" if DIALS else None, description="The dial that is different in each take"
    )
    values: StringProperty(
        name="Values", default="0.5, 1, 2", description="What it stands at, separated by commas (a colour's by semicolons): a take for each"
    )
    second: EnumProperty(
        name="Second dial",
        items=[("NONE", "None", "One dial alone"), *_DIALS],
        description="Another dial: a take for each pair of values, and the sheet becomes a grid",
    )
    second_values: StringProperty(name="Values", default="0.7, 1, 1.4", description="What the second dial stands at, separated by commas")

    def invoke(self, context, event):
        return context.window_manager.invoke_props_dialog(self, width=340, confirm_text="Make Takes")

    def draw(self, context):
        self.layout.use_property_split = True
        column = self.layout.column()
        column.prop(self, "dial")
        column.prop(self, "values")
        column.separator()
        column.prop(self, "second")
        if self.second != "NONE":
            column.prop(self, "second_values")
        sentence(column, "%d takes" % self._count(), "RENDERLAYERS")

    def _count(self):
        from platebridge.wedge import split_values

        count = len(split_values(self.dial, self.values))
        return count * len(split_values(self.second, self.second_values)) if self.second != "NONE" else count

    @says
    def execute(self, context):
        import dataclasses

        from platebridge import wedge

        from . import sources
        from .job import Job

        scene = versions.editing_scene(context)
        plan = sources.plan(scene, versions.editing_view_layer(context))
        over = [(self.dial, wedge.split_values(self.dial, self.values))]
        if self.second != "NONE":
            over.append((self.second, wedge.split_values(self.second, self.second_values)))
        plan.refuse_driven([name for name, _ in over])
        requests = wedge.wedge(plan.request, over)  # all are checked before one is made
        client = server.client_of(scene)
        # The first captures what is missing; the others find it there.
        plans = [dataclasses.replace(plan, request=r, recapture=plan.recapture and n == 0) for n, r in enumerate(requests)]
        jobs = [Job.generate(each, client, scene.platebridge.output) for each in plans]
        for job, before in zip(jobs[1:], jobs):
            job.after = before
        return self.keep_all_going(jobs)


class PLATEBRIDGE_OT_open_sheet(bpy.types.Operator):
    """Open the wedge's contact sheet in an image editor, at its full size"""

    bl_idname = "platebridge.open_sheet"
    bl_label = "Open Sheet"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        if not take_list.chosen_sheet(context):
            cls.poll_message_set("Choose a wedge, or one of its takes, that has a sheet")
            return False
        return True

    @says
    def execute(self, context):
        from platebridge.errors import InputError

        try:
            image = bpy.data.images.load(take_list.chosen_sheet(context), check_existing=True)
        except RuntimeError as error:
            raise InputError("The sheet can't be read (%s)." % str(error).strip(), "Press Refresh Takes.") from None
        space = _image_editor(context)
        if space is not None:
            space.image = image
        self.report({"INFO"}, "%s is open" % image.name)
        return {"FINISHED"}


def _image_editor(context):
    """The first image editor there is; in a window of its own where there is none. None headless."""
    windows = context.window_manager.windows
    for window in windows:
        for area in window.screen.areas:
            if area.type == "IMAGE_EDITOR":
                return area.spaces.active
    if bpy.app.background:
        return None
    before = set(windows.values())
    bpy.ops.wm.window_new()
    for window in windows:
        if window not in before:
            area = max(window.screen.areas, key=lambda area: area.width * area.height)
            area.type = "IMAGE_EDITOR"
            return area.spaces.active
    return None


def draw_sheet(column, context):
    """The chosen wedge's sheet, and what can be done with it."""
    row = take_list.chosen_row(context)
    sheet = take_list.chosen_sheet(context)
    if row.heading:
        if sheet:
            column.template_icon(pictures.of_file(sheet), scale=10.0)
        sentence(column, row.told, "MOD_ARRAY")
    if sheet:
        column.operator("platebridge.open_sheet", icon="IMAGE_DATA")


CLASSES = (PLATEBRIDGE_OT_wedge, PLATEBRIDGE_OT_open_sheet)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
