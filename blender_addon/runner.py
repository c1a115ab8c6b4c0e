# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps jobs going: a timer in a window, a loop headless; who keeps still while Blender renders or saves; who puts strips right
after undo.

Jobs live here, outside the .blend, so that undo can't bring an old state of one back. Knows when to step a job, not what it does.
"""

from __future__ import annotations

from typing import Any, List

import bpy
from bpy.app.handlers import persistent

from . import dependencies

INTERVAL = 0.05
BUDGET = 0.01

jobs: List[Any] = []
"""Every job of this session, the newest last; finished ones stay to be looked at until `forget`."""

_saving = False


def blender_is_busy() -> bool:
    """Whether a render or a save is going on: no strip may be touched then."""
    return _saving or bpy.app.is_job_running("RENDER")


def start(job: Any) -> None:
    """Keeps a job going from now on; in a window only, for timers never fire headless."""
    jobs[:] = [other for other in jobs if not other.finished] + [job]
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)


def run_to_the_end(job: Any) -> None:
    """Headless: steps the job until it is finished."""
    jobs[:] = [other for other in jobs if not other.finished] + [job]
    while not job.step(BUDGET):
        job.rest(INTERVAL)


def current() -> Any:
    """The newest job that is not finished, or None."""
    return next((job for job in reversed(jobs) if not job.finished), None)


def another_captures(job: Any) -> bool:
    """Whether a job other than this one is rendering passes: one at a time."""
    return any(other.captures and not other.finished for other in jobs if other is not job)


def _tick() -> Any:
    for job in jobs:
        job.step(BUDGET)
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("SEQUENCE_EDITOR", "VIEW_3D"):
                area.tag_redraw()
    return INTERVAL if current() is not None else None


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


def _leave_all() -> None:
    for job in jobs:
        job.leave()
    jobs.clear()


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
