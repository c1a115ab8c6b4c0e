# SPDX-License-Identifier: Apache-2.0
"""Jobs, their files and the room for both, with an engine that is asked for nothing but bytes."""
from __future__ import annotations

import math
import os
import time
from dataclasses import replace

import pytest
from house import Shot, new_take
from platebridge.errors import RequestError, StorageError
from platebridge_server.engines.base import Happened
from platebridge_server.jobs import CANCELLED, DONE, FAILED, RUNNING, JobStore, canonical
from platebridge_server.scheduler import JobLimits, Scheduler
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

    def cancel(self, take) -> None:
        """The worker is in a step that takes minutes."""

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


@pytest.mark.parametrize("how", ["tidied", "asked for more"])
def test_work_that_was_given_up_goes_before_files_that_may_be_used_again(tmp_path, monkeypatch, how):
    """What a cancelled final keeps to be gone on with may be gigabytes. It stays as long as there is room, the youngest the longest."""
    bench = Bench(tmp_path)

    def free(path=None):
        return sum(bench._free(tmp_path / folder) - DISK for folder in ("spool", "scratch", "others")) + DISK

    monkeypatch.setattr(bench.spool, "_free", free)
    plate = bench.spool.add(os.urandom(5000))
    os.utime(bench.spool.path(plate), (time.time() - 86400,) * 2)
    shot, takes = Shot(tmp_path / "shots" / "a", frames=1, size=10), []
    for age in (9000, 6000, 3000, 0):
        take, _ = submit(bench, shot)
        bench.scheduler.cancel(take)
        bench.store._execute("UPDATE jobs SET changed = ? WHERE take = ?", (time.time() - age, take))
        (tmp_path / "scratch" / take).mkdir(parents=True)
        (tmp_path / "scratch" / take / "crop.npy").write_bytes(bytes(10_000))
        takes.append(take)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").write_bytes(bytes(free() - RESERVE - HEADROOM + 1000))

    def left():
        return [(tmp_path / "scratch" / take).exists() for take in takes]

    if how == "tidied":
        bench.scheduler.tidy()
        assert left() == [False, True, True, True]
        bench.scheduler.tidy()
        assert left() == [False, True, True, True]
    else:
        submit(bench, Shot(tmp_path / "shots" / "b", frames=1, size=9000))
        assert left() == [False, False, True, True]
    assert bench.spool.size(plate) == 5000


@pytest.mark.parametrize("there_are", ["files that may go", "files that are needed"])
def test_work_that_lacks_room_begins_again_where_files_that_nobody_needs_could_go(tmp_path, there_are):
    """A spool fills its disk but for the headroom, and a long final may need more than that beside it."""
    bench, wanted = Bench(tmp_path), 3 * HEADROOM
    shot = Shot(tmp_path / "shot", frames=2, size=500)
    for path in shot.paths.values():
        bench.spool.add(path.read_bytes())
    bench.fill()
    take, _ = submit(bench, shot)
    refused = StorageError("There is not enough disk left for the work.", wanted=wanted)
    if there_are == "files that are needed":
        bench.store.kept = lambda: {path.parent.name + path.name for path in bench.spool._files()}
    bench.task = None
    bench.scheduler.happened(Happened(take, "failed", {"error": refused.to_dict()}))
    if there_are == "files that may go":
        assert bench._free(bench.spool.root) >= RESERVE + wanted and bench.task.take == take
        assert bench.store.require(take).state == RUNNING and all(bench.spool.size(sha) == 500 for sha in shot.paths)
        bench.task = None  # its disk is another, perhaps: it is not tried for ever
        bench.scheduler.happened(Happened(take, "failed", {"error": refused.to_dict()}))
    assert bench.store.require(take).state == FAILED and bench.task is None


def submit(bench, shot, take=None):
    take = take or new_take()
    return take, bench.scheduler.submit(take, canonical(shot.request().to_dict()), {}, {}, False)


def test_a_request_that_is_wrong_about_a_file_s_size_takes_no_file_away(tmp_path):
    """A render that was still being written: hashed before its last bytes came, measured after. Another take needs what was hashed."""
    bench = Bench(tmp_path)
    shot = Shot(tmp_path / "shot", frames=2, size=500)
    for path in shot.paths.values():
        bench.spool.add(path.read_bytes())
    assert submit(bench, shot)[1][0] == "running"
    plate = shot.request().inputs.plate
    wrong = replace(plate, files=(replace(plate.files[0], size=600), *plate.files[1:]))
    request = replace(shot.request(1), inputs=replace(shot.request().inputs, plate=wrong))
    state, lacking = bench.scheduler.submit(new_take(), canonical(request.to_dict()), {}, {}, False)
    assert (state, lacking) == ("uploading", [plate.files[0].sha256])
    assert bench.spool.size(plate.files[0].sha256) == 500


