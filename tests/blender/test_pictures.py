# SPDX-License-Identifier: Apache-2.0
"""The picture as it forms: PNG bytes to an icon's pixels, away from the main thread."""

import io
import threading

import numpy as np
import pytest
from PIL import Image


def _png(picture, **how):
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", **how)
    return out.getvalue()


def _pictures():
    """Smooth ones and noise, so that the writer uses every filter there is."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 255, 64)[None, :, None] * np.linspace(0.2, 1, 48)[:, None, None] * [1.0, 0.7, 0.4]
    yield ramp.astype(np.uint8)
    yield (ramp * 0.8 + rng.normal(0, 6, ramp.shape)).clip(0, 255).astype(np.uint8)
    yield rng.integers(0, 256, (33, 70, 3), np.uint8)
    yield rng.integers(0, 256, (20, 9, 4), np.uint8)
    yield rng.integers(0, 256, (9, 20), np.uint8)
    yield np.zeros((1, 1, 3), np.uint8)


@pytest.mark.parametrize("picture", list(_pictures()), ids=lambda picture: "x".join(map(str, picture.shape)))
def test_png_bytes_are_read_as_they_were_written(picture):
    from blender_addon import png

    read = png.pixels(_png(picture))
    assert np.array_equal(read, np.asarray(Image.fromarray(picture).convert("RGBA")))


NOISE = _png(np.random.default_rng(6).integers(0, 256, (8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", NOISE[:30], NOISE[:-40], _png(np.zeros((8, 8), np.uint16))],
    ids=["empty", "another kind", "its header alone", "without its end", "16 bit"],
)
def test_what_is_no_such_png_is_said_so(data):
    from blender_addon import png

    with pytest.raises(ValueError, match="PNG"):
        png.pixels(data)


def test_the_forming_picture_is_shown_with_every_pixel_and_no_file(addon):
    from blender_addon import pictures

    picture = next(iter(_pictures()))
    before = threading.active_count()
    pictures.form(_png(picture))
    for thread in threading.enumerate():
        if thread.name == "platebridge picture":
            thread.join()
    assert pictures.poll() and not pictures.poll()
    shown = pictures._held["forming %d" % pictures._number]
    assert tuple(shown.image_size) == (64, 48) and threading.active_count() == before
    packed = np.empty(64 * 48, np.int32)
    shown.image_pixels.foreach_get(packed)
    assert np.array_equal(packed.view(np.uint8).reshape(48, 64, 4)[::-1, :, :3], picture)
