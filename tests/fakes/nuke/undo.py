# SPDX-License-Identifier: Apache-2.0
"""The stand-in's undo stack, and the rule that its nodes are the main thread's alone."""

import threading


def main_alone():
    if threading.current_thread() is not threading.main_thread():
        raise AssertionError("a node or knob was touched off the main thread: Nuke crashes")


class Undo:
    """Steps that an artist can undo. Outside a group each change is a step of its own."""

    _steps, _open, _off = [], None, 0

    @staticmethod
    def begin(name=None):
        main_alone()
        if Undo._open is None:
            Undo._open = (name or "", [])

    @staticmethod
    def end():
        main_alone()
        if Undo._open is not None and Undo._open[1]:
            Undo._steps.append(Undo._open)
        Undo._open = None

    @staticmethod
    def disable():
        main_alone()
        Undo._off += 1

    @staticmethod
    def enable():
        main_alone()
        if not Undo._off:
            raise RuntimeError("Undo.enable without disable")
        Undo._off -= 1

    @staticmethod
    def disabled():
        return Undo._off > 0

    @staticmethod
    def undoSize():
        return len(Undo._steps)

    @staticmethod
    def undoDescribe(n):
        return Undo._steps[-1 - n][0]

    @staticmethod
    def undo():
        main_alone()
        Undo._off += 1
        for back in reversed(Undo._steps.pop()[1]):
            back()
        Undo._off -= 1


def recorded(name, back):
    if Undo._off:
        return
    if Undo._open is not None:
        Undo._open[1].append(back)
    else:
        Undo._steps.append((name, [back]))
