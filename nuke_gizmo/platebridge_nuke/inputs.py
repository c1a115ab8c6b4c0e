# SPDX-License-Identifier: Apache-2.0
"""From the node's knobs to a plan: what is asked for, from which inputs, into which folders. Reads and changes nothing. Main thread only.

What can be refused before anything is rendered is refused here, one sentence each, with the mend.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

import nuke
from platebridge.courier import Input
from platebridge.curves import sampled
from platebridge.depths import DEPTHS
from platebridge.dials import BUILT_IN, DIALS, counting
from platebridge.errors import InputError, RequestError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs, ModelSettings, ShotSettings, refuse_too_many, shot_name
from platebridge.takes import storage_error

from . import colour

NUMBER = {"plate": 0, "depth": 1, "mask": 2, "vectors": 3, "guide": 4}
KINDS = {depth.label: depth.name for depth in DEPTHS.values()}
HALF_BITS = 11  # significant ones
PART = "part-"  # and eight letters: a folder in the shot's, for as long as its inputs are rendered
WINDOWS_PATH = 250  # Nuke's Read stops at 260 characters there
LAST_VERSION = re.compile(r"[_.]v\d+(?!.*[_.]v\d)", re.IGNORECASE)  # in a name: what Nuke's Version Up counts on
TCL = '[]${}"#%'  # Nuke reads a path as Tcl, and # and % in it as frame and view
PICTURE = {"rgb": ("rgba.red", "rgba.green", "rgba.blue"), "rgba": ("rgba.red", "rgba.green", "rgba.blue", "rgba.alpha")}


@dataclass(frozen=True)
class Plan:
    """What to render and what to ask for. `requests` by view: they lack the inputs' content and the camera. `folders`: the shot's, by view.

    `channels`: of each input that is connected. `exact`: the inputs that are written in 32 bits.
    """

    requests: Dict[str, GenerateRequest]
    folders: Dict[str, Path]
    channels: Dict[str, str]
    exact: Tuple[str, ...]

    @property
    def frames(self) -> FrameRange:
        return next(iter(self.requests.values())).frames

    def pattern(self, which: str, view: str) -> str:
        """Where an input's frames lie, with #; forward slashes on every system."""
        return "%s/%s/%s.####.exr" % (self.folders[view].as_posix(), which, which)


def plan(node: Any) -> Plan:
    """Raises PlatebridgeError: one sentence and the mend."""
    frames = FrameRange(int(node["first"].value()), int(node["last"].value()))
    refuse_too_many(frames)
    channels = {"plate": "rgb", "depth": node["depth_channel"].value(), "mask": node["mask_channel"].value()}
    for which, channel in (("vectors", node["vectors_layer"].value()), ("guide", "rgba")):
        if node.input(NUMBER[which]) is not None:
            channels[which] = channel
    for which in channels:
        _check_input(node, which, channels[which], frames)
    folders = shot_folders(node)
    for folder in folders.values():
        check_folder(folder, frames, os.name == "nt")
    exact = tuple(
        which for which in channels if which in ("depth", "vectors") or (which == "plate" and _plate_is_float(node, frames.first))
    )
    return Plan({view: _request(node, folder, frames) for view, folder in folders.items()}, folders, channels, exact)


def _request(node: Any, folder: Path, frames: FrameRange) -> GenerateRequest:
    return GenerateRequest(
        shot=folder.name,
        frames=frames,
        inputs=Inputs(),
        model=ModelSettings(name=model_name(node)),
        settings=ShotSettings(
            depth_kind=KINDS[node["depth_kind"].value()],
            depth_scale=as_typed(node["depth_scale"].value()),
            bad_pixels=node["bad_pixels"].value(),
            working_space=colour.working_space(),
            fps=as_typed(nuke.root()["fps"].value()),
        ),
    ).with_dials({name: dial_value(node, name, frames) for name in counting(model_name(node))})


def reference(node: Any) -> Dict[str, Input]:
    """The picture that the knob names, for a model that takes one. Raises InputError where there is no such file."""
    text = typed(node, "reference") if node.knob("reference") is not None else ""  # a node of an older version has none
    if not text or model_name(node) in BUILT_IN:
        return {}
    path = Path(text).absolute()
    if not os.path.isfile(path):  # Path.is_file raises where a folder may not be entered
        raise InputError("There is no file %s." % path, "Choose another under Reference, or none.", input="reference")
    return {"reference": Input(path.name, {1: path})}


