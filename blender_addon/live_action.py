# SPDX-License-Identifier: GPL-3.0-or-later
"""A scene for a live-action shot from the footage alone: clip, camera, plate on the timeline, proxies, settings that keep the comp exact.

What the artist then does is track (or bring the tracked camera) and put the proxies where the things stand. Makes data-blocks; renders
nothing, knows no server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import bpy
from platebridge.errors import InputError
from platebridge.frames import FrameRange

from . import passes, timeline, versions

MOVIES = (".mov", ".mp4", ".mkv", ".avi", ".mxf", ".webm", ".m4v", ".mpg", ".mpeg", ".ogv", ".mts", ".m2ts", ".dv")
BUILDING, GROUND, HOLDOUT = "Building", "Ground", "Holdout"
_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


def is_movie(path: Path) -> bool:
    """Whether the file is a movie, by its suffix, as Blender has it."""
    return path.suffix.lower() in MOVIES


def sequence_of(path: Path, only: Sequence[str] = ()) -> Tuple[List[Path], str]:
    """The run of numbered pictures that `path` is one of, in order, and a sentence where more of them lie beyond a gap, or "".

    `only`: file names to keep to; empty means all that are there. Raises InputError where the file isn't there.
    """
    if not path.is_file():
        raise InputError("%s is no file." % path, "Choose a movie, or one picture of a sequence.", input="plate")
    found = _NUMBER.fullmatch(path.stem)
    if found is None:
        return [path], ""
    head, _, tail = found.groups()
    there = {}
    for other in path.parent.iterdir():
        named = _NUMBER.fullmatch(other.stem)
        alike = named is not None and (named.group(1), named.group(3), other.suffix) == (head, tail, path.suffix)
        if alike and (len(only) < 2 or other.name in only):
            there[int(named.group(2))] = other
    first = last = int(found.group(2))
    while first - 1 in there:
        first -= 1
    while last + 1 in there:
        last += 1
    run = [there[number] for number in range(first, last + 1)]
    if len(run) == len(there):
        return run, ""
    return run, "Files are missing around %d-%d: %d of %d were taken." % (first, last, len(run), len(there))


def frame_rate(rate: float) -> Tuple[int, float]:
    """(fps, base) as a scene keeps them: 23.976 is 24 / 1.001, 25 is 25 / 1, 12.5 is 12 / 0.96."""
    whole = max(1, round(rate))
    drop = round(rate * 1.001)
    if abs(rate - whole) > 2e-3 and abs(drop / 1.001 - rate) < 2e-3:
        return drop, 1.001
    return whole, whole / rate


def set_up(scene: Any, path: Path, *, first: int = 1001, rate: float = 24.0, only: Sequence[str] = ()) -> List[str]:
    """Makes the scene a live-action shot of the footage; gives sentences of what to know.

    What the scene has already stays: its camera, a collection that is the mask, its objects. `first`: the frame that a movie begins at;
    a sequence keeps its own numbers. `rate`: frames per second of a sequence that doesn't say. Raises InputError where nothing can be read.
    """
    said: List[str] = []
    movie = is_movie(path)
    files, gap = ([path], "") if movie else sequence_of(path, only)
    if gap:
        said.append(gap)
    number = _NUMBER.fullmatch(files[0].stem)
    start = first if movie or number is None else int(number.group(2))
    clip = _clip(files[0])
    if (clip.frame_start != start or clip.use_proxy) and _has_other_scenes(clip, scene):
        said.append("%s stays as other scenes use it: this shot has a copy of its own, tracks and all" % clip.name)
        clip = clip.copy()
    clip.frame_start, clip.use_proxy = start, False
    length = clip.frame_duration if movie else len(files)
    frames = FrameRange(clip.frame_start, clip.frame_start + length - 1)

    render = scene.render
    render.resolution_x, render.resolution_y = clip.size
    render.resolution_percentage = 100
    render.use_motion_blur = False
    render.fps, render.fps_base = frame_rate(clip.fps if movie and clip.fps > 0 else _rate_in_header(files[0]) or rate)
    if abs(clip.display_aspect[0] / clip.display_aspect[1] - 1) > 1e-3:
        said.append("The footage's pixels are not square: unsqueeze it first, or set the pixel aspect in Output properties.")
    scene.frame_start, scene.frame_end = frames.first, frames.last
    scene.frame_set(frames.first)
    scene.active_clip = clip
    # What keeps the comp exact, and the footage looking as it was shot: AgX would give it another look.
    timeline.make_exact(scene)
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look, scene.view_settings.exposure, scene.view_settings.gamma = "None", 0.0, 1.0

    strip = _plate_strip(scene, clip, files, frames, movie)
    camera = scene.camera or _camera(scene, clip)
    _behind(camera, clip)
    building = scene.platebridge.mask_collection or _proxies(scene)
    shot = scene.platebridge
    shot.plate_source, shot.plate_strip, shot.plate_clip = "STRIP", strip.name, clip
    shot.depth_source, shot.mask_source, shot.mask_collection = "RENDER", "COLLECTION", building
    shot.vectors_source, shot.camera_source, shot.use_scene_range = "RENDER", "SCENE", True
    shot.shot = shot.shot or shot_of(files[0])
    said.append(
        "%s: %d x %d, frames %s at %g a second, read as %s"
        % (shot.shot, *clip.size, frames, render.fps / render.fps_base, clip.colorspace_settings.name)
    )
    return said


def quick_to_render(scene: Any) -> None:
    """For a scene whose render is proxies alone: edges as smooth as 16 samples make them, and nothing that costs time."""
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising, cycles.max_bounces = 16, False, False, 0
    scene.render.use_persistent_data = True


def shot_of(path: Path) -> str:
    """A shot's name from the footage's: sc010_plate.1001.exr is sc010_plate."""
    found = None if is_movie(path) else _NUMBER.fullmatch(path.stem)
    name = re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", found.group(1) if found else path.stem).strip(" ._-")
    return name[:100] or "shot"


def _clip(path: Path) -> Any:
    try:
        clip = bpy.data.movieclips.load(str(path), check_existing=True)
    except RuntimeError as error:
        raise InputError("%s can't be read (%s)." % (path, str(error).strip()), "Choose a movie or pictures.", input="plate") from None
    if clip.frame_duration < 1:  # Blender takes anything for a clip
        if not clip.users:
            bpy.data.movieclips.remove(clip)
        raise InputError("%s is no picture and no movie that Blender can read." % path, "Choose other footage.", input="plate")
    return clip


def _has_other_scenes(clip: Any, scene: Any) -> bool:
    """Whether another scene uses the clip: itself, or by a camera or nodes that it holds."""
    users = bpy.data.user_map()
    reached, ahead = {scene}, [clip]
    while ahead:
        more = users.get(ahead.pop(), set()) - reached
        reached |= more
        ahead += more
    return any(user.id_type == "SCENE" and user != scene for user in reached)


def _rate_in_header(path: Path) -> Optional[float]:
    """Frames per second that an EXR says of itself; None for others."""
    if path.suffix.lower() != ".exr":
        return None
    try:
        file = passes.image_io().ImageInput.open(str(path))
    except InputError:  # a Blender without OpenImageIO: capture will say so when it is needed
        return None
    if file is None:
        return None
    told = file.spec().getattribute("FramesPerSecond")
    file.close()
    if isinstance(told, (tuple, list)) and len(told) == 2 and told[1]:
        told = told[0] / told[1]
    return float(told) if isinstance(told, (int, float)) and 1 <= told <= 1000 else None


def _plate_strip(scene: Any, clip: Any, files: List[Path], frames: FrameRange, movie: bool) -> Any:
    strips = versions.strips(scene.sequence_editor or scene.sequence_editor_create())
    where = {"name": "Plate", "channel": timeline.free_channel(scene, frames), "frame_start": frames.first}
    folder = timeline.stored(files[0].parent)
    if movie:
        strip = strips.new_movie(filepath=folder + files[0].name, **where)
    else:
        strip = strips.new_image(filepath=str(files[0]), **where)
        strip.directory = folder
        for path in files[1:]:
            strip.elements.append(path.name)
    strip.blend_type = "REPLACE"
    strip.colorspace_settings.name = clip.colorspace_settings.name  # one reading of the footage, wherever it is looked at
    return strip


def _camera(scene: Any, clip: Any) -> Any:
    """A camera at eye level that looks along Y, with the lens that the clip says, and moves as the clip is solved."""
    lens = bpy.data.cameras.new("Tracked Camera")
    camera = bpy.data.objects.new(lens.name, lens)
    scene.collection.objects.link(camera)
    told = clip.tracking.camera
    lens.sensor_width, lens.sensor_fit = told.sensor_width, "HORIZONTAL"
    lens.lens = told.focal_length if told.units == "MILLIMETERS" else told.focal_length_pixels * told.sensor_width / clip.size[0]
    width, height = clip.size
    lens.shift_x, lens.shift_y = -told.principal_point[0] / 2, -told.principal_point[1] / 2 * height / width
    camera.location, camera.rotation_euler = (0.0, 0.0, 1.7), (1.5707963, 0.0, 0.0)
    solved = camera.constraints.new("CAMERA_SOLVER")
    solved.use_active_clip, solved.clip = False, clip
    scene.camera = camera
    return camera


def _behind(camera: Any, clip: Any) -> None:
    """The footage behind everything that is seen through the camera in the 3-D view."""
    lens = camera.data
    lens.show_background_images = True
    if any(image.source == "MOVIE_CLIP" and image.clip == clip for image in lens.background_images):
        return
    image = lens.background_images.new()
    image.source, image.clip, image.use_camera_clip = "MOVIE_CLIP", clip, False
    image.alpha, image.display_depth, image.frame_method = 1.0, "BACK", "STRETCH"


def _proxies(scene: Any) -> Any:
    """The collections, a ground and a box, as wires over the footage; gives the building's collection."""
    made = {}
    for name, tint in ((BUILDING, "COLOR_01"), (GROUND, "COLOR_04"), (HOLDOUT, "COLOR_05")):
        made[name] = bpy.data.collections.new(name)
        made[name].color_tag = tint
        scene.collection.children.link(made[name])
    side = 200.0
    _wires(made[GROUND], "Ground Proxy", [(-side, -side, 0), (side, -side, 0), (side, side, 0), (-side, side, 0)], [(0, 1, 2, 3)])
    left, right, near, far, top = -5.0, 5.0, 25.0, 35.0, 12.0
    corners = [(x, y, z) for z in (0.0, top) for x, y in ((left, near), (right, near), (right, far), (left, far))]
    faces = [(3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    _bring_down(scene, _wires(made[BUILDING], "Building Proxy", corners, faces), top)
    return made[BUILDING]


def _bring_down(scene: Any, thing: Any, height: float) -> None:
    """The proxy falls out of sight from the shot's first quarter on, as things fall: dust comes from what moves, and from nothing else."""
    begins = scene.frame_start + (scene.frame_end - scene.frame_start) // 4
    seconds = (2 * height / 9.81) ** 0.5
    thing.keyframe_insert("location", index=2, frame=begins)
    thing.location.z = -height
    thing.keyframe_insert("location", index=2, frame=begins + seconds * scene.render.fps / scene.render.fps_base)
    for curve in versions.curves(thing.animation_data):
        for key in curve.keyframe_points:
            key.interpolation, key.easing = "QUAD", "EASE_IN"
    scene.frame_set(scene.frame_current)


def _wires(collection: Any, name: str, corners: List[Any], faces: List[Any]) -> Any:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    thing = bpy.data.objects.new(name, mesh)
    thing.display_type = "WIRE"
    collection.objects.link(thing)
    return thing


