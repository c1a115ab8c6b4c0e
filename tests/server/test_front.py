# SPDX-License-Identifier: Apache-2.0
"""A client and a server, both real: one way for a shot, no byte sent twice, no memory without a bound."""
from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
from concurrent.futures import CancelledError
from dataclasses import replace

import msgpack
import numpy as np
import platebridge
import psutil
import pytest
import zmq
from house import House, Raw, Shot, folder_hashes, new_take, until
from platebridge import protocol
from platebridge.client import Client
from platebridge.connection import read_connection, remote_connection
from platebridge.errors import Cancelled, ConnectionFailed, InputError, JobError, ModelError, RequestError, StorageError
from platebridge.events import Done, Failed, FileReady, Preview, Progress, Started
from platebridge.protocol import Message
from platebridge.request import ModelSettings
from platebridge.takes import TakeWriter, verify_take
from platebridge_server.door import Door, open_door
from platebridge_server.jobs import JobStore


def drain(job, stop=lambda event: False, seconds=20.0):
    """Events until the last one, or the first that `stop` says."""
    events = []
    while not job.finished:
        event = job.next(seconds)
        assert event is not None, "no event came in %g s; state %s" % (seconds, job.state)
        events.append(event)
        if stop(event):
            break
    return events


def is_file(event):
    return isinstance(event, FileReady)


@pytest.fixture
def shot(tmp_path):
    return Shot(tmp_path / "shot")


@pytest.fixture(params=[True, False], ids=["unix", "tcp"])
def either(request, houses):
    return houses(ipc=request.param).start()


def test_a_shot_goes_out_and_a_whole_take_comes_back(either, shot, tmp_path):
    writer = TakeWriter.create(tmp_path / "takes", new_take(), {"request": shot.request().to_dict()})
    seen = []
    with Client(either.connection) as client:
        paths = client.run(shot.request(), shot.open_file, writer, seen.append, origin=either.origin())
    assert [p.name for p in paths] == ["comp.%d.exr" % f for f in range(1001, 1007)] + ["take.json"]
    assert verify_take(writer.path) == [] and writer.finished
    work = [e for e in seen if not (isinstance(e, Progress) and e.phase == "uploading")]
    assert work[0] == Started("fake", "cpu") and isinstance(work[1], Preview) and isinstance(work[-1], Done)
    assert isinstance(seen[0], Progress) and (seen[0].phase, seen[0].total) == ("uploading", shot.bytes)


def test_a_second_take_of_the_same_plate_uploads_nothing_of_it(house, shot, tmp_path):
    with Client(house.connection) as client:
        client.run(shot.request(1), shot.open_file, TakeWriter.create(tmp_path, new_take()), origin=house.origin())
        first = client.sent["put"]
        client.run(shot.request(2), shot.open_file, TakeWriter.create(tmp_path, new_take()), origin=house.origin())
        assert first > shot.bytes and client.sent["put"] == first
    one, two = (folder_hashes(tmp_path / ("take_%04d" % n)) for n in (1, 2))
    assert one["comp.1001.exr"] != two["comp.1001.exr"]


def test_the_same_take_asked_for_twice_is_one_job(house, shot):
    take = new_take()
    with Client(house.connection) as client, Client(house.connection) as other:
        one = drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin()))
        two = drain(other.upload_and_submit(shot.request(), shot.open_file, take, house.origin()))
        assert [e for e in one if is_file(e)] == [e for e in two if is_file(e)] and isinstance(two[-1], Done)
        assert other.sent["put"] == 0 and len(client.jobs().result(5)) == 1
    assert len(house.made()) == 6


def test_a_take_can_not_be_asked_for_with_another_request(house, shot):
    take = new_take()
    with Client(house.connection) as client:
        drain(client.upload_and_submit(shot.request(1), shot.open_file, take, house.origin()))
        last = drain(client.upload_and_submit(shot.request(2), shot.open_file, take, house.origin()))[-1]
    assert isinstance(last, Failed) and "another request" in last.error["message"]


def test_attach_after_n_gives_exactly_what_was_missed(house, shot):
    take = new_take()
    with Client(house.connection) as client:
        every = [e for e in drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin()))
                 if not (isinstance(e, Progress) and e.phase == "uploading")]
        for after in (0, 1, 7, len(every) - 1):
            assert drain(client.attach(take, after)) == every[after:]


