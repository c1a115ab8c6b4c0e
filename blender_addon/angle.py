# SPDX-License-Identifier: GPL-3.0-or-later
"""The button for another angle: the chosen take's cloud, seen by another camera of the scene. What that takes stands in angle_plan.py.

No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

import bpy
from bpy.props import EnumProperty

from . import server, take_list, versions
from .operators import _Operator
from .saying import says

_cameras = []  # Blender keeps no hold of what an enum's function gives


def _choices(_self, context):
    scene = versions.editing_scene(context)
    others = [thing for thing in scene.objects if thing.type == "CAMERA" and thing != scene.camera]
    _cameras[:] = [(thing.name, thing.name, "Through this camera", "CAMERA_DATA", n) for n, thing in enumerate(others)]
    return _cameras


class PLATEBRIDGE_OT_another_angle(_Operator):
    """The chosen take's cloud through another camera of the scene: plate and depth are rendered there, the simulation is that take's"""

    bl_idname = "platebridge.another_angle"
    bl_label = "Another Angle"

    camera: EnumProperty(name="Camera", items=_choices, description="The camera that sees the cloud")

    @classmethod
    def poll(cls, context):
        row = take_list.selected(context)
        if versions.editing_scene(context) is None or row is None or not row.finished:
            cls.poll_message_set("Choose a finished take in the list")
            return False
        if not _choices(None, context):
            cls.poll_message_set("The scene has no camera but the one that the shot is seen by")
            return False
        return True

    def invoke(self, context, event):
        return context.window_manager.invoke_props_dialog(self)

    @says
    def execute(self, context):
        from . import angle_plan
        from .job import Job

        scene = versions.editing_scene(context)
        plan = angle_plan.plan(scene, versions.editing_view_layer(context), take_list.selected(context).path, self.camera)
        return self.keep_going(Job.generate(plan, server.client_of(scene), scene.platebridge.output))


CLASSES = (PLATEBRIDGE_OT_another_angle,)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
