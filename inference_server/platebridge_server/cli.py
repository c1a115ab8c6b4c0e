# SPDX-License-Identifier: Apache-2.0
"""`platebridge`, the command: serve, stop, generate, models, takes, cache, doctor, eval-dust, eval-model.

It reads options, shows events and turns errors into one sentence and an exit code: 0 done, 1 it could not be done, 2 the
request or an input is at fault, 130 cancelled. What it does stands in the modules it calls.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import platebridge
import typer
from platebridge import events, presets, takes
from platebridge import wedge as wedges
from platebridge.connection import PORT
from platebridge.curves import Curve
from platebridge.dials import DIALS, find
from platebridge.errors import Cancelled, InputError, PlatebridgeError, RequestError
from platebridge.frames import parse_range
from platebridge.request import OutputSettings, ShotSettings, differing_dials, from_dict, shot_name
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperCommand

from . import command_cache, command_models, sheet
from . import command_generate as command
from .sequences import PATTERN, typed
from .stopping import Stop
from .told import told

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Dust and debris over a shot, float pixels untouched."
)
app.add_typer(command_models.app, name="models")
app.add_typer(command_cache.app, name="cache")
out, err = Console(), Console(stderr=True)


class Bars:
    """Events as progress bars and sentences on standard error."""

    def __init__(self) -> None:
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=err)
        self._tasks: Dict[str, Any] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, event: events.Event) -> None:
        if isinstance(event, events.Progress):
            if event.phase not in self._tasks:
                self._tasks[event.phase] = self._bars.add_task(events.PHASES.get(event.phase, event.phase), total=event.total)
            self._bars.update(self._tasks[event.phase], completed=event.done, total=event.total)
        elif isinstance(event, events.Warned):
            self._bars.console.print("[yellow]Note:[/] ", escape(str(event)), sep="", markup=True, highlight=False)


class Lines:
    """Events as JSON, a line each, on standard output: for farms and scripts. Files are named, not shown."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, event: events.Event) -> None:
        if not isinstance(event, events.Preview):
            fields = {k: v for k, v in vars(event).items() if k != "data"}
            print(json.dumps({"event": type(event).__name__, **fields}), flush=True)


class ServerMayBeNamed(TyperCommand):
    """`--server` alone is this machine's server, `--server FILE` the one of that connection file: Typer knows no option like it."""

    def parse_args(self, ctx, args: List[str]) -> List[str]:
        args = ["--connection" + arg[len("--server") :] if arg.startswith("--server=") else arg for arg in args]
        for at, (option, value) in enumerate(zip(args, args[1:])):
            if option == "--server" and not value.startswith("-"):
                args = [*args[:at], "--connection", *args[at + 1 :]]
                break
        return super().parse_args(ctx, args)


def _version(asked: bool) -> None:
    if asked:
        print(platebridge.__version__)
        raise typer.Exit()


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version.")) -> None:
    """Dust and debris over a shot, float pixels untouched."""


