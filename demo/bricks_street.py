# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the brick house stands: street, neighbours, lamp post, low sun, bright sky, and the materials of it all.

Everything is procedural and in scene-linear light with the sun well above 1. Knows nothing of how the house falls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Matrix, Vector

from blender_addon.collapse.projection import Graph

from .bricks_model import PAVEMENT, PLACE, axes

SUN = (-0.924, 0.10, 0.37)
"""From the house towards the sun: low, from the left, along the front, which it only grazes."""

Colour = Sequence[float]


def piece_materials() -> dict[str, bpy.types.Material]:
    """Materials of brick, concrete, plaster and glass pieces, from where a point was at rest."""
    return {
        "brick": _masonry(),
        "concrete": _concrete("concrete", (0.50, 0.47, 0.42)),
        "plaster": _concrete("plaster", (0.60, 0.57, 0.48)),
        "glass": _glass(),
    }


def _surface(name: str) -> tuple[bpy.types.Material, Graph, bpy.types.Node]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.node_tree.nodes.clear()
    g = Graph(material.node_tree)
    shader, out = g.node("ShaderNodeBsdfPrincipled"), g.node("ShaderNodeOutputMaterial")
    material.node_tree.links.new(shader.outputs[0], out.inputs["Surface"])
    shader.inputs["Roughness"].default_value = 0.85
    shader.inputs["Specular IOR Level"].default_value = 0.25
    return material, g, shader


def _noise(g: Graph, where, scale: float, detail: float = 4.0):
    noise = g.node("ShaderNodeTexNoise")
    g.put(noise.inputs["Vector"], where)
    g.put(noise.inputs["Scale"], scale)
    g.put(noise.inputs["Detail"], detail)
    return noise.outputs[0]


def _around(g: Graph, middle: float, value, by: float):
    """middle x (1 +- by), as a noise says."""
    return g.math("MULTIPLY", middle, g.math("ADD", 1.0 - by, g.math("MULTIPLY", value, 2.0 * by)))


def _bricks(g: Graph, where, face, one: Colour, two: Colour, mortar: Colour):
    """Courses on upright faces: along the house's x or y, whichever the face runs."""
    along, into = (tuple(axis) for axis in axes())
    x, y = g.vector("DOT_PRODUCT", where, along), g.vector("DOT_PRODUCT", where, into)
    side = g.math("GREATER_THAN", g.math("ABSOLUTE", g.vector("DOT_PRODUCT", face, along)), 0.7)
    run = g.math("ADD", g.math("MULTIPLY", x, g.math("SUBTRACT", 1.0, side)), g.math("MULTIPLY", y, side))
    split, flat = g.node("ShaderNodeSeparateXYZ"), g.node("ShaderNodeCombineXYZ")
    g.put(split.inputs[0], where)
    g.put(flat.inputs[0], run)
    g.put(flat.inputs[1], split.outputs[2])
    bricks = g.node("ShaderNodeTexBrick")
    g.put(bricks.inputs["Vector"], flat.outputs[0])
    for name, value in (
        ("Scale", 1.0),
        ("Brick Width", 0.42),
        ("Row Height", 0.14),
        ("Mortar Size", 0.012),
        ("Mortar Smooth", 0.3),
        ("Bias", -0.1),
    ):
        g.put(bricks.inputs[name], value)
    for name, colour in (("Color1", one), ("Color2", two), ("Mortar", mortar)):
        g.put(bricks.inputs[name], (*colour, 1.0))
    return bricks.outputs["Color"], split.outputs[2]


