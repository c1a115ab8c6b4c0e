# SPDX-License-Identifier: Apache-2.0
"""Nothing lost: real processes, really killed, at each point of a shot's way. The take that results equals an undisturbed one."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from house import HERE, Shot, folder_hashes, new_take, until
from platebridge.client import Client
from platebridge.courier import Courier, Ended, Input, Started, Waiting
from platebridge.errors import Cancelled, ConnectionFailed, JobError, StorageError
from platebridge.events import Done, Failed, FileReady, Progress, Warned
from platebridge.request import GenerateRequest, Inputs
from platebridge.takes import TakeWriter, verify_take

TAKE = "7" * 32  # the same in the disturbed and the undisturbed run: take.json names it


@pytest.fixture
def shot(tmp_path):
    return Shot(tmp_path / "shot")


@pytest.fixture
def undisturbed(houses, shot, tmp_path):
    """Hashes of the take as it comes when nothing happens."""
    house = houses("undisturbed").start()
    writer = TakeWriter.create(tmp_path / "undisturbed_take", TAKE)
    with Client(house.connection) as client:
        client.run(shot.request(), shot.open_file, writer, origin=house.origin())
    house.stop()
    return folder_hashes(writer.path)


def follow(job, writer, stop=lambda event: False):
    """Writes what comes, as an artist's program would, until the end or `stop`; gives the events."""
    events = []
    while not job.finished:
        event = job.next(30)
        assert event is not None, "nothing came for 30 s; state %s" % job.state
        if isinstance(event, FileReady):
            writer.write(event)
        events.append(event)
        if stop(event):
            break
    return events


def frames_of(events):
    return [e.name for e in events if isinstance(e, FileReady)]


def at(name):
    return lambda event: isinstance(event, FileReady) and event.name == name


def test_server_killed_in_upload(houses, tmp_path):
    shot = Shot(tmp_path / "large", frames=3, size=12 * 2**20)
    house = houses().start()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin())
        until(lambda: client.sent["put"] > shot.bytes * 2 // 3, "two thirds of the upload")
        house.kill()
        before = client.sent["put"]
        assert before < shot.bytes
        house.start()
        events = follow(job, writer)
        # what had reached the disk is not sent again: at most the pieces under way (16 MB for each time the connection broke)
        assert client.sent["put"] <= shot.bytes + 34 * 2**20
    assert isinstance(events[-1], Done) and verify_take(writer.path) == []
    assert [frame for _, frame in house.made()] == [1001, 1002, 1003]


def test_server_killed_at_work(houses, shot, tmp_path, undisturbed):
    house = houses().start()
    house.hold(1004)
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin())
        events = follow(job, writer, at("comp.1003.exr"))
        house.kill()
        house.let_go(1004)
        house.start()
        events += follow(job, writer)
    assert folder_hashes(writer.path) == undisturbed
    assert frames_of(events) == sorted(undisturbed)             # each once, in order
    assert [frame for _, frame in house.made()] == list(range(1001, 1007))  # nothing was made twice


def test_server_killed_in_returning(houses, tmp_path):
    """Everything is made, a part has come back: not a frame is made again, not a file comes twice."""
    shot = Shot(tmp_path / "long", frames=20, size=100)
    house = houses().start()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin(size=5 * 2**20))
        events = follow(job, writer, at("comp.1003.exr"))
        until(lambda: client.jobs().result(20)[0]["state"] == "done", "all to be made", 60)
        house.kill()
        house.start()
        events += follow(job, writer)
    assert frames_of(events) == ["comp.%d.exr" % f for f in range(1001, 1021)] + ["take.json"]
    assert verify_take(writer.path) == [] and len(house.made()) == 20


def test_a_killed_server_leaves_no_orphan(houses, shot):
    house = houses().start()
    house.hold(1001)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin())
        until(lambda: job.state == "running", "the work to begin")
        worker = house.worker()
        house.kill()
        until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker to end by itself")


def test_worker_killed_at_work(houses, shot, tmp_path, undisturbed):
    house = houses().start()
    (house.control / "die.1004").touch()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        events = follow(client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin()), writer)
    assert folder_hashes(writer.path) == undisturbed
    assert [frame for _, frame in house.made()] == [1001, 1002, 1003, 1004, 1004, 1005, 1006]
    assert any(isinstance(e, Warned) and "killed by signal 9" in e.message for e in events)


