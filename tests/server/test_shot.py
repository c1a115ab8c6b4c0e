# SPDX-License-Identifier: Apache-2.0
"""A shot as arrays: depth means metres, windows line up, channels are found by the names the trade uses."""

import dataclasses

import numpy as np
import OpenImageIO as oiio
import pytest
from platebridge.errors import InputError
from platebridge.frames import FrameRange
from platebridge.request import Camera, CameraFrame, FrameFile, GenerateRequest, Inputs, Pass, ShotSettings
from platebridge.takes import hash_file
from platebridge_server import depth as depths
from platebridge_server import images, light
from platebridge_server import shot as shot_module
from platebridge_server.shot import KEPT, Shot

IDENTITY = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@pytest.fixture
def one_frame(tmp_path, write_exr):
    """`one_frame(plate=…, depth=…, mask=…)`: a Shot of frame 1001 from arrays (h, w) or (h, w, c), or from paths."""

    def make(settings=None, camera=None, channels=None, **inputs):
        found, named = {}, {}
        for name, value in {"plate": np.ones((20, 30, 3)), "depth": np.full((20, 30), 9.0), "mask": np.ones((20, 30)), **inputs}.items():
            if not hasattr(value, "exists"):
                value = np.asarray(value, np.float32)
                value = value if value.ndim == 3 else value[..., None]
                value = write_exr(tmp_path / (name + ".exr"), value, {1: "Y", 3: "RGB", 4: "RGBA"}[value.shape[2]])
            found[hash_file(value)] = value
            named[name] = Pass(name, tuple((channels or {}).get(name, ())), (FrameFile(1001, hash_file(value), value.stat().st_size),))
        request = GenerateRequest("one", FrameRange(1001, 1001), Inputs(**named), camera, settings or ShotSettings())
        return Shot(request, found.__getitem__)

    return make


def test_metres_come_from_the_unit_of_the_file(one_frame):
    shot = one_frame(ShotSettings(depth_scale=0.01), depth=np.full((20, 30), 250.0))
    assert shot.depth(1001) == pytest.approx(2.5)


def test_one_over_z_is_turned_round_before_its_unit_and_zero_is_sky(one_frame):
    raw = np.full((20, 30), 0.25)
    raw[0] = 0.0
    z = one_frame(ShotSettings(depth_kind="inverse", depth_scale=0.5), depth=raw).depth(1001)
    assert z[1:] == pytest.approx(2.0) and np.isinf(z[0]).all()


@pytest.mark.parametrize("kind, near", [("near_one", 1.0), ("near_zero", 0.0)])
def test_a_normalised_depth_goes_in_even_steps_from_the_camera_to_its_far_end_which_is_sky(one_frame, kind, near):
    raw = np.full((20, 30), 0.25 if near == 0.0 else 0.75)
    raw[0], raw[1] = 1.0 - near, near
    z = one_frame(ShotSettings(depth_kind=kind, depth_scale=80.0), depth=raw).depth(1001)
    assert z[2:] == pytest.approx(20.0) and np.isinf(z[0]).all()
    assert z[1] == pytest.approx(0.08)  # nothing can stand in the camera


@pytest.mark.parametrize("kind", ["near_one", "near_zero"])
def test_where_a_normalised_depth_has_no_pixels_there_is_sky(one_frame, tmp_path, write_exr, kind):
    path = write_exr(tmp_path / "part.exr", np.full((5, 30, 1), 0.5), ("Z",), data=(0, 15), display=(0, 0, 30, 20))
    z = one_frame(ShotSettings(depth_kind=kind), depth=path).depth(1001)
    assert np.isinf(z[:15]).all() and z[15:] == pytest.approx(0.5)


@pytest.mark.parametrize("kind, beyond", [("near_one", -np.inf), ("near_zero", np.inf)])
def test_an_infinite_normalised_depth_is_sky_or_a_hole_and_never_stands_in_the_camera(one_frame, kind, beyond):
    raw = np.full((20, 30), 0.5)
    raw[:5], raw[10:12, 10:12] = beyond, -beyond
    z = one_frame(ShotSettings(depth_kind=kind, depth_scale=80.0, bad_pixels="scrub"), depth=raw).depth(1001)
    assert np.isinf(z[:5]).all() and z[5:] == pytest.approx(40.0)


