# SPDX-License-Identifier: Apache-2.0
"""`python -m platebridge_server.training`: make the data, train, export and evaluate the dust model, train the matte's network.

Only reads arguments; the work is in the modules beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path

import typer
from platebridge.errors import ModelError

from platebridge_server.sequences import typed
from platebridge_server.told import told


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 up")
    return int(text)


def _seeds(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text} is no list of seeds like 3,5,8")
    return [int(part) for part in parts]


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is no number above 0, up to 1")


def _above_nothing(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is no number above 0")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="platebridge_server.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    make = commands.add_parser("make-data", help="simulate collapses into shards; goes on where it stopped")
    make.add_argument("--out", type=typed, required=True, help="folder of shards")
    make.add_argument("--simulations", type=_count, default=60, help="how many, each of its own seed")
    make.add_argument("--first-seed", type=int, default=0, help="those that follow it are taken; from 9000 on they are held out")
    make.add_argument("--seeds", type=_seeds, help="exactly these seeds, with commas")
    make.add_argument("--workers", type=_count, default=2, help="processes of one thread each; --seeds are made one after another")
    make.add_argument("--chance", type=int, default=0, help="not 0: another truth under the same guide, to judge by")

    users = commands.add_parser("make-guides", help="guides as users' are, for `distil`, beside the shards; goes on where it stopped")
    users.add_argument("--out", type=typed, required=True, help="folder of shards")
    users.add_argument("--shots", type=_count, default=21, help="how many, each of its own seed")
    users.add_argument("--first-seed", type=int, default=0, help="those that follow it are taken; from 9000 on they are held out")

    sheet = commands.add_parser("sheet", help="a contact sheet of shards, to look at")
    sheet.add_argument("--data", type=typed, required=True, help="folder of shards")
    sheet.add_argument("--png", type=typed, required=True, help="the picture's file")
    sheet.add_argument("--count", type=_count, default=8, help="so many shards at most")
    sheet.add_argument("--held-out", action="store_true", help="of those to judge by, instead of those to train on")

    train = commands.add_parser("train", help="train on the shards there are, and on those that come")
    train.add_argument("--data", type=typed, help="folder of shards; --out's own if not given")
    train.add_argument("--set", type=typed, help="a studio's shots (docs/dust.md): made into shards beside the others first")
    train.add_argument("--out", type=typed, required=True, help="folder of the run: checkpoints, log, curves, strips")
    train.add_argument("--minutes", type=_above_nothing, required=True, help="in all: those before a --resume count")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")
    train.add_argument("--from", dest="start", help="begin from weights: `dust` for the shipped ones, or a folder in diffusers' layout")
    train.add_argument("--processes", type=_count, default=1, help="training at once, on the processor; if it is busy, better than threads")
    train.add_argument("--threads", type=_count, default=2, help="of each process")
    late = "frames of a crop in the last third; other than 8, all is compiled anew"
    train.add_argument("--late-frames", type=_count, default=14, help=late)
    train.add_argument("--device", help="cpu, cuda:0 …; the best there is, when left out")
    train.add_argument("--no-compile", action="store_true", help="do without torch.compile, which needs a C++ compiler here")

    distil = commands.add_parser("distil", help="teach the few evaluations of a final what no mean can show: train them against a critic")
    distil.add_argument("--data", type=typed, required=True, help="folder of shards, and of users' guides")
    distil.add_argument("--from", dest="start", required=True, help="weights to begin from: `dust`, or a folder that `export --to` wrote")
    distil.add_argument("--out", type=typed, required=True, help="folder of the run: checkpoints, log, curves, strips")
    distil.add_argument("--minutes", type=_above_nothing, required=True, help="in all: those before a --resume count")
    distil.add_argument("--steps", type=_count, default=2, help="evaluations of the sampler that will use the weights")
    distil.add_argument("--sigma-min", type=_above_nothing, default=0.8, help="noise that its last evaluation finds")
    distil.add_argument("--threads", type=_count, default=1, help="of the processor")
    distil.add_argument("--resume", action="store_true", help="go on with the run in --out")
    distil.add_argument("--device", help="cpu, cuda:0 …; the best there is, when left out")
    distil.add_argument("--no-compile", action="store_true", help="do without torch.compile, which needs a C++ compiler here")

    export = commands.add_parser("export", help="write a checkpoint's averaged weights, and how they came to be")
    export.add_argument("--run", type=typed, required=True, help="the run's folder, as --out had it")
    export.add_argument("--version", required=True, help="what the card calls them")
    place = export.add_mutually_exclusive_group(required=True)
    place.add_argument("--to", type=typed, help="a folder of weights")
    place.add_argument("--ship", action="store_true", help="in the place of the package's own weights and card")
    export.add_argument("--share", type=_share, default=1.0, help="so much of what the run learned, the rest being the weights in --start")
    export.add_argument("--start", help="the weights that the run began from, as --from had them")

    _evaluation(commands.add_parser("evaluate", help="measure the shipped model on held-out simulations"))

    matte = commands.add_parser("train-matte", help="train the network that tells dust from plate in a generated picture")
    matte.add_argument("--data", type=typed, required=True, help="folder of shards")
    matte.add_argument("--out", dest="matte", metavar="OUT", type=typed, required=True, help="the weights' file, .safetensors")
    matte.add_argument("--minutes", type=_above_nothing, required=True, help="of training, once the pictures are made")
    matte.add_argument("--pictures", type=_count, default=1500, help="how many to learn from; they are made first")
    matte.add_argument("--threads", type=_count, default=2, help="of the processor")
    matte.add_argument("--seed", type=int, default=1, help="of chance: another gives other pictures")
    matte.add_argument("--from", dest="start", type=typed, help="weights to go on from")
    return parser


def _evaluation(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the options of `evaluate`."""
    lacks = "folder of shards; held-out ones that it lacks are made"
    parser.add_argument("--data", type=typed, default=Path(".cache/dust_data"), help=lacks)
    parser.add_argument("--set", type=typed, help="judge takes against the truths of this folder of shots (docs/dust.md)")
    parser.add_argument("--out", type=typed, help="of a --set: a folder in which the takes stay that it is judged by")
    parser.add_argument("--weights", help="judge these instead of the shipped ones: a folder that `export --to` wrote")
    parser.add_argument("--json", type=typed, help="write the figures here too")
    parser.add_argument("--strip", type=typed, help="write guide | result | truth as a PNG")
    parser.add_argument("--simulations", type=_count, default=4, help="of the main rows; two views each")
    parser.add_argument("--device", help="cpu if not given; of a --set the best there is")
    parser.add_argument("--floor", action="store_true", help="judge another truth under the same guide too: as good as can be")
    parser.set_defaults(own=parser)
    return parser