@app.command(cls=ServerMayBeNamed)
def generate(
    plate: str = typer.Option("", help="The plate, scene-linear OpenEXR: 'plate.####.exr'."),
    depth: str = typer.Option("", help="Its depth, one channel or depth.Z."),
    mask: str = typer.Option("", help="What collapses: 1 inside, one channel or alpha."),
    vectors: str = typer.Option("", help="Motion vectors, where there are any: they set the first push."),
    guide: str = typer.Option("", help="Your own guide instead of the simulated one: premultiplied RGBA of any size, with or without Z."),
    reference: List[Path] = typer.Option([], help="A picture of what it should look like, for models that paint. May be given again."),
    camera: Optional[Path] = typer.Option(None, help="camera.json; without one, a 35 mm camera that stands still."),
    frames: str = typer.Option("", help="Inclusive: 1001-1048."),
    out_folder: Path = typer.Option(Path("takes"), "--out", help="Where take_0001, take_0002 … are put."),
    shot: str = typer.Option("", help="The shot's name; the plate's, when left out."),
    depth_kind: str = typer.Option(
        "z", help="z (along the camera's axis), distance (along the ray), inverse (1/Z), near_one or near_zero (normalised)."
    ),
    depth_scale: float = typer.Option(1.0, help="Metres per unit of the depth; of a normalised one, metres to its far end."),
    bad_pixels: str = typer.Option("refuse", help="NaN and infinity in the inputs: refuse or scrub."),
    plate_channels: str = typer.Option("", help="Channels to take, like 'beauty.R,beauty.G,beauty.B'."),
    depth_channels: str = typer.Option("", "--depth-channels", "--depth-channel", help="Channel to take, like 'ViewLayer.Depth.Z'."),
    mask_channels: str = typer.Option("", "--mask-channels", "--mask-channel", help="Channel to take, like 'matte.A'."),
    vectors_channels: str = typer.Option("", help="Channels to take, like 'ViewLayer.Vector.X,ViewLayer.Vector.Y'."),
    guide_channels: str = typer.Option("", help="Channels to take: red, green, blue, alpha."),
    fps: float = typer.Option(24.0, help="Frames per second: gravity and speeds go by it."),
    working_space: str = typer.Option("Linear Rec.709", help="The scene-linear space the plate is in, by name."),
    model: str = typer.Option("dust", help="`platebridge models list` shows them."),
    seed: Optional[int] = typer.Option(None, help="Another seed, another take beside it."),
    set_: List[str] = typer.Option(
        [],
        "--set",
        help="Turn a dial: amount=1.4, or over the shot: amount=1001:0.2,1048:2. May be given again and again. The dials: %s."
        % ", ".join(DIALS),
    ),
    preset: str = typer.Option("", help="Dials that go together: %s. Those of --dials and --set win over it." % ", ".join(presets.PRESETS)),
    dials_file: Optional[Path] = typer.Option(None, "--dials", help="A JSON file of dials; those that are --set win over it."),
    wedge: List[str] = typer.Option(
        [],
        help="A take for each value of a dial, and a contact sheet: density=0.5,1,2 (colours: tint='0.6,0.5,0.4;0.3,0.3,0.3'). "
        "Twice, for each pair of two dials' values.",
    ),
    simulation_of: Optional[Path] = typer.Option(None, help="A take's folder: the same cloud, seen by this shot's camera. Needs no mask."),
    draft: bool = typer.Option(False, "--draft", help="The quickest quality: fewer steps."),
    no_guide: bool = typer.Option(False, "--no-guide-files", help="Leave guide.####.exr out of the take."),
    picture: bool = typer.Option(False, "--picture-files", help="Keep what a painting model made before the comp: picture.####.exr."),
    no_preview: bool = typer.Option(False, "--no-preview", help="Leave preview.mp4 out of the take."),
    server: bool = typer.Option(False, "--server", help="Have the running server do it; --server FILE the one of that connection file."),
    connection: Optional[Path] = typer.Option(None, hidden=True, help="The same as --server FILE."),
    device: Optional[str] = typer.Option(None, help="cpu, cuda:0 …; the best there is, when left out. Not with --server: it has its own."),
    resume: Optional[Path] = typer.Option(None, help="Go on with an interrupted take's folder; no other option is needed."),
    as_json: bool = typer.Option(False, "--json", help="Events as JSON lines instead of bars."),
) -> None:
    """Generate dust over a shot: OpenEXR sequences in, a take folder out. Needs no server and no Blender."""
    use_server = server or connection is not None
    done: List[Path] = []
    try:
        with told(as_json), Stop("the frames that came are kept").listening(err) as stop, Lines() if as_json else Bars() as shown:
            def looking(event: events.Event) -> None:
                """While files are read and hashed, which may take minutes."""
                if stop():
                    raise Cancelled()
                shown.show(event)

            if use_server and device is not None:
                raise RequestError("A server works on its own device.", "Leave --device out, or give it to `platebridge serve`.")
            if resume is not None:
                request, by_hash, writer = command.resumed(resume, looking)
                if not writer.finished:  # one that was killed just before its end has everything
                    _make(request, by_hash, writer, shown, stop, use_server, connection, device, again=True)
                _made(writer.path, done, as_json)
            else:
                patterns = {"plate": plate, "depth": depth, "mask": mask, "vectors": vectors, "guide": guide}
                for name in ("plate", "depth", "mask"):
                    if not patterns[name] and not (name == "mask" and simulation_of):
                        raise RequestError("The %s is missing." % name, "Give --%s 'path/%s.####.exr'." % (name, name), input=name)
                if not frames:
                    raise RequestError("The frame range is missing.", "Give --frames 1001-1048.")
                named = {
                    "plate": plate_channels,
                    "depth": depth_channels,
                    "mask": mask_channels,
                    "vectors": vectors_channels,
                    "guide": guide_channels,
                }
                dials = dict(presets.find(preset).dials) if preset else {}
                dials.update(command.read_dials(dials_file) if dials_file else {}, **_dials(set_))
                dials.update({"seed": seed} if seed is not None else {}, **({"quality": "draft"} if draft else {}))
                sources = command.Sources(
                    {name: pattern for name, pattern in patterns.items() if pattern},
                    {name: tuple(c.strip() for c in text.split(",")) for name, text in named.items() if text},
                    tuple(map(str, reference)),
                )
                request = command.asked(
                    shot_name(shot) if shot else _shot_of(plate),
                    parse_range(frames),
                    ShotSettings(depth_kind, depth_scale, bad_pixels, working_space, fps),
                    camera=camera,
                    model=model,
                    dials=dials,
                    simulation_of=simulation_of,
                    output=OutputSettings(not no_guide, not no_preview, picture=picture),
                )
                wanted = wedges.wedge(request, [wedges.read_values(typed_) for typed_ in wedge]) if wedge else [request]
                if simulation_of is not None:
                    command.refuse_another_simulation(wanted, simulation_of)
                if use_server:
                    command.refuse_there(connection)
                else:
                    command.refuse_here(wanted, device, len(sources.references))
                command.check_writable(out_folder)
                wanted, by_hash = command.with_files(wanted, sources, looking)
                for one in wanted:
                    writer = command.begin(one, sources, out_folder, by_hash)
                    _make(one, by_hash, writer, shown, stop, use_server, connection, device)
                    _made(writer.path, done, as_json)
    finally:  # of a wedge that ends early, those that are whole
        if not as_json:
            _say_what_to_open(done)


