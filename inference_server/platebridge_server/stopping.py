# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C as a question that long work asks: the first press asks for a clean end, the second ends at once."""

from __future__ import annotations

import contextlib
import signal
from typing import Iterator

from rich.console import Console


class Stop:
    """Whether Ctrl-C was pressed. `kept`: what becomes of what there is, a sentence's end."""

    def __init__(self, kept: str = "what is whole stays") -> None:
        self.asked, self._kept = False, kept

    def __call__(self) -> bool:
        return self.asked

    def _heard(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._console.print("Cancelling: %s. Ctrl-C again to stop at once." % self._kept)

    @contextlib.contextmanager
    def listening(self, console: Console) -> Iterator[Stop]:
        self._console = console
        before = signal.signal(signal.SIGINT, self._heard)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)