def model_name(node: Any) -> str:
    """The model that makes the dust."""
    return str(node["model"].value()).strip() or "dust"


def views(node: Any) -> List[str]:
    """The views to generate, in the script's order. Raises RequestError on a view that the script lacks."""
    there = list(nuke.views())
    said = node["views"].value().replace(",", " ").split()
    if not said:
        return there[:1]
    if said == ["all"]:
        return there
    absent = [view for view in said if view not in there]
    if absent:
        raise RequestError("The script has no view %s." % absent[0], "It has %s; or say all." % ", ".join(there))
    return [view for view in there if view in said]


def shot_folders(node: Any) -> Dict[str, Path]:
    """The shot's folder by view: its rendered inputs and its takes lie there. In a script of several views each has its own, SHOT_VIEW.
    A shot that isn't named is called as the script, without its version: the next one finds the takes of the last.

    Raises RequestError in a script that was never saved, for a folder that is not named from its drive or root on, or where Nuke could not
    read the path.
    """
    script = nuke.root().name()
    saved = script not in ("", "Root")
    root = typed(node, "take_root")
    if not root and not saved:
        raise RequestError("The takes go beside the script, and it was never saved.", "Save it, or choose a folder under Takes.")
    if root and not Path(root).is_absolute():  # Nuke's own folder would be taken: a script of another system has its drive there
        raise RequestError("The takes' folder %s is no place on this machine." % root, "Choose it under Takes, from its drive or root on.")
    name = typed(node, "shot") or (LAST_VERSION.sub("", Path(script).stem) if saved else "") or "shot"
    place = Path(root or Path(script).parent / "takes").absolute()
    stereo = len(nuke.views()) > 1
    folders = {view: place / shot_name("%s_%s" % (name, view) if stereo else name) for view in views(node)}
    for folder in folders.values():
        bad = sorted(set(folder.as_posix()) & set(TCL))
        if bad:
            raise RequestError(
                "The takes' folder %s has a %s in it, which Nuke does not read as it is." % (folder, bad[0]),
                "Choose another under Takes, or another name under Shot.",
            )
    return folders


def typed(node: Any, name: str) -> str:
    """A knob's words: Tcl in brackets put in by Nuke, as it does in a Read's file, and ~ as the home folder. Words that are no Tcl stay.
    A blank before or behind them was pasted along."""
    text = str(node[name].value())
    if "[" in text:
        with contextlib.suppress(RuntimeError, AttributeError):
            text = str(node[name].evaluate() or text)
    return os.path.expanduser(text.strip())


def parent_of(node: Any) -> Any:
    """The group that the node stands in, or the script itself: what is made beside the node is made there."""
    name = node.fullName().rpartition(".")[0]
    return by_name(name) if name else nuke.root()


def by_name(name: str) -> Any:
    """A node by its full name, or None. From the script on, for a button's code may begin inside a group; that each Nuke knows `root` is
    not established."""
    found = nuke.toNode("root." + name)
    return found if found is not None else nuke.toNode(name)


def above(node: Any, at: int = 0) -> Any:
    """What is connected to a node's input, or None; to a group's Input, what is connected to the group there."""
    return node.input(at) if node.Class() != "Input" else parent_of(node).input(int(node["number"].value()))


def as_typed(value: Any) -> float:
    """Some of Nuke's knobs keep single floats, and 0.3 comes back as 0.30000001192: what is meant is the shortest of the same single."""
    number = float(value)
    try:
        single = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return number
    if single != number:
        return number
    short = (float("%.*g" % (digits, number)) for digits in range(1, 10))
    return next((s for s in short if struct.pack("f", s) == struct.pack("f", number)), number)


def dial_value(node: Any, name: str, frames: FrameRange) -> Any:
    """What a dial is turned to: its knob's value, or a curve where the knob has keys or an expression. Raises RequestError where the dial
    can't change over a shot, and its knob does."""
    knob, kind = node.knob(name), DIALS[name].kind
    if knob is None:  # a node that an older Platebridge made, as its script kept it
        return DIALS[name].default
    if kind not in ("float", "int", "colour"):
        return knob.value()
    if not (knob.isAnimated() or knob.hasExpression()):
        return _typed(knob.value(), kind)
    parts = range(3) if kind == "colour" else range(1)
    at = {frame: [float(knob.getValueAt(frame, part)) for part in parts] for frame in frames}
    return sampled(name, {frame: _typed(values if kind == "colour" else values[0], kind) for frame, values in at.items()})


