# SPDX-License-Identifier: Apache-2.0
"""Jobs, their files and the room for both, with an engine that is asked for nothing but bytes."""
from __future__ import annotations

import os
import time

from house import Shot, new_take
from platebridge.errors import StorageError
from platebridge_server.engines.base import Happened
from platebridge_server.jobs import DONE, JobStore, canonical
from platebridge_server.scheduler import Scheduler
from platebridge_server.spool import Spool, SpoolLimits

DISK, RESERVE, HEADROOM = 100_000, 10_000, 8_000


class Bench:
    """A disk of 100 000 bytes with nothing on it but the spool, which server and worker use at once. `engine` is its own."""

    def __init__(self, root) -> None:
        limits = SpoolLimits(reserve=RESERVE, headroom=HEADROOM, young=600.0)
        self.spool = Spool(root / "spool", limits, self._free)
        self.workers = Spool(root / "spool", SpoolLimits(reserve=RESERVE), self._free)
        self.store = JobStore(root / "jobs.sqlite")
        self.task = None
        self.scheduler = Scheduler(self.store, self.spool, self, root / "scratch", lambda take: None, lambda work: work())

    def _free(self, path) -> int:
        return DISK - sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    def free(self) -> bool:
        return self.task is None

    def submit(self, task) -> None:
        self.task = task

    def fill(self) -> None:
        """Files of long ago that no job needs, until not a byte is left beside the reserve."""
        while True:
            room = self._free(self.spool.root) - RESERVE
            if room <= 0:
                return
            path = self.spool.path(self.spool.add(os.urandom(min(1000, room))))
            os.utime(path, (time.time() - 86400,) * 2)

    def make(self, files: int, size: int) -> None:
        """What the worker does with its task, and the server with what it says."""
        take = self.task.take
        for n in range(files):
            sha = self.workers.add(os.urandom(size))
            fields = {"kind": "comp", "frame": n, "name": "comp.%04d.exr" % n, "sha256": sha}
            self.scheduler.happened(Happened(take, "file", fields, sha, size))
        self.task = None
        self.scheduler.happened(Happened(take, "done", {"seconds": {}}))


def test_a_full_spool_whose_files_may_go_stops_no_take(tmp_path):
    """Far more than the headroom is made, by a take whose inputs are there, and by the next one that waited meanwhile."""
    bench = Bench(tmp_path)
    shot = Shot(tmp_path / "shot", frames=2, size=500)
    for path in shot.paths.values():
        bench.spool.add(path.read_bytes())
    bench.fill()
    takes = [new_take(), new_take()]
    for seed, take in enumerate(takes):
        bench.scheduler.submit(take, canonical(shot.request(seed).to_dict()), {}, {}, False)
    for _ in takes:
        bench.make(30, 1000)
    assert [bench.store.require(take).state for take in takes] == [DONE, DONE]
    assert all(bench.spool.size(sha) >= 0 for take in takes for sha in bench.store.made(take).values())
    assert all(bench.spool.size(sha) >= 0 for sha in shot.paths) and bench._free(bench.spool.root) >= RESERVE


def test_a_spool_that_was_tidied_has_room_for_what_comes_next(tmp_path):
    bench = Bench(tmp_path)
    bench.fill()
    bench.scheduler.tidy()
    bench.workers.add(os.urandom(HEADROOM))
    try:
        bench.workers.add(os.urandom(2000))
    except StorageError:
        return
    raise AssertionError("more was freed than must be")