def test_distance_along_the_ray_becomes_depth_along_the_axis(one_frame):
    camera = Camera(frames=(CameraFrame(1001, IDENTITY),))
    focal = 35.0 / 36.0 * 30
    x, y = (np.arange(30) + 0.5 - 15) / focal, (np.arange(20) + 0.5 - 10) / focal
    distance = 7.0 * np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)
    assert one_frame(ShotSettings(depth_kind="distance"), camera, depth=distance).depth(1001) == pytest.approx(7.0, rel=1e-5)


def test_pixel_aspect_is_read_from_the_plates_header(one_frame, tmp_path, write_exr):
    plate = write_exr(tmp_path / "scan.exr", np.ones((20, 30, 3)), ("R", "G", "B"), attributes={"PixelAspectRatio": 2.0})
    shot = one_frame(plate=plate)
    assert shot.pixel_aspect == 2.0 and shot.camera.at(1001).fy == 2 * shot.camera.at(1001).fx
    assert one_frame().pixel_aspect == 1.0


@pytest.mark.parametrize("sky", [1e10, np.inf, 1e30, 0.0])
def test_sky_is_infinitely_far_however_it_is_written(one_frame, sky):
    raw = np.full((20, 30), 9.0)
    raw[:8] = sky
    z = one_frame(depth=raw).depth(1001)
    assert np.isinf(z[:8]).all() and (z[8:] == 9.0).all()


@pytest.mark.parametrize("hole", [0.0, -1.0, np.nan])
def test_a_hole_takes_the_farthest_of_what_is_around_it(one_frame, hole):
    raw = np.full((20, 30), 9.0)
    raw[:, 15:] = 4.0
    raw[10, 14:16] = hole
    assert (one_frame(depth=raw).depth(1001)[10, 14:16] == 9.0).all()


def test_where_depth_and_mask_have_no_pixels_there_is_sky_and_no_mask(one_frame, tmp_path, write_exr):
    display = (0, 0, 30, 20)
    depth = write_exr(tmp_path / "d.exr", np.full((10, 12, 1), 5.0), "Z", data=(6, 4), display=display)
    mask = write_exr(tmp_path / "m.exr", np.ones((3, 4, 1)), "A", data=(20, 15), display=display)
    shot = one_frame(depth=depth, mask=mask)
    z, m = shot.depth(1001), shot.mask(1001)
    assert (z[4:14, 6:18] == 5.0).all() and np.isinf(z).sum() == 600 - 120
    assert (m[15:18, 20:24] == 1.0).all() and m.sum() == 12


def test_overscan_of_the_plate_is_worked_on_and_the_camera_sees_it_wider(one_frame, tmp_path, write_exr):
    plate = write_exr(tmp_path / "p.exr", np.ones((24, 36, 3)), "RGB", data=(-4, -2), display=(0, 0, 30, 20))
    shot = one_frame(plate=plate, camera=Camera(frames=(CameraFrame(1001, IDENTITY),)))
    assert shot.size == (24, 36)
    assert (shot.depth(1001)[2:22, 4:34] == 9.0).all() and np.isinf(shot.depth(1001)[0, 0])
    view = shot.camera.at(1001)
    assert view.principal_px == pytest.approx((4 + 15, 2 + 10))
    assert view.focal_px == pytest.approx((35 / 36 * 30,) * 2)


def test_a_single_channel_is_taken_whatever_its_name(one_frame, tmp_path, write_exr):
    depth = write_exr(tmp_path / "d.exr", np.full((20, 30, 1), 3.0), ["whatever"])
    assert (one_frame(depth=depth).depth(1001) == 3.0).all()


@pytest.mark.parametrize(
    ("channels", "wanted"),
    [
        (["A", "Z"], 1),
        (["R", "G", "B", "depth.Z"], 3),
        (["V.Combined.A", "V.Depth.Z"], 1),
        (["Z", "depth.Z"], 1),
        (["alpha", "depth.V"], 1),
    ],
)
def test_depth_is_found_by_its_usual_names(one_frame, tmp_path, write_exr, channels, wanted):
    pixels = np.ones((20, 30, len(channels)))
    depth = write_exr(tmp_path / "d.exr", pixels, channels)
    header_order = list(oiio.ImageInput.open(str(depth)).spec().channelnames)
    pixels[..., header_order.index(channels[wanted])] = 6.0
    depth = write_exr(tmp_path / "d.exr", pixels, header_order)
    assert (one_frame(depth=depth).depth(1001) == 6.0).all()