def test_a_file_that_a_power_failure_cut_short_is_asked_for_again(tmp_path):
    bench = Bench(tmp_path)
    shot = Shot(tmp_path / "shot", frames=2, size=500)
    shas = [bench.spool.add(path.read_bytes()) for path in shot.paths.values()]
    bench.spool.path(shas[0]).write_bytes(b"short")
    take, said = submit(bench, shot)
    assert said == ("uploading", [shas[0]])
    assert bench.spool.append(shas[0], 500, 0, shot.paths[shas[0]].read_bytes()) == 500
    bench.scheduler.stored(shas[0])
    assert bench.store.require(take).state == RUNNING and bench.spool.size(shas[0]) == 500


def test_a_job_in_line_whose_file_is_gone_asks_for_it_when_its_client_comes_back(tmp_path):
    bench = Bench(tmp_path)
    first, second = Shot(tmp_path / "first", frames=1, size=500), Shot(tmp_path / "second", frames=1, size=500)
    for shot in (first, second):
        for path in shot.paths.values():
            bench.spool.add(path.read_bytes())
    submit(bench, first)
    take, (state, lacking) = submit(bench, second)
    assert (state, lacking) == ("queued", [])
    gone = next(iter(second.paths))
    bench.spool.path(gone).unlink()
    assert submit(bench, second, take)[1] == ("uploading", [gone])


def test_a_cancel_that_the_worker_did_not_hear_holds_for_the_next_server(tmp_path):
    bench = Bench(tmp_path)
    shot = Shot(tmp_path / "shot", frames=1, size=500)
    for path in shot.paths.values():
        bench.spool.add(path.read_bytes())
    take, _ = submit(bench, shot)
    bench.scheduler.cancel(take)
    bench.store.close()
    after = Bench(tmp_path)
    after.scheduler.begin()
    assert after.store.require(take).state == CANCELLED and after.task is None
    after.scheduler.submit(take, canonical(shot.request().to_dict()), {}, {}, True)  # and can be gone on with
    assert after.store.require(take).state == RUNNING and after.task.take == take
    after.store.close()
    again = Bench(tmp_path)
    again.scheduler.begin()
    assert again.store.require(take).state == RUNNING


def test_a_job_list_that_can_t_be_written_does_not_end_tidying(tmp_path, monkeypatch, caplog):
    bench = Bench(tmp_path)
    take, _ = submit(bench, Shot(tmp_path / "shot", frames=1, size=500))
    bench.scheduler.cancel(take)
    bench.scheduler._limits = JobLimits(days=-1.0)

    def full(take):
        raise StorageError("The server's job list can't be written: database or disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "remove", full)
        bench.scheduler.tidy()
    assert "disk is full" in caplog.text
    bench.scheduler.tidy()
    assert bench.store.get(take) is None


def test_the_next_job_runs_though_the_list_could_not_be_written_when_the_last_one_ended(tmp_path, monkeypatch):
    """The front says the report again until the store takes it."""
    bench = Bench(tmp_path)
    shot = Shot(tmp_path / "shot", frames=1, size=500)
    for path in shot.paths.values():
        bench.spool.add(path.read_bytes())
    (first, _), (second, _) = submit(bench, shot), submit(bench, shot)
    bench.task, last = None, Happened(first, "done", {"seconds": {}})

    def full(take, state):
        raise StorageError("The server's job list can't be written: database or disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "set_state", full)
        with pytest.raises(StorageError):
            bench.scheduler.happened(last)
    bench.scheduler.happened(last)
    assert bench.task.take == second and bench.store.last(first) == 1


@pytest.mark.parametrize("said", [{"file": b"bytes"}, {b"file": "bytes"}, {"fps": math.nan}], ids=["value", "name", "number"])
def test_what_could_not_be_written_into_take_json_is_refused_before_any_work(tmp_path, said):
    """take.json is written last: the job would fail after hours, and each time it is gone on with."""
    bench, take = Bench(tmp_path), new_take()
    with pytest.raises(RequestError, match="of itself"):
        bench.scheduler.submit(take, canonical(Shot(tmp_path / "shot", frames=1).request().to_dict()), said, {}, False)
    assert bench.store.get(take) is None
