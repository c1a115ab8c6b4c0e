# SPDX-License-Identifier: Apache-2.0
"""The courier without a host: what it asks, and how long a server that is away is waited for, by a clock that the test turns."""

from __future__ import annotations

import types

import pytest
from platebridge import client, courier
from platebridge.client import Client
from platebridge.errors import ConnectionFailed
from platebridge.events import Failed
from platebridge.frames import FrameRange
from platebridge.request import FrameFile, GenerateRequest, Inputs, Pass
from platebridge.takes import TakeWriter


class Away:
    """A take whose server is away: each look at it takes as long as `looks` says, and then the server is back and ends it."""

    known, state, problem = True, "lost", None

    def __init__(self, monkeypatch, module, looks):
        self.now, self.looks = 0.0, list(looks)
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: self.now))

    def next(self, timeout):
        if not self.looks:
            return Failed({"code": "job", "message": "The end."})
        self.now += self.looks.pop(0)
        return None

    def close(self):
        pass


def end(who, monkeypatch, tmp_path, looks):
    """What a take ends with, followed by a DCC's courier or by the command, and how many looks were left."""
    writer = TakeWriter.create(tmp_path, "1" * 32)
    away = Away(monkeypatch, courier if who == "courier" else client, looks)
    try:
        if who == "courier":
            courier.Courier(None, None, {})._events(away, away, writer)
        else:
            monkeypatch.setattr(Client, "state", "lost")
            monkeypatch.setattr(Client, "problem", None)
            Client(object()).finish(away, writer)
    except Exception as error:
        return error, len(away.looks)


@pytest.mark.parametrize("who", ["courier", "command"])
def test_a_laptop_that_slept_has_not_waited(who, monkeypatch, tmp_path):
    """Windows' clock goes on while it sleeps, and the connection is gone when it wakes: it is tried again."""
    error, _ = end(who, monkeypatch, tmp_path, [0.25] * 8 + [8 * 3600.0] + [0.25] * 8)
    assert error.code == "job"


@pytest.mark.parametrize("who", ["courier", "command"])
def test_a_server_that_stays_away_is_given_up_after_a_minute(who, monkeypatch, tmp_path):
    error, left = end(who, monkeypatch, tmp_path, [0.25] * 300)
    assert isinstance(error, ConnectionFailed) and 300 - left == 241


class Asked:
    """A client that keeps what it is asked, and a take of it that fails at once."""

    state, problem, known, origin = "connected", None, True, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def upload_and_submit(self, request, open_file, take_id, origin, held, again=False):
        self.origin = origin
        return self

    def next(self, timeout):
        return Failed({"code": "job", "message": "The end."})

    def close(self):
        pass


def test_a_take_that_is_gone_on_with_bears_its_folders_name_as_when_it_was_begun(tmp_path):
    """A server that lost it begins it anew, and a wedge's sheet calls each take by that name."""
    (tmp_path / "plate.exr").write_bytes(b"plate")
    content = Pass("plate", (), (FrameFile(1, "0" * 64, 5),))
    request = GenerateRequest("tower", FrameRange(1, 1), Inputs(content, content, content))
    note = {"request": request.to_dict(), "files": {"0" * 64: str(tmp_path / "plate.exr")}}
    writer, asked = TakeWriter.create(tmp_path, "1" * 32, note), Asked()
    courier.Courier.resume(lambda: asked, writer.path, {"host": "here"}).run()
    assert asked.origin == {"host": "here", "take": "take_0001"}