def _typed(value: Any, kind: str) -> Any:
    if kind == "colour":  # a colour whose parts are equal comes as one number
        return tuple(as_typed(part) for part in (value if isinstance(value, (list, tuple)) else [value] * 3))
    return int(value) if kind == "int" and math.isfinite(value) else as_typed(value)  # what is no number the dial refuses


def _plate_is_float(node: Any, frame: int) -> bool:
    """Whether the plate is written in 32 bits: because the artist says so, or because a half can't tell its file's values apart."""
    said = node["plate_type"].value()
    if said != "as its file":
        return bool(said == "32 bit float")
    bits = re.match(r"(\d+)-bit (?!half)", str(node.input(0).metadata("input/bitsperchannel", frame) or ""))
    return bits is not None and int(bits.group(1)) > HALF_BITS


def layer_of(vectors: str) -> Tuple[str, str]:
    """The channels of a layer of vectors."""
    return "%s.u" % vectors, "%s.v" % vectors


def _check_input(node: Any, which: str, channel: str, frames: FrameRange) -> None:
    source = node.input(NUMBER[which])
    if source is None:
        raise InputError("No %s is connected." % which, "Connect it to the node's input %s." % which, input=which)
    if which in ("depth", "mask") and "." not in channel:
        raise InputError(
            "%s channel is %s, which is no single channel." % (which.capitalize(), channel or "empty"),
            "Give it as layer.channel under Shot: %s." % ("depth.Z" if which == "depth" else "rgba.alpha"),
            input=which,
        )
    if which == "vectors" and channel == "forward":
        mend = "Choose a layer that says where it was before, as backward does."
        raise InputError("The vectors of forward say where a pixel goes next.", mend, input=which)
    wanted = PICTURE.get(channel) or (layer_of(channel) if which == "vectors" else (channel,))
    absent = [name for name in wanted if name not in source.channels()]
    if absent:
        raise InputError(
            "%s has no channel %s." % (source.name(), absent[0]), "Choose another under Shot, or connect another node.", input=which
        )
    if _ends(source) and (source.firstFrame() > frames.first or source.lastFrame() < frames.last):
        raise InputError(
            "%s holds frames %d-%d, and %s are asked for." % (source.name(), source.firstFrame(), source.lastFrame(), frames),
            "Change First and Last, or the input.",
            input=which,
        )
    if which == "guide":
        return  # an artist's guide may have any size
    mine, plates = _format(source), _format(node.input(0))
    if mine[:2] != plates[:2]:
        raise InputError(
            "%s is %dx%d, and the plate is %dx%d." % ((source.name(),) + mine[:2] + plates[:2]),
            "Reformat it to the plate's format.",
            input=which,
        )
    if mine[2] != plates[2]:
        raise InputError(
            "%s has pixel aspect %g, and the plate %g." % (source.name(), mine[2], plates[2]), "Give it the plate's format.", input=which
        )


def _ends(source: Any) -> bool:
    """Whether its frame range is a file's. What generates a picture (Roto, Constant) has one at every frame, whatever range it tells, and
    so has a still. A Write names the file that it makes, an OCIOCDLTransform one of grades: those say nothing of the range."""
    for _ in range(1 if nuke.env["nc"] else 100):  # Non-commercial: no touching of what lies further up
        if source is None:
            return False
        if source.knob("file") is not None and (source.inputs() == 0 or (source.Class() == "Write" and source["reading"].value())):
            return source.firstFrame() != source.lastFrame() or re.search(r"#|%\d*d", str(nuke.filename(source) or "#")) is not None
        source = above(source)
    return False


def _format(node: Any) -> Tuple[int, int, float]:
    form = node.format()
    return form.width(), form.height(), round(float(form.pixelAspect()), 6)


def check_folder(folder: Path, frames: FrameRange, windows: bool) -> None:
    """Raises RequestError or StorageError where takes can't be written into the folder, or Nuke could not read them from it."""
    longest = len(str(folder / (PART + "12345678") / ("vectors.%d.exr" % frames.last)))
    if windows and longest > WINDOWS_PATH:
        raise RequestError(
            "The takes' paths have %d characters, and Nuke on Windows reads %d." % (longest, WINDOWS_PATH),
            "Choose a shorter folder under Takes.",
        )
    try:
        there = folder
        while not there.exists() and there != there.parent:
            there = there.parent
        with tempfile.TemporaryFile(dir=str(there)):
            pass
    except OSError as error:
        raise storage_error(error, folder) from error
