# SPDX-License-Identifier: Apache-2.0
"""Writes nuke_gizmo/Platebridge.gizmo from the one table of dials, and docs/nuke_acceptance.nk with the same node in it.

python tools/gizmo.py. A test compares the files with it.
"""

from __future__ import annotations

import re
from pathlib import Path

from platebridge import __version__
from platebridge.depths import DEPTHS
from platebridge.dials import DIALS
from platebridge.presets import PRESETS

FILE = Path(__file__).parents[1] / "nuke_gizmo" / "Platebridge.gizmo"
ACCEPTANCE = FILE.parents[1] / "docs" / "nuke_acceptance.nk"
INPUTS = ("plate", "depth", "mask", "vectors", "guide", "camera")
ABSENT = "Platebridge is not installed here: put its folder on NUKE_PATH and start Nuke again."


def quoted(text: str) -> str:
    """A Tcl word that Tcl reads back as the text."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("[", "\\["), ("$", "\\$"), ("{", "\\{"), ("}", "\\}"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return '"%s"' % text


def knob(kind: int, name: str, label: str, tip: str = "", *more: str, value: str = "") -> str:
    parts = [str(kind), name, "l", quoted(label)] + (["t", quoted(tip)] if tip else []) + list(more)
    return " addUserKnob {%s}\n" % " ".join(parts) + (" %s %s\n" % (name, value) if value else "")


def button(name: str, label: str, tip: str, line: str = "+STARTLINE") -> str:
    code = (
        "try:\n    from platebridge_nuke import node\nexcept ImportError:\n    nuke.message('%s')\nelse:\n    node.%s(nuke.thisNode())" % (ABSENT, name)
    )
    return knob(22, name, label, tip, "T", quoted(code), line)


def choice(name: str, label: str, tip: str, items: list[str], value: str) -> str:
    return knob(4, name, label, tip, "M", "{%s}" % " ".join(quoted(item) for item in items), value=quoted(value))


def dial(name: str) -> str:
    """The knob of a dial."""
    row = DIALS[name]
    tip = row.tooltip + (" (%s)" % row.unit if row.unit else "")
    if row.kind == "choice":
        return choice(name, row.label, tip, list(row.choices), str(row.default))
    if row.kind == "colour":
        return knob(18, name, row.label, tip, value="{%s}" % " ".join("%g" % part for part in row.default))  # type: ignore[union-attr]
    if row.kind == "text":
        return knob(1, name, row.label, tip)
    return knob(3 if row.kind == "int" else 7, name, row.label, tip, "R", "%.10g" % row.minimum, "%.10g" % row.maximum, value="%.10g" % row.default)


def text() -> str:
    """The whole gizmo."""
    out = "#! a Group in a .gizmo file: a script that holds it opens without it\nGroup {\n name Platebridge\n inputs 6\n"
    out += " onCreate %s\n" % quoted(
        "try:\n    from platebridge_nuke import on_create\n    on_create(nuke.thisNode())\nexcept ImportError:\n    pass"
    )
    out += ' label "\\[value first]-\\[value last]"\n'  # the range, on the node itself
    out += knob(20, "platebridge_shot", "Shot")
    out += button("generate", "Generate", "Renders the inputs and asks the server for a take; Nuke is free while it works")
    out += button("cancel", "Cancel", "Ends the take; what came is kept")
    out += knob(26, "status", "", "", "T", quoted("Connect plate, depth and mask, and press Generate."), "+STARTLINE")
    out += knob(1, "shot", "Shot", "Name of the shot; its takes lie in a folder of this name. Empty: the script's name, without its version")
    out += knob(3, "first", "First", "First frame to generate", value="1001")
    out += knob(3, "last", "Last", "Last frame to generate, included", value="1048")
    out += knob(1, "views", "Views", "The views to generate, a take each; all, or their names. Empty: the script's first")
    out += choice("reuse", "Render", "Which frames of the inputs Generate renders", ["what changed", "every frame"], "what changed")
    out += choice("plate_type", "Plate as", "Half holds what most plates hold; float is for plates of 32 bits", ["as its file", "16 bit half", "32 bit float"], "as its file")
    out += knob(1, "depth_channel", "Depth channel", "", value="depth.Z")
    kinds = "; ".join("%s: %s" % (kind.label, kind.tooltip[0].lower() + kind.tooltip[1:]) for kind in DEPTHS.values())
    out += choice("depth_kind", "Depth is", "What the depth's numbers mean. " + kinds, [kind.label for kind in DEPTHS.values()], DEPTHS["inverse"].label)
    out += knob(7, "depth_scale", "Metres per unit", "Turns the depth's unit into metres; of a normalised depth, the metres to its far end", "R", "0.001", "1000", value="1")
    out += knob(1, "mask_channel", "Mask channel", "White is what collapses", value="rgba.alpha")
    out += knob(1, "vectors_layer", "Vectors layer", "u and v: where each pixel was a frame before, in pixels", value="backward")
    out += knob(7, "camera_scale", "Camera: metres per unit", "Turns the connected Camera's unit into metres", "R", "0.001", "1000", value="1")
    out += knob(7, "focal", "Focal length", "Millimetres; used where no Camera is connected: it then stands still", "R", "1", "1000", value="35")
    out += knob(7, "sensor", "Film back width", "Millimetres; used where no Camera is connected", "R", "1", "200", value="36")
    out += choice("bad_pixels", "NaN and inf", "What to do with pixels that are not numbers", ["refuse", "scrub"], "refuse")
    out += knob(20, "platebridge_guide", "Guide")
    labels = [preset.label for preset in PRESETS.values()]
    out += choice("preset", "Preset", "; ".join("%s: %s" % (preset.label, preset.tooltip) for preset in PRESETS.values()), labels, labels[0])
    out += button("use_preset", "Use preset", "Turns the guide's dials to this preset. Model, seed and quality stay", "-STARTLINE")
    out += "".join(dial(name) for name, row in DIALS.items() if row.path.startswith("guide."))
    out += knob(20, "platebridge_model", "Model")
    out += knob(1, "model", "Model", "The model that makes the dust from the guide", value="dust")
    out += "".join(dial(name) for name, row in DIALS.items() if row.path.startswith("model."))
    out += knob(26, "paint_text", "", "", "T", quoted("For models that paint a whole picture (Wan VACE); dust and guide are asked without these:"), "+STARTLINE")
    out += "".join(dial(name) for name, row in DIALS.items() if row.path.startswith("paint."))
    out += knob(2, "reference", "Reference", "A picture of what the result should look like, for models that paint. Empty: none")
    out += knob(2, "connection", "Server", "The server's connection file. Empty: the server on this machine")
    out += knob(20, "platebridge_takes", "Takes")
    out += knob(2, "take_root", "Takes in", "The folder that holds the shots. Empty: takes, beside the script")
    out += knob(2, "take", "Take", "The folder of the take that is shown, made here or in Blender")
    out += choice("output", "Show", "comp: the finished picture; effect: premultiplied, to merge yourself", ["comp", "effect", "guide"], "comp")
    out += button("show", "Show take", "Shows the take named above, as far as it has come")
    out += button("older", "Older", "Shows the take before it", "-STARTLINE")
    out += button("newer", "Newer", "Shows the take after it", "-STARTLINE")
    out += button("attach", "Attach", "Goes on with the take named above where it was interrupted", "-STARTLINE")
    out += knob(6, "star", "Star", "Marks the take as a good one; kept beside its files", "+STARTLINE")
    out += knob(1, "note", "Note", "Your own words on this take; kept beside its files")
    out += button("keep_marks", "Keep star and note", "Writes both beside the take's files, where Blender finds them too", "-STARTLINE")
    out += button("make_reads", "Make Read nodes", "Ordinary Reads of the take: the script then renders without Platebridge")
    out += button("to_timeline", "Put on the timeline", "The take as a clip over the shot's, in the sequence that is open")
    out += choice("timeline_as", "as", "Where it goes", ["new track", "version of the shot's clip"], "new track")
    out += button("list_takes", "List takes", "Every take of this shot, and what differs from the one shown")
    out += knob(26, "takes_text", "", "", "T", '""', "+STARTLINE")
    out += knob(6, "star_read", "star_read", "", "+INVISIBLE")  # both as they were read: Keep writes what was turned since
    for name in ("note_read", "result_file"):
        out += knob(1, name, name, "", "+INVISIBLE")
    for name in ("result_first", "result_last", "result_version"):
        out += knob(3, name, name, "", "+INVISIBLE", value="1")
    out += knob(20, "platebridge_about", "About")
    out += knob(26, "about", "", "", "T", quoted("Platebridge %s. Not yet run in a real Nuke: see docs/nuke.md." % __version__))
    out += "}\n"
    for number, name in reversed(list(enumerate(INPUTS))):  # the plate comes last, so that the Switch's first input is it
        out += " Input {\n  inputs 0\n  name %s\n  number %d\n }\n" % (name, number)
    out += "set N1 [stack 0]\n"
    out += (
        " Read {\n  inputs 0\n  file_type exr\n  file \"\\[value parent.result_file]\"\n  first {{parent.result_first}}\n"
        "  last {{parent.result_last}}\n  origfirst {{parent.result_first}}\n  origlast {{parent.result_last}}\n"
        "  version {{parent.result_version}}\n  before black\n  after black\n  on_error \"nearest frame\"\n  raw true\n"
        "  localizationPolicy off\n  name Result\n }\n"
    )
    # A comp is shown in the frames that are there, the plate before and after them: a shot that is half made is never black.
    there = "(parent.output>0 || (frame>=parent.result_first && frame<=parent.result_last))"
    out += 'push $N1\n Switch {\n  inputs 2\n  which {{"\\[string length \\[value parent.result_file]]>0 && %s"}}\n  name Show\n }\n' % there
    return out + " Output {\n  name Output1\n }\nend_group\n"


NOTE = """For whoever owns Nuke, in ten minutes.
1. platebridge serve, on this machine. Save this script somewhere of your own.
2. Are depth, mask, vectors, guide and camera drawn at the node's sides or top? Which?
3. Does the viewer on Platebridge show the plate, with no error, before any take?
4. Press Generate. Does Nuke stay free? Do frames come one by one, in the viewer, at 1001 and on?
5. Press Cancel at once, then Attach. Do frames go on?
6. Undo and redo a few times. Does nothing of a take come or go?
7. Save, quit, open again. Is the take shown?
Then: nuke -t platebridge_selftest.py. Send us its file, and your answers."""


def acceptance() -> str:
    """A script of seven nodes: plate, depth and mask by Expressions over a Constant, the camera, the node. Nothing on disk is needed."""
    falling = "y < 150-(frame-1001)*(frame-1001)/2 && y > 80-(frame-1001)*(frame-1001)/2 && x > 240 && x < 400"
    pictures = {
        "plate": ("falls ? 0.5 : 0.2+x/1280", "falls ? 0.4 : 0.3+y/720", "falls ? 0.3 : y > 300 ? 6.5 : 0.25", "1"),
        "depth": ("0", "0", "0", "y > 300 ? 0 : falls ? 1/22.0 : y > 100 ? 1/30.0 : 1/(8.0+22*y/100)"),
        "mask": ("0", "0", "0", "falls"),
    }
    out = "version 14.1 v1\nRoot {\n first_frame 1001\n last_frame 1016\n fps 24\n}\n"
    out += "StickyNote {\n inputs 0\n name Read_me\n label %s\n}\n" % quoted(NOTE)
    out += "Camera2 {\n inputs 0\n name Camera1\n}\nset C [stack 0]\n"
    out += 'Constant {\n inputs 0\n name Grey\n format "640 360 0 0 640 360 1 "\n first 1001\n last 1016\n}\nset G [stack 0]\n'
    for name, exprs in pictures.items():
        out += "push $G\nExpression {\n name %s\n temp_name0 falls\n temp_expr0 %s\n" % (name.capitalize(), quoted(falling))
        out += "".join(" expr%d %s\n" % (at, quoted(expr)) for at, expr in enumerate(exprs)) + "}\nset %s [stack 0]\n" % name[0].upper()
    group = text().partition("\n")[2]  # without the line that is a gizmo's
    told = {"last": "1016", "depth_channel": "rgba.alpha", "detail": "48", "quality": quoted("draft")}
    for name, value in told.items():
        group = re.sub(r"(?m)^ %s .*$" % name, lambda _, name=name, value=value: " %s %s" % (name, value), group, count=1)
    return out + "push $C\npush 0\npush 0\npush $M\npush $D\npush $P\n" + group


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    ACCEPTANCE.write_text(acceptance(), encoding="utf-8")
