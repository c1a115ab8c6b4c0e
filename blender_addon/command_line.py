# SPDX-License-Identifier: GPL-3.0-or-later
"""`blender -b shot.blend --command platebridge generate …`: the whole job from a farm, with exit codes and lines it can read.

Lines on standard output: `Fra:1001 Platebridge | Frames 1/48` for each finished frame, `Platebridge | PHASE 3/48` for the rest,
`Saved: 'FILE'` for each comp. Exit codes: 0 done, 1 it could not be done, 2 the request is at fault.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any, Dict, List

import bpy

from . import dependencies, runner, server, versions

_command: Any = None


def main(arguments: List[str]) -> int:
    """What Blender calls with the words after `--command platebridge`."""
    parser = argparse.ArgumentParser(prog="blender -b SHOT.blend --command platebridge", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    generate = actions.add_parser("generate", help="make a take of the file's shot")
    generate.add_argument("--frames", metavar="1001-1048", help="instead of the shot's own range")
    generate.add_argument("--set", metavar="DIAL=VALUE", action="append", default=[], help="a dial, as often as wanted")
    generate.add_argument("--preset", help="a guide preset that ships; dials that are set win over it")
    generate.add_argument("--model", help="instead of the shot's own")
    generate.add_argument("--scene", help="the scene's name, where the file holds several")
    generate.add_argument("--connection", help="the server's connection file, instead of the shot's own")
    generate.add_argument("--recapture", action="store_true", help="render the passes again")
    generate.add_argument("--save", action="store_true", help="save the .blend with the take on its timeline")
    attach = actions.add_parser("attach", help="go on with a take that was interrupted")
    attach.add_argument("take", type=Path, help="the take's folder")
    attach.add_argument("--connection", help="the server's connection file, instead of the shot's own")
    attach.add_argument("--save", action="store_true", help="save the .blend with the take on its timeline")
    try:
        told = parser.parse_args(arguments)
    except SystemExit as end:  # argparse has said why; Blender must end in its own order
        return int(end.code or 0)
    absent = dependencies.missing()
    if absent:
        return _fail(absent, 1)
    from platebridge.errors import InputError, PlatebridgeError, RequestError

    with contextlib.ExitStack() as once:  # what was said here is for this time, and no setting of the file
        try:
            job = _generate(told, once) if told.action == "generate" else _attach(told, once)
        except (InputError, RequestError) as error:
            return _fail(str(error), 2)
        except PlatebridgeError as error:
            return _fail(str(error), 1)
        _follow(job)
    for note in job.notes:
        print("Platebridge | Note: %s" % note, flush=True)
    if job.error is not None:
        return _fail(job.sentence, 2 if isinstance(job.error, (InputError, RequestError)) else 1)
    if told.save:
        try:
            bpy.ops.wm.save_mainfile()
        except RuntimeError as error:
            return _fail("%s, but the .blend can't be saved (%s)." % (job.sentence, str(error).strip()), 1)
    print("Platebridge | %s" % job.sentence, flush=True)
    return 0


def _generate(told: argparse.Namespace, once: contextlib.ExitStack) -> Any:
    from platebridge import presets
    from platebridge.errors import RequestError
    from platebridge.frames import parse_range

    from . import animated, sources
    from .job import Job

    scene = _scene(told.scene)
    shot = scene.platebridge
    asked: Dict[str, Any] = {name: getattr(told, name) for name in ("connection", "model", "recapture") if getattr(told, name)}
    if told.frames:
        frames = parse_range(told.frames)
        asked.update(use_scene_range=False, frame_first=frames.first, frame_last=frames.last)
    once.enter_context(versions.borrowed([(shot, name, value) for name, value in asked.items()]))
    dials: Dict[str, Any] = {}
    kept = ""
    if told.preset:
        preset = presets.find(told.preset).dials
        dials.update(animated.not_animated(scene, preset))
        kept = animated.keep_their_own(scene, preset)
    for text in told.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestError("--set %s names no value." % text, "Write --set amount=1.4.")
        dials[name.strip()] = value.strip()
    plan = sources.plan(scene, versions.view_layer_of(scene, bpy.context))
    plan = plan.turned(dials)
    if kept:
        plan = dataclasses.replace(plan, notes=(*plan.notes, kept + "."))
    return Job.generate(plan, server.client_of(scene), shot.output)


def _attach(told: argparse.Namespace, once: contextlib.ExitStack) -> Any:
    from .job import Job

    scene = _scene(None)
    if told.connection:
        once.enter_context(versions.borrowed([(scene.platebridge, "connection", told.connection)]))
    return Job.attach(scene, told.take.absolute(), server.client_of(scene), scene.platebridge.output)


def _scene(name: Any) -> Any:
    from platebridge.errors import RequestError

    if name is None:
        return versions.editing_scene(bpy.context)
    if name not in bpy.data.scenes:
        raise RequestError("The file has no scene called %r." % name, "It has %s." % ", ".join(s.name for s in bpy.data.scenes))
    return bpy.data.scenes[name]


def _follow(job: Any) -> None:
    """Steps the job to its end and says each thing once."""
    said, saved = "", set()  # type: str, set[int]
    runner.jobs[:] = [job]
    while not job.step(runner.BUDGET):
        if job.sentence != said:
            said = job.sentence
            print("Platebridge | %s" % said, flush=True)
        _say_saved(job, saved)
        job.rest(runner.INTERVAL)
    _say_saved(job, saved)


def _say_saved(job: Any, saved: set[int]) -> None:
    for frame, path in sorted(job.files("comp").items()):
        if frame not in saved:
            saved.add(frame)
            print("Fra:%d Platebridge | Frames %d/%d" % (frame, len(saved), len(job.request.frames)), flush=True)
            print("Saved: '%s'" % path, flush=True)


def _fail(sentence: str, code: int) -> int:
    print("Error: %s" % sentence, file=sys.stderr, flush=True)
    return code


def register() -> None:
    """Makes the command known, where Blender has commands (4.2 and later)."""
    global _command
    if hasattr(bpy.utils, "register_cli_command"):
        _command = bpy.utils.register_cli_command("platebridge", main)


def unregister() -> None:
    global _command
    if _command is not None:
        bpy.utils.unregister_cli_command(_command)
    _command = None
