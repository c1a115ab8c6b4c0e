# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension as such: manifest and zip, installed and enabled, registered and gone without a trace, and what its buttons say."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import bpy
import pytest
import tomllib

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "blender_addon"


def extension_tool(*arguments):
    tool = Path(bpy.utils.resource_path("LOCAL"), "scripts", "addons_core", "bl_pkg", "cli", "blender_ext.py")
    return subprocess.run([sys.executable, str(tool), *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The extension's zip, built by Blender's own tool."""
    path = tmp_path_factory.mktemp("dist") / "platebridge.zip"
    run = extension_tool("build", "--source-dir", SOURCE, "--output-filepath", path)
    assert run.returncode == 0, run.stdout + run.stderr
    return path


def test_manifest_and_zip_are_valid(built):
    for what in (SOURCE, built):
        run = extension_tool("validate", what)
        assert run.returncode == 0, run.stdout + run.stderr


def test_zip_holds_the_code_and_nothing_else(built):
    names = zipfile.ZipFile(built).namelist()
    assert "blender_manifest.toml" in names and "__init__.py" in names and "collapse/__init__.py" in names
    others = {name for name in names if not name.endswith((".py", ".toml", "/"))}
    assert "LICENSE" in others and all(name.startswith("thumbnails/") and name.endswith(".jpg") for name in others - {"LICENSE"})


def test_permissions_say_why_shortly():
    manifest = tomllib.loads((SOURCE / "blender_manifest.toml").read_text())
    assert set(manifest["permissions"]) == {"files", "network"}
    assert all(len(why) <= 64 and not why.endswith(".") for why in manifest["permissions"].values())


INSTALL = """
import sys, threading
import bpy
assert bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True) == {"FINISHED"}
assert "bl_ext.user_default.platebridge" in bpy.context.preferences.addons
assert bpy.context.scene.platebridge.dials.amount == 1.0
assert bpy.ops.platebridge.generate.poll()
assert [thread.name for thread in threading.enumerate() if "platebridge" in thread.name] == []
from bl_ext.user_default.platebridge import edit, timeline, collapse
print("INSTALLED", flush=True)
"""


def test_zip_installs_and_is_enabled_and_blender_ends_by_itself(built, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", INSTALL, str(built)],
        env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "INSTALLED" in run.stdout and run.returncode == 0, run.stdout + run.stderr


def traces():
    classes = {name for name in dir(bpy.types) if "platebridge" in name.lower()}
    heard = ("save_pre", "save_post", "load_post", "undo_post", "redo_post")
    handlers = [f for which in heard for f in getattr(bpy.app.handlers, which)]
    return (
        classes,
        hasattr(bpy.types.Scene, "platebridge") or hasattr(bpy.types.WindowManager, "platebridge_takes"),
        dir(bpy.ops.platebridge),
        len(handlers),
        [thread.name for thread in threading.enumerate() if "platebridge" in thread.name],
    )


def test_registering_twice_leaves_nothing(addon):
    addon.unregister()
    bare = traces()
    for _ in range(2):
        addon.register()
        assert bpy.ops.platebridge.generate.get_rna_type().name == "Generate"
        addon.unregister()
    assert traces() == bare and bare[0] == set() and not bare[1]
    addon.register()


def test_importing_and_registering_opens_no_socket_and_starts_no_thread():
    code = (
        "import sys, threading, bpy, blender_addon; blender_addon.register(); "
        "print('HAS', sorted({'zmq', 'msgpack', 'platebridge.client', 'platebridge.link'} & set(sys.modules)), threading.active_count(), "
        "bpy.app.timers.is_registered(blender_addon.runner._tick))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "HAS [] 1 False" in run.stdout, run.stdout + run.stderr


def test_register_that_fails_is_loud_and_leaves_nothing(addon, monkeypatch):
    from blender_addon import runner

    addon.unregister()
    bare = traces()

    def broken():
        raise RuntimeError("no")

    monkeypatch.setattr(runner, "register", broken)
    with pytest.raises(RuntimeError, match="no"):
        addon.register()
    assert traces() == bare
    monkeypatch.undo()
    addon.register()


def test_every_dial_of_the_table_is_a_property(addon):
    from platebridge.dials import DIALS

    dials = bpy.context.scene.platebridge.dials
    for name, dial in DIALS.items():
        rna = dials.bl_rna.properties[name]
        assert (rna.name, rna.description) == (dial.label, dial.tooltip)
        if dial.kind in ("float", "int"):
            assert (rna.hard_min, rna.hard_max) == (pytest.approx(dial.minimum), pytest.approx(dial.maximum))
    assert dials.values() == {name: dial.default for name, dial in DIALS.items()}


def test_take_s_dials_go_back_onto_the_scene(addon):
    dials = bpy.context.scene.platebridge.dials
    dials.set_values({"amount": 1.7, "tint": (0.1, 0.2, 0.3), "quality": "draft", "seed": 9})
    values = dials.values()
    assert (values["amount"], values["tint"], values["quality"], values["seed"]) == (1.7, (0.1, 0.2, 0.3), "draft", 9)
    with pytest.raises(KeyError):
        dials.set_values({"loudness": 1})


def test_dials_take_keyframes(addon):
    scene = bpy.context.scene
    dials = scene.platebridge.dials
    dials.amount = 0.0
    dials.keyframe_insert("amount", frame=1)
    dials.amount = 2.0
    dials.keyframe_insert("amount", frame=11)
    scene.frame_set(6)
    assert dials.amount == pytest.approx(1.0)


def test_settings_are_kept_in_the_file(scene, tmp_path):
    scene.platebridge.dials.rise = 1.25
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kept.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "kept.blend"))
    assert bpy.context.scene.platebridge.dials.rise == 1.25
    assert bpy.context.scene.platebridge.mask_collection.name == "Pieces"


def test_tooltips_are_there(addon):
    for name in dir(bpy.ops.platebridge):
        rna = getattr(bpy.ops.platebridge, name).get_rna_type()
        assert len(rna.description) > 20, name
    for prop in bpy.context.scene.platebridge.bl_rna.properties:
        if prop.identifier not in ("rna_type", "name", "dials"):
            assert len(prop.description) > 10, prop.identifier


MISSING = """
import sys
sys.path.insert(0, sys.argv[1])
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("platebridge", "zmq", "msgpack"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import bpy, blender_addon
blender_addon.register()
try:
    bpy.ops.platebridge.generate()
except RuntimeError as error:
    print("SAID", error)
blender_addon.unregister()
"""


def test_without_the_client_it_registers_and_says_what_is_missing(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", MISSING, str(ROOT)],
        env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "SAID Error: Blender's Python has no platebridge and no zmq and no msgpack: install Platebridge" in run.stdout, (
        run.stdout + run.stderr
    )
    assert run.returncode == 0


def test_no_server_is_said_before_anything_is_rendered(scene, tmp_path):
    scene.platebridge.connection = str(tmp_path / "absent.json")
    with pytest.raises(RuntimeError, match="No server runs here") as told:
        bpy.ops.platebridge.generate()
    assert "platebridge serve" in str(told.value) and not (tmp_path / "takes").exists()


def test_a_tilde_is_the_artist_s_own_folder(scene, monkeypatch, tmp_path):
    from blender_addon import server, sources

    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    scene.platebridge.take_root, scene.platebridge.connection = "~/takes", "~/server.json"
    assert sources.shot_folder(scene) == tmp_path / "takes" / "shot"
    assert server.connection_file(scene) == str(tmp_path / "server.json")


@pytest.mark.skipif(os.sep != "/", reason="there a backslash divides a path anyhow")
def test_a_file_from_windows_finds_its_places_here(scene, tmp_path, write_exr):
    """Windows' Blender keeps paths beside the .blend with backslashes."""
    from blender_addon import server, sources

    (tmp_path / "shots").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shots" / "shot.blend"))
    for frame in (1001, 1002, 1003):
        write_exr(tmp_path / "plates" / ("plate.%d.exr" % frame), [[[0.5] * 3] * 64] * 36, "RGB")
    settings = scene.platebridge
    settings.take_root, settings.connection = "//..\\takes\\", "//..\\server.json"
    settings.plate_source, settings.plate_files = "FILES", "//..\\plates\\plate.####.exr"
    held = sources.plan(scene, bpy.context.view_layer).sources["plate"].files[1002]
    assert held.resolve() == tmp_path / "plates" / "plate.1002.exr"
    assert sources.shot_folder(scene).resolve() == tmp_path / "takes" / "shot"
    assert Path(server.connection_file(scene)).resolve() == tmp_path / "server.json"


def test_capture_button(scene, tmp_path):
    assert bpy.ops.platebridge.capture() == {"FINISHED"}
    assert sorted(path.name for path in (tmp_path / "takes" / "shot").iterdir()) == [
        "camera.json",
        "capture.json",
        "depth",
        "mask",
        "plate",
        "vectors",
    ]


def test_another_machine_needs_online_access():
    from blender_addon.server import is_this_machine

    assert all(map(is_this_machine, ("ipc:///run/user/1/x", "tcp://127.0.0.1:47800", "tcp://[::1]:47800", "tcp://localhost:1")))
    assert not any(map(is_this_machine, ("tcp://10.0.0.7:47800", "tcp://render.example:47800", "tcp://0.0.0.0:1")))


def test_offline_blender_stays_on_this_machine(scene, tmp_path):
    from platebridge.connection import Connection, write_connection

    key = "a" * 40
    scene.platebridge.connection = str(write_connection(Connection(("tcp://10.0.0.7:47800",), key, key, key), tmp_path / "far.json"))
    with pytest.raises(RuntimeError, match="may not go online\\. Allow Online Access"):
        bpy.ops.platebridge.generate()
