# SPDX-License-Identifier: GPL-3.0-or-later
"""Ticks in a real window while 200 MB come back, as `python -m benchmarks ticks` measures them without one. Prints what it saw.

Set up as test_window.py.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from test_window import ROOT, Window, folder, needs_window, until  # noqa: F401 - a fixture

pytestmark = [needs_window, pytest.mark.timeout(600)]
FRAMES = 240


def test_a_window_stays_free_while_200_mb_come_back(folder, monkeypatch):  # noqa: F811
    from real_server import Server

    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    from benchmarks import shot

    shot.make(folder / "in", 240, 136, FRAMES)
    server = Server(folder / "server", generator="benchmarks.flood:generate").start()
    told = {"shot": "shot", "take_root": str(folder / "takes"), "connection": str(server.connection), "vectors_source": "NONE"}
    for which in ("plate", "depth", "mask"):
        told[which + "_source"], told[which + "_files"] = "FILES", str(folder / "in" / which / (which + ".####.exr"))
    (folder / "settings.json").write_text(json.dumps({"frames": [1001, 1000 + FRAMES], "size": [240, 136], "shot": told, "dials": {}}))
    window = Window(folder).open()
    try:
        for number in (1, 2, 3):
            window.click("platebridge.generate")
            strip = "shot take %04d comp" % number
            until(lambda strip=strip: window.state()["strips"].get(strip) == FRAMES, "take %d" % number, 300)
            until(lambda number=number: len(window.state()["takes"]) == number, "the list of takes")
            state = {**window.state(), "load": os.getloadavg()[0]}
            print("ticks %(ticks)d, slowest %(slowest_tick).4f s, its own work %(slowest_work).4f s, load %(load).1f" % state)
        window.picture("flood")
        assert window.state()["trouble"] == ""
    finally:
        window.kill()
        server.stop()
