# SPDX-License-Identifier: Apache-2.0
"""From the node to files and a request: the checks before work, the render of the inputs, the camera. Main thread only."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import nuke
from platebridge.connection import read_connection
from platebridge.courier import Input
from platebridge.dials import DIALS
from platebridge.errors import InputError, RequestError
from platebridge.frames import FrameRange, name_at
from platebridge.request import Camera, CameraFrame, GenerateRequest, Inputs, ModelSettings, ShotSettings, shot_name
from platebridge.takes import storage_error

NUMBER = {"plate": 0, "depth": 1, "mask": 2, "vectors": 3, "guide": 4}
DEPTH_KINDS = {"Z": "z", "Distance": "distance", "1/Z": "inverse"}
WINDOWS_PATH = 250  # Nuke's Read stops at 260 characters there


@dataclass(frozen=True)
class Plan:
    """What to render and what to ask for. `channels`: of each input that is connected. `request` lacks the inputs and the camera."""

    request: GenerateRequest
    folder: Path
    channels: Dict[str, str]
    view: str

    def pattern(self, which: str) -> str:
        """Where an input's frames lie, with #; forward slashes on every system."""
        return "%s/%s/%s.####.exr" % (self.folder.as_posix(), which, which)


def plan(node: Any) -> Plan:
    """Reads the knobs and changes nothing. Raises PlatebridgeError: one sentence and the mend."""
    read_connection(node["connection"].value() or None)
    frames = FrameRange(int(node["first"].value()), int(node["last"].value()))
    channels = {"plate": "rgb", "depth": node["depth_channel"].value(), "mask": node["mask_channel"].value()}
    for which, channel in (("vectors", node["vectors_layer"].value()), ("guide", "rgba")):
        if node.input(NUMBER[which]) is not None:
            channels[which] = channel
    for which in channels:
        _check_input(node, which, channels[which], frames)
    folder = shot_folder(node)
    _check_folder(folder, frames)
    request = GenerateRequest(
        shot=folder.name,
        frames=frames,
        inputs=Inputs(),
        model=ModelSettings(name=node["model"].value() or "dust"),
        settings=ShotSettings(
            depth_kind=DEPTH_KINDS[node["depth_kind"].value()],
            depth_scale=float(node["depth_scale"].value()),
            bad_pixels=node["bad_pixels"].value(),
            working_space=working_space(),
            fps=float(nuke.root()["fps"].value()),
        ),
    ).with_dials({name: _dial_value(node, name) for name in DIALS})
    return Plan(request, folder, channels, node["view"].value() or nuke.views()[0])


def shot_folder(node: Any) -> Path:
    """The shot's folder: its rendered inputs and its takes lie there. Raises RequestError in a script that was never saved."""
    script = nuke.root().name()
    saved = script not in ("", "Root")
    root = node["take_root"].value()
    if not root and not saved:
        raise RequestError("The takes go beside the script, and it was never saved.", "Save it, or choose a folder under Takes.")
    name = node["shot"].value() or (Path(script).stem if saved else "shot")
    return Path(root or Path(script).parent / "takes").absolute() / shot_name(name)


def working_space() -> str:
    """The script's working space by name. Nuke's items may hold a tab with more behind it: the name ends there."""
    root = nuke.root()
    name = str(root["workingSpaceLUT"].value()).split("\t")[0]
    return "%s: %s" % (root["colorManagement"].value(), name)


def camera(node: Any, frames: FrameRange) -> Camera:
    """The Camera node's frames, in metres; else the lens of the knobs, standing still. Nuke's up is y."""
    name, scale = node["camera"].value(), float(node["depth_scale"].value())
    if not name:
        still = CameraFrame(frames.first, ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)))
        return Camera(float(node["focal"].value()), float(node["sensor"].value()), (0.0, 1.0, 0.0), (still,))
    seen = nuke.toNode(name)
    if seen is None or seen.knob("world_matrix") is None:
        raise InputError("There is no camera called %s." % name, "Name the Camera that saw the shot, or empty the field.", input="camera")
    placed = []
    for frame in frames:
        flat = [float(seen["world_matrix"].getValueAt(frame, at)) for at in range(16)]
        rows = [flat[at : at + 4] for at in range(0, 16, 4)]
        matrix = tuple((row[0], row[1], row[2], row[3] * scale if at < 3 else row[3]) for at, row in enumerate(rows))
        placed.append(CameraFrame(frame, matrix, float(seen["focal"].getValueAt(frame))))
    return Camera(placed[0].focal_mm or 35.0, float(seen["haperture"].getValueAt(frames.first)), (0.0, 1.0, 0.0), tuple(placed))


