# SPDX-License-Identifier: Apache-2.0
"""A queue between threads that can be polled together with sockets: how other threads speak to one that owns a socket.

Knows nothing of messages. A socketpair rings, because Windows can poll sockets and nothing else.
"""
from __future__ import annotations

import contextlib
import queue
import socket
import threading
from typing import Any, List


class Mailbox:
    """Any thread may `put`; the thread that polls `fileno()` calls `take_all`.

    With `limit` a put waits while so many items lie there: that is what slows a fast sender. 0 is no limit.
    """

    def __init__(self, limit: int = 0) -> None:
        self._items: queue.Queue = queue.Queue(limit)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._lock = threading.Lock()
        self._rung = False
        self._closed = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def put(self, item: Any) -> None:
        if self._closed:
            return
        self._items.put(item)
        with self._lock:
            if not self._rung and not self._closed:
                self._rung = True
                self._writer.send(b"\0")

    def take_all(self) -> List[Any]:
        """Everything that lies there, in order; [] when nothing does. Never waits."""
        with self._lock:
            if self._rung:
                with contextlib.suppress(BlockingIOError):  # Windows: it rang, and the ring is still on its way; it wakes us once more
                    self._reader.recv(1)
                    self._rung = False
        out = []
        while True:
            try:
                out.append(self._items.get_nowait())
            except queue.Empty:
                return out

    def close(self) -> None:
        """What is put from now on is dropped; a put that waits is let go."""
        with self._lock:
            self._closed = True
            self._reader.close()
            self._writer.close()
        while True:
            try:
                self._items.get_nowait()
            except queue.Empty:
                return
