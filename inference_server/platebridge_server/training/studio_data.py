# SPDX-License-Identifier: Apache-2.0
"""A studio's own simulations as shards to train on: the whole dust of each shot in passes, beside the set that `studio.py` judges.

What is learned from is `whole.####.exr` of a shot: the dust rendered **without** the plate's holdout (the network refines the whole
cloud; the cut is made afterwards), channels A, Z in any unit and either the passes sun.Y and ambient.Y (a renderer's light
groups under white lights) or R, G and B with `"light": {"sun": [r, g, b], "sky": [r, g, b]}` in options.json, the colours of light and
dust together that the passes were multiplied by. It knows files and passes; nothing of networks.

Guides are the truth's own, softened: our simulation of the shot would be another cloud, and guides that disagree teach grain.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from platebridge.errors import InputError, RequestError
from platebridge.takes import hash_file

from platebridge_server.camera import CameraPath
from platebridge_server.guide import domain
from platebridge_server.guide.dials import Dials
from platebridge_server.sequences import typed
from platebridge_server.training import data, studio
from platebridge_server.training.simulate import CLIP_FRAMES, GUIDE_SCALE, Clip

NAME = "whole"
#: Heights and widths are cut to a multiple of this: the network's strides and the guide's scale.
_MULTIPLE = 32


def make(folder: Path, out: Path, say: Callable[[str], None] = print) -> int:
    """One shard `set_SHOT_….safetensors` in `out` for each shot of the set, and none of what it was earlier. Returns how many clips lie
    there.

    Raises InputError, RequestError: a shot lacks `whole`, a channel, 20 frames on end of one size, 96 pixels a side at least, or light
    whose two colours can be told apart.
    """
    out.mkdir(parents=True, exist_ok=True)
    now = []
    for shot in studio.shots(folder):
        files = _whole(shot)
        path = out / f"set_{shot.folder.name}_{_short(str(shot.folder))}_{_made_of(shot, files)}.safetensors"
        if not path.exists() or not data.recipe(path):  # or it is damaged
            say(f"{shot.folder.name}: {len(files)} frames")
            data.write_shard(path, clips(shot))
        now.append(path)
    for earlier in data.shards(out):
        if earlier not in now and _came_from(earlier, typed(folder).resolve()):
            earlier.unlink()
    return sum(map(data.count, now))


def _came_from(shard: Path, folder: Path) -> bool:
    """Whether it was made of a shot of this set, by its name: of one that was taken out of the set nothing more is to be learned."""
    first, *name = shard.stem.split("_")
    if first != "set" or len(name) < 3:
        return False
    return name[-2] in (_short(str(folder / "_".join(name[:-2]))), _short(str(folder)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _made_of(shot: studio.Shot, files: dict[int, Path]) -> str:
    """Another word when options, camera or frames are others: names, sizes and times tell, no picture is read."""
    camera = shot.folder / "camera.json"
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files.values()]
    return _short(json.dumps([shot.options, hash_file(camera) if camera.exists() else "", seen]))


def _whole(shot: studio.Shot) -> dict[int, Path]:
    """The files of `whole` by frame, in order. Raises InputError: there are none, too few, or one is missing among them."""
    sequence = studio.sequence(shot.folder, NAME)
    if sequence is None:
        lacks = f"{shot.folder} has no {NAME}.####.exr to train on."
        raise InputError(lacks, "Render the dust without the plate's holdout as well.", input="truth")
    frames = sorted(sequence.frameSet())
    studio.consecutive(shot, NAME, frames)
    if len(frames) < CLIP_FRAMES:
        lacks = f"{shot.folder.name} has {len(frames)} frames of {NAME}; a clip is {CLIP_FRAMES}."
        raise InputError(lacks, "Render more of it.", input="truth")
    return {frame: Path(sequence.frame(frame)) for frame in frames}


def clips(shot: studio.Shot) -> list[Clip]:
    """The shot's frames in clips of 20, the last one reaching back where they don't come out even. Depth in parts of the shot's own:
    what is learned is free of units, and half floats end at 65504."""
    files = _whole(shot)
    frames = list(files)
    passes, depth = zip(*(_read(path, shot.options) for path in files.values()))
    for frame, picture in zip(frames, passes):
        if picture.shape != passes[0].shape:
            size, first = ("%dx%d" % (part.shape[2], part.shape[1]) for part in (picture, passes[0]))
            lacks = f"{shot.folder.name}'s {NAME} is {size} here and {first} in its first frame."
            raise InputError(lacks, "Render this frame again.", input=NAME, frame=frame)
    middles = [part[part.isfinite()].median() for part in depth if part.isfinite().any()]
    unit = torch.stack(middles).median() if middles else 1.0
    height, width = (side // _MULTIPLE * _MULTIPLE for side in passes[0].shape[-2:])
    if min(height, width) < data.LEAST_SIDE:
        size = "%dx%d" % (passes[0].shape[2], passes[0].shape[1])
        lacks = f"{shot.folder.name}'s {NAME} is {size}; what is learned from has {data.LEAST_SIDE} pixels a side at least."
        raise InputError(lacks, "Render it larger.", input=NAME)
    light = torch.from_numpy(_light(shot, frames, (height, width))).float()
    starts = list(range(0, len(frames) - CLIP_FRAMES, CLIP_FRAMES)) + [len(frames) - CLIP_FRAMES]
    out = []
    for start in starts:
        part = slice(start, start + CLIP_FRAMES)
        truth, far = (torch.stack(column[part])[..., :height, :width] for column in (passes, depth))
        far = far / unit
        unknown = torch.full((len(truth), 2), torch.nan)
        out.append(Clip(truth, far, *data.soft_guide(truth, far, data.SOFT_SIGMA, GUIDE_SCALE), light[part], unknown))
    return out


def _read(path: Path, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Passes (3, h, w), premultiplied and linear, and depth (h, w), inf where clear, of one frame."""
    told = options.get("light")
    picture = studio.read_picture(path, ("R", "G", "B", "A", "Z") if told else ("sun.Y", "ambient.Y", "A", "Z"))
    *light, alpha, depth = picture
    sun, ambient = _told_apart(torch.stack(light), told) if told else light
    depth = torch.where((alpha > 1e-4) & (depth > 0), depth, torch.inf)
    return torch.stack([sun, ambient, alpha.clamp(0, 1)]).clamp_min(0), depth


def _told_apart(colour: torch.Tensor, light: dict) -> torch.Tensor:
    """(2, h, w): how much of the sun's colour and of the sky's gives (3, h, w), by least squares."""
    mixing = np.array([light["sun"], light["sky"]], float).T
    if mixing.shape != (3, 2) or np.linalg.cond(mixing / np.linalg.norm(mixing, axis=0)) > 20:
        raise RequestError("The sun's light and the sky's are too much of one colour to be told apart in an RGBA.",
                           "Render the light groups sun.Y and ambient.Y.")
    return torch.einsum("pc,chw->phw", torch.from_numpy(np.linalg.pinv(mixing)).float(), colour)


def _light(shot: studio.Shot, frames: list[int], size: tuple[int, int]) -> np.ndarray:
    """(frames, 3): towards the sun in the camera's axes, by the dials of the set's options."""
    request = studio.asked(shot)
    dials, camera = Dials(request.guide, request.animated), CameraPath.from_request(request.camera, request.frames, size[1], size[0])
    level, out = domain.level_from_world(camera, request.frames.first), []
    for frame in frames:
        now = dials.at(frame)
        out.append(camera.at(frame).moved(level).camera_to_world[:3, :3].T @ domain.direction(now.sun_azimuth, now.sun_elevation))
    return np.array(out)
