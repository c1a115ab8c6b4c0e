# SPDX-License-Identifier: Apache-2.0
"""A generator with nothing of a picture in it: numbered files made from request and inputs, told by files what to do.

In the folder origin["control"]: `made` gets a line for each frame made; `hold.N` holds frame N until it is gone; `die.N` kills
the worker in the midst of frame N (once); `die_always.N` each time; `fail.N` raises. origin["size"]: bytes of a frame; "say": printed.
"""
from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

from platebridge.errors import Cancelled, ModelError
from platebridge.events import Done, FileReady, Preview, Progress, Started


def content(request, frame: int, size: int, digests) -> bytes:
    seed = hashlib.sha256(("%s %d %s" % (request.hash(), frame, "".join(digests))).encode()).digest()
    return (seed * (size // 32 + 1))[:size]


def generate(request, open_file, take_id, *, device, origin, have=(), scratch, cancelled):
    control = Path(origin["control"])
    print(origin.get("say", ""), flush=True)
    yield Started("fake", str(device))
    digests = [hashlib.sha256(Path(open_file(f.sha256)).read_bytes()).hexdigest() for f in request.all_files()]
    files = dict(have)
    for done, frame in enumerate(request.frames):
        name = "comp.%04d.exr" % frame
        if name in have:
            continue
        while (control / ("hold.%d" % frame)).exists():
            if cancelled():
                raise Cancelled()
            time.sleep(0.005)
        if cancelled():
            raise Cancelled()
        with open(control / "made", "a") as out:
            out.write("%s %d %d\n" % (take_id, frame, os.getpid()))
        if (control / ("die.%d" % frame)).exists():
            (control / ("die.%d" % frame)).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (control / ("die_always.%d" % frame)).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (control / ("fail.%d" % frame)).exists():
            raise ModelError("The fake was told to fail.", "Tell it otherwise.", frame=frame)
        data = content(request, frame, int(origin.get("size", 1000)), digests)
        files[name] = hashlib.sha256(data).hexdigest()
        yield Preview(frame, b"not really a PNG")
        yield FileReady("comp", frame, name, files[name], data)
        yield Progress("generating", done + 1, len(request.frames))
    document = json.dumps({"take_id": take_id, "files": files}, sort_keys=True).encode()
    yield FileReady("take", None, "take.json", hashlib.sha256(document).hexdigest(), document)
    yield Done({"generating": 0.0})
