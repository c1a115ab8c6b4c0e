# SPDX-License-Identifier: Apache-2.0
"""What is written down of a take's files while it is made."""
from __future__ import annotations

import pytest
from platebridge_server.journal import Journal

DAMAGE = {"no text": b"\0\0\xff\xfe", "half": b'["comp.1002.exr", "ab', "number": b"7", "list": b'[["a"], "b", 1]'}


@pytest.mark.parametrize("damage", list(DAMAGE.values()), ids=list(DAMAGE))
def test_a_line_that_a_power_cut_damaged_does_not_end_the_take(tmp_path, damage):
    path = tmp_path / "files.jsonl"
    Journal(path, {}).add("comp.1001.exr", "a" * 64, 5)
    with open(path, "ab") as file:
        file.write(damage + b"\n")
    have = {"comp.1001.exr": "a" * 64, "comp.1002.exr": "b" * 64}
    assert Journal(path, have).known == {"comp.1001.exr": ("a" * 64, 5), "comp.1002.exr": ("b" * 64, None)}
