# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist sets, kept on the scene as `scene.platebridge`: where the inputs come from, and the dials.

The dials are made from the one table (platebridge.dials); nothing here lists them again. Knows nothing of rendering,
servers or strips. No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, IntProperty, PointerProperty, StringProperty

from .versions import BLEND_RELATIVE

try:
    from platebridge.depths import DEPTHS
    from platebridge.dials import DIALS
except ImportError:  # dependencies.missing() tells the artist; the extension must still register
    DIALS = DEPTHS = {}


def _dial_property(dial):
    """The RNA property of a dial: animatable like any other where a value per frame means something."""
    words = {"name": dial.label, "description": dial.tooltip, "options": set() if dial.still else {"ANIMATABLE"}}
    if dial.kind == "choice":
        return EnumProperty(items=[(c, c.capitalize(), dial.tooltip) for c in dial.choices], default=dial.default, **words)
    if dial.kind == "colour":
        return FloatVectorProperty(subtype="COLOR", size=3, default=dial.default, min=dial.minimum, max=dial.maximum, **words)
    if dial.kind == "text":
        return StringProperty(default=dial.default, maxlen=int(dial.maximum), **words)
    if dial.kind == "int":
        return IntProperty(default=dial.default, min=int(dial.minimum), max=int(dial.maximum), **words)
    return FloatProperty(default=dial.default, min=dial.minimum, max=dial.maximum, **words)


class PlatebridgeDials(bpy.types.PropertyGroup):
    """Every dial, by its name in the table."""

    __annotations__ = {name: _dial_property(dial) for name, dial in DIALS.items()}

    def values(self):
        """{name: value} for `GenerateRequest.with_dials`.

        RNA keeps single floats; 0.3 comes back as 0.30000001192. The shortest number that is the same single float is
        what the artist typed, and what the command line sends: so the same dials make the same request.
        """
        out = {}
        for name, dial in DIALS.items():
            value = getattr(self, name)
            if dial.kind == "colour":
                value = tuple(as_typed(part) for part in value)
            elif dial.kind == "float":
                value = as_typed(value)
            out[name] = value
        return out

    def set_values(self, values):
        """Turns dials by name, as a take's request has them; raises KeyError on a name that is no dial."""
        for name, value in values.items():
            if name not in DIALS:
                raise KeyError(name)
            setattr(self, name, value)


def as_typed(value):
    """The shortest decimal that is the same single-precision number."""
    return float(str(np.float32(value)))


