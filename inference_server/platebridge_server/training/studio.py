# SPDX-License-Identifier: Apache-2.0
"""Somebody else's truth: shots with the dust as it should be, from their own simulations, against takes made as a user makes them.

A set is a folder of shots (or one shot): `plate`, `depth`, `mask` and `truth` as `NAME.####.exr`, beside each other or each in a folder
of its name, `camera.json`, and where they are wanted `vectors` and `options.json` ({"depth_kind", "depth_scale", "fps", "dials": {...}}).
The truth is premultiplied scene-linear RGBA, held out by the plate as the effect is. It knows files and takes; nothing of networks.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, Sequence

import fileseq
import numpy as np
import torch
from platebridge.dials import DIALS
from platebridge.errors import InputError
from platebridge.events import Event, Warned
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, OutputSettings, ShotSettings, shot_name

from platebridge_server import command_generate as command
from platebridge_server import images
from platebridge_server.models import registry
from platebridge_server.models.dust_model import DustModel
from platebridge_server.sequences import paths, typed
from platebridge_server.training.evaluate import Figures, write_json

REQUIRED, OPTIONAL = ("plate", "depth", "mask"), ("vectors",)
OPTIONS = ("depth_kind", "depth_scale", "fps", "dials", "light")
#: How restless dust is shows in no fewer frames.
LEAST_FRAMES = 3


@dataclass(frozen=True)
class Shot:
    """One shot of a set: file patterns by input, the truth's files by frame."""

    folder: Path
    patterns: dict[str, str]
    truth: dict[int, Path]
    options: dict

    @property
    def frames(self) -> FrameRange:
        return FrameRange(min(self.truth), max(self.truth))


def shots(folder: Path) -> list[Shot]:
    """The shots of a set, by name. Raises InputError when there are none, or one lacks an input."""
    folder = typed(folder).resolve()  # "." has no name
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", "Give the folder of a set: docs/dust.md shows how it is laid out.")
    within = sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "truth")  # which is no shot: it may be this one's truth
    found = [_shot(at) for at in (folder, *within) if sequence(at, "truth")]
    if not found:
        raise InputError(f"{folder} holds no shot with a truth.", "Put truth.####.exr beside plate, depth, mask and camera.json.")
    return found


def judged_shots(folder: Path, model: str = "dust", device: str | None = None) -> list[Shot]:
    """The shots of a set whose truths figures can be made of. Looked at before any take is made, or all figures are lost by the last one.

    Raises InputError as `shots`, and when a truth lacks a frame, has fewer than `LEAST_FRAMES`, NaN, no dust, or not the plate's size, or
    an input lacks a frame; RequestError and ModelError for what its options, the model and the device can't be together.
    """
    found = shots(folder)
    for shot in found:
        _check_truth(shot)
        for name, pattern in shot.patterns.items():
            consecutive(shot, name, (frame for frame, path in paths(pattern, shot.frames).items() if path.is_file()), shot.frames)
    command.refuse_here([asked(shot, model=model) for shot in found], device)
    return found


def _check_truth(shot: Shot) -> None:
    name, render = shot.folder.name, "Render this frame again."
    consecutive(shot, "truth", shot.truth)
    if len(shot.truth) < LEAST_FRAMES:
        said = f"{name}'s truth is too short ({len(shot.truth)} of the {LEAST_FRAMES} frames that are needed)."
        raise InputError(said, "Render more of it.", input="truth")
    first = shot.frames.first
    plate = images.read_header(paths(shot.patterns["plate"], shot.frames)[first], images.Where("plate", first)).display
    dust = 0.0
    for frame, path in sorted(shot.truth.items()):
        picture = read_rgba(path)
        size = "%dx%d" % (picture.shape[2], picture.shape[1])
        if size != str(plate):
            raise InputError(f"{name}'s truth is {size} and its plate {plate}.", render, input="truth", frame=frame)
        dust = max(dust, float(picture[3].max()))
    if dust <= 0:
        raise InputError(f"{name}'s truth has no dust in any frame: its alpha is 0.", "Render it with its alpha.", input="truth")


def consecutive(shot: Shot, name: str, frames: Iterable[int], wanted: Iterable[int] = ()) -> None:
    """Raises InputError that names the first frame that is missing among them, or of those wanted: a jump would be taken for motion."""
    there = set(frames)
    for frame in wanted or range(min(there), max(there)):
        if frame not in there:
            raise InputError(f"{shot.folder.name} has no {name} here.", "Render this frame too.", input=name, frame=frame)


def sequence(folder: Path, name: str):
    """The `fileseq.FileSequence` of that name in a shot's folder, or in a folder of its name there; None if there is none."""
    for place in (folder, folder / name):
        for found in fileseq.findSequencesOnDisk(str(place), pad_style=fileseq.PAD_STYLE_HASH1) if place.is_dir() else ():
            if found.basename().rstrip("._") == name and found.extension() == ".exr" and found.frameSet():
                return found
    return None


