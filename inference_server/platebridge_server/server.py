# SPDX-License-Identifier: Apache-2.0
"""The server as one: data folder, keys, connection file, front, engine; from `platebridge serve` until it is told to stop.

Wires the rooms together and knows nothing of what goes on in them.
"""
from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import os
import shutil
import signal
import socket
import sqlite3
import struct
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Tuple

import platformdirs
import psutil
import zmq
from platebridge.connection import (
    PORT,
    Connection,
    default_path,
    private_folder,
    read_connection,
    remove_connection,
    write_connection,
    write_private,
)
from platebridge.errors import ConnectionFailed, PlatebridgeError, RequestError, StorageError
from platebridge.mailbox import Mailbox
from platebridge.takes import storage_error
from zmq.utils import z85

from . import locks
from .door import Door
from .engines.local import GENERATOR, LocalEngine
from .front import STOP, Front
from .jobs import JobStore
from .scheduler import JobLimits, Scheduler
from .spool import Spool, SpoolLimits

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What this server takes before it refuses."""

    spool: SpoolLimits = field(default_factory=SpoolLimits)
    jobs: JobLimits = field(default_factory=JobLimits)


def default_data() -> Path:
    """Where a server keeps jobs and files when nobody says where."""
    return Path(platformdirs.user_data_dir("platebridge", appauthor=False))


def serve(data: Optional[Path] = None, bind: Optional[str] = None, port: int = PORT, ipc: bool = True, device: Optional[str] = None,
          connection_file: Optional[Path] = None, limits: Limits = Limits(), generator: str = GENERATOR,
          client_keys: Optional[Path] = None, started: Optional[Callable[[Connection], None]] = None) -> None:
    """Serves until SIGINT or SIGTERM. Jobs that a server before it left unfinished go on.

    `data`: jobs, files, keys, logs. `bind`: an address; None is this machine alone. One that others can reach needs `client_keys`, a
    file with a public key (Z85, 40 characters) and its owner's name per line. `device`: "cpu", "cuda:0", or several with commas; None:
    the worker chooses. `started` is called once clients can come. Raises StorageError, ConnectionFailed, RequestError.
    """
    folder = private_folder(data if data is not None else default_data(), "Start it with another --data, a folder of your own.")
    path = Path(connection_file).absolute() if connection_file is not None else default_path()  # clients have other folders
    _check_alone(path)
    lock = _lock(folder)
    context = zmq.Context()
    mailbox = Mailbox(4096)
    socket_folder = _socket_folder(path, folder) if ipc and os.name == "posix" else None
    engine = LocalEngine(folder / "spool", folder / "logs", [name.strip() or None for name in (device or "").split(",")], generator,
                         limits.spool.reserve)
    front = None
    try:
        server_public, server_secret = _key_pair(folder / "server.key")
        client_public, client_secret = _key_pair(folder / "client.key")
        allowed = [client_public, *_client_keys(bind, client_keys, server_public.decode())]
        socket_path = str(socket_folder / "socket") if socket_folder else ""
        door = Door(bind or "127.0.0.1", port, socket_path, server_public, server_secret, allowed)
        store = JobStore(folder / "jobs.sqlite")
        spool = Spool(folder / "spool", limits.spool)
        front = Front(context, door, store, spool, mailbox, _cards_now if generator == GENERATOR else list)
        front.scheduler = Scheduler(store, spool, engine, folder / "scratch", front.changed, front.writer.call, limits.jobs)
        engine.start(mailbox.put)
        front.scheduler.begin()
        endpoints = tuple(e.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:") for e in front.endpoints)
        connection = Connection(endpoints, server_public.decode(), client_public.decode(), client_secret.decode(), os.getpid())
        told = _told_to_end()  # from here on: who reads the file may end the server at once
        write_connection(connection, path)
        log.info("Listening on %s; connection file %s", ", ".join(front.endpoints), path)
        if started is not None:
            started(connection)
        _run_until(told, front, mailbox, lambda: _keep_known(connection, path))
    except sqlite3.OperationalError as error:  # its disk, not the list: who moved that away would lose all that waits
        raise StorageError("The server's job list %s can't be read: %s." % (folder / "jobs.sqlite", error),
                           "See to its disk and start the server again: the jobs go on.") from error
    except sqlite3.DatabaseError as error:
        raise StorageError("The server's job list %s is damaged: %s." % (folder / "jobs.sqlite", error),
                           "Move it away and start the server again: takes in their folders can be gone on with.") from error
    finally:
        remove_connection(path, os.getpid())
        mailbox.close()
        engine.close()
        if front is not None:
            front.close()
            store.close()
        context.term()
        if socket_folder is not None:
            shutil.rmtree(socket_folder, ignore_errors=True)
        lock.close()


def stop(connection_file: Optional[Path] = None, patience: float = 30.0) -> int:
    """Has the server of this connection file end, waits for that, and gives the number that its process had. Its jobs go on when it is
    started again. patience: seconds. Raises ConnectionFailed: none runs here, it is another machine's or user's, it does not end.
    """
    path = Path(connection_file) if connection_file is not None else default_path()
    if not path.exists():
        raise ConnectionFailed("No server runs here (%s is absent)." % path, "Of one with a file of its own, give that: --connection FILE.")
    found = read_connection(path)
    if not found.pid:
        raise ConnectionFailed("%s leads to another machine's server." % path, "Stop it there.")
    try:
        process = psutil.Process(found.pid)
        if not _wrote(process, found, path) or _has_ended(process):
            raise psutil.NoSuchProcess(found.pid)  # its number is another program's by now
        process.terminate()
        until = time.monotonic() + patience
        while not _has_ended(process):
            if time.monotonic() > until:
                raise ConnectionFailed("The server (process %d) still runs after %g s." % (found.pid, patience), "Wait, and try again.")
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        remove_connection(path, found.pid)
        raise ConnectionFailed("The server that left %s is gone already." % path, "There is nothing to stop.") from None
    except psutil.AccessDenied:
        raise ConnectionFailed("The server (process %d) is another user's." % found.pid, "Whoever started it can stop it.") from None
    remove_connection(path, found.pid)  # where a process is ended without a word it could not do so itself
    return found.pid


def _wrote(process: psutil.Process, connection: Connection, path: Path) -> bool:
    """Whether it is the process that wrote the file: it was there before. Where a clock was set meanwhile, whether it listens there."""
    if process.create_time() <= path.stat().st_mtime + 60:
        return True
    ports = [int(end.rsplit(":", 1)[1]) for end in connection.endpoints if end.startswith("tcp://")]
    with contextlib.suppress(psutil.AccessDenied):  # another user's, so no server of this one's
        return any(at.status == psutil.CONN_LISTEN and at.laddr.port in ports for at in process.net_connections("tcp"))
    return False


def _has_ended(process: psutil.Process) -> bool:
    """Also where whoever started it, Blender for instance, has not taken notice yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _cards_now(models: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The worker's list with the models' folder as it is now."""
    from .models import registry  # numpy comes with it, which a server need not wait for

    return registry.refreshed(models)


def _keep_known(connection: Connection, path: Path) -> None:
    """Writes the connection file again where it is gone: Linux clears a user's runtime folder when they log out, and we may go on."""
    if not os.path.exists(path):
        with contextlib.suppress(PlatebridgeError):  # until they log in again there is no place for it
            write_connection(connection, path)


def _told_to_end() -> threading.Event:
    """Set by SIGINT and SIGTERM, which do nothing else, whatever was going on."""
    told = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: told.set())
    return told


