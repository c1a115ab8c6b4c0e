# SPDX-License-Identifier: GPL-3.0-or-later
"""A job, step by step, against a client that the test scripts: growth, waiting, undo, cancel, crash, attach."""

from __future__ import annotations

import json
import threading
import time

import bpy
import numpy as np
import pytest
from platebridge.errors import ConnectionFailed, InputError, StorageError
from platebridge.events import Done, Failed, Preview, Progress, Started, Warned


@pytest.fixture
def sources(scene, tmp_path, write_exr):
    """The scene's inputs as files: no render is needed."""
    settings = scene.platebridge
    for which, names in (("plate", "RGB"), ("depth", "Z"), ("mask", "Y")):
        for frame in (1001, 1002, 1003):
            pixels = np.full((36, 64, len(names)), frame / 1000)
            write_exr(tmp_path / "in" / which / ("%s.%d.exr" % (which, frame)), pixels, names, which != "depth")
        setattr(settings, which + "_source", "FILES")
        setattr(settings, which + "_files", str(tmp_path / "in" / which / (which + ".####.exr")))
    settings.vectors_source, settings.camera_source = "NONE", "NONE"
    return settings


@pytest.fixture
def begin(scene, sources, client):
    """begin(output="COMP") -> a job whose client is scripted, and its plan's folder is takes/shot."""
    from blender_addon import sources as planning
    from blender_addon.job import Job

    started = []

    def make(output="COMP"):
        started.append(Job.generate(planning.plan(scene, bpy.context.view_layer), lambda: client, output))
        return started[-1]

    yield make
    for job in started:
        job.leave()


def take_strip(scene):
    return next((strip for strip in scene.sequence_editor.strips if "platebridge" in strip and "take" in strip["platebridge"]), None)


def held(scene):
    """The frames that the take's strip holds."""
    strip = take_strip(scene) if scene.sequence_editor else None
    return [int(element.filename.split(".")[1]) for element in strip.elements] if strip else []


def picture(frame):
    return np.full((36, 64, 3), frame / 1000)


def test_request_holds_inputs_by_content_and_dials(begin, client, step_until, sources):
    sources.dials.amount, sources.dials.tint, sources.dials.seed = 1.4, (0.1, 0.2, 0.3), 7
    job = begin()
    step_until(job, client.asked.is_set)
    request = client.request
    assert (request.shot, str(request.frames), request.guide.amount, request.guide.tint, request.model.seed) == (
        "shot",
        "1001-1003",
        1.4,
        (0.1, 0.2, 0.3),
        7,
    )
    assert [file.frame for file in request.inputs.depth.files] == [1001, 1002, 1003] and request.inputs.vectors is None
    assert sorted(path.name for path in client.opened.values())[:3] == ["depth.1001.exr", "depth.1002.exr", "depth.1003.exr"]


def test_same_settings_make_the_request_that_the_command_makes(begin, client, step_until, sources):
    """Single floats in Blender must not become other numbers in the tree: 0.3 is not 0.30000001192."""
    from platebridge.request import GuideSettings

    job = begin()
    step_until(job, client.asked.is_set)
    assert client.request.guide == GuideSettings()
    assert client.request.settings.fps == 24.0