def test_who_attaches_anew_gets_nothing_that_was_on_its_way_to_the_one_before(house, tmp_path):
    """Leaves and comes back, many times in the midst of the stream, on one connection: each time every event, once, in order."""
    shot, take = Shot(tmp_path / "long", frames=30, size=10), new_take()
    with Client(house.connection) as client:
        every = [e for e in drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin(size=200_000)))
                 if not (isinstance(e, Progress) and e.phase == "uploading")]
        for leave_after in range(1, 30, 2):
            job = client.attach(take)
            assert [job.next(20) for _ in range(leave_after)] == every[:leave_after]
            job.close()
        assert drain(client.attach(take)) == every


def test_files_that_are_held_are_not_sent_again(house, shot):
    take = new_take()
    with Client(house.connection) as client:
        files = [e for e in drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin())) if is_file(e)]
    with Client(house.connection) as client:
        again = drain(client.attach(take, held={f.name: f.sha256 for f in files[:4]}))
    assert [e for e in again if is_file(e)] == files[4:]


def test_an_unknown_job_is_a_job_error(house, tmp_path):
    with Client(house.connection) as client, pytest.raises(JobError, match="knows no job"):
        client.finish(client.attach(new_take()), TakeWriter.create(tmp_path, new_take()))


def test_a_failure_in_the_generation_is_raised_as_its_own_type_and_keeps_what_came(house, shot, tmp_path):
    (house.control / "fail.1004").touch()
    writer = TakeWriter.create(tmp_path, new_take())
    with Client(house.connection) as client:
        with pytest.raises(ModelError, match="told to fail") as raised:
            client.run(shot.request(), shot.open_file, writer, origin=house.origin())
        assert raised.value.frame == 1004
        assert sorted(writer.have) == ["comp.1001.exr", "comp.1002.exr", "comp.1003.exr"]
        (house.control / "fail.1004").unlink()
        client.run(shot.request(), shot.open_file, writer, origin=house.origin(), again=True)
    assert verify_take(writer.path) == []
    assert [frame for _, frame in house.made()].count(1003) == 1


def test_cancel_keeps_what_came_and_the_next_job_is_as_on_a_fresh_server(house, houses, shot, tmp_path):
    house.hold(1003)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(1), shot.open_file, new_take(), house.origin())
        files = [e.name for e in drain(job, lambda e: is_file(e) and e.frame == 1002) if is_file(e)]
        job.cancel().result(5)
        last = drain(job)[-1]
        assert files == ["comp.1001.exr", "comp.1002.exr"] and last == Failed(Cancelled().to_dict()) and job.state == "cancelled"
        house.let_go(1003)
        client.run(shot.request(2), shot.open_file, TakeWriter.create(tmp_path / "one", "c" * 32), origin=house.origin())
    fresh = houses("fresh").start()
    with Client(fresh.connection) as client:
        client.run(shot.request(2), shot.open_file, TakeWriter.create(tmp_path / "two", "c" * 32), origin=fresh.origin())
    assert folder_hashes(tmp_path / "one" / "take_0001") == folder_hashes(tmp_path / "two" / "take_0001")


def test_a_job_that_waits_can_be_cancelled_before_it_begins(house, shot):
    house.hold(1001)
    with Client(house.connection) as client:
        first = client.upload_and_submit(shot.request(1), shot.open_file, new_take(), house.origin())
        drain(first, lambda e: isinstance(e, Started))
        second = client.upload_and_submit(shot.request(2), shot.open_file, new_take(), house.origin())
        until(lambda: second.state == "queued", "the second job to wait")
        second.cancel().result(5)
        assert drain(second)[-1].error["code"] == "cancelled"
        house.let_go(1001)
        assert isinstance(drain(first)[-1], Done)
    assert {take for take, _ in house.made()} == {first.take_id}


