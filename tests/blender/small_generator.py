# SPDX-License-Identifier: GPL-3.0-or-later
"""A generator for the real server and worker: the comp is the plate's own bytes, so that it is a picture and known beforehand.

In the folder named by PLATEBRIDGE_TEST_CONTROL: `made` gets a line for each frame; `hold.N` holds frame N until it is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from platebridge.errors import Cancelled
from platebridge.events import Done, FileReady, Progress, Started


def generate(request, open_file, take_id, *, device, origin, have=(), scratch, cancelled):
    control = Path(os.environ["PLATEBRIDGE_TEST_CONTROL"])
    yield Started("small", str(device))
    files = dict(have)
    for done, frame in enumerate(request.frames, 1):
        name = "comp.%04d.exr" % frame
        if name not in have:
            while (control / ("hold.%d" % frame)).exists():
                if cancelled():
                    raise Cancelled()
                time.sleep(0.005)
            with open(control / "made", "a") as out:
                out.write("%d\n" % frame)
            data = Path(open_file(request.inputs.plate.at(frame).sha256)).read_bytes()
            files[name] = hashlib.sha256(data).hexdigest()
            yield FileReady("comp", frame, name, files[name], data)
        yield Progress("generating", done, len(request.frames))
    document = json.dumps({"take_id": take_id, "files": files, "request": request.to_dict(), "origin": dict(origin)}).encode()
    yield FileReady("take", None, "take.json", hashlib.sha256(document).hexdigest(), document)
    yield Done({"generating": 0.0})
