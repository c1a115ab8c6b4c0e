# SPDX-License-Identifier: Apache-2.0
"""`platebridge models list | add | fetch | verify | remove`: what there is, and bringing weights in and out.

`fetch` is the only command of ours that reaches for the network.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import typer
from platebridge.errors import ModelError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from .sequences import typed
from .stopping import Stop
from .told import size, told

app = typer.Typer(help="The models there are, and bringing weights in and out.")
out, err = Console(), Console(stderr=True)
_JSON = typer.Option(False, "--json", help="For programs.")


@app.callback(invoke_without_command=True)
def root(context: typer.Context, as_json: bool = typer.Option(False, "--json", help="The cards as they are.")) -> None:
    """The models there are, with licence, weights and limits; and bringing weights in and out."""
    if context.invoked_subcommand is None:
        _list(as_json, whole=True)
    elif as_json:  # a script would read sentences for JSON
        raise typer.BadParameter("Write it at the end: platebridge models %s … --json." % context.invoked_subcommand)


@app.command(name="list")
def list_(as_json: bool = _JSON) -> None:
    """The models there are: licence, size, and whether each is here or what to type for it."""
    _list(as_json, whole=False)


@app.command()
def add(
    folder: Path = typer.Argument(help="A folder in diffusers' layout: model_index.json, transformer, vae …"),
    card: Optional[Path] = typer.Option(None, "--card", help="The card of a model of your own; ours are recognised."),
    copy: bool = typer.Option(False, "--copy", help="Copy it into Platebridge's own folder; without, it stays where it is."),
    as_json: bool = _JSON,
) -> None:
    """Take in a model that was copied by hand. Every file is checked and hashed; nothing is fetched."""
    from .models import cards, store

    with told(as_json), Stop().listening(err) as stop, shown(as_json, "Hashing") as tell:
        known = cards.from_file(typed(card)) if card else None
        model = store.add(typed(folder), known, copy=copy, progress=tell, cancelled=stop)
    _say(model, as_json)


@app.command()
def fetch(
    name: str = typer.Argument(help="The model, as `platebridge models list` names it."),
    revision: str = typer.Option("", help="The commit to take, 40 hex digits; needed where the card pins none."),
    repository: str = typer.Option("", help="Another repository with the same model: owner/name."),
    as_json: bool = _JSON,
) -> None:
    """Fetch a model from the Hugging Face hub, or from the mirror that HF_ENDPOINT names. Goes on where it stopped."""
    from .models import fetching

    kept = "what was fetched is kept, and the same command goes on with it"
    with told(as_json), Stop(kept).listening(err) as stop, shown(as_json, "Fetching") as tell:
        _refuse_ours(name)
        model = fetching.fetch(name, revision, repository=repository, progress=tell, cancelled=stop)
    _say(model, as_json)


@app.command()
def verify(name: str = typer.Argument(help="The model."), as_json: bool = _JSON) -> None:
    """Read every byte of a model again, and compare it with what was taken in."""
    from .models import store

    with told(as_json), Stop().listening(err) as stop, shown(as_json, "Reading") as tell:
        _refuse_ours(name)
        model = store.verify(name, tell, stop)
    _say(model, as_json)


@app.command()
def remove(name: str = typer.Argument(help="The model."), as_json: bool = _JSON) -> None:
    """Take a model away, or what came of one before its fetch was broken off. A folder of yours that was only pointed at stays."""
    from .models import fetching, store

    with told(as_json):
        _refuse_ours(name)
        half = name not in store.names() and fetching.begun(name) > 0
        freed = fetching.give_up(name) if half else store.remove(name)
        if as_json:
            print(json.dumps({"removed": name, "freed": freed}))
        else:
            what = "What had come of %s" % name if half else name
            out.print("%s is gone; %s are free again." % (what, size(freed)), markup=False, highlight=False, soft_wrap=True)


def _refuse_ours(name: str) -> None:
    """Raises ModelError for a model that ships with Platebridge: it has no folder of its own."""
    from .models import registry

    if registry.ships(name):
        mend = "It is neither fetched nor removed; `platebridge doctor` verifies it."
        raise ModelError("The model %s is a part of Platebridge and always here." % name, mend)


def _list(as_json: bool, whole: bool) -> None:
    from .models import registry

    with told(as_json):
        cards = registry.cards()
        if as_json:
            print(json.dumps({str(card["name"]): card for card in cards}, indent=1))
        elif whole:
            for card in cards:
                table = Table(title=escape(str(card["name"])), show_header=False, title_justify="left")
                for key, value in card.items():
                    if key not in ("layout", "network"):
                        table.add_row(key, escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
                out.print(table)
        else:
            for row in rows(cards):
                line = tuple(escape(row[key]) for key in ("name", "licence", "size"))
                out.print("[bold]%s[/]  %s, %s" % line, highlight=False, soft_wrap=True)
                out.print("  " + row["state"], markup=False, highlight=False, soft_wrap=True)


def rows(cards: List[Dict[str, Any]]) -> List[Dict[str, str]]:
    """A row for each card: name, licence, size, and state: a sentence or the line to type."""
    from .models import fetching, store

    found = []
    for card in cards:
        name = str(card["name"])
        row = {"name": name, "licence": str(card.get("licence", "licence unknown")), "size": "ships with Platebridge", "state": "here"}
        if "problem" in card:
            row.update(size="size unknown", state="%(message)s %(mend)s" % card["problem"])
        elif card.get("installed") is False:
            low, high = card["source"]["gigabytes"]
            about = "about %d GB" % round(high) if low == high else "%d to %d GB" % (low, math.ceil(high))
            begun = fetching.begun(name)
            state = "not here; %s of it have come. To free them, type: platebridge models remove %s; to go on" % (size(begun), name)
            row.update(size=about, state="%s, type: %s" % (state if begun else "not here; to have it", card["install"]))
        elif card.get("installed"):
            model = store.find(name)
            assert model is not None  # its card has just said so
            row.update(size=size(model.bytes), state="here, in %s" % model.folder)
            try:
                store.check_there(model)
            except ModelError as error:
                row["state"] = str(error)
        found.append(row)
    return found


@contextlib.contextmanager
def shown(as_json: bool, doing: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for bytes on standard error, or nothing where a program reads."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    bar = Progress(*columns, console=err, disable=as_json, transient=True)
    with bar:
        task = bar.add_task(doing, total=None)

        def tell(file: str, done: int, total: int) -> None:
            bar.update(task, description="%s %s" % (doing, file), completed=done, total=total)

        yield tell


def _say(model: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"name": model.name, "folder": str(model.folder), **model.manifest}))
    else:
        found = escape(model.name), len(model.files), size(model.bytes), model.card["weights_sha256"][:12]
        out.print("[green]%s[/] is here and whole: %d files, %s, weights SHA-256 %s…" % found, highlight=False, soft_wrap=True)
        out.print("  in %s" % model.folder, markup=False, highlight=False, soft_wrap=True)
