# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist presses. Each operator checks, starts something and says one sentence; the work is done elsewhere.

The client is imported when a button is pressed, never before: without it the extension still registers, and says what is missing.
"""

import functools
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from . import dependencies, runner, versions


def _says(execute):
    """Trouble as one sentence, from whatever went wrong that an artist can mend; anything else is a fault and shows itself."""

    @functools.wraps(execute)
    def told(self, context):
        absent = dependencies.missing()
        if absent:
            self.report({"ERROR"}, absent)
            return {"CANCELLED"}
        from platebridge.errors import PlatebridgeError

        try:
            return execute(self, context)
        except PlatebridgeError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}

    return told


def _make_client(scene):
    """A function that makes the client of the server that is set. Raises ConnectionFailed where Blender may not go online."""
    from platebridge.client import Client

    from . import server

    path = bpy.path.abspath(scene.platebridge.connection) or None
    server.check_reachable(path)
    return lambda: Client(path, "Blender")


class _Operator(bpy.types.Operator):
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return versions.editing_scene(context) is not None

    def keep_going(self, job):
        """In a window the timer takes over and Blender stays free; headless there is nothing else to do."""
        if not bpy.app.background:
            runner.start(job)
            self.report({"INFO"}, "Platebridge is at work; frames appear as they come")
            return {"FINISHED"}
        runner.run_to_the_end(job)
        return self.tell(job)

    def tell(self, job):
        """How a finished job ended."""
        for note in job.notes:
            self.report({"WARNING"}, note)
        if job.error is not None:
            self.report({"ERROR"}, job.sentence)
            return {"CANCELLED"}
        self.report({"INFO"}, job.sentence)
        return {"FINISHED"}


class PLATEBRIDGE_OT_capture(_Operator):
    """Render the passes the dust needs (plate, depth, mask, motion vectors) into the shot's folder"""

    bl_idname = "platebridge.capture"
    bl_label = "Capture Passes"

    again: BoolProperty(name="Again", default=True, description="Render every pass again; else only what is missing")

    @_says
    def execute(self, context):
        import dataclasses

        from . import sources
        from .job import Job

        plan = sources.plan(versions.editing_scene(context), versions.editing_view_layer(context))
        return self.keep_going(Job.capture(dataclasses.replace(plan, recapture=self.again)))


class PLATEBRIDGE_OT_generate(_Operator):
    """Burst dust from the mask over the plate: captures what is missing, and frames appear on the timeline as they come"""

    bl_idname = "platebridge.generate"
    bl_label = "Generate"

    @_says
    def execute(self, context):
        from . import sources
        from .job import Job

        scene = versions.editing_scene(context)
        plan = sources.plan(scene, versions.editing_view_layer(context))
        return self.keep_going(Job.generate(plan, _make_client(scene), scene.platebridge.output))


class PLATEBRIDGE_OT_attach(_Operator):
    """Go on with a take that was interrupted: by a crash, by closing Blender, by a server that went away"""

    bl_idname = "platebridge.attach"
    bl_label = "Attach to Take"

    take: StringProperty(
        name="Take",
        subtype="DIR_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
        description="The take's folder. Empty: the shot's newest unfinished take",
    )

    @_says
    def execute(self, context):
        from platebridge.errors import InputError
        from platebridge.takes import list_takes

        from . import sources
        from .job import Job

        scene = versions.editing_scene(context)
        if self.take:
            path = Path(bpy.path.abspath(self.take))
        else:
            folder = sources.shot_folder(scene)
            unfinished = [take for take in list_takes(folder) if not take.finished]
            if not unfinished:
                raise InputError("%s has no unfinished take." % folder, "Press Generate for a new one.")
            path = unfinished[-1].path
        if any(not job.finished and job.take_path == path for job in runner.jobs):
            raise InputError("%s is under way already." % path.name, "Wait for it, or cancel it.")
        return self.keep_going(Job.attach(scene, path, _make_client(scene), scene.platebridge.output))


class PLATEBRIDGE_OT_cancel(_Operator):
    """Stop the take that is being made. The frames that came stay, on disk and on the timeline"""

    bl_idname = "platebridge.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context):
        return runner.current() is not None

    def execute(self, context):
        runner.current().cancel()
        self.report({"INFO"}, "Cancelling; the frames that came are kept")
        return {"FINISHED"}


class PLATEBRIDGE_OT_load_take(_Operator):
    """Put a take on the timeline, whoever made it and in whatever program"""

    bl_idname = "platebridge.load_take"
    bl_label = "Load Take"
    bl_options = {"REGISTER", "UNDO"}

    take: StringProperty(name="Take", subtype="DIR_PATH", options={"PATH_SUPPORTS_BLEND_RELATIVE"}, description="The take's folder")
    output: EnumProperty(
        name="Show", items=[("COMP", "Comp", "The finished picture"), ("EFFECT", "Effect", "The dust alone, over what stands below")]
    )

    @_says
    def execute(self, context):
        from . import loading

        strip = loading.load(versions.editing_scene(context), Path(bpy.path.abspath(self.take)), self.output.lower())
        self.report({"INFO"}, "%s stands on channel %d" % (strip.name, strip.channel))
        return {"FINISHED"}


class PLATEBRIDGE_OT_exact_timeline(_Operator):
    """Make the sequencer work scene-linear, so that what Blender renders is the comp bit for bit. Other strips blend in linear, too"""

    bl_idname = "platebridge.exact_timeline"
    bl_label = "Make Timeline Exact"
    bl_options = {"REGISTER", "UNDO"}

    @_says
    def execute(self, context):
        from . import timeline

        scene = versions.editing_scene(context)
        timeline.make_exact(scene)
        strips = [strip for strip in timeline.take_strips(scene) if not strip.mute]
        if strips:
            for fault in timeline.what_keeps_it_from_exact(scene, max(strips, key=lambda strip: strip.channel)):
                self.report({"WARNING"}, "Not exact yet: %s" % fault)
        return {"FINISHED"}


CLASSES = (
    PLATEBRIDGE_OT_capture,
    PLATEBRIDGE_OT_generate,
    PLATEBRIDGE_OT_attach,
    PLATEBRIDGE_OT_cancel,
    PLATEBRIDGE_OT_load_take,
    PLATEBRIDGE_OT_exact_timeline,
)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