def test_frames_appear_as_they_come_in_order(begin, client, scene, step_until, frame_file, take_json):
    job = begin()
    step_until(job, client.asked.is_set)
    assert held(scene) == []
    client.say(Started("dust", "cpu"), Progress("generating", 1, 3), frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    assert held(scene) == [1001] and job.phase == "generating" and not job.finished
    client.say(frame_file("comp", 1003, picture(1003)))
    step_until(job, lambda: job.frames_there == 2)
    assert held(scene) == [1001]  # 1002 is late: what comes after it waits
    client.say(frame_file("comp", 1002, picture(1002)))
    step_until(job, lambda: len(held(scene)) == 3)
    client.say(take_json(client.request, client.take_id), Done({}))
    step_until(job, lambda: job.finished)
    assert job.error is None and held(scene) == [1001, 1002, 1003]
    assert sorted(path.name for path in job.take_path.iterdir()) == ["comp.1001.exr", "comp.1002.exr", "comp.1003.exr", "take.json"]
    assert [strip.name for strip in scene.sequence_editor.strips] == ["shot plate", "shot take 0001 comp"]
    assert client.closed.is_set()


@pytest.mark.parametrize("how", ["SOFT", "HARD"])
def test_frames_go_into_both_halves_of_a_strip_that_was_cut_meanwhile(begin, client, scene, step_until, frame_file, how):
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)), frame_file("comp", 1002, picture(1002)))
    step_until(job, lambda: held(scene) == [1001, 1002])
    first = take_strip(scene)
    second = first.split(frame=1002, split_method=how)
    client.say(frame_file("comp", 1003, picture(1003)))
    step_until(job, lambda: len(job.files("comp")) == 3)
    job.step()
    assert (first.frame_final_start, first.frame_final_end, first.channel) == (1001, 1002, 2)
    assert (second.frame_final_start, second.frame_final_end, second.channel) == (1002, 1004, 2)
    assert [element.filename for element in second.elements] == ["comp.%d.exr" % frame for frame in (1001, 1002, 1003)]


def test_effect_stands_over_the_untouched_plate(begin, client, scene, step_until, frame_file):
    job = begin("EFFECT")
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)), frame_file("effect", 1001, np.zeros((36, 64, 4)), "RGBA"))
    step_until(job, lambda: held(scene))
    strip = take_strip(scene)
    assert strip.elements[0].filename == "effect.1001.exr" and strip.blend_type == "ALPHA_OVER"
    assert scene.sequence_editor.strips["shot plate"].channel < strip.channel


def test_an_effect_hides_the_shot_s_earlier_takes_or_its_dust_would_lie_on_theirs(begin, client, scene, step_until, frame_file, take_json):
    from blender_addon import timeline

    for output in ("COMP", "EFFECT", "EFFECT"):
        client.asked.clear()
        job = begin(output)
        step_until(job, client.asked.is_set)
        client.say(*(frame_file("comp", f, picture(f)) for f in (1001, 1002, 1003)))
        client.say(*(frame_file("effect", f, np.zeros((36, 64, 4)), "RGBA") for f in (1001, 1002, 1003)))
        client.say(take_json(client.request, client.take_id), Done({}))
        step_until(job, lambda job=job: job.finished)
    seen = {strip.name: not strip.mute for strip in scene.sequence_editor.strips}
    assert seen == {"shot plate": True, "shot take 0001 comp": False, "shot take 0002 effect": False, "shot take 0003 effect": True}
    assert timeline.shown_before(scene).name == "shot take 0002 effect"


def test_main_thread_never_waits(begin, client, scene, monkeypatch):
    """The scripted client refuses to be called there at all; and a courier that never gets a turn holds no step up."""
    from platebridge import courier

    gate = threading.Event()

    def never(path):
        assert threading.current_thread() is not threading.main_thread(), "files are hashed on the courier's thread"
        gate.wait(30)
        return "0" * 64

    monkeypatch.setattr(courier, "hash_file", never)
    job = begin()
    for _ in range(50):
        assert not job.step(0.0)
    assert not gate.is_set() and not client.asked.is_set()
    job.cancel()
    gate.set()
    while not job.step(0.01):
        job.rest(0.02)
    assert job.error.code == "cancelled"


@pytest.fixture
def undo_steps(monkeypatch):
    """The undo steps a job pushes, by name, as it pushes them."""
    from blender_addon import job as job_module

    pushed, push = [], job_module.remember_for_undo
    monkeypatch.setattr(job_module, "remember_for_undo", lambda name: pushed.append(name) or push(name))
    return pushed


