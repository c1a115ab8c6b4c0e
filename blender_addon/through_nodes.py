# SPDX-License-Identifier: GPL-3.0-or-later
"""Footage and masks to pixels by Blender's own compositor, in a scratch scene that is gone afterwards.

The scratch scene is rendered at the current frame of the window's scene (`rendering.in_window`), so nothing is switched for it but where
a mask is wanted at another frame; the artist's own compositor is left alone. Knows nodes and pixels; nothing of settings, plans or
files that stay.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Optional, Tuple

import bpy
import numpy as np

from . import passes, versions
from .rendering import in_window, render_to_file


def clip_picture(clip: Any, size: Tuple[int, int]) -> np.ndarray:
    """A movie clip at the current frame: (height, width, 3) float32, scene-linear. `size`: (width, height); another is scaled to it.

    What was 8 or 10 bit is what was stored, through the clip's own colour space; EXRs come with every bit.
    """
    with _scratch(size) as (scene, tree, out):
        node = tree.nodes.new("CompositorNodeMovieClip")
        node.clip = clip
        picture = node.outputs["Image"]
        if tuple(clip.size) != size:
            scale = tree.nodes.new("CompositorNodeScale")
            if hasattr(scale, "space"):
                scale.space, scale.frame_method = "RENDER_SIZE", "STRETCH"
            else:
                scale.inputs["Type"].default_value = "Render Size"
            tree.links.new(picture, scale.inputs[0])
            picture = scale.outputs[0]
        tree.links.new(picture, out)
        channels = _rendered(scene, "RGB")
    return np.stack([channels[name] for name in "RGB"], -1)


def mask_picture(mask: Any, size: Tuple[int, int], samples: int, frame: Optional[int] = None) -> np.ndarray:
    """A mask data-block at a frame, the current one if none is named: (height, width) float32 in [0, 1], anti-aliased by samples x
    samples a pixel."""
    width, height = size
    with _scratch((width * samples, height * samples)) as (scene, tree, out):
        node = tree.nodes.new("CompositorNodeMask")
        node.mask = mask
        tree.links.new(node.outputs[0], out)
        with contextlib.nullcontext() if frame is None else in_window(scene):
            if frame is not None:
                scene.frame_set(frame)
            drawn = next(iter(_rendered(scene, "BW").values()))
    return np.clip(drawn.reshape(height, samples, width, samples).mean((1, 3), dtype=np.float32), 0, 1)


@contextlib.contextmanager
def _scratch(size: Tuple[int, int]) -> Iterator[Tuple[Any, Any, Any]]:
    """(scene, its compositor's tree, the socket that its picture goes into)."""
    scene = bpy.data.scenes.new("Platebridge scratch")
    tree = None
    try:
        scene.render.resolution_x, scene.render.resolution_y = size
        tree = versions.compositor_tree(scene)
        yield scene, tree, versions.compositor_output(tree).inputs[0]
    finally:
        bpy.data.scenes.remove(scene)
        if tree is not None and "compositing_node_group" in bpy.types.Scene.bl_rna.properties:  # before 5.0 it goes with its scene
            bpy.data.node_groups.remove(tree)


def _rendered(scene: Any, mode: str) -> Any:
    """The scratch scene's picture by channel. `mode`: "RGB", or "BW" for one."""
    render = scene.render
    changes = [
        *versions.exr_changes(render.image_settings, layers=False, bits=32, alpha=False),
        (render.image_settings, "color_mode", mode),
        (render, "use_compositing", True),
        (render, "use_sequencer", False),
    ]
    if mode == "BW":
        changes.append((render.image_settings, "exr_codec", "RLE"))  # a mask is large and flat
    if hasattr(render, "compositor_precision"):
        changes.append((render, "compositor_precision", "FULL"))
    with render_to_file(scene, changes) as file:
        return passes.read_layers(file)[0]
