# SPDX-License-Identifier: GPL-3.0-or-later
"""A job: capture, hash, send, events, a strip that grows. Advanced in small steps, in a window and headless alike.

`step(budget)` is all that anyone calls. It never waits: not for the network, the server, the disk or a thread. What waits
is the courier. Scenes and strips are looked up anew at every step, for undo and file loading free them.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import bpy
from platebridge import courier, curves, events
from platebridge.courier import Courier, Input, MakeClient
from platebridge.errors import Cancelled, PlatebridgeError
from platebridge.request import GenerateRequest

from . import capture, captured, runner, sources, timeline, versions

log = logging.getLogger(__name__)
PHASES = {"capture": "Rendering the passes", **events.PHASES, "done": "Done"}


class Job:
    """One take on its way. Make one with `generate` or `attach`.

    What a panel shows: `phase` (a key of PHASES), `done` of `total` steps of it, `notes` (warnings, as sentences), `waiting` (why the
    server is waited for, or ""), `preview` (PNG bytes or None), `frames_there`. At the end `finished`, `error` or None, and `summary`.
    `scene`: the session id of the scene that it is for.
    `after`: a job whose take is begun before this one, so that a wedge is captured once and numbered in its own order.
    """

    def __init__(self, scene: int, output: str) -> None:
        self.phase, self.done, self.total = "capture", 0, 0
        self.notes: List[str] = []
        self.waiting = self.summary = ""
        self.preview: Optional[bytes] = None
        self.finished = False
        self.error: Optional[PlatebridgeError] = None
        self.take_id, self.take_path = "", None  # type: str, Optional[Path]
        self.request: Optional[GenerateRequest] = None
        self._request_hash = ""
        self.scene, self._kind = scene, output.lower()
        self._began: Dict[str, Tuple[float, int]] = {}  # phase: when it was first heard of, and how far it was then
        self._files: Dict[str, Dict[int, Path]] = {"comp": {}, "effect": {}}
        self._plate: Mapping[int, Path] = {}
        self._plate_strip = ""
        self._stands = False
        self.after: Optional[Job] = None
        self.captures = self._cancelled = self._stepping = False
        self._courier: Optional[Courier] = None
        self._work: Iterator[bool] = iter(())

    @classmethod
    def generate(cls, plan: sources.Plan, make_client: MakeClient, output: str = "COMP") -> Job:
        """Captures what is missing and asks for a take. `output`: "COMP" or "EFFECT", which of them stands on the timeline."""
        job = cls(plan.scene, output)
        job.notes += plan.notes
        job._plate_strip = plan.plate_strip
        job._work = job._generate(plan, make_client)
        return job

    @classmethod
    def capture(cls, plan: sources.Plan) -> Job:
        """Captures what is missing and ends there: no server is asked."""
        job = cls(plan.scene, "COMP")
        job.notes += plan.notes
        job._work = job._capture(plan)
        return job

    @classmethod
    def attach(cls, scene: Any, take: Path, make_client: MakeClient, output: str = "COMP") -> Job:
        """Goes on with an interrupted take; its strip is found by the take's id, or put into this scene."""
        job = cls(versions.session_id(scene), output)
        job.phase, job._plate_strip = "uploading", sources.chosen_strip(scene)
        job._work = job._deliver(Courier.resume(make_client, take, origin()))
        return job

    def step(self, budget: float = 0.01) -> bool:
        """Works for about `budget` seconds (one rendered frame may take longer) and gives whether the job is finished.

        Never raises: trouble becomes `error`. Called again from within itself (a render lets timers run), it does nothing.
        """
        if self.finished or self._stepping:
            return self.finished
        self._stepping = True
        end = time.monotonic() + budget
        try:
            while next(self._work) and time.monotonic() < end:
                pass
        except StopIteration:
            self._end(None)
        except PlatebridgeError as error:
            self._end(error)
        except Exception as error:  # a step runs in a timer: what escaped here would end it without a word
            log.exception("A step of the job broke down")
            self._end(
                PlatebridgeError(
                    "Platebridge broke down (%s: %s)." % (type(error).__name__, error), "Attach to the take, and please report it."
                )
            )
        finally:
            self._stepping = False
        return self.finished

    def rest(self, seconds: float) -> None:
        """For a loop with nothing else to do (headless): until there is news, or so long."""
        if self._courier is not None and not self.finished:
            self._courier.bell.wait(seconds)

    def cancel(self) -> None:
        """Asks for the end; the job is finished when a later step says so. What came is kept."""
        self._cancelled = True
        if self._courier is not None:
            self._courier.cancel()

    def leave(self, wait: float = 5.0) -> None:
        """Lets go: the server goes on, and the take can be attached to. Waits for the thread, `wait` seconds at most: for exit only."""
        self._work = iter(())
        if self._courier is not None and self._courier.is_alive():
            self._courier.leave()
            self._courier.join(wait)
        if not self.finished:
            self._end(Cancelled("Left; the server goes on with the take.", "Attach to it to see what came."))

    def files(self, kind: str) -> Dict[int, Path]:
        """Finished frames on the disk by number: "comp" or "effect"."""
        return dict(self._files[kind])

    @property
    def frames_there(self) -> int:
        """Finished frames on the disk."""
        return len(self._files["comp"])

    @property
    def seconds_left(self) -> Optional[float]:
        """Of the phase it is in, as fast as it went so far; None where nothing can be said yet."""
        began, done = self._began.get(self.phase, (0.0, 0))
        gone = time.monotonic() - began
        if self.finished or self.waiting or self.done <= done or gone < 1.0:
            return None
        return (self.total - self.done) * gone / (self.done - done)

    @property
    def sentence(self) -> str:
        """Where the job stands, for a status line."""
        if self.error is not None:
            return str(self.error)
        if self.finished:
            return self.summary
        if self.waiting:
            return "Waiting for the server: %s" % self.waiting
        return "%s%s" % (PHASES.get(self.phase, self.phase), " %d/%d" % (self.done, self.total) if self.total else "")

    # --- the work: a generator that yields True to be called on at once, False when there is nothing to do for now ------------------

    def _capture(self, plan: sources.Plan, driven: Optional[Dict[int, Dict[str, Any]]] = None) -> Iterator[bool]:
        while runner.another_captures(self):
            yield False  # two captures at once would move the current frame under each other
        self.captures = True
        frames = capture.capture(plan, driven)
        try:
            for done, total in frames:
                self._show("capture", done, total)
                if self._cancelled:
                    raise Cancelled("Cancelled; the passes that were rendered are kept.")
                yield True
                while runner.blender_is_busy():
                    yield False
        finally:
            frames.close()  # gives the current frame back, however this ends
            self.captures = False
        self.summary = "%d frames captured into %s" % (self.total, plan.folder) if self.total else "Every pass is there already"

    def _generate(self, plan: sources.Plan, make_client: MakeClient) -> Iterator[bool]:
        while self.after is not None and self.after.take_path is None and not self.after.finished:
            yield False
        if self.after is not None and self.after.take_path is None and self.after.error is not None:
            raise self.after.error  # what kept that take from being begun keeps this one
        self.after = None
        driven: Dict[int, Dict[str, Any]] = {}
        yield from self._capture(plan, driven)
        request = plan.request.with_dials(
            {name: curves.sampled(name, {frame: values[name] for frame, values in driven.items()}) for name in plan.driven}
        )
        inputs = {which: Input(source.name, source.files, source.pattern) for which, source in plan.sources.items()}
        camera, place = captured.captured_camera(plan), plan.takes or plan.folder
        yield from self._deliver(Courier.send(make_client, request, inputs, camera, place, origin()))

    def _deliver(self, messenger: Courier) -> Iterator[bool]:
        self._courier = messenger
        if self._cancelled:
            messenger.cancel()
        messenger.start()
        while True:
            news = messenger.take_news()
            if news is None:
                self._stand()
                yield False
            elif isinstance(news, courier.Ended):
                while not self._stand():
                    yield False
                if news.error is not None:
                    raise news.error
                self.summary = "%s is whole: %d frames" % (self.take_path.name if self.take_path else self.take_id, self.frames_there)
                return
            else:
                self._hear(news)
                yield True

    def _hear(self, news: courier.News) -> None:
        if isinstance(news, courier.Began):
            self.take_id, self.take_path, self.request = news.take_id, news.path, news.request
            self._request_hash, self._plate = news.request_hash, news.plate
            self._stands = timeline.find(news.take_id, self._kind)[1] is not None
            self._show("queued", 0, 0)
        elif isinstance(news, courier.Landed):
            if news.kind in self._files and news.frame is not None:
                self._files[news.kind][news.frame] = news.path
        elif isinstance(news, courier.Waiting):
            self.waiting = news.why
        elif isinstance(news, events.Progress):
            self._show(news.phase, news.done, news.total)
        elif isinstance(news, events.Preview):
            self.preview = news.png
        elif isinstance(news, events.Warned):
            self.notes.append(str(news))

    def _show(self, phase: str, done: int, total: int) -> None:
        self.phase, self.done, self.total = phase, done, total
        self._began.setdefault(phase, (time.monotonic(), done))

    def _stand(self) -> bool:
        """Makes the timeline true to what has come. False while Blender renders or saves: then not a strip is touched."""
        if runner.blender_is_busy():
            return False
        if self.request is None or self.take_path is None:
            return True
        there = timeline.in_order(self.request.frames, self._files[self._kind])
        if not there:
            return True
        standing = timeline.standing(self.take_id, self._kind)
        for _, strip in standing:  # the artist may have cut or copied it meanwhile
            timeline.grow(strip, there)
        if standing:
            self._stands = True
        elif not self._stands:  # put there once; when the artist takes it away, it stays away
            self._stands = True
            self._insert(there)
        return True

    def _insert(self, there: List[Path]) -> None:
        assert self.request is not None and self.take_path is not None
        try:
            scene = sources.find_scene(self.scene)
            plate = timeline.plate_strip(scene, self.request, self._plate, self._plate_strip)
            take = timeline.TakeStrip(self.take_id, self.take_path, self._kind, self.request, self._request_hash)
            strip = timeline.insert(scene, take, there, plate)
            if self._kind == "effect":  # it lets through what is below, and that must be the plate alone
                timeline.show_alone(scene, strip)
        except PlatebridgeError as error:  # the take goes on all the same, on the disk
            self.notes.append("%s The take lies in %s: load it onto the timeline when you want it." % (error.message, self.take_path))
            return
        remember_for_undo("Platebridge take")

    def _end(self, error: Optional[PlatebridgeError]) -> None:
        self.error, self.finished = error, True
        if error is None:
            self._show("done", 0, 0)


def remember_for_undo(name: str) -> None:
    """One undo step. Without a `temp_override`, for the reason said in `rendering.in_window`; it needs no window."""
    if bpy.ops.ed.undo_push.poll():  # `blender --command` has nothing to undo in
        bpy.ops.ed.undo_push(message=name)


def origin() -> Dict[str, str]:
    """What this client says of itself in take.json."""
    import platform

    import platebridge

    return {
        "application": "Blender %s" % bpy.app.version_string,
        "version": platebridge.__version__,
        "host": platform.node(),
        "file": Path(bpy.data.filepath).name,
    }
