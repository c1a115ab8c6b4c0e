# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps jobs going: a timer in a window, a loop headless; who keeps still while Blender renders or saves; who puts strips right
after undo.

Jobs live here, outside the .blend, so that undo can't bring an old state of one back. Knows when to step a job, not what it does.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Callable, List, Tuple

import bpy
from bpy.app.handlers import persistent

from . import asking, dependencies, pictures, take_list, versions

log = logging.getLogger(__name__)
INTERVAL = 0.05
BUDGET = 0.01
RETRY = 1.0
LOOK = 1.0

trouble = ""
"""What went wrong when a button was pressed last, a sentence; it stays until the next press."""

jobs: List[Any] = []
"""Every job of this session, the newest last; finished ones stay to be looked at until `forget`."""

_saving = False
_shown: Any = None  # how the jobs stood when the list of takes was read last
_tries: List[Tuple[float, Callable[[], bool]]] = []  # until when, and what is tried again every RETRY seconds
_tried = 0.0
_pictured = 0.0
_takes_to_come = False  # whether the list of takes is being read


def blender_is_busy() -> bool:
    """Whether a render or a save is going on: no strip may be touched then."""
    return _saving or bpy.app.is_job_running("RENDER")


def start(job: Any) -> None:
    """Keeps a job going from now on; in a window only, for timers never fire headless."""
    jobs[:] = [other for other in jobs if not other.finished] + [job]
    keep_ticking()


def keep_ticking() -> None:
    """Something is under way: look after it from now on. Headless it comes to nothing, for timers never fire there."""
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)


def keep_trying(attempt: Callable[[], bool], seconds: float) -> None:
    """Calls `attempt` now and then until it gives True, for so many seconds."""
    _tries.append((time.monotonic() + seconds, attempt))
    keep_ticking()


def run_to_the_end(job: Any) -> None:
    """Headless: steps the job until it is finished."""
    jobs[:] = [other for other in jobs if not other.finished] + [job]
    while not job.step(BUDGET):
        job.rest(INTERVAL)
    _read_takes_again()


def current() -> Any:
    """The newest job that is not finished, or None."""
    return next((job for job in reversed(jobs) if not job.finished), None)


def another_captures(job: Any) -> bool:
    """Whether a job other than this one is rendering passes: one at a time."""
    return any(other.captures and not other.finished for other in jobs if other is not job)


def _tick() -> Any:
    global trouble
    try:
        at_work = [job for job in jobs if not job.finished]
        for job in at_work:
            job.step(BUDGET / len(at_work))
        _show_picture()
        asking.poll()
        _try_again()
        _show_takes()
    except Exception as error:  # what escaped a timer would end it without a word
        log.exception("A tick broke down")
        trouble = "Platebridge broke down (%s: %s). Please report it." % (type(error).__name__, error)
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("SEQUENCE_EDITOR", "VIEW_3D", "PREFERENCES"):
                for region in area.regions:
                    if area.type != "VIEW_3D" or region.type == "UI":  # a heavy scene takes long to draw, and shows nothing of ours
                        region.tag_redraw()
    return INTERVAL if current() is not None or asking.asking or _tries or _takes_to_come else None


def _try_again() -> None:
    global _tried
    now = time.monotonic()
    if _tries and now - _tried >= RETRY:
        _tried = now
        _tries[:] = [(until, attempt) for until, attempt in _tries if not attempt() and now < until]


def _show_picture() -> None:
    """The newest picture of what is being made, once a second at most."""
    global _pictured
    job, now = current(), time.monotonic()
    if job is not None and now - _pictured >= LOOK:
        _pictured = now
        pictures.form(job.preview)
    pictures.poll()


def _show_takes() -> None:
    """Has the list of takes read again when a take was begun or has ended, and shows it once it is read."""
    global _shown, _takes_to_come
    stands = [(id(job), job.finished, job.take_path) for job in jobs]
    scene = _scene_to_list(jobs[-1].scene if jobs else take_list.shown_scene())
    if stands != _shown and scene is not None:
        _shown = stands
        take_list.look(scene)
        _takes_to_come = True
    if _takes_to_come:
        _takes_to_come = take_list.poll()


def _scene_to_list(session_id: Any) -> Any:
    """The scene of that session id; failing that, the one that is edited."""
    found = (scene for scene in bpy.data.scenes if versions.session_id(scene) == session_id)
    return next(found, None) or versions.editing_scene(bpy.context)


@persistent
def _before_save(*_: Any) -> None:
    global _saving
    _saving = True


@persistent
def _after_save(*_: Any) -> None:
    global _saving
    _saving = False


@persistent
def _after_change(*_: Any) -> None:
    """Undo, redo and opening a file bring strips back as they were when frames still came."""
    if dependencies.missing():
        return
    from . import timeline  # needs the client, without which the extension registers all the same

    for scene in bpy.data.scenes:
        timeline.make_true(scene)
    _read_takes_again()


def _read_takes_again() -> None:
    """The takes that are listed; in a window without waiting for the disk."""
    global _takes_to_come
    scene = _scene_to_list(take_list.shown_scene())
    if scene is None:
        return
    if bpy.app.background:
        take_list.refresh(scene)
    else:
        take_list.look(scene)
        _takes_to_come = True
        keep_ticking()


def _leave_all() -> None:
    for job in jobs:
        job.leave()
    jobs.clear()
    _tries.clear()


def _handlers() -> List[Any]:
    after = [bpy.app.handlers.save_post]
    if hasattr(bpy.app.handlers, "save_post_fail"):
        after.append(bpy.app.handlers.save_post_fail)
    changed = (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post, bpy.app.handlers.load_post)
    return [
        (bpy.app.handlers.save_pre, _before_save),
        *((which, _after_save) for which in after),
        *((which, _after_change) for which in changed),
    ]


def register() -> None:
    """Hears of saving, undo and opening files from now on."""
    for which, handler in _handlers():
        which.append(handler)


def unregister() -> None:
    """Leaves no timer, handler or thread. Takes under way go on at the server."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for which, handler in _handlers():
        which.remove(handler)
    _leave_all()
