# SPDX-License-Identifier: Apache-2.0
"""The stand-in's progress bar."""

import sys


class ProgressTask:
    """`cancelled` on the class stands for the artist's hand on every bar's Cancel. `said`: every message of every bar."""

    cancelled = False
    said = []

    def __init__(self, title):
        if not sys.modules["nuke"].GUI:
            raise AssertionError("a ProgressTask under -t has nowhere to be drawn")
        self.title = title

    def setProgress(self, percent):
        if not isinstance(percent, int):
            raise TypeError("setProgress takes an int")

    def setMessage(self, message):
        if not isinstance(message, str):
            raise TypeError("setMessage takes a str")
        ProgressTask.said.append(message)

    def isCancelled(self):
        return ProgressTask.cancelled
