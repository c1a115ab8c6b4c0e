# SPDX-License-Identifier: Apache-2.0
"""A server that says what it should not, on a real socket: the take ends with a sentence, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest
import zmq
from platebridge.client import Client
from platebridge.connection import Connection
from platebridge.errors import ProtocolError, VersionError
from platebridge.events import Failed, Started, Warned
from platebridge.frames import FrameRange
from platebridge.protocol import Message, join_hashes, receive, send, unpack
from platebridge.request import FrameFile, GenerateRequest, Inputs, Pass

TAKE, OTHER = "a" * 32, "b" * 32


class OddServer(threading.Thread):
    """Greets everybody, and accepts every take; `events` of each are sent from `after` on, [(kind, fields, bytes)]. `answers`: kind of a
    question -> the message that answers it. `lacking`: hashes of the input files that it says to lack. `heard`: types, in order.
    `line`: an event without which it reads no piece of a file, and all that comes behind one."""

    def __init__(self, folder, events=(), answers=(), lacking=(), line=None):
        super().__init__(daemon=True)
        self.endpoint, self.events, self.answers = "ipc://%s" % (folder / "s"), dict(events), dict(answers)
        self.lacking, self._line = lacking, line
        self.heard, self._over = [], threading.Event()
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.rcvhwm = 1 if line else 1000
        self._socket.bind(self.endpoint)

    def run(self):
        while not self._over.is_set():
            if not self._socket.poll(20):
                continue
            to, *frames = receive(self._socket)
            message, to = unpack(frames), bytes(to)
            self.heard.append(message.type)
            if message.type == "hello":
                send(self._socket, Message("welcome", {"server": "odd", "window": 2**24, "device": "cpu"}, id=message.id), to)
            elif message.type == "put" and self._line:
                self._line.wait(20)
            elif message.type in ("attach", "submit"):
                take = message.body["take"]
                send(self._socket, Message("accepted", {"take": take, "state": "running"}, id=message.id), to)
                if self.lacking:
                    send(self._socket, Message("lacks", {"take": take, "partial": {}}, (join_hashes(self.lacking),), message.id), to)
                for n, (kind, fields, data) in enumerate(self.events.get(take, ()), 1):
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


def test_a_take_whose_files_lie_elsewhere_says_what_it_waits_for(odd):
    """The command was killed while it sent them, and its take is attached to from Blender: that would wait without a word."""
    client, _ = odd(events={TAKE: [FINE]}, lacking=["0" * 64, "1" * 64])
    job = client.attach(TAKE)
    told = job.next(10)
    assert isinstance(told, Warned) and "lacks 2 of the take's input files" in told.message and "began it" in told.message
    assert isinstance(job.next(10), Started)


def test_a_take_one_of_whose_files_cant_be_sent_is_cancelled_over_a_slow_line_too(odd, tmp_path):
    """The cancel stands behind the pieces of other files when the client closes; unheard, the server would keep the take, and make it when
    another take brings the file."""
    large, gone = "0" * 64, "1" * 64
    (tmp_path / "plate.exr").write_bytes(bytes(14 * 2**20))
    content = [Pass("", (), (FrameFile(1, sha, size),)) for sha, size in ((large, 14 * 2**20), (gone, 100), (gone, 100))]
    line = threading.Event()
    client, server = odd(lacking=[large, gone], line=line)
    request = GenerateRequest("tower", FrameRange(1, 1), Inputs(*content))
    job = client.upload_and_submit(request, {large: tmp_path / "plate.exr", gone: tmp_path / "gone.exr"}.__getitem__, TAKE)
    while not isinstance(job.next(10), Failed):
        pass
    job.close()
    client.close(1.0)
    line.set()
    client.close(20.0)
    for _ in range(500):
        if "cancel" in server.heard:
            break
        server.join(0.02)
    assert server.heard.count("put") == 7 and "cancel" in server.heard


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
