# SPDX-License-Identifier: Apache-2.0
"""The client stays thin: every module of it imports on each Python a DCC ships, with nothing but pyzmq and msgpack."""
from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import platebridge
import pytest

PACKAGE = Path(platebridge.__file__).parent
MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if p.stem != "__init__")

# Stands in for pyzmq and msgpack on a Python that lacks them: any name, any value. Only what we run at import is tried.
STAND_IN = """
import sys, types
class Anything(int):
    def __getattr__(self, name): return Anything()
    def __call__(self, *a, **k): return Anything()
class Module(types.ModuleType):
    __path__ = []
    def __getattr__(self, name): return type(name, (Exception,), {}) if name[:1].isupper() and not name.isupper() else Anything()
def need(*names):
    try:
        __import__(names[0])
    except ImportError:
        for name in names: sys.modules[name] = Module(name)
need("zmq", "zmq.utils", "zmq.utils.monitor")
need("msgpack")
"""


def python(version: str) -> str:
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return sys.executable
    candidates = [str(p) for p in Path.home().glob(".pyenv/versions/%s.*/bin/python" % version)] + [shutil.which("python" + version)]
    for found in candidates:
        if found and subprocess.run([found, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return found
    pytest.skip("python%s is not on this machine" % version)


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_every_module_imports(version):
    imports = "import importlib\nfor name in %r: importlib.import_module('platebridge.' + name)\n" % MODULES
    script = STAND_IN + imports + "print(sys.version_info[:2])"
    done = subprocess.run([python(version), "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0 and done.stdout.strip() == "(%s)" % version.replace(".", ", "), done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_nothing_else_is_needed(module):
    """Every import, wherever it stands, is the standard library, zmq, msgpack or our own; on the oldest Python's grammar."""
    allowed = set(sys.stdlib_module_names if hasattr(sys, "stdlib_module_names") else ()) | {"zmq", "msgpack"}
    if not hasattr(sys, "stdlib_module_names"):
        pytest.skip("this Python has no list of its own library")
    tree = ast.parse((PACKAGE / (module + ".py")).read_text(encoding="utf-8"), feature_version=(3, 9))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    assert found <= allowed
    assert not found & {"pickle", "marshal", "shelve"}
