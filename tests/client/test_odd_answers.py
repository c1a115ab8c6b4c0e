# SPDX-License-Identifier: Apache-2.0
"""A server that says what it should not, on a real socket: the take ends with a sentence, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest
import zmq
from platebridge.client import Client
from platebridge.connection import Connection
from platebridge.errors import ProtocolError, VersionError
from platebridge.events import Failed, Started
from platebridge.protocol import Message, receive, send, unpack

TAKE, OTHER = "a" * 32, "b" * 32


class OddServer(threading.Thread):
    """Greets everybody, and accepts every take; `events` of each are sent from `after` on, [(kind, fields, bytes)]. `answers`: kind of a
    question -> the message that answers it. `heard`: types, in order."""

    def __init__(self, folder, events=(), answers=()):
        super().__init__(daemon=True)
        self.endpoint, self.events, self.answers = "ipc://%s" % (folder / "s"), dict(events), dict(answers)
        self.heard, self._over = [], threading.Event()
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(self.endpoint)

    def run(self):
        while not self._over.is_set():
            if not self._socket.poll(20):
                continue
            to, *frames = receive(self._socket)
            message, to = unpack(frames), bytes(to)
            self.heard.append(message.type)
            if message.type == "hello":
                send(self._socket, Message("welcome", {"server": "odd", "window": 2**20, "device": "cpu"}, id=message.id), to)
            elif message.type == "attach":
                take = message.body["take"]
                send(self._socket, Message("accepted", {"take": take, "state": "running"}, id=message.id), to)
                for n, (kind, fields, data) in enumerate(self.events[take], 1):
                    if n > message.body["after"]:
                        body = {"take": take, "follow": message.body["follow"], "n": n, "kind": kind, "fields": fields}
                        body.update(size=len(data), offset=0, held=False)
                        send(self._socket, Message("event", body, (data,)), to)
            elif message.type in self.answers:
                answer = self.answers[message.type]
                send(self._socket, Message(answer.type, answer.body, answer.parts, message.id), to)

    def end(self):
        self._over.set()
        self.join(5)
        self._socket.close(0)


@pytest.fixture
def odd(tmp_path):
    """`odd(...)`: a client of such a server, and the server."""
    made = []

    def make(**said):
        server = OddServer(tmp_path, **said)
        client = Client(Connection((server.endpoint,), "k" * 40, "k" * 40, "k" * 40)).start()
        server.start()
        made.append((client, server))
        return client, server

    yield make
    for client, server in made:
        client.close(5)
        server.end()


FINE = ("started", {"model": "dust", "device": "cpu"}, b"")


@pytest.mark.parametrize(
    "event, code",
    [
        (("done", {}, b""), ProtocolError.code),
        (("failed", {"error": "all of it"}, b""), ProtocolError.code),
        (("failed", {"error": {}, "why": 1}, b""), ProtocolError.code),
        (("file", {"kind": "comp", "frame": 1001, "name": "../comp.exr", "sha256": "0" * 64}, b"x"), ProtocolError.code),
        (("file", {"kind": "comp", "frame": 1001, "name": "comp.1001.exr"}, b"x"), ProtocolError.code),
        (("weather", {}, b""), VersionError.code),
    ],
)
def test_an_event_that_cant_be_read_ends_its_take_with_a_sentence_and_no_other(odd, event, code):
    client, server = odd(events={TAKE: [FINE, event], OTHER: [FINE, ("done", {"seconds": {}}, b"")]})
    job, other = client.attach(TAKE), client.attach(OTHER)
    assert isinstance(job.next(10), Started)
    ended = job.next(10)
    assert isinstance(ended, Failed) and ended.error["code"] == code and job.finished and job.state == "failed"
    assert isinstance(other.next(10), Started) and other.next(10) is not None and other.state == "done"
    assert server.heard.count("hello") == 1  # nothing was lost but that take


def test_an_answer_to_another_question_is_an_error_of_that_question(odd):
    client, server = odd(answers={"about": Message("cards", {"models": []}), "models": Message("cards", {"models": [1]})})
    with pytest.raises(ProtocolError, match="answered about with cards"):
        client.about().result(10)
    assert client.models().result(10) == [1] and server.heard.count("hello") == 1


@pytest.mark.parametrize("offset", [-5, 11, 2**40, "5", None])
def test_a_place_that_a_file_does_not_have_is_no_place_to_go_on_from(tmp_path, offset):
    """Else the client blames the artist's file, or reads all of it at once."""
    from platebridge.uploads import Uploads

    class Job:
        take_id, open_file = TAKE, staticmethod(lambda sha256: tmp_path / "plate.exr")

    (tmp_path / "plate.exr").write_bytes(b"0123456789")
    uploads, sha256 = Uploads(), "c" * 64
    uploads.window = 2**20
    uploads.add(Job, {sha256: 10}, {sha256: offset})
    assert uploads.next().parts == (b"0123456789",)
    if isinstance(offset, int) and offset >= 0:  # what a `resume` can say at all
        uploads.go_back(sha256, offset)
        assert uploads.next().parts == (b"0123456789",)
    uploads.go_back(sha256, 4)
    assert uploads.next().parts == (b"456789",)
    uploads.drop(TAKE)
