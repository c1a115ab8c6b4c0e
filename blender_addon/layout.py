# SPDX-License-Identifier: GPL-3.0-or-later
"""Things to draw that more than one panel draws."""

from __future__ import annotations

import textwrap
from typing import Any


def sentence(column: Any, text: str, icon: str, wide: int = 42) -> None:
    """A sentence, broken into lines that a sidebar can show. wide: characters in a line."""
    box = column.column(align=True)
    for number, line in enumerate(textwrap.wrap(text, wide) or [""]):
        box.label(text=line, icon=icon if number == 0 else "BLANK1")
