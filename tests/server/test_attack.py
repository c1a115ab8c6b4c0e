# SPDX-License-Identifier: Apache-2.0
"""No one else gets in, and who is in can't bring the server down: refused, alive, still serving, memory flat."""
from __future__ import annotations

import json
import os
import socket
import struct
import time
from dataclasses import replace

import msgpack
import pytest
import zmq
from house import Raw, Shot, new_take, tcp_endpoint, until
from platebridge import protocol
from platebridge.client import Client
from platebridge.connection import read_connection
from platebridge.errors import ConnectionFailed
from platebridge.protocol import Message
from platebridge.takes import TakeWriter, verify_take

MB = 2**20


@pytest.fixture(scope="module")
def besieged(tmp_path_factory):
    """One server for all attacks: what one left behind would be seen by the next."""
    from house import House

    house = House(tmp_path_factory.mktemp("besieged")).start()
    yield house
    house.kill()


@pytest.fixture(autouse=True)
def serves_on_with_flat_memory(besieged, tmp_path):
    """After each attack: a real shot goes through on a Unix socket and over TCP, and memory has not grown."""
    before = besieged.memory()
    yield
    tcp = replace(read_connection(besieged.connection), endpoints=(tcp_endpoint(besieged),))
    for way in (besieged.connection, tcp):
        shot = Shot(tmp_path / "shot", frames=2)
        writer = TakeWriter.create(tmp_path / "takes", new_take())
        with Client(way) as client:
            client.run(shot.request(), shot.open_file, writer, origin=besieged.origin(), patience=20)
        assert verify_take(writer.path) == []
    assert besieged.memory() - before < 64 * MB


def plain_tcp(house) -> socket.socket:
    host, port = tcp_endpoint(house)[len("tcp://"):].rsplit(":", 1)
    return socket.create_connection((host, int(port)), 10)


def closed_by_server(sock: socket.socket, seconds: float = 15.0) -> bool:
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except socket.timeout:
        return False


GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x01"


def test_an_unknown_client_key_is_refused_and_told_so(besieged):
    public, secret = zmq.curve_keypair()
    stranger = replace(read_connection(besieged.connection), endpoints=(tcp_endpoint(besieged),),
                       client_public=public.decode(), client_secret=secret.decode())
    with Client(stranger) as client:
        future = client.jobs()
        until(lambda: client.state == "lost", "the refusal")
        assert isinstance(client.problem, ConnectionFailed) and "does not know our key" in str(client.problem)
        assert not future.done() and client.received == {"files": 0, "control": 0}
    until(lambda: "its key is unknown" in besieged.log(), "a line in the server's log")


def test_a_client_that_expects_another_server_does_not_speak_to_this_one(besieged):
    elsewhere = replace(read_connection(besieged.connection), endpoints=(tcp_endpoint(besieged),),
                        server_key=zmq.curve_keypair()[0].decode())
    with Client(elsewhere) as client:
        until(lambda: client.state == "lost", "the refusal")
        assert client.received["control"] == 0


def test_zmq_without_keys_is_refused(besieged):
    context = zmq.Context()
    sock = context.socket(zmq.DEALER)
    sock.linger = 0
    monitor = sock.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
    sock.connect(tcp_endpoint(besieged))
    protocol.send(sock, Message("hello", {"client": "plain"}, id=1))
    assert monitor.poll(10000), "the server did not refuse"
    assert not sock.poll(200)
    sock.disable_monitor()
    monitor.close()
    sock.close()
    context.term()


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, b"\0" * 100_000,
    GREETING + b"CURVE".ljust(20, b"\0") + b"\0" * 32 + b"\x06" + struct.pack(">Q", 10 * 2**30) + b"x" * 1000,  # a command of 10 GB
    GREETING + b"CURVE".ljust(20, b"\0") + b"\0" * 32 + b"\x02" + struct.pack(">Q", 2**63) + b"x" * 1000,
    GREETING + b"NULL".ljust(20, b"\0") + b"\0" * 32 + b"\x04\x26\x05READY",
    GREETING + b"PLAIN".ljust(20, b"\0") + b"\0" * 32,
], ids=["http", "tls", "zeros", "10GB", "8EB", "null", "plain"])
def test_a_socket_that_talks_garbage_is_closed(besieged, garbage):
    with plain_tcp(besieged) as sock:
        try:
            sock.sendall(garbage)
        except ConnectionError:
            return
        assert closed_by_server(sock)


