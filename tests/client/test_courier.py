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

    state, problem, known, origin, open_file = "connected", None, True, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def upload_and_submit(self, request, open_file, take_id, origin, held, again=False):
        self.origin, self.open_file = origin, open_file
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


def gone_on_with(folder, note):
    """What the courier of a take with this note asks, and what it ends with."""
    writer, asked = TakeWriter.create(folder, "1" * 32, note), Asked()
    resumed = courier.Courier.resume(lambda: asked, writer.path, {})
    resumed.run()
    return asked, next(news for news in iter(resumed.take_news, None) if isinstance(news, courier.Ended)).error


def test_a_take_whose_note_lists_no_files_is_gone_on_with_by_its_patterns(tmp_path):
    """A picture may be called like a pattern, and a folder too; what isn't there is named as it should be."""
    folder = tmp_path / "job#12"
    folder.mkdir()
    named = {  # input -> file by frame
        "plate": {1001: "plate.1001.exr", 1002: "plate.1002.exr"},
        "depth": {1001: "depth.1001.exr", 1002: "depth.1002.exr"},
        "mask": {1001: "matte #2.exr", 1002: "matte #2.exr"},
        "reference": {1: "wide.png", 2: "high.png"},
    }
    hashes = {name: "%064d" % at for at, name in enumerate(name for files in named.values() for name in files.values())}
    for name in hashes:
        if name != "depth.1002.exr":
            (folder / name).touch()
    inputs = {
        which: Pass(which, (), tuple(FrameFile(frame, hashes[name], 5) for frame, name in files.items())) for which, files in named.items()
    }
    patterns = {"plate": "plate.####.exr", "depth": "depth.####.exr", "mask": "matte #2.exr"}
    sources = {
        "patterns": {which: str(folder / pattern) for which, pattern in patterns.items()},
        "references": [str(folder / name) for name in named["reference"].values()],
    }
    request = GenerateRequest("tower", FrameRange(1001, 1002), Inputs(**inputs)).to_dict()
    asked, _ = gone_on_with(tmp_path, {"request": request, "sources": sources})
    assert {name: asked.open_file(sha256) for name, sha256 in hashes.items()} == {name: folder / name for name in hashes}


def test_a_listed_file_that_is_gone_is_looked_for_by_its_pattern(tmp_path):
    (tmp_path / "plate.0002.exr").touch()
    same = Pass("plate", (), (FrameFile(1, "0" * 64, 5), FrameFile(2, "0" * 64, 5)))  # two frames of one content: one file is listed
    request = GenerateRequest("tower", FrameRange(1, 2), Inputs(same, same, same)).to_dict()
    files, patterns = {"0" * 64: str(tmp_path / "plate.0001.exr")}, {"plate": str(tmp_path / "plate.####.exr")}
    asked, _ = gone_on_with(tmp_path, {"request": request, "files": files, "sources": {"patterns": patterns}})
    assert asked.open_file("0" * 64) == tmp_path / "plate.0002.exr"


@pytest.mark.parametrize("damaged", [{"files": 7}, {"files": {"0" * 64: 7}}, {"sources": []}, {"sources": {"patterns": {"sky": "s.exr"}}}])
def test_a_note_that_is_not_as_it_was_written_is_called_damaged(tmp_path, damaged):
    content = Pass("plate", (), (FrameFile(1, "0" * 64, 5),))
    request = GenerateRequest("tower", FrameRange(1, 1), Inputs(content, content, content)).to_dict()
    asked, error = gone_on_with(tmp_path, {"request": request, **damaged})
    assert asked.open_file is None and "%s is damaged" % (tmp_path / "take_0001/unfinished.json") in str(error)
