# SPDX-License-Identifier: Apache-2.0
"""The Camera node that is connected, frame by frame, as the request wants it. Main thread only.

Nuke's up is y, its cameras look along -z, and world_matrix is written row by row. What is read: world_matrix, focal, haperture. A window
translate, scale or roll is refused: which way it moves the picture is not established (docs/nuke.md). So is any projection but perspective.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import nuke
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import Camera, CameraFrame

from .inputs import above

INPUT = 5
UP = (0.0, 1.0, 0.0)
WINDOW = {"win_translate": (0.0, 0.0), "win_scale": (1.0, 1.0), "winroll": (0.0,)}
LENS = ("world_matrix", "focal", "haperture")  # an Axis has the first alone
THROUGH = ("Dot", "NoOp", "Input", "JoinViews", "Switch")  # what a camera goes through as it is
STILL = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def camera(node: Any, frames: FrameRange, view: str) -> Camera:
    """The connected camera over the frames, in metres; without one the lens of the knobs, standing still. Raises InputError."""
    connected = node.input(INPUT)
    if connected is None:
        return Camera(float(node["focal"].value()), float(node["sensor"].value()), UP, (CameraFrame(frames.first, STILL),))
    split = (view,) if len(nuke.views()) > 1 else ()  # knobs may be split by view
    seen = _camera_node(connected, frames, view, split)
    if seen is None:
        raise InputError(
            "%s is no camera." % connected.name(),
            "Connect the Camera that saw the shot, or nothing: then the lens below is taken.",
            input="camera",
        )
    mode = seen.knob("projection_mode")
    if mode is not None and str(mode.value()).lower() != "perspective":
        raise InputError(
            "%s projects %s, which is not read." % (seen.name(), mode.value()),
            "Set its projection to perspective, or connect the camera that saw the shot.",
            input="camera",
        )
    for name, still in WINDOW.items():
        shift = seen.knob(name)
        moved = (f for f in frames if shift is not None and any(float(shift.getValueAt(f, n, *split)) != v for n, v in enumerate(still)))
        frame = next(moved, None)
        if frame is not None:
            raise InputError(
                "%s has a window %s, which is not read." % (seen.name(), name[3:].lstrip("_")),
                "Set it to %g, or connect a camera without one." % still[0],
                input="camera",
                frame=frame,
            )
    scale = float(node["camera_scale"].value())
    placed = []
    for frame in frames:
        flat = [float(seen["world_matrix"].getValueAt(frame, at, *split)) for at in range(16)]
        rows = [flat[at : at + 4] for at in range(0, 16, 4)]
        matrix = tuple((row[0], row[1], row[2], row[3] * scale if at < 3 else row[3]) for at, row in enumerate(rows))
        placed.append(CameraFrame(frame, matrix, float(seen["focal"].getValueAt(frame, 0, *split))))
    return Camera(placed[0].focal_mm or 35.0, float(seen["haperture"].getValueAt(frames.first, 0, *split)), UP, tuple(placed))


def _camera_node(node: Any, frames: FrameRange, view: str, split: Tuple[str, ...]) -> Optional[Any]:
    """The camera behind dots and a group's Input; behind a JoinViews the one of the view, behind a Switch the one that it is at.

    None behind a Switch that moves within the shot, and behind any other node, which may change the camera: a TimeOffset its frames.
    """
    for _ in range(32):
        if node is None or all(node.knob(name) is not None for name in LENS):
            return node
        if node.Class() not in THROUGH:
            return None
        at = nuke.views().index(view) if node.Class() == "JoinViews" else 0
        if node.Class() == "Switch":
            said = {float(node["which"].getValueAt(frame, 0, *split)) for frame in frames}
            at = int(min(said))
            if said != {float(at)}:
                return None
        node = above(node, at)
    return None
