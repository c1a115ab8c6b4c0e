# SPDX-License-Identifier: Apache-2.0
"""How a command ends when something goes wrong: one sentence, and an exit code. 1 it could not be done, 2 the request or an input
is at fault, 130 cancelled. Sizes as people read them. Every command's module may know this; this one must know none of them."""

from __future__ import annotations

import contextlib
import json
from typing import Iterator

import typer
from platebridge.errors import Cancelled, InputError, PlatebridgeError, RequestError, StorageError
from rich.console import Console

err = Console(stderr=True)


@contextlib.contextmanager
def told(as_json: bool) -> Iterator[None]:
    """Errors as one sentence and an exit code."""
    try:
        yield
    except (PlatebridgeError, OSError) as problem:
        error = problem if isinstance(problem, PlatebridgeError) else _of_a_place(problem)
        if as_json:
            print(json.dumps({"event": "Failed", "error": error.to_dict()}), flush=True)
        else:
            err.print(str(error), style="yellow" if isinstance(error, Cancelled) else "red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130 if isinstance(error, Cancelled) else 2 if isinstance(error, (RequestError, InputError)) else 1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _of_a_place(problem: OSError) -> StorageError:
    """What the system refused at a path, where nobody had a better sentence for it. Another OSError, a pipe's for instance, is raised."""
    if problem.filename is None:
        raise problem
    said = "%s can't be used (%s)." % (problem.filename, problem.strerror or problem)
    return StorageError(said, "See to the path, its access and its disk.")


def size(count: float) -> str:
    """Bytes as people read them: 1_500_000 is "1.5 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return ("%.0f %s" if unit == "bytes" else "%.1f %s") % (count, unit)
        count /= 1000.0
    return "%.1f TB" % count
