# SPDX-License-Identifier: GPL-3.0-or-later
"""One shot of the demo, from nothing to the timeline, in a Blender of its own: `python -m demo.run tower OUT CONNECTION EXTENSION.zip`.

Everything an artist would press is pressed here: the extension's own operators, on the scene's own settings.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import contact_sheet, extension
from .shot import Shot

SHEET_COLUMNS = 6


class Bars:
    """Progress bars, one for each stage, on the terminal that was there before Blender's own words were sent to the log."""

    def __init__(self, log: Path) -> None:
        terminal = os.fdopen(os.dup(1), "w")
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.console = Console(file=terminal, force_terminal=terminal.isatty())
        self.progress = Progress(*columns, console=self.console, refresh_per_second=4)
        self._tasks: dict[str, int] = {}
        self.stages: dict[str, dict[str, float]] = {}

    def show(self, stage: str, done: int, total: int) -> None:
        """A stage of several steps; also its time, from when it first appears until another does."""
        if stage not in self._tasks:
            self._tasks[stage] = self.progress.add_task(stage, total=max(total, 1))
        self.progress.update(self._tasks[stage], completed=done, total=max(total, 1))

    def finish(self, stage: str) -> None:
        """A stage that is over."""
        task = self.progress.tasks[self._tasks[stage]]
        self.progress.update(task.id, completed=task.total)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Times a stage, and notes the memory this process has at its end."""
        began = time.monotonic()
        yield
        self.stages[stage] = {
            "seconds": round(time.monotonic() - began, 2),
            "memory_mb": round(psutil.Process().memory_info().rss / 1e6, 1),
        }


def run(name: str, out: Path, connection: Path, archive: Path) -> None:
    """Builds the shot, generates, saves edit.blend, renders the edit, lays out the contact sheet and writes timings.json."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    bars = Bars(folder / "log.txt")
    import bpy  # after the log has taken over what Blender prints

    with bars.progress:
        with bars.timed("make the shot"):
            shot = importlib.import_module(f"demo.{name}").build(folder, bars.show)
        extension.install(archive)
        bpy.ops.wm.open_mainfile(filepath=str(shot.scene))
        scene = bpy.context.scene
        set_up(scene, shot, out, connection)
        with bars.timed("generate"), following(bars):
            if bpy.ops.platebridge.generate() != {"FINISHED"}:
                raise RuntimeError("Generate did not finish; its sentence stands above.")
        take = max(folder.glob("take_*"))
        bpy.ops.platebridge.exact_timeline()
        with bars.timed("save the edit"):
            save_edit(scene, folder / "edit.blend")
        with bars.timed("render the edit"):
            render_edit(scene, folder, bars)
        with bars.timed("contact sheet"):
            frames = [
                shot.first_frame + round(i * (shot.last_frame - shot.first_frame) / (SHEET_COLUMNS - 1)) for i in range(SHEET_COLUMNS)
            ]
            contact_sheet.make(folder, take, frames, folder / "contact_sheet.png", f"{name}  {take.name}", shot.credit)
    write_timings(folder, take, bars)


def save_edit(scene, path: Path) -> None:
    """The file an artist goes on with. The demo's own server is gone by then, so it names none: this machine's is used."""
    import bpy

    scene.platebridge.connection = ""
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=True)


def set_up(scene, shot: Shot, out: Path, connection: Path) -> None:
    """The settings an artist would choose: takes beside the shot, inputs from files or from the scene."""
    ours = scene.platebridge
    ours.shot, ours.take_root, ours.connection = shot.name, str(out), str(connection)
    if shot.plate is None:
        ours.plate_source = ours.depth_source = ours.vectors_source = "RENDER"
        import bpy

        ours.mask_source, ours.mask_collection = "COLLECTION", bpy.data.collections[shot.mask_collection]
        return
    editor = scene.sequence_editor or scene.sequence_editor_create()
    frames = [Path(shot.plate.replace("####", str(n))) for n in range(shot.first_frame, shot.last_frame + 1)]
    strip = editor.strips.new_image(name="plate", filepath=str(frames[0]), channel=1, frame_start=shot.first_frame)
    for path in frames[1:]:
        strip.elements.append(path.name)
    ours.plate_source, ours.plate_strip = "STRIP", strip.name
    ours.depth_source, ours.mask_source = "FILES", "FILES"
    ours.depth_files, ours.mask_files = shot.depth, shot.mask
    ours.vectors_source, ours.vectors_files = ("FILES", shot.vectors) if shot.vectors else ("NONE", "")


@contextmanager
def following(bars: Bars) -> Iterator[None]:
    """Shows where the extension's job stands while its operator runs to the end, and times its phases. Looks, never touches."""
    runner = importlib.import_module(extension.MODULE + ".runner")
    job_words = importlib.import_module(extension.MODULE + ".job").PHASES
    over = threading.Event()
    seen: dict[str, list[float]] = {}

    def look() -> None:
        before = ""
        while not over.wait(0.1):
            job = runner.current()
            if job is not None and job.total:
                now = time.monotonic()
                if before and before != job.phase:  # whatever was not seen of it, it is over
                    bars.finish(job_words.get(before, before))
                before = job.phase
                seen.setdefault(job.phase, [now, now])[1] = now
                bars.show(job_words.get(job.phase, job.phase), job.done, job.total)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for job in runner.jobs:
            if job.error is not None:
                bars.console.print(f"[red]{job.error}[/red]")
            for note in job.notes:
                bars.console.print(f"[yellow]{note}[/yellow]")
        for phase, (first, last) in seen.items():
            bars.stages["  " + job_words.get(phase, phase)] = {"seconds": round(last - first, 2)}


def render_edit(scene, folder: Path, bars: Bars) -> None:
    """edit/edit.####.exr, rendered by Blender from the sequencer."""
    from platebridge.frames import FrameRange

    edit = importlib.import_module(extension.MODULE + ".edit")
    frames = FrameRange(scene.frame_start, scene.frame_end)
    for n, _ in enumerate(edit.render_edit(scene, folder / "edit" / "edit.####.exr", frames), 1):
        bars.show("Rendering the edit", n, len(frames))


def write_timings(folder: Path, take: Path, bars: Bars) -> None:
    """timings.json: every stage here with seconds and MB, and the server's own stages and the bytes of the take."""
    document = json.loads((take / "take.json").read_text())
    megabytes = {
        kind: round(sum(p.stat().st_size for p in where.glob(f"{kind}.*.exr")) / 1e6, 2)
        for kind, where in {
            "plate": folder / "plate",
            "depth": folder / "depth",
            "mask": folder / "mask",
            "comp": take,
            "effect": take,
            "guide": take,
        }.items()
    }
    timings = {"stages": bars.stages, "server_seconds": document["seconds"], "megabytes": megabytes, "take": take.name}
    (folder / "timings.json").write_text(json.dumps(timings, indent=1) + "\n")


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