def test_a_socket_that_says_nothing_is_closed(besieged):
    with plain_tcp(besieged) as sock:
        assert closed_by_server(sock, 30.0)


def test_a_hundred_silent_sockets_keep_nobody_out(besieged):
    socks = [plain_tcp(besieged) for _ in range(100)]
    try:
        with Client(replace(read_connection(besieged.connection), endpoints=(tcp_endpoint(besieged),))) as client:
            assert client.ping().result(20) > 0
    finally:
        for sock in socks:
            sock.close()


def test_a_header_that_claims_10_gb_closes_the_connection_before_memory_is_taken(besieged):
    """On the Unix socket, by hand: greeting, READY, then a frame that is said to be 10 GB."""
    path = read_connection(besieged.connection).nearest()[len("ipc://"):]
    before = besieged.memory()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(GREETING + b"NULL".ljust(20, b"\0") + b"\0" * 32)
        ready = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
        sock.sendall(b"\x04" + bytes([len(ready)]) + ready)
        sock.sendall(b"\x02" + struct.pack(">Q", 10 * 2**30) + b"x" * 4096)
        assert closed_by_server(sock)
    assert besieged.memory() - before < 16 * MB


SHA = "ab" * 32
WRONG = {
    "no_msgpack": [b"\xc1"],
    "truncated": [protocol.pack(Message("models", id=9))[0][:-3]],
    "deep_nesting": [b"\x91" * 60000],
    "an_array_said_to_be_4_billion": [b"\xdd\xff\xff\xff\xff"],
    "a_text_said_to_be_2_gb": [b"\x84\xa1v\x01\xa1t\xdb\x7f\xff\xff\xff"],
    "an_extension_type": [msgpack.packb({"v": 1, "t": "ping", "id": 2, "b": {"x": msgpack.ExtType(1, b"1234")}})],
    "too_many_parts": [protocol.pack(Message("ping", id=2))[0]] + [b"x"] * 500,
    "empty": [b""],
    "a_header_too_large": [b"\xc0" * (protocol.MAX_HEADER + 1)],
    "a_put_of_another_size": [msgpack.packb({"v": 1, "t": "put", "id": 3, "b": {"sha256": SHA, "size": 1, "offset": 0}}), b"four"],
    "a_put_with_a_path": [msgpack.packb({"v": 1, "t": "put", "id": 3, "b": {"sha256": "../../x", "size": 4, "offset": 0}}), b"four"],
    "a_server_s_message": protocol.pack(Message("stored", {"sha256": SHA})),
    "an_unknown_type": [msgpack.packb({"v": 1, "t": "format_disk", "id": 3, "b": {}})],
}


@pytest.mark.parametrize("frames", list(WRONG.values()), ids=list(WRONG))
@pytest.mark.parametrize("curve", [False, True], ids=["unix", "curve"])
def test_a_message_that_is_none_gets_an_error_and_the_next_one_an_answer(besieged, frames, curve):
    with Raw(besieged, curve) as raw:
        raw.socket.send_multipart(frames)
        answer = raw.hear()
        assert answer.type == "error" and answer.body["error"]["code"] in ("protocol", "version")
        assert raw.ask(Message("ping", id=5)) == Message("pong", id=5)


def test_a_request_of_nothing_but_brackets_is_refused(besieged):
    body = {"take": new_take(), "follow": 1, "after": 0, "credit": 0, "origin": {}, "again": False}
    with Raw(besieged) as raw:
        for request in (b"[" * 10**6, b"{" * 10**6, b'{"a":' * 10**5, b"", b"\xff\xfe", b"1" * 10**5, b"NaN"):
            assert raw.ask(Message("submit", body, (request, b""), 7)).body["error"]["code"] in ("request", "version")