def _make(request, by_hash, writer, shown, stop: Stop, use_server: bool, connection, device, again: bool = False) -> None:
    """One take to its end, here or by a server; says how to go on with it if it doesn't come to that."""
    try:
        if use_server:
            command.run_there(request, by_hash, writer, shown.show, stop, connection, again)
        else:
            command.run_here(request, by_hash, writer, shown.show, stop, device)
    except BaseException:
        if not (use_server or again):
            command.forget_if_empty(writer)
        if (writer.path / takes.MARKER).exists():
            there = " --server" + (" " + _quoted(connection) if connection else "") if use_server else ""
            err.print(
                "What came is kept. To go on: platebridge generate --resume %s%s" % (_quoted(writer.path), there),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        raise


def _quoted(path: Path) -> str:
    """A path as it is typed in a shell of this system."""
    return '"%s"' % path if os.name == "nt" else shlex.quote(str(path))


@app.command()
def serve(
    data: Optional[Path] = typer.Option(None, help="Where jobs and files are kept."),
    bind: Optional[str] = typer.Option(
        None, help="An address that others can reach; needs --client-keys. This machine alone, when left out."
    ),
    port: int = typer.Option(PORT, min=0, max=65535, help="TCP port, or the next free one; 0 takes any."),
    ipc: bool = typer.Option(True, "--ipc/--no-ipc", help="A Unix socket beside TCP, where there is one."),
    device: Optional[str] = typer.Option(None, help="cpu, cuda:0 …, several with commas; the best there is, when left out."),
    connection: Optional[Path] = typer.Option(None, help="Where to write the connection file."),
    client_keys: Optional[Path] = typer.Option(None, help="A file of clients' public keys, one a line."),
) -> None:
    """Run the server until Ctrl-C. Jobs that an earlier one left go on."""
    from .server import serve as run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with told(False):
        if data is not None:
            command.check_writable(data, "--data")
        command.refuse_devices(device or "")
        run(_typed(data), bind, port, ipc, device, _typed(connection), client_keys=_typed(client_keys))


@app.command()
def stop(connection: Optional[Path] = typer.Option(None, help="Connection file, when it is not the usual one.")) -> None:
    """Stop the server that runs here, whoever started it. What it was making goes on when it is started again."""
    from .server import stop as end

    with told(False):
        out.print("The server (process %d) has ended." % end(_typed(connection)), highlight=False)


@app.command(name="takes")
def takes_(
    folder: Path = typer.Argument(help="The folder that holds take_0001, take_0002 …"),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """The takes in a folder and the dials in which they differ."""
    with told(as_json):
        folder = typed(folder)
        there, faults = takes.read_takes(folder)
        if not there and not faults:
            raise InputError("There are no takes in %s." % folder, "Give the folder that holds take_0001.")
        found, requests = [], []
        for take in there:
            try:
                tree = (take.document or take.note).get("request")
                requests.append(from_dict(tree) if tree else None)
                found.append(take)
            except PlatebridgeError as error:  # of a newer Platebridge, for instance
                faults.append(InputError("%s can't be listed: %s" % (take.path, error.message), error.mend))
        for fault in faults if found else faults[1:]:
            err.print(str(fault), style="yellow", highlight=False, markup=False, soft_wrap=True)
        if not found:
            raise faults[0]
        first = next((r for r in requests if r), None)
        varied = sorted({name for r in requests if r and first for name in differing_dials(first, r)})
        rows = []
        for take, request in zip(found, requests):
            dials = request.dial_values() if request else {}
            seconds = take.document.get("seconds")
            rows.append(
                {
                    "take": take.path.name,
                    "state": "whole" if take.finished else "unfinished",
                    "frames": str(request.frames) if request else "?",
                    "model": request.model.name if request else "?",
                    "seconds": seconds.get("total") if isinstance(seconds, dict) else None,
                    **{name: _readable(dials.get(name), as_json) for name in varied},
                }
            )
        if as_json:
            print(json.dumps(rows, indent=1))
            return
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*(escape(_in_a_cell(value)) for value in row.values()))
        out.print(table)


@app.command()
def doctor(
    connection: Optional[Path] = typer.Option(None, help="Connection file, when it is not the usual one."),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """What is there, and what to do about what is not: versions, devices, memory, disk, ports, models, a round trip."""
    from .doctor import examine

    with told(as_json):
        findings = examine(_typed(connection))
        if as_json:
            print(json.dumps([vars(f) for f in findings], indent=1))
        else:
            table = Table(show_header=False, box=None, pad_edge=False)
            for f in findings:
                said = escape(f.found) + ("" if f.good else "\n[bold]%s[/]" % escape(f.mend))
                table.add_row("[green]ok[/]" if f.good else "[red]no[/]", escape(f.what), said)
            out.print(table)
    if not all(f.good for f in findings):
        raise typer.Exit(1)


@app.command(name="eval-dust", add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def eval_dust(context: typer.Context) -> None:
    """Measure the dust model on simulations it has not seen; --help lists the options."""
    from .training.__main__ import eval_dust as training

    with told(False):
        training(context.args)


@app.command(name="eval-model")
def eval_model(
    model: str = typer.Argument(help="The model, as `platebridge models` names it."),
    folder: Path = typer.Option(..., "--set", help="A folder of shots with their truths; docs/dust.md shows how it is laid out."),
    json_path: Optional[Path] = typer.Option(None, "--json", help="Write the figures here too."),
    sheets: Optional[Path] = typer.Option(None, "--sheets", help="A folder for contact sheets, a PNG for each shot."),
) -> None:
    """Measure a model on your own shots: drift outside the mask, place, warp error, flicker, seams, PU21-PSNR."""
    from .training import eval_model as training

    with told(False):
        training.run(model, typed(folder), _typed(json_path), _typed(sheets))


def _typed(path: Optional[Path]) -> Optional[Path]:
    """Of an option that may be left out."""
    return None if path is None else typed(path)


def _dials(items: List[str]) -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise RequestError("%r turns no dial." % item, "Write name=value, like amount=1.4.")
        values[find(name.strip()).name] = value.strip()
    return values


def _readable(value: Any, as_json: bool) -> Any:
    """A dial's value for the list of takes; a curve and a colour in a word, or in full for scripts."""
    if as_json:
        return str(value) if isinstance(value, Curve) else value
    return wedges.shown(value) if isinstance(value, (Curve, tuple)) else value


def _in_a_cell(value: Any) -> str:
    if isinstance(value, float):
        return "%.4g" % value if abs(value) < 1000 else "%.0f" % value  # seconds of a final
    return "" if value is None else str(value)


def _shot_of(plate: str) -> str:
    """A name for the shot from the plate's: 'sh010_plate.####.exr' is sh010_plate."""
    stem = PATTERN.split(Path(plate).name.split(".")[0])[0].strip("_- .")
    try:
        return shot_name(stem or "shot")
    except RequestError as error:
        raise RequestError(error.message, "Give the shot another name than the plate's: --shot sh010.") from None


def _made(path: Path, done: List[Path], as_json: bool) -> None:
    """A take is whole: a script is told at once, a person when all are."""
    done.append(path)
    if as_json:
        print(json.dumps({"event": "Take", "path": str(path)}), flush=True)


def _say_what_to_open(done: List[Path]) -> None:
    """Of the takes that are whole, where they lie and which file is what."""
    for path in done:
        out.print("[green]Done.[/] %s" % escape(str(path)), highlight=False, soft_wrap=True)
        out.print("  over the plate:  comp.####.exr", highlight=False)
        out.print("  as a layer:      effect.####.exr (premultiplied RGBA and Z, its light and shadow as layers)", highlight=False)
        if (path / "preview.mp4").exists():
            out.print("  to look at:      %s" % (path / "preview.mp4"), markup=False, highlight=False, soft_wrap=True)
    if done and (done[-1] / sheet.NAME).exists():
        out.print("The whole wedge at a glance: %s" % (done[-1] / sheet.NAME), markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """The command itself. What it says may find a full disk, or nobody who reads it any more."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold what the terminal's code, or any code, has no letter for
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            print(end="", flush=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE):
            raise
        if error.errno != errno.EPIPE:
            err.print("The disk is full: not all could be written. Make room, then try again.", style="red", highlight=False)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in Python's hands would fail again at its end
        sys.exit(1)
