# SPDX-License-Identifier: Apache-2.0
"""What a DCC, the command or a farm calls: send a shot, get its events, never wait unless asked to.

Every method here returns at once, but `JobHandle.next` with a timeout and `Client.run`. The socket lives on a thread of its own
(link.py). Knows no bpy, no nuke, no pixels.
"""
from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Union

from .connection import Connection, default_path
from .errors import ConnectionFailed, from_dict
from .events import Done, Event, Failed, FileReady, Progress
from .link import Link
from .request import GenerateRequest
from .takes import TakeWriter

OpenFile = Callable[[str], Union[str, "os.PathLike[str]"]]
LOOK = 0.25  # seconds between looks at the connection while no event comes
WINDOW = 32 * 2**20  # bytes of one take's files that may lie in our memory or be on their way


class JobHandle:
    """One take's events as they come. `state`: "connecting", "uploading", "queued", "running", "done", "failed", "cancelled".

    `known`: the server may have the job; False before it was asked, and when it has refused it.

    Asking for the next event says that the last one is safe: only then may the server forget it, and only then does it send more.
    """

    def __init__(self, client: Client, take_id: str, request: Optional[GenerateRequest], open_file: Optional[OpenFile],
                 origin: Dict[str, Any], held: Dict[str, str], after: int, again: bool) -> None:
        self.take_id, self.request, self.open_file, self.origin = take_id, request, open_file, origin
        self.held, self.after, self.again = held, after, again
        self.state, self.known = "connecting", False
        self._client = client
        self._arrived: Deque[Tuple[int, Event, int]] = deque()
        self._bell = threading.Condition()
        self._taken = after  # number of the last event that was given out
        self._over = False

    @property
    def finished(self) -> bool:
        """Whether the last event (Done or Failed) was given out."""
        return self._over

    def next(self, timeout: float = 0.0) -> Optional[Event]:
        """The next event in order, each once, or None when none has come (within `timeout` seconds). After the last, always None."""
        with self._bell:
            if not self._arrived and timeout > 0 and not self._over:
                self._bell.wait_for(lambda: self._arrived or self._over, timeout)
            if self._over or not self._arrived:
                return None
            n, event, cost = self._arrived.popleft()
            self._over = isinstance(event, (Done, Failed))
            if n:
                safe = n if self._over else n - 1
                self._taken = n
                self._client._link.post("taken", self, cost, safe)
        return event

    def cancel(self) -> Future:
        """Asks the server to stop. What came is kept; the last event is Failed with code "cancelled"."""
        return self._client.cancel(self.take_id)

    def close(self) -> None:
        """No more events, please. The job itself goes on; attach to it again at any time."""
        with self._bell:
            self._over = True
            self._arrived.clear()
            self._bell.notify_all()
        self._client._link.post("detach", self)

    # --- the link's side, on its thread -----------------------------------------------------------------------------------

    def _arrive(self, n: int, event: Event, cost: int) -> None:
        with self._bell:
            if self._over:
                return
            uploading = isinstance(event, Progress) and event.phase == "uploading"
            if uploading and self._arrived and self._arrived[-1][0] == 0 and isinstance(self._arrived[-1][1], Progress):
                self._arrived.pop()  # nobody asked for the last figure: the new one replaces it
            self._arrived.append((n, event, cost))
            self._bell.notify_all()