def _weights(named: str | None) -> Path | None:
    """The folder of weights: `dust` is the one that ships. Raises ModelError where there are none in it."""
    from platebridge_server.models.dust.network import WEIGHTS_FILE
    from platebridge_server.models.dust.sampling import WEIGHTS
    from platebridge_server.models.dust.scheduler import OPTIONS_FILE

    if named is None:
        return None
    folder = WEIGHTS if named == "dust" else typed(named)
    if not all((folder / part).is_file() for part in ("unet/config.json", f"unet/{WEIGHTS_FILE}", f"scheduler/{OPTIONS_FILE}")):
        raise ModelError(f"{folder} holds no weights of the dust model.", "Give a folder that `export --to` wrote.")
    return folder


def _refuse(options: argparse.Namespace) -> None:
    """What would fail at the end of long work, or in the midst of it. Raises RequestError, StorageError."""
    if getattr(options, "device", None):
        from platebridge_server import devices

        devices.check(options.device)
    for name in ("json", "strip", "png", "matte"):
        if getattr(options, name, None):
            from platebridge_server.command_generate import check_writable

            check_writable(getattr(options, name).parent, "--out" if name == "matte" else f"--{name}")


def entry(argv: list[str] | None = None) -> int:
    """The command as it is typed: what goes wrong in one sentence, and an exit code, as `platebridge` has them."""
    try:
        with told(False):
            return main(argv)
    except typer.Exit as end:
        return end.exit_code