def _masonry() -> bpy.types.Material:
    material, g, shader = _surface("brick")
    rest, face, kind = g.attribute("rest", "Vector"), g.attribute("rest_normal", "Vector"), g.attribute("kind", "Fac")
    courses, height = _bricks(g, rest, face, (0.42, 0.135, 0.07), (0.25, 0.075, 0.045), (0.50, 0.44, 0.36))
    fine, broad = _noise(g, rest, 9.0), _noise(g, g.vector("MULTIPLY", rest, (1.0, 1.0, 0.35)), 0.9, 3.0)
    weather = g.math("MULTIPLY", _around(g, 1.0, fine, 0.35), _around(g, 1.0, broad, 0.45))
    wall = g.vector("SCALE", courses, scale=weather)
    soot = g.math("MULTIPLY", g.math("SUBTRACT", 1.2, height, clamp=True), 0.45)  # splashed from the street
    wall = g.mix(soot, wall, (0.09, 0.075, 0.06, 1.0))
    # a render that was painted once and fell off in places
    patch = g.math("MULTIPLY", g.math("SUBTRACT", _noise(g, rest, 0.55, 5.0), 0.56), 16.0, clamp=True)
    wall = g.mix(g.math("MULTIPLY", patch, 0.85), wall, g.vector("SCALE", (0.62, 0.55, 0.43), scale=weather))
    inside = g.vector("SCALE", (0.55, 0.52, 0.43), scale=weather)
    rubble = g.mix(
        g.math("MULTIPLY", g.math("SUBTRACT", _noise(g, rest, 4.5), 0.42), 6.0, clamp=True),
        (0.26, 0.10, 0.06, 1.0),
        (0.46, 0.39, 0.31, 1.0),
    )
    rubble = g.vector("SCALE", rubble, scale=_around(g, 0.85, fine, 0.5))
    cut = g.mix(g.math("GREATER_THAN", kind, 1.5), rubble, inside)
    g.put(shader.inputs["Base Color"], g.mix(g.math("GREATER_THAN", kind, 0.5), wall, cut))
    return material


def _concrete(name: str, colour: Colour) -> bpy.types.Material:
    material, g, shader = _surface(name)
    rest, kind = g.attribute("rest", "Vector"), g.attribute("kind", "Fac")
    stains = g.math(
        "MULTIPLY",
        _around(g, 1.0, _noise(g, rest, 7.0), 0.3),
        _around(g, 1.0, _noise(g, g.vector("MULTIPLY", rest, (1, 1, 0.2)), 1.3), 0.4),
    )
    broken = g.vector("SCALE", (0.40, 0.37, 0.33), scale=_around(g, 1.0, _noise(g, rest, 14.0), 0.6))
    skin = g.vector("SCALE", tuple(colour), scale=stains)
    g.put(shader.inputs["Base Color"], g.mix(g.math("COMPARE", kind, 1.0), skin, broken))
    return material


def _glass() -> bpy.types.Material:
    """A dark pane with a pale frame and glazing bars, here and there a curtain, painted on from the house's own measures."""
    material, g, shader = _surface("glass")
    rest = g.attribute("rest", "Vector")
    split, cell = g.node("ShaderNodeSeparateXYZ"), g.node("ShaderNodeTexWhiteNoise")
    g.put(split.inputs[0], rest)
    g.put(cell.inputs["Vector"], g.vector("FLOOR", g.vector("MULTIPLY", rest, (0.41, 0.41, 0.303))))
    bars = g.math(
        "LESS_THAN", g.math("ABSOLUTE", g.math("SUBTRACT", g.math("FRACT", g.math("MULTIPLY", split.outputs[2], 1.0 / 1.1)), 0.5)), 0.04
    )
    curtain = g.math("GREATER_THAN", cell.outputs["Value"], 0.62)
    behind = g.mix(
        curtain,
        (0.014, 0.016, 0.018, 1.0),
        g.vector("SCALE", (0.20, 0.17, 0.13), scale=_around(g, 1.0, _noise(g, g.vector("MULTIPLY", rest, (9, 9, 0.3)), 1.5), 0.7)),
    )
    g.put(shader.inputs["Base Color"], g.mix(bars, behind, (0.50, 0.48, 0.43, 1.0)))
    g.put(shader.inputs["Roughness"], 0.1)
    shader.inputs["Specular IOR Level"].default_value = 0.6
    return material


