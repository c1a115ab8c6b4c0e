# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server in a process of its own, on real sockets; the generator alone is small."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SERVE = """
import sys
from pathlib import Path
from platebridge_server.server import serve
root = Path(sys.argv[1])
stand_in = {"generator": sys.argv[2]} if len(sys.argv) > 2 else {}
serve(data=root / "data", connection_file=root / "connection.json", port=0, ipc=True, device="cpu", **stand_in)
"""


class Server:
    """A server process on a folder: started, killed, started again on the same jobs and files."""

    def __init__(self, root, generator="small_generator:generate"):
        """generator: None for the real pipeline and its models."""
        self.root, self.control, self.connection = root, root / "control", root / "connection.json"
        self.control.mkdir(parents=True)
        self.generator, self.process = generator, None

    def start(self):
        self.connection.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "PLATEBRIDGE_TEST_CONTROL": str(self.control),
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        }
        with open(self.root / "log", "ab") as log:
            command = [sys.executable, "-c", SERVE, str(self.root), *([self.generator] if self.generator else [])]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(lambda: self.connection.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, (self.root / "log").read_text()
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def hold(self, frame):
        (self.control / ("hold.%d" % frame)).touch()

    def let_go(self, frame):
        (self.control / ("hold.%d" % frame)).unlink()

    def made(self):
        return [int(line) for line in (self.control / "made").read_text().split()]


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
