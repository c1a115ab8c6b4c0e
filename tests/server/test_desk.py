# SPDX-License-Identifier: Apache-2.0
"""The front in this process, turn by turn: moments that no two processes meet in twice."""
from __future__ import annotations

import json
from collections import deque

import pytest
import zmq
from house import Shot, new_take, until
from platebridge import protocol
from platebridge.errors import StorageError
from platebridge.mailbox import Mailbox
from platebridge.protocol import Message
from platebridge_server.door import Door
from platebridge_server.front import Front
from platebridge_server.jobs import JobStore
from platebridge_server.scheduler import Scheduler
from platebridge_server.spool import Spool, SpoolLimits, SpoolWriter


class Desk:
    """A front in this process, whose turns are ours: what it hears, reports and pushes comes when we say. `engine` is its own."""

    def __init__(self, root) -> None:
        self.context, self.client = zmq.Context(), zmq.Context()
        self.store, self.spool = JobStore(root / "jobs.sqlite"), Spool(root / "spool", SpoolLimits(reserve=0))
        self.door = Door("127.0.0.1", 0, str(root / "socket"), *zmq.curve_keypair(), [])
        self.front = Front(self.context, self.door, self.store, self.spool, Mailbox())
        self.front.scheduler = Scheduler(self.store, self.spool, self, root / "scratch", self.front.changed, self.front.writer.call)
        self.socket = self.client.socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.connect("ipc://" + self.door.ipc)
        assert self.ask(Message("hello", {"client": "test"}, id=1)).type == "welcome"

    def free(self) -> bool:
        return False

    def send(self, message: Message) -> None:
        """What a client says, and the front hears."""
        protocol.send(self.socket, message)
        assert self.front.router.poll(10000)
        self.front._listen()

    def hear(self) -> Message:
        assert self.socket.poll(10000), "the front says nothing"
        return protocol.unpack(protocol.receive(self.socket))

    def ask(self, message: Message) -> Message:
        self.send(message)
        return self.hear()

    def close(self) -> None:
        self.socket.close()
        self.front.close()
        self.store.close()
        self.client.term()
        self.context.term()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def full(*_):
    raise StorageError("The server's job list can't be written: database or disk is full.")


def test_a_client_that_is_gone_when_two_of_its_takes_end_in_an_error_ends_nobody_s_server(desk):
    for take in ("1" * 32, "2" * 32):
        desk.store.add(take, "tower", b"{}", "", {}, [], {})
        desk.store.append(take, "file", {"kind": "comp", "frame": 1, "name": "comp.1.exr", "sha256": "a" * 64}, "a" * 64, 5)
        assert desk.ask(Message("attach", {"take": take, "follow": 1, "after": 0, "credit": 10**6}, (b"",), 3)).type == "accepted"
    desk.socket.close()

    def gone():
        try:
            protocol.send(desk.front.router, Message("pong"), next(iter(desk.front._sessions)))
        except zmq.ZMQError as error:
            return error.errno == zmq.EHOSTUNREACH
        return False

    until(gone, "the end of the connection")
    desk.front._push_events()
    assert desk.front._sessions == {}


def test_an_upload_that_ends_while_the_job_list_can_t_be_written_is_counted_once_and_its_job_runs(desk, tmp_path, monkeypatch):
    shot = Shot(tmp_path / "shot")
    take, request = new_take(), json.dumps(shot.request().to_dict()).encode()
    body = {"take": take, "follow": 1, "after": 0, "credit": 0, "origin": {}, "again": False}
    assert desk.ask(Message("submit", body, (request, b""), 3)).type == "accepted" and desk.hear().type == "lacks"
    reports = deque()
    for sha, path in shot.paths.items():
        desk.send(Message("put", {"sha256": sha, "size": 5000, "offset": 0}, (path.read_bytes(),)))
    desk.front.writer.close()
    reports.extend(desk.front._mailbox.take_all())
    assert len(reports) == 18
    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "present", full)
        assert [desk.front._take_reports(reports) for _ in range(5)] == [False] * 5
    assert desk.front._take_reports(reports) and desk.store.require(take).state == "queued"
    assert [desk.hear().type for _ in range(36)] == ["stored", "credit"] * 18
    assert desk.front._kept == 0 and not desk.front._owed
    desk.front.writer = SpoolWriter(desk.spool, desk.front._written)


def test_what_is_safe_on_a_client_s_disk_is_heard_later_when_the_job_list_can_t_be_written(desk, monkeypatch):
    """An answer would be taken for a fault of the client's, and end its connection each time."""
    desk.store.add("1" * 32, "tower", b"{}", "", {}, [], {})
    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "ack", full)
        desk.send(Message("ack", {"take": "1" * 32, "n": 1}))
    assert desk.ask(Message("ping", id=4)) == Message("pong", id=4)
