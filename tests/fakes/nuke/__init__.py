# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for Nuke's Python module: what Nuke would refuse is refused, in its way. Only what the node needs is here.

Any other name is an AttributeError. Nodes and knobs may be touched on the main thread alone; `pump()` is the event loop.
Pixels are real: a Read's files are read and a Write's are written, by OpenImageIO. `reset()` opens an empty script.
"""

import queue
import re
import threading
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from .tcl import read_group

GUI = True
NUKE_VERSION_STRING = "16.0v3"
NC_LIMIT = 10
env = {"nc": False}
_EXR_NAMES = {"R": "rgba.red", "G": "rgba.green", "B": "rgba.blue", "A": "rgba.alpha", "Z": "depth.Z"}
_LAYERS = {"rgb": ("rgba.red", "rgba.green", "rgba.blue"), "rgba": ("rgba.red", "rgba.green", "rgba.blue", "rgba.alpha")}
_BACK = {value: key for key, value in _EXR_NAMES.items() if key != "Z"}

#: Knobs of the classes used: a tuple is an enum's values, else the default. From the public 17.0v3 scan of knobs and values.
_KNOBS = {
    "Root": {"proxy": False, "fps": 24.0, "colorManagement": ("Nuke", "OCIO"), "workingSpaceLUT": "linear", "name": ""},
    "Read": {
        "file": "", "file_type": "", "first": 1, "last": 1, "origfirst": 1, "origlast": 1, "raw": False, "version": 0,
        "before": ("hold", "loop", "bounce", "black"), "after": ("hold", "loop", "bounce", "black"),
        "on_error": ("error", "black", "checkerboard", "nearest frame"),
        "localizationPolicy": ("fromAutoLocalizePath", "on", "onDemand", "off"),
    },
    "Write": {"file": "", "file_type": ("", "exr", "png", "tiff"), "channels": "rgb", "raw": False, "disable": False},
    "Switch": {"which": 0.0},
    "Input": {"number": 0},
    "Output": {},
    "Group": {"onCreate": ""},
    "Camera2": {"focal": 50.0, "haperture": 24.576, "world_matrix": None},
}
_EXR_ONLY = {
    "datatype": ("16 bit half", "32 bit float"),
    "compression": ("none", "Zip (1 scanline)", "Zip (16 scanlines)", "PIZ Wavelet (32 scanlines)", "RLE", "B44", "B44A", "DWAA", "DWAB"),
    "metadata": ("no metadata", "default metadata", "default metadata and exr/*", "all metadata except input/*", "all metadata"),
    "autocrop": False,
}


def _main():
    if threading.current_thread() is not threading.main_thread():
        raise AssertionError("a node or knob was touched off the main thread: Nuke crashes")


class Knob:
    """A knob that takes only what Nuke's would."""

    def __init__(self, name, value, choices=()):
        self._name, self._value, self._choices, self.visible = name, value, choices, True

    def name(self):
        return self._name

    def value(self):
        _main()
        return self._value

    def getValueAt(self, frame, at=0):
        _main()
        return self._value[at] if isinstance(self._value, (list, tuple)) else self._value

    def setValue(self, value):
        _main()
        if self._choices and value not in self._choices:
            raise TypeError("setValue: %r is no value of %s" % (value, self._name))
        if not self._choices and self._value is not None and isinstance(value, str) != isinstance(self._value, str):
            raise TypeError("setValue: %s takes no %s" % (self._name, type(value).__name__))
        self._value = value
        return True

    def setVisible(self, visible):
        _main()
        self.visible = visible


class File_Knob(Knob):
    node = None

    def fromUserText(self, text):
        _main()
        found = re.fullmatch(r"(.*?)(?: (-?\d+)-(-?\d+))?", text)
        self._value = found.group(1)
        if found.group(2):
            for name in ("first", "origfirst"):
                self.node[name].setValue(int(found.group(2)))
            for name in ("last", "origlast"):
                self.node[name].setValue(int(found.group(3)))


class Format:
    def __init__(self, width, height):
        self._size = width, height

    def width(self):
        return self._size[0]

    def height(self):
        return self._size[1]


