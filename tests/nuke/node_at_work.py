# SPDX-License-Identifier: Apache-2.0
"""What the tests of the whole way share: pressing, Nuke's event loop, a file's own pixels."""

from __future__ import annotations

import time


def until(nuke, condition, seconds=240):
    """Nuke's event loop, until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        nuke.pump(0.05)


def press(node, connection=None):
    from platebridge_nuke import node as buttons

    if connection is not None:
        node["connection"].setValue(str(connection))
    return buttons.generate(node)


def finish(nuke, job):
    until(nuke, job.ended.is_set)
    nuke.pump()


def pixels(path):
    import OpenImageIO as oiio

    file = oiio.ImageInput.open(str(path))
    block = file.read_image(file.spec().format)
    file.close()
    return block
