# SPDX-License-Identifier: GPL-3.0-or-later
"""Masks in pictures and strips: which channel is the mask, and its values as they are stored. By number."""

from __future__ import annotations

import os

import bpy
import numpy as np
import pytest
from platebridge.errors import InputError

FRAMES = (1001, 1002, 1003)
SHAPE = (36, 64)


@pytest.fixture
def plan_of(scene, plan_of):
    scene.platebridge.vectors_source = "NONE"
    return plan_of


@pytest.fixture
def captured(plan_of, read_exr):
    """captured(): the mask's values by frame, once capture has been over it."""

    def masks():
        from blender_addon.capture import capture

        plan = plan_of()
        list(capture(plan))
        return {frame: next(iter(read_exr(plan.sources["mask"].files[frame]).values())) for frame in FRAMES}

    return masks


def roto(frame, channels=1, largest=255):
    """Stored values: a soft shape, another at each frame."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    soft = np.clip(1.5 - np.hypot(x - 20 - frame % 10 * 4, y - 18) / 10, 0, 1)
    return np.repeat(np.round(soft * largest).astype(np.uint8 if largest == 255 else np.uint16)[..., None], channels, -1)


def write(path, stored, kind):
    import OpenImageIO as oiio

    spec = oiio.ImageSpec(SHAPE[1], SHAPE[0], stored.shape[-1], kind)
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec) and out.write_image(np.ascontiguousarray(stored)) and out.close()
    return path


def with_alpha(colour, alpha):
    return np.concatenate([colour, alpha], -1)


def solid(largest=255):
    return np.full((*SHAPE, 1), largest, np.uint8 if largest == 255 else np.uint16)


def files_of(scene, tmp_path, suffix, kind, stored):
    for frame in FRAMES:
        write(tmp_path / ("roto.%d%s" % (frame, suffix)), stored(frame), kind)
    scene.platebridge.mask_source, scene.platebridge.mask_files = "FILES", str(tmp_path / ("roto.####" + suffix))


WAYS = {
    "grey, 8 bit": (".png", "uint8", lambda f: roto(f), 255),
    "grey, 16 bit": (".png", "uint16", lambda f: roto(f, 1, 65535), 65535),
    "white on black": (".png", "uint8", lambda f: roto(f, 3), 255),
    "white on black, solid alpha": (".png", "uint8", lambda f: with_alpha(roto(f, 3), solid()), 255),
    "alpha, 16 bit": (".tif", "uint16", lambda f: with_alpha(roto(f, 3, 65535), roto(f, 1, 65535)), 65535),
    "alpha alone": (".png", "uint8", lambda f: with_alpha(0 * roto(f, 3), roto(f)), 255),
}


@pytest.mark.parametrize("way", WAYS)
def test_pictures_are_masks_by_alpha_or_brightness_value_for_value(scene, captured, tmp_path, way):
    suffix, kind, stored, largest = WAYS[way]
    files_of(scene, tmp_path, suffix, kind, stored)
    for frame, mask in captured().items():
        want = roto(frame, 1, largest)[..., 0] / largest
        assert mask.shape == SHAPE and np.abs(mask - want).max() < 2.5e-4, frame  # half a step of half float at 1


def test_jpeg_is_taken_within_what_jpeg_does(scene, captured, tmp_path):
    files_of(scene, tmp_path, ".jpg", "uint8", lambda f: roto(f, 3))
    for frame, mask in captured().items():
        assert np.abs(mask - roto(frame)[..., 0] / 255).max() < 0.1


def test_what_is_automatic_is_chosen_once_for_all_frames(scene, captured, tmp_path):
    files_of(
        scene, tmp_path, ".png", "uint8", lambda f: with_alpha(roto(f, 3), solid() if f == 1001 else roto(f) // 2)
    )  # the first is solid: brightness, over black
    masks = captured()
    assert np.abs(masks[1001] - roto(1001)[..., 0] / 255).max() < 2.5e-4
    scene.platebridge.mask_channel = "ALPHA"
    masks = captured()
    assert masks[1001].min() == 1 and np.abs(masks[1002] - (roto(1002)[..., 0] // 2) / 255).max() < 2.5e-4


def test_alpha_that_is_not_there_and_files_that_cannot_be_read_are_said(scene, captured, tmp_path):
    files_of(scene, tmp_path, ".png", "uint8", lambda f: roto(f, 3))
    scene.platebridge.mask_channel = "ALPHA"
    with pytest.raises(InputError, match=r"roto\.1001\.png has no alpha\. Set Mask Is In to Brightness"):
        captured()
    scene.platebridge.mask_channel = "AUTO"
    (tmp_path / "roto.1002.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"roto\.1002\.png can't be read"):
        captured()
    (tmp_path / "roto.1002.png").unlink()
    with pytest.raises(InputError, match="mask frame 1002: 1 of 3 files are missing"):
        captured()


def test_exr_with_a_matte_goes_as_it_is_and_white_on_black_is_read(scene, plan_of, captured, write_exr, tmp_path):
    settings = scene.platebridge
    settings.mask_source = "FILES"
    settings.mask_files = str(write_exr(tmp_path / "alpha.exr", np.full((*SHAPE, 1), 0.25), "A"))
    assert plan_of().sources["mask"].how == "files"
    values = np.repeat(np.linspace(0, 1, SHAPE[1], dtype=np.float32)[None, :, None] * np.ones((SHAPE[0], 1, 1), np.float32), 3, -1)
    settings.mask_files = str(write_exr(tmp_path / "white.exr", values, "RGB"))
    assert plan_of().sources["mask"].how == "picture"
    assert np.abs(captured()[1002] - values[..., 0]).max() < 5e-4


def test_a_matte_that_was_written_anew_is_read_anew(scene, captured, tmp_path):
    files_of(scene, tmp_path, ".png", "uint8", lambda f: roto(f))
    captured()
    path = write(tmp_path / "roto.1002.png", 255 - roto(1002), "uint8")
    os.utime(path, ns=(1, 1))
    assert np.abs(captured()[1002] - (1 - roto(1002)[..., 0] / 255)).max() < 2.5e-4


# --- strips --------------------------------------------------------------------------------------------------------------------


def strip_of(scene, name="Roto"):
    scene.platebridge.mask_source, scene.platebridge.mask_strip = "STRIP", name
    return (scene.sequence_editor or scene.sequence_editor_create()).strips


def test_strip_of_pictures_is_read_from_its_files_and_rendered_once_it_is_moved(scene, captured, plan_of, tmp_path):
    files_of(scene, tmp_path, ".png", "uint8", lambda f: roto(f))
    strip = strip_of(scene).new_image("Roto", str(tmp_path / "roto.1001.png"), 1, 1001)
    for frame in FRAMES[1:]:
        strip.elements.append("roto.%d.png" % frame)
    assert plan_of().sources["mask"].how == "picture"
    as_it_is = captured()
    assert np.abs(as_it_is[1003] - roto(1003)[..., 0] / 255).max() < 2.5e-4
    strip.transform.offset_x, strip.transform.filter = 8, "NEAREST"
    assert plan_of().sources["mask"].how == "strip"
    moved = captured()
    assert np.abs(moved[1003][:, 8:] - as_it_is[1003][:, :-8]).max() < 2e-3  # as stored, though it went through the sequencer
    assert strip.colorspace_settings.name == "sRGB"  # lent, and given back


def test_movie_strip_is_its_brightness_as_stored(scene, captured, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "matte.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = SHAPE[1], SHAPE[0], "gbrp10le"
        for frame in FRAMES:
            picture = av.VideoFrame.from_ndarray(roto(frame, 3, 65535), format="rgb48le").reformat(format="gbrp10le")
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    strip_of(scene).new_movie("Roto", str(tmp_path / "matte.mkv"), 1, 1001)
    for frame, mask in captured().items():
        assert np.abs(mask - roto(frame)[..., 0] / 255).max() < 4e-3, frame


def test_mask_strip_is_drawn_at_the_frames_that_the_strip_shows(scene, captured, plan_of):
    mask = bpy.data.masks.new("House")
    layer = mask.layers.new(name="House")
    spline = layer.splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    for point, (x, y) in zip(spline.points, ((0.3, 0.4), (0.5, 0.4), (0.5, 0.6), (0.3, 0.6))):
        point.handle_type = "FREE"
        point.co = point.handle_left = point.handle_right = (x, y)
    mask.frame_start, mask.frame_end = 1, 3
    for frame, alpha in ((1, 0.25), (3, 0.75)):  # what a layer is worth may be keyed as its shape may
        layer.alpha = alpha
        layer.keyframe_insert("alpha", frame=frame)
    settings = scene.platebridge
    settings.mask_source, settings.mask_datablock = "MASK", mask
    mask.frame_start = 1001
    at_scene = captured()
    assert at_scene[1001].max() == at_scene[1003].max() == pytest.approx(0.75, abs=1e-3)  # long after its last key
    mask.frame_start = 1
    strip = strip_of(scene).new_mask("Roto", mask, 1, 1001)
    assert plan_of().sources["mask"].how == "mask"
    masks = captured()
    for frame, alpha in ((1001, 0.25), (1002, 0.5), (1003, 0.75)):
        assert masks[frame].max() == pytest.approx(alpha, abs=1e-3), frame
        assert masks[frame].sum() == pytest.approx(alpha * 12.8**2, rel=0.06)
    assert scene.frame_current == bpy.context.scene.frame_current and bpy.context.scene == scene
    assert not [other.name for other in bpy.data.scenes if "scratch" in other.name]
    strip.blend_alpha = 0.5
    with pytest.raises(InputError, match="mask strip Roto is moved, cropped, faded, graded or retimed"):
        plan_of()


def test_scene_strip_with_a_transparent_film_is_its_alpha(scene, captured):
    other = bpy.data.scenes.new("Matte")
    other.render.engine, other.cycles.samples, other.cycles.use_denoising = "CYCLES", 2, False
    other.render.resolution_x, other.render.resolution_y, other.render.film_transparent = 64, 36, True
    other.frame_start, other.frame_end = 1001, 1003
    other.camera = scene.camera
    for thing in (scene.camera, scene.platebridge.mask_collection.objects[0]):
        other.collection.objects.link(thing)
    strip_of(scene).new_scene("Roto", other, 1, 1001)
    masks = captured()
    assert masks[1002].max() == 1 and 0.01 < masks[1002].mean() < 0.5 and masks[1002][0, 0] == 0


def test_a_sound_is_no_mask(scene, plan_of, tmp_path):
    import wave

    with wave.open(str(tmp_path / "hum.wav"), "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(8000), out.writeframes(bytes(16000))
    strip_of(scene).new_sound("Roto", str(tmp_path / "hum.wav"), 1, 1001)
    with pytest.raises(InputError, match="The strip Roto is sound"):
        plan_of()
