# SPDX-License-Identifier: Apache-2.0
"""The effect's file: RGBA and Z for the comp, and what they were made of as further layers, so that it can be lit again.

And the shelf on which the last takes' files wait for another light on the same dust. Knows the files' channels and folders;
must not know shots, guides or models.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import numpy as np
from platebridge.errors import InputError
from platebridge.request import GenerateRequest

from . import images
from .composite import Effect
from .guide.dials import fingerprint
from .guide.guide import VERSION as GUIDE_VERSION
from .guide.guide import moved_by
from .images import Part, Window
from .light import DustLight

#: Raised when the same inputs would give other passes: what older versions kept is not taken.
VERSION = 3
#: Dials that are applied after generation: another take with other values of them needs neither guide nor model.
RELIT = ("light", "ambient", "tint")
_NOTE = "passes.json"


def part(made: Effect, rgba: np.ndarray, window: Window, display: Window) -> Part:
    """R G B A half and Z float; ambient.Y, sun.Y and shadow half; chroma.R G B half where an artist's guide has given a colour.

    rgba: what `made` gives in its light. An effect that was painted whole has no passes and no such layers.
    """
    samples = {c: rgba[..., i] for i, c in enumerate("RGBA")}
    samples |= {"Z": made.z, "shadow": made.shadow}
    if made.painted is None:
        samples |= {"ambient.Y": made.ambient, "sun.Y": made.sun}
    if made.chroma is not None:
        samples |= {"chroma." + c: made.chroma[..., i] for i, c in enumerate("RGB")}
    return images.new_part(samples, window, display)


def read(path: Path) -> Effect:
    """The effect of a file as `part` made it. Raises InputError when it can't be read."""
    samples = images.read(path)[0].samples
    if "sun.Y" not in samples:
        none = np.zeros_like(samples["A"])
        return Effect(none, none, samples["A"], samples["Z"], samples["shadow"], painted=np.stack([samples[c] for c in "RGB"], -1))
    chroma = np.stack([samples["chroma." + c] for c in "RGB"], -1) if "chroma.R" in samples else None
    return Effect(samples["sun.Y"], samples["ambient.Y"], samples["A"], samples["Z"], samples["shadow"], chroma)


def light_of(colours: DustLight) -> Dict[str, List[float]]:
    """What the passes are multiplied by: R = sun's red * sun.Y + sky's red * ambient.Y, and so on."""
    return {name: [float("%.9g" % np.float32(v)) for v in getattr(colours, name)] for name in ("sun", "sky")}


def labels(colours: DustLight) -> Dict[str, str]:
    """The same for the file's header."""
    return {"platebridge:" + name: " ".join("%.9g" % v for v in values) for name, values in light_of(colours).items()}


def passes_of(request: GenerateRequest, geometry: str, card: Mapping[str, Any], device: str) -> str:
    """Of everything that the passes depend on, the model's card among it, so that what another request left is never taken.

    64 hex digits. geometry: as `shot.Shot` has it.
    """
    tree = request.to_dict()
    kept = {k: tree[k] for k in ("frames", "camera", "settings", "model", "simulation")}
    paints = card.get("kind") == "picture"  # then it sees the plate, and the light on the guide
    kept["inputs"] = tree["inputs"] if paints else moved_by(tree, geometry)
    later = () if paints else RELIT
    kept["guide"] = fingerprint(tree, set(tree["guide"]) - set(later))
    kept["paint"] = tree.get("paint")
    kept.update(card=dict(card), device=device, version=[VERSION, GUIDE_VERSION])
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


class Damaged(Exception):
    """A file that was kept is not whole; it was taken away."""


class Kept:
    """The files of one take that were kept in `folder`, whole once `finish` was called. A disk that is full keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lost = folder, False

    def facts(self, names: Mapping[str, object]) -> Optional[Dict[str, Any]]:
        """What `finish` was given, if all files of these names are here; else None."""
        with contextlib.suppress(OSError, ValueError):
            if all(self.has(name) for name in names):
                found = json.loads((self._folder / _NOTE).read_text(encoding="utf-8"))
                return found if isinstance(found, dict) else None
        return None

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def path(self, name: str) -> Path:
        return self._folder / name

    def put(self, name: str, data: bytes) -> None:
        partial = self._folder / ("%s.%d.partial" % (name, os.getpid()))
        try:
            partial.write_bytes(data)
            os.replace(partial, self._folder / name)
        except OSError:
            self._lost = True
            partial.unlink(missing_ok=True)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """All of the take's files have been put."""
        if not self._lost:
            self.put(_NOTE, json.dumps(facts).encode())

    def effect(self, name: str) -> Effect:
        """Raises Damaged."""
        try:
            return read(self._folder / name)
        except (InputError, KeyError) as error:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
            raise Damaged(name) from error