def test_a_client_that_goes_away_cancels_nothing(house, shot, tmp_path):
    house.hold(1002)
    take = new_take()
    with Client(house.connection) as client:
        drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin()), is_file)
    house.let_go(1002)
    until(lambda: len(house.made()) == 6, "the job to go on with nobody there")
    with Client(house.connection) as client:
        assert isinstance(drain(client.attach(take))[-1], Done)


def ends_at_the_server(client):
    """The one job that the server has is cancelled, though only its client knows what went wrong."""
    until(lambda: [job["state"] for job in client.jobs().result(5)] == ["cancelled"], "the job's end")


def test_a_file_that_changed_after_it_was_hashed_is_named_by_input_and_frame(house, shot):
    plate = shot.request().inputs.plate.at(1003)
    shot.paths[plate.sha256].write_bytes(os.urandom(plate.size))
    with Client(house.connection) as client:
        error = drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin()))[-1].error
        ends_at_the_server(client)
    assert (error["code"], error["input"], error["frame"]) == (InputError.code, "plate", 1003) and "changed" in error["message"]


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"short")], ids=["gone", "short"])
def test_a_file_that_is_gone_or_cut_short_is_named_by_input_and_frame(house, shot, spoil):
    spoil(shot.paths[shot.request().inputs.depth.at(1002).sha256])
    with Client(house.connection) as client:
        error = drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin()))[-1].error
        ends_at_the_server(client)
    assert (error["code"], error["input"], error["frame"]) == (InputError.code, "depth", 1002)


@pytest.mark.parametrize("wrong", [InputError("It is on tape."), TypeError("no such hash")], ids=["ours", "its own"])
def test_a_program_that_can_t_say_where_a_file_lies_ends_its_take_and_no_other(house, shot, wrong):
    def open_file(sha256):
        raise wrong

    with Client(house.connection) as client:
        error = drain(client.upload_and_submit(shot.request(), open_file, new_take(), house.origin()))[-1].error
        assert error["code"] == InputError.code and str(wrong) in error["message"]
        assert isinstance(drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin()))[-1], Done)


@pytest.mark.parametrize("seed", [np.int64(7), float("nan")], ids=["numpy", "nan"])
def test_a_request_that_can_t_be_written_ends_its_take_and_no_other(house, shot, seed):
    request = replace(shot.request(), model=ModelSettings(seed=seed))
    with Client(house.connection) as client:
        error = drain(client.upload_and_submit(request, shot.open_file, new_take(), house.origin()))[-1].error
        assert error["code"] == RequestError.code
        assert isinstance(drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin()))[-1], Done)


def test_who_follows_a_take_twice_with_one_client_is_told_the_end_of_the_first(house, shot):
    house.hold(1001)
    with Client(house.connection) as client:
        first = client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin())
        until(lambda: first.state == "running", "the work to begin")
        second = client.attach(first.take_id)
        assert drain(first)[-1].error["code"] == JobError.code
        house.let_go(1001)
        assert isinstance(drain(second)[-1], Done)


def test_a_take_whose_upload_failed_does_not_run_when_the_next_one_brings_the_file(house, shot):
    path = shot.paths[shot.request().inputs.mask.at(1006).sha256]
    path.rename(path.with_name("away"))
    with Client(house.connection) as client:
        drain(client.upload_and_submit(shot.request(), shot.open_file, "1" * 32, house.origin()))
        path.with_name("away").rename(path)
        assert isinstance(drain(client.upload_and_submit(shot.request(), shot.open_file, "2" * 32, house.origin()))[-1], Done)
        assert {take for take, _ in house.made()} == {"2" * 32}
        last = drain(client.upload_and_submit(shot.request(), shot.open_file, "1" * 32, house.origin(), again=True))[-1]
    assert isinstance(last, Done)


def test_a_request_that_is_no_good_is_refused_with_its_sentence(house, shot):
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin())
        tree = {**shot.request().to_dict(), "shot": "../up"}
        job.request = type("Bad", (), {"to_dict": lambda self: tree, "all_files": lambda self: []})()
        last = drain(job)[-1]
    assert last.error["code"] == RequestError.code and "shot" in last.error["message"]


def test_no_room_on_the_server_is_a_sentence_before_anything_is_sent(houses, shot):
    house = houses(spool={"reserve": 2**60}).start()
    with Client(house.connection) as client:
        last = drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin()))[-1]
        assert last.error["code"] == StorageError.code and "disk is full" in last.error["message"]
        assert client.sent["put"] == 0