def _run_until(told: threading.Event, front: Front, mailbox: Mailbox, meanwhile: Callable[[], None]) -> None:
    """The front has a thread of its own: this one waits to be told."""
    failed: List[BaseException] = []

    def run() -> None:
        try:
            front.run()
        except BaseException as error:  # raised again below, on the thread that can tell somebody
            failed.append(error)

    thread = threading.Thread(target=run, name="front")
    thread.start()
    while thread.is_alive():
        if told.wait(0.5):
            mailbox.put(STOP)
            thread.join()
        else:
            meanwhile()
    if failed:
        raise failed[0]


def _lock(folder: Path) -> IO[str]:
    """One server per data folder. The system lets the lock go when the process ends, however it ends."""
    file = locks.opened(folder / "lock")
    try:
        locks.hold(file)
    except (BlockingIOError, PermissionError):
        file.close()
        raise StorageError("Another server runs on %s." % folder, "Use that one, or start this one with another --data.") from None
    except OSError as error:
        file.close()
        raise StorageError("%s can't be kept for one server alone: %s." % (folder, error.strerror),
                           "Start it with a --data on a disk of this machine's own.") from error
    return file


def _check_alone(connection_file: Path) -> None:
    """Raises ConnectionFailed when this file leads to a server that lives, or to another machine's: clients would lose the way to it."""
    try:
        found = read_connection(connection_file)
    except ConnectionFailed:
        return  # absent, or of no use: it may be written over
    if not found.pid:
        raise ConnectionFailed("%s leads to another machine's server." % connection_file, "Start this one with another --connection.")
    for endpoint in found.endpoints:
        if endpoint.startswith("tcp://") and psutil.pid_exists(found.pid):
            host, port = endpoint[len("tcp://"):].rsplit(":", 1)
            with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), 2):
                raise ConnectionFailed("A server (process %d) runs already, and %s is its connection file." % (found.pid, connection_file),
                                       "Use that one, or start this one with another --connection and --data.")


