# SPDX-License-Identifier: Apache-2.0
"""For farms: nuke -t platebridge_generate.py script.nk Node 1001-1048.

Opens the script, generates with the node, waits for the end. Without a range, the node's own. The lines it prints are those that farms
read (Fra:, Saved:); the takes' folders come last. Exit codes: 0 whole, 1 refused or failed (the sentence is on standard error), 2 called
wrongly. The script is not saved.
"""

from __future__ import annotations

import sys
from typing import List

import nuke

USAGE = "nuke -t platebridge_generate.py script.nk Node [1001-1048]"


def main(arguments: List[str]) -> int:
    """Gives the exit code."""
    if len(arguments) not in (2, 3):
        return _wrong(USAGE)
    from platebridge_nuke import node as buttons  # its first import finds the client that lies beside it
    from platebridge_nuke import print_anything

    # isort: split
    from platebridge.errors import PlatebridgeError
    from platebridge.frames import parse_range

    print_anything()
    try:
        nuke.scriptOpen(arguments[0])
    except RuntimeError as error:
        return _wrong("%s can't be opened: %s" % (arguments[0], error))
    node = nuke.toNode(arguments[1])
    if node is None or node.knob("result_file") is None:
        return _wrong("%s has no Platebridge node called %s." % (arguments[0], arguments[1]))
    if len(arguments) == 3:
        try:
            frames = parse_range(arguments[2])
        except PlatebridgeError as error:
            return _wrong(str(error))
        for name, number in (("first", frames.first), ("last", frames.last)):
            node[name].clearAnimated()  # an expression would win
            node[name].setValue(number)
    job = buttons.generate(node)
    if job is None or job.error is not None:
        print("Error: %s" % node["status"].value(), file=sys.stderr, flush=True)
        return 1
    for take in job.takes:
        print(take, flush=True)
    return 0


def _wrong(sentence: str) -> int:
    print("Error: %s" % sentence, file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
