# SPDX-License-Identifier: Apache-2.0
"""Nuke's Pythons: 3.9 (14), 3.10 (15), 3.11 (16 and 17). The package imports and presses its buttons in each that this machine has."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "nuke_gizmo").rglob("*.py")) + sorted((ROOT / "shared" / "platebridge").glob("*.py"))
#: zmq and msgpack are compiled, and this machine has them for its own Python alone: elsewhere their names stand in for them.
SCRIPT = """
import sys, types
assert sys.version_info[:2] == {version}, sys.version
class Any:
    def __getattr__(self, name):
        return 0 if name.isupper() else type(name, (Exception,), {{}})
for name in ("zmq", "zmq.utils", "zmq.utils.monitor", "msgpack"):
    if {stand_ins}:
        module = types.ModuleType(name)
        module.__getattr__ = Any().__getattr__
        module.__path__ = []
        sys.modules[name] = module
import pathlib
nuke = types.ModuleType("nuke")
nuke.GUI, nuke.env, nuke.NUKE_VERSION_STRING = False, {{"nc": False}}, "16.0v3"
sys.modules["nuke"] = nuke
sys.path[:0] = {paths!r}
import platebridge_nuke
assert not any(name.startswith("platebridge.") for name in sys.modules), "importing the package must import no client"
import importlib
for path in sorted(pathlib.Path(platebridge_nuke.__file__).parent.glob("*.py")):
    importlib.import_module("platebridge_nuke." + path.stem)
from platebridge.request import GenerateRequest, Inputs, from_dict
from platebridge.frames import FrameRange
request = GenerateRequest("a", FrameRange(1, 2), Inputs()).with_dials({{"amount": 2}})
assert from_dict(request.to_dict()) == request
"""


def interpreter(version):
    """A Python of that version on this machine, or None."""
    name = "python%d.%d" % version
    if sys.version_info[:2] == version:
        return sys.executable
    places = [shutil.which(name)]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places += [str(path) for path in sorted((root / "versions").glob("%d.%d.*/bin/%s" % (*version, name)))] if root.is_dir() else []
    for place in places:
        if place and subprocess.run([place, "-c", ""], capture_output=True).returncode == 0:
            return place
    return None


@pytest.mark.parametrize("version", [(3, 9), (3, 10), (3, 11)], ids="{0[0]}.{0[1]}".format)
def test_package_and_client_import_in_nukes_pythons(version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip("this machine has no Python %d.%d" % version)
    paths = [str(ROOT / "nuke_gizmo"), str(ROOT / "shared")]
    script = SCRIPT.format(version=version, paths=paths, stand_ins=python != sys.executable)
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=60, cwd=str(tmp_path))
    assert done.returncode == 0, done.stderr


BUILT = """
import os, sys, types
theirs = sys.modules["zmq"] = types.ModuleType("zmq")
sys.path.insert(0, {folder!r})
nuke = sys.modules["nuke"] = types.ModuleType("nuke")
nuke.GUI, nuke.env, nuke.NUKE_VERSION_STRING = False, {{"nc": False}}, "16.0v3"
from platebridge_nuke import node, asking
from platebridge import connection
assert "vendor" in connection.zmq.__file__ and sys.modules["zmq"] is theirs
print("server " + asking.check_server({connection!r})["server"])
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("version", [(3, 9), (3, 10), (3, 11)], ids="{0[0]}.{0[1]}".format)
def test_the_built_zip_speaks_with_a_real_server_in_each_of_nukes_pythons(nuke, serve, version, tmp_path):
    """With the wheels that it brings, and another zmq in the same process left alone."""
    zips = sorted((ROOT / "dist").glob("platebridge-nuke-*.zip"))
    python = interpreter(version)
    if not zips or python is None:
        pytest.skip("no zip was built here (make nuke)" if not zips else "this machine has no Python %d.%d" % version)
    with zipfile.ZipFile(zips[-1]) as file:
        file.extractall(tmp_path)
    script = BUILT.format(folder=str(tmp_path / "Platebridge"), connection=str(serve().connection))
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("server 0."), done.stderr


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.name)
def test_every_file_is_written_in_the_oldest_of_nukes_pythons(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_nothing_but_the_client_and_pythons_own_is_imported():
    """No numpy, no Qt, no third-party package: pyzmq and msgpack belong to the client, and are found privately."""
    ours = {"nuke", "platebridge", "platebridge_nuke"}
    standard = set(sys.stdlib_module_names)
    for path in sorted((ROOT / "nuke_gizmo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in ours | standard, (path.name, name)
