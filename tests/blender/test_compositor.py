# SPDX-License-Identifier: GPL-3.0-or-later
"""A take in the compositor: what it renders is the comp, and what the artist built there stays."""

from __future__ import annotations

import json

import bpy
import numpy as np
import pytest
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, Inputs

FRAMES = FrameRange(1001, 1003)


def pictures(frame):
    """Plate with light above 1, a premultiplied effect, a shadow: (36, 64, n), different in each frame."""
    random = np.random.default_rng(frame)
    plate = random.uniform(0, 6, (36, 64, 3))
    alpha = random.uniform(0, 1, (36, 64, 1)) * (random.uniform(size=(36, 64, 1)) > 0.3)
    effect = np.concatenate([alpha * random.uniform(0, 4, (36, 64, 3)), alpha, random.uniform(0, 0.6, (36, 64, 1))], -1)
    return plate.astype(np.float16).astype(np.float32), effect.astype(np.float16).astype(np.float32)


@pytest.fixture
def take(scene, tmp_path, write_exr):
    """A take on the disk and its plate on the timeline; gives its folder."""
    from blender_addon import timeline

    folder = tmp_path / "takes" / "shot" / "take_0001"
    plates = {}
    for frame in FRAMES:
        plate, effect = pictures(frame)
        plates[frame] = write_exr(tmp_path / "in" / ("plate.%d.exr" % frame), plate, "RGB", True)
        layers = np.concatenate([effect[..., :4], np.ones((36, 64, 3)), effect[..., 4:]], -1)
        write_exr(folder / ("effect.%d.exr" % frame), layers, ["R", "G", "B", "A", "Z", "sun.Y", "ambient.Y", "shadow"], True)
    request = GenerateRequest("shot", FRAMES, Inputs())
    (folder / "take.json").write_text(json.dumps({"take_id": "1" * 32, "request": request.to_dict(), "files": {}}))
    timeline.plate_strip(scene, request, plates)
    bpy.ops.platebridge.refresh_takes()
    return folder


def rendered(scene, frame, path):
    """What the compositor gives, written as float EXR."""
    from blender_addon import versions

    scene.render.use_compositing, scene.render.use_sequencer = True, False
    with versions.borrowed(versions.exr_changes(scene.render.image_settings, layers=False, bits=32)):
        scene.render.filepath = str(path)
        scene.frame_set(frame)
        bpy.ops.render.render(write_still=True)
    return path