def test_one_undo_step_takes_plate_and_take_off(begin, client, scene, step_until, frame_file, undo_steps):
    bpy.ops.ed.undo_push(message="before")
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    assert undo_steps == ["Platebridge take"]  # one, though two strips came
    client.say(frame_file("comp", 1002, picture(1002)))
    step_until(job, lambda: len(held(scene)) == 2)
    bpy.ops.ed.undo()
    scene = bpy.context.scene
    assert not scene.sequence_editor or len(scene.sequence_editor.strips) == 0
    client.say(frame_file("comp", 1003, picture(1003)))
    step_until(job, lambda: job.frames_there == 3)
    assert held(bpy.context.scene) == []  # the artist took it off: it stays off
    bpy.ops.ed.redo()
    step_until(job, lambda: len(held(bpy.context.scene)) == 3)  # and back again, it is made whole
    assert job.error is None


def test_redo_and_an_old_file_bring_a_whole_strip_back_after_the_job_is_over(begin, client, scene, step_until, frame_file, tmp_path):
    bpy.ops.ed.undo_push(message="before")
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "early.blend"), copy=True)  # saved while it holds one frame
    for frame in (1002, 1003):
        client.say(frame_file("comp", frame, picture(frame)))
    step_until(job, lambda: len(held(scene)) == 3)
    job.leave()
    bpy.ops.ed.undo()
    assert held(bpy.context.scene) == []
    bpy.ops.ed.redo()
    assert held(bpy.context.scene) == [1001, 1002, 1003]
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "early.blend"))
    assert held(bpy.context.scene) == [1001, 1002, 1003]


def test_undo_of_something_else_in_the_middle(begin, client, scene, step_until, frame_file):
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    bpy.ops.object.light_add(type="POINT")
    bpy.ops.ed.undo_push(message="Add Light")
    client.say(frame_file("comp", 1002, picture(1002)))
    step_until(job, lambda: len(held(bpy.context.scene)) == 2)
    bpy.ops.ed.undo()  # to when the strip held one frame
    client.say(frame_file("comp", 1003, picture(1003)))
    step_until(job, lambda: len(held(bpy.context.scene)) == 3)
    assert held(bpy.context.scene) == [1001, 1002, 1003]


def test_undo_before_the_first_frame_comes(begin, client, scene, step_until, frame_file):
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.object.light_add(type="POINT")
    bpy.ops.ed.undo_push(message="Add Light")
    job = begin()
    step_until(job, client.asked.is_set)
    bpy.ops.ed.undo()
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(bpy.context.scene) == [1001])
    assert job.notes == []


def test_scene_may_be_renamed_meanwhile(begin, client, scene, step_until, frame_file):
    job = begin()
    step_until(job, client.asked.is_set)
    scene.name = "Something else"
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    assert job.notes == []


def test_another_file_is_opened_meanwhile(begin, client, scene, addon, step_until, frame_file, take_json):
    job = begin()
    step_until(job, client.asked.is_set)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    client.say(frame_file("comp", 1001, picture(1001)), take_json(client.request, client.take_id), Done({}))
    step_until(job, lambda: job.finished)
    assert job.error is None and job.frames_there == 1
    assert job.notes[0].startswith("The scene of this shot is gone. The take lies in %s" % job.take_path)
    assert not bpy.context.scene.sequence_editor or not len(bpy.context.scene.sequence_editor.strips)


def test_nothing_is_touched_while_blender_renders(begin, client, scene, step_until, frame_file, monkeypatch):
    from blender_addon import runner

    rendering = True
    monkeypatch.setattr(runner, "blender_is_busy", lambda: rendering)
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: job.frames_there == 1)
    assert held(scene) == []
    rendering = False
    step_until(job, lambda: held(scene) == [1001])


def test_saving_keeps_the_lock_while_it_lasts(scene, tmp_path):
    from blender_addon import runner

    seen = []
    bpy.app.handlers.save_pre.append(lambda *_: seen.append(runner.blender_is_busy()))
    bpy.app.handlers.save_post.insert(0, lambda *_: seen.append(runner.blender_is_busy()))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.app.handlers.save_pre.pop()
    bpy.app.handlers.save_post.pop(0)
    assert seen == [True, True] and not runner.blender_is_busy()


def test_cancel_keeps_what_came(begin, client, scene, step_until, frame_file):
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    job.cancel()
    step_until(job, lambda: job.finished)
    assert client.cancelled.is_set() and job.error.code == "cancelled"
    assert held(scene) == [1001] and (job.take_path / "comp.1001.exr").is_file() and (job.take_path / "unfinished.json").is_file()


