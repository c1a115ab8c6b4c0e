# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by a Blender with a window: the extension in the Video Editing workspace, and what goes on in it, told to a file.

    blender --factory-startup [FILE.blend] --python in_blender.py -- FOLDER

FOLDER holds `site` (the extension and the client), `settings.json` (what to set on scene.platebridge, and the frame range) and, where
the test wants a scene of its own, `scene.py`. Told, in `state.json`, ten times a second: what the sequencer and the jobs stand at, how long
our ticks took, but for those that capture (by the clock, and by the main thread's own processor time), which dialog stands open, how often
sequencer and pictures were drawn, and what is under the mouse when asked.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

import bpy

FOLDER = Path(sys.argv[sys.argv.index("--") + 1])
STATE = {"ready": False, "ticks": 0, "slowest_tick": 0.0, "slowest_work": 0.0, "asked": "", "under": "", "trouble": ""}
STATE.update(dialog="", drawn=0, pictures_drawn=0)
sys.path.insert(0, str(FOLDER / "site"))


def enable():
    """The extension, as an artist's click in the preferences does it."""
    import addon_utils

    addon_utils.enable("blender_addon", default_set=True)
    from blender_addon import angle, runner, wedges

    tick = runner._tick

    def timed():
        captures = any(job.captures for job in runner.jobs)
        began, used = time.perf_counter(), time.thread_time()
        try:
            return tick()
        finally:
            STATE["ticks"] += 1
            if not (captures or any(job.captures for job in runner.jobs)):
                STATE["slowest_tick"] = max(STATE["slowest_tick"], time.perf_counter() - began)
                STATE["slowest_work"] = max(STATE["slowest_work"], time.thread_time() - used)

    runner._tick = timed
    for operator in (angle.PLATEBRIDGE_OT_another_angle, wedges.PLATEBRIDGE_OT_wedge):
        hear_of_dialog(operator)
    for space, name in ((bpy.types.SpaceSequenceEditor, "drawn"), (bpy.types.SpaceImageEditor, "pictures_drawn")):
        space.draw_handler_add(lambda name=name: STATE.update({name: STATE[name] + 1}), (), "WINDOW", "POST_PIXEL")


def hear_of_dialog(operator):
    """Tells which dialog stands open: from when its button was pressed to when it was answered."""
    invoke, execute = operator.invoke, operator.execute

    def invoked(self, context, event):
        STATE["dialog"] = operator.bl_idname.partition(".")[2]
        return invoke(self, context, event)

    def executed(self, context):
        STATE["dialog"] = ""
        return execute(self, context)

    operator.invoke, operator.execute = invoked, executed


def window():
    return bpy.context.window_manager.windows[0]


def area():
    """The largest sequencer, its sidebar region."""
    areas = [a for a in window().screen.areas if a.type == "SEQUENCE_EDITOR"]
    found = max(areas, key=lambda a: a.width * a.height, default=None)
    return found, next((r for r in found.regions if r.type == "UI"), None) if found else None


def set_up():
    """Until the Platebridge tab is drawn."""
    where, region = area()
    if where is None:
        template = next(path for folder in bpy.utils.app_template_paths() for path in Path(folder).glob("Video_Editing/startup.blend"))
        with bpy.context.temp_override(window=window()):  # nothing of ours runs yet, so no thread can be hurt
            bpy.ops.workspace.append_activate(idname="Video Editing", filepath=str(template))
        return 0.5
    if not bpy.data.filepath:
        arrange()
    where.spaces.active.show_region_ui = True
    try:
        region.active_panel_category = "Platebridge"
    except (TypeError, AttributeError):
        return 0.2  # not drawn yet
    if region.active_panel_category != "Platebridge":
        return 0.2
    STATE["ready"] = True
    bpy.app.timers.register(tell, first_interval=0.1, persistent=True)
    return None


def arrange():
    """The scene as the test wants it, kept in a file."""
    scene = bpy.context.scene
    if hasattr(bpy.context.workspace, "sequencer_scene"):
        bpy.context.workspace.sequencer_scene = scene
    scene.sequence_editor_create()
    told = json.loads((FOLDER / "settings.json").read_text())
    scene.frame_start, scene.frame_end = told["frames"]
    scene.frame_set(told["frames"][0])
    scene.render.resolution_x, scene.render.resolution_y = told["size"]
    if (FOLDER / "scene.py").exists():
        runpy.run_path(str(FOLDER / "scene.py"))
    for name, value in told["shot"].items():
        setattr(scene.platebridge, name, value)
    for name, value in told["dials"].items():
        setattr(scene.platebridge.dials, name, value)
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "shot.blend"))


def tell():
    from blender_addon import runner, timeline, versions

    ask()
    scene = bpy.data.scenes[0]
    where, region = area()
    height = window().height
    windows = bpy.context.window_manager.windows
    if STATE["dialog"] or len(windows) > 1:  # somebody waits for what is drawn
        for drawn in (area for each in windows for area in each.screen.areas):
            if drawn.type in ("SEQUENCE_EDITOR", "IMAGE_EDITOR"):
                drawn.tag_redraw()
    told = {
        **STATE,
        "frame": scene.frame_current,
        "jobs": [
            {"phase": j.phase, "done": j.done, "finished": j.finished, "sentence": j.sentence, "there": j.frames_there} for j in runner.jobs
        ],
        "strips": {s.name: len(s.elements) for s in timeline.take_strips(scene)},
        "muted": [s.name for s in timeline.take_strips(scene) if s.mute],
        "modifiers": {s.name: [m.name for m in s.modifiers] for s in versions.strips(scene.sequence_editor)},
        "modifiers_can_be": versions.has_compositor_modifier(),
        "takes": [row.name for row in bpy.context.window_manager.platebridge_takes],
        "trouble": runner.trouble,
        # X counts from the top, Blender from the bottom
        "sidebar": [region.x, height - region.y - region.height, region.width, region.height],
        "area": [where.x, height - where.y - where.height, where.width, where.height],
    }
    partial = FOLDER / "state.part"
    partial.write_text(json.dumps(told))
    os.replace(partial, FOLDER / "state.json")
    return 0.1


def ask():
    """What is under the mouse: the operator's call that a click there would make."""
    question = FOLDER / "question"
    if not question.exists() or question.read_text() == STATE["asked"]:
        return
    where, region = area()
    bpy.context.window_manager.clipboard = ""
    with bpy.context.temp_override(window=window(), area=where, region=region):
        if bpy.ops.ui.copy_python_command_button.poll():
            bpy.ops.ui.copy_python_command_button()
    STATE["under"], STATE["asked"] = bpy.context.window_manager.clipboard, question.read_text()


bpy.context.preferences.view.show_splash = False
bpy.context.preferences.view.show_developer_ui = True
enable()
bpy.app.timers.register(set_up, first_interval=1.0, persistent=True)
