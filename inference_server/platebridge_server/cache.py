# SPDX-License-Identifier: Apache-2.0
"""Tensors kept by what they were made from, on disk and in memory: what was computed once is not computed again.

    <folder>/<kind>/ab/cdef….safetensors     <folder>/partial/…  being written

    name = cache.key("text", prompt=prompt, encoder=weights_sha256, device="cuda")
    made = kept.get(name)
    if made is None:
        kept.put(name, made := {"embeds": encode(prompt)})

A key holds everything that the tensors depend on, so an entry is never stale and never asked whether it is: it is there or it isn't.
A cache that can't be read or written costs time and never a take: what goes wrong is logged, and the tensors are made anew.
Several processes may use one folder at once. Knows no models: what a kind means, whoever makes the key knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np
import platformdirs
import safetensors
import safetensors.torch
import torch
from platebridge.errors import StorageError

log = logging.getLogger(__name__)

Tensors = Dict[str, torch.Tensor]
#: Another way to lay out an entry, or to hash, is another number: entries of the old way are then never found, and go in time.
LAYOUT = 1
#: A file that is being written and was not touched for so long, in seconds, was left by a process that was killed.
ABANDONED = 3600.0
#: What computes the tensors: another version may give other bits.
_MAKERS = ("torch", "diffusers", "transformers")
_ENTRY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class CacheLimits:
    """`disk`, `memory`: bytes of entries kept. `reserve`: bytes of the disk that stay free, whatever `disk` says."""

    disk: int = 20 * 2**30
    memory: int = 2 * 2**30
    reserve: int = 2 * 2**30


@dataclass(frozen=True)
class Entry:
    """One entry on disk. `used`: when it was last asked for, seconds since 1970."""

    kind: str
    name: str
    bytes: int
    used: float
    path: Path


def place() -> Path:
    """The usual folder: this user's own."""
    return Path(platformdirs.user_cache_dir("platebridge", appauthor=False)) / "tensors"


def key(kind: str, **parts: Any) -> str:
    """The name of what is made from `parts`, "kind/sha256": equal parts, equal name, on any machine.

    kind: a word. parts: plain data (numbers, strings, lists, tables) and tensors or arrays, which stand for their content. The versions
    of what computes are added. Raises TypeError on anything else, ValueError on NaN: neither can be compared.
    """
    if not kind.isidentifier():
        raise ValueError("A kind must be a word, not %r." % kind)
    tree = {"layout": LAYOUT, "makers": _versions(), "parts": _plain(parts)}
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "%s/%s" % (kind, hashlib.sha256(text.encode()).hexdigest())


def digest(value: Union[torch.Tensor, np.ndarray]) -> str:
    """SHA-256 of type, shape and every bit; a tensor and an array of the same content have the same."""
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    found = hashlib.sha256(("%s %s " % (str(tensor.dtype).rpartition(".")[2], list(tensor.shape))).encode())
    found.update(_bytes(tensor))
    return found.hexdigest()


