# SPDX-License-Identifier: GPL-3.0-or-later
"""How a button tells of trouble: one sentence, in a pop-up that passes and in the panel, where it stays until the next press."""

from __future__ import annotations

import functools
from typing import Any, Callable, Set

from . import dependencies, runner


def says(execute: Callable[[Any, Any], Set[str]]) -> Callable[[Any, Any], Set[str]]:
    """For an operator's `execute`: what an artist can mend becomes the sentence; anything else is a fault and shows itself."""

    @functools.wraps(execute)
    def told(self: Any, context: Any) -> Set[str]:
        absent = dependencies.missing()
        if absent:
            self.report({"ERROR"}, absent)
            return {"CANCELLED"}
        from platebridge.errors import PlatebridgeError

        runner.trouble = ""
        try:
            return execute(self, context)
        except PlatebridgeError as error:
            runner.trouble = str(error)
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}

    return told