def test_more_jobs_than_the_limit_are_refused(houses, shot):
    house = houses(jobs={"open": 1}).start()
    house.hold(1001)
    with Client(house.connection) as client:
        drain(client.upload_and_submit(shot.request(1), shot.open_file, new_take(), house.origin()), lambda e: isinstance(e, Started))
        last = drain(client.upload_and_submit(shot.request(2), shot.open_file, new_take(), house.origin()))[-1]
    assert last.error["code"] == JobError.code and "wait on this server" in last.error["message"]


def test_a_client_that_reads_slowly_fills_neither_memory(houses, shot):
    """40 frames of 4 MB, and nobody asks for events: what lies in the client and what the server holds have a bound."""
    house = houses().start()
    long = Shot(house.root / "long", frames=40, size=100)
    take = new_take()
    with Client(house.connection) as client:
        before = house.memory()
        job = client.upload_and_submit(long.request(), long.open_file, take, house.origin(size=4 * 2**20))
        until(lambda: len(house.made()) == 40, "the worker to make all frames", 60)
        until(lambda: client.received["files"] > 24 * 2**20, "the window to fill")
        assert client.received["files"] <= 40 * 2**20
        assert house.memory() - before < 150 * 2**20
        files = [len(e.data) for e in drain(job) if is_file(e) and e.kind == "comp"]
        assert files == [4 * 2**20] * 40 and client.received["files"] > 160 * 2**20


BROKEN_AT_FIRST = """
import sys
from pathlib import Path
if '"broken"' in sys.argv[1] and not Path(%r).exists():
    sys.exit(1)
from fake_generator import generate
"""


def test_a_take_waits_for_a_device_that_works_and_begins_when_another_is_up(houses, shot, tmp_path, monkeypatch):
    """A take that is given to a device whose worker can't start dies with it, four times in seconds."""
    (tmp_path / "broken_at_first.py").write_text(BROKEN_AT_FIRST % str(tmp_path / "mended"))
    monkeypatch.syspath_prepend(str(tmp_path))
    house = houses(device="broken,cpu", generator="broken_at_first:generate").start()
    house.hold(1001)
    with Client(house.connection) as client:
        client.models().result(20)  # one is up
        first = client.upload_and_submit(shot.request(1), shot.open_file, new_take(), house.origin())
        until(lambda: house.made() or first.state == "running", "the first to begin")
        second = client.upload_and_submit(shot.request(2), shot.open_file, new_take(), house.origin())
        until(lambda: second.state != "connecting", "an answer")
        assert second.state == "queued"
        (tmp_path / "mended").touch()
        until(lambda: second.state == "running", "the other device")
        house.let_go(1001)
        assert [type(drain(job)[-1]) for job in (first, second)] == [Done, Done]


def test_a_file_larger_than_the_window_comes_whole(house, tmp_path):
    shot = Shot(tmp_path / "big", frames=1, size=100)
    with Client(house.connection) as client:
        events = drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin(size=80 * 2**20)))
    assert len(next(e for e in events if is_file(e)).data) == 80 * 2**20


def test_a_large_plate_goes_out_in_pieces(house, tmp_path):
    shot = Shot(tmp_path / "big", frames=1, size=21 * 2**20)
    with Client(house.connection) as client:
        assert isinstance(drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin()))[-1], Done)
        assert shot.bytes <= client.sent["put"] < shot.bytes + 10000


def test_asking_for_the_next_event_says_that_the_last_is_safe(house, shot, tmp_path):
    take = new_take()
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, take, house.origin())
        drain(job, lambda e: is_file(e) and e.frame == 1002)
        with sqlite3.connect(house.root / "data" / "jobs.sqlite") as db:
            def acked():
                return db.execute("SELECT acked FROM jobs WHERE take = ?", (take,)).fetchone()[0]
            # Frame 1002 is event 6. The preview before it is dropped where a newer one has come, and then has no say.
            until(lambda: acked() >= 4, "what came before the file to be acknowledged")
            assert acked() < 6, "the file, which may not be on disk yet, was acknowledged"
            drain(job)
            until(lambda: acked() == 21, "all to be acknowledged")


