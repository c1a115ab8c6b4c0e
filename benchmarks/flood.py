# SPDX-License-Identifier: Apache-2.0
"""A generation that is all frames: 200 MB of files, as fast as they go; each begins with the plate's own bytes, so it is a picture;
a preview with each."""

import hashlib
import json
from pathlib import Path

import numpy as np
from platebridge.events import Done, FileReady, Preview, Progress, Started
from platebridge_server.take import png

MEGABYTES = 200
GLANCE = 320, 180


def generate(request, open_file, take_id, **_):
    """The comp of a frame is its plate with so much behind it that all of them together are 200 MB."""
    yield from _frames(request, open_file, take_id, MEGABYTES)


def small(request, open_file, take_id, **_):
    """The comp of a frame is its plate alone."""
    yield from _frames(request, open_file, take_id, 0)


def _frames(request, open_file, take_id, megabytes):
    yield Started("flood", "cpu")
    frames = list(request.frames)
    filler = bytes(megabytes * 2**20 // len(frames))
    noise = np.random.default_rng(0).normal(128, 20, (GLANCE[1], GLANCE[0], 3)).clip(0, 255).astype(np.uint8)
    glance = png(noise, GLANCE[0])  # of the size that models send, and noise is the most work
    for done, frame in enumerate(frames, 1):
        data = Path(open_file(request.inputs.plate.at(frame).sha256)).read_bytes() + filler
        name = "comp.%04d.exr" % frame
        yield Preview(frame, glance)
        yield FileReady("comp", frame, name, hashlib.sha256(data).hexdigest(), data)
        yield Progress("generating", done, len(frames))
    document = json.dumps({"take_id": take_id, "files": {}, "request": request.to_dict()}).encode()
    yield FileReady("take", None, "take.json", hashlib.sha256(document).hexdigest(), document)
    yield Done({"generating": 0.0})
