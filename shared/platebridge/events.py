# SPDX-License-Identifier: Apache-2.0
"""What a generation says while it runs. The pipeline yields these, the wire carries them, every client reads them.

One process (`platebridge generate`) and a server far away give the same events in the same order.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Union

#: What the phases of a take's way are called in a status line, in every program.
PHASES: Dict[str, str] = {
    "finding": "Reading the files",
    "uploading": "Sending what the server lacks",
    "queued": "Waiting for its turn",
    "loading": "Reading the model",
    "reading": "Checking the frames",
    "guide": "Guide",
    "generating": "Generating",
    "writing": "Frames",
}


@dataclass(frozen=True)
class Started:
    """Work has begun. `model`: its name; `device`: "cpu", "cuda:0" …"""

    model: str
    device: str


@dataclass(frozen=True)
class Progress:
    """`phase`: "reading", "guide", "generating", "writing". `done` of `total` steps of that phase."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Preview:
    """The picture as it forms: a small PNG, display-referred, for the eye alone."""

    frame: int
    png: bytes


@dataclass(frozen=True)
class Warned:
    """Something an artist should know; the work goes on. `message` is a whole sentence."""

    message: str
    input: str = ""
    frame: Optional[int] = None

    def __str__(self) -> str:
        """With its place before it: "depth frame 1004: …"."""
        where = " ".join(part for part in (self.input, "frame %d" % self.frame if self.frame is not None else "") if part)
        return "%s: %s" % (where, self.message) if where else self.message


@dataclass(frozen=True)
class FileReady:
    """One finished file of a take. `kind`: "comp", "effect", "guide", "picture" (with `frame`), "preview", "sheet" or "take" (frame None).

    `name` is the file's name inside the take's folder (comp.1001.exr). "take" (take.json) comes last.
    """

    kind: str
    frame: Optional[int]
    name: str
    sha256: str
    data: bytes


@dataclass(frozen=True)
class Done:
    """The take is whole. `seconds`: of each stage by name, as in take.json."""

    seconds: Dict[str, float]


@dataclass(frozen=True)
class Failed:
    """The work ended with an error; `error` is errors.PlatebridgeError.to_dict(). What came before is kept."""

    error: Dict[str, Any]


Event = Union[Started, Progress, Preview, Warned, FileReady, Done, Failed]