def _shot(folder: Path) -> Shot:
    patterns = {}
    for name in (*REQUIRED, *OPTIONAL):
        found = sequence(folder, name)
        if found is not None:
            patterns[name] = str(Path(found.dirname(), found.basename() + "#" * found.zfill() + ".exr"))
        elif name in REQUIRED:
            raise InputError(f"{folder} has a truth and no {name}.", f"Put {name}.####.exr beside it.", input=name)
    truth = sequence(folder, "truth")
    return Shot(folder, patterns, {frame: Path(truth.frame(frame)) for frame in truth.frameSet()}, _options(folder / "options.json"))


def _options(path: Path) -> dict:
    """What a shot's options.json says; nothing where there is none. Raises InputError: a word that means nothing here would be lost."""
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors begin a file with a mark
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}).", "docs/dust.md shows one.") from None
    strange = [name for name in told if name not in OPTIONS] if isinstance(told, dict) else [repr(told)]
    if strange:
        mend = "A dial stands within \"dials\"." if strange[0] in DIALS else "docs/dust.md shows one."
        raise InputError(f"{path} says {strange[0]}, which is none of {', '.join(OPTIONS)}.", mend)
    if not isinstance(told.get("dials", {}), dict):
        raise InputError(f"{path} says dials {told['dials']!r}, which is no table.", 'Write {"dials": {"amount": 1.2}}.')
    if "light" in told and not _two_colours(told["light"]):
        mend = 'Write {"light": {"sun": [1.0, 0.8, 0.6], "sky": [0.2, 0.3, 0.5]}}.'
        raise InputError(f"{path} says light {told['light']!r}, which is not the two colours of sun and sky, and not black.", mend)
    return told


def _two_colours(light) -> bool:
    """Whether it is {"sun": [r, g, b], "sky": [r, g, b]}, neither of them black."""
    if not isinstance(light, dict) or set(light) != {"sun", "sky"}:
        return False
    colours = [colour for colour in light.values() if isinstance(colour, list) and len(colour) == 3]
    numbers = [n for colour in colours for n in colour if isinstance(n, (int, float)) and math.isfinite(n) and n >= 0]
    return len(numbers) == 6 and all(any(colour) for colour in colours)


def read_rgba(path: Path) -> torch.Tensor:
    """(4, h, w) float32 over the display window, premultiplied. Raises InputError: no EXR, or one without R, G, B and A."""
    return read_picture(path, "RGBA")


def read_picture(path: Path, channels: Sequence[str]) -> torch.Tensor:
    """(channels, h, w) float32 over the display window, 0 outside the data; of them Z alone may hold NaN or infinity.

    Raises InputError, by the file's name: no whole EXR, a channel is not in it, or holds NaN or infinity.
    """
    try:
        header = images.read_header(path)
        found = {name: (part.index, name) for part in header.parts[:1] for name in part.channels if name in channels}
        samples, part = images.read_channels(header, found.values()), header.parts[0]
    except InputError as error:
        raise InputError(f"{path}: {error.message}", error.mend, input="truth") from None
    if len(found) < len(channels):
        lacks = f"{path} lacks one of {', '.join(channels[:-1])} and {channels[-1]}."
        raise InputError(lacks, "docs/dust.md says what the files of a set hold.", input="truth")
    inside, seen = part.data.slices_in(part.display)
    picture = torch.zeros(len(channels), part.display.height, part.display.width)
    for plane, name in zip(picture, channels):
        plane[inside] = torch.from_numpy(samples[found[name]][seen].astype(np.float32))
        if name != "Z" and not plane.isfinite().all():
            raise InputError(f"{path} holds NaN or infinity in {name}.", "Render this frame again.", input="truth")
    return picture


def encode(clip: torch.Tensor) -> torch.Tensor:
    """What the figures look at, of (frames, 4, h, w): light under a square root, alpha as it is."""
    return torch.cat([clip[:, :3].clamp_min(0).sqrt(), clip[:, 3:].clamp(0, 1)], dim=1)


def settings(shot: Shot) -> ShotSettings:
    """What the shot's inputs mean, by its options."""
    told = shot.options
    return ShotSettings(told.get("depth_kind", "z"), told.get("depth_scale", 1.0), fps=told.get("fps", 24.0))


def asked(shot: Shot, model: str = "dust") -> GenerateRequest:
    """What `platebridge generate` would ask for this shot, without its files. Raises PlatebridgeError."""
    camera = shot.folder / "camera.json"
    return command.asked(
        shot_name(shot.folder.name), shot.frames, settings(shot), model=model,
        camera=camera if camera.exists() else None, dials={"seed": 1, **shot.options.get("dials", {})},
        output=OutputSettings(picture=registry.find(model).card().get("kind") == "picture"),
    )