class Node:
    def __init__(self, cls, name, inputs=()):
        _main()
        _touch(self)
        self.cls, self._name, self._inputs, self.children = cls, name, list(inputs), {}
        self._knobs = {}
        for knob, value in _KNOBS[cls].items():
            self._add(knob, value)

    def _add(self, name, value):
        kind = File_Knob if name == "file" else Knob
        self._knobs[name] = kind(name, value[0], value) if isinstance(value, tuple) else kind(name, value)
        self._knobs[name].node = self

    def Class(self):
        return self.cls

    def name(self):
        _main()
        return self._name

    def fullName(self):
        _main()
        return self._name

    def knob(self, name):
        _main()
        _touch(self)
        if self.cls == "Write" and name in _EXR_ONLY and self._knobs["file_type"]._value == "exr" and name not in self._knobs:
            self._add(name, _EXR_ONLY[name])
        return self._knobs.get(name)

    def __getitem__(self, name):
        found = self.knob(name)
        if found is None:
            raise NameError("knob %s does not exist" % name)
        return found

    def input(self, number):
        _main()
        return self._inputs[number] if number < len(self._inputs) else None

    def setInput(self, number, node):
        _main()
        self._inputs += [None] * (number + 1 - len(self._inputs))
        self._inputs[number] = node
        return True

    def begin(self):
        _main()

    def end(self):
        _main()

    def setProxy(self, on):
        if self.cls != "Root":
            raise AttributeError("setProxy")
        self["proxy"].setValue(bool(on))

    # what a picture is: of a Read its file, of a Group its Result or its plate
    def _image(self, frame):
        if self.cls == "Group":
            pattern, first, last = (self[name].value() for name in ("result_file", "result_first", "result_last"))
            if not pattern:
                return self._inputs[0]._image(frame)
            there = [f for f in range(first, last + 1) if Path(_named(pattern, f)).exists()]
            return _read(_named(pattern, min(there, key=lambda f: abs(f - frame))))
        if self.cls == "Read":
            return _read(_named(self["file"].value(), frame))
        return self._inputs[0]._image(frame)

    def channels(self):
        return list(self._image(self.firstFrame())[0])

    def firstFrame(self):
        return self["first"].value()

    def lastFrame(self):
        return self["last"].value()

    def format(self):
        spec = self._image(self.firstFrame())[1]
        return Format(spec.full_width, spec.full_height)


def _named(pattern, frame):
    return re.sub(r"#+", lambda run: "%0*d" % (len(run.group()), frame), pattern)


def _read(path):
    file = oiio.ImageInput.open(path)
    if file is None:
        raise RuntimeError("%s: Read error: No such file or directory" % path)
    spec, pixels = file.spec(), file.read_image("float")
    file.close()
    return {_EXR_NAMES.get(name, name): pixels[..., at] for at, name in enumerate(spec.channelnames)}, spec


def _write(node, frame):
    if node["file_type"].value() != "exr":
        raise RuntimeError("Write: no file type")
    picture, source = node.input(0)._image(frame)
    if _root["proxy"].value():
        picture = {name: pixels[::2, ::2] for name, pixels in picture.items()}
    wanted = node["channels"].value()
    names = _LAYERS.get(wanted) or [name for name in picture if name == wanted or name.startswith(wanted + ".")]
    absent = [name for name in names if name not in picture]
    if absent or not names:
        raise RuntimeError("Write: no channel %s" % wanted)
    pixels = np.stack([picture[name] for name in names], -1)
    kind = "half" if node["datatype"].value() == "16 bit half" else "float"
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(names), kind)
    spec.channelnames = tuple(_BACK.get(name, name) for name in names)
    spec.x, spec.y = source.x, source.y
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = source.full_x, source.full_y, source.full_width, source.full_height
    spec.attribute("compression", "zips" if node["compression"].value() == "Zip (1 scanline)" else "none")
    path = _named(node["file"].value(), frame)
    file = oiio.ImageOutput.create(path)
    if not file.open(path, spec):
        raise RuntimeError("Write: %s" % file.geterror())
    file.write_image(np.ascontiguousarray(pixels.astype("f2" if kind == "half" else "f4")))
    file.close()
    executed.append((node["file"].value(), frame))


def executeMultiple(nodes, ranges, views=None, continueOnError=False):
    """Renders; `executing` stands for the callbacks in which Nuke refuses to, `cancel_at` for an artist's hand on Cancel."""
    global executing
    _main()
    if executing:
        raise RuntimeError("I'm already executing something else")
    if set(views or _views) - set(_views):
        raise RuntimeError("no such view")
    executing = True
    try:
        for first, last, step in ranges:
            for frame in range(first, last + 1, step):
                if frame == cancel_at:
                    raise RuntimeError("Cancelled")
                for node in nodes:
                    _write(node, frame)
    finally:
        executing = False


