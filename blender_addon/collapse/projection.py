# SPDX-License-Identifier: GPL-3.0-or-later
"""The plate as the pieces' material: looked up per pixel through the camera that took it, from where a point was at rest.

Emission alone, so that a piece which has not moved renders the plate's own pixels exactly: Closest lookup, a box pixel
filter one pixel wide (`exact_render`). Once a piece has moved it is looked up smoothly, in a picture whose edges were
pushed outward, and relit by the ratio of the light it gets now to the light it had. Knows nothing of simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
from mathutils import Matrix

from .camera_match import Camera
from .keys import MOVED

Socket = bpy.types.NodeSocket


class Graph:
    """Shader nodes as expressions: sockets and numbers in, sockets out."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def node(self, kind: str, **settings) -> bpy.types.Node:
        made = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(made, name, value)
        return made

    def put(self, socket: Socket, value) -> None:
        if isinstance(value, Socket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def math(self, operation: str, a, b=None, clamp: bool = False) -> Socket:
        made = self.node("ShaderNodeMath", operation=operation, use_clamp=clamp)
        for socket, value in zip(made.inputs, (a, b)):
            if value is not None:
                self.put(socket, value)
        return made.outputs[0]

    def vector(self, operation: str, a, b=None, scale=None) -> Socket:
        made = self.node("ShaderNodeVectorMath", operation=operation)
        for socket, value in zip(made.inputs, (a, b)):
            if value is not None:
                self.put(socket, value)
        if scale is not None:
            self.put(made.inputs["Scale"], scale)
        return made.outputs["Value" if operation == "DOT_PRODUCT" else "Vector"]

    def mix(self, factor, a, b) -> Socket:
        made = self.node("ShaderNodeMix", data_type="RGBA", clamp_factor=True)
        for name, value in (("Factor_Float", factor), ("A_Color", a), ("B_Color", b)):
            self.put(next(s for s in made.inputs if s.identifier == name), value)
        return next(s for s in made.outputs if s.identifier == "Result_Color")

    def attribute(self, name: str, output: str, kind: str = "GEOMETRY") -> Socket:
        return self.node("ShaderNodeAttribute", attribute_name=name, attribute_type=kind).outputs[output]

    def image(self, image: bpy.types.Image, uv: Socket, interpolation: str) -> bpy.types.Node:
        made = self.node("ShaderNodeTexImage", image=image, interpolation=interpolation, extension="EXTEND")
        self.put(made.inputs["Vector"], uv)
        return made


def picture(path: str, name: str) -> bpy.types.Image:
    """A scene-linear Rec.709 EXR as a texture that Blender leaves alone, packed into the .blend."""
    image = bpy.data.images.load(path)
    image.name = name
    image.colorspace_settings.name = "Linear Rec.709"
    image.alpha_mode = "CHANNEL_PACKED"  # alpha is coverage beside the colours: neither multiplied nor divided
    image.pack()
    return image


def plate_material(
    name: str,
    camera: Camera,
    plate: bpy.types.Image,
    own: bpy.types.Image,
    *,
    sun: Sequence[float] = (0.4, -0.6, 0.7),
    ambient: float = 0.55,
    broken: Sequence[Sequence[float]] = ((0.07, 0.05, 0.04), (0.15, 0.11, 0.08), (0.33, 0.28, 0.22)),
    bricks: Sequence[Sequence[float]] = ((0.30, 0.27, 0.23), (0.20, 0.075, 0.045), (0.12, 0.055, 0.04)),
) -> bpy.types.Material:
    """The material of all pieces of one building.

    plate: the untouched plate (RGB); its alpha is 1 where the building's inside may show, some pixels in from its outline.
    own: the building's colours pushed past its edges, alpha its coverage at rest.
    sun: from the building towards the light. broken: dark, middle and light scene-linear colours of broken faces.
    bricks: mortar and two bricks, for the sides that the plate never showed.
    Pieces carry what `meshes.visible_piece` writes, and the `moved` property that `keys.bake` keys.
    """
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    g = Graph(tree)

    rest = g.attribute("rest", "Vector")
    rest_normal = g.attribute("rest_normal", "Vector")
    kind = g.attribute("kind", "Fac")
    tint = g.attribute("tint", "Color")
    state = g.attribute(MOVED, "Fac", "OBJECT")
    moved, far = g.math("MINIMUM", state, 1.0), g.math("SUBTRACT", state, 1.0, clamp=True)

    ray = g.vector("SUBTRACT", rest, tuple(camera.position))
    x, y, z = (g.vector("DOT_PRODUCT", ray, tuple(camera.rotation[:, axis])) for axis in range(3))
    uv = g.node("ShaderNodeCombineXYZ")
    for socket, along, size in ((uv.inputs[0], x, camera.width), (uv.inputs[1], y, camera.height)):
        g.put(socket, g.math("SUBTRACT", 0.5, g.math("MULTIPLY", g.math("DIVIDE", along, z), camera.focal_px / size)))
    exact, exact_own = g.image(plate, uv.outputs[0], "Closest"), g.image(own, uv.outputs[0], "Closest")
    smooth = g.image(own, uv.outputs[0], "Linear")

    # light now over light then; the noise of ambient occlusion is small and only on what has moved
    direction = _unit(sun)
    now = g.node("ShaderNodeNewGeometry").outputs["True Normal"]
    lit = g.math("ADD", g.math("MAXIMUM", g.vector("DOT_PRODUCT", now, direction), 0.0), ambient)
    was = g.math("ADD", g.math("MAXIMUM", g.vector("DOT_PRODUCT", rest_normal, direction), 0.0), ambient)
    ratio = g.math("MINIMUM", g.math("MAXIMUM", g.math("DIVIDE", lit, was), 0.45), 1.5)
    occlusion = g.node("ShaderNodeAmbientOcclusion", samples=2)
    g.put(occlusion.inputs["Distance"], 3.0)
    hidden = g.math("ADD", g.math("MULTIPLY", occlusion.outputs["AO"], 0.75), 0.25)

    # a face seen edge-on by the plate would smear: it takes its storey's mean colour, with some grain
    grain = g.node("ShaderNodeTexNoise")
    g.put(grain.inputs["Vector"], rest)
    g.put(grain.inputs["Scale"], 1.7)
    g.put(grain.inputs["Detail"], 4.0)
    g.put(grain.inputs["Roughness"], 0.6)
    facing = g.math("ABSOLUTE", g.vector("DOT_PRODUCT", rest_normal, g.vector("NORMALIZE", ray)))
    trust = g.math("DIVIDE", g.math("SUBTRACT", facing, 0.02), 0.06, clamp=True)
    # and rows like tiles or boards, down the slope
    across = g.vector("DOT_PRODUCT", rest, g.vector("NORMALIZE", g.vector("CROSS_PRODUCT", rest_normal, (0.0, 0.0, 1.0))))
    rows = g.math("ADD", g.math("MULTIPLY", g.math("SINE", g.math("MULTIPLY", across, 12.0)), 0.45), 0.75)
    dull = g.vector("SCALE", tint, scale=g.math("MULTIPLY", rows, g.math("ADD", g.math("MULTIPLY", grain.outputs[0], 1.6), 0.2)))
    trust = g.math("MULTIPLY", trust, g.math("ADD", g.math("MULTIPLY", smooth.outputs["Alpha"], 0.75), 0.25))
    skin = g.vector("SCALE", g.mix(trust, dull, smooth.outputs["Color"]), scale=g.math("MULTIPLY", ratio, hidden))
    skin = g.mix(moved, exact.outputs["Color"], skin)

    # broken faces: lumps and lying layers; sides that were never seen: courses of brick under old plaster
    coarse = g.node("ShaderNodeTexNoise")
    g.put(coarse.inputs["Vector"], g.vector("MULTIPLY", rest, (0.35, 0.35, 1.6)))
    g.put(coarse.inputs["Scale"], 1.0)
    g.put(coarse.inputs["Detail"], 3.0)
    spot = g.math("ADD", g.math("MULTIPLY", grain.outputs[0], 0.6), g.math("MULTIPLY", coarse.outputs[0], 0.4))
    ramp = g.node("ShaderNodeValToRGB")
    g.put(ramp.inputs["Fac"], spot)
    for stop, place, colour in zip(_spread(ramp.color_ramp, 3), (0.32, 0.5, 0.68), broken):
        stop.position, stop.color = place, (*colour, 1.0)
    flat = g.node("ShaderNodeSeparateXYZ")
    g.put(flat.inputs[0], rest)
    wall = g.node("ShaderNodeCombineXYZ")
    g.put(wall.inputs[0], g.math("ADD", flat.outputs[0], g.math("MULTIPLY", flat.outputs[1], 1.3)))
    g.put(wall.inputs[1], flat.outputs[2])
    courses = g.node("ShaderNodeTexBrick")
    g.put(courses.inputs["Vector"], wall.outputs[0])
    for name, value in (("Scale", 1.0), ("Brick Width", 0.9), ("Row Height", 0.3), ("Mortar Size", 0.035), ("Bias", -0.2)):
        g.put(courses.inputs[name], value)
    for name, colour in zip(("Mortar", "Color1", "Color2"), bricks):
        g.put(courses.inputs[name], (*colour, 1.0))
    bare = g.math("MULTIPLY", g.math("GREATER_THAN", kind, 1.5), g.math("LESS_THAN", coarse.outputs[0], 0.56))
    ground = g.mix(bare, ramp.outputs["Color"], g.vector("SCALE", courses.outputs["Color"], scale=g.math("ADD", grain.outputs[0], 0.4)))
    chance = g.node("ShaderNodeObjectInfo").outputs["Random"]
    stain = g.node("ShaderNodeValToRGB")
    g.put(stain.inputs["Fac"], chance)
    for stop, place, colour in zip(
        _spread(stain.color_ramp, 4), (0.0, 0.3, 0.65, 1.0), ((0.75, 0.5, 0.4), (1.25, 1.15, 1.0), (0.9, 0.75, 0.62), (1.5, 1.4, 1.25))
    ):
        stop.position, stop.color = place, (*colour, 1.0)
    ground = g.vector("MULTIPLY", ground, stain.outputs["Color"])
    rough = g.mix(0.25, ground, g.vector("SCALE", tint, scale=g.math("MULTIPLY", grain.outputs[0], 1.5)))
    raw = g.vector("SCALE", rough, scale=g.math("MULTIPLY", g.math("MULTIPLY", lit, 0.85), g.math("POWER", hidden, 1.5)))

    # solids are a little larger than what they stand for, and the plate's matte trims them; faces that it saw edge-on are
    # trimmed by it only while they still cover the same pixels: later they would be holes. The inside keeps off the
    # outline for as long, or it would show as dark specks wherever the outline is lacework
    seen = g.math("DIVIDE", g.math("SUBTRACT", facing, 0.2), 0.1, clamp=True)
    free = g.math("MULTIPLY", far, g.math("GREATER_THAN", kind, -0.5))
    trimmed = g.math("MAXIMUM", smooth.outputs["Alpha"], g.math("MULTIPLY", free, g.math("SUBTRACT", 1.0, seen)))
    outside = g.math(
        "ADD", g.math("MULTIPLY", g.math("SUBTRACT", 1.0, moved), exact_own.outputs["Alpha"]), g.math("MULTIPLY", moved, trimmed)
    )
    within = g.math("MAXIMUM", exact.outputs["Alpha"], far)
    broken_open = g.math("GREATER_THAN", kind, 0.5)
    colour = g.mix(broken_open, skin, raw)
    alpha = g.math("ADD", g.math("MULTIPLY", broken_open, within), g.math("MULTIPLY", g.math("SUBTRACT", 1.0, broken_open), outside))
    glow, clear = g.node("ShaderNodeEmission"), g.node("ShaderNodeBsdfTransparent")
    g.put(glow.inputs["Color"], colour)
    shader, out = g.node("ShaderNodeMixShader"), g.node("ShaderNodeOutputMaterial")
    g.put(shader.inputs[0], alpha)
    tree.links.new(clear.outputs[0], shader.inputs[1])
    tree.links.new(glow.outputs[0], shader.inputs[2])
    tree.links.new(shader.outputs[0], out.inputs["Surface"])
    return material


def _spread(ramp: bpy.types.ColorRamp, count: int) -> list[bpy.types.ColorRampElement]:
    while len(ramp.elements) < count:
        ramp.elements.new(0.5)
    return list(ramp.elements)


def _unit(vector: Sequence[float]) -> tuple[float, ...]:
    length = sum(v * v for v in vector) ** 0.5
    if length == 0.0:
        raise ValueError("The sun's direction is (0, 0, 0): point it from the building towards the light.")
    return tuple(v / length for v in vector)


def match_camera(camera: Camera, name: str = "camera", sensor_width_mm: float = 36.0) -> bpy.types.Object:
    """The matched camera as an object (not linked to a scene)."""
    data = bpy.data.cameras.new(name)
    data.sensor_fit, data.sensor_width = "HORIZONTAL", sensor_width_mm
    data.lens = camera.focal_mm(sensor_width_mm)
    data.clip_start, data.clip_end = 0.1, 10000.0
    block = bpy.data.objects.new(name, data)
    block.matrix_world = Matrix(camera.camera_to_world.tolist())  # a bare list would be taken column by column
    return block


def exact_render(scene: bpy.types.Scene, camera: Camera, samples: int = 4) -> None:
    """Cycles so that unmoved pieces come out as the plate: box filter one pixel wide, no bounces, transparent film.

    With Depth and Vector passes; one thread or many give the same picture.
    """
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising = samples, False, False
    cycles.pixel_filter_type, cycles.filter_width = "BOX", 1.0
    cycles.max_bounces, cycles.transparent_max_bounces = 0, 128  # past the limit a see-through edge turns black
    cycles.seed, cycles.use_animated_seed = 1, False
    scene.render.film_transparent = True
    scene.render.use_persistent_data = True
    scene.render.use_motion_blur = False
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = camera.width, camera.height, 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_vector = True
    layer.pass_alpha_threshold = 0.5
