# SPDX-License-Identifier: Apache-2.0
"""A press of Generate on its way: a take for each view, one after the other, each with a courier of its own.

Threading rules: `start`, `_hear` and `_end` run on the main thread. With a window, `_follow` is a thread of its own and touches no node:
what it hears goes through the one gate (main_thread). Under -t there is no event loop that would serve it, so `start` follows, and waits.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Tuple

import nuke
from platebridge.courier import Began, Courier, Ended, Landed, News, Waiting
from platebridge.errors import Cancelled, PlatebridgeError
from platebridge.events import PHASES, Progress, Warned

from . import showing, takes_tab
from .inputs import by_name
from .main_thread import post, unrecorded

log = logging.getLogger(__name__)
jobs: List[Job] = []
"""The jobs under way; kept here, not in the script: undo must not bring one back."""

Errand = Tuple[str, Path, Callable[[], Courier]]
"""A view, the shot's folder for it, and what makes its courier."""


class Job:
    """`takes`: the folders so far, one a view. `error` is set at the end, None where every take is whole. `warnings`: sentences.

    `fellows`: takes of the other views that are there already, and shown together with these.
    """

    def __init__(self, node: Any, errands: Sequence[Errand], fellows: Sequence[Path] = ()) -> None:
        self._node, self._name, self.folders = node, node.fullName(), [folder for _, folder, _ in errands]
        self.takes: List[Path] = []
        self._fellows = list(fellows)
        self.warnings: List[str] = []
        self.error: Optional[PlatebridgeError] = None
        self.ended = threading.Event()
        self._errands = list(errands)
        self._courier: Optional[Courier] = None
        self._cancelled = self._left = False
        self._news: List[Tuple[News, str]] = []
        self._lock = threading.Lock()
        self._before: Optional[Tuple[str, str]] = None
        self._thread = threading.Thread(target=self._follow, name="platebridge news", daemon=True)

    @property
    def take(self) -> Optional[Path]:
        """The first view's take."""
        return self.takes[0] if self.takes else None

    def start(self) -> None:
        """With a window a thread follows and Nuke is free; under -t this waits for the end."""
        jobs.append(self)
        if nuke.GUI:
            self._thread.start()
        else:
            self._follow()

    def cancel(self) -> None:
        """Asks for the end; what came is kept."""
        self._cancelled = True
        if self._courier is not None:
            self._courier.cancel()

    def leave(self, wait: float = 2.0) -> None:
        """Nuke quits: the server goes on, and the take can be attached to. Waits so many seconds at most."""
        self._left = True
        if self._courier is not None:
            self._courier.leave()
            if self._courier.is_alive():  # one that is to be started this very moment leaves as its first step
                self._courier.join(wait)

    # --- on the thread that follows --------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        try:
            self.error = self._every(_Bar())
        except Exception as error:  # the last stop of this thread: a node that nobody ends says "still under way" for ever
            log.exception("The job broke down")
            self.error = PlatebridgeError(
                "Platebridge broke down (%s: %s)." % (type(error).__name__, error), "Attach to the take, and please report it."
            )
            if self._courier is not None:
                self._courier.leave()
        try:
            post(self._end)
        finally:
            self.ended.set()

    def _every(self, bar: _Bar) -> Optional[PlatebridgeError]:
        """Follows take after take, and gives what the first that isn't whole ended with."""
        for view, _folder, make in self._errands:
            if self._cancelled or self._left:
                return Cancelled("Cancelled; the view %s was not begun." % view, "Press Generate to make it.")
            error = self._one(view, make(), bar)
            if error is not None:
                return error
        return None

    def _one(self, view: str, courier: Courier, bar: _Bar) -> Optional[PlatebridgeError]:
        """Follows one take to its end and gives what it ended with."""
        self._courier = courier
        if self._cancelled:
            courier.cancel()
        if self._left:
            courier.leave()
        courier.start()
        before = "%s: " % view if len(self._errands) > 1 else ""
        while True:
            news = courier.take_news()
            if news is None:
                if bar.cancelled():
                    self.cancel()
                courier.bell.wait(0.25)
                continue
            if isinstance(news, Ended):
                return news.error
            if isinstance(news, Progress):
                bar.move(before + PHASES.get(news.phase, news.phase), int(100 * news.done / max(1, news.total)))
            self._tell(news, before)

    def _tell(self, news: News, before: str) -> None:
        """Asks the main thread to hear it. Where it has not come by yet since the last news, it hears both at once."""
        with self._lock:
            self._news.append((news, before))
            asked = len(self._news) > 1
        if not asked:
            post(self._hear)

    # --- on the main thread ----------------------------------------------------------------------------------------------------

    def node(self) -> Optional[Any]:
        """The node, whatever it is called by now; None where it was deleted or its script closed: the job goes on without it.

        The next script has a node of the same name as like as not. One that came back by undo is known by the take that it names.
        """
        try:
            self._name = self._node.fullName()  # kept: it may be renamed, and its script closed after that
            return self._node
        except ValueError:  # "A PythonObject is not attached to a node"
            node = by_name(self._name)
        if node is None or node.knob("result_file") is None or self.take is None or node["take"].value() != self.take.as_posix():
            return None
        self._node = node
        return node

    @property
    def name(self) -> str:
        """What the node is called."""
        node = self.node()
        return str(node.fullName()) if node is not None else self._name

    def _hear(self) -> None:
        """All that was told since the last time: a thousand frames that lie there already are one look at the folder."""
        with self._lock:
            heard, self._news = self._news, []
        landed, sentence = set(), ""
        for news, before in heard:
            if not nuke.GUI:
                _tell_the_farm(news, before)
            if isinstance(news, Began):
                self._begin(news.path)
            elif isinstance(news, Landed):
                landed.add(news.kind)
            elif isinstance(news, Waiting):
                sentence = "Waiting for the server: %s" % news.why if news.why else "The server is back."
            elif isinstance(news, Progress):
                sentence = "%s%s %d/%d" % (before, PHASES.get(news.phase, news.phase), news.done, news.total)
            elif isinstance(news, Warned):
                sentence = before + news.message
                self.warnings.append(sentence)
        node = self.node()
        if node is None or self._left:
            return
        with unrecorded():
            if node["output"].value() in landed and self._shown(node):
                with contextlib.suppress(PlatebridgeError):  # the folder can't be looked at for a moment: the next frame brings it
                    showing.update(node, self._together())
            if sentence:
                say(node, sentence)

    def _begin(self, take: Path) -> None:
        """The first view's take is named by the node, with its own star and note; nothing of it can be shown yet."""
        node = self.node()
        self.takes.append(take)
        if node is None or self._left or len(self.takes) > 1:
            return
        self._before = str(node["take"].value()), str(node["result_file"].value())
        self._name_take(node, take.as_posix(), "")

    def _name_take(self, node: Any, take: str, file: str) -> None:
        with unrecorded():
            node["take"].setValue(take)
            node["result_file"].setValue(file)
            with contextlib.suppress(PlatebridgeError):  # its take.json is damaged
                takes_tab.read_marks(node, Path(take))

    def _together(self) -> List[Path]:
        return self.takes + [take for take in self._fellows if take not in self.takes]

    def _shown(self, node: Any) -> bool:
        """Whether the node still shows this job's take: the artist may have chosen another meanwhile."""
        return self.take is not None and bool(node["take"].value() == self.take.as_posix())

    def _end(self) -> None:
        if self in jobs:
            jobs.remove(self)
        node = self.node()
        if node is None or self._left:
            return
        with unrecorded():
            if self.error is not None:
                if self._before is not None and self._shown(node) and not self.takes[0].is_dir():
                    self._name_take(node, *self._before)  # nothing came, and its folder is gone: what was shown is shown again
                say(node, str(self.error))
            else:
                whole = "%s %s whole." % (" and ".join(str(take) for take in self.takes), "is" if len(self.takes) == 1 else "are")
                views = showing.in_views(self._together()) if self._shown(node) else ""
                say(node, " ".join(filter(None, [whole, views, *self.warnings])))


