# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Blender in a real window: buttons found under the mouse and clicked, progress seen to move, the timeline played meanwhile.

Set PLATEBRIDGE_WINDOW to what runs a command where there is a screen (`env DISPLAY=:77`, or a chroot's command): `blender`, `xdotool`
and ImageMagick's `import` are run through it. PLATEBRIDGE_WINDOW_FOLDER: a folder that is seen there under the same path; screenshots stay
in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from platebridge.takes import list_takes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.append(str(HERE.parent / "blender"))  # real_server.py lies there
PREFIX, FOLDER = os.environ.get("PLATEBRIDGE_WINDOW", ""), os.environ.get("PLATEBRIDGE_WINDOW_FOLDER", "")
needs_window = pytest.mark.skipif(
    not (PREFIX and FOLDER), reason="PLATEBRIDGE_WINDOW and PLATEBRIDGE_WINDOW_FOLDER name no Blender with a window"
)
pytestmark = [needs_window, pytest.mark.timeout(600)]
FRAMES = range(1001, 1013)


def until(condition, what, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came: %s" % what
        time.sleep(0.1)


class Window:
    """Blender on the screen, and a mouse."""

    def __init__(self, folder):
        self.folder, self.process = folder, None

    def open(self, *files):
        (self.folder / "state.json").unlink(missing_ok=True)
        command = ["blender", "--factory-startup", *map(str, files), "--python", str(self.folder / "in_blender.py"), "--", str(self.folder)]
        with open(self.folder / "blender.log", "ab") as log:
            self.process = subprocess.Popen([*shlex.split(PREFIX), *command], stdout=log, stderr=log, start_new_session=True)
        log = self.folder / "blender.log"
        try:
            until(lambda: self.state().get("ready") or self.process.poll() is not None, "the panel; see %s" % log, 120)
        except AssertionError:
            self.kill()
            raise
        assert self.process.poll() is None, log.read_text()
        return self

    def state(self):
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.folder / "state.json").read_text())
        return {}

    def tool(self, *command):
        subprocess.run([*shlex.split(PREFIX), *map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def picture(self, name):
        self.tool("import", "-window", "root", self.folder / (name + ".png"))

    def under(self, x, y):
        """The call that a click there would make."""
        self.tool("xdotool", "mousemove", x, y)
        question = uuid.uuid4().hex
        (self.folder / "question").write_text(question)
        until(lambda: self.state().get("asked") == question, "an answer")
        return self.state()["under"]

    def find(self, operator, below=0.0):
        """Where the button of that operator is: the sidebar is gone over from its top, or from so far below, and then scrolled down twice.
        Buttons side by side are all met."""
        left, top, width, height = self.state()["sidebar"]
        for scrolled in range(3):
            for y in range(top + max(30, 0 if scrolled else int(height * below)), top + height, 12):
                for part in (0.25, 0.5, 0.75, 0.93):
                    if operator in self.under(left + int(width * part), y):
                        return left + int(width * part), y
            self.tool("xdotool", "mousemove", left + width // 2, top + height // 2, "click", "--repeat", 5, 5)
        raise AssertionError("no button calls %s" % operator)

    def click(self, operator, below=0.0):
        x, y = self.find(operator, below)
        self.tool("xdotool", "mousemove", x, y, "click", 1)

    def fill(self):
        """The sequencer alone, as large as the window. While panels grow Blender may lose their places by it (5.2): so before or after."""
        left, top, width, height = self.state()["area"]
        self.tool("xdotool", "mousemove", left + width // 3, top + height // 2, "key", "ctrl+space")
        until(lambda: self.state()["area"][3] > height * 1.5, "the large sequencer")

    def show_all(self):
        """The whole shot, from its first frame to its last."""
        left, top, width, height = self.state()["area"]
        self.tool("xdotool", "mousemove", left + width // 3, top + height // 2, "key", "Home")

    def answer(self, operator):
        """Waits until that operator's dialog stands on the screen."""
        until(lambda: self.state()["dialog"] == operator, "the dialog of %s" % operator)
        self.drawn()

    def drawn(self):
        """Waits until what Blender was told to draw stands there: three frames of its own from now on."""
        before = self.state()["drawn"]
        until(lambda: self.state()["drawn"] > before + 2, "Blender to draw")

    def jobs(self):
        return self.state().get("jobs", [])

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)


@pytest.fixture
def folder():
    place = Path(FOLDER) / "window_test"
    shutil.rmtree(place, ignore_errors=True)
    (place / "site").mkdir(parents=True)
    shutil.copytree(ROOT / "blender_addon", place / "site" / "blender_addon", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "shared" / "platebridge", place / "site" / "platebridge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "in_blender.py", place)
    return place


@pytest.fixture
def server(folder):
    from real_server import Server

    server = Server(folder / "server").start()
    yield server
    server.stop()


@pytest.fixture
def window(folder, server):
    shot = {"shot": "shot", "take_root": str(folder / "takes"), "connection": str(server.connection), "vectors_source": "NONE"}
    shot["camera_source"] = "NONE"
    for which, channels in (("plate", "RGB"), ("depth", "Z"), ("mask", "A")):
        for frame in FRAMES:
            path = folder / "in" / ("%s.%d.exr" % (which, frame))
            path.parent.mkdir(exist_ok=True)
            pixels = oiio.ImageBuf(oiio.ImageSpec(64, 36, len(channels), "half"))
            pixels.set_pixels(oiio.ROI.All, np.full((36, 64, len(channels)), 0.5 + frame % 7 / 20, np.float32))
            assert pixels.write(str(path)), pixels.geterror()
        shot[which + "_source"], shot[which + "_files"] = "FILES", str(folder / "in" / (which + ".####.exr"))
    told = {"frames": [FRAMES[0], FRAMES[-1]], "size": [64, 36], "shot": shot, "dials": {}}
    (folder / "settings.json").write_text(json.dumps(told))
    window = Window(folder).open()
    yield window
    window.kill()


def test_generate_watch_play_cancel_and_go_on_after_closing_blender(window, server, folder):
    server.hold(1004)
    window.click("platebridge.generate")
    until(lambda: window.state()["strips"].get("shot take 0001 comp") == 3, "three frames on the timeline")
    assert not window.jobs()[-1]["finished"] and window.jobs()[-1]["there"] == 3
    window.picture("at_work")

    left, top, width, height = window.state()["area"]  # Blender stays free: the timeline plays while the server works
    before = window.state()["frame"]
    window.tool("xdotool", "mousemove", left + width // 3, top + height // 2, "key", "space")
    until(lambda: window.state()["frame"] > before + 1, "the timeline to play")
    window.tool("xdotool", "key", "space")

    server.let_go(1004)
    server.hold(1008)
    until(lambda: window.state()["strips"]["shot take 0001 comp"] == 7, "more frames")
    window.kill()  # Blender is gone in the middle of it; the server isn't
    server.let_go(1008)

    window.open(folder / "shot.blend")
    window.click("platebridge.attach")
    until(lambda: window.jobs() and window.jobs()[-1]["finished"], "the take to be whole")
    assert window.state()["strips"]["shot take 0001 comp"] == len(FRAMES)
    assert [take.finished for take in list_takes(folder / "takes" / "shot")] == [True]
    assert sorted(server.made()) == sorted(set(server.made())), "a frame was made twice"

    server.hold(1003)
    window.click("platebridge.generate")
    until(lambda: window.state()["strips"].get("shot take 0002 comp") == 2, "the second take's frames")
    window.click("platebridge.cancel")
    until(lambda: window.jobs()[-1]["finished"], "the end of the cancelled take")
    assert "ancelled" in window.jobs()[-1]["sentence"] and window.state()["strips"]["shot take 0002 comp"] == 2
    server.let_go(1003)
    window.picture("cancelled")
    until(lambda: window.state()["takes"] == ["take_0002", "take_0001"], "the list of takes")
    assert window.state()["trouble"] == ""
    print("ticks %(ticks)d, slowest %(slowest_tick).4f s" % window.state())


def test_a_farm_makes_a_take_of_the_same_file_with_no_window(window, folder):
    window.kill()
    scripts = folder / "scripts"
    shutil.copytree(folder / "site" / "blender_addon", scripts / "addons" / "blender_addon")
    shutil.copytree(folder / "site" / "platebridge", scripts / "modules" / "platebridge")
    blender = [*shlex.split(PREFIX), "env", "BLENDER_USER_SCRIPTS=%s" % scripts, "blender", "-b", str(folder / "shot.blend")]
    command = [*blender, "--addons", "blender_addon", "--command", "platebridge", "generate"]
    run = subprocess.run([*command, "--frames", "1001-1003", "--set", "amount=1.4"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [line for line in run.stdout.splitlines() if line.startswith("Fra:")] == [
        "Fra:%d Platebridge | Frames %d/3" % (1000 + n, n) for n in (1, 2, 3)
    ]
    assert [take.document["request"]["guide"]["amount"] for take in list_takes(folder / "takes" / "shot")] == [1.4]
    run = subprocess.run([*command, "--set", "loudness=1"], capture_output=True, text=True)
    assert run.returncode == 2 and "no dial called 'loudness'" in run.stderr
