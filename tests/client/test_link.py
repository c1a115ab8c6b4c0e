# SPDX-License-Identifier: Apache-2.0
"""The client's thread and its mailbox where something is odd."""

from __future__ import annotations

import time

import pytest
import zmq
from platebridge.client import Client
from platebridge.connection import Connection
from platebridge.mailbox import Mailbox


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:nonsense", "tcp://127.0.0.1"])
def test_a_server_with_an_address_that_is_none_leaves_no_thread_behind(endpoint):
    public, secret = (key.decode() for key in zmq.curve_keypair())
    client = Client(Connection((endpoint,), public, public, secret)).start()
    end = time.monotonic() + 10
    while client.state != "lost":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert "can't be reached" in str(client.problem)
    client.close(10.0)
    assert not client._link.is_alive()


def test_a_ring_that_is_still_on_its_way_is_waited_for_by_the_next_look():
    """On Windows the two ends are TCP: what one sent the other may not have yet."""
    box = Mailbox()
    box.put("first")
    there, box._reader = box._reader, _Late()
    assert box.take_all() == ["first"]
    box._reader = there
    box.put("second")
    assert box.take_all() == ["second"] and box.take_all() == []
    with pytest.raises(BlockingIOError):
        there.recv(1)  # every ring was heard
    box.close()


class _Late:
    def recv(self, count):
        raise BlockingIOError
