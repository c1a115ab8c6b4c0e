# SPDX-License-Identifier: Apache-2.0
"""The guide on disk: one file a frame in a scratch folder, so that memory is flat and work that was done is kept.

It knows names, arrays and files. It must not know what the arrays mean. safetensors throughout; each file is written
under another name and renamed, so a file that is there is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Iterator, Optional

import numpy as np
import safetensors
from platebridge.errors import StorageError
from safetensors.numpy import load_file, save_file


class Store:
    """Arrays by kind and frame, in `folder`. What was made for another `fingerprint` is deleted at once.

    Raises StorageError where the folder can't be written, and where a file is damaged.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = Path(folder)
        self._note = self.folder / "guide.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._known() != fingerprint:
                for path in self.folder.glob("*.guide.safetensors"):
                    path.unlink()
                self._note.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
        except OSError as problem:
            raise _unwritable(self.folder, problem) from problem

    def _known(self) -> Optional[str]:
        try:
            return json.loads(self._note.read_text(encoding="utf-8")).get("fingerprint")
        except (OSError, ValueError, AttributeError):  # absent, or cut off in the middle: made anew
            return None

    def _path(self, kind: str, frame: Optional[int]) -> Path:
        return self.folder / ("%s%s.guide.safetensors" % (kind, "" if frame is None else ".%d" % frame))

    def has(self, kind: str, frame: Optional[int] = None) -> bool:
        return self._path(kind, frame).exists()

    def put(self, kind: str, frame: Optional[int], arrays: dict[str, np.ndarray], facts: Optional[dict] = None) -> None:
        """Keep arrays, and plain facts (numbers, strings, lists) beside them."""
        path = self._path(kind, frame)
        # One name per writer: two processes in one folder must not write into one another's file.
        partial = path.with_name("%s.%d.partial" % (path.name, os.getpid()))
        try:
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial, {"facts": json.dumps(facts or {})})
            os.replace(partial, path)
        except (OSError, safetensors.SafetensorError) as problem:
            partial.unlink(missing_ok=True)
            raise _unwritable(self.folder, problem) from problem

    def get(self, kind: str, frame: Optional[int] = None) -> tuple[dict[str, np.ndarray], dict]:
        """Arrays and facts as they were put."""
        with self._whole(self._path(kind, frame)) as path:
            return load_file(path), self.facts(kind, frame)

    def facts(self, kind: str, frame: Optional[int] = None) -> dict:
        """The facts alone; no array is read."""
        with self._whole(self._path(kind, frame)) as path, safetensors.safe_open(path, "np") as file:
            return json.loads((file.metadata() or {}).get("facts", "{}"))

    @contextlib.contextmanager
    def _whole(self, path: Path) -> Iterator[Path]:
        """A file that is damaged goes, as after a power cut, and the plan with it: then the next run makes what is lacking."""
        try:
            yield path
        except safetensors.SafetensorError as problem:
            for gone in (path, self._path("plan", None)):
                with contextlib.suppress(OSError):
                    gone.unlink()
            raise StorageError("What was kept of the guide is damaged: %s." % path, "Generate once more: it is made anew.") from problem


def _unwritable(folder: Path, problem: Exception) -> StorageError:
    return StorageError("The guide can't be kept in %s: %s." % (folder, problem), "Free space there, or choose another scratch folder.")
