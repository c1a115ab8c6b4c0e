# SPDX-License-Identifier: Apache-2.0
"""A hub on the loopback: the list of a commit's files, and the files, in parts when asked for. It can stall, lie and fall silent."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves a folder as `repository` at `commit`, COMMIT until it is set. `asked`: (path, first byte) of each file that was asked for.

    lies: {path: bytes that are sent in a file's place}. stall_at: (path, bytes): says no more after so many, until `let_go`.
    """

    def __init__(self, folder: Path, repository: str, large: int = 256) -> None:
        self.folder, self.repository, self.large, self.commit = folder, repository, large, COMMIT
        self.asked: List[Tuple[str, int]] = []
        self.lies: Dict[str, bytes] = {}
        self.stall_at: Optional[Tuple[str, int]] = None
        self.stalled, self.let_go = threading.Event(), threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = "http://127.0.0.1:%d" % self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()

    def fetched(self) -> List[str]:
        """The files that were asked for, each once."""
        return sorted({path for path, _ in self.asked})

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        if path == "/api/models/%s/revision/%s" % (self.repository, self.commit):
            self._send(handler, 200, json.dumps({"id": self.repository, "sha": self.commit, "siblings": self._siblings()}).encode())
        elif path.startswith("/api/models/%s/revision/" % self.repository):
            self._send(handler, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/%s/resolve/%s/" % (self.repository, self.commit)):
            self._file(handler, path.split(self.commit + "/", 1)[1])
        else:
            self._send(handler, 404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _siblings(self) -> List[dict]:
        out = [{"rfilename": ".gitattributes", "size": 1, "blobId": "0" * 40}]
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            data = path.read_bytes()
            said = {"rfilename": path.relative_to(self.folder).as_posix(), "size": len(data)}
            said["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if len(data) >= self.large:
                said["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            out.append(said)
        return out

    def _file(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        data = self.lies.get(name, (self.folder / name).read_bytes())
        spec = handler.headers.get("Range")
        first = int(spec[len("bytes=") :].rstrip("-")) if spec else 0
        self.asked.append((name, first))
        handler.send_response(206 if spec else 200)
        handler.send_header("Content-Length", str(len(data) - first))
        if spec:
            handler.send_header("Content-Range", "bytes %d-%d/%d" % (first, len(data) - 1, len(data)))
        handler.end_headers()
        if self.stall_at and self.stall_at[0] == name and self.stall_at[1] > first:
            handler.wfile.write(data[first : self.stall_at[1]])
            self.stalled.set()
            self.let_go.wait()
            handler.close_connection = True
            return
        handler.wfile.write(data[first:])

    def _send(self, handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: Optional[Dict[str, str]] = None) -> None:
        handler.send_response(status)
        for label, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            handler.send_header(label, value)
        handler.end_headers()
        handler.wfile.write(data)
