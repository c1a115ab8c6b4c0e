# SPDX-License-Identifier: Apache-2.0
"""`python -m platebridge_server.training`: make the data, train, export and evaluate the dust model, train the matte's network.

Only reads arguments; the work is in the modules beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="platebridge_server.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    make = commands.add_parser("make-data", help="simulate collapses into shards; goes on where it stopped")
    make.add_argument("--out", type=Path, required=True)
    make.add_argument("--simulations", type=int, default=60)
    make.add_argument("--first-seed", type=int, default=0)
    make.add_argument("--seeds", help="exactly these seeds, with commas")
    make.add_argument("--workers", type=int, default=2)
    make.add_argument("--chance", type=int, default=0, help="not 0: another truth under the same guide, to judge by")

    users = commands.add_parser("make-guides", help="guides as users' are, for `distil`, beside the shards; goes on where it stopped")
    users.add_argument("--out", type=Path, required=True)
    users.add_argument("--shots", type=int, default=21)
    users.add_argument("--first-seed", type=int, default=0)

    sheet = commands.add_parser("sheet", help="a contact sheet of shards, to look at")
    sheet.add_argument("--data", type=Path, required=True)
    sheet.add_argument("--png", type=Path, required=True)
    sheet.add_argument("--count", type=int, default=8)
    sheet.add_argument("--held-out", action="store_true")

    train = commands.add_parser("train", help="train on the shards there are, and on those that come")
    train.add_argument("--data", type=Path, help="folder of shards; --out's own if not given")
    train.add_argument("--set", type=Path, help="a studio's shots (docs/dust.md): made into shards beside the others first")
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--minutes", type=float, required=True)
    train.add_argument("--resume", action="store_true")
    train.add_argument("--from", dest="start", help="begin from weights: `dust` for the shipped ones, or a folder in diffusers' layout")
    train.add_argument("--processes", type=int, default=1, help="train in several processes; on a busy machine better than threads")
    train.add_argument("--threads", type=int, default=2, help="of each process")
    train.add_argument("--late-frames", type=int, default=14, help="frames of a crop in the last third; other than 8, all is compiled anew")
    train.add_argument("--device", default="cpu")
    train.add_argument("--no-compile", action="store_true", help="do without torch.compile, which needs a C++ compiler here")

    distil = commands.add_parser("distil", help="teach the few evaluations of a final what no mean can show: train them against a critic")
    distil.add_argument("--data", type=Path, required=True)
    distil.add_argument("--from", dest="start", required=True, help="weights to begin from: `dust`, or a folder that `export --to` wrote")
    distil.add_argument("--out", type=Path, required=True)
    distil.add_argument("--minutes", type=float, required=True)
    distil.add_argument("--steps", type=int, default=2, help="evaluations of the sampler that will use the weights")
    distil.add_argument("--sigma-min", type=float, default=0.8, help="noise that its last evaluation finds")
    distil.add_argument("--threads", type=int, default=1)
    distil.add_argument("--resume", action="store_true")
    distil.add_argument("--device", default="cpu")
    distil.add_argument("--no-compile", action="store_true")

    export = commands.add_parser("export", help="write a checkpoint's averaged weights, and how they came to be")
    export.add_argument("--run", type=Path, required=True)
    export.add_argument("--version", required=True)
    place = export.add_mutually_exclusive_group(required=True)
    place.add_argument("--to", type=Path, help="a folder of weights")
    place.add_argument("--ship", action="store_true", help="in the place of the package's own weights and card")
    export.add_argument("--share", type=float, default=1.0, help="so much of what the run learned, the rest being the weights in --start")
    export.add_argument("--start", type=Path, help="the weights that the run began from")

    evaluate = commands.add_parser("evaluate", help="measure the shipped model on held-out simulations")
    evaluate.add_argument("--data", type=Path, default=Path(".cache/dust_data"))
    evaluate.add_argument("--set", type=Path, help="judge takes against the truths of this folder of shots (docs/dust.md)")
    evaluate.add_argument("--weights", type=Path)
    evaluate.add_argument("--json", type=Path)
    evaluate.add_argument("--strip", type=Path, help="write guide | result | truth as a PNG")
    evaluate.add_argument("--simulations", type=int, default=4)
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument("--floor", action="store_true", help="judge another truth under the same guide too: as good as can be")

    matte = commands.add_parser("train-matte", help="train the network that tells dust from plate in a generated picture")
    matte.add_argument("--data", type=Path, required=True)
    matte.add_argument("--out", type=Path, required=True, help="the weights' file, .safetensors")
    matte.add_argument("--minutes", type=float, required=True)
    matte.add_argument("--pictures", type=int, default=1500)
    matte.add_argument("--threads", type=int, default=2)
    matte.add_argument("--seed", type=int, default=1)
    matte.add_argument("--from", dest="start", type=Path, help="weights to go on from")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = _arguments()
    options = parser.parse_args(argv)
    if options.command == "make-data":
        from platebridge_server.training import data

        if options.seeds:
            for seed in options.seeds.split(","):
                data.make(options.out, 1, int(seed), chance=options.chance)
        else:
            data.make(options.out, options.simulations, options.first_seed, options.workers, options.chance)
    elif options.command == "make-guides":
        from platebridge_server.training import users

        users.make(options.out, options.shots, options.first_seed)
    elif options.command == "sheet":
        from platebridge_server.training import data

        data.contact_sheet(options.data, options.png, options.count, options.held_out)
    elif options.command == "train":
        from platebridge_server.models.dust.sampling import WEIGHTS
        from platebridge_server.training import train

        start = WEIGHTS if options.start == "dust" else options.start and Path(options.start)
        folder = options.data or options.out / "data"
        if options.set:
            from platebridge_server.training import studio_data

            studio_data.make(options.set, folder)
        train.train_together(folder, options.out, options.minutes, options.processes, resume=options.resume, threads=options.threads,
                             device=options.device, compiled=not options.no_compile, start=start, late_frames=options.late_frames)
    elif options.command == "distil":
        from platebridge_server.models.dust.sampling import WEIGHTS
        from platebridge_server.training import distil

        start = WEIGHTS if options.start == "dust" else Path(options.start)
        distil.distil(options.data, start, options.out, options.minutes, steps=options.steps, sigma_min=options.sigma_min,
                      threads=options.threads, device=options.device, compiled=not options.no_compile, resume=options.resume)
    elif options.command == "export":
        from platebridge_server.training import train

        if (options.share < 1) != (options.start is not None):
            parser.error("--share below 1 and --start go together: the rest is the weights in --start")
        train.export(options.run, options.version, options.to, options.start, options.share)
    elif options.command == "train-matte":
        from platebridge_server.training import matting

        matting.train(options.data, options.out, options.minutes, options.pictures, options.threads, options.seed, options.start)
    elif options.set:
        from platebridge_server.training import studio

        studio.run(options.set, options.json)
    else:
        from platebridge_server.training import evaluate

        evaluate.run(options.data, options.weights, options.json, options.strip, options.simulations, options.device, options.floor)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
