# SPDX-License-Identifier: Apache-2.0
"""A script or gizmo read by a real Tcl interpreter, as Nuke does: commands it does not know are errors, and groups must close."""

import os
import tkinter
from dataclasses import dataclass, field

from . import tables

DANGEROUS = ("exec", "open", "source", "socket", "file", "glob", "exit", "cd")
#: As published gizmos have them: backslash escapes inside quotes.
_ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("[", "\\["), ("$", "\\$"), ("{", "\\{"), ("}", "\\}"), ("\n", "\\n"), ("\t", "\\t"))


@dataclass
class Child:
    """A node as the script tells it: knobs as text, inputs as other nodes or None."""

    cls: str
    knobs: dict
    inputs: list

    @property
    def name(self):
        return self.knobs.get("name", "")


@dataclass
class Group:
    """`knobs`: name -> (value, choices). `buttons`: name -> Python. `flags`: name -> {"+INVISIBLE", ...}. `rows`: addUserKnob's words."""

    name: str
    knobs: dict = field(default_factory=dict)
    buttons: dict = field(default_factory=dict)
    children: list = field(default_factory=list)
    inputs: list = field(default_factory=list)
    flags: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    cls: str = "Group"


def quoted(text):
    """A word as Nuke writes it into a script."""
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return '"%s"' % text


def evaluated(text, script):
    """A text knob's words with the Tcl in them put in. Raises RuntimeError on what is none."""
    tcl = tkinter.Tcl()
    tcl.createcommand("value", lambda name: {"root.name": script}[name])
    tcl.createcommand("getenv", os.environ.__getitem__)
    try:
        return str(tcl.eval("subst {%s}" % text))
    except tkinter.TclError as error:
        raise RuntimeError(str(error)) from None


def read_group(text):
    """The one group of a gizmo."""
    found = [node for node in read_script(text)[1] if node.cls == "Group"]
    if len(found) != 1:
        raise ValueError("a gizmo holds one group")
    return found[0]


def read_script(text):
    """(Root's knobs, the nodes in order). Raises tkinter.TclError on what Tcl would not load, ValueError on what Nuke would not."""
    tcl = tkinter.Tcl()
    for name in DANGEROUS:
        tcl.eval("catch {rename %s {}}" % name)
    tcl.eval('proc unknown {args} {error "[lindex $args 0]: Unknown command"}')
    trouble = []

    def command(name, call):
        """Tcl forgets what a Python command raised: it is kept here."""

        def kept(*words):
            try:
                return call(*words)
            except ValueError as error:
                trouble.append(error)
                raise

        tcl.createcommand(name, kept)

    root, open_groups, named = {}, [([], [], None)], {}  # a group: its stack, its nodes, itself

    def take(knobs, default):
        said = str(knobs.get("inputs", default))
        count = sum(int(part) for part in said.split("+"))
        stack = open_groups[-1][0]
        if len(open_groups) == 1:  # in a script an empty stack gives empty inputs; in a gizmo of ours it would be a fault
            stack[:0] = [None] * (count - len(stack))
        if count > len(stack):
            raise ValueError("%s wants %d inputs, and the stack holds %d" % (knobs.get("name"), count, len(stack)))
        return [stack.pop() for _ in range(count)]

    def group(body):
        made = _group(tcl, body)
        made.inputs = take({"inputs": made.knobs.pop("inputs", 1)}, 1)
        open_groups.append(([], made.children, made))
        return ""

    def end_group():
        if len(open_groups) == 1:
            raise ValueError("end_group without a group")
        made = open_groups.pop()[2]
        open_groups[-1][0].append(made)
        open_groups[-1][1].append(made)
        return ""

    def node(cls):
        def make(body):
            words = tcl.splitlist(body)
            if len(words) % 2:
                raise ValueError("%s: a knob without a value" % cls)
            knobs = dict(zip(words[::2], words[1::2]))
            unknown = [name for name in knobs if name not in tables.KNOBS[cls] and name not in tables.EVERY]
            if unknown:
                raise ValueError("%s has no knob %s" % (cls, unknown[0]))
            for name, value in knobs.items():
                choices = tables.KNOBS[cls].get(name)
                if isinstance(choices, tuple) and value not in choices:
                    raise ValueError("%s.%s has no value %s" % (cls, name, value))
            child = Child(cls, knobs, take(knobs, tables.INPUTS.get(cls, 1)))
            open_groups[-1][1].append(child)
            open_groups[-1][0].append(child)
            return ""

        return make

    def keep(number):  # `set NAME [stack 0]`: the variable holds a key of ours
        named["N%d" % len(named)] = open_groups[-1][0][-1 - int(number)]
        return "N%d" % (len(named) - 1)

    def push(key):
        open_groups[-1][0].append(named[key] if key != "0" else None)
        return ""

    command("Root", lambda body: root.update(zip(*[iter(tcl.splitlist(body))] * 2)) or "")
    command("Group", group)
    for cls in tables.KNOBS:
        if cls not in ("Root", "Group"):
            command(cls, node(cls))
    command("stack", keep)
    command("push", push)
    command("version", lambda *words: "")
    command("end_group", end_group)
    try:
        tcl.eval(text)
    except tkinter.TclError:
        if trouble:
            raise trouble[0] from None
        raise
    if len(open_groups) != 1:
        raise ValueError("a group that does not close")
    return root, open_groups[0][1]