def test_a_worker_that_always_dies_ends_the_job_with_a_sentence_and_the_next_job_works(houses, shot, tmp_path):
    house = houses().start()
    (house.control / "die_always.1003").touch()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        with pytest.raises(JobError, match="died 4 times in a row"):
            client.run(shot.request(), shot.open_file, writer, origin=house.origin())
        assert sorted(writer.have) == ["comp.1001.exr", "comp.1002.exr"]
        (house.control / "die_always.1003").unlink()
        other = TakeWriter.create(tmp_path / "takes", new_take())
        client.run(shot.request(2), shot.open_file, other, origin=house.origin())
        client.run(shot.request(), shot.open_file, writer, origin=house.origin(), again=True)
    assert verify_take(other.path) == [] and verify_take(writer.path) == []


def test_an_idle_worker_that_dies_is_replaced(houses, shot, tmp_path):
    house = houses().start()
    worker = house.worker()
    worker.kill()
    until(lambda: house.worker().pid != worker.pid, "another worker")
    with Client(house.connection) as client:
        client.run(shot.request(), shot.open_file, TakeWriter.create(tmp_path / "takes", TAKE), origin=house.origin())


CLIENT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from platebridge.client import Client
from platebridge.request import from_dict
from platebridge.takes import TakeWriter
said = json.load(open(sys.argv[2]))
request = from_dict(said["request"])
writer = TakeWriter.create(said["folder"], said["take"], {"request": said["request"]})
with Client(said["connection"]) as client:
    client.run(request, said["paths"].__getitem__, writer, origin=said["origin"])
"""


def test_client_killed_and_another_goes_on(houses, shot, tmp_path, undisturbed):
    house = houses().start()
    house.hold(1004)
    said = {"request": shot.request().to_dict(), "folder": str(tmp_path / "takes"), "take": TAKE, "connection": str(house.connection),
            "origin": house.origin(), "paths": {sha: str(path) for sha, path in shot.paths.items()}}
    (tmp_path / "said.json").write_text(json.dumps(said))
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(HERE), str(tmp_path / "said.json")],
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    folder = tmp_path / "takes" / "take_0001"
    until(lambda: (folder / "comp.1003.exr").exists(), "three frames in the take's folder")
    client.send_signal(signal.SIGKILL)
    client.wait(20)
    house.let_go(1004)
    until(lambda: len(house.made()) == 6, "the job to go on with nobody there")
    writer = TakeWriter.resume(folder)
    assert sorted(writer.have) == ["comp.1001.exr", "comp.1002.exr", "comp.1003.exr"]
    with Client(house.connection) as again:
        events = follow(again.attach(writer.take_id, held=writer.have), writer)
        assert frames_of(events) == ["comp.1004.exr", "comp.1005.exr", "comp.1006.exr", "take.json"]
        assert again.sent["put"] == 0
    assert folder_hashes(folder) == undisturbed


def test_client_and_all_of_the_server_s_data_gone_the_take_still_completes(houses, shot, tmp_path, undisturbed):
    """Another server, which never heard of the take: the frames in the folder are not made again."""
    house = houses().start()
    house.hold(1004)
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        follow(client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin()), writer, at("comp.1003.exr"))
    house.kill()
    fresh = houses("fresh").start()
    writer = TakeWriter.resume(writer.path)
    with Client(fresh.connection) as client:
        client.run(shot.request(), shot.open_file, writer, origin=fresh.origin())
    assert folder_hashes(writer.path) == undisturbed
    assert [frame for _, frame in fresh.made()] == [1004, 1005, 1006]


def test_a_cancel_survives_a_kill(houses, shot, tmp_path):
    house = houses().start()
    house.hold(1002)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin())
        follow(job, TakeWriter.create(tmp_path / "takes", TAKE), at("comp.1001.exr"))
        job.cancel().result(10)
        until(lambda: job.state == "cancelled", "the cancel")
        house.kill()
        house.let_go(1002)
        house.start()
        last = follow(client.attach(TAKE), TakeWriter.create(tmp_path / "takes", TAKE))[-1]
    assert isinstance(last, Failed) and last.error["code"] == "cancelled"
    assert [frame for _, frame in house.made()] == [1001]


def sent(house, shot, tmp_path):
    """A take on its way as a DCC sends it."""
    request = shot.request()
    passes = {name: getattr(request.inputs, name).files for name in ("plate", "depth", "mask")}
    inputs = {name: Input(name, {f.frame: shot.paths[f.sha256] for f in files}) for name, files in passes.items()}
    asked = GenerateRequest(request.shot, request.frames, Inputs())
    courier = Courier.send(lambda: Client(house.connection), asked, inputs, lambda: None, tmp_path / "takes", house.origin())
    courier.start()
    return courier


def news(courier, kind):
    """The next piece of news of a kind."""
    while True:
        assert courier.bell.wait(30), "no news came"
        for found in iter(courier.take_news, None):
            if isinstance(found, kind):
                return found


def test_a_take_cancelled_while_its_server_is_away_can_be_attached_to_later(houses, shot, tmp_path):
    """The server never hears of it and goes on: without the folder nobody would know the take's id."""
    house = houses().start()
    house.hold(1001)
    courier = sent(house, shot, tmp_path)
    news(courier, Started)
    house.kill()
    news(courier, Waiting)
    courier.cancel()
    error = news(courier, Ended).error
    assert isinstance(error, ConnectionFailed) and "may go on" in str(error)
    house.let_go(1001)
    house.start()
    again = Courier.resume(lambda: Client(house.connection), tmp_path / "takes" / "take_0001", house.origin())
    again.start()
    assert news(again, Ended).error is None and verify_take(tmp_path / "takes" / "take_0001") == []


