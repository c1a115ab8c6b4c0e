# SPDX-License-Identifier: Apache-2.0
"""A server of one's own for a measurement: a real process, its own folder, gone afterwards."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from platebridge.client import Client

_START = """
import sys
from pathlib import Path
from platebridge_server.server import serve
folder, ipc, generator = Path(sys.argv[1]), sys.argv[2] == "ipc", sys.argv[3]
serve(data=folder / "data", connection_file=folder / "connection.json", port=0, ipc=ipc, device="cpu", generator=generator)
"""
REAL = "platebridge_server.generate:generate"


@contextmanager
def running(folder: Path, ipc: bool = True, generator: str = REAL) -> Iterator[Path]:
    """A server process; gives the path of its connection file once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "server.log", "ab") as log:
        process = subprocess.Popen([sys.executable, "-c", _START, str(folder), "ipc" if ipc else "tcp", generator], stdout=log, stderr=log)
    try:
        with Client(folder / "connection.json") as client:
            client.models().result(timeout=120)  # answered once the worker stands: an artist's server stands since the morning
        yield folder / "connection.json"
    finally:
        process.terminate()
        process.wait(timeout=30)
