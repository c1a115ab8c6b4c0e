# SPDX-License-Identifier: Apache-2.0
"""For whoever owns Nuke: what of this node holds in a real one, and what the things that nobody could establish turned out to be.

    nuke -t .../Platebridge/platebridge_selftest.py [report.txt]

Makes nodes in an empty script and files in a temporary folder; takes about a minute, with a server running a few. Each line is passed,
failed, fact or skipped; the same lines go into a file, to be sent to us. Exit code 1 where anything failed.
(`nuke -t -m NAME` can't be had: Nuke takes -m for its number of threads.)
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import threading
import traceback
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import nuke

from . import node as buttons

# isort: split
from platebridge.dials import DIALS
from platebridge.errors import PlatebridgeError
from platebridge.takes import verify_take

from . import asking, colour, inputs, peek, print_anything, rendering, sample_shot, vendored

WRITE = {
    "file": None, "file_type": ("exr",), "datatype": ("16 bit half", "32 bit float"), "compression": ("Zip (1 scanline)",),
    "autocrop": None, "write_ACES_compliant_EXR": None, "interleave": None,
    "metadata": ("no metadata",), "raw": None, "views": None, "channels": ("rgb", "rgba", "depth.Z", "rgba.alpha", "backward"),
}  # fmt: skip
WINDOW = ("projection_mode", "win_translate", "win_scale", "winroll")
NASTY = '"[exit] $HOME {a} \\ #\nÄ数'


class Skipped(Exception):
    """Why something was not tried."""


class Report:
    """Collects the lines. `failed`: how many."""

    def __init__(self) -> None:
        self.lines: List[str] = []
        self.failed = 0

    def say(self, what: str, name: str, told: str = "") -> None:
        line = "%-7s %s%s" % (what, name, ": " + told.strip().replace("\n", " | ") if told else "")
        self.lines.append(line)
        print(line, flush=True)

    def check(self, name: str, call: Callable[[], Any]) -> Any:
        """Passed unless it raises; what it gives is told."""
        return self._try("passed", name, call)

    def fact(self, name: str, call: Callable[[], Any]) -> Any:
        """Something that was not established: what it turned out to be."""
        return self._try("fact", name, call)

    def _try(self, what: str, name: str, call: Callable[[], Any]) -> Any:
        try:
            got = call()
        except Skipped as why:
            self.say("skipped", name, str(why))
        except Exception as error:  # a test that tests: every failure is a line, and the next check goes on
            self.failed += 1
            self.say("failed", name, "%s: %s (%s)" % (type(error).__name__, error, traceback.format_exc(limit=-1).splitlines()[1].strip()))
        else:
            self.say(what, name, "" if got is None or not isinstance(got, (str, int, float, dict, list, tuple)) else str(got))
            return got
        return None


def main(arguments: List[str]) -> int:
    """Runs everything, writes the report, gives the exit code."""
    print_anything()
    report = Report()
    _about(report)
    folder = tempfile.mkdtemp(prefix="platebridge_selftest_")
    try:
        _Bench(report, Path(folder)).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Windows removes no file that Nuke still reads: the report is worth more
    name = "platebridge_selftest_%s_%s.txt" % (nuke.NUKE_VERSION_STRING, platform.system().lower())
    path = Path(arguments[0] if arguments else name).absolute()
    report.say("fact", "passed, failed, in all", "%d, %d, %d" % (_count(report, "passed"), report.failed, len(report.lines)))
    try:
        path.write_text("\n".join(report.lines) + "\n", encoding="utf-8")
        print("Written to %s: please send it to us." % path, flush=True)
    except OSError as error:
        print("The report could not be written (%s): please send us what stands above." % error, flush=True)
    return 1 if report.failed else 0


def _count(report: Report, what: str) -> int:
    return sum(1 for line in report.lines if line.startswith(what))


def _about(report: Report) -> None:
    report.fact("Nuke", lambda: "%s on %s" % (nuke.NUKE_VERSION_STRING, platform.platform()))
    report.fact("Python", lambda: sys.version)
    report.fact("window, Non-commercial, Studio", lambda: [bool(nuke.GUI), bool(nuke.env["nc"]), bool(nuke.env.get("studio"))])
    for name in ("zmq", "msgpack", "numpy", "OpenEXR", "OpenImageIO", "PyOpenColorIO", "PySide2", "PySide6"):
        report.fact("Nuke's own %s" % name, partial(_found, name))
    report.fact("colour of a new script", lambda: dict(colour.settings()))
    report.fact("working space as it is sent", colour.working_space)
    report.fact("views", lambda: list(nuke.views()))
    report.fact("OCIO_config's items", lambda: _items(nuke.root(), "OCIO_config"))
    report.fact("workingSpaceLUT's first items, raw", lambda: [repr(item) for item in _items(nuke.root(), "workingSpaceLUT")[:4]])


def _found(name: str) -> str:
    """Where a module of that name would come from."""
    return str(getattr(importlib.util.find_spec(name), "origin", "none"))


def _items(node: Any, name: str) -> List[str]:
    knob = node.knob(name)
    return list(knob.values()) if knob is not None and hasattr(knob, "values") else []


class _Bench:
    """The node in an empty script, with a small shot connected."""

    def __init__(self, report: Report, folder: Path) -> None:
        self.report, self.folder = report, folder
        self.node: Any = None
        self.reads: Dict[str, Any] = {}
        self.files: Optional[Dict[str, Any]] = None
        self.steps: Tuple[Optional[int], Optional[int]] = (None, None)
        self.view = ""

    def run(self) -> None:
        check, fact = self.report.check, self.report.fact
        check("our own zmq is private, or this is a checkout", self.zmq)
        check("the gizmo makes a Group", self.make)
        if self.node is None:
            return
        check("every knob that the package uses is there", self.knobs)
        check("a node is found by its name from the script on", self.by_name)
        fact("a Camera's knobs for its window and projection", self.camera)
        check("Write takes the knobs and values that we set", self.write_knobs)
        fact("the node with no take and no input has an error", lambda: str(self.node.hasError()))
        check("a shot is connected", self.connect)
        fact("the node with a plate and no take has an error", lambda: str(self.node.hasError()))
        check("the plan is made from the knobs", lambda: str(inputs.plan(self.node).channels))
        fact("the plate's bits by metadata", lambda: str(self.reads["plate"].metadata("input/bitsperchannel", sample_shot.FIRST)))
        check("the inputs are rendered", self.render)
        for which in ("plate", "depth", "mask"):
            fact("%s as Nuke wrote it" % which, partial(self.header, which))
        check("the plate is half, with its overscan as data window, and equal to its file", lambda: self.equal("plate", ("R", "G", "B")))
        check("the depth is float, and equal to its file", lambda: self.equal("depth", None))
        check("the mask is equal to its file", lambda: self.equal("mask", None))
        check("no Write is left behind, proxy is off as it was", self.tidy)
        fact("a frame's op hash can be read and believed", self.hashes)
        check("what did not change is not rendered again, where hashes are believed", self.again)
        check("a changed value is rendered again", self.changed)
        check("undo has nothing of ours", self.undo)
        check("a take is shown, frame by frame", self.show)
        check("Make Read nodes makes them at the plate's frames", self.make_reads)
        check("a preset turns the dials", self.preset)
        check("the script is saved and opened again with every knob", self.reopen)
        fact("a ProgressTask moved from a thread", self.progress)
        check("a server answers", self.server)
        check("the whole way, four frames", self.whole_way)

    def zmq(self) -> str:
        if not vendored.folder().is_dir():
            raise Skipped("nothing is vendored in %s" % vendored.folder())
        return str(vendored.modules["zmq"].__file__)

    def make(self) -> str:
        self.node = nuke.createNode("Platebridge")
        if self.node.Class() != "Group":
            raise AssertionError("its class is %s" % self.node.Class())
        inner = self.node.nodes()
        if len(inner) > 9:
            raise AssertionError("it holds %d nodes" % len(inner))
        return "%d nodes inside, inputs %d" % (len(inner), self.node.inputs())

    def knobs(self) -> None:
        wanted = ["status", "shot", "first", "last", "views", "reuse", "plate_type", "depth_kind", "depth_scale", "camera_scale", "preset"]
        wanted += ["connection", "take_root", "take", "output", "star", "note", "result_file", "result_first", "result_last", "takes_text"]
        absent = [name for name in [*wanted, *DIALS] if self.node.knob(name) is None]
        if absent:
            raise AssertionError("absent: %s" % ", ".join(absent))

    def by_name(self) -> None:
        if inputs.by_name(self.node.fullName()) is None:
            raise AssertionError("root.%s is nothing" % self.node.fullName())

    def camera(self) -> str:
        seen: Any = nuke.nodes.Camera2()
        try:
            return ", ".join("%s %s" % (name, getattr(seen.knob(name), "value", lambda: "absent")()) for name in WINDOW)
        finally:
            nuke.delete(seen)

    def write_knobs(self) -> None:
        write: Any = nuke.nodes.Write()
        refused = []
        try:
            for name, values in WRITE.items():
                if name == "datatype" and write.knob(name) is None:
                    raise AssertionError("no datatype after file_type exr")
                knob = write[name]  # one that is absent is an error
                for value in values or ():
                    knob.setValue(value)
                    if str(knob.value()) != value:
                        refused.append("%s %s became %s" % (name, value, knob.value()))
        finally:
            nuke.delete(write)
        if refused:
            raise AssertionError("; ".join(refused))

    def connect(self) -> None:
        patterns = sample_shot.write_shot(self.folder / "shot")
        for which, number in list(inputs.NUMBER.items())[:3]:
            read: Any = nuke.nodes.Read()
            read["file"].fromUserText("%s %d-%d" % (patterns[which], sample_shot.FIRST, sample_shot.LAST))
            for knob, value in (("first", sample_shot.FIRST), ("last", sample_shot.LAST)):
                if int(read[knob].value()) != value:
                    self.report.say("fact", "fromUserText left %s at" % knob, str(read[knob].value()))
                    read[knob].setValue(value)
            read["raw"].setValue(True)
            self.node.setInput(number, read)
            self.reads[which] = read
        told = {"first": sample_shot.FIRST, "last": sample_shot.LAST, "take_root": (self.folder / "takes").as_posix(), "shot": "selftest"}
        for name, given in {**told, "detail": 24, "debris": 8, "amount": 2.0, "quality": "draft"}.items():
            self.node[name].setValue(given)

    def render(self) -> str:
        plan = inputs.plan(self.node)
        self.view = next(iter(plan.requests))
        before = _undo_size()
        self.files, _ = rendering.render(self.node, plan, self.view)
        self.steps = before, _undo_size()
        return ", ".join("%s %d" % (which, len(item.files)) for which, item in self.files.items())

    def header(self, which: str) -> str:
        return str(peek.header(self._rendered(which)))

    def equal(self, which: str, channels: Any) -> None:
        """Every row of the first frame, value by value; the file's own channel names may differ where there is one channel."""
        theirs = peek.Picture(Path(str(self.folder / "shot" / ("%s.%d.exr" % (which, sample_shot.FIRST)))))
        mine = peek.Picture(self._rendered(which))
        if mine.data != theirs.data or mine.display != theirs.display or list(mine.channels.values()) != list(theirs.channels.values()):
            raise AssertionError(
                "%s %s %s, not %s %s %s" % (mine.data, mine.display, mine.channels, theirs.data, theirs.display, theirs.channels)
            )
        for ours, wanted in zip(sorted(mine.channels), sorted(theirs.channels)):
            if channels is not None and ours != wanted:
                raise AssertionError("its channels are %s" % ", ".join(mine.channels))
            for row in range(theirs.rows()):
                if mine.row(row, ours) != theirs.row(row, wanted):
                    raise AssertionError("row %d of %s differs" % (row, ours))

    def _rendered(self, which: str) -> Path:
        if self.files is None:
            raise Skipped("the inputs were not rendered")
        return Path(self.files[which].files[sample_shot.FIRST])

    def tidy(self) -> None:
        left = [node.name() for node in nuke.allNodes() if node.Class() in ("Write", "Multiply")]
        if left or bool(nuke.root()["proxy"].value()):
            raise AssertionError("left: %s; proxy %s" % (left, nuke.root()["proxy"].value()))

    def hashes(self) -> str:
        if nuke.env["nc"]:
            return "not tried: Non-commercial"
        held = rendering._hashes_hold(self.reads["plate"], sample_shot.FIRST, self.view)
        return "%s; showInfo begins: %s" % (held, str(nuke.showInfo(self.reads["plate"]))[:300])

    def _times(self) -> Dict[str, int]:
        assert self.files is not None
        return {str(path): os.stat(str(path)).st_mtime_ns for item in self.files.values() for path in item.files.values()}

    def again(self) -> str:
        self._rendered("plate")
        before = self._times()
        self.files, _ = rendering.render(self.node, inputs.plan(self.node), self.view)
        after = self._times()
        return "%d of %d files are as they were" % (sum(1 for path in before if before[path] == after[path]), len(before))

    def changed(self) -> None:
        self._rendered("plate")
        grade: Any = nuke.nodes.Multiply(inputs=[self.reads["plate"]])
        grade["value"].setValue(2.0)
        self.node.setInput(0, grade)
        before = peek.Picture(self._rendered("plate")).row(20, "R")
        self.files, _ = rendering.render(self.node, inputs.plan(self.node), self.view)
        after = peek.Picture(self._rendered("plate")).row(20, "R")
        self.node.setInput(0, self.reads["plate"])
        nuke.delete(grade)
        self.files, _ = rendering.render(self.node, inputs.plan(self.node), self.view)
        if after != tuple(2 * value for value in before):
            raise AssertionError("an old frame was taken for a new one")

    def undo(self) -> None:
        before, after = self.steps
        if before is None:
            raise Skipped("this Nuke has no undo to ask")
        if before != after:
            raise AssertionError("%s steps to undo before the render, %s after it" % (before, after))

    def show(self) -> str:
        take = self.folder / "takes" / "selftest" / "take_0001"
        take.mkdir(parents=True)
        inside = (0, 0, 15, 15)
        for frame in (1001, 1003):
            channels = {c: ("half", _constant(frame - 1000.0)) for c in "RGB"}
            sample_shot.write_exr(take / ("comp.%d.exr" % frame), channels, inside, inside)
        self.node["take"].setValue(take.as_posix())
        buttons.show(self.node)
        if self.node["result_file"].value() == "":
            raise AssertionError(self.node["status"].value())
        seen = [float(self.node.sample("rgba.red", 8, 8, 1, 1, frame)) for frame in (1001, 1003)]
        if seen != [1.0, 3.0]:
            raise AssertionError("frames 1001 and 1003 show %s, not 1 and 3" % seen)
        return "a frame that is missing shows %s" % self.node.sample("rgba.red", 8, 8, 1, 1, 1002)

    def make_reads(self) -> str:
        made = buttons.make_reads(self.node) or []
        told = [(read["first"].value(), read["last"].value(), read["raw"].value()) for read in made]
        for read in made:
            nuke.delete(read)
        if [tuple(int(v) for v in one) for one in told] != [(1001, 1003, 1)]:
            raise AssertionError(str(told))
        return str(told)

    def preset(self) -> None:
        self.node["preset"].setValue("Brick")
        buttons.use_preset(self.node)
        if abs(float(self.node["speed"].value()) - 1.4) > 1e-6 or int(self.node["debris"].value()) != 220:
            raise AssertionError("speed %s, debris %s" % (self.node["speed"].value(), self.node["debris"].value()))
        self.node["debris"].setValue(8)

    def reopen(self) -> None:
        if nuke.GUI:
            raise Skipped("it would close the script that is open")
        name = self.node.name()
        self.node["note"].setValue(NASTY)
        shown = self.node["result_file"].value()
        script = (self.folder / "selftest.nk").as_posix()
        nuke.scriptSaveAs(script, 1)
        nuke.scriptClear()
        nuke.scriptOpen(script)
        self.node = nuke.toNode(name)
        self.reads = {which: self.node.input(number) for which, number in list(inputs.NUMBER.items())[:3]}
        if self.node["note"].value() != NASTY or self.node["result_file"].value() != shown:
            raise AssertionError("note %r, shown %r" % (self.node["note"].value(), self.node["result_file"].value()))

    def progress(self) -> str:
        if not nuke.GUI:
            raise Skipped("there is no window")
        told: List[str] = []

        def move() -> None:
            try:
                task = nuke.ProgressTask("Platebridge")
                task.setMessage("from a thread")
                task.setProgress(50)
                told.append("not cancelled" if not task.isCancelled() else "cancelled")
            except Exception as error:  # whatever it raises is the fact
                told.append("%s: %s" % (type(error).__name__, error))

        thread = threading.Thread(target=move)
        thread.start()
        thread.join(10)
        return told[0] if told else "it hangs"

    def server(self) -> str:
        try:
            return str(asking.check_server(None))
        except PlatebridgeError as error:
            raise Skipped(str(error)) from None

    def whole_way(self) -> str:
        try:
            asking.check_server(None)
        except PlatebridgeError as error:
            raise Skipped(str(error)) from None
        if nuke.GUI:
            raise Skipped("with a window it can't be waited for: press Generate on a node, or in the sources' docs/nuke_acceptance.nk")
        self.node["take"].setValue("")
        job = buttons.generate(self.node)
        if job is None or job.error is not None:
            raise AssertionError(self.node["status"].value())
        faults = verify_take(job.take)
        if faults or int(self.node["result_last"].value()) != sample_shot.LAST:
            raise AssertionError("%s; shown up to %s" % (faults, self.node["result_last"].value()))
        return "%s is whole" % job.take.name


def _constant(value: float) -> sample_shot.Value:
    return lambda x, y: value


def _undo_size() -> Optional[int]:
    undo: Any = getattr(nuke, "Undo", None)
    return None if undo is None else int(undo.undoSize())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