def eval_dust(argv: list[str]) -> None:
    """`platebridge eval-dust`: what `evaluate` does, under that name. Raises PlatebridgeError."""
    parser = argparse.ArgumentParser(prog="platebridge eval-dust", description="Measure the dust model on simulations it has not seen.")
    options = _evaluation(parser).parse_args(argv)
    _refuse(options)
    _evaluate(options)


def _evaluate(options: argparse.Namespace) -> None:
    if options.set:
        from platebridge_server.training import studio

        usual = _evaluation(argparse.ArgumentParser()).parse_args([])
        lost = [f"--{name}" for name in ("data", "strip", "simulations", "floor") if getattr(options, name) != getattr(usual, name)]
        if lost:
            options.own.error(f"{', '.join(lost)}: of held-out simulations, which --set does not judge by")
        if options.out:
            from platebridge_server.command_generate import check_writable

            check_writable(options.out)
        studio.run(options.set, options.json, _weights(options.weights), options.device, options.out)
    else:
        from platebridge_server.training import evaluate

        if options.out:
            options.own.error("--out: of a --set; held-out simulations are judged by no takes (--strip shows them)")
        evaluate.run(options.data, _weights(options.weights), options.json, options.strip, options.simulations, options.device or "cpu",
                     options.floor)


def main(argv: list[str] | None = None) -> int:
    """Raises PlatebridgeError."""
    parser = _arguments()
    options = parser.parse_args(argv)
    _refuse(options)
    if options.command in ("train", "distil") and options.device is None:
        from platebridge_server import devices

        options.device = "cpu" if getattr(options, "processes", 1) > 1 else devices.best()
    if getattr(options, "processes", 1) > 1 and options.device != "cpu":
        parser.error("--processes above 1 is for the processor: on a GPU one process does it all")
    if options.command == "make-data":
        from platebridge_server.training import data

        if options.seeds:
            for seed in options.seeds:
                data.make(options.out, 1, seed, chance=options.chance)
        else:
            data.make(options.out, options.simulations, options.first_seed, options.workers, options.chance)
    elif options.command == "make-guides":
        from platebridge_server.training import users

        users.make(options.out, options.shots, options.first_seed)
    elif options.command == "sheet":
        from platebridge_server.training import data

        data.contact_sheet(options.data, options.png, options.count, options.held_out)
    elif options.command == "train":
        from platebridge_server.training import train

        start = _weights(options.start)
        folder = options.data or options.out / "data"
        if options.set:
            from platebridge_server.training import studio_data

            studio_data.make(options.set, folder)
        train.train_together(folder, options.out, options.minutes, options.processes, resume=options.resume, threads=options.threads,
                             device=options.device, compiled=not options.no_compile, start=start, late_frames=options.late_frames)
    elif options.command == "distil":
        from platebridge_server.training import distil

        distil.distil(options.data, _weights(options.start), options.out, options.minutes, steps=options.steps, sigma_min=options.sigma_min,
                      threads=options.threads, device=options.device, compiled=not options.no_compile, resume=options.resume)
    elif options.command == "export":
        from platebridge_server.training import train

        if (options.share < 1) != (options.start is not None):
            parser.error("--share below 1 and --start go together: the rest is the weights in --start")
        train.export(options.run, options.version, options.to, _weights(options.start), options.share)
    elif options.command == "train-matte":
        from platebridge_server.training import matting

        matting.train(options.data, options.matte, options.minutes, options.pictures, options.threads, options.seed, options.start)
    else:
        _evaluate(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(entry())