def test_plate_files_with_numbers_of_their_own_are_the_frames_that_the_timeline_shows(take, scene, tmp_path, read_exr, write_exr):
    """A clip's sequence that is taken as it is: its file 87 may be the scene's frame 1001."""
    plate = next(strip for strip in scene.sequence_editor.strips if "plate" in strip["platebridge"])
    for at, frame in enumerate(FRAMES):
        name = write_exr(tmp_path / "in" / ("a7.%04d.exr" % (87 + at)), pictures(frame)[0], "RGB", True).name
        plate.elements[at].filename = name
    assert bpy.ops.platebridge.take_to_compositor() == {"FINISHED"}
    got, (below, effect) = read_exr(rendered(scene, 1002, tmp_path / "out.exr")), pictures(1002)
    wanted = effect[..., :3] + (1 - effect[..., 3:4]) * below * (1 - effect[..., 4:5])
    assert got["G"] == pytest.approx(wanted[..., 1], rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("frame", [1001, 1003])
def test_compositor_renders_the_comp(take, scene, tmp_path, read_exr, frame):
    assert bpy.ops.platebridge.take_to_compositor() == {"FINISHED"}
    got = read_exr(rendered(scene, frame, tmp_path / "out.exr"))
    plate, effect = pictures(frame)
    wanted = effect[..., :3] + (1 - effect[..., 3:4]) * plate * (1 - effect[..., 4:5])
    for at, name in enumerate("RGB"):
        assert got[name] == pytest.approx(wanted[..., at], rel=2e-6, abs=2e-6)


def test_what_a_render_shows_in_the_compositor_s_place_is_said(take, scene):
    from blender_addon.compositor import what_is_rendered_instead

    assert what_is_rendered_instead(scene) == "A render shows the sequencer as long as Sequencer is on under Post Processing"
    scene.render.use_sequencer, scene.render.use_compositing = False, False
    assert what_is_rendered_instead(scene) == "A render shows no compositor as long as Compositing is off under Post Processing"
    scene.render.use_compositing = True
    assert what_is_rendered_instead(scene) == ""


def plate_of_some_frames(scene):
    """The plate's strip cut down to frame 1002, as a take of that frame alone would have put it there."""
    plate = next(strip for strip in scene.sequence_editor.strips if "plate" in strip["platebridge"])
    plate.frame_final_start, plate.frame_final_end = 1002, 1003
    return plate


def test_the_plate_is_a_strip_that_has_every_frame_of_the_take(take, scene, tmp_path, read_exr):
    from blender_addon import loading, timeline

    request = GenerateRequest("shot", FRAMES, Inputs())
    plate_of_some_frames(scene)
    whole = timeline.plate_strip(scene, request, {frame: tmp_path / "in" / ("plate.%d.exr" % frame) for frame in FRAMES})
    assert loading.plate_below(scene, request) == whole
    assert bpy.ops.platebridge.take_to_compositor() == {"FINISHED"}
    got, (below, effect) = read_exr(rendered(scene, 1001, tmp_path / "out.exr")), pictures(1001)
    wanted = effect[..., :3] + (1 - effect[..., 3:4]) * below * (1 - effect[..., 4:5])
    assert got["G"] == pytest.approx(wanted[..., 1], rel=2e-6, abs=2e-6)


def test_a_plate_without_every_frame_of_the_take_is_not_taken(take, scene):
    from blender_addon import compositor

    plate_of_some_frames(scene)
    assert not compositor.insert(scene, take).inputs["Plate"].is_linked


def test_shadow_is_a_dial_of_the_group(take, scene, tmp_path, read_exr):
    from blender_addon import versions

    bpy.ops.platebridge.take_to_compositor()
    node = next(n for n in versions.compositor_tree(scene).nodes if n.bl_idname == "CompositorNodeGroup")
    node.inputs["Shadow Amount"].default_value = 0.0
    got = read_exr(rendered(scene, 1002, tmp_path / "out.exr"))
    plate, effect = pictures(1002)
    assert got["G"] == pytest.approx((effect[..., :3] + (1 - effect[..., 3:4]) * plate)[..., 1], rel=2e-6, abs=2e-6)


def test_an_output_that_is_linked_stays_so_and_the_group_is_made_once(take, scene):
    from blender_addon import versions

    tree = versions.compositor_tree(scene)
    own = tree.nodes.new("CompositorNodeRGB")
    link = tree.links.new(own.outputs[0], versions.compositor_output(tree).inputs[0])
    for _ in range(2):
        assert bpy.ops.platebridge.take_to_compositor() == {"FINISHED"}
    assert versions.compositor_output(tree).inputs[0].links[0].from_node == own and link.is_valid
    assert len([group for group in bpy.data.node_groups if group.name.startswith("Platebridge")]) == 1


def test_without_effect_frames_it_says_so(take, scene):
    for path in take.glob("effect.*"):
        path.unlink()
    with pytest.raises(RuntimeError, match="has no effect frames yet"):
        bpy.ops.platebridge.take_to_compositor()


def test_frames_below_0_are_refused_for_blender_would_show_nothing_or_others(scene, tmp_path, write_exr):
    from blender_addon import compositor

    folder = tmp_path / "take_0001"
    for name in ("-001", "0000"):
        write_exr(folder / ("effect.%s.exr" % name), np.ones((36, 64, 4)), "RGBA", True)
    request = GenerateRequest("shot", FrameRange(-1, 0), Inputs())
    (folder / "take.json").write_text(json.dumps({"take_id": "1" * 32, "request": request.to_dict(), "files": {}}))
    with pytest.raises(InputError, match="knows none below 0"):
        compositor.insert(scene, folder)
    assert not any(node.bl_idname == "CompositorNodeImage" for node in scene.node_tree.nodes)


def test_the_modifier_is_not_offered_where_strips_have_none(take, scene):
    from blender_addon import versions

    if versions.has_compositor_modifier():
        pytest.skip("this Blender has it: test_other_blenders.py renders it")
    with pytest.raises(RuntimeError, match="no compositor modifier in this Blender"):
        bpy.ops.platebridge.take_onto_plate()