def test_cancel_while_capturing_gives_the_frame_back(scene, client, step_until):
    from blender_addon import sources as planning
    from blender_addon.job import Job

    job = Job.generate(planning.plan(scene, bpy.context.view_layer), lambda: client)
    step_until(job, lambda: job.done == 1)
    job.cancel()
    step_until(job, lambda: job.finished)
    assert job.error.code == "cancelled" and scene.frame_current == 1 and not client.asked.is_set()


def test_take_that_is_refused_before_anything_came_leaves_no_folder(begin, client, step_until):
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(Failed(InputError("The mask is empty.", "Paint one.", input="mask").to_dict()))
    step_until(job, lambda: job.finished)
    assert job.sentence == "mask: The mask is empty. Paint one." and not job.take_path.exists()


def test_disk_trouble_is_said_and_the_take_can_be_gone_on_with(begin, client, step_until, frame_file):
    job = begin()
    step_until(job, client.asked.is_set)
    spoiled = frame_file("comp", 1001, picture(1001))
    client.say(type(spoiled)("comp", 1001, "comp.1001.exr", "0" * 64, spoiled.data))
    step_until(job, lambda: job.finished)
    assert isinstance(job.error, StorageError) and (job.take_path / "unfinished.json").is_file()
    assert client.closed.is_set() and not client.cancelled.is_set()  # the server goes on


def test_server_that_goes_away_is_waited_for(begin, client, step_until, frame_file, scene, monkeypatch):
    from platebridge import courier

    monkeypatch.setattr(courier, "LOOK", 0.01)
    job = begin()
    step_until(job, client.asked.is_set)
    client.state, client.problem = "lost", ConnectionFailed("The server went away.")
    step_until(job, lambda: job.waiting)
    assert job.sentence == "Waiting for the server: The server went away."
    client.state = "connected"
    step_until(job, lambda: not job.waiting)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene) == [1001])


def test_server_that_stays_away_ends_the_waiting_not_the_take(begin, client, step_until, monkeypatch):
    from platebridge import courier

    monkeypatch.setattr(courier, "LOOK", 0.01)
    monkeypatch.setattr(courier, "PATIENCE", 0.0)
    job = begin()
    step_until(job, client.asked.is_set)
    client.state, client.problem = "lost", None
    step_until(job, lambda: job.finished)
    assert isinstance(job.error, ConnectionFailed) and (job.take_path / "unfinished.json").is_file()


def test_attach_goes_on_where_blender_was_killed(begin, client, scene, sources, step_until, frame_file, take_json):
    """Killed: the thread is gone, the file is as it was last saved, without any strip; the take's folder is all there is."""
    from blender_addon.job import Job

    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    job.leave()
    for strip in list(scene.sequence_editor.strips):
        scene.sequence_editor.strips.remove(strip)

    again = type(client)()
    attached = Job.attach(scene, job.take_path, lambda: again)
    step_until(attached, lambda: held(scene) == [1001])
    assert (
        again.take_id == client.take_id and again.again and again.held == {"comp.1001.exr": frame_file("comp", 1001, picture(1001)).sha256}
    )
    assert again.request == client.request and set(again.opened) == set(client.opened)
    again.say(
        frame_file("comp", 1002, picture(1002)), frame_file("comp", 1003, picture(1003)), take_json(again.request, again.take_id), Done({})
    )
    step_until(attached, lambda: attached.finished)
    assert attached.error is None and held(scene) == [1001, 1002, 1003]
    assert [strip.name for strip in scene.sequence_editor.strips] == ["shot plate", "shot take 0001 comp"]
    assert not (job.take_path / "unfinished.json").exists()