def _facade(name: str, wall: Colour, pitch: float = 3.1, storey: float = 3.3) -> bpy.types.Material:
    """A neighbour: windows as dark, shiny fields on a stained wall."""
    material, g, shader = _surface(name)
    where = g.node("ShaderNodeTexCoord").outputs["Object"]
    normal = g.node("ShaderNodeNewGeometry").outputs["Normal"]
    split, way = g.node("ShaderNodeSeparateXYZ"), g.node("ShaderNodeSeparateXYZ")
    g.put(split.inputs[0], where)
    g.put(way.inputs[0], normal)
    side = g.math("GREATER_THAN", g.math("ABSOLUTE", way.outputs[0]), 0.6)
    run = g.math("ADD", g.math("MULTIPLY", split.outputs[0], g.math("SUBTRACT", 1.0, side)), g.math("MULTIPLY", split.outputs[1], side))

    def field(coordinate, step: float, middle: float, half: float):
        part = g.math("FRACT", g.math("ADD", g.math("DIVIDE", coordinate, step), 100.0))
        return g.math("LESS_THAN", g.math("ABSOLUTE", g.math("SUBTRACT", part, middle)), half)

    upright = g.math("LESS_THAN", g.math("ABSOLUTE", way.outputs[2]), 0.5)
    window = g.math("MULTIPLY", upright, g.math("MULTIPLY", field(run, pitch, 0.5, 0.19), field(split.outputs[2], storey, 0.55, 0.26)))
    frame = g.math("MULTIPLY", upright, g.math("MULTIPLY", field(run, pitch, 0.5, 0.23), field(split.outputs[2], storey, 0.55, 0.30)))
    band = g.math("MULTIPLY", upright, field(split.outputs[2], storey, 0.02, 0.05))
    stain = g.math(
        "MULTIPLY",
        _around(g, 1.0, _noise(g, g.vector("MULTIPLY", where, (1, 1, 0.3)), 0.6), 0.4),
        _around(g, 1.0, _noise(g, where, 5.0), 0.2),
    )
    colour = g.mix(
        g.math("MAXIMUM", frame, band), g.vector("SCALE", tuple(wall), scale=stain), g.vector("SCALE", (0.62, 0.58, 0.52), scale=stain)
    )
    g.put(shader.inputs["Base Color"], g.mix(window, colour, (0.03, 0.035, 0.04, 1.0)))
    g.put(shader.inputs["Roughness"], g.math("SUBTRACT", 0.85, g.math("MULTIPLY", window, 0.7)))
    return material


def _plain(name: str, colour: Colour, roughness: float = 0.85, noise: float = 3.0, metallic: float = 0.0) -> bpy.types.Material:
    material, g, shader = _surface(name)
    where = g.node("ShaderNodeTexCoord").outputs["Object"]
    stain = g.math("MULTIPLY", _around(g, 1.0, _noise(g, where, noise), 0.35), _around(g, 1.0, _noise(g, where, noise * 0.12), 0.35))
    g.put(shader.inputs["Base Color"], g.vector("SCALE", tuple(colour), scale=stain))
    g.put(shader.inputs["Roughness"], roughness)
    g.put(shader.inputs["Metallic"], metallic)
    return material


