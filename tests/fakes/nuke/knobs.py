# SPDX-License-Identifier: Apache-2.0
"""Knobs that take only what Nuke's would, on the main thread alone."""

import re

import nuke

from .tcl import evaluated
from .undo import main_alone as _main
from .undo import recorded as _recorded


class Knob:
    """A knob that takes only what Nuke's would."""

    colour = False

    def __init__(self, name, value, choices=()):
        self._name, self._choices, self.visible, self.node = name, choices, True, None
        self._value = list(value) if isinstance(value, list) else value

    def name(self):
        return self._name

    def value(self, *index):
        _main()
        if index:
            return self._value[index[0]]
        if getattr(self, "expression", None):  # whatever was set beside it
            return self.expression(nuke._root._knobs["first_frame"]._value)
        if self.colour and len(set(self._value)) == 1:
            return self._value[0]  # Nuke has one number for a colour of equal parts
        return tuple(self._value) if isinstance(self._value, list) else self._value

    def getValueAt(self, frame, index=0, view=None):
        _main()
        if isinstance(self._value, str):
            raise AttributeError("getValueAt")
        if view is not None and view not in nuke._views:
            raise RuntimeError("no view %s" % view)
        curve = getattr(self, "expression", None) or getattr(self, "curves", {}).get(index)
        if curve is not None:
            return curve(frame)
        return self._value[index] if isinstance(self._value, list) else self._value

    def setValue(self, value, *index):
        _main()
        if self._choices and value not in self._choices:
            raise TypeError("setValue: %r is no value of %s" % (value, self._name))
        if not self._choices and isinstance(value, str) != isinstance(self._value, str):
            raise TypeError("setValue: %s takes no %s" % (self._name, type(value).__name__))
        if isinstance(self._value, list):
            if not isinstance(value, (list, tuple)) or len(value) != len(self._value):
                raise TypeError("setValue: %s takes %d numbers" % (self._name, len(self._value)))
            value = [float(part) for part in value]
        old = self._value
        self._value = value
        _recorded(self._name, lambda: setattr(self, "_value", old))
        return True

    def evaluate(self):
        _main()
        return evaluated(self._value, nuke._root._knobs["name"]._value)

    def isAnimated(self):
        """`curves`, {index: function of the frame}, stands for keys that an artist has set."""
        _main()
        return bool(getattr(self, "curves", None))

    def hasExpression(self, index=-1):
        _main()
        return bool(getattr(self, "expression", None))

    def clearAnimated(self, index=-1):
        _main()
        held = {name: vars(self).pop(name) for name in ("expression", "curves") if name in vars(self)}
        _recorded("clearAnimated", lambda: vars(self).update(held))
        return True

    def setVisible(self, visible):
        _main()
        self.visible = bool(visible)


class Enumeration_Knob(Knob):
    def values(self):
        return list(self._choices)


class File_Knob(Knob):
    def fromUserText(self, text):
        _main()
        found = re.fullmatch(r"(.*?)(?: (-?\d+)-(-?\d+))?", text)
        self.setValue(found.group(1))
        if found.group(2):
            for name in ("first", "origfirst"):
                self.node[name].setValue(int(found.group(2)))
            for name in ("last", "origlast"):
                self.node[name].setValue(int(found.group(3)))
