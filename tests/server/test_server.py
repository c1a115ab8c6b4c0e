# SPDX-License-Identifier: Apache-2.0
"""A server is stopped by a command, whoever started it; nothing else is."""
from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from house import Raw, Shot, new_take, until
from platebridge.connection import private_folder, read_connection, remote_connection, write_connection
from platebridge.errors import ConnectionFailed, RequestError, StorageError
from platebridge.protocol import Message
from platebridge_server import cli, server
from platebridge_server.jobs import JobStore
from platebridge_server.server import stop
from typer.testing import CliRunner


def test_the_command_stops_a_server_whoever_started_it(house):
    said = CliRunner().invoke(cli.app, ["stop", "--connection", str(house.connection)])
    assert said.exit_code == 0 and "(process %d) has ended" % house.process.pid in said.output
    assert house.process.wait(0.1) == 0 and not house.connection.exists()
    with pytest.raises(ConnectionFailed, match="No server runs here"):
        stop(house.connection)


def test_what_a_killed_server_left_is_no_server_to_stop(house):
    house.kill()
    with pytest.raises(ConnectionFailed, match="gone already"):
        stop(house.connection)
    assert not house.connection.exists()


def test_another_program_with_the_number_of_a_killed_server_is_left_alone(house):
    """Process numbers are used again: who was born after the connection file did not write it."""
    house.kill()
    write_connection(replace(read_connection(house.connection), pid=os.getpid()), house.connection)
    os.utime(house.connection, (1e9, 1e9))
    with pytest.raises(ConnectionFailed, match="gone already"):
        stop(house.connection)


def test_a_server_is_stopped_though_a_clock_was_set_forward_meanwhile(house):
    """Its process then seems to be younger than the file that it wrote."""
    os.utime(house.connection, (1e9, 1e9))
    assert stop(house.connection) == house.process.pid and house.process.wait(20) == 0


def test_a_server_whose_connection_file_was_swept_away_is_found_again(house):
    """Linux clears a user's runtime folder when they log out; the server in their terminal multiplexer goes on."""
    before = read_connection(house.connection)
    house.connection.unlink()
    until(house.connection.exists, "the file to be written again")
    assert read_connection(house.connection) == before
    assert house.stop() == 0 and not house.connection.exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no Unix sockets")
def test_a_connection_file_named_from_here_leads_to_the_server_from_anywhere(tmp_path):
    command = [sys.executable, "-m", "platebridge_server", "serve", "--data", "data", "--connection", "connection.json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until((tmp_path / "connection.json").exists, "the connection file")
        sockets = [Path(e[len("ipc://") :]) for e in read_connection(tmp_path / "connection.json").endpoints if e.startswith("ipc:")]
        assert sockets and all(path.is_absolute() and path.exists() for path in sockets)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_data_folder_of_another_user_s_is_refused_with_the_option_that_names_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 2**31)
    with pytest.raises(ConnectionFailed, match=r"belongs to another user.*--data"):
        server.serve(tmp_path, connection_file=tmp_path / "connection.json")


def test_a_line_in_the_list_of_keys_may_be_put_out_of_use(tmp_path):
    left, stays = (zmq.curve_keypair()[0] for _ in range(2))
    (tmp_path / "keys").write_bytes(b"#" * 40 + b"\n# of ours\n#" + left + b" who left\n" + stays + b" who stays\n")
    assert server._client_keys("0.0.0.0", tmp_path / "keys", "") == [stays]


@pytest.mark.parametrize("word", ["$" * 40, "\u20ac" * 40, "0" * 39], ids=["too much", "other signs", "too short"])
def test_what_is_no_key_is_a_sentence_in_the_list_and_in_the_server_s_own_file(tmp_path, word):
    (tmp_path / "keys").write_text(word + " a desk\n", encoding="utf-8")
    with pytest.raises(RequestError, match="has a line that is no key"):
        server._client_keys("0.0.0.0", tmp_path / "keys", "")
    (tmp_path / "server.key").write_text("%s\n%s\n" % (word, word), encoding="utf-8")
    with pytest.raises(StorageError, match=r"server\.key is damaged"):
        server._key_pair(tmp_path / "server.key")


def test_another_machine_s_server_is_stopped_there(tmp_path):
    path = write_connection(remote_connection("tcp://192.168.1.20:47800", "?" * 40), private_folder(tmp_path / "keys") / "other.json")
    with pytest.raises(ConnectionFailed, match="another machine"):
        stop(path)


def test_the_way_to_another_machine_s_server_is_not_written_over(houses, tmp_path):
    """Its key pair lies nowhere else, and stands in that server's list."""
    path = write_connection(remote_connection("tcp://192.168.1.20:47800", "?" * 40), private_folder(tmp_path / "keys") / "other.json")
    before = path.read_bytes()
    with pytest.raises(AssertionError, match=r"leads to another machine's server(.|\n)*--connection"):
        houses(connection=str(path)).start()
    assert path.read_bytes() == before


def test_a_job_list_that_is_damaged_within_is_a_sentence(houses):
    house = houses().start()
    house.stop()
    path = house.root / "data" / "jobs.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises(AssertionError, match=r"StorageError: The server's job list .*jobs.sqlite is damaged(.|\n)*Move it away"):
        house.start()


def test_a_server_that_is_ended_as_soon_as_it_is_there_ends_as_always(tmp_path):
    code = "import os, signal, sys; sys.path.insert(0, %r)\n" % str(Path(__file__).parent)
    code += "from pathlib import Path; from platebridge_server.server import serve\n"
    code += "end = lambda connection: os.kill(os.getpid(), signal.SIGTERM)\n"
    code += "serve(Path('data'), port=0, connection_file=Path('c.json'), generator='fake_generator:generate', started=end)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "c.json").exists()


def test_a_disk_that_is_gone_is_not_taken_for_a_damaged_job_list(tmp_path, monkeypatch):
    def gone(front):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(server.Front, "run", gone)
    with ThreadPoolExecutor(1) as pool:  # signals are for a process's main thread
        served = pool.submit(server.serve, tmp_path / "data", port=0, connection_file=tmp_path / "c.json", generator="fake_generator:x")
        with pytest.raises(StorageError, match=r"can't be read: disk I/O error.*the jobs go on"):
            served.result()


def test_a_disk_that_knows_no_locks_is_not_taken_for_another_server(tmp_path, monkeypatch):
    def refused(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(server.locks, "hold", refused)
    with pytest.raises(StorageError, match=r"No locks available.*--data"):
        server.serve(tmp_path / "data", connection_file=tmp_path / "run" / "c.json")


def test_an_upload_whose_client_has_gone_is_not_said_to_be_in_line(houses, tmp_path):
    """It stays for days, to be gone on with; Blender's line of the server would say so long that a take is under way."""
    house, take = houses(), new_take()
    (house.root / "data").mkdir()
    store = JobStore(house.root / "data" / "jobs.sqlite")
    store.add(take, "tower", b"{}", "", {}, Shot(tmp_path).request().all_files(), {})
    store.close()
    house.start()
    with Raw(house) as raw:

        def waiting():
            return raw.ask(Message("about", id=5)).body["facts"]["waiting"]

        assert waiting() == 0
        attached = raw.ask(Message("attach", {"take": take, "follow": 1, "after": 0, "credit": 2**20}, (b"",), 6))
        assert attached.body["state"] == "uploading" and raw.hear().type == "lacks" and waiting() == 1
        assert raw.ask(Message("cancel", {"take": take}, id=7)).type == "ok"
