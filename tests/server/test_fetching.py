# SPDX-License-Identifier: Apache-2.0
"""Fetching a model, from a hub of our own on the loopback: whole or not at all, on from where it stopped, and nothing else reaches out."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
from fake_hub import COMMIT, FakeHub
from platebridge.errors import Cancelled, ModelError, RequestError, StorageError
from platebridge_server import cli
from platebridge_server.models import cards, fetching, store
from tiny_model import make_model
from typer.testing import CliRunner

NAME = "wan-vace-1.3b"
REPOSITORY = cards.card(NAME)["source"]["repository"]
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """`serve(**how)`: a hub with a model made so."""
    made = []

    def start(**how):
        made.append(FakeHub(make_model(tmp_path / "remote", **how), REPOSITORY))
        monkeypatch.setenv("HF_ENDPOINT", made[-1].address)
        return made[-1]

    yield start
    for hub in made:
        hub.close()


@pytest.fixture
def hub(serve):
    return serve()


def partials():
    return list((store.root() / (".fetching-" + NAME)).glob(".partial/*"))


def test_a_model_is_fetched_whole_and_opened(hub):
    told = []
    model = fetching.fetch(NAME, COMMIT, progress=lambda file, done, total: told.append((done, total)))
    assert model.manifest["source"] == {"kind": "hub", "repository": REPOSITORY, "revision": COMMIT}
    for file in model.files:
        assert (model.folder / file).read_bytes() == (hub.folder / file).read_bytes()
    assert told[-1][0] == told[-1][1] == model.bytes
    assert store.opened(NAME).card["weights_sha256"] == store.verify(NAME).card["weights_sha256"]
    assert store.opened(NAME).card["source"] == model.manifest["source"]  # so in every take, and not the commit that we would have taken
    assert [path.name for path in store.root().iterdir()] == [NAME]
    with pytest.raises(ModelError, match=r"here already"):
        fetching.fetch(NAME, COMMIT)


def test_it_has_the_hash_of_the_same_model_copied_by_hand(hub):
    fetched = fetching.fetch(NAME, COMMIT).card["weights_sha256"]
    store.remove(NAME)
    assert store.add(hub.folder).card["weights_sha256"] == fetched


def test_pickles_and_what_lies_beside_the_model_are_not_even_asked_for(hub):
    for name in ("vae/diffusion_pytorch_model.bin", "original.pth", "film.mp4", "vae/own_code.py"):
        (hub.folder / name).write_bytes(b"x" * 300)
    files = fetching.fetch(NAME, COMMIT).files
    assert hub.fetched() == sorted(files) and not [f for f in files if f.endswith((".bin", ".pth", ".mp4", ".py"))]


def test_a_model_with_nothing_but_pickles_is_refused(hub):
    os.rename(hub.folder / "vae/diffusion_pytorch_model.safetensors", hub.folder / "vae/diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"a pickle"):
        fetching.fetch(NAME, COMMIT)
    assert hub.asked == []


@pytest.mark.parametrize("revision", ["main", "0123456", COMMIT.upper(), COMMIT + "0"])
def test_nothing_but_a_whole_commit_is_fetched(hub, revision):
    with pytest.raises(RequestError, match=r"[Cc]ommit"):
        fetching.fetch(NAME, revision)
    assert hub.asked == []


def test_the_commit_on_the_card_is_taken_where_none_is_given(serve):
    pinned = cards.card(NAME)["source"]["revision"]
    hub = serve()
    hub.commit = pinned
    assert fetching.fetch(NAME).manifest["source"]["revision"] == pinned and hub.fetched()


@pytest.mark.parametrize("name, repository", [("wan2.2-vace-fun-a14b", ""), (NAME, "somebody/copy")], ids=["none pinned", "a copy"])
def test_where_none_is_pinned_one_must_be_given(hub, name, repository):
    with pytest.raises(RequestError, match=r"No commit of .* is pinned"):
        fetching.fetch(name, repository=repository)
    assert hub.asked == []


def test_a_commit_or_repository_that_the_hub_lacks_is_said_so(hub):
    with pytest.raises(RequestError, match=r"no such commit"):
        fetching.fetch(NAME, "f" * 40)
    with pytest.raises(ModelError, match=r"does not give that repository"):
        fetching.fetch(NAME, COMMIT, repository="some/other")
    with pytest.raises(RequestError, match=r"owner/name"):
        fetching.fetch(NAME, COMMIT, repository="not a name/at all/")


def test_a_hub_that_is_not_there_is_said_so(monkeypatch, hub):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"can't be reached.*docs/models.md"):
        fetching.fetch(NAME, COMMIT)


@pytest.mark.parametrize("answer", [b"<html>Please log in.</html>", b"{}", b"[]"])
def test_a_page_in_the_hubs_place_is_said_to_be_none_of_a_hubs(hub, monkeypatch, answer):
    """A proxy's, for instance: it answers everything, and with success."""
    send = FakeHub._send
    monkeypatch.setattr(FakeHub, "_send", lambda self, handler, *_: send(self, handler, 200, answer))
    with pytest.raises(ModelError, match=r"answers, but not as a hub does.*log in on"):
        fetching.fetch(NAME, COMMIT)


