# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks [PART ...] [--json FILE]`: prints a table, writes one flat JSON of figures. The parts stand in PARTS."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Dict, Optional

from rich.console import Console
from rich.table import Table

from . import classical, generation, ticks, vace, wire
from .stolen import Stolen

PARTS = {
    "wire": wire.measure,
    "generation": generation.measure,
    "memory": generation.memory,
    "whole": generation.whole,
    "classical": classical.measure,
    "ticks": ticks.measure,
    "vace": vace.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all when none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    chosen = parser.parse_args()
    console = Console()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    figures: Dict[str, float] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="platebridge-bench-") as folder:
            for name in chosen.parts or PARTS:
                stolen = Stolen()
                figures.update(PARTS[name](Path(folder) / name, lambda text: console.print(f"[dim]{text}[/dim]")))
                figures.update(stolen.figures(name))
    finally:  # a part that fails or is stopped takes none of the others' figures with it
        _tell(figures, console, chosen.json and chosen.json.expanduser())


def _tell(figures: Dict[str, float], console: Console, path: Optional[Path]) -> None:
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)
    if path:
        from platebridge_server.training.evaluate import write_json  # which knows torch

        write_json(path, figures)
        console.print(f"Written: {path}")


if __name__ == "__main__":
    main()
