# SPDX-License-Identifier: Apache-2.0
"""What a rented machine's host gives to others while something is measured."""

from __future__ import annotations

from typing import Dict

import psutil


class Stolen:
    """How much of the processors a machine's host gives to others, from now on. A figure that was taken meanwhile is that much worse."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def figures(self, part: str) -> Dict[str, float]:
        """{part_stolen: 0 to 1}; nothing where the system doesn't say."""
        now = psutil.cpu_times()
        passed = sum(now) - sum(self._before)
        if not hasattr(now, "steal") or passed <= 0:  # a part may be over within a tick
            return {}
        return {f"{part}_stolen": (now.steal - self._before.steal) / passed}