class Client:
    """`connection`: a Connection, the path of a connection file, or None for the usual one. Files are read again at each attempt.

    `state`: "connecting", "connected", "lost". `problem`: the error that keeps us away, or None. `sent`: bytes on the wire so far
    {"put": input files, "control": the rest}; `received`: likewise {"files", "control"}.
    """

    def __init__(self, connection: Union[Connection, str, os.PathLike[str], None] = None, name: str = "platebridge") -> None:
        self._link = Link(connection if connection is not None else default_path(), name, WINDOW)

    @property
    def state(self) -> str:
        return self._link.state

    @property
    def problem(self) -> Optional[Exception]:
        return self._link.problem

    @property
    def device(self) -> str:
        """What the server works on, once connected."""
        return self._link.device

    @property
    def sent(self) -> Dict[str, int]:
        return dict(self._link.sent)

    @property
    def received(self) -> Dict[str, int]:
        return dict(self._link.received)

    def start(self) -> Client:
        """Starts the thread; the server may come later."""
        self._link.start()
        return self

    def close(self, wait: float = 0.0) -> None:
        """Ends the thread, and waits for its end at most so many seconds. Jobs go on without us."""
        self._link.close(wait)

    def __enter__(self) -> Client:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close(2.0)

    def upload_and_submit(self, request: GenerateRequest, open_file: OpenFile, take_id: str, origin: Optional[Dict[str, Any]] = None,
                          held: Optional[Dict[str, str]] = None, again: bool = False) -> JobHandle:
        """Sends what the server lacks and asks for the take. `open_file`: SHA-256 to the path of an input file.

        `held`: files of the take that are on disk already (TakeWriter.have); their bytes are not sent again. `again`: a take
        that failed or was cancelled goes on. Trouble of any kind comes as Failed, the last event.
        """
        return self._follow(JobHandle(self, take_id, request, open_file, origin or {}, dict(held or {}), 0, again))

    def attach(self, take_id: str, after: int = 0, held: Optional[Dict[str, str]] = None) -> JobHandle:
        """The events of a job that the server has, from number `after` + 1 on."""
        return self._follow(JobHandle(self, take_id, None, None, {}, dict(held or {}), after, False))

    def cancel(self, take_id: str) -> Future:
        return self._link.ask("cancel", {"take": take_id}, lambda message: None)

    def models(self) -> Future:
        """List of model cards, as plain data; answered once the server's worker is up."""
        return self._link.ask("models", {}, lambda message: message.body["models"])

    def jobs(self) -> Future:
        """The server's latest jobs: {"take", "shot", "state", "created" (seconds since 1970), "events"}."""
        return self._link.ask("jobs", {}, lambda message: message.body["jobs"])

    def about(self) -> Future:
        """What the server says of itself: {"server": version, "device", "waiting": jobs under way or in line, and in bytes
        "memory_free", "memory", "disk_free" where its files lie}."""
        return self._link.ask("about", {}, lambda message: message.body["facts"])

    def ping(self) -> Future:
        """Seconds of a round trip."""
        begun = time.monotonic()
        return self._link.ask("ping", {}, lambda message: time.monotonic() - begun)

    def run(self, request: GenerateRequest, open_file: OpenFile, writer: TakeWriter, on_event: Optional[Callable[[Event], None]] = None, *,
            origin: Optional[Dict[str, Any]] = None, again: bool = False, patience: float = 60.0) -> List[Path]:
        """The whole of it, waiting: gives the paths of the files that came. For the command and for farms, not for a DCC's main thread.

        Raises what went wrong, as its own type; ConnectionFailed when no server answers for `patience` seconds. The writer's folder
        can be resumed.
        """
        job = self.upload_and_submit(request, open_file, writer.take_id, origin, writer.have, again)
        return self.finish(job, writer, on_event, patience=patience)

    def finish(self, job: JobHandle, writer: TakeWriter, on_event: Optional[Callable[[Event], None]] = None, *,
               patience: float = 60.0) -> List[Path]:
        """Takes a job's events, waiting, to its end; as `run`."""
        paths = []
        waited = 0.0
        try:
            while True:
                looked = time.monotonic()
                event = job.next(LOOK)
                waited += min(2 * LOOK, time.monotonic() - looked)  # a laptop that slept meanwhile has not waited: Windows' clock goes on
                if event is None:
                    if self.state == "connected":
                        waited = 0.0
                    elif waited > patience:
                        raise self.problem or ConnectionFailed("No server answers.", "Start it with `platebridge serve`.")
                    continue
                waited = 0.0
                if isinstance(event, FileReady):
                    paths.append(writer.write(event))
                if on_event is not None:
                    on_event(event)
                if isinstance(event, Failed):
                    raise from_dict(event.error)
                if isinstance(event, Done):
                    return paths
        finally:
            job.close()

    def _follow(self, job: JobHandle) -> JobHandle:
        self._link.post("follow", job)
        return job
