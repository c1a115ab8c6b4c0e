# SPDX-License-Identifier: GPL-3.0-or-later
"""The mask of a collection: what is scattered by it, objects of one name, and a mask that the camera doesn't see."""

from __future__ import annotations

import bpy
import pytest
from capturing import capture
from platebridge.errors import InputError


@pytest.fixture
def plan_of(scene, plan_of):
    scene.frame_end, scene.platebridge.vectors_source = 1001, "NONE"
    return plan_of


def points(name, brick, places):
    """An object whose Geometry Nodes put an instance of the brick at each place."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(places, [], [])
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    put, take = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    each, what = tree.nodes.new("GeometryNodeInstanceOnPoints"), tree.nodes.new("GeometryNodeObjectInfo")
    what.inputs["Object"].default_value, what.inputs["As Instance"].default_value = brick, True
    tree.links.new(put.outputs[0], each.inputs["Points"])
    tree.links.new(what.outputs["Geometry"], each.inputs["Instance"])
    tree.links.new(each.outputs[0], take.inputs[0])
    host = bpy.data.objects.new(name, mesh)
    host.modifiers.new("Scatter", "NODES").node_group = tree
    return host


@pytest.fixture
def brick(scene):
    """The cube, not rendered itself and in no mask; the mask holds an object that scatters it to two places."""
    pieces = bpy.data.collections["Pieces"]
    cube = pieces.objects[0]
    pieces.objects.unlink(cube)
    cube.animation_data_clear()
    cube.name, cube.hide_render = "Brick", True
    pieces.objects.link(points("Debris", cube, [(-2, 0, 0), (2, 0, 0)]))
    return cube


def test_what_geometry_nodes_scatter_in_the_mask_is_masked(scene, brick, plan_of, read_exr):
    plan = plan_of()
    capture(plan)
    mask, depth = (read_exr(plan.sources[which].files[1001])[name] for which, name in (("mask", "Y"), ("depth", "Z")))
    assert mask[18, 16] == mask[18, 48] == 1 and mask[18, 32] == 0
    assert abs(mask.sum() - (depth < 10).sum()) < 60  # all of both bricks, and nothing else


def test_what_is_scattered_outside_the_mask_too_is_said(scene, brick, plan_of):
    street = points("Street", brick, [(0, 0, 2)])
    scene.collection.objects.link(street)
    with pytest.raises(InputError, match="mask frame 1001: Brick is scattered in the mask, and stands outside the mask too"):
        capture(plan_of())
    street.hide_render = True
    capture(plan_of())


def test_an_object_outside_the_mask_with_the_name_of_one_inside_is_said(scene, plan_of, tmp_path):
    """Two files may each hold a Cube, and Cryptomatte knows objects by name alone."""
    cube = bpy.data.collections["Pieces"].objects[0]
    bpy.data.libraries.write(str(tmp_path / "street.blend"), {cube})
    with bpy.data.libraries.load(str(tmp_path / "street.blend"), link=True) as (_, wanted):
        wanted.objects = [cube.name]
    assert plan_of().mask_objects == (cube.name,)
    scene.collection.objects.link(wanted.objects[0])
    with pytest.raises(InputError, match="mask: %s is in the mask, and renders outside it too" % cube.name):
        plan_of()


def test_a_house_of_the_mask_that_is_instanced_down_the_street_too_is_said(scene, plan_of):
    shown = bpy.data.objects.new("Down the street", None)
    shown.instance_type, shown.instance_collection = "COLLECTION", bpy.data.collections["Pieces"]
    scene.collection.objects.link(shown)
    with pytest.raises(InputError, match="mask: Cube is in the mask, and renders outside it too: as an instance, or"):
        plan_of()
    shown.hide_render = True
    plan_of()


@pytest.mark.parametrize("how", ["excluded", "not rendered"])
def test_a_collection_that_is_off_in_the_view_layer_is_said_before_any_work(scene, plan_of, how):
    pieces = bpy.data.collections["Pieces"]
    scene.collection.objects.unlink(pieces.objects[0])
    plan_of()
    if how == "excluded":
        bpy.context.view_layer.layer_collection.children["Pieces"].exclude = True
    else:
        pieces.hide_render = True
    with pytest.raises(InputError, match=r"mask: The collection Pieces does not render in the view layer ViewLayer. Turn it on"):
        plan_of()


def test_a_mask_that_the_camera_does_not_see_is_said_at_every_press(scene, plan_of):
    cube = bpy.data.collections["Pieces"].objects[0]
    cube.animation_data_clear()
    cube.location.x = 500
    for _ in range(2):
        with pytest.raises(InputError, match="The camera sees nothing of the collection Pieces"):
            capture(plan_of())
