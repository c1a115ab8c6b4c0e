# SPDX-License-Identifier: Apache-2.0
"""The wire: 1080p frames from a client to a server, against memcpy and against the way of the peers (8-bit PNG over HTTP).

What is timed is the whole of an upload: the client reads the files, the server hashes them again, writes them into its spool and
answers. The peers' way is timed likewise: encode, POST, decode. Files lie in memory where the system has a place for that: the wire is
measured, not this machine's disk (a virtual one may be slower than all else here together).
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import io
import shutil
import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Callable, Dict, List

import numpy as np
from PIL import Image
from platebridge.client import Client
from platebridge.events import Done, Failed
from platebridge.frames import FrameRange
from platebridge.request import FrameFile, GenerateRequest, Inputs, Pass

from . import server

FRAMES, H, W = 12, 1080, 1920
MEMORY = Path("/dev/shm")
ROOM = 1.5e9  # bytes: the files, the server's copies, and some


def frames(seed: int) -> List[Dict[str, np.ndarray]]:
    """FRAMES frames: plate half RGB, depth float, mask 8 bit; smooth with grain, as pictures are."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:H, 0:W].astype(np.float32)
    out = []
    for n in range(FRAMES):
        base = 0.4 + 0.3 * np.sin(x / 190 + n) * np.cos(y / 130)
        plate = (base[..., None] * [1.0, 0.9, 0.8] + random.normal(0, 0.01, (H, W, 3))).astype(np.float16)
        depth = (20 + 5 * base + random.normal(0, 0.01, (H, W))).astype(np.float32)
        out.append({"plate": plate, "depth": depth, "mask": (base > 0.5).astype(np.uint8) * 255})
    return out


def _request(folder: Path, pictures: List[Dict[str, np.ndarray]]) -> tuple:
    """The frames as files of raw samples, and the request that names them by content."""
    paths: Dict[str, Path] = {}
    passes: Dict[str, List[FrameFile]] = {"plate": [], "depth": [], "mask": []}
    for n, picture in enumerate(pictures):
        for name, pixels in picture.items():
            data = pixels.tobytes()
            sha = hashlib.sha256(data).hexdigest()
            paths[sha] = folder / f"{name}.{1001 + n}.raw"
            paths[sha].write_bytes(data)
            passes[name].append(FrameFile(1001 + n, sha, len(data)))
    request = GenerateRequest("wire", FrameRange(1001, 1000 + FRAMES), Inputs(**{k: Pass(k, (), tuple(v)) for k, v in passes.items()}))
    return request, paths


def upload_seconds(folder: Path, pictures: List[Dict[str, np.ndarray]], ipc: bool) -> float:
    """Seconds from asking to the end of a job that makes nothing: upload, hash, spool. What it wrote is gone afterwards."""
    folder.mkdir(parents=True)
    try:
        request, paths = _request(folder, pictures)
        return _timed_upload(folder, request, paths, ipc)
    finally:
        shutil.rmtree(folder)


def _timed_upload(folder: Path, request: GenerateRequest, paths: Dict[str, Path], ipc: bool) -> float:
    with server.running(folder / "server", ipc, "benchmarks.sink:generate") as connection, Client(connection) as client:
        client.ping().result(timeout=30)
        began = time.perf_counter()
        job = client.upload_and_submit(request, paths.__getitem__, uuid.uuid4().hex)
        while True:
            event = job.next(1.0)
            if isinstance(event, Failed):
                raise RuntimeError(event.error)
            if isinstance(event, Done):
                return time.perf_counter() - began


def memcpy_seconds(pictures: List[Dict[str, np.ndarray]]) -> float:
    """Seconds to copy the same bytes once in memory."""
    sources = [p for picture in pictures for p in picture.values()]
    targets = [np.empty_like(p) for p in sources]
    for target, source in zip(targets, sources):
        np.copyto(target, source)  # touches the pages
    began = time.perf_counter()
    for target, source in zip(targets, sources):
        np.copyto(target, source)
    return time.perf_counter() - began


class _Decode(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Decodes the picture and says so."""
        np.asarray(Image.open(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""

    protocol_version = "HTTP/1.1"


def png_seconds(pictures: List[Dict[str, np.ndarray]], count: int = 3) -> float:
    """Seconds for the same frames as 8-bit PNGs over HTTP on loopback; `count` frames are timed and scaled up."""
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Decode)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        line = http.client.HTTPConnection("127.0.0.1", listener.server_address[1])
        began = time.perf_counter()
        for picture in pictures[:count]:
            depth = picture["depth"]
            as_bytes = {
                "plate": (np.clip(picture["plate"].astype(np.float32), 0, 1) * 255).astype(np.uint8),
                "depth": ((depth - depth.min()) / np.ptp(depth) * 255).astype(np.uint8),
                "mask": picture["mask"],
            }
            for pixels in as_bytes.values():
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "PNG")
                line.request("POST", "/upload/image", data.getvalue())
                line.getresponse().read()
        return (time.perf_counter() - began) * len(pictures) / count
    finally:
        listener.shutdown()
        listener.server_close()


def place(disk: Path) -> Path:
    """Where the files lie: in memory, or on the disk where there is no room for them."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else disk


def measure(folder: Path, say: Callable[[str], None], repeats: int = 3) -> Dict[str, float]:
    """wire_ipc_vs_memcpy, wire_curve_vs_memcpy (throughput as a part of memcpy's), wire_vs_png (times faster)."""
    rows: Dict[str, List[float]] = {"ipc": [], "curve": [], "memcpy": [], "png": []}
    with tempfile.TemporaryDirectory(prefix="platebridge-wire-", dir=place(folder.parent)) as scratch:
        _take_turns(Path(scratch), say, repeats, rows)
    at = {name: statistics.median(values) for name, values in rows.items()}
    size = sum(p.nbytes for p in frames(0)[0].values()) * FRAMES / 1e6
    return {
        "wire_ipc_vs_memcpy": at["memcpy"] / at["ipc"],
        "wire_curve_vs_memcpy": at["memcpy"] / at["curve"],
        "wire_vs_png": at["png"] / at["ipc"],
        "wire_ipc_mb_per_second": size / at["ipc"],
        "wire_curve_mb_per_second": size / at["curve"],
        "memcpy_mb_per_second": size / at["memcpy"],
    }


def _take_turns(folder: Path, say: Callable[[str], None], repeats: int, rows: Dict[str, List[float]]) -> None:
    """Each way in turn, so that all meet the same machine; seconds into `rows`."""
    for n in range(repeats):
        say(f"wire, run {n + 1} of {repeats}")
        pictures = frames(n)
        rows["ipc"].append(upload_seconds(folder / f"ipc{n}", pictures, True))
        rows["curve"].append(upload_seconds(folder / f"curve{n}", pictures, False))
        rows["memcpy"].append(statistics.median(memcpy_seconds(pictures) for _ in range(3)))
        rows["png"].append(png_seconds(pictures))
