# SPDX-License-Identifier: Apache-2.0
"""The courier: one thread per take that hashes inputs, talks to the client, and writes the files that come.

Threading rules: this thread never touches the host program (no bpy, no nuke), and nobody waits for it. The host's main thread reads news
with `take_news`, which returns at once, and asks with `cancel` and `leave`, which only raise flags. The socket lives on the client's
own thread; big files are hashed, checked and written here, so that a frame of 40 MB costs the main thread nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

from .errors import Cancelled, ConnectionFailed, InputError, ModelError, PlatebridgeError, RequestError, StorageError, from_dict
from .events import Done, Failed, FileReady, Preview, Progress, Started, Warned
from .frames import name_at
from .request import Camera, FrameFile, GenerateRequest, Inputs, Pass
from .request import from_dict as request_from_dict
from .takes import MARKER, TAKE, TakeWriter, hash_file, read_take

log = logging.getLogger(__name__)
LOOK = 0.25  # seconds between looks at the flags while no event comes
PATIENCE = 60.0  # seconds without a server before the take is left as it is, to be attached to later


@dataclass(frozen=True)
class Input:
    """One input by name and file: `files` is path by frame; `pattern` the same with # where it can be said so, else "".
    `channels`: which of a file's, where they aren't the usual ones."""

    name: str
    files: Mapping[int, Path]
    pattern: str = ""
    channels: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Began:
    """The take has a folder and an id. `plate`: the plate's files by frame, where they are known. `request_hash`: the request's own."""

    take_id: str
    path: Path
    request: GenerateRequest
    request_hash: str
    plate: Mapping[int, Path]


@dataclass(frozen=True)
class Landed:
    """A file of the take lies on the disk, whole. `frame` is None for preview, contact sheet and take.json."""

    kind: str
    frame: Optional[int]
    path: Path


@dataclass(frozen=True)
class Waiting:
    """The server is away; `why` is a sentence, "" when it is back."""

    why: str


@dataclass(frozen=True)
class Ended:
    """The last news. `error` is None for a whole take."""

    error: Optional[PlatebridgeError]


News = Union[Began, Landed, Waiting, Ended, Started, Progress, Preview, Warned]
MakeClient = Callable[[], Any]


class Courier(threading.Thread):
    """Make one with `send` or `resume`, then `start()`. `make_client` gives a platebridge.client.Client that was not started."""

    def __init__(self, make_client: MakeClient, errand: Callable[[Courier], None], origin: Mapping[str, Any]) -> None:
        super().__init__(name="platebridge courier", daemon=True)
        self._make_client, self._errand, self._origin = make_client, errand, dict(origin)
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._cancelled, self._left = threading.Event(), threading.Event()
        self.bell = threading.Event()

    @classmethod
    def send(
        cls,
        make_client: MakeClient,
        request: GenerateRequest,
        inputs: Mapping[str, Input],
        camera: Callable[[], Optional[Camera]],
        folder: Path,
        origin: Mapping[str, Any],
        least: int = 1,
    ) -> Courier:
        """A new take in `folder`, its number not below `least`. `request` is whole but for the inputs' content and the camera.

        `camera` is called on the courier's thread: a camera of a thousand frames takes its time to read.
        """
        return cls(make_client, lambda self: self._send(request, inputs, camera, folder, least), origin)

    @classmethod
    def resume(cls, make_client: MakeClient, take: Path, origin: Mapping[str, Any]) -> Courier:
        """Goes on with a take that was interrupted: its folder says what was asked for."""
        return cls(make_client, lambda self: self._resume(take), origin)

    def take_news(self) -> Optional[News]:
        """The next piece of news, or None; never waits."""
        try:
            return self._news.get_nowait()
        except queue.Empty:
            self.bell.clear()
            return None

    def cancel(self) -> None:
        """The take shall stop; what came is kept. The last news says so."""
        self._cancelled.set()

    def leave(self) -> None:
        """Let go of the take: the server goes on with it, and it can be attached to later."""
        self._left.set()

    # --- on this thread alone ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self._errand(self)
            self._tell(Ended(None))
        except PlatebridgeError as error:
            self._tell(Ended(error))
        except Exception as error:  # the last stop of this thread: an artist must hear of it, whatever it is
            log.exception("The courier broke down")
            self._tell(
                Ended(
                    PlatebridgeError(
                        "Platebridge broke down (%s: %s)." % (type(error).__name__, error), "Attach to the take, and please report it."
                    )
                )
            )

    def _tell(self, news: News) -> None:
        self._news.put(news)
        self.bell.set()

    def _send(
        self, request: GenerateRequest, inputs: Mapping[str, Input], camera: Callable[[], Optional[Camera]], folder: Path, least: int
    ) -> None:
        content, paths = self._hashed(inputs)
        request = dataclasses.replace(request, inputs=Inputs(**content), camera=camera())
        request = request_from_dict(request.to_dict())  # the checks for requests from outside hold for an artist's too
        note: Dict[str, Any] = {"request": request.to_dict(), "files": {sha: str(path) for sha, path in paths.items()}}
        patterns = {which: item.pattern for which, item in inputs.items() if which != "reference"}
        if all(patterns.values()):  # so that the command can go on with it too
            pictures = [str(path) for _, path in sorted(inputs["reference"].files.items())] if "reference" in inputs else []
            named = {which: list(item.channels) for which, item in inputs.items() if item.channels}
            note["sources"] = {"patterns": patterns, "channels": named, "references": pictures}
        writer = TakeWriter.create(folder, uuid.uuid4().hex, note, least)
        self._tell(Began(writer.take_id, writer.path, request, request.hash(), inputs["plate"].files))
        try:
            self._follow(
                writer, lambda client: client.upload_and_submit(
                    request, paths.__getitem__, writer.take_id, {**self._origin, "take": writer.path.name}, writer.have
                ),
            )
        except (Cancelled, InputError, ModelError, RequestError):
            if not self._left.is_set():
                _forget_if_empty(writer)
            raise

    def _resume(self, path: Path) -> None:
        if read_take(path).finished:
            raise InputError("%s is whole: there is nothing to go on with." % path, "Load it.")
        writer = TakeWriter.resume(path)
        request = request_from_dict(writer.note.get("request"))
        origin = {**self._origin, "take": path.name}  # a server that lost the take begins it anew
        paths = _inputs_of(writer, request)
        plate = {file.frame: paths[file.sha256] for file in request.inputs.plate.files if file.sha256 in paths}
        self._tell(Began(writer.take_id, writer.path, request, request.hash(), plate))
        for name in sorted(writer.have):
            kind, _, rest = name.partition(".")
            number = rest.rpartition(".")[0]
            self._tell(Landed(kind, int(number) if number.lstrip("-").isdigit() else None, writer.path / name))
        if writer.finished:
            return
        if paths:
            self._follow(
                writer, lambda client: client.upload_and_submit(request, paths.__getitem__, writer.take_id, origin, writer.have, True)
            )
        else:
            self._follow(writer, lambda client: client.attach(writer.take_id, 0, writer.have))

    def _hashed(self, inputs: Mapping[str, Input]) -> Tuple[Dict[str, Pass], Dict[str, Path]]:
        """Each input by content, and where each content lies. A file that stands for many frames is read once."""
        total = sum(len(item.files) for item in inputs.values())
        done, known, content = 0, {}, {}  # type: int, Dict[Path, FrameFile], Dict[str, Pass]
        for which, item in inputs.items():
            files: List[FrameFile] = []
            for frame, path in sorted(item.files.items()):
                if self._cancelled.is_set() or self._left.is_set():
                    raise Cancelled("Cancelled before anything was sent.")
                if path not in known:
                    try:
                        known[path] = FrameFile(frame, hash_file(path), path.stat().st_size)
                    except OSError as error:
                        raise InputError(
                            "%s can't be read (%s)." % (path, error.strerror), "Put it back.", input=which, frame=frame
                        ) from error
                files.append(dataclasses.replace(known[path], frame=frame))
                done += 1
                self._tell(Progress("finding", done, total))
            content[which] = Pass(item.name, item.channels, tuple(files))
        return content, {file.sha256: path for path, file in known.items()}

    def _follow(self, writer: TakeWriter, begin: Callable[[Any], Any]) -> None:
        """Takes the job's events to its end. Raises what it ended with."""
        with self._make_client() as client:
            job = begin(client)
            try:
                self._events(client, job, writer)
            finally:
                job.close()

    def _events(self, client: Any, job: Any, writer: TakeWriter) -> None:
        waited, away, asked = 0.0, False, False
        while not self._left.is_set():
            if self._cancelled.is_set() and not asked:
                asked = True
                job.cancel()
            looked = time.monotonic()
            event = job.next(LOOK)
            waited += min(2 * LOOK, time.monotonic() - looked)  # a laptop that slept meanwhile has not waited: Windows' clock goes on
            if event is None:
                if client.state == "connected":
                    waited = 0.0
                    if away:
                        away = False
                        self._tell(Waiting(""))
                    continue
                if asked and not job.known:
                    raise Cancelled("Cancelled before the server was reached.")
                if asked:  # no Cancelled: that one ends the take, and only the server can say so
                    raise ConnectionFailed(
                        "Cancelled; the server can't be reached, and may go on with it.", "Attach to the take to see what came."
                    )
                problem = client.problem or ConnectionFailed("No server answers.", "Start it with `platebridge serve`.")
                if waited > PATIENCE:
                    raise problem
                if not away:
                    away = True
                    self._tell(Waiting(str(problem)))
                continue
            waited = 0.0
            if isinstance(event, FileReady):
                self._tell(Landed(event.kind, event.frame, writer.write(event)))
            elif isinstance(event, Failed):
                raise from_dict(event.error)
            elif isinstance(event, Done):
                if not writer.finished:
                    raise PlatebridgeError("The server ended the take without its %s." % TAKE, "Attach to the take again.")
                return
            else:
                self._tell(event)
        raise Cancelled("Left; the server goes on with the take.", "Attach to it to see what came.")


