# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m demo --out out`: a server, and two shots through it from Blender, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, wait
from pathlib import Path

from platebridge.client import Client
from rich.console import Console
from rich.table import Table

from . import extension

SHOTS = ("tower", "bricks")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the shots go; takes already there are kept")
    parser.add_argument("--shot", action="append", choices=SHOTS, help="this shot alone")
    chosen = parser.parse_args()
    console = Console()
    out = chosen.out.expanduser().resolve()
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="platebridge-demo-") as private:
        folder = Path(private)
        archive = extension.build(folder / "platebridge.zip")
        console.print("Starting the server ...")
        connection = folder / "connection.json"
        with open(out / "server.log", "w") as log:
            server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "platebridge_server",
                    "serve",
                    "--data",
                    str(folder / "server"),
                    "--connection",
                    str(connection),
                    "--port",
                    "0",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            with Client(connection, "demo") as client:
                if not _answers(client.ping(), server):
                    console.print(f"[red]The server did not start; {out / 'server.log'} says why.[/red]")
                    return 1
            for name in chosen.shot or SHOTS:
                console.rule(name)
                environment = dict(os.environ, BLENDER_USER_RESOURCES=str(folder / ("blender-" + name)))
                code = subprocess.call([sys.executable, "-m", "demo.run", name, str(out), str(connection), str(archive)], env=environment)
                if code:
                    console.print(
                        f"[red]The shot {name} did not get through; {out / name / 'log.txt'} and {out / 'server.log'} say more.[/red]"
                    )
                    return code
        finally:
            server.terminate()
            server.wait(timeout=60)
    _say_what_to_open(console, out, chosen.shot or list(SHOTS), time.monotonic() - began)
    return 0


def _answers(answer: Future, server: subprocess.Popen, seconds: int = 120) -> bool:
    """Whether the server answers within so many seconds; at once where it has ended."""
    for _ in range(seconds):
        if wait([answer], timeout=1.0).done:
            return answer.exception() is None
        if server.poll() is not None:
            return False
    return False


def _say_what_to_open(console: Console, out: Path, shots: list[str], seconds: float) -> None:
    table = Table("stage", *shots, title=f"Seconds ({seconds:.0f} in all)")
    timings = {name: json.loads((out / name / "timings.json").read_text())["stages"] for name in shots}
    stages = list(dict.fromkeys(stage for rows in timings.values() for stage in rows))
    for stage in stages:
        table.add_row(stage, *(f"{timings[name][stage]['seconds']:.1f}" if stage in timings[name] else "" for name in shots))
    console.print(table)
    for name in shots:
        console.print(f"Open [bold]{out / name / 'edit.blend'}[/bold] in Blender: plate and take stand on the sequencer.")
        console.print(
            f"Look at [bold]{out / name / 'contact_sheet.png'}[/bold], and play [bold]{_newest_take(out / name) / 'preview.mp4'}[/bold]."
        )


def _newest_take(folder: Path) -> Path:
    return max(folder.glob("take_*"))


if __name__ == "__main__":
    sys.exit(main())
