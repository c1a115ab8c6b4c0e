# SPDX-License-Identifier: Apache-2.0
"""The connection file: found with no set-up, readable by its owner alone."""
from __future__ import annotations

import os
import stat

import pytest
from platebridge import connection
from platebridge.connection import Connection, read_connection, remove_connection, write_connection
from platebridge.errors import ConnectionFailed

KEY = "k" * 40
HERE = Connection(("tcp://127.0.0.1:47800",), KEY, KEY, KEY, 77)
posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX; Windows keeps a user's folder to the user")


def test_it_comes_out_as_it_went_in(tmp_path):
    assert read_connection(write_connection(HERE, tmp_path / "run" / "c.json")) == HERE


@posix
def test_its_owner_alone_may_read_it_and_enter_its_folder(tmp_path):
    path = write_connection(HERE, tmp_path / "run" / "c.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["c.json"]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_one_that_others_can_read_is_refused(tmp_path, mode):
    path = write_connection(HERE, tmp_path / "c.json")
    path.chmod(mode)
    with pytest.raises(ConnectionFailed, match="chmod 600"):
        read_connection(path)


@posix
def test_one_that_was_open_to_others_is_replaced_closed(tmp_path):
    path = tmp_path / "c.json"
    path.write_text("old")
    path.chmod(0o666)
    write_connection(HERE, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_file_says_how_to_start_a_server(tmp_path):
    with pytest.raises(ConnectionFailed, match="platebridge serve"):
        read_connection(tmp_path / "none.json")


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", '{"endpoints": 5}', "null",
    '{"endpoints":["x"],"server_key":"short","client_public":"","client_secret":"","pid":1,"protocol":1}',
])
def test_a_damaged_file_says_so(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConnectionFailed, match="damaged"):
        read_connection(path)


def test_the_environment_names_another_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PLATEBRIDGE_CONNECTION", str(tmp_path / "named.json"))
    write_connection(HERE)
    assert read_connection() == HERE and (tmp_path / "named.json").exists()


def test_a_tilde_in_the_environment_is_the_home_folder(tmp_path, monkeypatch):
    """A service's settings, and Windows', are read by no shell."""
    monkeypatch.setenv("HOME", str(tmp_path)), monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("PLATEBRIDGE_CONNECTION", "~/named.json")
    assert write_connection(HERE) == tmp_path / "named.json" and read_connection() == HERE


@posix
def test_the_usual_place_is_a_private_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("PLATEBRIDGE_CONNECTION", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "user"))
    path = write_connection(HERE)
    assert tmp_path in path.parents and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_connection() == HERE


def test_a_unix_socket_that_is_gone_is_passed_over(tmp_path):
    both = Connection(("ipc://" + str(tmp_path / "gone"), "tcp://127.0.0.1:47800"), KEY, KEY, KEY)
    assert both.nearest() == "tcp://127.0.0.1:47800"


def test_a_server_takes_away_its_own_file_only(tmp_path):
    path = write_connection(HERE, tmp_path / "c.json")
    remove_connection(path, 78)
    assert path.exists()
    remove_connection(path, 77)
    assert not path.exists()


def test_our_port_is_none_of_nuke_s():
    assert not 5555 <= connection.PORT <= 5662


def test_a_connection_file_that_can_t_be_taken_away_ends_nothing(tmp_path, monkeypatch):
    """Windows, while a client reads it: what a server still has to close would stay open."""
    path = write_connection(HERE, tmp_path / "run" / "c.json")

    def refused(path):
        raise PermissionError(13, "in use")

    monkeypatch.setattr(os, "unlink", refused)
    remove_connection(path, HERE.pid)
    assert path.exists()
