# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for Nuke's Python module: what Nuke would refuse is refused, in its way. Only what the node needs is here.

Any other name is an AttributeError. Nodes and knobs may be touched on the main thread alone; `pump()` is the event loop.
Pixels are real: a Read's files are read and a Write's are written. A script is saved as text and opened by a real Tcl interpreter.
`reset()` opens an empty script. What a test may set: GUI, env, executing, cancel_at, disk_full, blind_hashes, current_view.
"""

import copy
import hashlib
import queue
import sys
import threading
from pathlib import Path

from . import pictures, tables
from .knobs import Enumeration_Knob, File_Knob, Knob
from .pictures import Format
from .progress import ProgressTask
from .script import text as _script_text
from .tcl import Child, read_group, read_script
from .undo import Undo
from .undo import main_alone as _main
from .undo import recorded as _recorded

GUI = True
NUKE_VERSION_STRING = "16.0v3"
NC_LIMIT = 10
env = {}


class Node:
    def __init__(self, cls, name, inputs=(), source=None):
        _main()
        _touch(self)
        self.cls, self._name, self._inputs, self.source = cls, name, list(inputs), source
        self._knobs, self._seen, self._attached = {}, {}, True
        for knob, value in tables.KNOBS[cls].items():
            self._add(knob, value)

    def _add(self, name, value):
        kind = File_Knob if name == "file" else Enumeration_Knob if isinstance(value, tuple) else Knob
        self._knobs[name] = kind(name, value[0], value) if isinstance(value, tuple) else kind(name, value)
        self._knobs[name].node = self

    def Class(self):
        return self.cls

    def _live(self):
        _main()
        if not self._attached:  # deleted, or its script was closed
            raise ValueError("A PythonObject is not attached to a node")

    def name(self):
        self._live()
        return self._name

    def fullName(self):
        self._live()
        return self._name

    def setName(self, name, uncollide=True, updateExpressions=False):
        self._live()
        del _script[self._name]
        self._name = _free_name(name) if name in _script else name
        _script[self._name] = self

    def knob(self, name):
        self._live()
        _touch(self)
        if self.cls == "Write" and name in tables.EXR_ONLY and self._knobs["file_type"]._value == "exr" and name not in self._knobs:
            self._add(name, tables.EXR_ONLY[name])
            own = _defaults.get("Write.exr." + name)
            if own is not None:
                choices = self._knobs[name]._choices
                self._knobs[name]._value = choices[int(own)] if choices else own == "1"
        return self._knobs.get(name)

    def __getitem__(self, name):
        found = self.knob(name)
        if found is None:
            raise NameError("knob %s does not exist" % name)
        return found

    def inputs(self):
        _main()
        return len(self._inputs)

    def input(self, number):
        _main()
        return self._inputs[number] if number < len(self._inputs) else None

    def setInput(self, number, node):
        _main()
        self._inputs += [None] * (number + 1 - len(self._inputs))
        old = self._inputs[number]
        self._inputs[number] = node
        _recorded("setInput", lambda: self._inputs.__setitem__(number, old))
        return True

    def begin(self):
        _main()

    def end(self):
        _main()

    def hasError(self):
        _main()
        try:
            self._image(self.firstFrame(), _views[0])
        except RuntimeError:
            return True
        return False

    def setProxy(self, on):
        if self.cls != "Root":
            raise AttributeError("setProxy")
        self["proxy"].setValue(bool(on))

    # --- what a picture is: of a Read its file, of a Group its Result or its plate ---------------------------------------------

    def _image(self, frame, view=None):
        view = view or _views[0]
        if self.cls not in ("Read", "Group") and None in (self._inputs or [None]):
            raise RuntimeError("%s: an input is not connected" % self._name)
        if self.cls == "Group":
            pattern, first, last = (self._knobs[name]._value for name in ("result_file", "result_first", "result_last"))
            if not pattern or (self._knobs["output"].value() == "comp" and not first <= frame <= last):
                if self._inputs[:1] in ([], [None]):
                    raise RuntimeError("%s: an input is not connected" % self._name)
                return self._inputs[0]._image(frame, view)
            return self._nearest(pattern, first, last, frame, view)
        if self.cls == "Read":
            pattern, first, last = (self._knobs[name]._value for name in ("file", "first", "last"))
            if self._knobs["on_error"]._value == "nearest frame":
                return self._nearest(pattern, first, last, frame, view)
            return pictures.read(pictures.named(pattern, min(max(frame, first), last), view))
        if self.cls == "JoinViews":
            return self._inputs[_views.index(view)]._image(frame, view)
        if self.cls == "TimeOffset":
            return self._inputs[0]._image(frame - self._knobs["time_offset"]._value, view)
        picture, spec = self._inputs[0]._image(frame, view)
        if self.cls == "Multiply":
            picture = {name: pixels * self._knobs["value"]._value for name, pixels in picture.items()}
        return picture, spec

    @staticmethod
    def _nearest(pattern, first, last, frame, view):
        there = [f for f in range(first, last + 1) if Path(pictures.named(pattern, f, view)).exists()]
        if not there:
            raise RuntimeError("%s: Read error: No such file or directory" % pattern)
        return pictures.read(pictures.named(pattern, min(there, key=lambda f: abs(f - frame)), view))

    def channels(self):
        _main()
        return list(self._image(self.firstFrame())[0])

    def _range(self, which):
        if which in self._knobs and self.cls == "Read":
            return self._knobs[which]._value
        above = next((node for node in self._inputs if node is not None), None)
        if above is None:
            return _root._knobs["%s_frame" % which]._value
        return above._range(which) + (self._knobs["time_offset"]._value if self.cls == "TimeOffset" else 0)

    def firstFrame(self):
        _main()
        return self._range("first")

    def lastFrame(self):
        _main()
        return self._range("last")

    def format(self):
        _main()
        spec = self._image(self.firstFrame())[1]
        return Format(spec.full_width, spec.full_height, spec.get_float_attribute("PixelAspectRatio", 1.0))

    def metadata(self, key=None, time=None, view=None):
        """Sees to the node at that frame, as Nuke does: only then does showInfo know of it."""
        _main()
        if time is not None:
            self._seen[int(time)] = _op_hash(self, int(time), view or _views[0])
        if key == "input/bitsperchannel":
            node = self
            while node is not None and node.cls != "Read":
                node = node._inputs[0] if node._inputs else None
            return pictures.bits(pictures.named(node._knobs["file"]._value, int(time), view or _views[0])) if node is not None else None
        return None

    def sample(self, channel, x, y, dx=1, dy=1, frame=None):
        """One value; y counts from the bottom."""
        _main()
        picture, spec = self._image(self.firstFrame() if frame is None else frame)
        pixels = picture[channel]
        row = spec.full_height - 1 - int(y) - spec.y
        return float(pixels[row, int(x) - spec.x]) if 0 <= row < pixels.shape[0] else 0.0

    def opHashes(self):
        _main()
        return list(self._seen.values())


class Group(Node):
    """A node that holds nodes."""

    def nodes(self):
        _main()
        return [Node(child.cls, "%s.%s" % (self._name, child.name)) for child in self.source.children]


def _op_hash(node, frame, view):
    """Class, knobs and inputs, as Nuke has it; a file by its name alone: bytes overwritten in place are invisible to it."""
    if node is None:
        return 0
    told = [node.cls]
    if not blind_hashes:
        told += ["%s %r" % (name, knob._value) for name, knob in sorted(node._knobs.items()) if name not in ("file", "label")]
    if node.cls == "Read":
        told.append(pictures.named(node._knobs["file"]._value, frame, view))
    inner = frame - node._knobs["time_offset"]._value if node.cls == "TimeOffset" else frame
    inputs = [node._inputs[_views.index(view)]] if node.cls == "JoinViews" else node._inputs
    told += [str(_op_hash(above, inner, view)) for above in inputs]
    return int(hashlib.sha256("|".join(told).encode()).hexdigest()[:16], 16)


def showInfo(node):
    _main()
    return "".join(
        "%s\n  Op for {view=1 frame=%d proxy=0}: valid hash=%016x\n" % (node._name, frame, number) for frame, number in node._seen.items()
    )


def filename(node, replace=None):
    _main()
    knob = node._knobs.get("file")
    return knob._value if knob is not None and knob._value else None


# --- rendering -------------------------------------------------------------------------------------------------------------------


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
                for view in views or _views:
                    if frame == cancel_at:
                        raise RuntimeError("Cancelled")
                    for node in nodes:
                        _write(node, frame, view)
    finally:
        executing = False


def _write(node, frame, view):
    if node["file_type"].value() != "exr":
        raise RuntimeError("Write: no file type")
    if disk_full:
        raise RuntimeError("Write: error writing file: No space left on device")
    if node["disable"].value():
        return
    if len(_views) > 1 and "%" not in node["file"].value() and node["views"].value() != view:
        raise AssertionError("Nuke would put every view into this one file, under channels of its own name")
    picture, spec = node.input(0)._image(frame, view)
    path = pictures.named(node["file"].value(), frame, view)
    pictures.write(
        path, picture, spec, node["channels"].value(), node["datatype"].value(), node["compression"].value(), _root["proxy"].value(),
        node["autocrop"].value(), node["write_ACES_compliant_EXR"].value(), node["interleave"].value() == "channels",
    )  # fmt: skip
    executed.append((node["file"].value(), frame))


def execute(node, start, end, incr=1, views=None, continueOnError=False):
    executeMultiple((node,), ((start, end, incr),), views)


# --- threads ---------------------------------------------------------------------------------------------------------------------


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


# --- nodes and scripts -----------------------------------------------------------------------------------------------------------


def _keep(node):
    _script[node._name] = node
    _recorded("create %s" % node._name, lambda: _script.pop(node._name, None))
    return node


def _free_name(stem):
    number = 1
    while stem + str(number) in _script:
        number += 1
    return stem + str(number)


class _Nodes:
    """nuke.nodes.CLASS(inputs=[...]): no selection is disturbed."""

    def __getattr__(self, cls):
        if cls not in tables.KNOBS or cls in ("Root", "Group"):
            raise AttributeError(cls)

        def make(inputs=(), **knobs):
            node = Node(cls, _free_name(cls), inputs)
            with_undo, Undo._off = Undo._off, Undo._off + 1
            for name, value in knobs.items():
                node[name].setValue(value)
            Undo._off = with_undo
            return _keep(node)

        return make


nodes = _Nodes()


def createNode(gizmo):
    """A node from `gizmo`.gizmo on the plug-in path, which must hold a Group. Its onCreate runs."""
    _main()
    path = next((Path(folder, gizmo + ".gizmo") for folder in _paths if Path(folder, gizmo + ".gizmo").exists()), None)
    if path is None:
        raise RuntimeError("%s: Unknown command" % gizmo)
    group = read_group(path.read_text(encoding="utf-8"))
    node = _from_group(group, _free_name(group.name) if group.name in _script else group.name)
    _keep(node)
    _create(node)
    return node


def _from_group(group, name):
    node = Group("Group", name, [], group)
    for knob, (value, choices) in group.knobs.items():
        node._knobs[knob] = (Enumeration_Knob if choices else Knob)(knob, value, choices)
        node._knobs[knob].colour = group.rows.get(knob, (0,))[0] == 18
        node._knobs[knob].visible = "+INVISIBLE" not in group.flags.get(knob, ())
    for child in group.children:
        if not isinstance(child, Child) or child.cls not in tables.KNOBS:
            raise RuntimeError("%s: Unknown command" % child.cls)
    return node


def _create(node):
    """onCreate, silent or not: what it raises Nuke prints."""
    global _this
    _this = node
    code = node._knobs["onCreate"]._value if "onCreate" in node._knobs else ""
    exec(compile(code, "onCreate", "exec"), {"nuke": sys.modules[__name__]})


def scriptSaveAs(path, overwrite=-1):
    _main()
    _root["name"].setValue(str(path))
    Path(path).write_text(_script_text(_root, _script), encoding="utf-8")


def scriptClear():
    _main()
    for node in _script.values():
        node._attached = False
    _script.clear()


def scriptOpen(path):
    """Opens a script in this session. As under -t, nothing asks whether the old one shall be saved."""
    global _root
    _main()
    if not Path(path).is_file():
        raise RuntimeError("Can't open %s" % path)
    told, found = read_script(Path(path).read_text(encoding="utf-8"))
    scriptClear()
    _touched.clear()
    _root = _RootNode("Root", "Root")
    Undo._off += 1
    for name, value in told.items():
        _set_text(_root[name], value)
    _root["name"].setValue(str(path))
    made = {}
    for item in found:
        node = _from_group(item, item.name) if item.cls == "Group" else Node(item.cls, item.name)
        if item.cls != "Group":
            for name, value in item.knobs.items():
                if name not in ("name", "inputs", "xpos", "ypos", "selected", "label", "note_font_size"):
                    _set_text(node[name], value)
        node._inputs = [made[id(above)] if above is not None else None for above in item.inputs]
        made[id(item)] = node
        _script[node._name] = node
    Undo._off -= 1
    _touched.clear()
    for node in list(_script.values()):
        if node.cls == "Group":
            _create(node)


def _set_text(knob, text):
    old = knob._value
    if isinstance(old, list):
        knob.setValue([float(part) for part in text.split()])
    elif isinstance(old, bool):
        knob.setValue(text == "true")
    else:
        knob.setValue(type(old)(text))


def thisNode():
    return _this


def toNode(name):
    _main()
    return _script.get(name[len("root.") :] if name.startswith("root.") else name)


def delete(node):
    _main()
    del _script[node._name]
    _touched.discard(id(node))
    node._attached = False
    _recorded("delete %s" % node._name, lambda: _back(node))


def _back(node):
    """Undo makes the node again: another object, with the same knobs."""
    _script[node._name] = again = copy.copy(node)
    again._attached = True
    for knob in again._knobs.values():
        knob.node = again


def allNodes():
    _main()
    return list(_script.values())


def root():
    _main()
    return _root


def views():
    _main()
    return list(_views)


def addView(name):
    _main()
    _views.append(name)


def knobDefault(name, value):
    """What a knob of each new node holds, as a studio's init.py has it; of the Write's for EXR alone."""
    _defaults[name] = value


def message(text):
    messages.append(text)


def pluginAddPath(path, addToSysPath=True):
    if "\\" in path:
        raise ValueError("forward slashes only")
    _paths.insert(0, path)
    if addToSysPath:
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
    global _script, _root, _queue, _views, _touched, _this, _paths, _defaults
    global executing, cancel_at, executed, messages, GUI, disk_full, blind_hashes
    GUI, executing, cancel_at, executed, messages, disk_full, blind_hashes = True, False, None, [], [], False, False
    _script, _queue, _views, _touched, _this, _paths, _defaults = {}, queue.Queue(), ["main"], set(), None, [], {}
    env.clear()
    env.update(nc=False, studio=False, hiero=False)
    ProgressTask.cancelled, ProgressTask.said = False, []
    Undo._steps, Undo._open, Undo._off = [], None, 0
    _root = _RootNode("Root", "Root")
    _root._knobs["name"]._value = script
    _touched.clear()


reset()
