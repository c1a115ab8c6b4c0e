# SPDX-License-Identifier: Apache-2.0
"""Messages: what goes in comes out, without copies; what is not one of ours is a ProtocolError and nothing else."""
from __future__ import annotations

import contextlib

import msgpack
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from platebridge import protocol
from platebridge.errors import ProtocolError, VersionError
from platebridge.events import Done, Failed, FileReady, Preview, Progress, Started, Warned
from platebridge.protocol import Message, pack, unpack

TAKE, SHA = "0" * 32, "ab" * 32
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12,
)


def header(**changes) -> bytes:
    return msgpack.packb({"v": 1, "t": "ping", "id": 1, "b": {}, **changes})


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(fields=st.dictionaries(st.text(max_size=8), plain, max_size=5), n=st.integers(0, 2**53), data=st.binary(max_size=300))
def test_a_message_comes_out_as_it_went_in(fields, n, data):
    body = {"take": TAKE, "follow": 3, "n": n, "kind": "file", "fields": fields, "size": len(data), "offset": 0, "held": False}
    message = Message("event", body, (data,), 7)
    assert unpack(pack(message)) == message


@settings(max_examples=400)
@given(frames=st.lists(st.binary(max_size=200), min_size=0, max_size=5))
def test_arbitrary_bytes_raise_protocol_errors_and_nothing_else(frames):
    with pytest.raises((ProtocolError, VersionError)):
        unpack(frames)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(tree=st.dictionaries(st.sampled_from(["v", "t", "id", "b", "x"]), plain | st.sampled_from([1, *protocol.FIELDS]), max_size=5),
       parts=st.lists(st.binary(max_size=70), max_size=3))
def test_arbitrary_tables_are_messages_or_protocol_errors(tree, parts):
    try:
        found = unpack([msgpack.packb(tree), *parts])
    except (ProtocolError, VersionError):
        return
    assert found.type in protocol.FIELDS


@given(cut=st.integers(0, 40))
def test_a_truncated_header_is_refused(cut):
    whole = pack(Message("put", {"sha256": SHA, "size": 3, "offset": 0}, (b"abc",)))
    with pytest.raises(ProtocolError):
        unpack([whole[0][:cut], b"abc"])


def test_buffers_are_views_not_copies():
    data = memoryview(bytearray(5000))
    message = unpack(pack(Message("put", {"sha256": SHA, "size": 5000, "offset": 0}, (data,))))
    data[17] = 99
    assert message.parts[0][17] == 99


def test_buffers_cross_a_socket_as_views_of_the_socket_s_memory():
    context = zmq.Context()
    here, there = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    here.bind("inproc://x")
    there.connect("inproc://x")
    data = bytes(range(256)) * 4096
    count = protocol.send(here, Message("put", {"sha256": SHA, "size": len(data), "offset": 0}, (data,)))
    there.poll(5000)
    frames = protocol.receive(there)
    assert count > len(data) and isinstance(frames[1], memoryview) and frames[1] == data
    here.close()
    there.close()
    context.term()


@pytest.mark.parametrize("header_bytes", [
    b"", b"\x00", b"\xc1", b"\xff" * 50, msgpack.packb([1, 2]), msgpack.packb({1: 2}),
    header(id=-1), header(id=True), header(id=2**60), header(b=[]), header(t=5), header(x=1), header(v=True), header(v="1"),
    b"\xdd\xff\xff\xff\xff",          # an array said to have 4294967295 elements
    b"\xc6\x7f\xff\xff\xff",          # 2 GB of bytes, said but not there
    b"\xdf\x7f\xff\xff\xff",          # a map of 2 billion entries
    b"\x91" * 60000,                  # sixty thousand lists, one within the other
    b"\x81\xa1v" * 15000,             # as deep, of maps
    header(b={"x": msgpack.ExtType(5, b"12")}), header(b={"t": msgpack.Timestamp(1, 1)}),
    b"\x00" * (protocol.MAX_HEADER + 1),
], ids=lambda b: b[:8].hex())
def test_what_is_no_header_is_refused(header_bytes):
    with pytest.raises(ProtocolError):
        unpack([header_bytes])


