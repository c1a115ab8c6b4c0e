# SPDX-License-Identifier: Apache-2.0
"""The buttons. Each runs on the main thread and returns at once; the courier's news come back through the one gate (main_thread)."""

from __future__ import annotations

from . import vendored  # noqa: F401  it must come first: it is where the client's own zmq comes from

# isort: split
import atexit
import platform
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional

import nuke
import platebridge
from platebridge.client import Client
from platebridge.courier import Began, Courier, Ended, Landed, News, Waiting
from platebridge.errors import Cancelled, InputError, PlatebridgeError
from platebridge.events import Progress, Warned
from platebridge.request import differing_dials
from platebridge.request import from_dict as request_from_dict
from platebridge.takes import list_takes as takes_in
from platebridge.takes import read_take

from . import inputs
from .main_thread import post

jobs: Dict[str, Job] = {}
"""The job under way by the node's full name; kept here, not in the script: undo must not bring one back."""


class Job:
    """One take on its way. `error` is set at the end, None for a whole take."""

    def __init__(self, node: Any, courier: Courier) -> None:
        self.name, self.courier = node.fullName(), courier
        self.take: Optional[Path] = None
        self.error: Optional[PlatebridgeError] = None
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="platebridge news", daemon=True)

    def start(self) -> None:
        """With a window a thread follows and Nuke is free; under -t this waits for the end, for no event loop would serve a thread."""
        jobs[self.name] = self
        self.courier.start()
        if nuke.GUI:
            self._thread.start()
        else:
            self._follow()

    def leave(self) -> None:
        """Nuke quits: the server goes on, and the take can be attached to."""
        self.courier.leave()
        self.courier.join(2.0)

    def _follow(self) -> None:
        task = nuke.ProgressTask("Platebridge") if nuke.GUI else None
        while True:
            news = self.courier.take_news()
            if news is None:
                if task is not None and task.isCancelled():
                    self.courier.cancel()
                self.courier.bell.wait(0.25)
                continue
            if task is not None and isinstance(news, Progress):
                task.setMessage(news.phase)
                task.setProgress(int(100 * news.done / max(1, news.total)))
            post(self._hear, news)
            if isinstance(news, Ended):
                self.error = news.error
                self.ended.set()
                return

    def _hear(self, news: News) -> None:
        """On the main thread. The node is looked up by name each time: it may have been deleted, and then the job goes on without it."""
        if isinstance(news, Began):
            self.take = news.path
        if isinstance(news, Ended) and jobs.get(self.name) is self:
            del jobs[self.name]
        node = nuke.toNode(self.name)
        if node is None or node.knob("result_file") is None:
            return
        if isinstance(news, Began):
            node["take"].setValue(news.path.as_posix())
            node["result_file"].setValue("")
        elif isinstance(news, Landed):
            if news.kind == node["output"].value() and node["take"].value() == news.path.parent.as_posix():
                _show(node, news.path.parent)
        elif isinstance(news, Waiting):
            _say(node, "Waiting for the server: %s" % news.why if news.why else "The server is back.")
        elif isinstance(news, Progress):
            _say(node, "%s %d/%d" % (news.phase, news.done, news.total))
        elif isinstance(news, Warned):
            _say(node, news.message)
        elif isinstance(news, Ended):
            _say(node, str(news.error) if news.error else "%s is whole." % self.take)


def generate(node: Any) -> Optional[Job]:
    """Renders the inputs, hands them to a thread and returns. What is wrong stands in the status line."""
    try:
        _check_free(node)
        plan = inputs.plan(node)
        camera = inputs.camera(node, plan.request.frames)
        _say(node, "Rendering the inputs")
        try:
            files = inputs.render(node, plan)
        except RuntimeError as error:
            raise Cancelled("The inputs were not rendered: %s" % error, "Press Generate again.") from error
    except PlatebridgeError as error:
        _say(node, str(error))
        return None
    job = Job(node, Courier.send(_client(node), plan.request, files, camera, plan.folder, origin()))
    job.start()
    return job


