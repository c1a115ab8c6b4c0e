# SPDX-License-Identifier: Apache-2.0
"""What becomes of a job: accepted, fed with files, run, run again after a death, kept, and one day forgotten.

Joins job store, spool and engine; knows no sockets, no messages, no pixels. Used by one thread.
"""
from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, Set, Tuple

from platebridge.errors import Cancelled, JobError, PlatebridgeError, RequestError, StorageError
from platebridge.protocol import LAST, Buffer, event_from_plain
from platebridge.request import from_dict

from .engines.base import Died, Engine, Happened, Task
from .jobs import CANCELLED, ENDED, FAILED, QUEUED, RUNNING, UPLOADING, JobStore, canonical
from .spool import Spool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobLimits:
    """`open`: jobs that have not ended, at once. `bytes`: input files of one job together. `deaths`: of its worker without a new file
    between them before a job is given up. `days`: that an ended job and its files are kept.
    """

    open: int = 1000
    bytes: int = 500 * 2**30
    deaths: int = 3
    days: float = 14.0


class Scheduler:
    """`changed(take)` is called whenever a job has a new event. `tidy(call)` runs slow work on the disk elsewhere."""

    def __init__(self, store: JobStore, spool: Spool, engine: Engine, scratch: Path, changed: Callable[[str], None],
                 tidy: Callable[[Callable[[], Any]], None], limits: JobLimits = JobLimits()) -> None:
        self._store, self._spool, self._engine, self._scratch = store, spool, engine, scratch
        self._changed, self._tidy, self._limits = changed, tidy, limits
        self._making_room = False
        self._given_room: Set[str] = set()  # takes that were begun again once there was room

    def begin(self) -> None:
        """Takes up what a server before this one left: work that was running runs again, without what it had made."""
        for job in self._store.in_state(UPLOADING, QUEUED, RUNNING):
            if self._store.cancelling(job.take):
                self._append(job.take, "failed", {"error": Cancelled().to_dict()})
                continue
            if job.state == RUNNING:
                log.info("Take %s goes on", job.take)
            self._refresh(job.take)
        self.dispatch()

    def submit(self, take: str, raw_request: Buffer, origin: Dict[str, Any], held: Dict[str, str], again: bool,
               after: int = 0) -> Tuple[str, List[str]]:
        """(state, hashes of files that are lacking). Asked twice, it is one job. `again`: one that failed or was cancelled goes on.

        `after`: see JobStore.add.
        Raises RequestError, VersionError, StorageError, JobError (the take names another request).
        """
        request = _read_request(raw_request)
        try:
            json.dumps(origin, allow_nan=False)  # it is to stand in take.json, which others read too
        except (TypeError, ValueError, RecursionError):
            mend = "Send text, finite numbers, lists and tables."
            raise RequestError("What the client says of itself is more than plain data.", mend) from None
        digest = request.hash()
        job = self._store.get(take)
        if job is None:
            self._admit(request)
            self._store.add(take, request.shot, canonical(request.to_dict()), digest, origin, request.all_files(), held, after)
            log.info("Take %s of %s: %d files named", take, request.shot, len(request.all_files()))
        elif job.hash != digest:
            raise JobError("The take %s was asked for with another request." % take, "Generate a new take: a take is never overwritten.")
        elif job.state in ENDED and again and job.state != "done":
            self._store.set_state(take, UPLOADING)
            self._store.forgive(take)
        if self._store.require(take).state in (UPLOADING, QUEUED):
            self._refresh(take)
            self.dispatch()
        state = self._store.require(take).state
        return state, [sha for sha, _ in self._store.lacking(take)] if state == UPLOADING else []

    def stored(self, sha256: str) -> None:
        """An uploaded file is whole and verified."""
        self._store.present(sha256)
        self._keep_headroom()
        self.dispatch()

    def cancel(self, take: str) -> None:
        """Ends the job; one that has ended stays as it is. Raises JobError when it is unknown."""
        job = self._store.require(take)
        if job.state in (UPLOADING, QUEUED):
            self._append(take, "failed", {"error": Cancelled().to_dict()})
        elif job.state == RUNNING:
            self._engine.cancel(take)
            self._store.ask_cancel(take)  # a step may take minutes, and this server may end before it does

    def happened(self, report: Happened) -> None:
        """An event from the engine. One that can't be is a fault of the worker's and ends the job."""
        job = self._store.get(report.take)
        if job is None or job.state != RUNNING:  # a late word from a worker whose task was given to another
            self.dispatch()  # or the last one again, whose end was stored while the next job's beginning could not be
            return
        kind, fields, sha256, size = report.kind, report.fields, report.sha256, report.size
        try:
            event_from_plain(kind, fields)
        except PlatebridgeError as error:
            kind, fields, sha256, size = "failed", {"error": error.to_dict()}, None, 0
        if kind == "failed" and self._gives_room(report.take, fields["error"].get("wanted", 0)):
            self._store.set_state(report.take, QUEUED)
            self._given_room.add(report.take)
            self.dispatch()
            return
        self._append(report.take, kind, fields, sha256, size)
        if sha256 is not None:
            self._keep_headroom()
        if kind in LAST:
            self.dispatch()

    def died(self, report: Died) -> None:
        """A worker died in the middle of the job: again with what has come, a few times."""
        take = report.take
        job = self._store.get(take)
        if job is not None and job.state == RUNNING:
            if self._store.cancelling(take):
                self._append(take, "failed", {"error": Cancelled().to_dict()})
            elif self._store.count_death(take) > self._limits.deaths:
                error = JobError("The worker died %d times in a row on this take (%s)." % (self._limits.deaths + 1, report.reason),
                                 "It may lack memory: try a draft or a smaller plate. The worker's log says more; what came is kept.")
                self._append(take, "failed", {"error": error.to_dict()})
            else:
                warning = "The worker died (%s) and was started again; the frames that came are kept." % report.reason
                self._append(take, "warned", {"message": warning, "input": "", "frame": None})
                self._store.set_state(take, QUEUED)
        self.dispatch()

    def dispatch(self) -> None:
        """Gives waiting jobs to the engine, the oldest first, while it has room."""
        if not self._engine.free():
            return
        for job in self._store.in_state(QUEUED):
            if not self._engine.free():
                return
            self._store.set_state(job.take, RUNNING)
            have = self._store.made(job.take)
            self._keep_headroom()
            self._engine.submit(Task(job.take, *self._store.asked(job.take), have, self._scratch / job.take))

    def tidy(self) -> None:
        """Forgets what is past its days, and keeps the spool within its limits."""
        for take in self._store.outlived(time.time() - self._limits.days * 86400):
            try:
                self._store.remove(take)
            except StorageError as error:
                log.error("%s The next time, then.", error)
                break
            self._tidy(lambda folder=self._scratch / take: shutil.rmtree(folder, ignore_errors=True))
        kept = self._store.kept()
        self._tidy(lambda: self._spool.sweep(kept))
        given_up = self._given_up()
        self._tidy(lambda: self._make_room(kept, given_up, self._spool.limits.headroom))

    def _keep_headroom(self) -> None:
        """Files that nobody needs go before the reserve is reached: a worker that writes can't tell which those are."""
        if self._making_room:
            return
        try:
            self._spool.check_room(self._spool.limits.headroom // 2)  # not at every file: the whole spool is looked through
        except StorageError:
            kept, given_up = self._store.kept(), self._given_up()
            self._making_room = True
            self._tidy(lambda: self._make_headroom(kept, given_up))

    def _make_headroom(self, kept: Collection[str], given_up: List[Path]) -> None:
        try:
            self._make_room(kept, given_up, self._spool.limits.headroom)
        finally:
            self._making_room = False

    def _gives_room(self, take: str, wanted: int) -> bool:
        """Whether work that was refused for want of so many bytes may begin again: once, where files that nobody needs could go for it."""
        if not wanted or take in self._given_room or self._store.cancelling(take):
            return False
        self._make_room(self._store.kept(), self._given_up(), wanted)
        try:
            self._spool.check_room(wanted)
        except StorageError:
            return False
        return True

    def _given_up(self) -> List[Path]:
        """Where work lies that failed or was cancelled a while ago, the longest untouched first: whoever goes on with it has it sooner."""
        ended = sorted((job.changed, job.take) for job in self._store.in_state(FAILED, CANCELLED))
        return [self._scratch / take for changed, take in ended if changed < time.time() - self._spool.limits.young]

    def _make_room(self, kept: Collection[str], given_up: List[Path], wanted: int) -> None:
        """Work that was given up goes before files that another take may use."""
        for folder in given_up:
            try:
                self._spool.check_room(wanted)
                break
            except StorageError:
                shutil.rmtree(folder, ignore_errors=True)
        self._spool.make_room(kept, wanted)

    def _admit(self, request: Any) -> None:
        if self._store.open() >= self._limits.open:
            raise JobError("%d jobs wait on this server already." % self._limits.open, "Cancel some, or wait.")
        files = request.all_files()
        total = sum(f.size for f in files)
        largest = max((f.size for f in files), default=0)
        if total > self._limits.bytes or largest > self._spool.limits.file:
            raise StorageError("This shot's files are too large for this server (%d MB, the largest %d MB)." % (total >> 20, largest >> 20),
                               "It takes %d MB, %d MB each." % (self._limits.bytes >> 20, self._spool.limits.file >> 20))
        lacking = sum(f.size for f in files if self._spool.size(f.sha256) != f.size)
        try:
            self._spool.check_room(lacking)
        except StorageError:
            self._make_room(self._store.kept() | {f.sha256 for f in files}, self._given_up(), lacking)
            self._spool.check_room(lacking)

    def _refresh(self, take: str) -> None:
        """What the disk really has of a job's inputs decides whether it waits for files or for the engine."""
        lacking = set()
        for sha256, size in self._store.needs(take):
            if self._spool.size(sha256) != size:  # also where a power failure cut it short: what comes takes its place
                lacking.add(sha256)
            else:
                self._spool.open_file(sha256)  # used now: not to be taken away
        self._store.set_lacking(take, lacking)
        self._store.set_state(take, UPLOADING if lacking else QUEUED)

    def _append(self, take: str, kind: str, fields: Dict[str, Any], sha256: Any = None, size: int = 0) -> None:
        self._store.append(take, kind, fields, sha256, size)
        if kind in LAST:
            self._given_room.discard(take)
            log.info("Take %s: %s", take, self._store.require(take).state)
        if kind == "done":
            self._tidy(lambda: shutil.rmtree(self._scratch / take, ignore_errors=True))
        self._changed(take)


def _read_request(raw: Buffer) -> Any:
    try:
        tree = json.loads(bytes(raw))
    except (ValueError, RecursionError):
        raise RequestError("The request can't be read.", "Send what GenerateRequest.to_dict gives, as JSON.") from None
    return from_dict(tree)
