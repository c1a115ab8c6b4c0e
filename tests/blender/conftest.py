# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender for tests: real, headless, one process; factory settings and a freshly registered extension around each test."""

from __future__ import annotations

import atexit
import hashlib
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

# Before bpy is imported: it would read the user's own settings.
_USER = tempfile.mkdtemp(prefix="platebridge_blender_")
os.environ["BLENDER_USER_RESOURCES"] = _USER
atexit.register(shutil.rmtree, _USER, True)

bpy = pytest.importorskip("bpy", reason="Blender's Python module is for Python 3.11")

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the extension is a package in the repository's root
sys.path.append(str(Path(__file__).parent))  # real_server.py lies here

from platebridge import errors  # noqa: E402
from platebridge.events import Done, Failed, FileReady  # noqa: E402
from real_server import Server  # noqa: E402


@pytest.fixture
def addon():
    """The registered extension in an empty file."""
    import blender_addon

    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield blender_addon
    blender_addon.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture
def scene(addon, tmp_path):
    """64 x 36, Cycles at 2 samples, frames 1001-1003: a cube in the collection Pieces 8 m before the camera, moving to the right
    at 0.5 m a frame; a wall 12 m before it; no plate, mask or depth from files."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 2, False
    scene.render.resolution_x, scene.render.resolution_y = 64, 36
    scene.frame_start, scene.frame_end = 1001, 1003
    bpy.ops.mesh.primitive_cube_add(size=2, location=(0, 0, 0))
    cube = bpy.context.object
    pieces = bpy.data.collections.new("Pieces")
    scene.collection.children.link(pieces)
    pieces.objects.link(cube)
    cube.location.x = -0.5
    cube.keyframe_insert("location", frame=1001)
    cube.location.x = 0.5
    cube.keyframe_insert("location", frame=1003)
    animated = cube.animation_data.action
    for curve in animated.fcurves if hasattr(animated, "fcurves") else ():
        curve.extrapolation = "LINEAR"
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    bpy.ops.mesh.primitive_plane_add(size=40, location=(0, 5, 0), rotation=(np.pi / 2, 0, 0))
    bpy.ops.object.light_add(type="SUN", rotation=(1, 0, 0))
    bpy.ops.object.camera_add(location=(0, -8, 0), rotation=(np.pi / 2, 0, 0))
    scene.camera = bpy.context.object
    settings = scene.platebridge
    settings.shot, settings.take_root, settings.mask_collection = "shot", str(tmp_path / "takes"), pieces
    return scene


@pytest.fixture
def plan_of(scene):
    """What capture would do now."""
    from blender_addon import sources

    return lambda: sources.plan(scene, bpy.context.view_layer)


@pytest.fixture
def write_exr():
    """write_exr(path, pixels (height, width, channels), names, half=False)."""
    from blender_addon import passes

    def write(path, pixels, names, half=False):
        passes.write_exr(Path(path), np.asarray(pixels, np.float32), names, half=half)
        return Path(path)

    return write


@pytest.fixture
def read_exr():
    """read_exr(path) -> {channel: (height, width) float32}, by OpenImageIO alone."""
    import OpenImageIO

    def read(path):
        image = OpenImageIO.ImageBuf(str(path))
        assert not image.has_error, image.geterror()
        pixels = image.get_pixels(OpenImageIO.FLOAT)
        return {name: pixels[..., i] for i, name in enumerate(image.spec().channelnames)}

    return read


class ScriptedClient:
    """A client whose server is the test: it hears what was asked and says what comes. It refuses what the real one refuses, and
    anything that would wait is refused on the main thread: there nothing may ever wait."""

    def __init__(self):
        self.state, self.problem = "connected", None
        self.request, self.take_id, self.held, self.again = None, "", {}, False
        self.opened = {}
        self.asked, self.closed, self.cancelled = threading.Event(), threading.Event(), threading.Event()
        self.finished = False
        self._events = queue.Queue()

    def __enter__(self):
        _not_on_the_main_thread("start")
        return self

    def __exit__(self, *_):
        pass

    def upload_and_submit(self, request, open_file, take_id, origin=None, held=None, again=False):
        _not_on_the_main_thread("upload_and_submit")
        for file in request.all_files():
            path = Path(open_file(file.sha256))
            assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
            self.opened[file.sha256] = path
        self.request, self.take_id, self.held, self.again = request, take_id, dict(held or {}), again
        self.asked.set()
        return self

    def attach(self, take_id, after=0, held=None):
        self.take_id, self.held = take_id, dict(held or {})
        self.asked.set()
        return self

    def next(self, timeout=0.0):
        _not_on_the_main_thread("next")
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        self.finished = isinstance(event, (Done, Failed))
        return event

    def cancel(self):
        _not_on_the_main_thread("cancel")
        self.cancelled.set()
        self.say(Failed(errors.Cancelled().to_dict()))

    def close(self):
        self.closed.set()

    # --- the test's side ---

    def say(self, *events):
        for event in events:
            self._events.put(event)


def _not_on_the_main_thread(what):
    if threading.current_thread() is threading.main_thread():
        raise AssertionError("%s was called on Blender's main thread" % what)


@pytest.fixture
def client():
    return ScriptedClient()


@pytest.fixture
def frame_file(tmp_path, write_exr):
    """frame_file(kind, frame, pixels, names="RGB") -> FileReady with a real EXR's bytes."""

    def make(kind, frame, pixels, names="RGB"):
        path = write_exr(tmp_path / "made" / ("%s.%d.exr" % (kind, frame)), pixels, names, half=True)
        data = path.read_bytes()
        return FileReady(kind, frame, path.name, hashlib.sha256(data).hexdigest(), data)

    return make


@pytest.fixture
def take_json():
    """The last file of a take; enough of it for a writer to call the take whole."""

    def make(request, take_id):
        import json

        data = json.dumps({"take_id": take_id, "request": request.to_dict(), "files": {}}).encode()
        return FileReady("take", None, "take.json", hashlib.sha256(data).hexdigest(), data)

    return make


@pytest.fixture
def step_until():
    """step_until(job, condition): steps a job until the condition holds; fails after 30 s."""

    def run(job, condition):
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "nothing came of it: %s, %s" % (job.phase, job.sentence)
            job.step(0.01)
            job.rest(0.02)

    return run


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server").start()
    yield server
    server.stop()


@pytest.fixture
def real(tmp_path):
    """A server whose takes are made by the real pipeline."""
    from real_server import Server

    server = Server(tmp_path / "real", generator=None).start()
    yield server
    server.stop()
