# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's camera as the request's: metres, focal length across the picture's width, principal point in pixels.

Knows Blender's camera and the request's; nothing of rendering or files.
"""

from __future__ import annotations

from typing import Any, Iterable, Tuple

from platebridge.errors import InputError
from platebridge.request import Camera, CameraFrame


def camera_at(scene: Any, depsgraph: Any, frame: int) -> Tuple[CameraFrame, float]:
    """The camera at the scene's current frame, and the sensor's width in mm that its focal length is measured against.

    Call after `scene.frame_set(frame)`. Raises InputError: no camera, not a perspective one, or pixels that are not square.
    """
    if scene.camera is None:
        raise InputError("The scene has no camera.", "Add one, or set Camera to None.", input="camera", frame=frame)
    held = scene.camera.evaluated_get(depsgraph)
    lens = held.data
    if getattr(lens, "type", "") != "PERSP":
        raise InputError(
            "%s is not a perspective camera." % scene.camera.name,
            "Set its lens to Perspective, or set Camera to None.",
            input="camera",
            frame=frame,
        )
    render = scene.render
    if abs(render.pixel_aspect_x - render.pixel_aspect_y) > 1e-6:
        raise InputError(
            "The scene's pixels are not square.", "Set the pixel aspect to 1:1 in Output properties.", input="camera", frame=frame
        )
    width, height = picture_size(render)
    # Blender's sensor spans the longer side when it fits by itself, always measured with the sensor's width.
    across = lens.sensor_fit == "HORIZONTAL" or (lens.sensor_fit == "AUTO" and width >= height)
    spanned = width if across else height
    sensor = lens.sensor_height if lens.sensor_fit == "VERTICAL" else lens.sensor_width
    metres = scene.unit_settings.scale_length
    rows = [list(row) for row in held.matrix_world.normalized()]
    for row in rows[:3]:
        row[3] *= metres
    # A shift moves the window over the picture plane: right and up, in units of the spanned side.
    principal = (width / 2 - lens.shift_x * spanned, height / 2 + lens.shift_y * spanned)
    matrix = tuple(tuple(float(value) for value in row) for row in rows)
    return CameraFrame(frame, matrix, lens.lens, principal), sensor * width / spanned  # type: ignore[arg-type]


def assemble(frames: Iterable[Tuple[CameraFrame, float]]) -> Camera:
    """One camera from its frames. A sensor that changes within the shot is folded into the focal length."""
    taken = list(frames)
    sensor = taken[0][1]
    held = tuple(
        CameraFrame(item.frame, item.camera_to_world, (item.focal_mm or 0.0) * sensor / width, item.principal_px) for item, width in taken
    )
    return Camera(held[0].focal_mm or 35.0, sensor, (0.0, 0.0, 1.0), held)


def picture_size(render: Any) -> Tuple[int, int]:
    """(width, height) of what a render writes, as Blender rounds it."""
    return render.resolution_x * render.resolution_percentage // 100, render.resolution_y * render.resolution_percentage // 100
