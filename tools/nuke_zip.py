# SPDX-License-Identifier: Apache-2.0
"""dist/platebridge-nuke-VERSION.zip: the node, its package, the client and the wheels for every Python and system that Nuke has.

It unzips into a folder for NUKE_PATH. pip fetches the wheels; nothing is compiled.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from platebridge import __version__

ROOT = Path(__file__).parents[1]
PYTHONS = ("39", "310", "311")  # Nuke 14, 15, 16 and 17
SYSTEMS = {"linux": "manylinux2014_x86_64", "win32": "win_amd64", "darwin": "macosx_11_0_arm64"}
NEEDED = ("pyzmq==26.4.0", "msgpack==1.1.2")  # the newest of which each of these has a wheel: constraints.txt's own are for newer systems


def build(out: Path, pythons: tuple[str, ...] = PYTHONS, systems: dict[str, str] = SYSTEMS) -> Path:
    """Writes the zip into `out`, whole or not at all, and gives its path. Raises CalledProcessError when pip finds no wheel."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / ("platebridge-nuke-%s.zip" % __version__)
    beside = path.with_suffix(".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as file:
        for source in sorted((ROOT / "nuke_gizmo").rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                file.write(source, "Platebridge/" + source.relative_to(ROOT / "nuke_gizmo").as_posix())
        for source in sorted((ROOT / "shared" / "platebridge").glob("*.py")):
            file.write(source, "Platebridge/client/platebridge/" + source.name)
        file.write(ROOT / "LICENSE", "Platebridge/LICENSE")
        for python in pythons:
            for system, tag in systems.items():
                with tempfile.TemporaryDirectory() as folder:
                    _fetch(python, tag, folder)
                    for source in sorted(Path(folder).rglob("*")):
                        if source.is_file() and not {"tests", "__pycache__"} & set(source.parts):
                            file.write(source, "Platebridge/vendor/cp%s/%s/%s" % (python, system, source.relative_to(folder).as_posix()))
    beside.replace(path)
    return path


def _fetch(python: str, tag: str, folder: str) -> None:
    platforms = [tag] + (["macosx_10_15_universal2", "macosx_10_9_universal2"] if tag.startswith("macosx") else [])
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    line += ["--implementation", "cp", "--python-version", python, "--target", folder]
    for name in platforms:
        line += ["--platform", name]
    subprocess.run([*line, *NEEDED], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    print(build(parser.parse_args().out))
