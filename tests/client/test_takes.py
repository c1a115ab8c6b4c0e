# SPDX-License-Identifier: Apache-2.0
"""The take folder: whole files or none, nothing overwritten, and an interrupted take can be gone on with."""
from __future__ import annotations

import errno
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from platebridge import takes
from platebridge.errors import InputError, StorageError
from platebridge.events import FileReady
from platebridge.takes import TakeWriter, list_takes, read_take, read_takes, verify_take

ID = "1" * 32


def ready(name: str, data: bytes, frame=None, kind="comp") -> FileReady:
    return FileReady(kind, frame, name, hashlib.sha256(data).hexdigest(), data)


def names(path):
    return sorted(p.name for p in path.iterdir())


def finish(writer, frames=(b"one", b"two")):
    files = {}
    for number, data in enumerate(frames, 1001):
        file = ready("comp.%d.exr" % number, data, number)
        writer.write(file)
        files[file.name] = {"sha256": file.sha256, "size": len(data)}
    writer.write(ready("take.json", json.dumps({"take_id": writer.take_id, "files": files}).encode(), kind="take"))


def test_takes_are_numbered_after_the_ones_that_are_there(tmp_path):
    (tmp_path / "take_0007").mkdir()
    (tmp_path / "notes").mkdir()
    assert [TakeWriter.create(tmp_path, ID).path.name for _ in range(2)] == ["take_0008", "take_0009"]


def test_many_programs_at_once_each_get_a_take_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: TakeWriter.create(tmp_path, ID).path.name, range(40)))
    assert sorted(made) == ["take_%04d" % n for n in range(1, 41)]


def test_a_finished_take_holds_its_files_and_nothing_else(tmp_path):
    writer = TakeWriter.create(tmp_path, ID, {"shot": "tower"})
    assert names(writer.path) == ["unfinished.json"] and not writer.finished
    finish(writer)
    assert names(writer.path) == ["comp.1001.exr", "comp.1002.exr", "take.json"] and writer.finished
    assert verify_take(writer.path) == []


def test_an_interrupted_take_knows_its_request_and_what_it_has(tmp_path):
    first = TakeWriter.create(tmp_path, ID, {"request": {"shot": "tower"}})
    first.write(ready("comp.1001.exr", b"one", 1001))
    (first.path / ".part-comp.1002.exr").write_bytes(b"hal")  # what a kill leaves
    again = TakeWriter.resume(first.path)
    assert again.take_id == ID and again.note["request"] == {"shot": "tower"}
    assert again.have == {"comp.1001.exr": hashlib.sha256(b"one").hexdigest()}
    finish(again)
    assert names(first.path) == ["comp.1001.exr", "comp.1002.exr", "take.json"]


def test_two_programs_may_write_one_take_at_once(tmp_path, monkeypatch):
    """An artist attaches from a second Blender while the first one writes: whatever that one does then, both end well."""
    first = TakeWriter.create(tmp_path, ID)
    one, sync = ready("comp.1001.exr", b"one", 1001), os.fsync

    def meanwhile(number):
        monkeypatch.setattr(os, "fsync", sync)
        second = TakeWriter.resume(first.path)
        second.write(one)
        finish(second)
        sync(number)

    monkeypatch.setattr(os, "fsync", meanwhile)
    first.write(one)
    finish(first)
    assert names(first.path) == ["comp.1001.exr", "comp.1002.exr", "take.json"] and verify_take(first.path) == []


def test_a_program_that_attaches_takes_nothing_away_that_another_is_writing(tmp_path, monkeypatch):
    first, sync = TakeWriter.create(tmp_path, ID), os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (TakeWriter.resume(first.path), sync(number)))
    assert first.write(ready("comp.1001.exr", b"one", 1001)).read_bytes() == b"one"


def test_a_file_that_another_program_put_there_is_as_good_as_ours(tmp_path, monkeypatch):
    """Windows refuses to replace a file that somebody looks at."""
    writer = TakeWriter.create(tmp_path, ID)

    def refused(temporary, path):
        path.write_bytes(there)
        raise PermissionError(errno.EACCES, "Access is denied", str(path))

    monkeypatch.setattr(os, "replace", refused)
    there = b"one"
    writer.write(ready("comp.1001.exr", b"one", 1001))
    there = b"half"
    with pytest.raises(StorageError, match="no access"):
        writer.write(ready("comp.1002.exr", b"two", 1002))
    assert names(writer.path) == ["comp.1001.exr", "comp.1002.exr", "unfinished.json"]