def attach(node: Any) -> Optional[Job]:
    """Goes on with the interrupted take that the knob names."""
    try:
        _check_free(node)
        take = Path(node["take"].value())
        if not read_take(take).note:
            raise InputError("%s is no interrupted take." % take, "Name one under Takes; List takes shows them.")
    except PlatebridgeError as error:
        _say(node, str(error))
        return None
    job = Job(node, Courier.resume(_client(node), take, origin()))
    job.start()
    return job


def cancel(node: Any) -> None:
    """Asks for the end; what came is kept."""
    job = jobs.get(node.fullName())
    if job is None:
        _say(node, "Nothing is under way.")
    else:
        job.courier.cancel()


def show(node: Any) -> None:
    """Shows the take that the knob names, as far as it has come; made here, in Blender or by the command."""
    try:
        _show(node, Path(node["take"].value()))
    except PlatebridgeError as error:
        _say(node, str(error))


def list_takes(node: Any) -> None:
    """Every take of the shot, with the dials that differ from the one shown."""
    try:
        found = takes_in(inputs.shot_folder(node))
        shown = [take for take in found if take.path.as_posix() == node["take"].value()]
        base = request_from_dict((shown[0].document or shown[0].note)["request"]) if shown else None
        lines = []
        for take in found:
            tree = (take.document or take.note).get("request")
            differs = differing_dials(base, request_from_dict(tree)) if base and tree else {}
            told = ", ".join("%s %s" % (name, value[1]) for name, value in differs.items())
            lines.append("%s%s%s" % (take.path.name, "" if take.finished else " (unfinished)", ": " + told if told else ""))
        node["takes_text"].setValue("\n".join(lines) or "There is no take yet.")
    except PlatebridgeError as error:
        _say(node, str(error))


def make_reads(node: Any) -> List[Any]:
    """Ordinary Reads of the take's comp, effect and guide, at the plate's own frame numbers."""
    made = []
    take = Path(node["take"].value())
    parent = inputs.parent_of(node)
    parent.begin()
    try:
        for kind in ("comp", "effect", "guide"):
            numbers = frames_there(take, kind)
            if not numbers:
                continue
            read: Any = nuke.nodes.Read()
            read["file"].fromUserText("%s/%s.####.exr %d-%d" % (take.as_posix(), kind, numbers[0], numbers[-1]))
            for knob, value in (("first", numbers[0]), ("origfirst", numbers[0]), ("last", numbers[-1]), ("origlast", numbers[-1])):
                read[knob].setValue(value)
            read["raw"].setValue(True)
            made.append(read)
    finally:
        parent.end()
    if not made:
        _say(node, "%s has no frames yet. Name another take, or wait." % (take if str(take) != "." else "The take"))
    return made


def frames_there(take: Path, kind: str) -> List[int]:
    """The frames of a kind that lie in a take's folder, in order."""
    found = (re.fullmatch(kind + r"\.(-?\d+)\.exr", path.name) for path in (take.iterdir() if take.is_dir() else ()))
    return sorted(int(match.group(1)) for match in found if match)


def origin() -> Dict[str, str]:
    """What this client says of itself in take.json."""
    return {
        "application": "Nuke %s" % nuke.NUKE_VERSION_STRING,
        "version": platebridge.__version__,
        "host": platform.node(),
        "file": Path(nuke.root().name()).name,
    }


def _show(node: Any, take: Path) -> None:
    kind = node["output"].value()
    numbers = frames_there(take, kind)
    if not numbers:
        raise InputError("%s has no %s frames yet." % (take, kind), "Attach to it, or name another take.")
    node["result_first"].setValue(numbers[0])
    node["result_last"].setValue(numbers[-1])
    node["result_file"].setValue("%s/%s.####.exr" % (take.as_posix(), kind))
    node["result_version"].setValue(int(node["result_version"].value()) + 1)  # Read looks at its files again


def _client(node: Any) -> Any:
    return partial(Client, node["connection"].value() or None, "Nuke")


def _check_free(node: Any) -> None:
    if node.fullName() in jobs:
        raise InputError("This node's take is still under way.", "Wait for it, or press Cancel.")


def _say(node: Any, sentence: str) -> None:
    node["status"].setValue(sentence)


def _leave_all() -> None:
    for job in list(jobs.values()):
        job.leave()


atexit.register(_leave_all)
