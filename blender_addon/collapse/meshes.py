# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces as Blender meshes, with what the projection needs to know about their rest.

Attributes on a visible piece: `rest` (point, world position at rest), `rest_normal` (face), `kind` (face: its tag in
`convex`), `tint` (face, scene-linear colour for what the plate never showed). Knows nothing of materials.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from .convex import Solid
from .fracture import Piece, _plane


def piece_mesh(name: str, solid: Solid, centre: Sequence[float], scale: float = 1.0) -> bpy.types.Mesh:
    """A mesh about `centre`, which becomes the object's origin. No attributes."""
    points, faces, _ = solid.indexed()
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(((np.array(points) - centre) * scale).tolist(), [], faces)
    return mesh


def visible_piece(
    name: str, piece: Piece, tint: Sequence[float], collection: bpy.types.Collection, material: bpy.types.Material
) -> bpy.types.Object:
    """The full-size object of a piece, at rest, linked to `collection`. `tint`: scene-linear RGB."""
    points, faces, tags = piece.solid.indexed()
    mesh = piece_mesh(name, piece.solid, piece.centre)
    count = len(faces)
    normals = np.array([_plane([points[i] for i in face])[:3] for face in faces])
    layers = {
        "rest": ("FLOAT_VECTOR", "POINT", "vector", np.array(points)),
        "rest_normal": ("FLOAT_VECTOR", "FACE", "vector", normals),
        "kind": ("FLOAT", "FACE", "value", np.array(tags, float)),
        "tint": ("FLOAT_VECTOR", "FACE", "vector", np.tile(np.asarray(tint, float), (count, 1))),
    }
    for label, (kind, domain, field, values) in layers.items():
        layer = mesh.attributes.new(label, kind, domain)
        layer.data.foreach_set(field, np.ascontiguousarray(values, np.float32).ravel())
    mesh.materials.append(material)
    block = bpy.data.objects.new(name, mesh)
    block.location = piece.centre
    collection.objects.link(block)
    return block
