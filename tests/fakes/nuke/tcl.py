# SPDX-License-Identifier: Apache-2.0
"""A Group's text read by a real Tcl interpreter, as Nuke does: commands it does not know are errors, and groups must close."""

import tkinter
from dataclasses import dataclass, field

DANGEROUS = ("exec", "open", "source", "socket", "file", "glob", "exit", "cd")
CLASSES = ("Input", "Read", "Switch", "Output", "Write")


@dataclass
class Child:
    cls: str
    knobs: dict
    inputs: list


@dataclass
class Group:
    name: str
    knobs: dict = field(default_factory=dict)  # name -> (value, choices)
    buttons: dict = field(default_factory=dict)  # name -> Python
    children: list = field(default_factory=list)


def read_group(text):
    """The group. Raises tkinter.TclError on what Tcl would not load, ValueError on what Nuke would not."""
    tcl = tkinter.Tcl()
    for name in DANGEROUS:
        tcl.eval("catch {rename %s {}}" % name)
    found, stack, closed, named = [], [], [], {}

    def group(body):
        found.append(_knobs(tcl, body))
        return ""

    def node(cls):
        def make(body):
            words = tcl.splitlist(body)
            knobs = dict(zip(words[::2], words[1::2]))
            count = int(knobs.get("inputs", 1))
            taken = [stack.pop() for _ in range(count)]
            child = Child(cls, {**knobs}, taken)
            found[-1].children.append(child)
            stack.append(child)
            return ""

        return make

    def keep(number):
        named[str(len(named))] = stack[-1 - int(number)]
        return str(len(named) - 1)

    tcl.createcommand("Group", group)
    for cls in CLASSES:
        tcl.createcommand(cls, node(cls))
    tcl.createcommand("stack", keep)
    tcl.createcommand("push", lambda key: stack.append(named.get(key)) or "")
    tcl.createcommand("end_group", lambda: closed.append(1) or "")
    tcl.eval(text)
    if len(found) != 1 or len(closed) != 1:
        raise ValueError("a group that does not close")
    return found[0]


def _knobs(tcl, body):
    words = list(tcl.splitlist(body))
    group = Group("Group")
    for name, value in zip(words[::2], words[1::2]):
        if name == "addUserKnob":
            _user_knob(tcl, group, tcl.splitlist(value))
        elif name == "name":
            group.name = value
        elif name == "inputs":
            pass
        elif name == "onCreate":
            group.knobs[name] = (value, ())
        elif name not in group.knobs:
            raise ValueError("no knob %s" % name)
        else:
            old, choices = group.knobs[name]
            new = [float(v) for v in value.split()] if isinstance(old, list) else type(old)(value)
            if choices and new not in choices:
                raise ValueError("%s has no value %s" % (name, new))
            group.knobs[name] = (new, choices)
    return group


def _user_knob(tcl, group, parts):
    kind, name, rest, told = int(parts[0]), parts[1], list(parts[2:]), {}
    while rest:
        word = rest.pop(0)
        if word.startswith(("+", "-")):
            continue
        if word == "R":
            told[word] = rest.pop(0), rest.pop(0)
        elif word in ("l", "t", "T", "M", "n"):
            told[word] = rest.pop(0)
        else:
            raise ValueError("addUserKnob: %s" % word)
    if name in group.knobs:
        raise ValueError("%s stands twice" % name)
    if kind == 22:
        group.buttons[name] = told["T"]
    choices = tuple(tcl.splitlist(told["M"])) if kind == 4 else ()
    blank = {1: "", 2: "", 3: 0, 4: choices[0] if choices else "", 7: 0.0, 18: [0.0, 0.0, 0.0], 20: "", 22: "", 26: told.get("T", "")}
    group.knobs[name] = (blank[kind], choices)