@pytest.mark.parametrize("stray", ["Thumbs.db", "desktop.ini", "notes.txt", "comp.1001.exr.bak", "ref.png"])
def test_what_others_put_into_the_folder_is_no_file_of_the_take(tmp_path, stray):
    writer = TakeWriter.create(tmp_path, ID)
    ours = ["comp.-005.exr", "comp.1001.exr", "effect.1001.exr", "guide.1001.exr", "picture.1001.exr", "preview.mp4", "sheet.png"]
    for name in (*ours, stray):
        (writer.path / name).write_bytes(b"x")
    assert sorted(TakeWriter.resume(writer.path).have) == ours


def test_a_finished_take_is_not_gone_on_with(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    finish(writer)
    with pytest.raises(StorageError, match="no unfinished take"):
        TakeWriter.resume(writer.path)


def test_a_file_that_is_there_with_other_content_is_never_overwritten(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    (writer.path / "comp.1001.exr").write_bytes(b"the artist's own")
    with pytest.raises(StorageError, match="there already"):
        writer.write(ready("comp.1001.exr", b"ours", 1001))
    assert (writer.path / "comp.1001.exr").read_bytes() == b"the artist's own"
    assert names(writer.path) == ["comp.1001.exr", "unfinished.json"]


def test_the_same_file_twice_is_written_once(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    path = writer.write(ready("comp.1001.exr", b"one", 1001))
    before = path.stat().st_mtime_ns
    assert writer.write(ready("comp.1001.exr", b"one", 1001)) == path and path.stat().st_mtime_ns == before


def test_bytes_that_are_not_what_the_hash_says_are_not_written(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    with pytest.raises(StorageError, match="damaged"):
        writer.write(FileReady("comp", 1001, "comp.1001.exr", "0" * 64, b"one"))
    assert names(writer.path) == ["unfinished.json"]


@pytest.mark.parametrize("name", ["../evil.exr", "/tmp/evil.exr", "a/b.exr", ".hidden", "unfinished.json", ""])
def test_a_server_can_not_name_a_path(tmp_path, name):
    writer = TakeWriter.create(tmp_path / "shot", ID)
    with pytest.raises(StorageError):
        writer.write(ready(name, b"x"))
    assert names(tmp_path) == ["shot"] and names(writer.path) == ["unfinished.json"]


def run(script: str, *values: str) -> str:
    """What a script printed, run by another process that finds our packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", script, *values], stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


FULL_DISK = """
import resource, signal, sys, hashlib
from platebridge.takes import TakeWriter
from platebridge.events import FileReady
from platebridge.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = TakeWriter.create(sys.argv[1], "1" * 32)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
data = bytes(500_000)
try:
    writer.write(FileReady("comp", 1001, "comp.1001.exr", hashlib.sha256(data).hexdigest(), data))
except StorageError as error:
    print(error)
"""


def test_a_rename_that_windows_refuses_for_a_moment_is_tried_again(tmp_path, monkeypatch):
    """A virus scanner looks at every new file."""
    writer, real, refused = TakeWriter.create(tmp_path, ID), os.replace, iter((True, True, False))

    def scanned(temporary, path):
        if next(refused):
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        real(temporary, path)

    monkeypatch.setattr(os, "replace", scanned)
    monkeypatch.setattr(takes, "_AGAIN", (0, 0))
    assert writer.write(ready("comp.1001.exr", b"one", 1001)).read_bytes() == b"one"


def test_a_take_is_whole_though_another_program_looks_at_what_said_that_it_was_not(tmp_path, monkeypatch):
    """Windows does not delete a file that is open."""
    writer, real = TakeWriter.create(tmp_path, ID), pathlib.Path.unlink

    def held(path, *told):
        if path.name == "unfinished.json":
            raise PermissionError(errno.EACCES, "It is being used by another process", str(path))
        real(path, *told)

    monkeypatch.setattr(pathlib.Path, "unlink", held)
    finish(writer)
    assert writer.finished and read_take(writer.path).finished and verify_take(writer.path) == []


def test_a_file_that_is_being_written_has_no_longer_path_than_a_frame(tmp_path, monkeypatch):
    """Windows reads 260 letters of a path, and a shot's folder is measured by its frames."""
    writer, seen = TakeWriter.create(tmp_path, ID), []
    monkeypatch.setattr(os, "fsync", lambda number: seen.extend(names(writer.path)))
    writer.write(ready("effect.1001.exr", b"one", 1001, "effect"))
    assert max(map(len, seen)) <= len("effect.1001.exr")


def test_a_folder_that_may_not_be_looked_at_is_a_sentence(tmp_path):
    with pytest.raises(StorageError, match="name too long"):
        list_takes(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.name != "posix", reason="the limit that plays a full disk is POSIX")
def test_a_full_disk_is_a_sentence_and_leaves_no_broken_file(tmp_path):
    said = run(FULL_DISK, str(tmp_path))
    assert "disk is full" in said and "comp.1001.exr" in said
    assert names(tmp_path / "take_0001") == ["unfinished.json"]


def test_a_folder_that_can_not_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        TakeWriter.create(tmp_path / "file" / "shot", ID)


READ_ONLY = """
import os, tempfile, hashlib
from platebridge.takes import TakeWriter
from platebridge.events import FileReady
from platebridge.errors import StorageError
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
with tempfile.TemporaryDirectory() as folder:
    writer = TakeWriter.create(folder, "1" * 32)
    writer.path.chmod(0o500)
    try:
        writer.write(FileReady("comp", 1001, "comp.1001.exr", hashlib.sha256(b"one").hexdigest(), b"one"))
    except StorageError as error:
        print(error, sorted(os.listdir(writer.path)))
    writer.path.chmod(0o700)
"""


@pytest.mark.skipif(os.name != "posix", reason="folder modes are POSIX")
def test_a_read_only_folder_is_a_sentence_with_the_mend_and_leaves_no_broken_file():
    said = run(READ_ONLY)
    assert "no access. Choose a folder" in said and "['unfinished.json']" in said


def test_access_and_full_disks_have_sentences_of_their_own():
    sentences = {errno.EACCES: "no access", errno.EROFS: "no access", errno.ENOSPC: "disk is full", errno.ENOENT: "not exist"}
    for number, words in sentences.items():
        assert words in str(takes.storage_error(OSError(number, "x"), "take"))


def test_a_path_that_is_too_long_for_windows_is_not_called_gone(monkeypatch):
    """Windows says of it that it can't be found."""
    error = FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", "C:/" + "x" * 250)
    assert "not exist" in str(takes.storage_error(error, "take"))
    monkeypatch.setattr(takes, "os", types.SimpleNamespace(name="nt"))
    assert "too long for Windows. Choose a folder nearer" in str(takes.storage_error(error, "take"))
    assert "not exist" in str(takes.storage_error(FileNotFoundError(errno.ENOENT, "x", "C:/x"), "take"))


def test_verify_names_each_file_that_is_missing_or_altered(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    finish(writer)
    (writer.path / "comp.1001.exr").unlink()
    (writer.path / "comp.1002.exr").write_bytes(b"tw0")
    assert verify_take(writer.path) == ["comp.1001.exr is missing.", "comp.1002.exr was altered."]


def test_takes_are_listed_with_unfinished_ones(tmp_path):
    assert list_takes(tmp_path / "nothing") == []
    finish(TakeWriter.create(tmp_path, "a" * 32))
    TakeWriter.create(tmp_path, "b" * 32, {"endpoint": "here"})
    found = list_takes(tmp_path)
    assert [(t.number, t.finished) for t in found] == [(1, True), (2, False)]
    assert found[0].document["take_id"] == "a" * 32 and found[1].note == {"endpoint": "here", "take_id": "b" * 32}


def test_a_take_that_ends_while_it_is_looked_at_is_one_or_the_other(tmp_path, monkeypatch):
    writer, real = TakeWriter.create(tmp_path, ID), pathlib.Path.read_bytes

    def meanwhile(path):
        if path.name not in ("take.json", "unfinished.json"):
            return real(path)
        try:
            return real(path)
        finally:
            monkeypatch.setattr(pathlib.Path, "read_bytes", real)
            finish(writer)

    monkeypatch.setattr(pathlib.Path, "read_bytes", meanwhile)
    take = read_take(writer.path)
    assert (take.document or take.note)["take_id"] == ID


def test_a_damaged_take_json_is_an_input_error(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    (writer.path / "take.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_take(writer.path)


def test_a_star_and_a_note_lie_beside_the_take_and_are_no_part_of_it(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    assert read_take(writer.path).marks == takes.Marks()
    takes.mark(writer.path, True, "grün, bitte")
    assert names(writer.path) == ["marks.json", "unfinished.json"]
    resumed = TakeWriter.resume(writer.path)
    assert resumed.have == {}
    finish(resumed)
    assert read_take(writer.path).marks == takes.Marks(True, "grün, bitte") and verify_take(writer.path) == []


def test_a_star_leaves_the_note_that_another_program_wrote_meanwhile(tmp_path):
    writer = TakeWriter.create(tmp_path, ID)
    takes.mark(writer.path, text="from Nuke")
    takes.mark(writer.path, star=True)
    assert read_take(writer.path).marks == takes.Marks(True, "from Nuke")
    takes.mark(writer.path, text="")
    assert read_take(writer.path).marks == takes.Marks(True, "")


def test_a_note_that_cant_be_looked_at_for_a_moment_is_not_replaced_by_none(tmp_path, monkeypatch):
    """Windows lets nobody read a file while another program replaces it."""
    writer, real = TakeWriter.create(tmp_path, ID), pathlib.Path.read_bytes
    takes.mark(writer.path, text="from Nuke")

    def held(path):
        if path.name == "marks.json":
            raise PermissionError(errno.EACCES, "It is being used by another process", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "read_bytes", held)
        assert read_take(writer.path).marks == takes.Marks()
        with pytest.raises(StorageError, match="no access"):
            takes.mark(writer.path, star=True)
    assert read_take(writer.path).marks == takes.Marks(False, "from Nuke")


def test_a_star_that_is_set_in_the_moment_in_which_the_take_ends_is_kept(tmp_path, monkeypatch):
    writer, sync = TakeWriter.create(tmp_path, ID), os.fsync

    def meanwhile(number):
        monkeypatch.setattr(os, "fsync", sync)
        finish(writer)
        sync(number)

    monkeypatch.setattr(os, "fsync", meanwhile)
    takes.mark(writer.path, star=True)
    assert read_take(writer.path).finished and read_take(writer.path).marks.star


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"star": 1, "text": ', b"[" * 100_000])
def test_marks_that_cant_be_read_are_none(tmp_path, damaged):
    writer = TakeWriter.create(tmp_path, ID)
    (writer.path / "marks.json").write_bytes(damaged)
    assert read_take(writer.path).marks == takes.Marks()


def test_a_take_that_was_thrown_away_lies_in_the_trash_and_its_number_is_not_used_again(tmp_path):
    kept, thrown = (TakeWriter.create(tmp_path, ID).path for _ in range(2))
    place = takes.throw_away(thrown)
    assert place == tmp_path / "trash" / "take_0002" and names(place) == ["unfinished.json"]
    assert [take.path for take in list_takes(tmp_path)] == [kept]
    assert TakeWriter.create(tmp_path, ID).path.name == "take_0003"


def test_a_take_that_was_copied_back_from_the_trash_can_be_thrown_away_again(tmp_path):
    for place in ("take_0001", "take_0001-2", "take_0001-3"):
        (tmp_path / "take_0001").mkdir()
        (tmp_path / "take_0001" / "note").write_text(place)
        assert takes.throw_away(tmp_path / "take_0001") == tmp_path / "trash" / place
        assert (tmp_path / "trash" / place / "note").read_text() == place
    assert TakeWriter.create(tmp_path, ID).path.name == "take_0002"


def test_a_take_that_windows_does_not_move_says_that_a_program_has_it_open(tmp_path, monkeypatch):
    """It moves no folder in which a file is open; a scanner's look is over in a moment."""
    take, real, refused = TakeWriter.create(tmp_path, ID).path, os.replace, [True] * 9

    def held(path, place):
        if refused and refused.pop():
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        real(path, place)

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr(takes, "_AGAIN", (0, 0))
    with pytest.raises(StorageError, match=r"take_0001 can't be moved: a program has one of its files open.* Close it there"):
        takes.throw_away(take)
    assert names(take) == ["unfinished.json"]
    del refused[1:]
    assert names(takes.throw_away(take)) == ["unfinished.json"]


def test_only_takes_are_thrown_away(tmp_path):
    (tmp_path / "plates").mkdir()
    with pytest.raises(StorageError, match="no take"):
        takes.throw_away(tmp_path / "plates")
    assert (tmp_path / "plates").is_dir()


def test_a_damaged_take_does_not_keep_the_others_from_being_listed(tmp_path):
    whole = [TakeWriter.create(tmp_path, "%032x" % n) for n in range(4)]
    for writer in whole:
        finish(writer)
    (whole[1].path / "take.json").write_bytes(b'{"take_id": ')
    (whole[2].path / "take.json").write_bytes(b"[" * 100_000)
    found, faults = read_takes(tmp_path)
    assert [take.number for take in found] == [1, 4] == [take.number for take in list_takes(tmp_path)]
    assert [str(whole[n].path / "take.json") in str(fault) for n, fault in zip((1, 2), faults)] == [True, True]
    assert all("damaged" in str(fault) for fault in faults)


def test_a_take_that_could_not_be_begun_leaves_no_folder(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(takes, "write_whole", full)
        with pytest.raises(StorageError, match="disk is full"):
            TakeWriter.create(tmp_path, ID)
    assert names(tmp_path) == [] and TakeWriter.create(tmp_path, ID).path.name == "take_0001"