@pytest.mark.parametrize("name", ["A", "alpha", "mask.A", "mask"])
def test_mask_is_found_by_its_usual_names(one_frame, tmp_path, write_exr, name):
    pixels = np.zeros((20, 30, 2))
    pixels[..., sorted([name, "other"]).index(name)] = 0.5
    mask = write_exr(tmp_path / "m.exr", pixels, sorted([name, "other"]))
    assert (one_frame(mask=mask).mask(1001) == 0.5).all()


def test_a_named_channel_goes_before_the_usual_ones(one_frame, tmp_path, write_exr):
    pixels = np.stack([np.full((20, 30), 2.0), np.full((20, 30), 8.0)], -1)
    depth = write_exr(tmp_path / "d.exr", pixels, ["Z", "deep.far"])
    assert (one_frame(depth=depth, channels={"depth": ("deep.far",)}).depth(1001) == 8.0).all()


def test_when_no_channel_fits_the_error_lists_what_there_is(one_frame, tmp_path, write_exr):
    depth = write_exr(tmp_path / "d.exr", np.ones((20, 30, 2)), ["far", "near"])
    with pytest.raises(InputError) as refused:
        one_frame(depth=depth).depth(1001)
    assert "far, near" in refused.value.message and "--depth-channels" in refused.value.mend and refused.value.frame == 1001


def test_the_parts_of_blender_5_are_read_as_one_file(one_frame, tmp_path):
    path = str(tmp_path / "layers.exr")
    parts = [("ViewLayer.Combined", ("R", "G", "B", "A"), 0.5), ("ViewLayer.Depth", ("ViewLayer.Depth.Z",), 12.0)]
    parts.append(("ViewLayer.Vector", tuple("ViewLayer.Vector." + c for c in "XYZW"), -3.0))
    specs = []
    for name, channels, _ in parts:
        spec = oiio.ImageSpec(30, 20, len(channels), "float")
        spec.channelnames = channels
        spec.attribute("oiio:subimagename", name)
        specs.append(spec)
    file = oiio.ImageOutput.create(path)
    file.open(path, tuple(specs))
    for at, (spec, (_, channels, value)) in enumerate(zip(specs, parts)):
        if at:
            file.open(path, spec, "AppendSubimage")
        file.write_image(np.full((20, 30, len(channels)), value, np.float32))
    file.close()
    shot = one_frame(plate=tmp_path / "layers.exr", depth=tmp_path / "layers.exr", vectors=tmp_path / "layers.exr")
    assert (shot.plate(1001) == 0.5).all() and (shot.depth(1001) == 12.0).all() and (shot.vectors(1001) == -3.0).all()
    assert shot.vectors(1001).shape == (20, 30, 2)


def test_an_artists_guide_keeps_its_own_size_and_its_depth(one_frame, tmp_path, write_exr):
    pixels = np.full((8, 20, 5), 0.25)
    pixels[..., 4] = 1e10
    pixels[2, 3, 4] = 17.0
    picture = one_frame(guide=write_exr(tmp_path / "g.exr", pixels, ["R", "G", "B", "A", "Z"])).guide_image(1001)
    assert picture.rgba.shape == (8, 20, 4) and (picture.rgba == 0.25).all()
    assert picture.depth[2, 3] == 17.0 and np.isinf(picture.depth[:, 12:]).all() and (picture.depth[:, :12] == 17.0).all()
    assert one_frame(guide=np.zeros((8, 12, 4))).guide_image(1001).depth is None
    named = one_frame(guide=write_exr(tmp_path / "named.exr", pixels, ["R", "G", "B", "A", "depth.Z"])).guide_image(1001)
    assert np.array_equal(named.depth, picture.depth)
    assert picture.part == (0, 0, 1, 1)
    wider = write_exr(tmp_path / "wider.exr", np.ones((8, 20, 4)), "RGBA", data=(-4, -1), display=(0, 0, 10, 4))
    assert one_frame(guide=wider).guide_image(1001).part == (-0.4, -0.25, 1.6, 1.75)


def test_scrubbed_pixels_are_zero_in_the_plate_and_no_mask(one_frame):
    plate, mask = np.ones((20, 30, 3)), np.ones((20, 30))
    plate[3, 4, 1], mask[5, 6] = np.nan, np.inf
    shot = one_frame(ShotSettings(bad_pixels="scrub"), plate=plate, mask=mask)
    assert tuple(shot.plate(1001)[3, 4]) == (1.0, 0.0, 1.0) and shot.mask(1001)[5, 6] == 0.0


