# SPDX-License-Identifier: Apache-2.0
"""The shelf keeps what was used last, within a number and a size, and never takes away what may be in use."""

from __future__ import annotations

import os
import time

from platebridge_server.guide import shelf


def names(folder):
    return {p.name for p in folder.iterdir()}


def test_the_last_used_stay_and_one_asked_for_again_counts_as_used(tmp_path):
    for n in range(8):
        folder = shelf.place(tmp_path, "%d" % n * 64)
        os.utime(folder, (time.time() - 86400 + n,) * 2)
    shelf.place(tmp_path, "0" * 64)
    assert names(tmp_path) == {str(n) * 24 for n in (0, 3, 4, 5, 6, 7)}


def test_together_they_take_no_more_than_their_share(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "MOST_BYTES", 35)
    for n in range(5):
        folder = shelf.place(tmp_path, "%d" % n * 64)
        (folder / "views").mkdir()
        (folder / "views" / "file").write_bytes(b"0123456789")
    for n in range(5):
        os.utime(tmp_path / (str(n) * 24), (time.time() - 86400 + n,) * 2)
    shelf.place(tmp_path, "4" * 64)
    assert names(tmp_path) == {"4" * 24, "3" * 24, "2" * 24}


def test_what_long_work_touches_is_in_use(tmp_path):
    folder = shelf.place(tmp_path, "0" * 64)
    (folder / "views").mkdir()
    os.utime(folder, (time.time() - 86400,) * 2)
    (folder / "views" / "file").write_bytes(b"of this minute")  # does not count
    assert time.time() - folder.stat().st_mtime > shelf.IN_USE
    shelf.touch(folder, tmp_path / "gone")
    for n in range(1, 9):
        shelf.place(tmp_path, "%d" % n * 64)
    assert folder.exists() and not (tmp_path / "gone").exists()


def test_what_was_used_within_the_hour_stays_whatever_their_number(tmp_path):
    for n in range(9):
        shelf.place(tmp_path, "%d" % n * 64)
    assert len(names(tmp_path)) == 9