def render(node: Any, plan: Plan) -> Dict[str, Input]:
    """Renders every input in one pass through temporary Writes. Raises RuntimeError as nuke.execute does, on cancel too.

    Non-commercial lets Python touch ten nodes: there one Write does the inputs one after the other.
    """
    frames = plan.request.frames
    span = (frames.first, frames.last, 1)
    root = nuke.root()
    proxy = bool(root["proxy"].value())
    parent = parent_of(node)
    writes: List[Any] = []
    if proxy:
        root.setProxy(False)  # a Write renders at the scale that is active
    parent.begin()
    try:
        together = not nuke.env["nc"]
        for which in plan.channels:
            Path(plan.pattern(which)).parent.mkdir(parents=True, exist_ok=True)
            writes.append(_write(node, plan, which))
            if not together:
                nuke.execute(writes[-1], *span, [plan.view])
                nuke.delete(writes.pop())
        if together:
            nuke.executeMultiple(tuple(writes), (span,), [plan.view])
    except OSError as error:
        raise storage_error(error, plan.folder) from error
    finally:
        for write in writes:
            nuke.delete(write)
        parent.end()
        if proxy:
            root.setProxy(True)
    return {
        which: Input(
            node.input(NUMBER[which]).name(), {f: Path(name_at(plan.pattern(which), f)) for f in frames}, plan.pattern(which)
        )
        for which in plan.channels
    }


def parent_of(node: Any) -> Any:
    """The group that the node stands in, or the script itself: what is made beside the node is made there."""
    name = node.fullName().rpartition(".")[0]
    return nuke.toNode(name) if name else nuke.root()


def _write(node: Any, plan: Plan, which: str) -> Any:
    write: Any = nuke.nodes.Write(inputs=[node.input(NUMBER[which])])
    write["file"].setValue(plan.pattern(which))
    write["file_type"].setValue("exr")  # the knobs below exist only from here on
    exact = which in ("depth", "vectors") or (which == "plate" and node["plate_type"].value() == "32 bit float")
    write["datatype"].setValue("32 bit float" if exact else "16 bit half")
    write["compression"].setValue("Zip (1 scanline)")
    write["metadata"].setValue("no metadata")  # a date in it would make each render a new file to send
    write["raw"].setValue(True)
    write["channels"].setValue(plan.channels[which])
    return write


def _dial_value(node: Any, name: str) -> Any:
    value = node[name].value()
    kind = DIALS[name].kind
    return tuple(float(part) for part in value) if kind == "colour" else int(value) if kind == "int" else value


def _check_input(node: Any, which: str, channel: str, frames: FrameRange) -> None:
    source = node.input(NUMBER[which])
    if source is None:
        raise InputError("No %s is connected." % which, "Connect it to the node's input %s." % which, input=which)
    wanted = {"rgb": ["rgba.red", "rgba.green", "rgba.blue"], "rgba": ["rgba.red", "rgba.green", "rgba.blue", "rgba.alpha"]}.get(
        channel, [channel] if "." in channel else ["%s.u" % channel, "%s.v" % channel]
    )
    absent = [name for name in wanted if name not in source.channels()]
    if absent:
        raise InputError(
            "%s has no channel %s." % (source.name(), absent[0]), "Choose another under Shot, or connect another node.", input=which
        )
    if source.firstFrame() > frames.first or source.lastFrame() < frames.last:
        raise InputError(
            "%s holds frames %d-%d, and %s are asked for." % (source.name(), source.firstFrame(), source.lastFrame(), frames),
            "Change First and Last, or the input.",
            input=which,
        )
    plate = node.input(0)
    if which != "guide" and _size(source) != _size(plate):
        raise InputError(
            "%s is %dx%d, and the plate is %dx%d." % ((source.name(),) + _size(source) + _size(plate)),
            "Reformat it to the plate's format.",
            input=which,
        )


def _size(node: Any) -> Tuple[int, int]:
    form = node.format()
    return form.width(), form.height()


def _check_folder(folder: Path, frames: FrameRange) -> None:
    longest = len(str(folder / "take_0001" / ("effect.%d.exr" % frames.last)))
    if os.name == "nt" and longest > WINDOWS_PATH:
        raise RequestError("The takes' paths have %d characters." % longest, "Choose a shorter folder under Takes.")
    there: Optional[Path] = folder
    while there is not None and not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=str(there)):
            pass
    except OSError as error:
        raise storage_error(error, folder) from error
