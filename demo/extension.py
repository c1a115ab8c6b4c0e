# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender extension as an artist gets it: built into a zip with Blender's own tool, installed, enabled."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "blender_addon"
MODULE = "bl_ext.user_default.platebridge"


def build(target: Path) -> Path:
    """Builds and validates the zip; gives its path. Raises RuntimeError with what Blender's tool said."""
    where = find_spec("bpy")
    assert where is not None and where.origin is not None
    tool = next(Path(where.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    for command in (["build", "--source-dir", str(SOURCE), "--output-filepath", str(target)], ["validate", str(target)]):
        done = subprocess.run([sys.executable, str(tool), *command], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Blender's tool refuses the extension: {done.stdout}{done.stderr}")
    return target


def install(archive: Path) -> None:
    """Installs and enables it in this headless Blender. BLENDER_USER_RESOURCES must have been set before bpy was imported."""
    import bpy

    done = bpy.ops.extensions.package_install_files(filepath=str(archive), repo="user_default", enable_on_install=True)
    if done != {"FINISHED"} or MODULE not in bpy.context.preferences.addons:
        raise RuntimeError("Blender did not install the extension.")
