# SPDX-License-Identifier: GPL-3.0-or-later
"""A mask that was drawn in Blender (a Mask data-block) as the shot's mask. Reads masks, changes nothing; `through_nodes` draws them.

Splines may be animated, parented to tracks, feathered, in as many layers as one likes: Blender's own rasteriser draws them.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

from platebridge.errors import InputError

from . import versions

FINEST, MOST_PIXELS = 8, 40_000_000
"""Blender draws a mask with hard edges: so it is drawn larger and averaged. At most so many samples a side, and so many pixels at once."""


def chosen(scene: Any) -> Tuple[Any, int]:
    """The mask data-block that the scene names, itself or by a mask strip, and how many frames after the scene's it is looked at.

    A strip shows its mask's first frame where its content begins. Raises InputError when there is no mask, or nothing is drawn in it.
    """
    shot, later = scene.platebridge, 0
    if shot.mask_source == "STRIP":
        strip = versions.all_strips(scene.sequence_editor).get(shot.mask_strip) if scene.sequence_editor else None
        mask = strip.mask if strip is not None and strip.type == "MASK" else None
        if mask is None:
            raise InputError("The strip %s shows no mask." % shot.mask_strip, "Choose a mask for it.", input="mask")
        later = mask.frame_start - versions.content_start(strip)
    else:
        mask = shot.mask_datablock
        if mask is None:
            raise InputError("No mask is chosen.", "Choose a mask that was drawn in the Clip or Image Editor.", input="mask")
    if not any(len(spline.points) > 1 for layer in mask.layers if not layer.hide_render for spline in layer.splines):
        raise InputError("Nothing is drawn in the mask %s." % mask.name, "Draw around what collapses.", input="mask")
    return mask, later


def samples(size: Tuple[int, int]) -> int:
    """Samples a side of each pixel: 8 for small pictures, 4 for HD (16 a pixel), 2 for 4K."""
    return max(1, min(FINEST, int((MOST_PIXELS / (size[0] * size[1])) ** 0.5)))


def shape(mask: Any, depsgraph: Any) -> Optional[Tuple[Any, ...]]:
    """Everything that the mask's picture depends on at the scene's current frame, to compare two frames by.

    None where it can't be told: a point that hangs on a track moves without its coordinates.
    """
    held = mask.evaluated_get(depsgraph)
    out = []
    for layer in held.layers:
        kept = (layer.hide_render, layer.alpha, layer.blend, layer.invert, layer.falloff, layer.use_fill_holes, layer.use_fill_overlap)
        out.append(kept)
        for spline in layer.splines:
            out.append((spline.use_cyclic, spline.offset_mode, spline.weight_interpolation, spline.use_fill))
            for point in spline.points:
                if point.parent.id is not None:
                    return None
                ends = (*point.co, *point.handle_left, *point.handle_right)
                out.append((*ends, point.weight, point.handle_type, *((feather.u, feather.weight) for feather in point.feather_points)))
    return tuple(out)