def execute(node, start, end, incr=1, views=None, continueOnError=False):
    executeMultiple((node,), ((start, end, incr),), views)


def executeInMainThread(call, args=(), kwargs=None):
    if threading.current_thread() is threading.main_thread():
        raise AssertionError("executeInMainThread on the main thread: Nuke hangs")
    if not GUI:
        raise AssertionError("executeInMainThread under -t: nothing ever serves it")
    _queue.put((call, args if isinstance(args, tuple) else (args,), kwargs or {}))


def pump(seconds=0.0):
    """The event loop: serves what other threads have asked for; waits so long for the first of it."""
    _main()
    try:
        call, args, kwargs = _queue.get(timeout=seconds) if seconds else _queue.get_nowait()
        while True:
            call(*args, **kwargs)
            call, args, kwargs = _queue.get_nowait()
    except queue.Empty:
        pass


class ProgressTask:
    """`cancelled` on the class stands for the artist's hand on every bar's Cancel."""

    cancelled = False

    def __init__(self, title):
        self.title = title

    def setProgress(self, percent):
        if not isinstance(percent, int):
            raise TypeError("setProgress takes an int")

    def setMessage(self, message):
        if not isinstance(message, str):
            raise TypeError("setMessage takes a str")

    def isCancelled(self):
        return ProgressTask.cancelled


class _Nodes:
    """nuke.nodes.CLASS(inputs=[...]): no selection is disturbed."""

    def __getattr__(self, cls):
        if cls not in _KNOBS or cls in ("Root", "Group"):
            raise AttributeError(cls)

        def make(inputs=(), **knobs):
            number = 1
            while cls + str(number) in _script:
                number += 1
            node = Node(cls, cls + str(number), inputs)
            for name, value in knobs.items():
                node[name].setValue(value)
            _script[node._name] = node
            return node

        return make


nodes = _Nodes()


def createNode(gizmo):
    """A node from `gizmo`.gizmo on the plug-in path, which must hold a Group. Its onCreate runs."""
    _main()
    path = next((Path(folder, gizmo + ".gizmo") for folder in _paths if Path(folder, gizmo + ".gizmo").exists()), None)
    if path is None:
        raise RuntimeError("%s: Unknown command" % gizmo)
    return scriptRead(path.read_text(encoding="utf-8"))


def scriptRead(text):
    """A Group's text as Nuke would load it."""
    global _this
    group = read_group(text)
    node = Node("Group", group.name)
    for name, (value, choices) in group.knobs.items():
        node._knobs[name] = Knob(name, value, choices)
    for child in group.children:
        for name, value in child.knobs.items():
            if name not in _KNOBS[child.cls] and name not in ("name", "inputs"):
                raise RuntimeError("%s has no knob %s" % (child.cls, name))
            enum = _KNOBS[child.cls].get(name)
            if isinstance(enum, tuple) and value not in enum:
                raise RuntimeError("%s.%s has no value %s" % (child.cls, name, value))
    _script[node._name] = node
    _this = node
    exec(group.knobs["onCreate"][0] if "onCreate" in group.knobs else "", {"nuke": __import__("nuke")})
    return node


def thisNode():
    return _this


def toNode(name):
    _main()
    return _script.get(name)


def delete(node):
    _main()
    del _script[node._name]


def root():
    _main()
    return _root


def views():
    return list(_views)


def message(text):
    messages.append(text)


def pluginAddPath(path, addToSysPath=True):
    if "\\" in path:
        raise ValueError("forward slashes only")
    _paths.insert(0, path)
    if addToSysPath:
        import sys

        sys.path.insert(0, path)


def _touch(node):
    _touched.add(id(node))
    if env["nc"] and len(_touched) > NC_LIMIT:
        raise RuntimeError("Non-commercial: Python may touch %d nodes only" % NC_LIMIT)


class _RootNode(Node):
    def name(self):
        return self["name"].value() or "Root"


def reset(script=""):
    """A new script, saved at `script` or never."""
    global _script, _root, _queue, _views, _touched, _this, _paths, executing, cancel_at, executed, messages, GUI
    GUI, executing, cancel_at, executed, messages = True, False, None, [], []
    _script, _queue, _views, _touched, _this, _paths = {}, queue.Queue(), ["main"], set(), None, []
    env["nc"], ProgressTask.cancelled = False, False
    _root = _RootNode("Root", "Root")
    _root["name"].setValue(script)
    _touched.clear()


reset()