HUGE = 10**400
TREES = {
    "a_name_that_is_no_text": lambda tree: tree.update(shot="tower\udce9"),
    "a_file_s_name_that_is_no_text": lambda tree: tree["inputs"]["plate"].update(name="\udce9.####.exr"),
    "words_that_are_no_text": lambda tree: tree["paint"].update(prompt="caf\udce9"),
    "a_field_that_is_no_text": lambda tree: tree.update({"caf\udce9": 1}),
    "a_name_of_70_000_characters": lambda tree: tree.update(shot="x" * 70_000),
    "a_dial_of_400_digits": lambda tree: tree["guide"].update(amount=HUGE),
    "a_camera_of_400_digits": lambda tree: tree.update(camera={"focal_mm": HUGE}),
    "a_key_at_a_frame_of_5000_digits": lambda tree: tree["guide"].update(amount="%s:2" % ("1" * 5000)),
}


@pytest.mark.parametrize("spoil", list(TREES.values()), ids=list(TREES))
def test_a_request_that_can_t_be_is_refused_in_a_few_words(besieged, tmp_path, spoil):
    tree = {"paint": {}, **Shot(tmp_path / "asked").request().to_dict()}
    spoil(tree)
    body = {"take": new_take(), "follow": 1, "after": 0, "credit": 0, "origin": {}, "again": False}
    with Raw(besieged) as raw:
        answer = raw.ask(Message("submit", body, (json.dumps(tree).encode(), b""), 7))
        assert (answer.type, answer.id, answer.body["take"]) == ("error", 7, body["take"])
        assert answer.body["error"]["code"] in ("request", "job") and len(str(answer.body["error"])) < 1500
        assert raw.ask(Message("ping", id=8)) == Message("pong", id=8)


@pytest.mark.parametrize("valid", [False, True], ids=["rubbish", "pings"])
def test_a_flood_of_tiny_messages_that_reads_no_answer(besieged, valid):
    """200 000 messages (50 000 that each want an answer), and none of the answers is read."""
    frame = protocol.pack(Message("ping", id=1))[0] if valid else b"\xc1"
    before = besieged.memory()
    highest = 0
    with Raw(besieged) as raw:
        for n in range(50_000 if valid else 200_000):
            raw.socket.send(frame)
            if n % 10_000 == 0:
                highest = max(highest, besieged.memory())
        with Client(besieged.connection) as client:  # while the flood's messages still lie there
            assert client.ping().result(30) > 0
    assert max(highest, besieged.memory()) - before < 64 * MB


def test_uploads_beyond_the_credit_are_dropped_not_kept(besieged):
    data = os.urandom(protocol.CHUNK)
    before = besieged.memory()
    with Raw(besieged) as raw:
        for n in range(100):  # 200 MB of an upload that is said to be 1 GB; credit is 16 MB
            raw.socket.send_multipart(protocol.pack(Message("put", {"sha256": SHA, "size": 2**30, "offset": n * protocol.CHUNK}, (data,))))
        until(lambda: raw.hear().type == "error", "a refusal")
        assert besieged.memory() - before < 150 * MB


@pytest.fixture
def standing(houses):
    """A server whose disk stands still in the first piece of the upload SHA: its part is a pipe that nobody reads. And the pipe."""
    house = houses("standing").start()
    part = house.root / "data" / "spool" / "partial" / SHA
    os.mkfifo(part)
    return house, part


def pieces(raw, count, sha=SHA):
    """Sends so many pieces of 2 MB, all there may be and more, and hears how many were refused."""
    data = bytes(protocol.CHUNK)
    for n in range(count):
        raw.socket.send_multipart(protocol.pack(Message("put", {"sha256": sha, "size": 2**30, "offset": n * len(data)}, (data,))))
    protocol.send(raw.socket, Message("ping", id=9))
    refused = 0
    while raw.hear().type == "error":
        refused += 1
    return refused