def test_where_vectors_say_nothing_they_are_nan_and_not_zero(one_frame, tmp_path, write_exr):
    """0 is a motion too: that of what goes along with the camera."""
    pixels = np.full((10, 30, 2), 3.0)
    pixels[4, 5, 0], pixels[4, 6, 1] = np.nan, np.inf
    vectors = write_exr(tmp_path / "v.exr", pixels, ("Vector.X", "Vector.Y"), data=(0, 10), display=(0, 0, 30, 20))
    said = np.isfinite(one_frame(ShotSettings(bad_pixels="scrub"), vectors=vectors).vectors(1001)).all(-1)
    assert not said[:10].any() and said[10:].sum() == 300 - 2


def test_only_a_few_frames_are_in_memory(make_shot):
    files = make_shot(width=32, height=24, frames=20)
    shot = Shot(files.request(), files.open_file)
    for frame in shot.request.frames:
        for read in (shot.plate, shot.depth, shot.mask, shot.vectors):
            read(frame)
    assert shot.held() <= 4 * KEPT


def test_a_pass_is_read_from_disk_once_while_there_is_room(make_shot, monkeypatch):
    files = make_shot(width=32, height=24, frames=6)
    shot, reads = Shot(files.request(), files.open_file), []
    real = images.read_channels
    monkeypatch.setattr(images, "read_channels", lambda *given: reads.append(given[2]) or real(*given))
    once = {frame: shot.depth(frame) for frame in shot.request.frames}
    different = {shot.file("depth", frame).sha256 for frame in once}  # a file that stands for many frames is read once for all
    assert all(np.array_equal(shot.depth(frame), z) for frame, z in once.items()) and len(reads) == len(different)
    assert shot.held_bytes() == len(different) * 32 * 24 * 4
    monkeypatch.setattr(shot_module, "HELD_BYTES", 2 * 32 * 24 * 4)
    for frame in shot.request.frames:
        shot.mask(frame)
        assert shot.held_bytes() <= 2 * 32 * 24 * 4
    assert np.array_equal(shot.depth(shot.request.frames.first), once[shot.request.frames.first])


def test_data_windows_that_move_lie_on_one_canvas(make_shot, write_exr):
    files = make_shot(width=32, height=24, frames=2)
    for at, (frame, path) in enumerate(sorted(files.paths["plate"].items())):
        write_exr(path, np.full((10, 12, 3), frame), "RGB", data=(at * 8, 3), display=(0, 0, 32, 24))
    shot = Shot(files.request(), files.open_file)
    assert (shot.window.x, shot.window.y, shot.window.width, shot.window.height) == (0, 0, 32, 24)
    assert shot.plate(1002)[3, 7, 0] == 0 and shot.plate(1002)[3, 8, 0] == 1002
    write_exr(files.paths["plate"][1002], np.full((10, 12, 3), 2.0), "RGB", data=(28, -3), display=(0, 0, 32, 24))
    shot = Shot(files.request(), files.open_file)
    assert (shot.window.x, shot.window.y, shot.window.width, shot.window.height) == (0, -3, 40, 27)


@pytest.mark.parametrize(
    "windows",
    [{"display": (0, 0, 10**6, 10**6)}, {"data": (10**6, 0), "display": (0, 0, 32, 24)}],
    ids=["a display window as large as the moon", "pixels as far as the moon"],
)
def test_a_canvas_that_no_picture_has_is_refused_before_memory_is_taken(make_shot, write_exr, windows):
    files = make_shot(width=32, height=24, frames=2)
    write_exr(files.paths["plate"][1002], np.ones((24, 32, 3)), "RGB", "half", **windows)
    with pytest.raises(InputError, match="more than this server takes") as refused:
        Shot(files.request(), files.open_file)
    assert (refused.value.input, refused.value.frame) == ("plate", 1002)


def test_the_light_is_read_where_the_plate_has_pixels(make_shot, write_exr):
    files = make_shot(width=32, height=24, frames=2)
    for path in files.paths["plate"].values():
        write_exr(path, np.full((12, 10, 3), 0.5), "RGB", "half", data=(12, 10), display=(0, 0, 32, 24))
    got = light.of_shot(Shot(files.request(), files.open_file))
    even = light.estimate([(np.full((12, 10, 3), 0.5, np.float32), np.full((12, 10), 9.0))])
    assert np.allclose([got.sun, got.sky], [even.sun, even.sky], rtol=1e-6)


