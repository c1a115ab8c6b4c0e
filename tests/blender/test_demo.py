# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo leaves is an artist's to go on with."""

import bpy

from demo import run


def test_the_edit_names_no_server_that_ended_with_the_demo(scene, tmp_path):
    scene.platebridge.connection = str(tmp_path / "connection.json")
    run.save_edit(scene, tmp_path / "edit.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "edit.blend"))
    assert bpy.context.scene.platebridge.connection == ""
