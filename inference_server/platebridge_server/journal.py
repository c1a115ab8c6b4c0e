# SPDX-License-Identifier: Apache-2.0
"""What every file of a take is, written down as it is made, so that work which is begun again still knows it. Knows no pixels."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Dict, Mapping, Optional, Tuple


class Journal:
    """What every file of the take is, kept in the scratch folder: take.json lists files that came before an interruption too."""

    def __init__(self, path: Path, have: Mapping[str, str]) -> None:
        self._path = path
        self.known: Dict[str, Tuple[str, Optional[int]]] = {name: (sha, None) for name, sha in have.items()}
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):  # half a line of a killed process, anything after a power cut
                    name, sha, size = json.loads(line)
                    if have.get(name) == sha:
                        self.known[name] = (sha, size)

    def add(self, name: str, sha: str, size: int) -> None:
        self.known[name] = (sha, size)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps([name, sha, size]) + "\n")