@pytest.mark.parametrize("message", [
    Message("put", {"sha256": SHA, "size": 2, "offset": 0}, (b"abc",)),
    Message("put", {"sha256": SHA, "size": 9, "offset": 7}, (b"abc",)),
    Message("put", {"sha256": SHA, "size": -1, "offset": 0}, (b"",)),
    Message("put", {"sha256": "../../etc/passwd", "size": 3, "offset": 0}, (b"abc",)),
    Message("put", {"sha256": SHA.upper(), "size": 3, "offset": 0}, (b"abc",)),
    Message("put", {"sha256": SHA, "size": 3, "offset": 0}),
    Message("put", {"sha256": SHA, "size": 3}, (b"abc",)),
    Message("put", {"sha256": SHA, "size": 3, "offset": 0, "path": "/"}, (b"abc",)),
    Message("cancel", {"take": "x" * 32}),
    Message("have", {}, (b"abc",)),
    Message("hello", {"client": "x" * protocol.MAX_HEADER}),
    Message("put", {"sha256": SHA, "size": 2**40, "offset": 0}, (bytes(protocol.MAX_PART + 1),)),
], ids=str)
def test_a_message_that_breaks_a_rule_is_not_even_written(message):
    with pytest.raises(ProtocolError):
        pack(message)


def test_another_version_says_which_side_to_upgrade():
    with pytest.raises(VersionError, match="Upgrade this side"):
        unpack([header(v=protocol.VERSION + 1)])
    with pytest.raises(VersionError, match="Upgrade the other side"):
        unpack([header(v=protocol.VERSION - 1)])


def test_an_unknown_type_says_which_side_to_upgrade():
    with pytest.raises(VersionError, match=r"teleport.*Upgrade this side"):
        unpack([header(t="teleport")])


EVENTS = [
    Started("dust", "cpu"), Progress("guide", 3, 9), Preview(1001, b"png"), Warned("Look.", "depth", None),
    FileReady("comp", 1001, "comp.1001.exr", SHA, b"exr"), FileReady("take", None, "take.json", SHA, b""),
    Done({"guide": 1.5}), Failed({"code": "model", "message": "No."}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_events_come_out_as_they_went_in(event):
    assert protocol.event_from_plain(*protocol.event_to_plain(event)) == event


@given(kind=st.sampled_from(["started", "progress", "preview", "warned", "file", "done", "failed", "else"]),
       fields=st.dictionaries(st.sampled_from(["kind", "frame", "name", "sha256", "model", "error", "x"]), plain, max_size=5))
def test_arbitrary_events_are_events_or_protocol_errors(kind, fields):
    with contextlib.suppress(ProtocolError, VersionError):
        protocol.event_from_plain(kind, fields)


@pytest.mark.parametrize("name", [
    "../x", "/x", "a/b", "a\\b", "", ".", "..", ".hidden", "C:x", "con", "NUL.exr", "a\n", "x" * 300, "x.", None, 5,
])
def test_a_name_that_is_a_path_is_no_name(name):
    assert not protocol.safe_name(name)
    with pytest.raises(ProtocolError):
        protocol.event_from_plain("file", {"kind": "comp", "frame": 1, "name": name, "sha256": SHA})


names = st.builds("{}.{}.exr".format, st.sampled_from(["comp", "effect", "guide"]), st.integers(-10**6, 10**6))


@given(held=st.dictionaries(names, st.sampled_from([SHA, "01" * 32])))
def test_the_list_of_files_held_comes_out_as_it_went_in(held):
    assert protocol.split_held(protocol.join_held(held)) == held


@given(data=st.binary(max_size=200))
def test_an_arbitrary_list_of_files_is_one_or_a_protocol_error(data):
    with contextlib.suppress(ProtocolError):
        protocol.split_held(data)


@given(hashes=st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex)))
def test_hashes_come_out_as_they_went_in(hashes):
    assert protocol.split_hashes(memoryview(protocol.join_hashes(hashes))) == hashes


def test_a_file_s_name_that_is_no_text_travels_with_its_bytes_spelled_out():
    """A .blend from an old disk: Python has the byte that is no UTF-8 as a letter that can't be written."""
    body = {"take": "a" * 32, "follow": 1, "after": 0, "credit": 0, "origin": {"file": "caf\udce9.blend"}, "again": False}
    assert unpack(pack(Message("submit", body, (b"{}", b"")))).body["origin"] == {"file": "caf\\udce9.blend"}
