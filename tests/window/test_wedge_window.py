# SPDX-License-Identifier: GPL-3.0-or-later
"""A stopwatch and a wedge in a real window, with the real pipeline: Blender opened, a first take, then a wedge and its contact sheet.

Set up as test_window.py; several minutes. Prints what the stopwatch showed; screenshots stay in the folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from test_window import ROOT, Window, folder, needs_window, until  # noqa: F401 - a fixture

pytestmark = [needs_window, pytest.mark.timeout(1500)]
FRAMES = 30


def test_from_opening_blender_to_a_take_and_a_wedge(folder, monkeypatch):  # noqa: F811
    from real_server import Server

    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import shot

    shot.make(folder / "in", 640, 360, FRAMES)
    server = Server(folder / "server", generator=None).start()
    told = {"shot": "shot", "take_root": str(folder / "takes"), "connection": str(server.connection), "vectors_source": "NONE"}
    told["camera_source"] = "NONE"
    for which in ("plate", "depth", "mask"):
        told[which + "_source"], told[which + "_files"] = "FILES", str(folder / "in" / which / (which + ".####.exr"))
    settings = {"frames": [1001, 1000 + FRAMES], "size": [640, 360], "shot": told, "dials": {"quality": "draft"}}
    (folder / "settings.json").write_text(json.dumps(settings))
    window = Window(folder)
    try:
        began = time.monotonic()
        window.open()
        panel = time.monotonic() - began
        place = window.find("platebridge.generate")
        pressed = time.monotonic()
        window.tool("xdotool", "mousemove", *place, "click", 1)
        until(lambda: window.state()["strips"].get("shot take 0001 comp", 0) > 0, "the first frame", 600)
        first = time.monotonic() - pressed
        window.picture("first_frame")
        until(lambda: window.jobs()[-1]["finished"], "the take", 900)
        whole = time.monotonic() - pressed
        slowest, work = window.state()["slowest_tick"], window.state()["slowest_work"]
        window.picture("take")
        print(
            "panel %.1f s, first frame %.1f s after the click, whole %.1f s, slowest tick %.4f s (its own work %.4f s), load %.1f"
            % (panel, first, whole, slowest, work, os.getloadavg()[0])
        )
        window.fill()
        window.show_all()
        window.click("platebridge.wedge")
        window.answer("wedge")
        window.picture("wedge_dialog")
        window.tool("xdotool", "key", "Return")
        until(lambda: len(window.jobs()) >= 3, "the wedge to begin", 60)
        until(lambda: (folder / "takes" / "shot" / "take_0002" / "take.json").exists(), "the wedge's first take", 900)
        window.picture("wedge_at_work")
        until(lambda: len(window.jobs()) >= 3 and all(job["finished"] for job in window.jobs()), "the wedge", 1200)
        until(lambda: len(window.state()["takes"]) == 5, "three takes more, under their heading")
        window.picture("wedge")
        assert window.state()["trouble"] == "" and (folder / "takes" / "shot" / "take_0004" / "sheet.png").exists()
        window.click("platebridge.open_sheet", below=0.6)
        until(lambda: window.state()["pictures_drawn"] > 2, "the sheet in a window of its own")
        window.picture("sheet")
        print("ticks %(ticks)d, slowest %(slowest_tick).4f s, its own work %(slowest_work).4f s" % window.state())
    finally:
        window.kill()
        server.stop()