def test_a_take_cancelled_before_any_server_was_there_leaves_no_folder(houses, shot, tmp_path):
    courier = sent(houses(), shot, tmp_path)
    news(courier, Waiting)
    courier.cancel()
    assert isinstance(news(courier, Ended).error, Cancelled) and list((tmp_path / "takes").iterdir()) == []


def test_a_take_folder_that_vanishes_midway_loses_nothing(houses, shot, tmp_path, undisturbed):
    """The take's folder vanishes in the middle; once there is a place again the same take completes."""
    house = houses().start()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    aside = tmp_path / "aside"

    def vanish(event):
        if isinstance(event, FileReady) and event.frame == 1002:
            writer.path.rename(aside)

    with Client(house.connection) as client:
        with pytest.raises(StorageError, match="does not exist any more"):
            client.run(shot.request(), shot.open_file, writer, vanish, origin=house.origin())
        back = TakeWriter.resume(aside)
        client.finish(client.attach(TAKE, held=back.have), back)
    assert folder_hashes(aside) == undisturbed and len(house.made()) == 6


def test_progress_of_a_killed_upload_never_goes_back_to_nothing(houses, tmp_path):
    shot = Shot(tmp_path / "many", frames=10, size=2**20)
    house = houses().start()
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin())
        until(lambda: client.sent["put"] > shot.bytes // 2, "half of the upload")
        house.kill()
        house.start()
        uploading = [e for e in follow(job, writer) if isinstance(e, Progress) and e.phase == "uploading"]
    done = [e.done for e in uploading]
    assert done == sorted(done) and done[-1] == uploading[-1].total == shot.bytes


def test_all_of_the_server_s_data_gone_in_the_midst_of_a_take_and_no_file_of_it_is_missed(houses, shot, tmp_path, undisturbed):
    """The same client stays. What it has seen was numbered by the server before, whose worker had died three times on the way."""
    house = houses().start()
    for frame in (1001, 1002, 1003):
        (house.control / ("die.%d" % frame)).touch()
    house.hold(1004)
    writer = TakeWriter.create(tmp_path / "takes", TAKE)
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, TAKE, house.origin())
        follow(job, writer, at("comp.1003.exr"))
        house.kill()
        shutil.rmtree(house.root / "data")
        house.let_go(1004)
        house.start()
        assert isinstance(follow(job, writer)[-1], Done)
    assert folder_hashes(writer.path) == undisturbed


def test_a_server_whose_files_were_taken_away_says_so_and_lives_on(houses, shot, tmp_path):
    """Somebody makes room by hand, or a drive is taken off, while one take is at work and another in line."""
    house = houses().start()
    house.hold(1001)
    with Client(house.connection) as client:
        jobs = [client.upload_and_submit(shot.request(n), shot.open_file, new_take(), house.origin()) for n in range(2)]
        until(lambda: [job.state for job in jobs] == ["running", "queued"], "both to be there")
        shutil.rmtree(house.root / "data" / "spool")
        house.let_go(1001)
        asked = [client.upload_and_submit(shot.request(2), shot.open_file, new_take(), house.origin())]
        for job in jobs + asked:
            error = follow(job, TakeWriter.create(tmp_path / "takes", job.take_id))[-1].error
            assert error["code"] == StorageError.code and ("exist any more" in error["message"] or "no longer has" in error["message"])
        with pytest.raises(StorageError, match="exist any more"):
            client.about().result(10)
        assert client.ping().result(10) > 0 and house.process.poll() is None
