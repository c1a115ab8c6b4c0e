# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes passes that were captured once be captured anew: whatever a render would show otherwise. Never the playhead."""

from __future__ import annotations

import dataclasses
import types

import bpy
import numpy as np
import pytest
from capturing import capture
from platebridge.errors import InputError

FRAMES = (1001, 1002, 1003)
PLATE = np.full((36, 64, 3), 0.5, np.float32)


def test_a_proxy_that_was_moved_is_captured_anew(scene, plan_of, read_exr):
    settings = scene.platebridge
    settings.vectors_source = "NONE"
    capture(plan_of())
    assert capture(plan_of()) == []
    wall = next(thing for thing in scene.objects if thing.name.startswith("Plane"))
    wall.location.y += 2
    plan = plan_of()
    assert capture(plan)[-1] == (3, 3)
    assert read_exr(plan.sources["depth"].files[1002])["Z"][1, 1] == pytest.approx(15.0, abs=1e-4)


def test_a_key_that_was_moved_is_captured_anew_and_a_parented_thing_is_not_looked_at(scene, plan_of):
    from blender_addon import proxies

    cube = bpy.data.collections["Pieces"].objects[0]
    before = proxies.set_down(scene, bpy.context.view_layer)
    scene.frame_set(1003)
    assert proxies.set_down(scene, bpy.context.view_layer) == before  # where it stands now is no matter
    cube.keyframe_insert("rotation_euler", frame=1002)
    keyed = proxies.set_down(scene, bpy.context.view_layer)
    assert keyed != before
    cube.parent = scene.camera
    parented = proxies.set_down(scene, bpy.context.view_layer)
    cube.location.z += 1
    assert proxies.set_down(scene, bpy.context.view_layer) == parented != keyed


