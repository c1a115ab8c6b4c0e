# SPDX-License-Identifier: Apache-2.0
"""Our zmq is ours alone: another program in this Nuke may have its own, or none."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, types
theirs = types.ModuleType("zmq")
if sys.argv[2] == "theirs":
    sys.modules["zmq"] = theirs
sys.path.insert(0, sys.argv[1])
from platebridge_nuke import vendored
assert sys.modules.get("zmq") is (theirs if sys.argv[2] == "theirs" else None)
from platebridge.client import Client
from platebridge import connection
zmq = connection.zmq
assert "vendor" in zmq.__file__ and zmq is not theirs
try:  # pyzmq imports itself by name when it says what is wrong
    zmq.Context.instance().socket(zmq.REQ).connect("nowhere")
except zmq.ZMQError as error:
    print("said:", error)
a, b = (zmq.Context.instance().socket(zmq.PAIR) for _ in "ab")
a.bind("inproc://x"); b.connect("inproc://x"); b.send(b"1" * 100000, copy=False)
assert len(a.recv()) == 100000
for s in (a, b):
    s.close(0)
assert sys.modules.get("zmq") is (theirs if sys.argv[2] == "theirs" else None)
import os
sys.stdout.flush(); os._exit(0)
"""


#: Presses a button twice, as the gizmo's code does.
ABSENT = """
import sys, types
sys.modules["nuke"] = types.ModuleType("nuke")
sys.path.insert(0, sys.argv[1])
for _ in "ab":
    try:
        from platebridge_nuke import node
    except ImportError:
        print("not installed")
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.parametrize("what", ["none", "broken"])
def test_a_nuke_that_we_bring_no_zmq_for_is_told_so_at_each_press(tmp_path, what):
    """Of an ImportError the buttons say that nothing is installed, which sends an artist the wrong way."""
    room = tmp_path / "Platebridge"
    shutil.copytree(ROOT / "nuke_gizmo", room)
    shutil.copytree(ROOT / "shared" / "platebridge", room / "client" / "platebridge")
    if what == "broken":  # built for another processor
        vendor = room / "vendor" / ("cp%d%d" % sys.version_info[:2]) / ("linux" if sys.platform.startswith("linux") else sys.platform)
        (vendor / "msgpack").mkdir(parents=True)
        (vendor / "msgpack" / "__init__.py").write_text("raise ImportError('wrong architecture')")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", ABSENT, str(room)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("is installed, and brings no zmq and msgpack for Python %d." % sys.version_info[0] in s for s in lines)


@pytest.mark.parametrize("whose", ["theirs", "nobodys"])
def test_zmq_of_ours_is_private(tmp_path, whose):
    room = tmp_path / "Platebridge"
    shutil.copytree(ROOT / "nuke_gizmo", room)
    shutil.copytree(ROOT / "shared" / "platebridge", room / "client" / "platebridge")
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    vendor = room / "vendor" / ("cp%d%d" % sys.version_info[:2]) / system
    for name in ("zmq", "msgpack"):
        here = Path(importlib.util.find_spec(name).origin).parent
        shutil.copytree(here, vendor / name)
        if (here.parent / "pyzmq.libs").is_dir() and name == "zmq":
            shutil.copytree(here.parent / "pyzmq.libs", vendor / "pyzmq.libs")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", SCRIPT, str(room), whose], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "said: Invalid argument" in done.stdout