def test_nothing_blocks_with_no_server(tmp_path, shot):
    """Every call of a DCC's main thread comes back at once; the trouble is told by state and problem."""
    client = Client(tmp_path / "none.json").start()
    job = client.upload_and_submit(shot.request(), shot.open_file, new_take(), {})
    future = client.models()
    assert job.next() is None and not future.done()
    until(lambda: client.state == "lost", "the client to notice")
    assert isinstance(client.problem, ConnectionFailed) and "platebridge serve" in str(client.problem)
    client.close(5)
    assert not client._link.is_alive()
    with Client(tmp_path / "none.json") as client, pytest.raises(ConnectionFailed, match="platebridge serve"):
        client.run(shot.request(), shot.open_file, TakeWriter.create(tmp_path, new_take()), patience=0.2)


def test_a_job_asked_for_before_the_server_is_up_runs_when_it_is(houses, shot):
    house = houses()
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin())
        until(lambda: client.state == "lost", "the client to notice")
        house.start()
        assert isinstance(drain(job)[-1], Done)


def test_a_job_cancelled_before_the_server_is_up_never_runs(houses, shot):
    house = houses()
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin())
        answer = job.cancel()
        house.start()
        assert drain(job)[-1].error["code"] == "cancelled" and answer.result(5) is None
    assert house.made() == []


def test_a_client_of_another_version_is_told_which_side_to_upgrade(house):
    with Raw(house) as raw:
        raw.socket.send(msgpack.packb({"v": protocol.VERSION + 1, "t": "hello", "id": 1, "b": {"client": "later"}}))
        answer = raw.hear()
    assert answer.type == "error" and answer.body["error"]["code"] == "version" and "Upgrade" in answer.body["error"]["mend"]


def test_who_has_not_said_hello_is_not_served(house):
    raw = Raw(house)
    assert raw.ask(Message("jobs", id=1)).body["error"]["code"] == "connection"
    raw.__exit__()


def test_a_server_says_which_files_it_lacks_and_how_much_it_has_of_them(house):
    data = os.urandom(300)
    digest = hashlib.sha256(data).hexdigest()
    with Raw(house) as raw:
        there = raw.ask(Message("have", {}, (protocol.join_hashes([digest]),), 5))
        assert (protocol.split_hashes(there.parts[0]), there.body["partial"]) == ([digest], {})
        protocol.send(raw.socket, Message("put", {"sha256": digest, "size": 300, "offset": 0}, (data[:100],)))
        assert raw.hear() == Message("credit", {"bytes": 100})
        assert raw.ask(Message("have", {}, (protocol.join_hashes([digest]),), 6)).body["partial"] == {digest: 100}
        protocol.send(raw.socket, Message("put", {"sha256": digest, "size": 300, "offset": 250}, (data[250:],)))
        assert raw.hear() == Message("resume", {"sha256": digest, "offset": 100}) and raw.hear().type == "credit"
        protocol.send(raw.socket, Message("put", {"sha256": digest, "size": 300, "offset": 100}, (data[100:],)))
        assert raw.hear() == Message("stored", {"sha256": digest}) and raw.hear().type == "credit"
        assert bytes(raw.ask(Message("have", {}, (protocol.join_hashes([digest]),), 7)).parts[0]) == b""


def test_a_stopped_server_leaves_no_connection_file_no_worker_and_no_socket(houses):
    house = houses().start()
    worker = house.worker()
    assert stat.S_IMODE(house.connection.stat().st_mode) == 0o600
    assert house.stop() == 0
    assert not house.connection.exists() and not worker.is_running()
    assert [p.name for p in house.root.iterdir() if p.name.startswith("socket-")] == []


def test_a_second_server_on_the_same_data_is_refused(house, houses):
    with pytest.raises(AssertionError, match="Another server runs"):
        House(house.root, connection=str(house.root / "second.json")).start()


def test_a_server_does_not_take_the_place_of_one_that_runs(house, houses, shot, tmp_path):
    with pytest.raises(AssertionError, match="runs already"):
        houses("second", connection=str(house.connection)).start()
    with Client(house.connection) as client:
        client.run(shot.request(), shot.open_file, TakeWriter.create(tmp_path, new_take()), origin=house.origin())