@pytest.mark.parametrize("most", [None, 0, 1, 3])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97, 1.0])
def test_holes_are_filled_ring_by_ring_by_the_farthest_neighbour(share, most):
    random = np.random.default_rng(int(100 * share))
    z = random.uniform(1, 50, (17, 23)).astype(np.float32)
    z[random.random(z.shape) < 0.1] = np.inf
    holes = random.random(z.shape) < share
    known, wanted = ~holes, np.where(holes, np.inf, z)
    for _ in range(z.size if most is None else most):  # the plain way: every pixel looked at for every ring
        rim = [(y, x) for y, x in np.argwhere(~known) if known[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()]
        if not rim:
            break
        around = [np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] for y, x in rim]
        found = [wanted[near][known[near]].max() for near in around]
        for (y, x), value in zip(rim, found):
            wanted[y, x], known[y, x] = value, True
    assert np.array_equal(depths.filled(z, holes, most), wanted)


def test_one_over_z_is_told_from_metres():
    rows = np.linspace(1, 0, 40)[:, None] * np.ones((1, 50))
    metres = 3.0 + 60 * rows
    assert depths.looks_inverse((1 / metres).astype(np.float32))
    assert not depths.looks_inverse(metres.astype(np.float32))
    assert not depths.looks_inverse((metres / 100).astype(np.float32))  # a unit of its own, but farther is more


@pytest.mark.parametrize("table", ["stands before a black sky", "fills the picture"])
def test_a_table_top_in_metres_is_not_taken_for_one_over_z(table):
    rows = np.linspace(1, 0, 40)[:, None] * np.ones((1, 50))
    metres = (0.3 + 0.5 * rows).astype(np.float32)
    if "sky" in table:
        metres[:16] = 0
    assert not depths.looks_inverse(metres)
    inverse = np.where(metres > 0, 1 / np.maximum(metres * 10, 1e-3), 0).astype(np.float32)
    assert depths.looks_inverse(inverse)


@pytest.mark.parametrize("kind", ["z", "distance"])
def test_a_half_float_at_its_largest_is_sky(one_frame, tmp_path, write_exr, kind):
    pixels = np.full((20, 30, 1), 9.0)
    pixels[0, 0] = 65504.0
    depth = write_exr(tmp_path / "d.exr", pixels, ("Z",), "half")
    z = one_frame(ShotSettings(depth_kind=kind), depth=depth).depth(1001)
    assert np.isinf(z[0, 0]) and np.isinf(z).sum() == 1
    guide = write_exr(tmp_path / "g.exr", np.concatenate([np.ones((20, 30, 4)), pixels], -1), ("R", "G", "B", "A", "Z"), "half")
    assert one_frame(guide=guide).guide_image(1001).depth[0, 0] == 9.0  # nothing stands there: its neighbour's depth is spread over it


@pytest.mark.parametrize(
    ("far", "share", "between", "sky"),
    [
        (65504.0, 0.3, 0, True),
        (1e6, 0.3, 0, True),
        (1e6, 0.3, 0.01, True),  # a filtered edge between the sky and what stands before it
        (1e6, 0.3, 0.1, False),  # a landscape goes on up to there
        (1e6, 0.001, 0, False),  # a speck
        (900.0, 0.3, 0, False),  # a wall before which stands what is near
        (600.0, 0.7, 0, False),
        (9.0, 1.0, 0, False),
        (5000.0, 1.0, 0, False),  # a card, and nothing before it
    ],
)
def test_a_farthest_value_that_fills_the_background_is_sky(far, share, between, sky):
    z = np.linspace(5, 50, 10_000, dtype=np.float32)
    z[: int(share * 10_000)] = far
    z[int(share * 10_000) : int((share + between) * 10_000)] = np.linspace(0.3, 0.9, int(between * 10_000)) * far
    z = z.reshape(100, 100)
    assert (depths.far_end(z) == far) == sky
    got = depths.to_metres(z, "z", 1.0)[0]
    assert np.isinf(got).any() == sky and np.array_equal(np.isinf(got), (z == far) & sky)
    assert np.isinf(depths.to_metres(z, "distance", 1.0, np.full(z.shape, 0.9))[0]).any() == sky
    assert not np.isinf(depths.to_metres(z * 0.5 / far, "near_zero", 1.0)[0]).any()


def test_settings_that_do_not_fit_a_kind_are_not_used(one_frame):
    camera = Camera(frames=(CameraFrame(1001, IDENTITY),))
    shot = one_frame(ShotSettings(depth_kind="z"), camera)
    assert (shot.depth(1001) == 9.0).all()  # Z is not bent as a distance is
    assert dataclasses.asdict(shot.request.settings)["depth_kind"] == "z"
