# SPDX-License-Identifier: Apache-2.0
"""A server is stopped by a command, whoever started it; nothing else is."""
from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
from platebridge.connection import private_folder, read_connection, remote_connection, write_connection
from platebridge.errors import ConnectionFailed, StorageError
from platebridge_server import cli, server
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


def test_a_disk_that_knows_no_locks_is_not_taken_for_another_server(tmp_path, monkeypatch):
    def refused(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(server.locks, "hold", refused)
    with pytest.raises(StorageError, match=r"No locks available.*--data"):
        server.serve(tmp_path / "data", connection_file=tmp_path / "run" / "c.json")