def test_samples_are_those_of_the_engine_that_renders(scene, plan_of):
    engines = scene.render.bl_rna.properties["engine"].enum_items.keys()
    scene.render.engine = next(name for name in ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE") if name in engines)
    drafts = plan_of().fingerprints["plate"]
    scene.cycles.samples += 1
    assert plan_of().fingerprints["plate"] == drafts
    scene.eevee.taa_render_samples *= 4
    assert plan_of().fingerprints["plate"] != drafts


def hide_a_collection(scene, wall):
    bpy.data.collections["Set"].hide_render = True


def exclude_a_collection(scene, wall):
    bpy.context.view_layer.layer_collection.children["Set"].exclude = True


def hold_a_collection_out(scene, wall):
    bpy.context.view_layer.layer_collection.children["Set"].holdout = True


def add_a_modifier(scene, wall):
    wall.modifiers.new("Row", "ARRAY")


def turn_a_modifier(scene, wall):
    wall.modifiers["Thick"].thickness = 3


def reshape_in_edit_mode(scene, wall):
    import bmesh

    bpy.context.view_layer.objects.active = wall
    bpy.ops.object.mode_set(mode="EDIT")
    next(iter(bmesh.from_edit_mesh(wall.data).verts)).co.x += 1


def move_a_cut(scene, wall):
    scene.timeline_markers["B"].frame = 1002


def change_what_is_instanced(scene, wall):
    bpy.data.collections["Asset"].objects[0].location.x += 1


def turn_another_way(scene, wall):
    wall.rotation_mode = "AXIS_ANGLE"


def cut_the_view_short(scene, wall):
    scene.camera.data.clip_end = 10


def lose_the_focus(scene, wall):
    scene.camera.data.dof.use_dof = True


def mute_the_keys(scene, wall):
    from blender_addon import versions

    for curve in versions.curves(bpy.data.collections["Pieces"].objects[0].animation_data):
        curve.mute = True


def ease_the_keys(scene, wall):
    from blender_addon import versions

    versions.curves(bpy.data.collections["Pieces"].objects[0].animation_data)[0].keyframe_points[0].interpolation = "CONSTANT"


def shake_the_keys(scene, wall):
    from blender_addon import versions

    versions.curves(bpy.data.collections["Pieces"].objects[0].animation_data)[0].modifiers.new("NOISE")


def write_other_letters(scene, wall):
    scene.objects["Sign"].data.body = "CLOSED"


def turn_a_shape_key(scene, wall):
    wall.data.shape_keys.key_blocks["Bent"].value = 0.5


def setting(name, value):
    """A change of one setting of the wall's."""

    def change(scene, wall):
        setattr(wall, name, value)

    change.__name__ = name
    return change


@pytest.mark.parametrize(
    "change",
    [hide_a_collection, exclude_a_collection, hold_a_collection_out, add_a_modifier, turn_a_modifier, reshape_in_edit_mode, move_a_cut,
     change_what_is_instanced, turn_another_way, cut_the_view_short, lose_the_focus, mute_the_keys, ease_the_keys, shake_the_keys,
     write_other_letters, turn_a_shape_key, setting("delta_location", (0, 1, 0)), setting("delta_scale", (2, 1, 1)),
     setting("is_holdout", True), setting("visible_camera", False)],
)
def test_what_a_render_would_show_is_captured_anew_and_the_playhead_is_no_change(scene, plan_of, change):
    wall = next(thing for thing in scene.objects if thing.name.startswith("Plane"))
    stage, asset = bpy.data.collections.new("Set"), bpy.data.collections.new("Asset")
    scene.collection.children.link(stage)
    stage.objects.link(wall)
    scene.collection.objects.unlink(wall)
    asset.objects.link(bpy.data.objects.new("Chimney", wall.data))
    shown = bpy.data.objects.new("Shown", None)
    shown.instance_type, shown.instance_collection = "COLLECTION", asset
    stage.objects.link(shown)
    for key in ("Basis", "Bent"):
        wall.shape_key_add(name=key)
    stage.objects.link(bpy.data.objects.new("Sign", bpy.data.curves.new("Sign", "FONT")))
    thick = wall.modifiers.new("Thick", "SOLIDIFY")
    for frame, offset in ((1001, 0), (1003, 1)):
        thick.offset = offset
        thick.keyframe_insert("offset", frame=frame)
    other = bpy.data.objects.new("Other", scene.camera.data)
    scene.collection.objects.link(other)
    for name, frame, camera in (("A", 1001, scene.camera), ("B", 1003, other)):
        scene.timeline_markers.new(name, frame=frame).camera = camera
    scene.frame_set(1001)
    before = plan_of().fingerprints
    scene.frame_set(1003)
    assert scene.camera == other and plan_of().fingerprints == before
    change(scene, wall)
    assert plan_of().fingerprints["depth"] != before["depth"]


@pytest.fixture
def nodes(scene):
    """The wall wears Geometry Nodes, whose inputs are a number (0.5, or keyed where asked) and an object; a cutter that renders nowhere."""
    wall = next(thing for thing in scene.objects if thing.name.startswith("Plane"))
    tree = bpy.data.node_groups.new("Bricks", "GeometryNodeTree")
    for name, way, kind in (("Out", "OUTPUT", "Geometry"), ("Amount", "INPUT", "Float"), ("Around", "INPUT", "Object")):
        tree.interface.new_socket(name, in_out=way, socket_type="NodeSocket%s" % kind)
    modifier = wall.modifiers.new("Nodes", "NODES")
    modifier.node_group = tree
    cutter = bpy.data.objects.new("Cutter", bpy.data.meshes.new("Cutter"))
    cutter.hide_render = True
    scene.collection.objects.link(cutter)
    cut = wall.modifiers.new("Cut", "BOOLEAN")
    cut.object = cutter
    return types.SimpleNamespace(modifier=modifier, cut=cut, cutter=cutter, **{i.name: i.identifier for i in tree.interface.items_tree})


@pytest.mark.parametrize(
    "change",
    [
        lambda nodes: nodes.modifier.__setitem__(nodes.Amount, 2.0),
        lambda nodes: nodes.modifier.__setitem__(nodes.Around, nodes.cutter),
        lambda nodes: setattr(nodes.modifier, "node_group", nodes.modifier.node_group.copy()),
        lambda nodes: setattr(nodes.cut, "object", None),
        lambda nodes: nodes.cutter.location.__setitem__(0, 3.0),
    ],
    ids=["number", "object", "other nodes", "no cutter", "cutter moved"],
)
def test_what_a_modifier_is_given_and_points_at_is_captured_anew(scene, plan_of, nodes, change):
    nodes.modifier[nodes.Amount] = 0.5
    before = plan_of().fingerprints
    assert plan_of().fingerprints == before
    change(nodes)
    assert plan_of().fingerprints["depth"] != before["depth"]


def test_a_keyed_input_of_geometry_nodes_is_known_by_its_keys_not_by_the_playhead(scene, plan_of, nodes):
    for frame, value in ((1001, 0.0), (1003, 1.0)):
        nodes.modifier[nodes.Amount] = value
        nodes.modifier.keyframe_insert('["%s"]' % nodes.Amount, frame=frame)
    scene.frame_set(1001)
    before = plan_of().fingerprints
    scene.frame_set(1003)
    assert plan_of().fingerprints == before
    nodes.modifier[nodes.Amount] = 7.0
    nodes.modifier.keyframe_insert('["%s"]' % nodes.Amount, frame=1003)
    assert plan_of().fingerprints["depth"] != before["depth"]


@pytest.mark.parametrize(
    "change",
    [
        lambda strip, other: setattr(strip.elements[1], "filename", other),
        lambda strip, other: setattr(strip, "frame_start", 999),
        lambda strip, other: setattr(strip, "color_multiply", 2.0),
        lambda strip, other: setattr(strip, "use_flip_x", True),
        lambda strip, other: setattr(strip.transform, "offset_x", 4),
        lambda strip, other: setattr(strip.colorspace_settings, "name", "Non-Color"),
        lambda strip, other: setattr(strip.modifiers[0], "bright", 5.0),
        lambda strip, other: bpy.data.images.load(strip.directory + strip.elements[0].filename).save(),
    ],
    ids=["other files", "slipped", "graded", "flipped", "moved", "colour space", "modifier", "written anew"],
)
def test_a_plate_strip_that_was_changed_is_captured_anew(scene, plan_of, tmp_path, change):
    names = ["v1.%d.png" % frame for frame in (1000, *FRAMES, 1004)] + ["v2.1002.png"]
    for at, name in enumerate(names):
        drawn = bpy.data.images.new(name, 64, 36)
        drawn.pixels[:] = [0.1 + 0.1 * at] * (4 * 64 * 36)
        drawn.filepath_raw, drawn.file_format = str(tmp_path / name), "PNG"
        drawn.save()
    strip = scene.sequence_editor_create().strips.new_image("Plate", str(tmp_path / names[0]), 1, 1000)
    for name in names[1:5]:
        strip.elements.append(name)
    strip.modifiers.new("Light", "BRIGHT_CONTRAST")
    scene.platebridge.plate_source, scene.platebridge.plate_strip, scene.platebridge.vectors_source = "STRIP", "Plate", "NONE"
    capture(plan_of())
    assert capture(plan_of()) == []
    change(strip, names[5])
    assert capture(plan_of())[-1] == (3, 3)


@pytest.mark.parametrize("part", ["transform", "blend_alpha", "modifier"])
def test_an_animated_strip_is_rendered_and_known_by_its_keys(scene, plan_of, write_exr, tmp_path, part):
    from blender_addon import versions

    path = write_exr(tmp_path / "p.exr", PLATE, "RGB")
    strip = scene.sequence_editor_create().strips.new_image('Pl"ate', str(path), 1, 1001)
    strip.frame_final_end = 1004
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", strip.name
    assert plan_of().sources["plate"].how == "files"
    owner, name = {
        "transform": (strip.transform, "offset_x"),
        "blend_alpha": (strip, "blend_alpha"),
        "modifier": (strip.modifiers.new("Light", "BRIGHT_CONTRAST"), "bright"),
    }[part]
    standing = getattr(owner, name)
    owner.keyframe_insert(name, frame=1001)
    setattr(owner, name, 0.5)
    owner.keyframe_insert(name, frame=1003)
    before = []
    for frame in (1001, 1002):
        scene.frame_set(frame)
        before.append(plan_of())
    assert before[0].sources["plate"].how == "strip" and getattr(owner, name) != standing
    assert before[0].fingerprints == before[1].fingerprints
    owner.keyframe_insert(name, frame=1002)
    keyed = plan_of()
    assert keyed.fingerprints["plate"] != before[0].fingerprints["plate"]
    curve = next(curve for curve in versions.curves(scene.animation_data) if curve.data_path.endswith(name))
    curve.keyframe_points[0].interpolation = "CONSTANT"
    assert plan_of().fingerprints["plate"] != keyed.fingerprints["plate"]
    curve.mute = True  # the value stands still, and is the strip's own
    setattr(owner, name, standing)
    strip.modifiers[0].mute = True
    assert plan_of().sources["plate"].how == "files"


def test_see_through_strip_is_rendered_and_one_that_is_muted_by_keys_is_not(scene, plan_of, write_exr, tmp_path):
    path = write_exr(tmp_path / "p.exr", PLATE, "RGB")
    strip = scene.sequence_editor_create().strips.new_image("Plate", str(path), 1, 1001)
    strip.frame_final_end = 1004
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Plate"
    strip.keyframe_insert("mute", frame=1001)
    assert plan_of().sources["plate"].how == "files"
    strip.blend_alpha = 0.5
    half = plan_of()
    assert half.sources["plate"].how == "strip"
    strip.blend_alpha = 0.25
    assert plan_of().fingerprints["plate"] != half.fingerprints["plate"]


@pytest.mark.parametrize("moved", ["proxy", "plate"])
def test_what_is_moved_during_a_capture_is_refused_and_what_was_rendered_before_stays_good(scene, plan_of, write_exr, tmp_path, moved):
    from blender_addon.capture import capture as begun
    from blender_addon.captured import Record

    path = write_exr(tmp_path / "p.exr", PLATE, "RGB")
    strip = scene.sequence_editor_create().strips.new_image("Plate", str(path), 1, 1001)
    strip.frame_final_end, strip.use_flip_x = 1004, True
    scene.platebridge.plate_source, scene.platebridge.plate_strip = "STRIP", "Plate"
    wall = next(thing for thing in scene.objects if thing.name.startswith("Plane"))
    under_way = begun(plan_of())
    assert [next(under_way), next(under_way)] == [(0, 3), (1, 3)]
    scene.frame_set(1040)  # to look around is no change
    assert next(under_way) == (2, 3)
    part, name = (wall, "location") if moved == "proxy" else (strip.transform, "offset_x")
    before = tuple(wall.location) if moved == "proxy" else strip.transform.offset_x
    setattr(part, name, (0, 7, 0) if moved == "proxy" else 4)
    with pytest.raises(InputError, match="The scene was changed while its passes were rendered") as told:
        next(under_way)
    assert told.value.frame == 1003
    setattr(part, name, before)
    record = Record(plan_of())
    assert [bool(record.missing(frame)) for frame in (1001, 1002, 1003)] == [False, False, True]


def test_what_a_handler_moves_with_the_frame_is_no_change_during_a_capture(scene, plan_of):
    wall = next(thing for thing in scene.objects if thing.name.startswith("Plane"))

    def move(scene, *told):
        wall.location.y = scene.frame_current - 1000

    bpy.app.handlers.frame_change_pre.append(move)
    try:
        assert capture(plan_of())[-1] == (3, 3)
    finally:
        bpy.app.handlers.frame_change_pre.remove(move)


@pytest.mark.parametrize("source", ["CLIP", "STRIP"])
def test_a_file_that_is_saved_into_another_folder_has_the_same_plate(addon, scene, plan_of, write_exr, tmp_path, source):
    """Save As makes other relative paths to the same files."""
    from blender_addon.capture import capture as begun

    for place in ("plate", "other"):
        (tmp_path / place).mkdir()
    paths = [write_exr(tmp_path / "plate" / ("p.%d.exr" % frame), PLATE[::2, ::2], "RGB") for frame in FRAMES]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "one.blend"))
    shot = scene.platebridge
    shot.plate_source, shot.vectors_source, shot.plate_strip = source, "NONE", "Plate"
    if source == "CLIP":
        shot.plate_clip = bpy.data.movieclips.load(str(paths[0]))
        shot.plate_clip.filepath, shot.plate_clip.frame_start = "//plate/p.1001.exr", 1001
    else:
        strip = scene.sequence_editor_create().strips.new_image("Plate", str(paths[0]), 1, 1001)
        for path in paths[1:]:
            strip.elements.append(path.name)
        strip.directory, strip.use_flip_x = "//plate/", True
    plan = plan_of()
    under_way = begun(plan)
    assert [next(under_way), next(under_way)] == [(0, 3), (1, 3)]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "other" / "two.blend"))
    assert list(under_way)[-1] == (3, 3) and plan_of().fingerprints == plan.fingerprints


def test_two_blenders_that_capture_parts_of_one_shot_at_once_leave_it_whole(scene, plan_of):
    """A farm: each machine its own frames, all of them into one folder."""
    from blender_addon.capture import capture as begun
    from blender_addon.captured import Record

    shot, parts = scene.platebridge, []
    for shot.frame_first, shot.frame_last in ((1001, 1002), (1003, 1003)):
        shot.use_scene_range = False
        parts.append(begun(plan_of()))
    for part in parts:
        next(part)  # both have begun
    for part in parts:
        list(part)
    shot.use_scene_range = True
    record = Record(plan_of())
    assert [record.missing(frame) for frame in (1001, 1002, 1003)] == [set()] * 3
    record.open((1001, 1002, 1003))


def test_passes_that_were_to_be_rendered_again_are_not_good_before_they_are(scene, plan_of):
    from blender_addon.capture import capture as begun
    from blender_addon.captured import Record

    capture(plan_of())
    broken_off = begun(dataclasses.replace(plan_of(), recapture=True))
    assert [next(broken_off), next(broken_off)] == [(0, 3), (1, 3)]
    broken_off.close()
    record = Record(plan_of())
    assert [bool(record.missing(frame)) for frame in (1001, 1002, 1003)] == [False, True, True]