def _group(tcl, body):
    words = list(tcl.splitlist(body))
    if len(words) % 2:
        raise ValueError("Group: a knob without a value")
    group = Group("Group")
    for name, value in zip(words[::2], words[1::2]):
        if name == "addUserKnob":
            _user_knob(tcl, group, tcl.splitlist(value))
        elif name == "name":
            group.name = value
        elif name == "inputs":
            group.knobs[name] = value
        elif name in ("onCreate", "label", "xpos", "ypos", "selected"):
            group.knobs[name] = (value, ())
        elif name not in group.knobs:
            raise ValueError("no knob %s" % name)
        else:
            old, choices = group.knobs[name]
            new = (
                [float(v) for v in value.split()]
                if isinstance(old, list)
                else value == "true"
                if isinstance(old, bool)
                else type(old)(value)
            )
            if choices and new not in choices:
                raise ValueError("%s has no value %s" % (name, new))
            group.knobs[name] = (new, choices)
    return group


#: addUserKnob's kinds (nuke.KnobType's numbers) that we use, and what each holds when nothing was said.
BLANK = {1: "", 2: "", 3: 0, 4: "", 6: False, 7: 0.0, 18: [0.0, 0.0, 0.0], 20: "", 22: "", 26: ""}


def _user_knob(tcl, group, parts):
    kind, name, rest, told = int(parts[0]), parts[1], list(parts[2:]), {}
    while rest:
        word = rest.pop(0)
        if word.startswith(("+", "-")):
            group.flags.setdefault(name, set()).add(word)
        elif word == "R":
            told[word] = rest.pop(0), rest.pop(0)
        elif word in ("l", "t", "T", "M", "n"):
            told[word] = rest.pop(0)
        else:
            raise ValueError("addUserKnob: %s" % word)
    if name in group.knobs:
        raise ValueError("%s stands twice" % name)
    if kind not in BLANK:
        raise ValueError("addUserKnob: kind %d" % kind)
    if kind == 22:
        group.buttons[name] = told["T"]
    choices = tuple(tcl.splitlist(told["M"])) if kind == 4 else ()
    blank = list(BLANK[kind]) if isinstance(BLANK[kind], list) else BLANK[kind]
    group.knobs[name] = (choices[0] if choices else told.get("T", "") if kind == 26 else blank, choices)
    group.rows[name] = (kind, list(parts))
