# SPDX-License-Identifier: Apache-2.0
"""Jobs and their numbered events in SQLite: what survives when every process is killed.

A job's id is its take's id. Its state goes uploading -> queued -> running -> done, failed or cancelled. Files are named by
hash; the spool has them. Knows no sockets, no engines, no pixels. Used by one thread at a time.
"""
from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

import msgpack
from platebridge.errors import JobError, StorageError
from platebridge.protocol import LAST
from platebridge.request import FrameFile

UPLOADING, QUEUED, RUNNING, DONE, FAILED, CANCELLED = "uploading", "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    take TEXT PRIMARY KEY, shot TEXT NOT NULL, request BLOB NOT NULL, hash TEXT NOT NULL, origin BLOB NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, changed REAL NOT NULL, deaths INTEGER NOT NULL DEFAULT 0, acked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS events (
    take TEXT NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, fields BLOB NOT NULL, sha256 TEXT, size INTEGER NOT NULL,
    PRIMARY KEY (take, n)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS needs (
    take TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, lacking INTEGER NOT NULL, PRIMARY KEY (take, sha256)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS needs_lacking ON needs (take) WHERE lacking = 1;
CREATE INDEX IF NOT EXISTS needs_by_hash ON needs (sha256);
CREATE TABLE IF NOT EXISTS held (
    take TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (take, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cancelling (take TEXT PRIMARY KEY) WITHOUT ROWID;
"""


_ROW = "SELECT take, shot, hash, state, created, changed, deaths, acked FROM jobs "


@dataclass(frozen=True)
class Job:
    """One row, but for what was asked, which may be megabytes. `deaths`: of its worker since the last file came."""

    take: str
    shot: str
    hash: str
    state: str
    created: float
    changed: float
    deaths: int
    acked: int


@dataclass(frozen=True)
class StoredEvent:
    """`fields`: as on the wire. `sha256` and `size`: its bytes, in the spool; None and 0 when it has none."""

    n: int
    kind: str
    fields: Dict[str, Any]
    sha256: Optional[str]
    size: int


class JobStore:
    """Raises StorageError where SQLite can't write."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut at most the last moments
            self._db.executescript(_TABLES)
        except sqlite3.Error as error:
            raise StorageError("The server's job list %s can't be opened: %s." % (path, error), "Start it with another --data.") from error

    def close(self) -> None:
        self._db.close()

    # --- jobs ------------------------------------------------------------------------------------------------------------

    def get(self, take: str) -> Optional[Job]:
        for row in self._db.execute(_ROW + "WHERE take = ?", (take,)):
            return Job(*row)
        return None

    def require(self, take: str) -> Job:
        """Raises JobError when the job is unknown."""
        job = self.get(take)
        if job is None:
            raise JobError("This server knows no job %s." % take, "Send the request again with the same take: what came is kept.")
        return job

    def all(self, most: int = 200) -> List[Job]:
        """The latest jobs first."""
        return [Job(*row) for row in self._db.execute(_ROW + "ORDER BY created DESC LIMIT ?", (most,))]

    def open(self) -> int:
        """How many have not ended."""
        marks = ",".join("?" * len(ENDED))
        return self._db.execute("SELECT count(*) FROM jobs WHERE state NOT IN (%s)" % marks, ENDED).fetchone()[0]

    def asked(self, take: str) -> Tuple[bytes, Dict[str, Any]]:
        """(request, canonical JSON; origin: who asked, plain data) of a job that is there."""
        request, origin = self._db.execute("SELECT request, origin FROM jobs WHERE take = ?", (take,)).fetchone()
        return request, msgpack.unpackb(origin)

    def in_state(self, *states: str) -> List[Job]:
        """The oldest first."""
        marks = ",".join("?" * len(states))
        return [Job(*row) for row in self._db.execute(_ROW + "WHERE state IN (%s) ORDER BY created, take" % marks, states)]

    def add(self, take: str, shot: str, request: bytes, digest: str, origin: Dict[str, Any], files: Iterable[FrameFile],
            held: Dict[str, str], after: int = 0) -> None:
        """A new job in state `uploading`; every file counts as lacking until `present` is told.

        `after`: the number of the last event that its client has seen, of a server that is no more: ours have higher ones.
        """
        now = time.time()
        with self._write():
            self._db.execute("INSERT INTO jobs (take, shot, request, hash, origin, state, created, changed) VALUES (?,?,?,?,?,?,?,?)",
                             (take, shot, request, digest, msgpack.packb(origin), UPLOADING, now, now))
            self._db.executemany("INSERT OR IGNORE INTO needs VALUES (?,?,?,1)", ((take, f.sha256, f.size) for f in files))
            self._db.executemany("INSERT OR REPLACE INTO held VALUES (?,?,?)", ((take, name, sha) for name, sha in held.items()))
            if after:
                fields = {"message": "The server no longer had this take, and began it anew.", "input": "", "frame": None}
                self._db.execute("INSERT INTO events VALUES (?,?,?,?,?,?)", (take, after, "warned", msgpack.packb(fields), None, 0))

    def set_state(self, take: str, state: str) -> None:
        self._execute("UPDATE jobs SET state = ?, changed = ? WHERE take = ?", (state, time.time(), take))

    def count_death(self, take: str) -> int:
        """One more death of the job's worker; gives how many since a file last came."""
        self._execute("UPDATE jobs SET deaths = deaths + 1, changed = ? WHERE take = ?", (time.time(), take))
        return self.require(take).deaths

    def forgive(self, take: str) -> None:
        self._execute("UPDATE jobs SET deaths = 0 WHERE take = ?", (take,))

    def ask_cancel(self, take: str) -> None:
        """The job at work shall end; holds until it has."""
        self._execute("INSERT OR IGNORE INTO cancelling VALUES (?)", (take,))

    def cancelling(self, take: str) -> bool:
        return bool(self._db.execute("SELECT EXISTS (SELECT 1 FROM cancelling WHERE take = ?)", (take,)).fetchone()[0])

    def ack(self, take: str, n: int) -> None:
        """The client has everything up to event n on its disk."""
        self._execute("UPDATE jobs SET acked = max(acked, ?) WHERE take = ?", (n, take))

    def remove(self, take: str) -> None:
        with self._write():
            for table in ("jobs", "events", "needs", "held", "cancelling"):
                self._db.execute("DELETE FROM %s WHERE take = ?" % table, (take,))

    def outlived(self, before: float) -> List[str]:
        """Jobs unchanged since then that nothing works on: ended, or their upload was given up."""
        rows = self._db.execute("SELECT take FROM jobs WHERE changed < ? AND state NOT IN (?, ?)", (before, QUEUED, RUNNING))
        return [row[0] for row in rows]

    # --- files -----------------------------------------------------------------------------------------------------------

    def lacking(self, take: str) -> List[Tuple[str, int]]:
        """(sha256, size) of the input files that have not come."""
        return list(self._db.execute("SELECT sha256, size FROM needs WHERE take = ? AND lacking = 1", (take,)))

    def needs(self, take: str) -> List[Tuple[str, int]]:
        return list(self._db.execute("SELECT sha256, size FROM needs WHERE take = ?", (take,)))

    def set_lacking(self, take: str, hashes: Set[str]) -> None:
        """Exactly these files of the job are not there."""
        with self._write():
            self._db.execute("UPDATE needs SET lacking = 0 WHERE take = ?", (take,))
            self._db.executemany("UPDATE needs SET lacking = 1 WHERE take = ? AND sha256 = ?", ((take, sha) for sha in hashes))

    def present(self, sha256: str) -> List[str]:
        """A file has come. Gives the jobs in state `uploading` that now lack nothing: they are in line from now on."""
        takes = [row[0] for row in self._db.execute("SELECT take FROM needs WHERE sha256 = ? AND lacking = 1", (sha256,))]
        if not takes:
            return []
        with self._write():
            self._db.execute("UPDATE needs SET lacking = 0 WHERE sha256 = ?", (sha256,))
            ready = [t for t in takes if self.require(t).state == UPLOADING and not self._lacks_any(t)]
            for take in ready:
                self._db.execute("UPDATE jobs SET state = ?, changed = ? WHERE take = ?", (QUEUED, time.time(), take))
        return ready

    def made(self, take: str) -> Dict[str, str]:
        """Files of the take that need not be made again, {name: sha256}: those in events, and those the client holds."""
        files = dict(self._db.execute("SELECT name, sha256 FROM held WHERE take = ?", (take,)).fetchall())
        for event in self.events(take, 0, 10**9, "file"):
            files[event.fields["name"]] = event.fields["sha256"]
        return files

    def kept(self) -> Set[str]:
        """Hashes that must stay: inputs of jobs that have not ended, files of jobs whose client does not have them all."""
        ended = ",".join("?" * len(ENDED))
        rows = self._db.execute(
            "SELECT needs.sha256 FROM needs JOIN jobs USING (take) WHERE jobs.state NOT IN (%s) UNION "
            "SELECT events.sha256 FROM events JOIN jobs USING (take) WHERE events.sha256 IS NOT NULL AND "
            "(events.n > jobs.acked OR jobs.state NOT IN (%s))" % (ended, ended), (*ENDED, *ENDED))
        return {row[0] for row in rows}

    # --- events ----------------------------------------------------------------------------------------------------------

    def append(self, take: str, kind: str, fields: Dict[str, Any], sha256: Optional[str] = None, size: int = 0) -> int:
        """Stores the next event and gives its number, counted from 1. The last one (done, failed) also ends the job."""
        with self._write():
            n = self.last(take) + 1
            self._db.execute("INSERT INTO events VALUES (?,?,?,?,?,?)", (take, n, kind, msgpack.packb(fields), sha256, size))
            if kind in LAST:
                state = DONE if kind == "done" else CANCELLED if fields["error"].get("code") == "cancelled" else FAILED
                self._db.execute("UPDATE jobs SET state = ?, changed = ? WHERE take = ?", (state, time.time(), take))
                self._db.execute("DELETE FROM cancelling WHERE take = ?", (take,))
            elif kind == "file":
                self._db.execute("UPDATE jobs SET deaths = 0, changed = ? WHERE take = ?", (time.time(), take))
        return n

    def last(self, take: str) -> int:
        return self._db.execute("SELECT coalesce(max(n), 0) FROM events WHERE take = ?", (take,)).fetchone()[0]

    def events(self, take: str, after: int, most: int, kind: Optional[str] = None) -> List[StoredEvent]:
        """Events numbered above `after`, in order."""
        query = "SELECT n, kind, fields, sha256, size FROM events WHERE take = ? AND n > ?" + (" AND kind = ?" if kind else "")
        rows = self._db.execute(query + " ORDER BY n LIMIT ?", (take, after, *([kind] if kind else []), most))
        return [StoredEvent(n, kind, msgpack.unpackb(fields), sha, size) for n, kind, fields, sha, size in rows]

    def _lacks_any(self, take: str) -> bool:
        return bool(self._db.execute("SELECT EXISTS (SELECT 1 FROM needs WHERE take = ? AND lacking = 1)", (take,)).fetchone()[0])

    # --- within ----------------------------------------------------------------------------------------------------------

    def _execute(self, statement: str, values: tuple) -> None:
        with self._write():
            self._db.execute(statement, values)

    def _write(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """All of it or nothing; a full disk, or a list that another program holds, becomes a StorageError."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise _not_written(error) from error

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as found:
                error = found
        if error is not None and self._db.in_transaction:  # SQLite itself rolls back on a full disk
            self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise _not_written(error) from error


def _not_written(error: BaseException) -> StorageError:
    mend = "Make room on the server's disk, and let no other program hold the list."
    return StorageError("The server's job list can't be written: %s." % error, mend)


def canonical(tree: Dict[str, Any]) -> bytes:
    """A request's tree as the bytes that are stored."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
