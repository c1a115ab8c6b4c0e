# SPDX-License-Identifier: Apache-2.0
"""The worker process and its supervisor, with no server around them: pipes, deaths, cancels."""
from __future__ import annotations

import hashlib
import io
import os
import queue
import struct
import subprocess
import threading

import psutil
import pytest
from house import HERE, Shot, until
from platebridge.errors import JobError
from platebridge_server.engines.base import Died, Happened, Ready, Task
from platebridge_server.engines.local import LOG_BYTES, LocalEngine, read_message, write_message
from platebridge_server.jobs import canonical
from platebridge_server.spool import Spool, SpoolLimits

TAKE = "3" * 32


class Bench:
    """An engine on a spool that has the shot's files."""

    def __init__(self, root, generator="fake_generator:generate", reserve=0, frames=3) -> None:
        self.control = root / "control"
        self.control.mkdir()
        self.scratch = root / "scratch"
        self.shot = Shot(root / "shot", frames=frames, size=100)
        self.spool = Spool(root / "spool", SpoolLimits(reserve=0))
        for path in self.shot.paths.values():
            self.spool.add(path.read_bytes())
        self.reports: queue.Queue = queue.Queue()
        self.engine = LocalEngine(root / "spool", root / "logs", ["cpu"], generator, reserve)
        self.engine.start(self.reports.put)

    def submit(self, take=TAKE, have=None, **origin) -> None:
        request = canonical(self.shot.request().to_dict())
        self.engine.submit(Task(take, request, {"control": str(self.control), **origin}, have or {}, self.scratch))

    def until_last(self):
        """Reports up to the task's last event or its death."""
        reports = []
        while True:
            reports.append(self.reports.get(timeout=30))
            if isinstance(reports[-1], Died) or getattr(reports[-1], "kind", "") in ("done", "failed"):
                return reports


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    made = []

    def make(**settings):
        made.append(Bench(tmp_path, **settings))
        return made[0]

    yield make
    for one in made:
        one.engine.close()


def test_finished_files_lie_in_the_spool_under_the_hash_that_is_told(bench):
    bench = bench()
    bench.submit(size=1000)
    reports = bench.until_last()
    assert reports[0] == Ready("cpu", [])
    files = [r for r in reports if isinstance(r, Happened) and r.kind == "file"]
    assert [f.fields["name"] for f in files] == ["comp.1001.exr", "comp.1002.exr", "comp.1003.exr", "take.json"]
    for file in files:
        data = bench.spool.open_file(file.sha256).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256 == file.fields["sha256"] and len(data) == file.size


def test_files_that_are_there_are_not_made_again(bench):
    bench = bench()
    bench.submit(have={"comp.1001.exr": "a" * 64, "comp.1002.exr": "b" * 64})
    files = [r.fields["name"] for r in bench.until_last() if isinstance(r, Happened) and r.kind == "file"]
    assert files == ["comp.1003.exr", "take.json"]


def test_a_cancel_reaches_a_worker_in_the_midst_of_a_frame(bench):
    bench = bench()
    (bench.control / "hold.1002").touch()
    bench.submit()
    while getattr(bench.reports.get(timeout=30), "kind", "") != "file":
        pass
    bench.engine.cancel(TAKE)
    assert bench.until_last()[-1].fields["error"]["code"] == "cancelled"
    assert bench.engine.free()


def test_a_cancel_of_another_take_changes_nothing(bench):
    bench = bench()
    bench.submit()
    bench.engine.cancel("4" * 32)
    assert bench.until_last()[-1].kind == "done"


def test_a_death_is_told_and_another_worker_comes(bench):
    bench = bench()
    (bench.control / "die.1002").touch()
    bench.submit()
    assert bench.until_last()[-1] == Died(TAKE, "killed by signal 9")
    bench.submit()  # before the new one is up
    assert bench.until_last()[-1].kind == "done"


def test_a_worker_that_can_not_start_is_told_for_each_task_and_not_tried_in_a_circle(bench):
    bench = bench(generator="no_such_module:generate")
    bench.submit()
    assert bench.until_last()[-1] == Died(TAKE, "exit code 1")
    assert b"no_such_module" in (bench.spool.root.parent / "logs" / "worker0.log").read_bytes()


def test_an_error_nobody_foresaw_ends_the_task_not_the_worker(bench):
    bench = bench()
    pid = until(bench.engine.pids, "a worker")[0]
    bench.submit(size="not a number")
    error = bench.until_last()[-1].fields["error"]
    assert error["code"] == JobError.code and "ValueError" in error["message"]
    bench.submit(size=10)
    assert bench.until_last()[-1].kind == "done" and bench.engine.pids() == [pid]


def test_a_full_disk_ends_the_task_with_its_sentence(bench):
    bench = bench(reserve=2**60)
    bench.submit()
    assert bench.until_last()[-1].fields["error"]["code"] == "storage"


LATE = """
import time
from pathlib import Path
while Path(%r).exists():
    time.sleep(0.005)
from fake_generator import generate
"""


