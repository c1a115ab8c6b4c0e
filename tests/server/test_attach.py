# SPDX-License-Identifier: Apache-2.0
"""A take that the command began, gone on with as Blender and Nuke do it, by a server that has nothing of it any more."""
from __future__ import annotations

import shutil

import pytest
from house import Raw, Shot, new_take, until
from platebridge.client import Client
from platebridge.courier import Courier, Ended
from platebridge.events import FileReady
from platebridge.protocol import Message
from platebridge.takes import verify_take
from platebridge_server import cli, command_generate
from typer.testing import CliRunner

FRAMES = list(range(1001, 1007))


def attach(house, take):
    """The error that going on with the take ends with, None when it is whole."""
    courier = Courier.resume(lambda: Client(house.connection), take, house.origin())
    courier.start()
    courier.join(60)
    assert not courier.is_alive()
    return next(news for news in iter(courier.take_news, None) if isinstance(news, Ended)).error


@pytest.fixture
def left(house, tmp_path, monkeypatch):
    """(take, inputs): the command's take after two frames, its server dead, all of that one's data gone and it started again."""
    folder = tmp_path / "job#12"
    Shot(folder)
    for frame in FRAMES:
        (folder / ("mask.%d.exr" % frame)).unlink()
    for name in ("matte@2x.exr", "wide.png", "high.png"):  # one picture for all frames, called like a pattern
        (folder / name).write_bytes(name.encode() * 300)

    def show(self, event):
        if isinstance(event, FileReady) and event.frame == 1002:
            house.kill()

    house.hold(1003)
    monkeypatch.setattr(command_generate, "origin", lambda writer: house.origin())
    monkeypatch.setattr(command_generate, "PATIENCE", 0.5)
    monkeypatch.setattr(cli.Bars, "show", show)
    asked = ["generate", "--server", house.connection, "--frames", "1001-1006", "--out", tmp_path / "takes"]
    for name, file in (("plate", "plate.@@@@.exr"), ("depth", "depth.%04d.exr"), ("mask", "matte@2x.exr")):
        asked += ["--" + name, folder / file]
    for name in ("wide.png", "high.png"):
        asked += ["--reference", folder / name]
    assert CliRunner().invoke(cli.app, list(map(str, asked))).exit_code == 1
    shutil.rmtree(house.root / "data")
    house.let_go(1003)
    house.start()
    return tmp_path / "takes/take_0001", folder


def test_a_take_that_the_command_began_sends_its_files_again(house, left):
    take, _ = left
    assert attach(house, take) is None
    assert verify_take(take) == [] and [frame for _, frame in house.made()] == FRAMES


def moved(file):
    file.unlink()
    return "%s'. Is it still where it was?" % file.name


def changed(file):
    file.write_bytes(file.read_bytes()[:-1] + b"#")
    return "The file has changed since the take was begun. Put it back"


def shortened(file):
    file.write_bytes(file.read_bytes()[:-1])
    return "The file is shorter than when the take was begun. Put it back"


@pytest.mark.parametrize(
    "spoil, file, where",
    [
        (moved, "plate.1003.exr", "plate frame 1003"),
        (changed, "depth.1005.exr", "depth frame 1005"),
        (shortened, "high.png", "reference frame 2"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_named_and_once_it_is_back_the_take_goes_on(house, left, spoil, file, where):
    take, folder = left
    was = (folder / file).read_bytes()
    said = spoil(folder / file)
    error = str(attach(house, take))
    assert error.startswith(where + ": ") and said in error
    assert {path.name for path in take.iterdir()} == {"comp.1001.exr", "comp.1002.exr", "unfinished.json"}
    with Client(house.connection) as client:
        until(lambda: client.jobs().result(20)[0]["state"] == "cancelled", "the server to let go of it")
    (folder / file).write_bytes(was)
    assert attach(house, take) is None
    assert verify_take(take) == [] and [frame for _, frame in house.made()] == FRAMES


def test_a_cancel_counts_though_its_client_was_found_gone_before_it_was_read(house, tmp_path):
    """Who goes at once with a cancel as its last word: an answer to what it had said before finds nobody, and it is forgotten."""
    house.hold(1001)
    shot = Shot(tmp_path / "shot")
    with Client(house.connection) as client:
        job = client.upload_and_submit(shot.request(), shot.open_file, new_take(), house.origin())
        until(lambda: job.state == "running", "the work to begin")
        raw = Raw(house)
        assert raw.ask(Message("cancel", {"take": job.take_id}, id=1)).body["error"]["code"] == "connection"
        raw.__exit__()
        events = [job.next(20)]
        while events[-1] is not None and not job.finished:
            events.append(job.next(20))
        assert events[-1].error["code"] == "cancelled"
