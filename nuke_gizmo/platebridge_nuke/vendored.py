# SPDX-License-Identifier: Apache-2.0
"""Our own pyzmq and msgpack, privately: sys.modules['zmq'] belongs to whoever else runs in this Nuke.

pyzmq imports itself by name, some of it late, in functions. So each of its Python modules, and the client's, gets an __import__ of its
own, that looks among our modules first. Compiled parts import while they are loaded, and find ours in sys.modules for that moment.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import platform
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Mapping, Optional, Sequence

OURS = ("zmq", "msgpack")
modules: Dict[str, ModuleType] = {}
_lock = threading.RLock()


def folder() -> Path:
    """The wheels for this Python and system."""
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    return Path(__file__).parents[1] / "vendor" / ("cp%d%d" % sys.version_info[:2]) / system


def load() -> None:
    """Makes `import platebridge` work here, with our own zmq and msgpack. Does nothing in a checkout, where nothing is vendored.

    Raises RuntimeError where there is none for this Nuke: of an ImportError the buttons say that nothing is installed at all.
    """
    client = str(Path(__file__).parents[1] / "client")
    if "platebridge" in sys.modules or not Path(client).is_dir():
        return
    with _lock:
        sys.path.append(client)
        finder = _Finder(str(folder()))
        sys.meta_path.insert(0, finder)
        held = _take_out()
        try:
            if not folder().is_dir():
                raise ImportError("there is no %s" % folder())
            importlib.import_module("platebridge.courier")
            importlib.import_module("platebridge.client")
            # the one late import of the compiled part, for large messages: done now, while ours can be found
            sys.modules["zmq.backend.cython._zmq"].__dict__["_gc"] = importlib.import_module("zmq.utils.garbage").gc
        except ImportError as error:
            sys.path.remove(client)
            for name in [name for name in sys.modules if name.split(".")[0] == "platebridge"]:
                del sys.modules[name]  # half of it: the next press must say the same
            raise RuntimeError(
                "Platebridge is installed, and brings no zmq and msgpack for Python %d.%d on %s %s (%s). "
                "It has them for Nuke 14 to 17 on Linux and Windows (x64) and macOS (arm64)."
                % (*sys.version_info[:2], platform.system(), platform.machine(), error)
            ) from error
        finally:
            sys.meta_path.remove(finder)
            modules.update(_take_out())
            sys.modules.update(held)


def _take_out() -> Dict[str, ModuleType]:
    """zmq and msgpack out of sys.modules, whosever they are."""
    names = [name for name in sys.modules if name.split(".")[0] in OURS]
    return {name: sys.modules.pop(name) for name in names}


def _private_import(
    name: str, globals: Optional[Mapping[str, Any]] = None, locals: Any = None, fromlist: Sequence[str] = (), level: int = 0
) -> ModuleType:
    full = name
    if level and globals is not None:
        full = importlib.util.resolve_name("." * level + name, globals["__package__"])
    if full not in modules:
        return builtins.__import__(name, globals, locals, fromlist, level)
    found = modules[full]
    if not fromlist:
        return modules[full.split(".")[0]] if not level else found
    for part in fromlist:
        if not hasattr(found, part) and "%s.%s" % (full, part) in modules:
            setattr(found, part, modules["%s.%s" % (full, part)])
    return found


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _private_import}
        super().exec_module(module)


class _Finder:
    """Finds zmq and msgpack in our folder alone, and gives them and the client their own __import__."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        top = name.split(".")[0]
        if top not in (*OURS, "platebridge"):
            return None
        spec = PathFinder.find_spec(name, path if path is not None or top == "platebridge" else [self.vendor], target)
        if spec is not None and type(spec.loader) is SourceFileLoader and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


load()
