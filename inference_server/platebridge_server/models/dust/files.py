# SPDX-License-Identifier: Apache-2.0
"""The model's folder on disk, in diffusers' layout: beside each part's weights a config.json with what it was made with.

It knows JSON and names alone. diffusers writes and reads the same (`pipeline.py`); the server's way does without its imports, which take
longer than a draft's sampling.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_options(path: Path) -> dict[str, Any]:
    """What a part was made with. Raises OSError and ValueError."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in tree.items() if not name.startswith("_")}


def write_options(path: Path, class_name: str, options: dict[str, Any]) -> None:
    """class_name: of diffusers' face of that part. The folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"_class_name": class_name, **options}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