def test_another_machine_comes_in_with_a_key_on_the_list_and_only_with_one(houses, shot, tmp_path):
    """The key pair is made where the client is; the server is told its public half."""
    remote = remote_connection("tcp://127.0.0.1:0", "?" * 40)
    keys = tmp_path / "keys.txt"
    keys.write_text("# who may come in\n%s the laptop\n" % remote.client_public)
    house = houses(bind="0.0.0.0", client_keys=str(keys)).start()
    local = read_connection(house.connection)
    there = replace(remote, server_key=local.server_key, endpoints=local.endpoints[-1:])
    with Client(there) as client:
        client.run(shot.request(), shot.open_file, TakeWriter.create(tmp_path / "takes", new_take()), origin=house.origin())
    stranger = remote_connection(there.endpoints[0], there.server_key)
    with Client(stranger) as client:
        until(lambda: client.state == "lost", "the refusal")
        assert "does not know our key" in str(client.problem)


def test_a_list_of_keys_with_a_line_that_is_none_is_refused(houses, tmp_path):
    (tmp_path / "keys.txt").write_text("not a key\n")
    with pytest.raises(AssertionError, match="no key"):
        houses(bind="0.0.0.0", client_keys=str(tmp_path / "keys.txt")).start()


def test_a_list_of_keys_may_come_from_windows_with_names_in_an_old_code(tmp_path):
    from platebridge_server.server import _client_keys

    somebodys, _ = zmq.curve_keypair()
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbf# desks\r\n" + somebodys + b" M\xfcller\r\n")
    assert _client_keys("0.0.0.0", tmp_path / "keys", "") == [somebodys]


def test_devices_may_stand_with_a_space_between(tmp_path, monkeypatch):
    from platebridge_server import server

    class Asked(Exception):
        """The devices that an engine was made for."""

    def engine(spool, logs, devices, *rest):
        raise Asked(devices)

    monkeypatch.setattr(server, "LocalEngine", engine)
    with pytest.raises(Asked) as asked:
        server.serve(tmp_path / "data", device="cuda:0, cuda:1", connection_file=tmp_path / "run" / "c.json")
    assert asked.value.args == (["cuda:0", "cuda:1"],)


def test_an_address_others_can_reach_needs_a_list_of_keys(houses, tmp_path):
    """Whoever is to fill it needs this server's own key first: the refusal gives it."""
    (tmp_path / "keys.txt").write_text("# nobody yet\n")
    house = houses(bind="0.0.0.0", client_keys=str(tmp_path / "keys.txt"))
    with pytest.raises(AssertionError, match="--client-keys") as refusal:
        house.start()
    assert (house.root / "data" / "server.key").read_text().split()[0] in str(refusal.value)


def test_an_address_that_is_no_machine_s_of_ours_ends_the_server_with_a_sentence(houses, tmp_path):
    (tmp_path / "keys.txt").write_text("%s the laptop\n" % remote_connection("tcp://127.0.0.1:0", "?" * 40).client_public)
    with pytest.raises(AssertionError, match=r"the server ended(.|\n)*can't listen on 203\.0\.113\.5:47900"):
        houses(bind="203.0.113.5", client_keys=str(tmp_path / "keys.txt")).start()


@pytest.mark.timeout(60)  # a socket that was left open is waited for
def test_a_unix_socket_that_can_not_be_is_a_sentence_and_nothing_is_left_open(tmp_path):
    context = zmq.Context()
    with pytest.raises(ConnectionFailed, match=r"can't listen on .*nowhere"):
        open_door(context, Door("127.0.0.1", 0, str(tmp_path / "nowhere" / "socket"), *zmq.curve_keypair(), []))
    context.term()


def test_a_list_of_jobs_with_long_names_is_cut_not_the_server(houses):
    house = houses()
    (house.root / "data").mkdir()
    store = JobStore(house.root / "data" / "jobs.sqlite")
    for n in range(200):
        store.add("%032x" % n, "\u5854" * 120, b"{}", "", {}, [], {})
        store.append("%032x" % n, "done", {"seconds": {}})
    store.close()
    house.start()
    with Client(house.connection) as client:
        jobs = client.jobs().result(10)
        assert 100 < len(jobs) < 200 and {job["shot"] for job in jobs} == {"\u5854" * 120}
        assert jobs[0]["take"] == "%032x" % 199 and client.ping().result(10) > 0


