# SPDX-License-Identifier: GPL-3.0-or-later
"""The same day's work in every Blender there is: this one, and those that `make test` could fetch, each with the zip made for it.

Another Blender that is not there is skipped by name. The edit is compared with the comp by OpenImageIO, outside of Blender.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

sys.path.append(str(Path(__file__).parent))

from real_server import Server, until
from test_extension_zip import SYSTEM, builder

ROOT = Path(__file__).parents[2]
FETCHED = Path(os.environ.get("PLATEBRIDGE_BLENDERS", ROOT / ".cache" / "blenders"))
HERE = Path(__file__).parent


def python_of(version):
    """The Python whose bpy is that version of Blender: ours for 4.5."""
    if version == "4.5":
        return Path(sys.executable)
    return FETCHED / version / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    client = builder.client_wheel(out)
    made = {}

    def of(version):
        blenders = builder.BLENDERS[version >= "5.1"]
        if blenders not in made:
            made[blenders] = builder.build(out, blenders, [SYSTEM], client)[0]
        return made[blenders]

    return of


def pixels(path):
    return oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT)[..., :3]


def command(script, version, archives, server, folder, *more):
    """The command line and options of a process that runs the script in that Blender."""
    options = {
        "env": dict({k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, BLENDER_USER_RESOURCES=str(folder / "home")),
        "text": True,
        "cwd": folder,
    }
    return [str(python_of(version)), str(HERE / script), str(archives(version)), str(server.connection), str(folder), *more], options


@pytest.fixture
def server(version, tmp_path):
    if not python_of(version).exists():
        pytest.skip(f"Blender {version} can't be had here: see tools/blenders.sh")
    server = Server(tmp_path / "server").start()
    yield server
    server.stop()


def run(script, version, archives, server, folder, *more):
    """What the script says in that Blender, with a real server beside it."""
    line, options = command(script, version, archives, server, folder, *more)
    return subprocess.run(line, capture_output=True, **options)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["4.5", "5.0", "5.2"])
def test_a_live_action_shot_and_its_file_without_the_extension(version, archives, server, tmp_path):
    done = run("live_action_way.py", version, archives, server, tmp_path)
    assert f"LIVE ACTION {version}" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["4.5", "5.0", "5.2"])
def test_blender_killed_in_the_midst_then_attach_and_cancel(version, archives, server, tmp_path):
    server.hold(1003)
    line, options = command("interrupted_way.py", version, archives, server, tmp_path, "begin")
    with open(tmp_path / "log", "w") as log:
        blender = subprocess.Popen(line, stdout=log, stderr=log, **options)
    until(lambda: (tmp_path / "takes" / "day" / "take_0001" / "comp.1002.exr").is_file() or blender.poll() is not None, 120)
    assert blender.poll() is None, (tmp_path / "log").read_text()
    blender.kill()
    blender.wait()
    server.let_go(1003)
    done = run("interrupted_way.py", version, archives, server, tmp_path, "again")
    assert f"INTERRUPTED WAY {version}" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    assert server.made()[:3] == [1001, 1002, 1003]  # none was made twice


@pytest.mark.slow
@pytest.mark.parametrize("version", ["4.5", "5.0", "5.2"])
def test_a_days_work(version, archives, server, tmp_path):
    done = run("whole_way.py", version, archives, server, tmp_path)
    assert f"WHOLE WAY {version}" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    effect = oiio.ImageBuf(str(tmp_path / "takes" / "day" / "take_0001" / "effect.1002.exr"))
    layers = dict(zip(effect.spec().channelnames, np.moveaxis(effect.get_pixels(oiio.FLOAT), -1, 0)))
    plate = pixels(tmp_path / "takes" / "day" / "plate" / "plate.1002.exr")
    lit = plate * (1 - layers["shadow"][..., None])
    over = np.stack([layers[c] for c in "RGB"], -1) + (1 - layers["A"][..., None]) * lit
    assert pixels(tmp_path / "composited.exr") == pytest.approx(over, rel=2e-6, abs=2e-6)
    if version != "4.5":  # no strip has a compositor modifier before 5.0
        assert pixels(tmp_path / "modified" / "edit.1002.exr") == pytest.approx(over, rel=2e-6, abs=2e-6)
    for frame in (1001, 1003):
        comp = pixels(tmp_path / "takes" / "day" / "take_0002" / f"comp.{frame}.exr")
        assert np.array_equal(comp, pixels(tmp_path / "edit" / f"edit.{frame}.exr"))
