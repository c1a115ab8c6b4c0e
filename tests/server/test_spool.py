# SPDX-License-Identifier: Apache-2.0
"""Files by content: nothing counts before its hash does, uploads go on where they stopped, and what jobs need stays."""
from __future__ import annotations

import hashlib
import os
import queue
import time

import pytest
from platebridge.errors import InputError, StorageError
from platebridge_server.spool import Spool, SpoolLimits, SpoolWriter


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path, SpoolLimits(reserve=0, young=0.0))


def age(spool, digest, seconds):
    then = time.time() - seconds
    os.utime(spool.path(digest), (then, then))


def test_a_file_sent_in_pieces_is_there_when_whole(spool):
    data = os.urandom(1000)
    assert spool.append(sha(data), 1000, 0, data[:300]) == 300
    assert spool.size(sha(data)) == -1 and spool.partial(sha(data)) == 300
    assert spool.append(sha(data), 1000, 300, data[300:]) == 1000
    assert spool.open_file(sha(data)).read_bytes() == data


def test_an_upload_goes_on_in_another_process(spool):
    data = os.urandom(1000)
    spool.append(sha(data), 1000, 0, data[:300])
    another = Spool(spool.root, spool.limits)
    assert another.append(sha(data), 1000, 300, data[300:]) == 1000
    assert another.open_file(sha(data)).read_bytes() == data


def test_two_senders_of_one_file_do_not_spoil_it(spool):
    data = os.urandom(1000)
    spool.append(sha(data), 1000, 0, data[:600])
    assert spool.append(sha(data), 1000, 0, data[:300]) == 600     # there already
    assert spool.append(sha(data), 1000, 300, data[300:900]) == 900  # half of it is
    assert spool.append(sha(data), 1000, 950, data[950:]) == 900     # a gap: nothing is written
    assert spool.append(sha(data), 1000, 900, data[900:]) == 1000
    assert spool.append(sha(data), 1000, 0, data[:300]) == 1000
    assert spool.open_file(sha(data)).read_bytes() == data


def test_a_file_with_another_hash_never_counts(spool):
    with pytest.raises(InputError, match="changed"):
        spool.append(sha(b"said"), 4, 0, b"sent")
    assert spool.size(sha(b"said")) == -1 and spool.partial(sha(b"said")) == 0
    assert spool.append(sha(b"said"), 4, 0, b"said") == 4  # and the right one still may come


def test_an_empty_file_is_a_file(spool):
    assert spool.append(sha(b""), 0, 0, b"") == 0 and spool.size(sha(b"")) == 0


def test_a_file_that_is_too_large_is_refused_at_its_first_piece(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(reserve=0, file=1000))
    with pytest.raises(StorageError, match="larger than this server takes"):
        spool.append(sha(b"x"), 1001, 0, b"x")
    assert list((tmp_path / "partial").iterdir()) == []


def test_the_reserve_of_the_disk_is_never_touched(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(reserve=1000), free=lambda path: 1500)
    assert spool.add(b"x" * 500) == sha(b"x" * 500)
    for write in (lambda: spool.add(b"y" * 501), lambda: spool.append(sha(b"z"), 501, 0, b"z" * 501)):
        with pytest.raises(StorageError, match=r"disk is full. Make room"):
            write()
    assert list((tmp_path / "partial").iterdir()) == []


def test_the_longest_unused_file_goes_first_and_only_as_many_as_must(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(reserve=0, young=0.0, disk=250))
    digests = [spool.add(bytes([n]) * 100) for n in range(4)]
    for n, digest in enumerate(digests):
        age(spool, digest, 1000 - n)
    spool.open_file(digests[0])  # used just now
    assert spool.make_room(keep=()) == 200
    assert [spool.size(d) for d in digests] == [100, -1, -1, 100]


def test_what_a_job_needs_is_never_taken_away(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(reserve=0, young=0.0, disk=0))
    digests = [spool.add(bytes([n]) * 100) for n in range(3)]
    for digest in digests:
        age(spool, digest, 1000)
    spool.make_room(keep={digests[1]})
    assert [spool.size(d) for d in digests] == [-1, 100, -1]


def test_a_file_that_a_new_job_asks_for_while_room_is_made_stays(tmp_path):
    """Looking through a large spool takes seconds, and jobs come meanwhile."""
    spool = Spool(tmp_path, SpoolLimits(reserve=0))
    wanted, old = spool.add(b"wanted"), spool.add(b"old")
    for digest in (wanted, old):
        age(spool, digest, 1000)
    full = Spool(tmp_path, SpoolLimits(reserve=0, disk=0), lambda path: bool(spool.open_file(wanted)))  # asked once all was looked at
    full.make_room(keep=())
    assert spool.size(wanted) == 6 and spool.size(old) == -1


