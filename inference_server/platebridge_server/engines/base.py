# SPDX-License-Identifier: Apache-2.0
"""What every engine is: it runs tasks somewhere and reports. Knows no sockets to clients, no jobs database, no pixels."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Protocol, Union


@dataclass(frozen=True)
class Task:
    """One job to run. `request`: canonical JSON. `have`: files that need not be made again, {name: sha256}.

    `scratch`: a folder that stays the same when the task is run again after an interruption.
    """

    take: str
    request: bytes
    origin: Dict[str, Any]
    have: Dict[str, str]
    scratch: Path


@dataclass(frozen=True)
class Happened:
    """An event of a task, as it travels: its bytes lie in the spool as `sha256` (None: it has none)."""

    take: str
    kind: str
    fields: Dict[str, Any]
    sha256: Optional[str] = None
    size: int = 0


@dataclass(frozen=True)
class Died:
    """Whoever worked on the task is dead, before its last event. It may be submitted again."""

    take: str
    reason: str


@dataclass(frozen=True)
class Ready:
    """A worker is up. `models`: their cards as plain data."""

    device: str
    models: List[Dict[str, Any]] = field(default_factory=list)


Report = Union[Happened, Died, Ready]


class Engine(Protocol):
    """Calls come from one thread; reports come on threads of the engine's own, in each task's order."""

    def start(self, report: Callable[[Report], None]) -> None:
        """Begins; from now on `report` is called."""

    def free(self) -> bool:
        """Whether a task submitted now would run at once. It may become so with a Ready."""

    def submit(self, task: Task) -> None:
        """Runs it. Ends with Happened of kind done or failed, or with Died."""

    def cancel(self, take: str) -> None:
        """Asks the task to stop at the model's next step; it then ends with a failed of code cancelled."""

    def close(self) -> None:
        """Stops everything. Tasks that ran report nothing more."""