@pytest.mark.timeout(60)  # without its own thread the engine waits here for ever
def test_nobody_waits_for_a_worker_that_is_still_starting_and_it_hears_all_in_order(bench, tmp_path, monkeypatch):
    """A task of 300 frames is more than a pipe holds, and torch takes its time to be imported."""
    (tmp_path / "starting").touch()
    (tmp_path / "late_generator.py").write_text(LATE % str(tmp_path / "starting"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    bench = bench(generator="late_generator:generate", frames=300)
    until(bench.engine.pids, "a worker")
    (bench.control / "hold.1002").touch()
    bench.submit()
    bench.engine.cancel(TAKE)
    assert not bench.engine.free() and bench.reports.empty()
    (tmp_path / "starting").unlink()
    assert bench.until_last()[-1].fields["error"]["code"] == "cancelled"


BROKEN = """
import sys
from pathlib import Path
if Path(%r).exists():
    sys.exit(1)
from fake_generator import generate
"""


def test_a_cancel_while_no_worker_is_up_reaches_the_next_one(bench, tmp_path, monkeypatch):
    (tmp_path / "broken").touch()
    (tmp_path / "broken_generator.py").write_text(BROKEN % str(tmp_path / "broken"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    bench = bench(generator="broken_generator:generate")
    bench.submit()
    assert bench.until_last()[-1] == Died(TAKE, "exit code 1")  # the next one is started a moment later
    (bench.control / "hold.1001").touch()
    bench.submit()
    bench.engine.cancel(TAKE)
    (tmp_path / "broken").unlink()
    assert bench.until_last()[-1].fields["error"]["code"] == "cancelled"


def test_a_long_log_that_somebody_reads_does_not_keep_the_worker_from_starting(bench, tmp_path, monkeypatch):
    """Windows does not rename a file that another program has open."""
    real = os.replace

    def replace(path, target):
        if str(path).endswith("worker0.log"):
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        real(path, target)

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker0.log").write_bytes(b"\n" * (LOG_BYTES + 1))
    monkeypatch.setattr(os, "replace", replace)
    bench = bench()
    bench.submit()
    assert bench.until_last()[-1].kind == "done"


def test_closing_ends_the_process(bench):
    bench = bench()
    worker = psutil.Process(until(bench.engine.pids, "a worker")[0])
    bench.engine.close()
    assert not worker.is_running()


def test_a_worker_that_is_being_started_while_the_engine_closes_ends_too(bench, monkeypatch):
    real, begun, go, made = subprocess.Popen, threading.Event(), threading.Event(), []

    def popen(*args, **settings):
        made.append(real(*args, **settings))
        begun.set()
        assert go.wait(20)
        return made[0]

    monkeypatch.setattr(subprocess, "Popen", popen)
    bench = bench()
    assert begun.wait(20)
    closing = threading.Thread(target=bench.engine.close)
    closing.start()
    until(bench.engine._workers[0]._orders.qsize, "the engine to have told whom it knows")
    go.set()
    closing.join()
    assert made[0].poll() is not None


def test_messages_come_out_of_a_pipe_as_they_went_in():
    pipe = io.BytesIO()
    for n in range(3):
        write_message(pipe, {"n": n, "data": b"\0" * n})
    pipe.seek(0)
    assert [read_message(pipe)["n"] for _ in range(3)] == [0, 1, 2] and read_message(pipe) is None


def test_half_a_message_is_the_end_of_the_pipe():
    pipe = io.BytesIO()
    write_message(pipe, {"n": 1})
    assert read_message(io.BytesIO(pipe.getvalue()[:-1])) is None and read_message(io.BytesIO(pipe.getvalue()[:2])) is None


def test_a_length_that_can_not_be_is_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match="a message of 4294967295 bytes"):
        read_message(io.BytesIO(struct.pack(">I", 2**32 - 1)))


ONE_IS_BROKEN = """
import sys
if '"broken"' in sys.argv[1]:
    sys.exit(1)
from fake_generator import generate
"""


def test_a_device_that_is_broken_is_given_nothing_while_another_is_free(tmp_path, monkeypatch):
    """Its worker dies before it is ready, again and again; the task would have died with it each time."""
    (tmp_path / "one_is_broken.py").write_text(ONE_IS_BROKEN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(HERE), os.environ.get("PYTHONPATH", "")]))
    engine = LocalEngine(tmp_path / "spool", tmp_path / "logs", ["broken", "cpu"], "one_is_broken:generate")
    reports: queue.Queue = queue.Queue()
    engine.start(reports.put)
    try:
        assert reports.get(timeout=30) == Ready("cpu", [])
        (tmp_path / "control").mkdir()
        request = canonical(Shot(tmp_path / "shot", frames=1, size=10).request().to_dict())
        engine.submit(Task(TAKE, request, {"control": str(tmp_path / "control")}, {}, tmp_path / "scratch"))
        assert isinstance(reports.get(timeout=30), Happened)
    finally:
        engine.close()