def test_who_says_hello_again_and_again_may_send_no_more_for_it(standing):
    house, _ = standing
    with Raw(house) as raw:
        assert pieces(raw, 12) == 3  # 16 MB, and the piece that goes beyond
        for _ in range(3):
            welcome = raw.ask(Message("hello", {"client": "again"}, id=1))
            assert welcome.type == "welcome" and welcome.body["window"] == 0
            assert pieces(raw, 12) == 12


def test_pieces_of_a_byte_are_not_taken_without_end(standing):
    """Each takes its place in the line, whatever it holds: a client that sends no more than its 16 MB has none refused before 73 728."""
    house, _ = standing
    with Raw(house) as raw:
        for n in range(18 * MB // 256 + 1):
            raw.socket.send_multipart(protocol.pack(Message("put", {"sha256": SHA, "size": 2**30, "offset": n}, (b"x",))))
        assert raw.ask(Message("ping", id=9)).type == "error"
        assert raw.hear().type == "pong"


def test_many_who_upload_at_once_fill_no_memory_and_each_is_told_to_send_again(standing):
    """288 MB that the disk does not take: what is beyond 128 MB is not kept, and asked for again when its turn has come."""
    house, part = standing
    before = house.memory()
    raws = [Raw(house).__enter__() for _ in range(16)]
    try:
        assert [pieces(raw, 9, SHA if n == 0 else "%064x" % n) for n, raw in enumerate(raws)] == [0] * 16
        assert house.memory() - before < 190 * MB
        with open(part, "rb") as pipe:
            part.unlink()
            while pipe.read(MB):
                pass
        for raw in raws:
            credit, resume = 0, None
            while credit < 9 * protocol.CHUNK:
                heard = raw.hear()
                credit += heard.body["bytes"] if heard.type == "credit" else 0
                resume = heard.body["offset"] if heard.type == "resume" else resume
        assert resume == 0  # the last one
        assert pieces(raw, 9, "%064x" % 15) == 0
    finally:
        for raw in raws:
            raw.__exit__()


def test_endless_credit_and_no_reading_does_not_fill_the_server(besieged, tmp_path):
    shot = Shot(tmp_path / "big", frames=60, size=10)
    take = new_take()
    with Client(besieged.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, take, besieged.origin(size=4 * MB))
        until(lambda: job.state == "done" or (job.next() and False) or job.finished, "240 MB of frames to be made", 60)
    before = besieged.memory()
    with Raw(besieged) as raw:
        protocol.send(raw.socket, Message("attach", {"take": take, "follow": 1, "after": 0, "credit": 2**50}, (b"",), 3))
        end = time.monotonic() + 2  # the server has that long to push all it wants
        highest = 0
        while time.monotonic() < end:
            highest = max(highest, besieged.memory())
            time.sleep(0.02)
    assert highest - before < 170 * MB


def test_too_many_faults_and_a_client_is_not_listened_to(besieged):
    with Raw(besieged) as raw:
        for _ in range(40):
            raw.socket.send(b"\xc1")
        protocol.send(raw.socket, Message("jobs", id=77))
        answers = []
        while raw.socket.poll(1000):
            answers.append(protocol.unpack(protocol.receive(raw.socket)))
    assert {a.type for a in answers} == {"error"} and 20 <= len(answers) <= 22


def test_more_clients_than_the_limit_are_turned_away_with_a_sentence(houses):
    house = houses("crowded").start()
    raws = []
    try:
        for _ in range(64):
            raws.append(Raw(house).__enter__())
        late = Raw(house)
        raws.append(late)
        answer = late.ask(Message("hello", {"client": "late"}, id=1))
        assert answer.body["error"]["code"] == "connection" and "clients are connected" in answer.body["error"]["message"]
        raws.pop(0).__exit__()  # one that leaves makes room at once
        until(lambda: late.ask(Message("hello", {"client": "late"}, id=1)).type == "welcome", "its place")
    finally:
        for raw in raws:
            raw.__exit__()