def test_a_port_that_is_taken_is_passed_over(house, houses):
    ports = [read_connection(h.connection).endpoints[-1].rsplit(":", 1)[1] for h in (house, houses("second").start())]
    assert int(ports[1]) == int(ports[0]) + 1


def test_the_worker_s_log_is_kept_and_nothing_it_prints_reaches_the_wire(house, shot):
    with Client(house.connection) as client:
        drain(client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin(say="hello from a library")))
        assert client.state == "connected"
    assert "hello from a library" in (house.root / "data" / "logs" / "worker0.log").read_text()


def test_jobs_are_listed_as_plain_data(house, shot):
    take = new_take()
    with Client(house.connection) as client:
        drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin()))
        (job,) = client.jobs().result(5)
        assert client.models().result(5) == [] and 0 < client.ping().result(5) < 5
        about = client.about().result(5)
        assert about["server"] == platebridge.__version__ and about["waiting"] == 0
        assert 0 < about["memory_free"] <= about["memory"] and about["disk_free"] > 0
    assert (job["take"], job["shot"], job["state"], job["events"]) == (take, "tower", "done", 21)
    assert json.dumps(job)


def test_a_file_that_the_server_s_disk_can_t_read_ends_one_take_not_the_server(house, shot):
    """A folder in its place stands for a bad disk: opening it is an error of the system's."""
    take = new_take()
    with Client(house.connection) as client:
        file = next(e for e in drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin())) if is_file(e))
        there = house.root / "data" / "spool" / "objects" / file.sha256[:2] / file.sha256[2:]
        there.unlink()
        there.mkdir()
        last = drain(client.attach(take))[-1]
        assert isinstance(last, Failed) and last.error["code"] == StorageError.code and "directory" in last.error["message"]
        assert client.ping().result(10) > 0


def test_a_full_way_to_the_server_is_waited_for_not_taken_for_a_lost_one(house, tmp_path, caplog):
    """Many small files on a slow network, or a server that stands still for a moment: what else is to be said waits behind them."""
    shot = Shot(tmp_path / "many", frames=60, size=64 * 1024)
    server = psutil.Process(house.process.pid)
    with Client(house.connection) as client:
        client.ping().result(10)
        job = client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin())
        until(lambda: client.sent["put"] > 2**20, "the upload to begin")
        server.suspend()
        try:
            until(lambda: client._link._uploads.stuck, "the way to be full")
            answers = [client.ping() for _ in range(20)]
            until(lambda: len(client._link._calls) >= 20, "the questions to be put")
        finally:
            server.resume()
        assert all(answer.result(20) > 0 for answer in answers) and isinstance(drain(job)[-1], Done)
    assert "Lost the server" not in caplog.text


def test_what_is_asked_of_a_client_that_was_closed_is_not_waited_for_for_ever(tmp_path):
    client = Client(tmp_path / "none.json").start()
    client.close(5)
    with pytest.raises(CancelledError):
        client.jobs().result(5)


def test_previews_that_had_to_make_room_do_not_keep_a_take_from_being_completed(house, shot):
    """The program died after some frames; meanwhile the job ended, and what it had acknowledged was taken away."""
    take = new_take()
    with Client(house.connection) as client:
        events = drain(client.upload_and_submit(shot.request(), shot.open_file, take, house.origin()))
    files, preview = [e for e in events if is_file(e)], next(e for e in events if isinstance(e, Preview))
    for digest in (hashlib.sha256(preview.png).hexdigest(), *(f.sha256 for f in files[:4])):
        (house.root / "data" / "spool" / "objects" / digest[:2] / digest[2:]).unlink()
    with Client(house.connection) as client:
        again = drain(client.attach(take, held={f.name: f.sha256 for f in files[:4]}))
    assert [e for e in again if is_file(e)] == files[4:] and isinstance(again[-1], Done)
