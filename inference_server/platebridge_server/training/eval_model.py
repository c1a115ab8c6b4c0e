# SPDX-License-Identifier: Apache-2.0
"""`platebridge eval-model`: a take of every shot of a set, by the model named, judged (`judge.py`) as a table and contact sheets.

The set lies as `studio.py` says. It knows files and takes; the figures are `judge.py`'s.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Callable

import numpy as np
from platebridge.request import shot_name
from platebridge.takes import read_take

from platebridge_server import command_generate as command
from platebridge_server import judge
from platebridge_server import shot as shots
from platebridge_server.models import registry
from platebridge_server.training import data, evaluate, studio


def run(model: str, folder: Path, json_path: Path | None = None, sheets: Path | None = None, say: Callable[[str], None] = print) -> dict:
    """Figures by shot, said as a table. sheets: a folder for a contact sheet of each shot, SHOT.png. Raises PlatebridgeError."""
    registry.find(model)
    for path, option in ((json_path and json_path.parent, "--json"), (sheets, "--sheets")):
        if path is not None:
            command.check_writable(path, option)
    figures = {}
    for shot in studio.judged_shots(folder, model):
        say(f"{shot.folder.name}: {len(shot.truth)} frames")
        with tempfile.TemporaryDirectory(prefix="platebridge-set-") as scratch:
            clip = judged(shot, studio.make_take(shot, Path(scratch), model=model, say=say))
        figures[shot.folder.name] = judge.judge(clip)
        say(judge.table({shot.folder.name: figures[shot.folder.name]}))  # whatever becomes of the next
        if sheets is not None:
            sheets.mkdir(parents=True, exist_ok=True)
            data.write_png(sheets / f"{shot.folder.name}.png", judge.contact_sheet(clip))
    say(judge.table(figures))
    if json_path is not None:
        evaluate.write_json(json_path, {"model": model, "shots": figures})
    return figures


def judged(shot: studio.Shot, take: Path) -> judge.Clip:
    """A take beside its set's inputs and truth. A take may keep what the model painted before the comp as `picture.####.exr`, and in
    take.json as `joints` the frames with which its windows begin. All of it over the plate's display window."""
    plain = command.asked(shot_name(shot.folder.name), shot.frames, studio.settings(shot))
    (request,), files = command.with_files([plain], command.Sources(shot.patterns))
    inputs, frames = shots.Shot(request, files.__getitem__), list(shot.frames)
    effect = np.stack([_rgba(take / f"effect.{frame:04d}.exr") for frame in frames])
    truth = np.stack([_rgba(shot.truth[frame]) for frame in frames])
    seen = inputs.display.slices_in(inputs.window)[0]  # overscan of the plate is on its canvas, and in no truth
    plate = np.stack([inputs.plate(frame)[seen] for frame in frames])
    pictures = [take / f"picture.{frame:04d}.exr" for frame in frames]
    vectors = [inputs.vectors(frame)[seen] for frame in frames] if "vectors" in shot.patterns else None
    joints = read_take(take).document.get("joints", ())
    return judge.Clip(
        plate=plate,
        mask=np.stack([inputs.mask(frame)[seen] for frame in frames]),
        comp=np.stack([_rgb(take / f"comp.{frame:04d}.exr") for frame in frames]),
        alpha=effect[..., 3],
        picture=np.stack([_rgb(path) for path in pictures]) if all(path.exists() for path in pictures) else None,
        truth=truth[..., :3] + (1 - truth[..., 3:]) * plate,
        truth_alpha=truth[..., 3],
        vectors=np.stack(vectors) if vectors else None,
        joints=tuple(frame - frames[0] for frame in joints),
    )


def _rgba(path: Path) -> np.ndarray:
    return studio.read_rgba(path).permute(1, 2, 0).numpy()


def _rgb(path: Path) -> np.ndarray:
    return studio.read_picture(path, "RGB").permute(1, 2, 0).numpy()
