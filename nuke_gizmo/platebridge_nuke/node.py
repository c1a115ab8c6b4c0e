# SPDX-License-Identifier: Apache-2.0
"""The buttons. Each runs on the main thread and returns at once; what is wrong stands in the node's status line, in one sentence."""

from __future__ import annotations

from . import vendored  # noqa: F401  it must come first: it is where the client's own zmq comes from

# isort: split
import atexit
import dataclasses
import functools
import os
import platform
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

import nuke
import platebridge
from platebridge.client import Client
from platebridge.courier import Courier
from platebridge.errors import Cancelled, InputError, PlatebridgeError
from platebridge.presets import PRESETS
from platebridge.request import Camera, from_dict
from platebridge.takes import next_number, read_take

from . import asking, colour, inputs, rendering, showing, takes_tab, timeline
from .camera import camera
from .job import Errand, Job, jobs, of, say
from .main_thread import one_undo_step, unrecorded
from .showing import frames_there

__all__ = ["frames_there", "jobs"]  # what others look for here
Button = Callable[[Any], Any]


def says(button: Button) -> Button:
    """What is wrong becomes the status line; the button then gives None."""

    @functools.wraps(button)
    def pressed(node: Any) -> Any:
        try:
            return button(node)
        except PlatebridgeError as error:
            with unrecorded():
                say(node, str(error))
            return None

    return pressed


@says
def generate(node: Any) -> Optional[Job]:
    """Renders the inputs, hands them to a thread and returns: a take for each view."""
    _check_free(node)
    plan, pictures = inputs.plan(node), inputs.reference(node)
    for other in jobs:
        if _places(other.folders) & _places(plan.folders.values()):
            raise InputError("A take of this shot is under way at %s." % other.name, "Wait for it, or name another shot.")
    cameras = {view: camera(node, plan.frames, view) for view in plan.requests}
    for view, request in plan.requests.items():  # the courier's own check, before minutes of rendering
        from_dict(dataclasses.replace(request, camera=cameras[view]).to_dict())
    asking.check_server(inputs.typed(node, "connection") or None)
    with unrecorded():
        say(node, "Rendering the inputs")
    least = max(next_number(folder) for folder in plan.folders.values())  # the views' takes share a number, so that %V can name them
    errands: List[Errand] = []
    for view, request in plan.requests.items():
        try:
            files, refuse_others = rendering.render(node, plan, view)
        except RuntimeError as error:
            raise Cancelled("The inputs were not rendered: %s." % str(error).rstrip("."), "Press Generate again.") from error
        seen = partial(_seen_by, cameras[view], refuse_others)
        make = partial(
            Courier.send, _client(node), request, {**files, **pictures}, seen, plan.folders[view], origin(view), least
        )
        errands.append((view, plan.folders[view], make))
    job = Job(node, errands)
    job.start()
    return job


@says
def attach(node: Any) -> Optional[Job]:
    """Goes on with the interrupted take that the knob names, and with those of the other views that are interrupted too."""
    _check_free(node)
    named = takes_tab.chosen(node)
    fellows = showing.of_every_view(named)
    takes = [take for take in fellows if read_take(take).note]
    if not takes:
        raise InputError("%s is no interrupted take." % named, "Name one under Takes; List takes shows them.")
    showing.check_path(takes)
    errands: List[Errand] = [(take.parent.name, take.parent, partial(Courier.resume, _client(node), take, origin(""))) for take in takes]
    job = Job(node, errands, fellows)
    job.start()
    return job


@says
def cancel(node: Any) -> None:
    """Asks for the end; what came is kept."""
    job = of(node)
    if job is None:
        raise InputError("Nothing is under way.", "Press Generate.")
    job.cancel()


