# SPDX-License-Identifier: GPL-3.0-or-later
"""`make extension`: the Blender extension as artists install it, into dist/: a zip for each Python and system, wheels inside, and the
`index.json` of a static repository that a studio can host.

Blender's own tool builds and validates every zip. Blender 4.5 and 5.0 have Python 3.11, 5.1 and later 3.13; one zip can't serve both, for
Blender takes a package for the versions that all its wheels share. Wheels come from the package index, pinned in constraints.txt.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, CLIENT = ROOT / "blender_addon", ROOT / "shared" / "platebridge"
WHEELS = ("pyzmq", "msgpack")


@dataclass(frozen=True)
class Blenders:
    """Versions of Blender that share a Python: from `least`, before `before` ("" for no end)."""

    name: str
    python: str
    least: str
    before: str


BLENDERS = (Blenders("blender-4.5", "3.11", "4.5.0", "5.1.0"), Blenders("blender-5.1", "3.13", "5.1.0", ""))
#: Blender's name of a system, and what pip calls the wheels that run there.
SYSTEMS = {
    "linux-x64": ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_11_0_arm64", "macosx_10_15_universal2", "macosx_10_9_universal2"),
}


def blender_tool(*arguments: object) -> None:
    """Runs Blender's own extension tool. Raises RuntimeError with what it said."""
    where = find_spec("bpy")
    assert where is not None and where.origin is not None
    tool = next(Path(where.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    done = subprocess.run([sys.executable, str(tool), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"Blender's tool refuses: {done.stdout}{done.stderr}")


def _pip(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"pip could not do it: {done.stderr[-2000:]}")


def version() -> str:
    """Platebridge's own: of the client, the extension and so of the zips."""
    for line in (CLIENT / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split("=")[1].strip().strip("\"'")
    raise RuntimeError("shared/platebridge/__init__.py has no __version__.")


def client_wheel(folder: Path) -> Path:
    """The thin client alone as a wheel, pure Python: an artist's Blender needs nothing of the server."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch)
        shutil.copytree(CLIENT, tree / "platebridge", ignore=shutil.ignore_patterns("__pycache__"))
        (tree / "pyproject.toml").write_text(
            textwrap.dedent(f"""
                [build-system]
                requires = ["setuptools>=77"]
                build-backend = "setuptools.build_meta"
                [project]
                name = "platebridge"
                version = "{version()}"
                requires-python = ">=3.9"
                license = "Apache-2.0"
                [tool.setuptools]
                packages = ["platebridge"]
                package-data = {{ platebridge = ["py.typed"] }}
            """)
        )
        _pip("wheel", "--no-deps", "--wheel-dir", folder, tree)
    return next(folder.glob("platebridge-*.whl"))


def fetch_wheels(folder: Path, blenders: Blenders, system: str) -> None:
    """The pinned wheels for one Python and one system."""
    platforms = [part for tag in SYSTEMS[system] for part in ("--platform", tag)]
    pins = ["--constraint", ROOT / "constraints.txt"]
    wanted = ["--python-version", blenders.python, "--implementation", "cp", "--only-binary", ":all:", "--no-deps"]
    _pip("download", "--dest", folder, *wanted, *platforms, *pins, *WHEELS)


def manifest(text: str, blenders: Blenders, systems: list[str], wheels: list[str]) -> str:
    """The manifest in the sources with what a zip adds: versions of Blender, systems, wheels."""
    lines = [f'blender_version_min = "{blenders.least}"']
    if blenders.before:
        lines.append(f'blender_version_max = "{blenders.before}"')
    lines += [f"platforms = {systems}".replace("'", '"'), f"wheels = {['./wheels/' + name for name in wheels]}".replace("'", '"')]
    return "\n".join("\n".join(lines) if line.startswith("blender_version_min") else line for line in text.splitlines()) + "\n"


def build(out: Path, blenders: Blenders, systems: list[str], client: Path) -> list[Path]:
    """The zips for one Python, one for each system, validated; their paths."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "platebridge"
        shutil.copytree(SOURCE, tree, ignore=shutil.ignore_patterns("__pycache__"))
        wheels = tree / "wheels"
        wheels.mkdir()
        shutil.copy(client, wheels)
        for system in systems:
            fetch_wheels(wheels, blenders, system)
        path = tree / "blender_manifest.toml"
        path.write_text(manifest(path.read_text(encoding="utf-8"), blenders, systems, sorted(p.name for p in wheels.glob("*.whl"))))
        beside = Path(scratch) / "built"
        beside.mkdir()
        blender_tool("build", "--source-dir", tree, "--output-dir", beside, "--split-platforms")
        made = []
        for archive in sorted(beside.glob("*.zip")):
            blender_tool("validate", archive)
            made.append(out / archive.name.replace(version(), f"{version()}-{blenders.name}"))
            shutil.move(archive, made[-1])
    return made


def main() -> None:
    out = ROOT / "dist"
    out.mkdir(exist_ok=True)
    for old in (*out.glob("platebridge-*-blender-*.zip"), *out.glob("index.*")):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        client = client_wheel(Path(scratch))
        for blenders in BLENDERS:
            for archive in build(out, blenders, list(SYSTEMS), client):
                print(f"{archive.relative_to(ROOT)}  {archive.stat().st_size / 1e6:.1f} MB")
    blender_tool("server-generate", "--repo-dir", out, "--html")
    print(f"{(out / 'index.json').relative_to(ROOT)}  put dist/ on any web server, and give Blender the address of its index.json")


if __name__ == "__main__":
    main()
