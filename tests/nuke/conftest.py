# SPDX-License-Identifier: Apache-2.0
"""A stand-in Nuke with the node in an empty script, and a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
for folder in (ROOT / "tests" / "fakes", ROOT / "nuke_gizmo", Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
SERVE = """
import sys
from pathlib import Path
from platebridge_server.server import serve
root = Path(sys.argv[1])
serve(data=root / "data", connection_file=root / "connection.json", port=0, ipc=True, device="cpu", generator=sys.argv[2])
"""


class Server:
    """A server process on a folder: started, killed, started again on the same jobs."""

    def __init__(self, root, generator):
        self.root, self.generator, self.control, self.connection = root, generator, root / "control", root / "connection.json"
        self.control.mkdir(parents=True)

    def start(self):
        self.connection.unlink(missing_ok=True)
        small = str(ROOT / "tests" / "blender")
        environment = {**os.environ, "PLATEBRIDGE_TEST_CONTROL": str(self.control), "PYTHONPATH": small, "OMP_NUM_THREADS": "1"}
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(self.root), self.generator], env=environment, stdout=log, stderr=log
            )
        end = time.monotonic() + 60
        while not self.connection.exists():
            assert self.process.poll() is None and time.monotonic() < end, (self.root / "log").read_text()
            time.sleep(0.02)
        return self

    def hold(self, frame):
        (self.control / ("hold.%d" % frame)).touch()

    def let_go(self, frame):
        (self.control / ("hold.%d" % frame)).unlink()

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def serve(tmp_path):
    """`serve(generator)`: a running server; ended after the test."""
    made = []

    def start(generator="small_generator:generate"):
        made.append(Server(tmp_path / ("server_%d" % len(made)), generator).start())
        return made[-1]

    yield start
    for server in made:
        server.stop()


@pytest.fixture(scope="session")
def standing(tmp_path_factory):
    """The connection file of a server that many tests press Generate against. Who holds its frames, ends it or looks into it has one of
    its own: `serve`."""
    server = Server(tmp_path_factory.mktemp("standing"), "small_generator:generate").start()
    yield server.connection
    server.stop()


@pytest.fixture
def nuke(tmp_path):
    import nuke

    nuke.reset(str(tmp_path / "shot_010.nk"))
    nuke.pluginAddPath((ROOT / "nuke_gizmo").as_posix(), addToSysPath=False)
    yield nuke
    from platebridge_nuke import node

    for job in list(node.jobs):
        job.leave()
    node.jobs.clear()


@pytest.fixture
def wired(nuke, make_shot):
    """`(node, shot)`: the node with the tiny shot's plate, depth, mask and vectors connected."""
    shot = make_shot(frames=4)
    node = nuke.createNode("Platebridge")
    for number, which in enumerate(("plate", "depth", "mask")):
        read = nuke.nodes.Read(file=shot.patterns[which], first=shot.first, last=shot.last)
        node.setInput(number, read)
    node["last"].setValue(shot.last)
    node["depth_kind"].setValue("Z")
    return node, shot