@says
def use_preset(node: Any) -> None:
    """Turns the guide's dials to the preset that is chosen, over the whole shot; model, seed and quality stay. One step to undo."""
    preset = next(preset for preset in PRESETS.values() if preset.label == node["preset"].value())
    with one_undo_step("Platebridge preset"):
        for name, value in preset.dials.items():
            node[name].clearAnimated()  # else it is one key more, or nothing under an expression
            node[name].setValue(list(value) if isinstance(value, tuple) else value)
    with unrecorded():
        say(node, "%s: %s." % (preset.label, preset.tooltip))


@says
def show(node: Any) -> None:
    """Shows the take that the knob names, as far as it has come; made here, in Blender or by the command."""
    _show(node, takes_tab.chosen(node))


@says
def older(node: Any) -> None:
    """Shows the take before the one that is named."""
    _go_to(node, takes_tab.neighbour(node, -1))


@says
def newer(node: Any) -> None:
    """Shows the take after the one that is named; from none, the newest."""
    _go_to(node, takes_tab.neighbour(node, 1))


@says
def list_takes(node: Any) -> None:
    """Every take of the shot: stars, what differs from the one shown, notes."""
    text = takes_tab.listed(node)
    with unrecorded():
        say(node, text, "takes_text")


@says
def keep_marks(node: Any) -> None:
    """Keeps star and note beside the take's files, where Blender finds them too."""
    takes_tab.keep_marks(node)
    list_takes(node)


@says
def make_reads(node: Any) -> List[Any]:
    """Ordinary Reads of the take: the script then renders without Platebridge. One step to undo."""
    take = takes_tab.chosen(node)
    with one_undo_step("Platebridge Reads"):
        made = showing.make_reads(node, take)
    if not made:
        raise InputError("%s has no frames yet." % take, "Name another take, or wait.")
    return made


@says
def to_timeline(node: Any) -> None:
    """In Nuke Studio and Hiero: the take onto the open sequence."""
    plate = node.input(0)
    file = str(nuke.filename(plate) or "") if plate is not None else ""
    take, kind = takes_tab.chosen(node), node["output"].value()
    told = timeline.put(
        take, kind, file, inputs.typed(node, "shot") or take.parent.name, node["timeline_as"].value() == "version of the shot's clip"
    )
    with unrecorded():
        say(node, told)


def origin(view: str) -> Dict[str, Any]:
    """What this client says of itself in take.json."""
    told: Dict[str, Any] = {
        "application": "Nuke %s" % nuke.NUKE_VERSION_STRING,
        "version": platebridge.__version__,
        "host": platform.node(),
        "file": Path(nuke.root().name()).name,
        "colour": colour.settings(),
    }
    if view:
        told["view"] = view
    return told


def _show(node: Any, take: Path) -> None:
    with one_undo_step("Platebridge take"):
        showing.show(node, showing.of_every_view(take))
        node["take"].setValue(take.as_posix())
        takes_tab.read_marks(node, take)


def _go_to(node: Any, take: Path) -> None:
    """Shows a neighbour. One that has no frame yet is named all the same, over the bare plate: else nobody could go on past it."""
    if showing.frames_there(take, node["output"].value()):
        _show(node, take)
        return
    with one_undo_step("Platebridge take"):
        node["take"].setValue(take.as_posix())
        node["result_file"].setValue("")
        takes_tab.read_marks(node, take)
    showing.show(node, [take])  # says why nothing is shown


def _seen_by(camera: Camera, refuse_others: Callable[[], None]) -> Camera:
    """The courier asks for the camera when every input is hashed: what was hashed must be ours."""
    refuse_others()
    return camera


def _places(folders: Iterable[Path]) -> Set[str]:
    """The folders themselves, whichever way they are named: by a link, a mapped drive, with .. in it."""
    return {os.path.normcase(os.path.realpath(folder)) for folder in folders}


def _client(node: Any) -> Any:
    return partial(Client, inputs.typed(node, "connection") or None, "Nuke")


def _check_free(node: Any) -> None:
    if of(node) is not None:
        raise InputError("This node's take is still under way.", "Wait for it, or press Cancel.")


def _leave_all() -> None:
    for job in list(jobs):
        job.leave()


atexit.register(_leave_all)
