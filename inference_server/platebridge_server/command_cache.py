# SPDX-License-Identifier: Apache-2.0
"""`platebridge cache show | clear`: what is kept of earlier work with the large models, and how to have the disk back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import typer
from platebridge.errors import RequestError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .sequences import typed
from .told import size, told

app = typer.Typer(no_args_is_help=True, help="What is kept of earlier work with the large models.")
out = Console()
_FOLDER = typer.Option(None, "--folder", help="The cache's folder, when it is not the usual one.")


@app.command()
def show(folder: Optional[Path] = _FOLDER, as_json: bool = typer.Option(False, "--json", help="The figures as they are.")) -> None:
    """What is kept, kind by kind: entries, bytes, last use."""
    from . import cache

    with told(as_json):
        at = typed(folder) if folder else cache.place()
        found = rows(at)
        if as_json:
            print(json.dumps({"folder": str(at), "kinds": found}, indent=1))
            return
        table = Table("kind", "entries", "size", "last used", caption=escape(str(at)), caption_justify="left")
        for row in found:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["used"]))
            table.add_row(row["kind"], str(row["entries"]), size(row["bytes"]), used)
        out.print(table if found else "Nothing is kept in %s." % escape(str(at)), highlight=False, soft_wrap=True)


@app.command()
def clear(
    kind: str = typer.Argument("", help="A kind, as `platebridge cache show` names it; all of them, when left out."),
    folder: Optional[Path] = _FOLDER,
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """Remove what is kept. No take loses anything: it is computed again when it is needed."""
    from . import cache

    with told(as_json):
        at = typed(folder) if folder else cache.place()
        there = [row["kind"] for row in rows(at)]
        if kind and kind not in there:
            mend = "There is: %s." % ", ".join(there) if there else "Nothing is."
            raise RequestError("Nothing called %r is kept in %s." % (kind, at), mend)
        freed = cache.cleared(at, kind)
        if as_json:
            print(json.dumps({"folder": str(at), "freed": freed}))
        else:
            out.print("%s freed in %s." % (size(freed), at), markup=False, highlight=False, soft_wrap=True)


def rows(folder: Path) -> List[Dict[str, Any]]:
    """A row for each kind of entry: how many, bytes, and when one was last used, seconds since 1970."""
    from . import cache

    found: Dict[str, Dict[str, Any]] = {}
    for entry in cache.TensorCache(folder).entries():  # the last used first
        row = found.setdefault(entry.kind, {"kind": entry.kind, "entries": 0, "bytes": 0, "used": entry.used})
        row["entries"] += 1
        row["bytes"] += entry.bytes
    return sorted(found.values(), key=lambda row: row["kind"])
