# SPDX-License-Identifier: Apache-2.0
"""What is there on this machine, and what to do about what is not. Looks and measures; changes nothing."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional

import platebridge
import psutil
from platebridge.client import Client
from platebridge.connection import PORT, default_path, read_connection
from platebridge.errors import ConnectionFailed, PlatebridgeError, StorageError

#: Below these, a shot of ordinary size may fail: bytes.
LEAST_MEMORY, LEAST_DISK = 2_000_000_000, 5_000_000_000
#: A server that answers at all does so at once; this is patience for a machine that is busy, seconds.
PATIENCE = 10.0


@dataclass(frozen=True)
class Finding:
    """One line. `mend`: what to do when it is not good, else ""."""

    good: bool
    what: str
    found: str
    mend: str = ""


def examine(connection: Optional[Path] = None) -> List[Finding]:
    """Every finding, in the order a person would ask."""
    looks: List[Callable[[], List[Finding]]] = [_versions, _devices, _memory, _disk, _models, _port_and_server(connection)]
    return [finding for look in looks for finding in _looked(look)]


def _looked(look: Callable[[], List[Finding]]) -> List[Finding]:
    """What a look finds; one that a package or a driver breaks off is itself a finding: that is what a doctor is asked about."""
    try:
        return look()
    except (ImportError, OSError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        mend = 'Install it again, in Platebridge\'s folder: pip install ".[server]"'
        if isinstance(error, OSError) and error.filename is not None:
            mend = "See to the path, its access and its disk."
        return [Finding(False, look.__name__.strip("_"), said, mend)]


def _versions() -> List[Finding]:
    found = [
        Finding(
            True, "platebridge", "%s, Python %s, %s" % (platebridge.__version__, platform.python_version(), platform.platform(terse=True))
        )
    ]
    packages = ["torch", "diffusers", "safetensors", "OpenImageIO", "av", "pyzmq", "msgpack"]
    packages += ["transformers", "accelerate", "ftfy", "huggingface_hub"]  # the large models'
    absent, present = [], []
    for name in packages:
        try:
            present.append("%s %s" % (name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            absent.append(name)
    found.append(
        Finding(
            not absent,
            "packages",
            ", ".join(present) + (("; absent: " + ", ".join(absent)) if absent else ""),
            'Run in the folder that Platebridge is installed from: pip install ".[server]"' if absent else "",
        )
    )
    import zmq

    curve = bool(zmq.has("curve"))
    found.append(
        Finding(
            curve,
            "encryption",
            "CURVE is there" if curve else "this pyzmq has no CURVE",
            "" if curve else "Run: pip install --force-reinstall pyzmq",
        )
    )
    import av

    h264 = "libx264" in av.codecs_available
    found.append(Finding(True, "previews", "H.264" if h264 else "MPEG-4; this PyAV has no H.264 encoder"))
    return found


def _devices() -> List[Finding]:
    import torch

    found = [Finding(True, "processor", "%d cores, torch uses %d threads" % (os.cpu_count() or 1, torch.get_num_threads()))]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            what = "cuda:%d" % index
            try:
                free, total = torch.cuda.mem_get_info(index)
            except RuntimeError as error:  # another program has it all, or the driver is in trouble
                mend = "Close what uses it, or restart the machine; --device cpu works without it."
                found.append(Finding(False, what, str(error).splitlines()[0], mend))
                continue
            found.append(Finding(True, what, "%s, %.1f of %.1f GB free" % (torch.cuda.get_device_name(index), free / 1e9, total / 1e9)))
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        said = "NVIDIA's driver is here, and this torch is built for the processor alone"
        found.append(Finding(False, "GPU", said, "Install torch by the line that pytorch.org gives for CUDA (README, Install)."))
    else:
        found.append(Finding(True, "GPU", "none that torch can use; dust runs on the processor"))
    return found


def _memory() -> List[Finding]:
    memory = psutil.virtual_memory()
    good = memory.available >= LEAST_MEMORY
    return [
        Finding(
            good,
            "memory",
            "%.1f of %.1f GB free" % (memory.available / 1e9, memory.total / 1e9),
            "" if good else "Close other programs; %.0f GB are wanted." % (LEAST_MEMORY / 1e9),
        )
    ]


def _disk() -> List[Finding]:
    import platformdirs

    found = []
    for what, folder in (
        ("disk for jobs", platformdirs.user_data_dir("platebridge", appauthor=False)),
        ("disk for work", platformdirs.user_cache_dir("platebridge", appauthor=False)),
        ("disk for files", tempfile.gettempdir()),
    ):
        there = next((at for at in (Path(folder), *Path(folder).parents) if at.exists()), None)
        if there is None:
            found.append(Finding(False, what, "there is no drive %s" % Path(folder).anchor, "Bring it back: %s lies there." % folder))
            continue
        free, writable = shutil.disk_usage(there).free, os.access(there, os.W_OK)
        good = free >= LEAST_DISK and writable
        mend = "" if good else "Give write access to %s." % there if not writable else "Make room: %.0f GB are wanted." % (LEAST_DISK / 1e9)
        found.append(Finding(good, what, "%.1f GB free in %s" % (free / 1e9, folder), mend))
    return found


def _models() -> List[Finding]:
    from .models import registry

    found = [_folder_of_models()]
    for name in registry.names():
        try:
            model = registry.find(name)
            card = model.card()
            if "installed" in card:  # a large one: it is looked at, never loaded
                found.append(_large(name, card))
                continue
            model.load("cpu")  # compares the weights with the card's hash
            sha = str(card.get("weights_sha256", ""))
            weights = "weights verified, SHA-256 %s…" % sha[:12] if sha else "no weights"
            found.append(Finding(True, "model " + name, "%s, %s" % (weights, card.get("licence", card.get("license", "")))))
        except PlatebridgeError as error:
            found.append(Finding(False, "model " + name, error.message, error.mend or "Install Platebridge again."))
        except (OSError, ValueError, ImportError) as error:
            found.append(Finding(False, "model " + name, str(error), "Install Platebridge again."))
    return found


def _folder_of_models() -> Finding:
    """Where the large ones lie; on a share perhaps, which has gone."""
    from .models import store

    try:
        store.check_root()
    except StorageError as error:
        return Finding(False, "models", error.message, error.mend)
    at = store.root()
    return Finding(True, "models", "in %s" % at if at.exists() else "none but those that ship: there is no folder %s" % at)


def _large(name: str, card: Mapping[str, Any]) -> Finding:
    """A model that needn't be here. Every byte of it is read by `platebridge models verify`; that takes minutes. Raises ModelError where a
    file is gone."""
    from .models import store

    model = store.find(name)
    if model is None:
        return Finding(True, "model " + name, "not installed; to have it: %s" % card["install"])
    store.check_there(model)
    return Finding(True, "model " + name, "%.1f GB in %s, SHA-256 %s…" % (model.bytes / 1e9, model.folder, card["weights_sha256"][:12]))


def _port_and_server(path: Optional[Path]) -> Callable[[], List[Finding]]:
    def server() -> List[Finding]:
        at = Path(path) if path else default_path()
        try:
            connection = read_connection(at)
        except ConnectionFailed as error:
            return (
                [_port(), Finding(True, "server", "none runs: there is no %s" % at)]
                if not at.exists()
                else [Finding(False, "server", error.message, error.mend)]
            )
        found = [Finding(True, "connection", "%s, process %d, %s" % (at, connection.pid, ", ".join(connection.endpoints)))]
        if connection.pid and not psutil.pid_exists(connection.pid):
            return found + [
                _port(),
                Finding(False, "server", "the one in the connection file is gone", "Start it again: platebridge serve"),
            ]
        with Client(at, "platebridge doctor") as client:
            try:
                seconds = client.ping().result(PATIENCE)
                names = [str(card.get("name", "?")) for card in client.models().result(PATIENCE)]
                return found + [
                    Finding(True, "round trip", "%.1f ms, on %s" % (seconds * 1000, client.device or "its own choice")),
                    Finding(True, "its models", ", ".join(names)),
                ]
            except TimeoutError:
                return found + [
                    Finding(
                        False,
                        "round trip",
                        "no answer in %.0f s%s" % (PATIENCE, ": %s" % client.problem if client.problem else ""),
                        "Restart it: platebridge serve",
                    )
                ]
            except PlatebridgeError as error:
                return found + [Finding(False, "round trip", error.message, error.mend)]

    return server


def _port() -> Finding:
    with contextlib.closing(socket.socket()) as probe:
        if platform.system() != "Windows":  # there it would allow two servers at once
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
            return Finding(True, "port %d" % PORT, "free")
        except OSError:
            return Finding(True, "port %d" % PORT, "taken by another program; a server takes the next free one")
