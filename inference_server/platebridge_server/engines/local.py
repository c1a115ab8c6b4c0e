# SPDX-License-Identifier: Apache-2.0
"""The local engine: one worker process per device, supervised. A worker that dies is started again; whether its task is, others decide.

Speaks with a worker through its standard input and output: messages of msgpack, each behind its length (worker.py reads them).
Knows no sockets and no jobs database.
"""
from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Sequence

import msgpack
from platebridge.errors import Cancelled

from .base import Died, Happened, Ready, Report, Task

log = logging.getLogger(__name__)
GENERATOR = "platebridge_server.generate:generate"
MAX_MESSAGE = 64 * 2**20  # a request of very many frames; what a worker says is small
LOG_BYTES = 10 * 2**20


def write_message(pipe: IO[bytes], message: Dict[str, Any]) -> None:
    """One message into a pipe, whole. OSError when nobody reads it any more."""
    data = msgpack.packb(message)
    pipe.write(struct.pack(">I", len(data)) + data)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> Optional[Dict[str, Any]]:
    """The next message, None at the end of the pipe (also in the middle of a message: the writer was killed)."""
    head = pipe.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack(">I", head)
    if length > MAX_MESSAGE:
        raise ValueError("a message of %d bytes" % length)
    data = pipe.read(length)
    return msgpack.unpackb(data) if len(data) == length else None


class LocalEngine:
    """`devices`: "cpu", "cuda:0" …; one worker each. None lets the worker choose. `generator`: module:function, as `generate`."""

    def __init__(self, spool: Path, logs: Path, devices: Sequence[Optional[str]] = (None,), generator: str = GENERATOR,
                 reserve: int = 0) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._workers = [
            _Worker({"device": device, "generator": generator, "spool": str(spool), "reserve": reserve}, logs / ("worker%d.log" % number))
            for number, device in enumerate(devices)
        ]

    def start(self, report: Callable[[Report], None]) -> None:
        for worker in self._workers:
            worker.start(report)

    def free(self) -> bool:
        # one that is not up gets a task only where none is: it may never come, and the task would die with it
        none_up = not any(worker.ready for worker in self._workers)
        return any(worker.task is None and (worker.ready or none_up) for worker in self._workers)

    def submit(self, task: Task) -> None:
        free = [worker for worker in self._workers if worker.task is None]
        next((worker for worker in free if worker.ready), free[0]).run(task)  # one that can't start would let the task die with it

    def cancel(self, take: str) -> None:
        for worker in self._workers:
            worker.cancel(take)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def pids(self) -> List[int]:
        """Of the worker processes that live now."""
        return [worker.pid for worker in self._workers if worker.pid]


class _Worker:
    """One supervised process. Its thread starts it, reads what it says, and starts it again when it dies; another speaks to it, for a pipe
    is soon full while the process still imports torch."""

    def __init__(self, settings: Dict[str, Any], log_path: Path) -> None:
        self._settings, self._log_path = settings, log_path
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._process: Optional[subprocess.Popen] = None
        self._orders: queue.SimpleQueue = queue.SimpleQueue()  # of the process that lives now; None ends its input
        self._thread: Optional[threading.Thread] = None
        self._cancelled = False
        self.task: Optional[Task] = None
        self.ready = False

    @property
    def pid(self) -> int:
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def start(self, report: Callable[[Report], None]) -> None:
        self._report = report
        self._thread = threading.Thread(target=self._supervise, name="worker", daemon=True)
        self._thread.start()

    def run(self, task: Task) -> None:
        with self._lock:
            self.task, self._cancelled = task, False
            self._say(_run_message(task))

    def cancel(self, take: str) -> None:
        with self._lock:
            if self.task is not None and self.task.take == take:
                self._cancelled = True
                self._say({"t": "cancel", "take": take})

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            process = self._process
            self._orders.put(None)  # a worker ends by itself when nobody speaks to it any more
        if process is not None:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread is not None:
            self._thread.join(10)

    def _say(self, message: Dict[str, Any]) -> None:
        """To the process, if there is one. One that is dying hears nothing: its death is reported and the task comes again."""
        if self._process is not None:
            self._orders.put(message)

    def _supervise(self) -> None:
        early_deaths = 0
        while not self._closing.is_set():
            try:
                ready = self._live()
                reason = _reason(self._process.wait())
            except OSError as error:  # no such thing as another process just now
                ready, reason = False, "it could not be started: %s" % error
            if self._closing.is_set():
                return
            early_deaths = 0 if ready else early_deaths + 1
            with self._lock:
                self._process, self.ready = None, False
                task, self.task = self.task, None
                cancelled = self._cancelled
            log.warning("A worker ended (%s); see %s", reason, self._log_path)
            if task is not None and cancelled:
                self._report(Happened(task.take, "failed", {"error": Cancelled().to_dict()}))
            elif task is not None:
                self._report(Died(task.take, reason))
            # one that can't even start is not tried in a tight circle
            self._closing.wait(min(30.0, 0.2 * 2 ** early_deaths) if early_deaths else 0.0)

    def _live(self) -> bool:
        """One life of the process: until its output ends. Gives whether it ever said that it is ready."""
        ready = False
        with _log_file(self._log_path) as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "platebridge_server.worker", json.dumps(self._settings)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )
        with self._lock:
            self._process, self._orders = process, queue.SimpleQueue()
            threading.Thread(target=_pass_on, args=(self._orders, process.stdin), name="orders", daemon=True).start()
            if self._closing.is_set():  # it came too late to be told
                process.kill()
            if self.task is not None:
                self._say(_run_message(self.task))
                if self._cancelled:  # while there was no process
                    self._say({"t": "cancel", "take": self.task.take})
        while True:
            try:
                message = read_message(process.stdout)
            except (ValueError, TypeError) as error:  # bytes that are no message: it can't be trusted any further
                log.error("A worker said what can't be read: %s", error)
                process.kill()
                message = None
            if message is None:
                process.stdout.close()
                self._orders.put(None)
                return ready
            if message["t"] == "ready":
                ready = self.ready = True
                self._report(Ready(message["device"], message["models"]))
            else:
                last = message["kind"] in ("done", "failed")
                if last:
                    with self._lock:
                        self.task = None
                self._report(Happened(message["take"], message["kind"], message["fields"], message["sha256"], message["size"]))


def _pass_on(orders: queue.SimpleQueue, pipe: IO[bytes]) -> None:
    """Writes what it is given into the pipe, in order, until None comes or nobody reads."""
    with contextlib.suppress(OSError), pipe:
        for message in iter(orders.get, None):
            write_message(pipe, message)


def _run_message(task: Task) -> Dict[str, Any]:
    return {"t": "run", "take": task.take, "request": task.request, "origin": task.origin, "have": task.have, "scratch": str(task.scratch)}


def _reason(code: int) -> str:
    return "killed by signal %d" % -code if code < 0 else "exit code %d" % code


def _log_file(path: Path) -> IO[bytes]:
    """Appends; a long one is set aside once, so that logs never fill a disk."""
    with contextlib.suppress(OSError):  # not there yet, or Windows keeps it while somebody reads it: then the next time
        if path.stat().st_size > LOG_BYTES:
            os.replace(path, path.with_suffix(".old.log"))
    return open(path, "ab")