def _inputs_of(writer: TakeWriter, request: GenerateRequest) -> Dict[str, Path]:
    """Where the inputs of an interrupted take should lie, by content: as its note lists them, else where its patterns have the frame.

    {} where the note says neither. Only its sending tells whether a file is still what it was. Raises StorageError.
    """
    places: List[Tuple[FrameFile, List[Path]]] = []
    try:
        paths = {sha: Path(file) for sha, file in writer.note.get("files", {}).items()}
        sources = writer.note.get("sources", {})
        for which, pattern in sources.get("patterns", {}).items():
            named = Path(pattern)  # itself last: one picture may be called like a pattern, matte #2.exr
            for file in getattr(request.inputs, which).files:
                places.append((file, [named.with_name(name_at(named.name, file.frame)), named]))
        if request.inputs.reference is not None:
            pictures = map(Path, sources.get("references", ()))
            places += [(file, [picture]) for file, picture in zip(request.inputs.reference.files, pictures)]
    except (AttributeError, TypeError, ValueError):
        raise StorageError("%s is damaged." % (writer.path / MARKER), "Generate a new take; this one is left as it is.") from None
    for file, candidates in places:
        if file.sha256 not in paths or not os.path.isfile(paths[file.sha256]):
            there = [path for path in candidates if os.path.isfile(path)]
            paths[file.sha256] = there[0] if there else paths.get(file.sha256, candidates[0])
    return paths


def _forget_if_empty(writer: TakeWriter) -> None:
    """A take that was refused or cancelled before anything came leaves no folder behind."""
    if not writer.have:
        with contextlib.suppress(OSError):  # somebody put a file there: it stays
            (writer.path / MARKER).unlink()
            writer.path.rmdir()
