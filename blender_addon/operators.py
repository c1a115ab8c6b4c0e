# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist presses. Each operator checks, starts something and says one sentence; the work is done elsewhere.

The client is imported when a button is pressed, never before: without it the extension still registers, and says what is missing.
"""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from . import asking, runner, server, versions
from .saying import says
from .versions import BLEND_RELATIVE


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

    def keep_all_going(self, jobs):
        """As `keep_going`; in a window the server takes them one by one, headless they are made one by one."""
        ends = [self.keep_going(job) for job in jobs]
        return {"CANCELLED"} if {"CANCELLED"} in ends else {"FINISHED"}

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

    @says
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

    @says
    def execute(self, context):
        from . import sources
        from .job import Job

        scene = versions.editing_scene(context)
        plan = sources.plan(scene, versions.editing_view_layer(context))
        return self.keep_going(Job.generate(plan, server.client_of(scene), scene.platebridge.output))


class PLATEBRIDGE_OT_preview_guide(_Operator):
    """Put the guide itself on the timeline, with no model: composition, speed and light in seconds. Generate then starts from it"""

    bl_idname = "platebridge.preview_guide"
    bl_label = "Preview Guide"

    @says
    def execute(self, context):
        import dataclasses

        from platebridge.request import ModelSettings, PaintSettings

        from . import sources
        from .job import Job

        scene = versions.editing_scene(context)
        plan = sources.plan(scene, versions.editing_view_layer(context))
        request = dataclasses.replace(plan.request, model=ModelSettings("guide"), paint=PaintSettings())  # what is a painter's stays behind
        inputs = {which: source for which, source in plan.sources.items() if which != "reference"}
        plan = dataclasses.replace(plan, request=request, sources=inputs)
        return self.keep_going(Job.generate(plan, server.client_of(scene), scene.platebridge.output))


class PLATEBRIDGE_OT_attach(_Operator):
    """Go on with a take that was interrupted: by a crash, by closing Blender, by a server that went away"""

    bl_idname = "platebridge.attach"
    bl_label = "Attach to Take"

    take: StringProperty(
        name="Take",
        subtype="DIR_PATH",
        options=BLEND_RELATIVE | {"SKIP_SAVE"},  # else the button would mean the take that Go On was pressed for last
        description="The take's folder. Empty: the shot's newest unfinished take",
    )

    @says
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
        return self.keep_going(Job.attach(scene, path, server.client_of(scene), scene.platebridge.output))


class PLATEBRIDGE_OT_choose_model(_Operator):
    """The models that the server has, what they were trained on and under which licence"""

    bl_idname = "platebridge.choose_model"
    bl_label = "Choose Model"
    bl_options = {"REGISTER", "UNDO"}

    model: StringProperty(name="Model", description="A model's name, as the server lists it")

    @classmethod
    def description(cls, context, properties):
        card = asking.card(properties.model)
        if not card:
            return cls.__doc__
        said = "%s Trained on: %s" % (card.get("summary", ""), card.get("trained_on", "not said"))
        return "%s\n%s" % (asking.absent(card), said) if asking.absent(card) else said

    @says
    def execute(self, context):
        versions.editing_scene(context).platebridge.model = self.model
        return {"FINISHED"}


class PLATEBRIDGE_MT_models(bpy.types.Menu):
    """The models that the server has"""

    bl_label = "Models"

    def draw(self, context):
        cards = asking.answer.cards if asking.answer is not None else []
        for card in cards:
            text = "%s  (%s)" % (card.get("name"), "not here" if asking.absent(card) else card.get("licence", "licence unknown"))
            self.layout.operator("platebridge.choose_model", text=text).model = str(card.get("name"))
        if not cards:
            self.layout.operator("platebridge.ask_server", text="Ask the Server for Its Models", icon="FILE_REFRESH")


class PLATEBRIDGE_OT_cancel(_Operator):
    """Stop every take that is being made. The frames that came stay, on disk and on the timeline"""

    bl_idname = "platebridge.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context):
        return runner.current() is not None

    def execute(self, context):
        for job in runner.jobs:
            job.cancel()
        self.report({"INFO"}, "Cancelling; the frames that came are kept")
        return {"FINISHED"}


class PLATEBRIDGE_OT_exact_timeline(_Operator):
    """Make the sequencer work scene-linear, so that what Blender renders is the comp bit for bit. Other strips blend in linear, too"""

    bl_idname = "platebridge.exact_timeline"
    bl_label = "Make Timeline Exact"
    bl_options = {"REGISTER", "UNDO"}

    @says
    def execute(self, context):
        from . import timeline

        scene = versions.editing_scene(context)
        timeline.make_exact(scene)
        seen = timeline.seen_take(scene)
        if seen is not None:
            for fault in timeline.what_keeps_it_from_exact(scene, seen):
                self.report({"WARNING"}, "Not exact yet: %s" % fault)
        return {"FINISHED"}


CLASSES = (
    PLATEBRIDGE_OT_capture,
    PLATEBRIDGE_OT_generate,
    PLATEBRIDGE_OT_preview_guide,
    PLATEBRIDGE_OT_choose_model,
    PLATEBRIDGE_MT_models,
    PLATEBRIDGE_OT_attach,
    PLATEBRIDGE_OT_cancel,
    PLATEBRIDGE_OT_exact_timeline,
)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
