# SPDX-License-Identifier: Apache-2.0
"""The page that lists the dials has them as they are."""

from __future__ import annotations

from pathlib import Path

from platebridge.dials import DIALS
from platebridge.presets import PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "generate.md"


def test_every_dial_stands_on_the_page_with_its_default_its_range_and_what_it_does():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    told = {row[0].strip("`"): row[1:] for row in rows if len(row) == 5}
    wanted = {}
    for dial in DIALS.values():
        if dial.path.startswith("paint."):
            continue  # models.md
        if dial.kind == "choice":
            default, reach = str(dial.default), ", ".join(dial.choices)
        elif dial.kind == "colour":
            default, reach = ",".join("%g" % part for part in dial.default), "three from %g to %g" % (dial.minimum, dial.maximum)
        else:
            default, reach = "%g" % dial.default, ("%.10g to %.10g %s" % (dial.minimum, dial.maximum, dial.unit)).strip()
        wanted[dial.name] = [dial.label, default, reach, dial.tooltip]
    assert told == wanted


def test_every_preset_stands_on_the_page():
    assert ", ".join("`%s`" % name for name in PRESETS) in PAGE.read_text(encoding="utf-8")