def _block(name: str, low, high, material: bpy.types.Material, collection: bpy.types.Collection, turn: float = 0.0) -> bpy.types.Object:
    """A box between two corners given about its own origin, which is its foot's centre; `turn` about z."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    mesh = bpy.data.meshes.new(name)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    points = [(x - cx, y - cy, z) for z in (z0, z1) for y in (y0, y1) for x in (x0, x1)]
    mesh.from_pydata(points, [], [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)])
    mesh.materials.append(material)
    block = bpy.data.objects.new(name, mesh)
    block.matrix_world = Matrix.Translation((cx, cy, 0)) @ Matrix.Rotation(turn, 4, "Z")
    collection.objects.link(block)
    return block


def _tube(
    name: str,
    path: Sequence[Sequence[float]],
    radii: Sequence[float],
    material: bpy.types.Material,
    collection: bpy.types.Collection,
    sides: int = 12,
) -> bpy.types.Object:
    """A round bar along points, with a radius at each."""
    path = [Vector(p) for p in path]
    points, faces = [], []
    for i, (p, radius) in enumerate(zip(path, radii)):
        way = (path[min(i + 1, len(path) - 1)] - path[max(i - 1, 0)]).normalized()
        u = way.cross(Vector((0, 1, 0.01))).normalized()
        v = way.cross(u)
        points += [p + radius * (math.cos(a) * u + math.sin(a) * v) for a in np.linspace(0, 2 * math.pi, sides, endpoint=False)]
    for i in range(len(path) - 1):
        faces += [
            (i * sides + k, i * sides + (k + 1) % sides, (i + 1) * sides + (k + 1) % sides, (i + 1) * sides + k) for k in range(sides)
        ]
    faces += [tuple(range(sides))[::-1], tuple(range((len(path) - 1) * sides, len(path) * sides))]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    mesh.shade_smooth()
    mesh.materials.append(material)
    tube = bpy.data.objects.new(name, mesh)
    collection.objects.link(tube)
    return tube


def street(collection: bpy.types.Collection) -> None:
    """Road, pavements, neighbours left, right and behind, far rooftops."""
    asphalt, slabs = _plain("asphalt", (0.095, 0.09, 0.085), 0.7, 2.2), _plain("pavement", (0.34, 0.32, 0.29), 0.9, 4.0)
    paint = _plain("road paint", (0.62, 0.60, 0.55), 0.7, 8.0)
    _block("road", (-300, -40, -0.5), (300, 600, 0.0), asphalt, collection)
    turn = math.atan2(axes()[0][1], axes()[0][0])
    along, into = (Vector(axis) for axis in axes())
    origin = Vector((*PLACE, 0.0))

    def lot(name: str, x0: float, x1: float, y0: float, y1: float, high: float, material: bpy.types.Material, low: float = 0.0) -> None:
        """A box in the house's own axes, which the whole street follows."""
        block = _block(name, (0, 0, low), (x1 - x0, y1 - y0, high), material, collection)
        block.matrix_world = Matrix.Translation(origin + along * (x0 + x1) / 2 + into * (y0 + y1) / 2) @ Matrix.Rotation(turn, 4, "Z")

    stone = _plain("cornice", (0.45, 0.42, 0.37), 0.85, 3.0)

    def neighbour(name: str, x0: float, x1: float, y0: float, y1: float, high: float, material: bpy.types.Material) -> None:
        lot(name, x0, x1, y0, y1, high, material)
        lot(f"{name} cornice", x0 - 0.3, x1 + 0.3, y0 - 0.3, y1 + 0.3, high + 0.22, stone, high - 0.18)
        lot(f"{name} plinth", x0 - 0.08, x1 + 0.08, y0 - 0.08, y1 + 0.08, 0.75, stone)

    lot("pavement house", -60, 90, -2.6, 60, PAVEMENT, slabs)
    lot("kerb", -60, 90, -2.75, -2.6, 0.16, stone)
    lot("near pavement", -60, 90, -40, -14.2, PAVEMENT, slabs)
    lot("near kerb", -60, 90, -14.2, -14.05, 0.16, stone)
    for k in range(-6, 9):
        lot(f"dash {k}", k * 5.0, k * 5.0 + 2.4, -8.5, -8.35, 0.006, paint)
    mended = _plain("mended asphalt", (0.05, 0.048, 0.047), 0.65, 3.0)
    for x0, x1, y0, y1 in ((-2.0, 3.5, -6.2, -4.4), (6.0, 7.1, -11.5, -3.0), (9.5, 16.0, -9.0, -8.2), (-12, -7, -10, -8.5)):
        lot(f"patch {x0}", x0, x1, y0, y1, 0.004, mended)
    iron = _plain("drain", (0.06, 0.055, 0.05), 0.5, 9.0)
    for x in (-4.5, 3.2, 10.5):
        lot(f"drain {x}", x, x + 0.55, -3.2, -2.8, 0.012, iron)
    lot("side street", -10.5, -2.2, -2.6, 60, 0.145, asphalt)
    ochre, grey, red, white = (
        _facade(n, c)
        for n, c in (
            ("ochre", (0.52, 0.36, 0.19)),
            ("grey", (0.36, 0.35, 0.34)),
            ("dull red", (0.30, 0.13, 0.09)),
            ("white", (0.66, 0.62, 0.55)),
        )
    )
    neighbour("right neighbour", 12.9, 26, 0.4, 11, 9.6, ochre)
    neighbour("right far", 26.2, 44, -0.2, 12, 13.6, grey)
    neighbour("right end", 44.5, 70, 0.5, 14, 10.5, white)
    neighbour("left neighbour", -26, -11.5, 0.2, 12, 5.6, white)
    neighbour("left back", -30, -11.6, 12.4, 26, 14.0, red)
    neighbour("left far back", -28, -11.8, 26.3, 44, 11.5, ochre)
    neighbour("behind", -1.5, 15, 17, 28, 8.8, grey)
    neighbour("behind right", 15.5, 32, 15, 27, 11.4, red)
    neighbour("end of side street", -16, 8, 62, 74, 16.5, grey)
    neighbour("behind tall", 4, 20, 40, 55, 21.0, white)
    # never in view: their long shadows lie across the road
    for name, x0, x1, y0, y1, high in (("near left", -60, -17, -34, -19.5, 8.5), ("near", -58, -30, -17, -3.5, 9.5)):
        lot(name, x0, x1, y0, y1, high, grey)
    roof = _plain("roof things", (0.22, 0.21, 0.20), 0.8, 2.0)
    for i, (x, y, z, s) in enumerate(((15, 4, 9.6, 1.2), (19, 6, 9.6, 1.8), (31, 4, 13.6, 2.2), (-16, 5, 10.8, 1.6), (9, 46, 21.0, 3.0))):
        lot(f"roof {i}", x, x + s, y, y + s, z + 0.8 * s, roof, z - 0.1)