def make_take(shot: Shot, out: Path, model: str = "dust", say: Callable[[str], None] = print, device: str | None = None) -> Path:
    """The shot's take, made as `platebridge generate` makes it; `say` hears what it warns of. Raises PlatebridgeError."""

    def show(event: Event) -> None:
        if isinstance(event, Warned):
            say(f"Note: {event}")

    sources = command.Sources(shot.patterns)
    (request,), files = command.with_files([asked(shot, model)], sources)
    writer = command.begin(request, sources, out)
    command.run_here(request, files, writer, show, lambda: False, device)
    return writer.path


def evaluate(folder: Path, say: Callable[[str], None] = print, weights: Path | None = None, device: str | None = None,
             out: Path | None = None) -> dict:
    """Figures of takes against the truths of a set, pooled, and each shot's own: spectrum, SWD, flicker, background and
    `coverage`, the take's mean alpha over the truth's. `upsampled_guide` has the same of the takes' guides, `weights_sha256` says whose
    figures they are.

    weights: a folder of them, in the shipped ones' place. device: "cpu", "cuda:0" …; None takes the best there is. out: a folder in which
    each shot's take stays, under the shot's name; None keeps none. Where a set's clouds differ from ours there is no right pixel to
    compare: these are figures of texture, rest and amount.
    """
    model, guide = Figures(), Figures()
    found: dict = {"shots": {}}
    for shot in judged_shots(folder, device=device):
        say(f"{shot.folder.name}: {len(shot.truth)} frames")
        begun = time.perf_counter()
        judged = registry.in_place_of("dust", DustModel(weights)) if weights else contextlib.nullcontext()
        with tempfile.TemporaryDirectory(prefix="platebridge-set-") as scratch, judged:
            found["weights_sha256"] = registry.find("dust").card()["weights_sha256"]
            take = make_take(shot, out / shot.folder.name if out else Path(scratch), say=say, device=device)
            seconds = time.perf_counter() - begun
            frames = sorted(shot.truth)
            truth = _clip(shot.truth[frame] for frame in frames)
            made = ([take / f"{kind}.{frame:04d}.exr" for frame in frames] for kind in ("effect", "guide"))
            effect, plain = (_clip(files, truth.shape[-2:]) for files in made)
        own = Figures()
        empty = torch.nn.functional.max_pool2d(truth[:, 3:], 25, stride=1, padding=12)[:, 0] < 1e-3
        own.add(effect, truth, None, empty)
        model.include(own)
        guide.add(plain, truth, None, empty)
        coverage = float(effect[:, 3].mean() / truth[:, 3].mean().clamp_min(1e-6))
        found["shots"][shot.folder.name] = {**own.result(), "coverage": round(coverage, 3), "seconds": round(seconds, 1)}
        say(table({shot.folder.name: found["shots"][shot.folder.name]}))  # whatever becomes of the next
    return {"model": model.result(), "upsampled_guide": guide.result(), **found}


def _clip(files: Iterable[Path], size: Sequence[int] | None = None) -> torch.Tensor:
    """(frames, 4, h, w) as figures look at it, of `read_rgba`'s files; (h, w) = size where they are smaller."""
    rows = []
    for path in files:
        picture = read_rgba(path)[None]
        if size is not None and picture.shape[-2:] != size:
            picture = torch.nn.functional.interpolate(picture, size, mode="bicubic", align_corners=False)
        rows.append(encode(picture)[0])
    return torch.stack(rows)


def table(rows: dict[str, dict]) -> str:
    """Figures by name as lines for a terminal."""
    heads = ("spectrum dB", "SWD fine", "middle", "weave dB", "flicker", "background", "coverage")
    lines = [" " * 24 + "".join(f"{head:>12}" for head in heads)]
    for name, row in rows.items():
        values = [row["power_spectrum_db"], *row["swd"][:2], row["weave_db"], row["flicker"], row["background_alpha"]]
        values += [row["coverage"]] if "coverage" in row else []
        lines.append(f"{name:24}" + "".join(f"{value:>12.4g}" for value in values))
    return "\n".join(lines)


def run(folder: Path, json_path: Path | None, weights: Path | None = None, device: str | None = None, out: Path | None = None) -> None:
    """The command: evaluate, print, and write what was asked for."""
    figures = evaluate(folder, weights=weights, device=device, out=out)
    print(table({"all": figures["model"], "upsampled guide": figures["upsampled_guide"], **figures["shots"]}))
    if json_path is not None:
        write_json(json_path, figures)