@pytest.mark.parametrize("left_out", [("size", "blobId", "lfs"), ("blobId", "lfs"), ("size",)], ids=str)
def test_what_could_not_be_compared_is_not_fetched(hub, monkeypatch, left_out):
    """A mirror that lists names alone."""
    siblings = FakeHub._siblings
    few = [{label: value for label, value in file.items() if label not in left_out} for file in siblings(hub)]
    monkeypatch.setattr(FakeHub, "_siblings", lambda self: few)
    with pytest.raises(ModelError, match=r"does not say how large README.md is and which hash it has"):
        fetching.fetch(NAME, COMMIT)
    assert hub.asked == []


@pytest.mark.parametrize("file", [WEIGHTS, "vae/config.json"])
def test_a_file_that_is_not_what_the_hub_announced_is_thrown_away(hub, file):
    data = (hub.folder / file).read_bytes()
    hub.lies[file] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(ModelError, match=r"%s is not what the hub announced" % file):
        fetching.fetch(NAME, COMMIT)
    assert store.find(NAME) is None and partials() == []
    hub.lies.clear()
    hub.asked.clear()
    fetching.fetch(NAME, COMMIT)
    assert file in hub.fetched() and len(hub.fetched()) < len(store.find(NAME).files)  # what was good is not fetched again


def test_the_disk_is_looked_at_before_anything_is_fetched(hub):
    with pytest.raises(StorageError, match=r"not enough disk"):
        fetching.fetch(NAME, COMMIT, free=lambda path: store.RESERVE + 100)
    assert hub.asked == []


def test_a_disk_that_fills_up_on_the_way_keeps_what_came(hub, monkeypatch):
    write = fetching._Counted.write

    def full(self, data):
        if len(data) > 300:
            write(self, data[:200])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(fetching._Counted, "write", full)
        with pytest.raises(StorageError, match=r"The disk is full"):
            fetching.fetch(NAME, COMMIT)
    assert [path.stat().st_size for path in partials()] == [200]
    hub.asked.clear()
    fetching.fetch(NAME, COMMIT)
    assert hub.asked[0][1] == 200


def test_a_cancelled_fetch_goes_on_where_it_stopped(hub):
    pressed = []

    def tell(file, done, total):
        if file == WEIGHTS:
            pressed.append(True)

    with pytest.raises(Cancelled, match=r"kept"):
        fetching.fetch(NAME, COMMIT, progress=tell, cancelled=lambda: bool(pressed))
    came = set(hub.fetched())
    assert store.find(NAME) is None
    hub.asked.clear()
    model = fetching.fetch(NAME, COMMIT)
    assert not came & set(hub.fetched()) and came | set(hub.fetched()) == set(model.files)


def test_what_a_fetch_that_was_given_up_left_is_listed_and_can_be_removed(hub):
    pressed = []
    with pytest.raises(Cancelled):
        fetching.fetch(NAME, COMMIT, progress=lambda file, *rest: pressed.append(file == WEIGHTS), cancelled=lambda: any(pressed))
    came = fetching.begun(NAME)
    assert came > 0
    run = CliRunner().invoke
    assert "of it have come. To free them, type: platebridge models remove " + NAME in run(cli.app, ["models", "list"]).stdout
    with fetching._alone(fetching._place(NAME), NAME):
        assert "fetched by another process" in run(cli.app, ["models", "remove", NAME]).stderr
    assert fetching.begun(NAME) == came
    assert json.loads(run(cli.app, ["models", "remove", NAME, "--json"]).stdout) == {"removed": NAME, "freed": came}
    assert not list(store.root().iterdir()) and "not here; to have it" in run(cli.app, ["models", "list"]).stdout
    assert "is not here" in run(cli.app, ["models", "remove", NAME]).stderr


@pytest.mark.parametrize("name", ["../elsewhere", "own-model", ""])
def test_of_a_name_that_is_never_fetched_nothing_has_come(name, tmp_path):
    (store.root() / ".fetching-" / "elsewhere").mkdir(parents=True)
    (store.root() / ".fetching-own-model").mkdir()
    (store.root() / ".fetching-own-model" / "file").write_bytes(b"x")
    assert fetching.begun(name) == 0


