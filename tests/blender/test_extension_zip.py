# SPDX-License-Identifier: GPL-3.0-or-later
"""The zip an artist installs: wheels inside, and a Blender that has nothing of ours talks to a server with it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))

import extension as builder  # noqa: E402

SYSTEM = {"linux": "linux-x64", "win32": "windows-x64", "darwin": "macos-arm64"}[sys.platform]

INSTALL = """
import importlib.machinery, os, sys
from pathlib import Path
home = os.environ["BLENDER_USER_RESOURCES"]

class FromTheZipAlone:
    # This Python has our packages installed; an artist's has not.
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in ("zmq", "msgpack", "platebridge"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, [p for p in sys.path if p.startswith(home)])
        if spec is None:
            raise ModuleNotFoundError(name)
        return spec

sys.meta_path.insert(0, FromTheZipAlone)
import bpy
assert bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True) == {"FINISHED"}
import msgpack, platebridge, zmq
assert all(module.__file__.startswith(home) for module in (msgpack, platebridge, zmq)), (msgpack, platebridge, zmq)
from platebridge.client import Client
with Client(sys.argv[2], "zip") as client:
    client.ping().result(timeout=60)
scene = bpy.context.scene
scene.platebridge.connection = sys.argv[2]
print("DOOR OPEN", bpy.ops.platebridge.generate.poll(), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    return builder.build(out, builder.BLENDERS[0], [SYSTEM], builder.client_wheel(out))[0]


@pytest.mark.slow
def test_the_zip_carries_its_wheels_and_says_for_whom_it_is(archive):
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        manifest = tomllib.loads(file.read("blender_manifest.toml").decode())
    assert sorted(Path(n).name.split("-")[0] for n in names if n.endswith(".whl")) == ["msgpack", "platebridge", "pyzmq"]
    assert manifest["blender_version_min"] == "4.5.0" and manifest["blender_version_max"] == "5.1.0"
    assert manifest["platforms"] == [SYSTEM] or manifest["build"]["generated"]["platforms"] == [SYSTEM]
    client = next(n for n in names if "platebridge-" in n and n.endswith(".whl"))
    with zipfile.ZipFile(archive) as file, zipfile.ZipFile(file.open(client)) as wheel:
        assert not [n for n in wheel.namelist() if "server" in n]  # the thin client alone


@pytest.mark.slow
def test_a_blender_that_has_nothing_of_ours_talks_to_a_server_with_it(archive, tmp_path):
    from benchmarks import server

    with server.running(tmp_path / "server", generator="benchmarks.sink:generate") as connection:
        run = subprocess.run(
            [sys.executable, "-c", INSTALL, str(archive), str(connection)],
            env=dict(os.environ, BLENDER_USER_RESOURCES=str(tmp_path / "home")),
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
    assert "DOOR OPEN True" in run.stdout, run.stdout[-1500:] + run.stderr[-1500:]


def test_every_pair_of_blender_and_system_is_served_once():
    text = (ROOT / "blender_addon" / "blender_manifest.toml").read_text()
    made = [tomllib.loads(builder.manifest(text, b, list(builder.SYSTEMS), ["a.whl"])) for b in builder.BLENDERS]
    assert made[0]["blender_version_max"] == made[1]["blender_version_min"]  # neither a gap nor an overlap
    assert all(m["wheels"] == ["./wheels/a.whl"] and m["platforms"] == ["linux-x64", "windows-x64", "macos-arm64"] for m in made)
