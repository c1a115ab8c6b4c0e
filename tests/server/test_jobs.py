# SPDX-License-Identifier: Apache-2.0
"""Jobs and numbered events on disk: read back by another process, in order, each once."""
from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tracemalloc

import pytest
from platebridge.errors import JobError, StorageError
from platebridge.request import FrameFile
from platebridge_server.jobs import CANCELLED, DONE, QUEUED, RUNNING, UPLOADING, JobStore

TAKE, OTHER, A, B = "1" * 32, "2" * 32, "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite")
    store.add(TAKE, "tower", b"{}", "hash", {"host": "blender"}, [FrameFile(1001, A, 10), FrameFile(1002, B, 20)], {})
    yield store
    store.close()


def numbers(store, after=0):
    return [event.n for event in store.events(TAKE, after, 1000)]


def file_event(store, name, digest):
    return store.append(TAKE, "file", {"kind": "comp", "frame": 1, "name": name, "sha256": digest}, digest, 5)


def test_a_new_job_lacks_its_files_until_each_has_come(store):
    assert store.require(TAKE).state == UPLOADING and dict(store.lacking(TAKE)) == {A: 10, B: 20}
    assert store.present(A) == [] and store.present(B) == [TAKE]


def test_attach_after_n_gets_exactly_what_is_newer_in_order(store):
    for n in range(1, 8):
        assert store.append(TAKE, "progress", {"phase": "x", "done": n, "total": 7}) == n
    assert numbers(store) == [1, 2, 3, 4, 5, 6, 7] and numbers(store, 4) == [5, 6, 7] and numbers(store, 7) == []


WRITER = """
import os, sys
from platebridge_server.jobs import JobStore
store = JobStore(sys.argv[1])
for n in range(50):
    print(store.append("1" * 32, "progress", {"phase": "x", "done": n, "total": 50}), flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_was_stored_is_there_after_a_kill(store, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "jobs.sqlite")]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert killed.returncode == -9
    assert numbers(store) == [int(line) for line in killed.stdout.split()] == list(range(1, 51))


def test_the_last_event_ends_the_job(store):
    store.append(TAKE, "done", {"seconds": {}})
    assert store.require(TAKE).state == DONE


def test_a_cancelled_job_is_no_failed_one(store):
    store.append(TAKE, "failed", {"error": {"code": "cancelled"}})
    assert store.require(TAKE).state == CANCELLED


def test_files_made_are_those_of_events_and_those_the_client_held(tmp_path, store):
    store.add(OTHER, "tower", b"{}", "hash", {}, [], {"comp.1001.exr": A})
    assert store.made(OTHER) == {"comp.1001.exr": A}
    file_event(store, "comp.1002.exr", B)
    assert store.made(TAKE) == {"comp.1002.exr": B}


def test_a_file_that_came_forgives_the_deaths_before_it(store):
    assert [store.count_death(TAKE), store.count_death(TAKE)] == [1, 2]
    file_event(store, "comp.1002.exr", B)
    assert store.count_death(TAKE) == 1


def test_inputs_stay_until_the_job_has_ended_and_outputs_until_the_client_has_them(store):
    file_event(store, "comp.1001.exr", "c" * 64)
    file_event(store, "comp.1002.exr", "d" * 64)
    assert store.kept() == {A, B, "c" * 64, "d" * 64}
    store.append(TAKE, "done", {"seconds": {}})
    assert store.kept() == {"c" * 64, "d" * 64}
    store.ack(TAKE, 1)
    assert store.kept() == {"d" * 64}
    store.ack(TAKE, 3)
    assert store.kept() == set()


def test_jobs_past_their_days_are_named_but_never_one_at_work(store):
    later = store.require(TAKE).changed + 1
    assert store.outlived(later) == [TAKE]
    for state in (QUEUED, RUNNING):
        store.set_state(TAKE, state)
        assert store.outlived(later + 10**6) == []


def test_an_unknown_job_is_a_job_error(store):
    with pytest.raises(JobError, match="knows no job"):
        store.require(OTHER)


def test_a_write_that_fails_changes_nothing(store):
    with pytest.raises(sqlite3.IntegrityError):
        store.add(TAKE, "tower", b"{}", "hash", {}, [FrameFile(1, "e" * 64, 1)], {})
    assert dict(store.lacking(TAKE)) == {A: 10, B: 20}


def test_a_database_that_can_not_be_opened_is_a_sentence(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"this is no database, whatever its name says")
    with pytest.raises(StorageError, match="--data"):
        JobStore(tmp_path / "jobs.sqlite")


def test_a_full_disk_is_a_sentence_and_the_store_goes_on_when_there_is_room(store):
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute("PRAGMA max_page_count = %d" % (pages + 2))  # SQLite's own words for a full disk
    with pytest.raises(StorageError, match="Make room"):
        for _ in range(1000):
            store.append(TAKE, "warned", {"message": "x" * 1000, "input": "", "frame": None})
    before = store.last(TAKE)
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert store.append(TAKE, "done", {"seconds": {}}) == before + 1 and numbers(store) == list(range(1, before + 2))


def test_a_job_list_that_another_program_holds_is_a_sentence_and_the_store_goes_on_when_it_lets_go(store, tmp_path):
    """A backup, or somebody who looks into it: SQLite then refuses at the first word, before anything is written."""
    store._db.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        store.set_state(TAKE, RUNNING)
    other.execute("ROLLBACK")
    store.set_state(TAKE, RUNNING)
    assert store.require(TAKE).state == RUNNING


def test_a_list_of_jobs_does_not_bring_their_requests_into_memory(store):
    for n in range(100):
        store.add("%032x" % n, "tower", b"x" * 10**6, "hash", {}, [], {})
    tracemalloc.start()
    try:
        assert len(store.all()) == 101 and len(store.in_state(UPLOADING)) == 101
        assert tracemalloc.get_traced_memory()[1] < 10 * 10**6
    finally:
        tracemalloc.stop()


def test_a_file_that_has_come_puts_its_job_in_line_or_changes_nothing(store):
    store.present(A)
    store._db.execute("CREATE TRIGGER full BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(sqlite3.IntegrityError):
        store.present(B)
    store._db.execute("DROP TRIGGER full")
    assert store.present(B) == [TAKE] and store.require(TAKE).state == QUEUED