def test_a_file_that_no_job_names_yet_is_left_alone_for_a_while(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(reserve=0, young=600.0, disk=0))
    fresh, old = spool.add(b"fresh"), spool.add(b"old")
    age(spool, old, 700)
    spool.make_room(keep=())
    assert spool.size(fresh) == 5 and spool.size(old) == -1


def test_half_uploads_nobody_goes_on_with_are_swept(spool):
    spool.append(sha(b"ab"), 2, 0, b"a")
    spool.append(sha(b"cd"), 2, 0, b"c")
    spool.sweep(keep={sha(b"ab")})
    assert spool.partial(sha(b"ab")) == 1 and spool.partial(sha(b"cd")) == 0


def test_uploads_begun_and_never_gone_on_with_leave_no_memory_and_still_go_on(spool):
    begun = [b"%d" % n for n in range(1000, 1600)]
    for data in begun:
        spool.append(sha(data), 4, 0, data[:1])
    assert len(spool._hashes) == 256
    assert all(spool.append(sha(data), 4, 1, data[1:]) == 4 for data in begun)


def test_a_file_that_a_virus_scanner_looks_at_for_a_moment_gets_its_place(spool, monkeypatch):
    """Windows refuses to rename a file while another program has it open."""
    real, refusals = os.replace, [PermissionError(13, "Access is denied")] * 2

    def replace(*paths):
        if refusals:
            raise refusals.pop()
        real(*paths)

    monkeypatch.setattr(os, "replace", replace)
    data = os.urandom(100)
    assert spool.append(sha(data), 100, 0, data) == 100 and spool.size(sha(data)) == 100 and not refusals
    refusals.append(PermissionError(13, "Access is denied"))
    assert spool.size(spool.add(b"made here")) == 9 and not refusals


def test_a_file_that_is_gone_is_a_sentence(spool):
    with pytest.raises(StorageError, match="no longer has"):
        spool.open_file("0" * 64)


def test_what_is_no_file_of_the_spool_s_does_not_keep_it_from_making_room(tmp_path):
    """A file manager leaves its own in every folder it shows; of Windows, a file that is being read can't be taken away."""
    spool = Spool(tmp_path, SpoolLimits(reserve=0, young=0.0, disk=0))
    old = spool.add(b"old")
    age(spool, old, 1000)
    spool.append(sha(b"half"), 4, 0, b"h")
    (tmp_path / "objects" / ".DS_Store").write_bytes(b"")
    (tmp_path / "objects" / old[:2] / "folder").mkdir()
    (tmp_path / "partial" / "folder").mkdir()
    os.utime(tmp_path / "partial" / "folder", (1, 1))
    os.utime(tmp_path / "objects" / old[:2] / "folder", (1, 1))
    spool.make_room(keep=())
    spool.sweep(keep=())
    assert spool.size(old) == -1 and spool.partial(sha(b"half")) == 0


def test_more_files_than_the_limit_the_longest_unused_go_and_what_a_job_needs_stays(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(reserve=0, young=0.0, files=10))
    digests = [spool.add(b"%d" % n) for n in range(14)]
    for n, digest in enumerate(digests):
        age(spool, digest, 1000 - n)
    spool.make_room(keep={digests[0]})
    assert [n for n, d in enumerate(digests) if spool.size(d) >= 0] == [0, *range(6, 14)]


def test_no_more_files_are_begun_than_the_limit_until_there_is_room_again(tmp_path):
    """Files of a byte fill no disk, but its table of files."""
    spool = Spool(tmp_path, SpoolLimits(reserve=0, files=10))
    for data in (b"%d" % n for n in range(6)):
        spool.append(sha(data), 1, 0, data)
    begun = [b"more %d" % n for n in range(4)]
    for data in begun:
        spool.append(sha(data), 6, 0, data[:1])
    after = Spool(tmp_path, SpoolLimits(reserve=0, young=0.0, files=10))
    after.make_room(keep={sha(b"%d" % n) for n in range(6)})  # a server after it, once it has looked
    for one in (spool, after):
        with pytest.raises(StorageError, match="10 files"):
            one.append(sha(b"beyond"), 6, 0, b"beyond")
    assert spool.append(sha(begun[0]), 6, 1, begun[0][1:]) == 6  # what was begun may be ended
    after.make_room(keep=())
    assert after.append(sha(b"beyond"), 6, 0, b"beyond") == 6


def test_other_work_that_goes_wrong_does_not_end_the_writing(spool, caplog):
    reports = queue.Queue()
    writer = SpoolWriter(spool, lambda *report: reports.put(report))

    def broken():
        raise ValueError("a card that can't be read")

    writer.call(broken)
    writer.write("me", sha(b"data"), 4, 0, b"data")
    assert reports.get(timeout=10) == ("me", sha(b"data"), 4, 4, 4, None) and "a card that can't be read" in caplog.text
    writer.close()
