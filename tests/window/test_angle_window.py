# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons for what is done with a take, in a real window with the real pipeline: Another Angle, and Onto Plate (Blender 5.0 and later).

Set up as test_window.py; some minutes. Screenshots stay in the folder.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from platebridge.takes import list_takes

sys.path.append(str(Path(__file__).parent))
from test_window import HERE, Window, folder, needs_window, until  # noqa: F401 - a fixture

pytestmark = [needs_window, pytest.mark.timeout(1500)]
FRAMES = 14


@pytest.fixture
def window(folder):  # noqa: F811
    from real_server import Server

    shutil.copy(HERE / "falling_block.py", folder / "scene.py")
    server = Server(folder / "server", generator=None).start()
    shot = {"shot": "shot", "take_root": str(folder / "takes"), "connection": str(server.connection), "model": "dust"}
    dials = {"quality": "draft", "detail": 40, "amount": 1.5, "debris": 20}
    told = {"frames": [1001, 1000 + FRAMES], "size": [320, 180], "shot": shot, "dials": dials}
    (folder / "settings.json").write_text(json.dumps(told))
    window = Window(folder)
    try:
        yield window.open()
    finally:
        window.kill()
        server.stop()


def over(window, folder, takes):  # noqa: F811
    """Waits until so many takes are whole, or a job has ended otherwise; gives the last job's sentence."""

    def ended():
        jobs = window.jobs()
        whole = len([take for take in list_takes(folder / "takes" / "shot") if take.finished])
        return jobs and all(job["finished"] for job in jobs) and (whole >= takes or "is whole" not in jobs[-1]["sentence"])

    until(ended, "take %d" % takes, 900)
    return window.jobs()[-1]["sentence"]


def test_a_take_from_another_angle_and_a_take_onto_its_plate(window, folder):  # noqa: F811
    window.fill()
    window.click("platebridge.generate")
    said = over(window, folder, 1)
    if "without OpenImageIO" in said:
        pytest.skip(said)
    assert "is whole" in said
    window.show_all()
    window.picture("take")

    window.click("platebridge.another_angle", below=0.6)
    window.answer("another_angle")
    window.picture("angle_dialog")
    window.tool("xdotool", "key", "Return")
    assert "is whole" in over(window, folder, 2)
    window.show_all()
    window.picture("angle")
    first, second = (take.document for take in list_takes(folder / "takes" / "shot"))
    assert second["simulation"] == first["simulation"] and second["shot"] == "shot Crane"

    if not window.state()["modifiers_can_be"]:
        pytest.skip("this Blender's strips have no compositor modifier")
    until(lambda: window.state()["takes"] == ["take_0002", "take_0001"], "the list of takes")
    window.click("platebridge.take_onto_plate", below=0.6)
    until(lambda: window.state()["modifiers"].get("shot Crane plate"), "the modifier")
    window.picture("onto_plate")
    assert window.state()["muted"] == ["shot Crane take 0002 comp"] and window.state()["trouble"] == ""
    print("ticks %(ticks)d, slowest %(slowest_tick).4f s, its own work outside capture %(slowest_work).4f s" % window.state())
