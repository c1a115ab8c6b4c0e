# SPDX-License-Identifier: Apache-2.0
"""The server's door: where it listens, and who may come in. Who has no key never reaches the parser. Knows no messages and no jobs."""
from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Collection, List, Tuple

import zmq
from platebridge.errors import ConnectionFailed
from platebridge.protocol import MAX_FRAME
from zmq.utils import z85

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Door:
    """Where to listen and who may come in. `tcp`: address and port; `ipc`: a path in a private folder or "". `clients`: Z85 keys."""

    tcp_host: str
    tcp_port: int
    ipc: str
    public_key: bytes
    secret_key: bytes
    clients: Collection[bytes]


def open_door(context: zmq.Context, door: Door) -> Tuple[zmq.Socket, zmq.Socket, List[str]]:
    """(router, the socket that is asked about keys, endpoints). The next free port is taken when `tcp_port` is not free; 0 is any.

    The keys' socket must listen before the router does: libzmq lets everyone in when nobody answers for keys.
    """
    keys = context.socket(zmq.REP)
    router = context.socket(zmq.ROUTER)
    try:
        keys.linger = 0
        keys.bind("inproc://zeromq.zap.01")
        return router, keys, _listen_at(router, door)
    except BaseException:
        router.close(0)
        keys.close(0)  # one left open would be waited for when the context ends
        raise


def _listen_at(router: zmq.Socket, door: Door) -> List[str]:
    """Has the router listen; gives its endpoints. Raises ConnectionFailed."""
    router.linger = 0
    router.maxmsgsize = MAX_FRAME
    router.sndhwm = 64           # messages on their way to one client; at 2 MB each this bounds our memory
    router.rcvhwm = 16
    router.router_mandatory = 1  # a client that is gone or does not read is an error here, not a silent loss
    router.handshake_ivl = 5000
    router.heartbeat_ivl = 5000
    router.heartbeat_timeout = 20000
    endpoints = []
    if door.ipc:
        try:
            router.bind("ipc://" + door.ipc)  # no keys: the folder is its owner's alone
        except zmq.ZMQError as error:
            raise ConnectionFailed("The server can't listen on %s: %s." % (door.ipc, error), "Start it with --no-ipc.") from error
        endpoints.append("ipc://" + door.ipc)
    router.zap_domain = b"platebridge"
    router.curve_publickey, router.curve_secretkey, router.curve_server = door.public_key, door.secret_key, True
    host = "[%s]" % door.tcp_host if ":" in door.tcp_host else door.tcp_host
    router.ipv6 = ":" in door.tcp_host
    last = min(door.tcp_port + 99, 65535) if door.tcp_port else 0  # beyond them libzmq begins again at 0
    for port in range(door.tcp_port, last + 1):
        try:
            router.bind("tcp://%s:%d" % (host, port))
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                mend = "Choose another --bind or --port."
                raise ConnectionFailed("The server can't listen on %s:%d: %s." % (host, port, error), mend) from error
            continue
        endpoints.append(router.last_endpoint.decode().rstrip("\0"))
        return endpoints
    raise ConnectionFailed("Ports %d to %d are all in use." % (door.tcp_port, last), "Choose another --port.")


def answer_for_key(keys: zmq.Socket, clients: Collection[bytes]) -> None:
    """ZAP (ZeroMQ RFC 27): libzmq asks for each TCP handshake, before a byte of ours is parsed. `clients`: Z85 keys that may come in."""
    frames = keys.recv_multipart()
    known = len(frames) == 7 and frames[5] == b"CURVE" and z85.encode(frames[6]) in clients
    status, text = (b"200", b"OK") if known else (b"400", b"unknown key")
    keys.send_multipart([b"1.0", frames[1] if len(frames) > 1 else b"", status, text, b"client" if known else b"", b""])
    if not known:
        log.warning("Refused a client at %s: its key is unknown", frames[3].decode("ascii", "replace") if len(frames) > 3 else "?")