def test_a_fetch_that_is_killed_goes_on_within_the_file(serve):
    hub = serve(numbers=3_000_000)  # 12 MB: huggingface_hub writes ten at a time
    hub.stall_at = (WEIGHTS, 11_000_000)
    process = subprocess.Popen([sys.executable, "-m", "platebridge_server", "models", "fetch", NAME, "--revision", COMMIT, "--json"])
    try:
        assert hub.stalled.wait(60)
        (partial,) = partials()
        while partial.stat().st_size < 10 * 2**20 and process.poll() is None:
            pass
    finally:
        process.kill()
        process.wait()
    hub.let_go.set()
    hub.stall_at = None
    hub.asked.clear()
    model = fetching.fetch(NAME, COMMIT)
    assert (WEIGHTS, 10 * 2**20) in hub.asked
    assert (model.folder / WEIGHTS).read_bytes() == (hub.folder / WEIGHTS).read_bytes()


def test_a_second_fetch_of_the_model_waits_for_the_first(serve):
    hub = serve(numbers=3_000_000)
    hub.stall_at = (WEIGHTS, 11_000_000)
    process = subprocess.Popen([sys.executable, "-m", "platebridge_server", "models", "fetch", NAME, "--revision", COMMIT, "--json"])
    try:
        assert hub.stalled.wait(60)
        with pytest.raises(ModelError, match=r"being fetched by another process"):
            fetching.fetch(NAME, COMMIT)
        assert hub.asked.count((WEIGHTS, 0)) == 1 and len(partials()) == 1
    finally:
        process.kill()
        process.wait()
    hub.let_go.set()
    hub.stall_at = None
    fetching.fetch(NAME, COMMIT)
    assert [path.name for path in store.root().iterdir()] == [NAME]


def test_half_a_file_of_another_commit_is_not_gone_on_with(hub, tmp_path):
    with pytest.raises(Cancelled):
        fetching.fetch(NAME, COMMIT, cancelled=lambda: bool(partials() and partials()[0].stat().st_size))
    shutil.rmtree(hub.folder)
    make_model(hub.folder, seed=5)
    model = fetching.fetch(NAME, COMMIT)
    assert (model.folder / WEIGHTS).read_bytes() == (hub.folder / WEIGHTS).read_bytes()
    assert sorted(str(p.relative_to(model.folder).as_posix()) for p in model.folder.rglob("*") if p.is_file()) == sorted(
        [*model.files, store.MANIFEST]
    )


def test_shards_of_another_commit_are_not_in_the_way_of_this_one(serve):
    hub = serve(shards=14)
    with pytest.raises(Cancelled):
        fetching.fetch(NAME, COMMIT, cancelled=lambda: sum("-of-00014" in name for name in hub.fetched()) > 9)
    shutil.rmtree(hub.folder)
    make_model(hub.folder, shards=7)
    model = fetching.fetch(NAME, COMMIT)
    assert sum("transformer/" in file and "-of-00007.safetensors" in file for file in model.files) == 7
    assert not list(model.folder.rglob("*-of-00014*")) and store.verify(NAME)


def test_what_another_commit_left_does_not_take_the_room_of_this_one(serve):
    hub = serve(shards=3, numbers=1000)
    with pytest.raises(Cancelled):
        fetching.fetch(NAME, COMMIT, cancelled=lambda: sum("-of-00003" in name for name in hub.fetched()) > 2)
    shutil.rmtree(hub.folder)
    make_model(hub.folder, shards=2)
    left = []
    fetching.fetch(NAME, COMMIT, free=lambda path: left.extend(path.rglob("*-of-00003*")) or 10 * store.RESERVE)
    assert left == []


def test_weights_under_the_models_name_that_nobody_took_in_are_not_replaced(hub):
    mine = store.root() / NAME / "weights.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"46 GB")
    with pytest.raises(ModelError, match=r"is there already, and was not taken in"):
        fetching.fetch(NAME, COMMIT)
    assert mine.read_bytes() == b"46 GB" and hub.asked == []


def test_a_name_that_would_leave_the_folder_is_not_fetched(hub, monkeypatch):
    siblings = FakeHub._siblings
    escaping = {"rfilename": "../escaped.json", "size": 1, "blobId": "0" * 40}
    monkeypatch.setattr(FakeHub, "_siblings", lambda self: [*siblings(self), escaping])
    fetching.fetch(NAME, COMMIT)
    assert not [name for name in hub.fetched() if "escaped" in name]


def test_everything_but_fetching_is_told_that_there_is_no_network(hub):
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    fetching.fetch(NAME, COMMIT)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(OfflineModeIsEnabled):
        huggingface_hub.HfApi(hub.address).model_info(REPOSITORY)
    alone = "import platebridge_server; from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"
    assert subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True).stdout.strip() == "True"


def test_the_command_fetches_and_says_where_it_lies(hub):
    result = CliRunner().invoke(cli.app, ["models", "fetch", NAME, "--revision", COMMIT, "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["source"]["revision"] == COMMIT
    result = CliRunner().invoke(cli.app, ["models", "fetch", "wan2.2-vace-fun-a14b"])
    assert result.exit_code == 2 and "--revision" in result.stderr
