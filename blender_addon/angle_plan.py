# SPDX-License-Identifier: GPL-3.0-or-later
"""The same cloud from another camera of the scene: what to capture through it, and what to ask for.

The cloud is that of a take that is there, by the name its server knows the simulation under; so there is no mask to capture, and
the dials are that take's. Reads the scene and changes nothing. Knows nothing of rendering or servers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import bpy
from platebridge.errors import InputError, RequestError
from platebridge.frames import name_at
from platebridge.request import Inputs, from_dict, shot_name
from platebridge.takes import read_take

from . import scene_camera, sources, versions
from .settings import as_typed


def plan(scene: Any, view_layer: Any, take: Path, camera: str) -> sources.Plan:
    """The plan of a take through that camera. Its passes lie in a folder of their own, the take beside the shot's others.

    Raises InputError (no such camera, motion blur) and RequestError (the take names no simulation).
    """
    through = scene.objects.get(camera)
    if through is None or through.type != "CAMERA":
        raise InputError("%s has no camera called %r." % (scene.name, camera), "Choose one of the scene's cameras.", input="camera")
    document = read_take(take).document
    if not document.get("simulation"):
        raise RequestError("%s names no simulation." % take.name, "Choose a finished take that was made without a guide of your own.")
    first = from_dict(document["request"])
    folder = sources.shot_folder(scene) / shot_name("angle %s" % camera)

    def rendered(which: str, channels: str) -> sources.Source:
        pattern = str(folder / which / ("%s.####.exr" % which))
        return sources.Source(
            "render",
            "%s through %s" % (scene.name, camera),
            {frame: Path(name_at(pattern, frame)) for frame in first.frames},
            tuple(channels),
            pattern,
        )

    passes = {"plate": rendered("plate", "RGBA" if scene.render.film_transparent else "RGB"), "depth": rendered("depth", "Z")}
    request = dataclasses.replace(
        first,
        shot=shot_name("%s %s" % (first.shot, camera)),
        inputs=Inputs(),
        camera=None,
        settings=dataclasses.replace(
            first.settings,
            depth_kind="z",
            depth_scale=as_typed(scene.unit_settings.scale_length),
            working_space=versions.linear_space(bpy.data),
        ),
        output=dataclasses.replace(first.output, wedge=""),
        simulation=str(document["simulation"]),
    )
    return sources.Plan(
        request=request,
        scene=versions.session_id(scene),
        view_layer=view_layer.name,
        folder=folder,
        sources=passes,
        plate_strip="",
        mask_objects=(),
        camera=True,
        recapture=scene.platebridge.recapture,
        fingerprints=sources.fingerprints(scene, view_layer, passes, (), True, through=camera),
        size=scene_camera.picture_size(scene.render),
        through=camera,
        takes=sources.shot_folder(scene),
    )
