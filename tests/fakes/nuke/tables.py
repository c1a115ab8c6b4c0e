# SPDX-License-Identifier: Apache-2.0
"""Each knob, and each enum value, of the node classes that Platebridge uses: kept by hand, with where it is known from.

A tuple is an enum's values, the first its default; anything else is a default. A node of a class that is not here can't be made.
"""

#: "17.0v3 scan": the public listing of classes and knobs made in Nuke 17.0v3, github.com/kirkjr2/nuke-python-reference.
#: "reference": Foundry's own pages, learn.foundry.com/nuke, 14.0 to 17.1, page named. "scripts": seen in published .nk files and gizmos.
SOURCES = {
    "Root": "17.0v3 scan; reference, Project Settings (OCIO_config's items)",
    "Read": "17.0v3 scan; reference, Read",
    "Write": "17.0v3 scan; reference, Write",
    "Write exr": "reference, Write, and NDK example exrWriter.cpp: they exist once file_type is exr; absent from the scan's fresh nodes",
    "Switch": "17.0v3 scan",
    "Input": "17.0v3 scan",
    "Output": "17.0v3 scan",
    "Group": "17.0v3 scan; reference, callbacks",
    "Camera2": "17.0v3 scan; reference, Camera (Classic)",
    "Axis3": "17.0v3 scan: a world_matrix, and neither focal nor haperture",
    "JoinViews": "scripts: no knob of ours, inputs in the order of the views",
    "Multiply": "17.0v3 scan",
    "Dot": "17.0v3 scan",
    "Vectorfield": "17.0v3 scan",
    "GeoReference": "17.0v3 scan",
    "OCIOCDLTransform": "17.0v3 scan: a file, empty in a fresh node",
    "TimeOffset": "17.0v3 scan",
    "Constant": "17.0v3 scan",
    "Expression": "17.0v3 scan",
    "StickyNote": "17.0v3 scan",
}
KNOBS = {
    "Root": {
        "name": "", "fps": 24.0, "proxy": False, "first_frame": 1, "last_frame": 100,
        "colorManagement": ("Nuke", "OCIO"),
        "OCIO_config": ("nuke-default", "aces_1.2", "fn-nuke_cg-config-v1.0.0_aces-v1.3_ocio-v2.1", "custom"),
        "customOCIOConfigPath": "", "workingSpaceLUT": "linear",
    },
    "Read": {
        "file": "", "file_type": "", "first": 1, "last": 1, "origfirst": 1, "origlast": 1, "raw": False, "version": 0, "label": "",
        "before": ("hold", "loop", "bounce", "black"), "after": ("hold", "loop", "bounce", "black"),
        "on_error": ("error", "black", "checkerboard", "nearest frame"),
        "localizationPolicy": ("fromAutoLocalizePath", "on", "onDemand", "off"),
    },
    "Write": {
        "file": "", "file_type": ("", "exr", "png", "tiff"), "channels": "rgb", "raw": False, "disable": False, "reading": False,
        "use_limit": False, "create_directories": False, "views": "",
    },
    "Switch": {"which": 0.0},
    "Input": {"number": 0},
    "Output": {},
    "Group": {"onCreate": "", "label": ""},
    "Camera2": {
        "focal": 50.0, "haperture": 24.576, "vaperture": 18.672, "world_matrix": [0.0] * 16, "win_translate": [0.0, 0.0],
        "win_scale": [1.0, 1.0], "winroll": 0.0, "projection_mode": ("perspective", "orthographic", "uv", "spherical"),
    },
    "Axis3": {"world_matrix": [0.0] * 16},
    "JoinViews": {},
    "Multiply": {"value": 1.0, "channels": "all"},
    "Dot": {},
    "Vectorfield": {"vfield_file": ""},
    "GeoReference": {"file_path": ""},
    "OCIOCDLTransform": {"file": ""},
    "TimeOffset": {"time_offset": 0},
    "Constant": {"color": [0.0, 0.0, 0.0, 0.0], "channels": "rgb", "format": "", "first": 1, "last": 1},
    "Expression": {
        **{"channel%d" % at: "none" for at in range(4)}, **{"expr%d" % at: "" for at in range(4)},
        **{"temp_name%d" % at: "" for at in range(4)}, **{"temp_expr%d" % at: "" for at in range(4)},
    },
    "StickyNote": {"label": "", "note_font_size": 20.0},
}  # fmt: skip
EXR_ONLY = {
    "datatype": ("16 bit half", "32 bit float"),
    "compression": ("Zip (1 scanline)", "none", "Zip (16 scanlines)", "PIZ Wavelet (32 scanlines)", "RLE", "B44", "B44A", "DWAA", "DWAB"),
    "metadata": ("default metadata", "no metadata", "default metadata and exr/*", "all metadata except input/*", "all metadata"),
    "autocrop": False, "write_ACES_compliant_EXR": False,
    "interleave": ("channels, layers and views", "channels and layers", "channels"),
}  # fmt: skip
INPUTS = {"Switch": 2, "Input": 0, "Read": 0, "Camera2": 0, "Axis3": 0, "Constant": 0, "StickyNote": 0}
#: What every node has and a script may say.
EVERY = ("name", "inputs", "xpos", "ypos", "selected", "label", "note_font_size")
