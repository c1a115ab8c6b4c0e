# SPDX-License-Identifier: Apache-2.0
"""A real server in a process of its own, a small shot on disk, and the waits that tests need."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import zmq
from platebridge import protocol
from platebridge.connection import read_connection
from platebridge.frames import FrameRange
from platebridge.protocol import Message
from platebridge.request import FrameFile, GenerateRequest, Inputs, ModelSettings, Pass

HERE = Path(__file__).parent
SERVE = """
import json, logging, sys
from pathlib import Path
from platebridge_server.server import Limits, serve
from platebridge_server.spool import SpoolLimits
from platebridge_server.scheduler import JobLimits
said = json.loads(sys.argv[1])
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
serve(Path(said["data"]), said["bind"], said["port"], said["ipc"], said["device"], Path(said["connection"]),
      Limits(SpoolLimits(**said["spool"]), JobLimits(**said["jobs"])), said["generator"], said["client_keys"] and Path(said["client_keys"]))
"""


def until(condition, what: str, seconds: float = 20.0):
    """Waits for the thing itself; gives what the condition gave."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError("waited %g s for: %s" % (seconds, what))
        time.sleep(0.005)


class House:
    """`start` a server on this folder, `kill` it, start it again: the same jobs, keys and files."""

    def __init__(self, root: Path, ipc: bool = True, **settings) -> None:
        self.root = root
        self.connection = root / "connection.json"
        self.control = root / "control"
        self.control.mkdir(parents=True, exist_ok=True)
        self.settings = {"data": str(root / "data"), "bind": None, "port": 47900, "ipc": ipc, "connection": str(self.connection),
                         "spool": {"reserve": 0}, "jobs": {}, "generator": "fake_generator:generate", "client_keys": None, "device": "cpu",
                         **settings}
        self.process = None

    def start(self) -> House:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
        with open(self.root / "server.log", "ab") as log:
            command = [sys.executable, "-c", SERVE, json.dumps(self.settings)]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(self._up, "the server's connection file\n" + self.log())
        return self

    def _up(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError("the server ended:\n" + self.log())
        return self.connection.exists() and read_connection(self.connection).pid == self.process.pid

    def log(self) -> str:
        return (self.root / "server.log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, and its end awaited."""
        self.process.kill()
        self.process.wait(20)

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def worker(self) -> psutil.Process:
        """The one worker process, once it is there."""
        return until(lambda: psutil.Process(self.process.pid).children(), "a worker process")[0]

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def made(self):
        """[(take, frame)] of every frame the fake generator has begun, in order."""
        with contextlib.suppress(FileNotFoundError):
            return [(line.split()[0], int(line.split()[1])) for line in (self.control / "made").read_text().splitlines()]
        return []

    def hold(self, frame: int) -> None:
        (self.control / ("hold.%d" % frame)).touch()

    def let_go(self, frame: int) -> None:
        (self.control / ("hold.%d" % frame)).unlink()

    def origin(self, **more):
        return {"control": str(self.control), **more}


class Shot:
    """Input files of random bytes and the request that names them."""

    def __init__(self, root: Path, frames: int = 6, size: int = 5000, first: int = 1001) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.paths = {}
        passes = {}
        for name in ("plate", "depth", "mask"):
            files = []
            for frame in range(first, first + frames):
                data = os.urandom(size)
                path = root / ("%s.%d.exr" % (name, frame))
                path.write_bytes(data)
                sha = hashlib.sha256(data).hexdigest()
                self.paths[sha] = path
                files.append(FrameFile(frame, sha, size))
            passes[name] = Pass(name, (), tuple(files))
        self.bytes = 3 * frames * size
        self._inputs, self._frames = Inputs(**passes), FrameRange(first, first + frames - 1)

    def request(self, seed: int = 0) -> GenerateRequest:
        return GenerateRequest("tower", self._frames, self._inputs, model=ModelSettings(seed=seed))

    def open_file(self, sha256: str) -> Path:
        return self.paths[sha256]


def new_take() -> str:
    return uuid.uuid4().hex


def folder_hashes(path: Path):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(path.iterdir())}


def tcp_endpoint(house) -> str:
    return next(e for e in read_connection(house.connection).endpoints if e.startswith("tcp:"))


class Raw:
    """A DEALER of our own making on the server. `curve`: with the right keys over TCP; else the Unix socket, plain."""

    def __init__(self, house, curve: bool = False) -> None:
        found = read_connection(house.connection)
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndhwm = 100
        if curve:
            self.socket.curve_serverkey = found.server_key.encode()
            self.socket.curve_publickey, self.socket.curve_secretkey = found.client_public.encode(), found.client_secret.encode()
        self.socket.connect(tcp_endpoint(house) if curve else found.nearest())

    def ask(self, message: Message) -> Message:
        protocol.send(self.socket, message)
        return self.hear()

    def hear(self) -> Message:
        """The next word, but for the sign of life that every client is given now and then."""
        while True:
            assert self.socket.poll(10000), "the server says nothing"
            message = protocol.unpack(protocol.receive(self.socket))
            if message != Message("pong"):
                return message

    def __enter__(self):
        assert self.ask(Message("hello", {"client": "attacker"}, id=1)).type == "welcome"
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.context.term()
