# SPDX-License-Identifier: Apache-2.0
"""For farms: nuke -t platebridge_generate.py script.nk Node 1001-1048. Exit codes: 0 whole, 1 refused or failed, 2 called wrongly."""

from __future__ import annotations

import sys
from typing import List

import nuke


def main(arguments: List[str]) -> int:
    """Opens the script, generates with the node, waits for the end."""
    if len(arguments) not in (2, 3):
        print("nuke -t platebridge_generate.py script.nk Node [1001-1048]", file=sys.stderr)
        return 2
    from platebridge.errors import PlatebridgeError
    from platebridge.frames import parse_range
    from platebridge_nuke import node as buttons

    nuke.scriptOpen(arguments[0])
    node = nuke.toNode(arguments[1])
    if node is None:
        print("%s has no node called %s." % (arguments[0], arguments[1]), file=sys.stderr)
        return 2
    if len(arguments) == 3:
        try:
            frames = parse_range(arguments[2])
        except PlatebridgeError as error:
            print(error, file=sys.stderr)
            return 2
        node["first"].setValue(frames.first)
        node["last"].setValue(frames.last)
    job = buttons.generate(node)
    if job is None or job.error is not None:
        print(node["status"].value(), file=sys.stderr)
        return 1
    print(job.take)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
