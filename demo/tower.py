# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot `tower`: a real photograph becomes a collapse.

china.jpg by danielbuechele (CC BY 2.0). Camera and storeys are fitted to the picture, the picture is projected on them,
they are cut into pieces and brought down by rigid bodies behind the trees and before a clean plate. Leaves plate, depth,
mask, vectors, camera.json and scene.blend: from there on it is a shot like any other.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import bpy
import numpy as np

from blender_addon.collapse import bodies, debris, keys, meshes, projection
from blender_addon.collapse.camera_match import Camera
from blender_addon.collapse.clean_plate import grow, over
from blender_addon.collapse.contacts import touching
from blender_addon.collapse.fracture import Piece

from .shot import Progress, Shot, read_passes, write_camera, write_exr
from .tower_model import Tower
from .tower_picture import CREDIT, Picture, take_apart

FIRST, LAST = 1001, 1048
STRIDE = 2
"""Simulated frames in one of the shot's: a tower of 41 m needs four seconds to come down, the shot has two."""
CUE = 11
"""Simulated frame in which the first piece is let go (frame 1006 of the shot)."""
SUN = (0.55, -0.55, 0.75)
SAMPLES = 4
_INNER_TINT = (0.045, 0.018, 0.012)


def build(folder: Path, progress: Progress, *, frames: list[int] | None = None) -> Shot:
    """Make the shot's files in `folder`. `progress(stage, done, total)`. `frames`: render these alone (for a look)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    progress("fit camera and storeys", 0, 1)
    tower = Tower()
    camera = tower.camera
    horizon = float(camera.project(np.array([[0.0, 1e7, camera.position[2]]]))[0][0, 1])
    picture = take_apart(horizon, camera.focal_px)
    progress("fit camera and storeys", 1, 1)

    plan = direct(tower)
    count = LAST - FIRST + 1
    placements = bodies.simulate(
        tower.pieces, plan, frames=count * STRIDE, progress=lambda done, total: progress("rigid bodies", done, total)
    )
    shards, paths = debris.chips(tower.pieces, plan.pairs, placements, count=450, seed=7)
    placements = np.concatenate([placements, paths], 1)[::STRIDE]

    scene = assemble(tower, shards, picture, placements)
    if frames is None:
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"), compress=True)
    _render(scene, camera, picture, folder, frames or list(range(FIRST, LAST + 1)), progress)
    write_camera(folder / "camera.json", camera.focal_mm(), 36.0, {f: camera.camera_to_world for f in range(FIRST, LAST + 1)})
    patterns = {name: str(folder / name / f"{name}.####.exr") for name in ("plate", "depth", "mask", "vectors")}
    return Shot(
        "tower", folder, folder / "scene.blend", FIRST, LAST, camera.width, camera.height, 24,
        camera=folder / "camera.json", mask_collection="collapse", credit=CREDIT, **patterns,
    )  # fmt: skip


def direct(tower: Tower, seed: int = 5) -> bodies.Plan:
    """How it falls: the foot gives way on the right and in front, the tower leans there, breaks at its galleries, sinks."""
    rng = np.random.default_rng(seed)
    centres = np.array([p.centre for p in tower.pieces])
    storey = np.array(tower.storey)
    outward = centres[:, :2] - tower.axis
    radius = np.linalg.norm(outward, axis=1)
    outward = outward / np.maximum(radius, 1e-6)[:, None]
    lean = (outward @ np.array([0.8, -0.6])) * radius / 15.0
    count = len(centres)
    velocity, spin = np.zeros((count, 3)), np.zeros((count, 3))

    foot = np.isin(storey, ["gallery 4", "core 4"])
    base = foot | (storey == "eaves 4")
    gallery = storey == "gallery 3"
    release = np.full(count, CUE + 4)
    release[base] = CUE + np.round((1 - lean[base]) * 6).astype(int)
    release[gallery] = CUE + 2 + np.round((1 - lean[gallery]) * 5).astype(int)
    velocity[foot, :2] = outward[foot] * ((4 + 3 * rng.random(foot.sum())) * (1 + lean[foot]) / 1.5)[:, None]
    velocity[~base, 2] = -2.5  # at two frames in one a start from nothing would look asleep
    spin[foot] = rng.normal(0, 1, (foot.sum(), 3))

    inside = np.char.startswith(storey, "core")
    pairs, area = touching(tower.pieces, gap=0.12)
    # what touches nothing by its faces (the ridges' ends) hangs on its neighbour
    lonely = np.setdiff1d(np.arange(count), pairs)
    apart = np.linalg.norm(centres[lonely][:, None] - centres, axis=2)
    apart[:, lonely] = np.inf
    pairs = np.concatenate([pairs, np.stack([lonely, apart.argmin(1)], 1)])
    area = np.append(area, np.full(len(lonely), 3.0))
    first, second = pairs.T
    strength = 7e3 * np.exp(rng.normal(0, 0.7, len(pairs))) * area
    for loose, factor in ((foot, 0.02), (gallery, 0.15), (storey == "gallery 2", 0.2), (inside, 0.08)):
        strength *= np.where(loose[first] | loose[second], factor, 1.0)
    crown = np.char.startswith(storey, "roof") | np.isin(storey, ["eaves 1", "finial", "ceiling", "attic"])
    strength *= np.where(crown[first] & crown[second], 6.0, 1.0)
    return bodies.Plan(release, velocity, spin, pairs, strength)


def assemble(tower: Tower, shards: list[Piece], picture: Picture, placements: np.ndarray) -> bpy.types.Scene:
    """A fresh scene with camera, pieces, chips and keys, and the picture packed in."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.name = "tower"
    scene.frame_start, scene.frame_end, scene.render.fps = FIRST, LAST, 24
    camera = projection.match_camera(tower.camera)
    scene.collection.objects.link(camera)
    scene.camera = camera
    projection.exact_render(scene, tower.camera, SAMPLES)
    scratch = Path(tempfile.mkdtemp(prefix="tower-"))
    try:
        write_exr(scratch / "plate.exr", np.dstack([picture.plate, picture.deep]), "RGBA")
        write_exr(scratch / "own.exr", np.dstack([picture.own, picture.tower]), "RGBA")
        plate = projection.picture(str(scratch / "plate.exr"), "plate")
        own = projection.picture(str(scratch / "own.exr"), "tower and its edges")
    finally:
        shutil.rmtree(scratch)
    material = projection.plate_material("plate", tower.camera, plate, own, sun=SUN)
    collection = bpy.data.collections.new("collapse")
    scene.collection.children.link(collection)
    tints = _tints(tower, picture)
    blocks = [
        meshes.visible_piece(f"piece {i:03d} {name}", piece, tints[name], collection, material)
        for i, (piece, name) in enumerate(zip(tower.pieces, tower.storey))
    ]
    blocks += [
        meshes.visible_piece(f"chip {i:03d}", shard, tints[tower.storey[shard.part]], collection, material)
        for i, shard in enumerate(shards)
    ]
    shot_frames = list(range(FIRST, FIRST + len(placements)))
    keys.bake(blocks, placements, shot_frames)
    return scene


