# SPDX-License-Identifier: Apache-2.0
"""The process that has the device: takes a task from its standard input, generates, puts finished files into the spool.

It ends by itself when its input ends, so a killed server leaves no orphan on the GPU. Knows no sockets, no clients, no database.
"""
from __future__ import annotations

import importlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Tuple

import msgpack
from platebridge.errors import Cancelled, JobError, PlatebridgeError
from platebridge.events import Event, Failed
from platebridge.protocol import LAST, MAX_HEADER, event_to_plain
from platebridge.request import from_dict

from .engines.local import GENERATOR, read_message, write_message
from .models import registry
from .spool import Spool, SpoolLimits
from .starting import importing

log = logging.getLogger(__name__)


class Worker:
    """`generate`: as generate.generate. `say`: where messages go. Tasks come one at a time; a cancel may come at any moment."""

    def __init__(self, generate: Callable[..., Any], spool: Spool, device: Optional[str], say: Callable[[Dict[str, Any]], None]) -> None:
        self._generate, self._spool, self._device, self._say = generate, spool, device, say
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._cancel = threading.Event()
        self._take = ""
        self._lock = threading.Lock()

    def listen(self, pipe: IO[bytes]) -> None:
        """Reads until the pipe ends, then ends the process: there is nobody left to work for."""
        while True:
            message = read_message(pipe)
            if message is None:
                os._exit(0)  # not sys.exit: the main thread may be deep in a model's step for minutes
            if message["t"] == "run":
                with self._lock:
                    self._take = message["take"]
                    self._cancel.clear()
                self._tasks.put(message)
            elif message["t"] == "cancel":
                with self._lock:
                    if message["take"] == self._take:
                        self._cancel.set()

    def work(self) -> None:
        """Runs tasks as they come; never returns."""
        while True:
            self.run(self._tasks.get())

    def run(self, task: Dict[str, Any]) -> None:
        """One task to its last event. Whatever goes wrong in a generation becomes that event; the worker lives on."""
        take = task["take"]
        try:
            scratch = Path(task["scratch"])
            scratch.mkdir(parents=True, exist_ok=True)
            events = self._generate(
                from_dict(json.loads(task["request"])), self._spool.open_file, take, device=self._device, origin=task["origin"],
                have=task["have"], scratch=scratch, cancelled=self._cancel.is_set,
            )
            for event in events:
                if self._tell(take, event) in LAST:
                    return
            error: PlatebridgeError = JobError("The generation ended without a word.", "This is a fault in Platebridge: please report it.")
        except PlatebridgeError as found:
            error = found
        except Exception as found:  # a fault of ours or a library's: the artist gets a sentence, the log gets the trace
            log.exception("Take %s failed", take)
            error = Cancelled() if self._cancel.is_set() else JobError(
                "The generation stopped on an error of its own: %s: %s." % (type(found).__name__, str(found)[:500]),
                "The whole of it stands in the server's worker log. What came is kept.")
        self._tell(take, Failed(error.to_dict()))

    def _tell(self, take: str, event: Event) -> str:
        kind, fields, data = event_to_plain(event)
        sha256 = self._spool.add(data, lasting=kind == "file") if data or kind == "file" else None
        if len(msgpack.packb(fields)) > MAX_HEADER // 2:
            raise JobError("An event of kind %s is too large." % kind, "This is a fault in Platebridge: please report it.")
        self._say({"t": "event", "take": take, "kind": kind, "fields": fields, "sha256": sha256, "size": len(data)})
        return kind


def _private_pipes() -> Tuple[IO[bytes], IO[bytes]]:
    """Our two pipes, kept from everyone else: what a library prints goes to the log, what it reads is nothing."""
    talk_in, talk_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return talk_in, talk_out


def main(argv: List[str]) -> None:
    """`argv[1]`: settings as JSON {device, generator, spool, reserve}; the engine writes it."""
    settings = json.loads(argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the whole group: the server decides
    talk_in, talk_out = _private_pipes()
    lock = threading.Lock()

    def say(message: Dict[str, Any]) -> None:
        with lock:
            write_message(talk_out, message)

    name, _, function = settings["generator"].partition(":")
    with importing():
        module = importlib.import_module(name)
    device = settings["device"] or module.best_device()
    worker = Worker(getattr(module, function), Spool(Path(settings["spool"]), SpoolLimits(reserve=settings["reserve"])), device, say)
    threading.Thread(target=worker.listen, args=(talk_in,), name="ears", daemon=True).start()
    say({"t": "ready", "device": device, "models": registry.cards() if settings["generator"] == GENERATOR else []})
    worker.work()


if __name__ == "__main__":
    main(sys.argv)