def _socket_folder(connection_file: Path, data: Path) -> Path:
    """A private folder for the Unix socket: beside the connection file, or where paths are shorter than the system's limit.

    Its name is the data folder's own, so what a killed server left is ours to take away.
    """
    name = "socket-" + hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:8]
    if not connection_file.parent.is_dir():
        private_folder(connection_file.parent)
    folder = connection_file.parent / name
    if len(os.fsencode(folder / "socket")) >= zmq.IPC_PATH_MAX_LEN:
        return Path(tempfile.mkdtemp(prefix="platebridge-"))
    shutil.rmtree(folder, ignore_errors=True)
    return private_folder(folder)


def _key_pair(path: Path) -> Tuple[bytes, bytes]:
    """(public, secret), made the first time: clients that know this server's key still know it after a restart."""
    try:
        lines = path.read_bytes().split()
    except FileNotFoundError:
        public, secret = zmq.curve_keypair()
        write_private(path, public + b"\n" + secret + b"\n")
        return public, secret
    if len(lines) != 2 or not all(_is_key(line) for line in lines):
        raise StorageError("The key file %s is damaged." % path, "Take it away: the server makes a new one.")
    return lines[0], lines[1]


def _is_key(word: bytes) -> bool:
    """Whether it is a key in Z85."""
    try:
        return len(z85.decode(word)) == 32
    except (ValueError, KeyError, struct.error):  # five signs may say more than four bytes hold
        return False


def _client_keys(bind: Optional[str], path: Optional[Path], server_key: str) -> List[bytes]:
    """Keys from the file, checked. An address that others can reach must have some; who lacks them is told what to ask for them with."""
    keys = []
    if path is not None:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()  # a name may be in an old code
        except FileNotFoundError as error:
            raise StorageError("There is no file %s." % path, "Make it, empty at first: each line is a client's key and a name.") from error
        except OSError as error:
            raise storage_error(error, path) from error
        for line in lines:
            words = line.split()
            if words and not words[0].startswith("#"):  # no key does; what stands behind one is its owner's name
                key = words[0].encode()
                if not _is_key(key):
                    mend = "Each line is a public key of 40 characters, then its owner's name; # begins a remark."
                    raise RequestError("%s has a line that is no key: %.60r." % (path, line), mend)
                keys.append(key)
    if bind is not None and not _loopback(bind) and not keys:
        mend = ("Name a file with one at least: --client-keys FILE. An artist gets one in Blender's preferences, with Use This Server, for "
                "this server's address and its key, %s" % server_key)
        raise ConnectionFailed("%s can be reached by others: it needs a list of clients' keys." % bind, mend)
    return keys


def _loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        raise RequestError("%r is not an address." % bind, "Give an address of this machine, like 192.168.1.20.") from None