def _tints(tower: Tower, picture: Picture) -> dict[str, np.ndarray]:
    """Each storey's mean colour where the picture shows it; for what it never showed, dark wood and plaster."""
    pure = (picture.tower > 0.95) & (picture.trees < 0.02)
    tints = {}
    for name in set(tower.storey):
        centres = np.array([p.centre for p, s in zip(tower.pieces, tower.storey) if s == name])
        pixels = np.rint(tower.camera.project(centres)[0]).astype(int)
        colours = []
        for x, y in pixels:
            area = (slice(max(y - 4, 0), max(y + 5, 0)), slice(max(x - 4, 0), max(x + 5, 0)))
            colours.append(picture.plate[area][pure[area]])
        seen = np.concatenate(colours)
        shown = len(seen) > 50 and not name.startswith(("core", "floor", "ceiling", "attic"))
        tints[name] = seen.mean(0) if shown else np.array(_INNER_TINT)
    return tints


def _render(scene: bpy.types.Scene, camera: Camera, picture: Picture, folder: Path, frames: list[int], progress: Progress) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="tower-"))
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):  # 5.0 asks for the kind of medium first
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    try:
        rest = None
        for done, frame in enumerate([FIRST, *(f for f in frames if f != FIRST)]):
            progress("render pieces", done, len(frames))
            scene.frame_set(frame)
            scene.render.filepath = str(scratch / f"{frame}.exr")
            bpy.ops.render.render(write_still=True)
            passes = {name.split(".", 1)[1]: pixels for name, pixels in read_passes(scratch / f"{frame}.exr").items() if "." in name}
            (scratch / f"{frame}.exr").unlink()
            pieces = np.dstack([passes[f"Combined.{c}"] for c in "RGBA"])
            if rest is None:
                rest = pieces
            _write_frame(folder, frame, pieces, rest, passes, picture)
        progress("render pieces", len(frames), len(frames))
    finally:
        shutil.rmtree(scratch)


def _write_frame(folder: Path, frame: int, pieces: np.ndarray, rest: np.ndarray, passes: dict[str, np.ndarray], picture: Picture) -> None:
    """Pieces over clean plate, trees over both; but where the pieces look as they did at rest, the photograph itself."""
    plate = over(pieces[..., :3], pieces[..., 3], picture.clean)
    trees = picture.trees
    plate = plate * (1 - trees[..., None]) + picture.tree_colours * trees[..., None]
    # past the tower's edge the photograph still holds a trace of it: it goes when the pieces next to it go
    changed = (pieces != rest).any(-1)
    rim = (rest[..., 3] < 1.0) & grow(rest[..., 3] > 0.0, 10)
    untouched = ~(changed | (rim & grow(changed, 10)))
    plate = np.where(untouched[..., None], picture.plate, plate)

    covers = pieces[..., 3] >= 0.5
    depth = np.where(covers, passes["Depth.Z"], picture.depth_behind)
    depth = np.where(trees >= 0.5, np.minimum(depth, picture.tree_depth), depth)
    mask = np.clip(pieces[..., 3] * (1 - trees), 0.0, 1.0)
    visible = covers & (trees < 0.5)
    vectors = np.dstack([passes[f"Vector.{c}"] for c in "XYZW"]) * visible[..., None]

    write_exr(folder / "plate" / f"plate.{frame}.exr", plate, "RGB", half=True, credit=CREDIT)
    write_exr(folder / "depth" / f"depth.{frame}.exr", depth[..., None], "Z")
    write_exr(folder / "mask" / f"mask.{frame}.exr", mask[..., None], "A")
    write_exr(folder / "vectors" / f"vectors.{frame}.exr", vectors, "XYZW")