class PlatebridgeShot(bpy.types.PropertyGroup):
    """Where the shot's inputs come from and where its takes go."""

    shot: StringProperty(name="Shot", description="Name of the shot; its takes lie in a folder of this name. Empty: the scene's name")
    take_root: StringProperty(
        name="Takes",
        subtype="DIR_PATH",
        default="//takes/",
        options=BLEND_RELATIVE,
        description="Folder that holds the shots, their captured passes and their takes. // is where the .blend lies",
    )
    use_scene_range: BoolProperty(name="Scene range", default=True, description="Generate over the scene's own frame range")
    frame_first: IntProperty(name="First", default=1001, description="First frame to generate, in the scene's own numbers")
    frame_last: IntProperty(name="Last", default=1048, description="Last frame to generate, included")

    plate_source: EnumProperty(
        name="Plate",
        default="RENDER",
        description="The picture the dust comes over",
        items=[
            ("RENDER", "This scene's render", "The scene as it renders, before compositing"),
            ("STRIP", "Strip", "A strip of this scene's sequencer. EXR sequences are taken as they are, bit for bit"),
            ("FILES", "Files", "An image sequence on disk"),
            ("CLIP", "Movie clip", "A movie clip, as it is tracked. EXR sequences are taken as they are, bit for bit"),
        ],
    )
    plate_clip: PointerProperty(name="Plate clip", type=bpy.types.MovieClip, description="The movie clip that holds the plate")
    plate_strip: StringProperty(name="Plate strip", description="The strip that holds the plate: files, a movie, a clip or a scene")
    plate_files: StringProperty(name="Plate files", description="One file per frame, with # for the digits: plate.####.exr")

    depth_source: EnumProperty(
        name="Depth",
        default="RENDER",
        description="What stands how far away: it holds the dust out and gives it its place",
        items=[
            ("RENDER", "This scene's render", "The Depth pass of the scene's camera"),
            ("STRIP", "Strip", "A strip of EXR files, taken as they are"),
            ("FILES", "Files", "An image sequence on disk"),
        ],
    )
    depth_strip: StringProperty(name="Depth strip", description="The strip that holds the depth: EXR files, shown unchanged")
    depth_files: StringProperty(name="Depth files", description="One file per frame, with # for the digits: depth.####.exr")
    depth_kind: EnumProperty(
        name="Depth is",
        default="z",
        description="What the numbers in the depth files mean",
        items=[(kind.name, kind.label, kind.tooltip) for kind in DEPTHS.values()] or [("z", "Z", "")],
    )
    depth_scale: FloatProperty(
        name="Metres per unit",
        default=1.0,
        min=1e-6,
        description="Turns the depth files' unit into metres; of a normalised depth, the metres to its far end",
    )

    mask_source: EnumProperty(
        name="Mask",
        default="COLLECTION",
        description="What collapses: dust comes from here",
        items=[
            ("COLLECTION", "Collection", "The objects of a collection, as the camera sees them"),
            ("STRIP", "Strip", "A strip of the sequencer: a drawn mask, pictures, a movie or a scene. White is what collapses"),
            ("FILES", "Files", "An image sequence on disk, EXR, PNG, TIFF or JPEG: white is what collapses"),
            ("MASK", "Mask", "A mask drawn in the Clip or Image Editor, animated or tracked, at the plate's own size"),
        ],
    )
    mask_datablock: PointerProperty(name="Drawn mask", type=bpy.types.Mask, description="The mask that was drawn around what collapses")
    mask_collection: PointerProperty(name="Mask collection", type=bpy.types.Collection, description="The pieces that fall")
    mask_strip: StringProperty(name="Mask strip", description="The strip that holds the mask, of whatever kind; others don't matter")
    mask_files: StringProperty(name="Mask files", description="One file per frame, with # for the digits: mask.####.exr or roto.####.png")
    mask_channel: EnumProperty(
        name="Mask is in",
        default="AUTO",
        description="Which channel of pictures and strips is the mask. Its values are taken as they are stored, through no colour space",
        items=[
            ("AUTO", "Alpha or brightness", "The alpha; where there is none, or the first frame's is solid, the brightness"),
            ("ALPHA", "Alpha", "The alpha: what is opaque collapses"),
            ("BRIGHTNESS", "Brightness", "The luminance of red, green and blue: what is white collapses"),
        ],
    )

    vectors_source: EnumProperty(
        name="Motion vectors",
        default="RENDER",
        description="How the pieces move: it gives the dust its first push",
        items=[
            ("RENDER", "This scene's render", "The Vector pass; motion blur must be off"),
            ("FILES", "Files", "An image sequence on disk, as Blender writes its Vector pass"),
            ("NONE", "None", "The dust's first push is found from depth and mask"),
        ],
    )
    vectors_files: StringProperty(name="Vector files", description="One file per frame, with # for the digits: vectors.####.exr")
    guide_files: StringProperty(
        name="Own guide", description="A guide of your own, premultiplied RGBA, one file per frame. Empty: the dials make it"
    )
    reference_file: StringProperty(
        name="Reference",
        subtype="FILE_PATH",
        options=BLEND_RELATIVE,
        description="A picture of what the result should look like, for models that paint. Empty: none",
    )
    camera_source: EnumProperty(
        name="Camera",
        default="SCENE",
        description="How the shot was seen",
        items=[
            ("SCENE", "This scene's camera", "The scene's camera, frame by frame"),
            ("NONE", "None", "A 35 mm camera that stands still: the dust won't follow a moving camera"),
        ],
    )
    bad_pixels: EnumProperty(
        name="NaN and inf",
        default="refuse",
        description="What to do with pixels that are not numbers",
        items=[
            ("refuse", "Refuse", "Stop, and say in which frame"),
            ("scrub", "Scrub", "Count them as 0 for the work, with a warning; in the depth they are holes, filled from around"),
        ],
    )
    model: StringProperty(name="Model", default="dust", description="The model that makes the dust from the guide")
    output: EnumProperty(
        name="Onto the timeline",
        default="COMP",
        description="What stands on the sequencer when the frames come",
        items=[
            ("COMP", "Comp", "The finished picture: dust over plate. Outside the dust it is the plate, bit for bit"),
            ("EFFECT", "Effect", "The dust alone, premultiplied, over the untouched plate strip"),
        ],
    )
    recapture: BoolProperty(
        name="Render passes again",
        default=False,
        description="Render the passes again even when they are there: turn it on after changing what moves",
    )
    connection: StringProperty(
        name="Server",
        subtype="FILE_PATH",
        options=BLEND_RELATIVE,
        description="The server's connection file. Empty: the server on this machine",
    )
    dials: PointerProperty(type=PlatebridgeDials, description="How the dust looks and moves, dial by dial")


CLASSES = (PlatebridgeDials, PlatebridgeShot)


def register():
    """Hangs the settings on every scene."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.platebridge = PointerProperty(type=PlatebridgeShot)


def unregister():
    """Takes them off again."""
    del bpy.types.Scene.platebridge
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
