# SPDX-License-Identifier: Apache-2.0
"""A script's text from the stand-in's nodes, as Nuke saves it: knobs that were set, groups with their user knobs, wires by the stack."""

from . import tables
from .tcl import quoted


def text(root, nodes):
    """`nodes`: the script's, by name, in the order they were made."""
    out = ["version 16.0 v3", "Root {"]
    out += [" %s %s" % (name, _word(knob._value)) for name, knob in root._knobs.items() if knob._value != _default("Root", name)]
    out.append("}")
    done = {}

    def tell(node):
        """Everything above it first; then it, kept under a name of its own."""
        if node in done:
            return
        for above in node._inputs:
            if above is not None:
                tell(above)
        for above in reversed(node._inputs):
            out.append("push 0" if above is None else "push $%s" % done[above])
        out.append("%s {" % node.cls)
        out.append(" inputs %d" % len(node._inputs))
        out.append(" name %s" % node._name)
        rows = getattr(node.source, "rows", {})
        for name, knob in node._knobs.items():
            if name in rows:
                out.append(" " + _row(rows[name], knob))
                if rows[name][0] in (1, 2, 3, 4, 6, 7, 18):
                    out.append(" %s %s" % (name, _word(knob._value)))
            elif knob._value != _default(node.cls, name):
                out.append(" %s %s" % (name, _word(knob._value)))
        out.append("}")
        if node.cls == "Group":
            out.extend(_children(node.source.children))
            out.append("end_group")
        done[node] = "N%d" % len(done)
        out.append("set %s [stack 0]" % done[node])

    for node in nodes.values():
        tell(node)
    return "\n".join(out) + "\n"


def _children(children):
    """What stands in a group: its nodes as they were read."""
    out, done = [], {}
    for child in children:
        for above in reversed(child.inputs):
            out.append("push 0" if above is None else "push $%s" % done[id(above)])
        out.append("%s {" % child.cls)
        out += [" %s %s" % (name, quoted(value)) for name, value in {**child.knobs, "inputs": str(len(child.inputs))}.items()]
        out.append("}")
        done[id(child)] = "G%d" % len(done)
        out.append("set %s [stack 0]" % done[id(child)])
    return out


def _row(row, knob):
    """addUserKnob's words again; a Text knob's value is its T."""
    kind, words = row
    words = list(words)
    if kind == 26:
        words[words.index("T") + 1] = knob._value
    parts = [word if word.isalnum() or word.startswith(("+", "-")) else quoted(word) for word in words]
    if kind == 4:
        at = words.index("M")
        parts[at + 1] = "{%s}" % " ".join(quoted(choice) for choice in knob._choices)
    return "addUserKnob {%s}" % " ".join(parts)


def _default(cls, name):
    known = tables.KNOBS[cls].get(name, tables.EXR_ONLY.get(name))
    return known[0] if isinstance(known, tuple) else known


def _word(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{%s}" % " ".join("%r" % part for part in value)
    return quoted(value) if isinstance(value, str) else "%r" % value