class _Bar:
    """Nuke's own progress bar; none under -t. Whether Nuke 17 lets another thread than the main one move it is not established: where it
    does not, the bar is given up, and the status line tells alone."""

    def __init__(self) -> None:
        self._task: Any = self._tried(nuke.ProgressTask, "Platebridge") if nuke.GUI else None

    def cancelled(self) -> bool:
        return self._task is not None and bool(self._tried(self._task.isCancelled))

    def move(self, message: str, percent: int) -> None:
        for name, value in (("setMessage", message), ("setProgress", percent)):
            if self._task is not None:
                self._tried(getattr(self._task, name), value)

    def _tried(self, call: Callable[..., Any], *told: Any) -> Any:
        try:
            return call(*told)
        except Exception:  # whatever Nuke raises: a bar is no reason to lose the take
            log.warning("Nuke's progress bar can't be moved from here", exc_info=True)
            self._task = None
            return None


def of(node: Any) -> Optional[Job]:
    """The job that is under way for this node."""
    name = node.fullName()
    return next((job for job in jobs if job.node() is not None and job.name == name), None)


def _tell_the_farm(news: News, before: str) -> None:
    """Under -t: the lines that farms read, as Blender's command prints them."""
    if isinstance(news, Landed) and news.kind == "comp":
        print("Fra:%d Platebridge\nSaved: '%s'" % (news.frame or 0, news.path), flush=True)
    elif isinstance(news, Progress):
        print("Platebridge | %s%s %d/%d" % (before, PHASES.get(news.phase, news.phase), news.done, news.total), flush=True)
    elif isinstance(news, Warned):
        print("Platebridge | Note: %s%s" % (before, news.message), flush=True)


def say(node: Any, sentence: str, knob: str = "status") -> None:
    """Words into a text knob, the node's status line as a rule. The knob takes what looks like a tag for one."""
    node[knob].setValue(sentence.replace("<", "\u2039").replace(">", "\u203a"))