def test_attach_finds_the_strip_that_was_saved(begin, client, scene, step_until, frame_file, tmp_path):
    from blender_addon.job import Job

    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: held(scene))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    client.say(frame_file("comp", 1002, picture(1002)))
    step_until(job, lambda: len(held(scene)) == 2)
    job.leave()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    scene = bpy.context.scene
    assert held(scene) == [1001, 1002]  # saved while it held one: what came since is there too
    attached = Job.attach(scene, job.take_path, lambda: type(client)())
    step_until(attached, lambda: len(held(scene)) == 2)
    assert len(scene.sequence_editor.strips) == 2
    attached.leave()


def test_attach_to_a_whole_take_says_so(begin, client, scene, step_until, frame_file, take_json):
    from blender_addon.job import Job

    job = begin()
    step_until(job, client.asked.is_set)
    client.say(frame_file("comp", 1001, picture(1001)), take_json(client.request, client.take_id), Done({}))
    step_until(job, lambda: job.finished)
    attached = Job.attach(scene, job.take_path, lambda: type(client)())
    step_until(attached, lambda: attached.finished)
    assert "there is nothing to go on with" in attached.sentence


def test_unfinished_json_is_what_the_command_goes_on_from(begin, client, step_until):
    job = begin()
    step_until(job, client.asked.is_set)
    step_until(job, lambda: job.take_path)
    note = json.loads((job.take_path / "unfinished.json").read_text())
    assert note["take_id"] == client.take_id and note["request"] == json.loads(json.dumps(client.request.to_dict()))
    assert note["sources"]["patterns"]["plate"].endswith("plate.####.exr")


def test_warnings_and_preview_are_kept_for_the_panel(begin, client, step_until):
    job = begin()
    step_until(job, client.asked.is_set)
    client.say(Warned("The depth has holes.", "depth", 1002), Preview(1001, b"png"))
    step_until(job, lambda: job.preview)
    assert job.notes == ["depth frame 1002: The depth has holes."] and job.preview == b"png"


def test_fault_in_a_step_ends_in_a_message(begin, client, step_until, frame_file, monkeypatch):
    from blender_addon import timeline

    def broken(*_):
        raise ZeroDivisionError("oh")

    job = begin()
    step_until(job, client.asked.is_set)
    monkeypatch.setattr(timeline, "insert", broken)
    client.say(frame_file("comp", 1001, picture(1001)))
    step_until(job, lambda: job.finished)
    assert "ZeroDivisionError: oh" in job.sentence


def test_timer_keeps_a_job_going_and_ends_with_it(begin, client, addon, step_until, frame_file, take_json, scene):
    """What a window does: Blender calls the tick; here the test does, for timers never fire headless."""
    from blender_addon import runner

    job = begin()
    runner.start(job)
    assert bpy.app.timers.is_registered(runner._tick) and runner.current() is job
    client.say(frame_file("comp", 1001, picture(1001)))
    end = time.monotonic() + 30
    while not held(scene):
        assert runner._tick() == runner.INTERVAL and time.monotonic() < end
        job.rest(0.02)
    client.say(take_json(client.request, client.take_id), Done({}))
    while runner._tick() is not None:
        assert time.monotonic() < end
        job.rest(0.02)
    assert job.finished and runner.current() is None


def test_disabling_the_extension_lets_go_of_the_take(begin, client, addon, step_until):
    from blender_addon import runner

    job = begin()
    runner.start(job)
    step_until(job, client.asked.is_set)
    addon.unregister()
    assert job.finished and client.closed.is_set() and not client.cancelled.is_set()
    assert not bpy.app.timers.is_registered(runner._tick)
    assert not any(thread.name == "platebridge courier" for thread in threading.enumerate())
    addon.register()


def test_one_job_at_a_time_renders_passes(scene, client, step_until):
    from blender_addon import runner
    from blender_addon import sources as planning
    from blender_addon.job import Job

    plan = planning.plan(scene, bpy.context.view_layer)
    first, second = Job.capture(plan), Job.capture(plan)
    runner.jobs[:] = [first, second]
    first.step(0.0)
    second.step(0.0)
    assert first.captures and not second.captures
    step_until(first, lambda: first.finished)
    step_until(second, lambda: second.finished)
    assert first.sentence.startswith("3 frames captured into") and second.sentence == "Every pass is there already"
    assert scene.frame_current == 1