def lamp_post(collection: bpy.types.Collection, at: tuple[float, float] = (-6.5, -14.7)) -> None:
    """The post in front that dust must pass behind. `at`: in the house's own axes."""
    x, y = (np.array(PLACE) + at[0] * axes()[0][:2] + at[1] * axes()[1][:2]).tolist()
    iron = _plain("painted iron", (0.055, 0.07, 0.065), 0.45, 9.0, 0.3)
    _tube(
        "lamp post",
        [(x, y, 0), (x, y, 0.25), (x, y, 0.3), (x, y, 1.1), (x, y, 1.2), (x, y, 5.2)],
        [0.2, 0.2, 0.15, 0.13, 0.095, 0.065],
        iron,
        collection,
        16,
    )
    bend = [(x + 0.9 * (1 - math.cos(a)), y, 5.2 + 0.55 * math.sin(a)) for a in np.linspace(0, math.pi / 2, 9)]
    _tube("lamp arm", [*bend, (x + 1.35, y, 5.72)], [0.055] * 10, iron, collection)
    _block("lamp head", (x + 1.25, y - 0.13, 5.62), (x + 1.95, y + 0.13, 5.78), iron, collection)
    _block("lamp box", (x - 0.14, y - 0.24, 2.1), (x + 0.14, y - 0.1, 2.55), _plain("sign", (0.30, 0.05, 0.035), 0.6, 5.0), collection)
    far = np.array([*PLACE, 0.0]) + 19.0 * axes()[0] - 2.0 * axes()[1]
    _tube("far lamp post", [far, far + [0, 0, 6.2], far + [-0.5, -0.6, 6.7]], [0.12, 0.07, 0.055], iron, collection)
    for i in range(5):  # bollards along the kerb
        along, _ = axes()
        spot = np.array([*PLACE, 0.0]) + along * (1.2 + 2.3 * i) - axes()[1] * 2.2
        _tube(f"bollard {i}", [spot + [0, 0, 0.1], spot + [0, 0, 0.95], spot + [0, 0, 1.02]], [0.075, 0.07, 0.03], iron, collection)


def light(scene: bpy.types.Scene) -> None:
    """A low warm sun, and a sky that is brightest near it: both far above 1."""
    data = bpy.data.lights.new("sun", "SUN")
    data.energy, data.angle, data.color = 15.0, math.radians(0.6), (1.0, 0.76, 0.50)
    sun = bpy.data.objects.new("sun", data)
    sun.rotation_euler = Vector(SUN).to_track_quat("Z", "Y").to_euler()
    scene.collection.objects.link(sun)

    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    world.node_tree.nodes.clear()
    g = Graph(world.node_tree)
    way = g.node("ShaderNodeTexCoord").outputs["Generated"]
    split = g.node("ShaderNodeSeparateXYZ")
    g.put(split.inputs[0], way)
    up = g.math("MAXIMUM", split.outputs[2], 0.0)
    near = g.math("MAXIMUM", g.vector("DOT_PRODUCT", way, tuple(Vector(SUN).normalized())), 0.0)
    blue = g.mix(g.math("POWER", up, 0.45), (0.80, 0.68, 0.55, 1.0), (0.09, 0.21, 0.52, 1.0))
    glow = g.vector("ADD", blue, g.vector("SCALE", (3.2, 2.0, 0.95), scale=g.math("POWER", near, 5.0)))
    # thin cloud, drawn out towards the horizon
    plane = g.vector("SCALE", way, scale=g.math("DIVIDE", 1.0, g.math("ADD", up, 0.12)))
    veil = g.math("MULTIPLY", g.math("SUBTRACT", _noise(g, g.vector("MULTIPLY", plane, (0.6, 1.6, 0.0)), 1.1, 6.0), 0.47), 3.6, clamp=True)
    veil = g.math("MULTIPLY", veil, g.math("MULTIPLY", up, 5.0, clamp=True))
    sky = g.mix(
        g.math("MULTIPLY", veil, 0.6), glow, g.vector("SCALE", (0.95, 0.83, 0.72), scale=g.math("ADD", 0.7, g.math("MULTIPLY", near, 0.8)))
    )
    background, out = g.node("ShaderNodeBackground"), g.node("ShaderNodeOutputWorld")
    g.put(background.inputs["Color"], sky)
    world.node_tree.links.new(background.outputs[0], out.inputs["Surface"])
    world.cycles.sampling_method = "NONE"  # an importance map of a procedural sky is drawn anew every frame: seconds
    scene.world = world