class TensorCache:
    """`folder` is made when it is first written to. `free`: how the disk's free bytes are asked (a test may say there are none).

    Memory holds a copy of what was used last and of nothing that has gone from disk, so `clear` reaches every process; only what no
    disk would take is in memory alone.
    """

    def __init__(
        self,
        folder: Optional[Path] = None,
        limits: CacheLimits = CacheLimits(),
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.folder, self.limits, self._free = Path(folder or place()), limits, free
        self._memory: OrderedDict[str, Tuple[Tensors, int, bool]] = OrderedDict()  # name: tensors, bytes, whether disk has them
        self._held = 0
        self._lock = threading.Lock()
        self.hits, self.misses = 0, 0

    def get(self, name: str) -> Optional[Tensors]:
        """The tensors of that key, on the processor and the caller's own to change; None when they are not there."""
        with self._lock:
            found = self._from_memory(name)
        if found is None:
            found = self._from_disk(name)
            if found is not None:
                self._remember(name, found, on_disk=True)
        with self._lock:
            self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return None if found is None else {label: tensor.clone() for label, tensor in found.items()}

    def put(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keeps tensors under a key, from any device; an entry of that name is replaced. The longest unused make room."""
        own = {label: tensor.detach().to("cpu", copy=True).contiguous() for label, tensor in tensors.items()}
        self._remember(name, own, on_disk=self._to_disk(name, own))

    def kept(self, name: str, make: Callable[[], Mapping[str, torch.Tensor]]) -> Tensors:
        """What is kept under a key, made now if it isn't there. As `get` gives it, so a first run and a second get the same."""
        found = self.get(name)
        if found is not None:
            return found
        made = {label: tensor.detach().to("cpu", copy=True).contiguous() for label, tensor in make().items()}
        self.put(name, made)
        return made

    def entries(self) -> List[Entry]:
        """Every entry on disk, the last used first."""
        return sorted(self._entries(), key=lambda entry: entry.used, reverse=True)

    def clear(self, kind: str = "") -> int:
        """Takes every entry away, or those of a kind; gives the bytes that are free again."""
        freed = 0
        for entry in self.entries():
            if not kind or entry.kind == kind:
                freed += _removed(entry.path, entry.bytes)
        with self._lock:
            for name in [n for n in self._memory if not kind or n.split("/")[0] == kind]:
                self._forget(name)
        return freed

    # --- memory ------------------------------------------------------------------------------------------------------------

    def _from_memory(self, name: str) -> Optional[Tensors]:
        if name not in self._memory:
            return None
        tensors, _, on_disk = self._memory[name]
        if on_disk and not _touched(self._path(name)):
            self._forget(name)
            return None
        self._memory.move_to_end(name)
        return tensors

    def _remember(self, name: str, tensors: Tensors, on_disk: bool) -> None:
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        with self._lock:
            self._forget(name)
            if size > self.limits.memory:
                return
            while self._memory and self._held + size > self.limits.memory:
                self._forget(next(iter(self._memory)))
            self._memory[name] = (tensors, size, on_disk)
            self._held += size

    def _forget(self, name: str) -> None:
        if name in self._memory:
            self._held -= self._memory.pop(name)[1]

    # --- disk --------------------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        kind, _, sha256 = name.partition("/")
        if not kind.isidentifier() or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise ValueError("%r is no key: `cache.key` makes them." % name)
        return self.folder / kind / sha256[:2] / (sha256[2:] + ".safetensors")

    def _from_disk(self, name: str) -> Optional[Tensors]:
        path = self._path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            log.warning("The cache can't read %s: %s", path, problem)
            return None
        try:
            tensors = safetensors.torch.load(data)
            if _said(data) != {"key": name, "content": _content(tensors)}:
                raise ValueError("its content is not what was written")
        except (safetensors.SafetensorError, ValueError, KeyError, AttributeError) as problem:
            log.warning("The cache drops %s, which is damaged: %s", path, problem)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        _touched(path)
        return tensors

    def _to_disk(self, name: str, tensors: Tensors) -> bool:
        """Whether the entry is on disk now."""
        path = self._path(name)
        partial = self.folder / "partial" / uuid.uuid4().hex
        data = safetensors.torch.save(tensors, {"key": name, "content": _content(tensors)})
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            if not self._made_room(path, len(data)):
                return False
            with open(partial, "wb") as out:
                out.write(data)  # not forced to the disk: a power cut may cost an entry, and its damage is then seen
            _touched(partial)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, path)
        except OSError as problem:
            log.warning("The cache can't write to %s: %s", self.folder, problem)
            with contextlib.suppress(OSError):
                partial.unlink()
            return False
        return True

    def _made_room(self, path: Path, wanted: int) -> bool:
        """Takes the longest unused entries away until `wanted` more bytes hold with the limits; False when even none would do."""
        if wanted > self.limits.disk:
            return False
        with contextlib.suppress(OSError):
            for left in (self.folder / "partial").iterdir():
                if left.stat().st_mtime < time.time() - ABANDONED:
                    left.unlink()
        entries = [entry for entry in self._entries() if entry.path != path]
        total = sum(entry.bytes for entry in entries)
        excess = max(total + wanted - self.limits.disk, wanted + self.limits.reserve - self._free(self.folder))
        for entry in sorted(entries, key=lambda entry: entry.used):
            if excess <= 0:
                break
            excess -= _removed(entry.path, entry.bytes)
        return excess <= 0

    def _entries(self) -> Iterator[Entry]:
        for path in self.folder.glob("*/??/*.safetensors"):
            if not _ENTRY.fullmatch(path.parent.name + path.stem):
                continue  # somebody else's file, in a folder that was named by mistake: none of ours to take away
            with contextlib.suppress(OSError):
                state = path.stat()
                kind = path.parent.parent.name
                yield Entry(kind, "%s/%s%s" % (kind, path.parent.name, path.stem), state.st_size, state.st_mtime_ns / 1e9, path)


def cleared(folder: Path, kind: str = "") -> int:
    """As TensorCache.clear, for a command: raises StorageError when what is there can't be taken away."""
    kept = TensorCache(folder)
    freed = kept.clear(kind)
    left = [entry for entry in kept.entries() if not kind or entry.kind == kind]
    if left:
        raise StorageError("%d entries in %s can't be removed." % (len(left), folder), "Is it yours to write to, and is no server running?")
    return freed


def _removed(path: Path, size: int) -> int:
    """Bytes freed: a file that another process took away first frees nothing here, but is gone all the same."""
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError:  # Windows keeps what somebody reads
        return 0
    return size


def _touched(path: Path) -> bool:
    """Marks a file as used now, in the clock's own steps (the kernel's would be 4 ms, and the order lost). False when it is gone."""
    now = time.time_ns()
    try:
        os.utime(path, ns=(now, now))
    except FileNotFoundError:
        return False
    except OSError:  # a read-only share: its entries serve, but age
        return path.exists()
    return True


def _said(data: bytes) -> Any:
    """What an entry's header says of itself."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]).get("__metadata__")


def _content(tensors: Tensors) -> str:
    """One hash of every tensor with its label. safetensors itself would not see a bit that fell over."""
    return hashlib.sha256(json.dumps({label: digest(tensor) for label, tensor in tensors.items()}, sort_keys=True).encode()).hexdigest()


def _bytes(tensor: torch.Tensor) -> memoryview:
    """Every bit of a tensor, in order, without a copy where it lies in order already."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")


def _plain(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return {"tensor": digest(value)}
    if isinstance(value, dict):
        if any(not isinstance(label, str) for label in value):
            raise TypeError("A key's tables are named by strings.")
        return {"table": {label: _plain(v) for label, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError("A key can't be made from %s: give plain data or a tensor." % type(value).__name__)


def _versions() -> Dict[str, str]:
    found = {}
    for name in _MAKERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
