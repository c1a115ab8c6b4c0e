# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one sentence with frame, input and mend, before any work is done."""

import dataclasses
import shutil

import numpy as np
import pytest
from platebridge.errors import InputError, StorageError
from platebridge.events import FileReady, Progress, Warned
from platebridge.frames import FrameRange
from platebridge.request import Camera, CameraFrame, FrameFile, Pass
from platebridge.takes import hash_file
from platebridge_server import checks, images
from platebridge_server.generate import generate
from platebridge_server.images import Window


def run(shot, request=None, scratch=None):
    """What a generation says before its first stage after the checks, or raises."""
    said = []
    scratch = scratch or shot.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    events = generate(request or shot.request(), shot.open_file, "c" * 32, scratch=scratch, device="cpu")
    for event in events:
        assert not isinstance(event, FileReady)
        if isinstance(event, Progress) and event.phase != "reading":
            break
        said.append(event)
    events.close()
    return said


def scrubbing(request):
    return dataclasses.replace(request, settings=dataclasses.replace(request.settings, bad_pixels="scrub"))


def kind_of(request, kind, scale=1.0):
    return dataclasses.replace(request, settings=dataclasses.replace(request.settings, depth_kind=kind, depth_scale=scale))


def edit(shot, write_exr, name, frame, change):
    """Changes the pixels of one frame, read by the shot's own maker's tool."""
    import OpenImageIO as oiio

    file = oiio.ImageInput.open(str(shot.paths[name][frame]))
    pixels, channels, kind = file.read_image("float"), list(file.spec().channelnames), str(file.spec().format)
    file.close()
    write_exr(shot.paths[name][frame], change(pixels), channels, kind)


def putting(value, rows=slice(10, 13), columns=slice(10, 12)):
    def change(pixels):
        pixels[rows, columns] = value
        return pixels

    return change


# What is done to the shot, which input and frame the sentence names, a word of what is wrong and a word of the mend.
FAULTS = {
    "missing frames": (lambda s, w: [s.paths["depth"].pop(f) for f in (1003, 1004, 1007)], "depth", 1003, "1003-1004, 1007", "shorten"),
    "no mask at all": (lambda s, w: s.paths["mask"].clear(), "mask", None, "no files", "OpenEXR"),
    "a mask of another size": (lambda s, w: edit(s, w, "mask", 1004, lambda p: p[:40]), "mask", 1004, "96x40", "plate's size"),
    "a plate that changes its size": (lambda s, w: edit(s, w, "plate", 1005, lambda p: p[:, :90]), "plate", 1005, "90x64", "size"),
    "a zero-byte frame": (lambda s, w: s.paths["depth"][1002].write_bytes(b""), "depth", 1002, "0 bytes", "again"),
    "a truncated frame": (
        lambda s, w: s.paths["plate"][1006].write_bytes(s.paths["plate"][1006].read_bytes()[:9000]),
        "plate",
        1006,
        "cut short",
        "again",
    ),
    "a PNG named exr": (lambda s, w: s.paths["plate"][1001].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50)), "plate", 1001, "PNG", "Convert"),
    "NaN in the plate": (lambda s, w: edit(s, w, "plate", 1003, putting(np.nan)), "plate", 1003, "6 pixels are NaN", "scrub"),
    "infinity in the mask": (lambda s, w: edit(s, w, "mask", 1002, putting(np.inf)), "mask", 1002, "infinite", "scrub"),
    "NaN in the depth": (lambda s, w: edit(s, w, "depth", 1004, putting(np.nan)), "depth", 1004, "NaN", "scrub"),
    "NaN in the vectors": (lambda s, w: edit(s, w, "vectors", 1004, putting(np.nan)), "vectors", 1004, "NaN", "scrub"),
    "a depth of zeros": (lambda s, w: edit(s, w, "depth", 1005, lambda p: p * 0), "depth", 1005, "zero everywhere", "depth pass"),
    "a depth of sky alone": (lambda s, w: edit(s, w, "depth", 1005, lambda p: p * 0 + 1e10), "depth", 1005, "sky everywhere", "depth pass"),
    "a depth along the camera's own z": (
        lambda s, w: edit(s, w, "depth", 1005, lambda p: np.where(p > 1e9, 0, -p)),
        "depth",
        1005,
        "below 0",
        "sign",
    ),
    "an empty mask": (
        lambda s, w: [edit(s, w, "mask", f, lambda p: p * 0) for f in s.paths["mask"]],
        "mask",
        1001,
        "empty in every frame",
        "Paint",
    ),
    "a mask on the sky": (
        lambda s, w: [edit(s, w, "mask", f, lambda p: putting(1.0, slice(0, 5))(p * 0)) for f in s.paths["mask"]],
        "mask",
        1001,
        "sky",
        "depth",
    ),
    "a mask nowhere above a half": (
        lambda s, w: [edit(s, w, "mask", f, lambda p: p * 0.5) for f in s.paths["mask"]],
        "mask",
        1001,
        "nowhere above 0.5",
        "at 1",
    ),
    "1/Z called Z": (
        lambda s, w: [edit(s, w, "depth", f, lambda p: np.where(p > 1e9, 0, 1 / p)) for f in s.paths["depth"]],
        "depth",
        1001,
        "1/Z",
        "inverse",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_with_input_frame_and_mend(tiny_shot, write_exr, fault):
    make, name, frame, wrong, mend = FAULTS[fault]
    make(tiny_shot, write_exr)
    request = tiny_shot.request()
    with pytest.raises(InputError) as refused:
        run(tiny_shot, request)
    said = refused.value
    assert (said.input, said.frame) == (name, frame)
    assert wrong in said.message and mend in said.mend
    assert str(said).count(". ") <= 1 and "\n" not in str(said)


def test_a_mask_with_no_pass_says_how_a_plate_too_small_is_refused(make_shot):
    with pytest.raises(InputError, match="smallest is 16x16"):
        run(make_shot(width=12, height=24, frames=2))


def test_a_plate_cropped_to_next_to_nothing_is_as_large_as_its_display_window(tiny_shot, write_exr):
    write_exr(tiny_shot.paths["plate"][1001], np.zeros((1, 1, 3)), "RGB", "half", (40, 20), (0, 0, 96, 64))
    assert [e.input for e in run(tiny_shot) if isinstance(e, Warned)] == ["camera"]


def test_a_mask_all_over_the_picture_is_asked_about(tiny_shot, write_exr):
    """So is the alpha of a mask that was written as a picture."""
    for frame in tiny_shot.paths["mask"]:
        write_exr(tiny_shot.paths["mask"][frame], np.ones((64, 96, 4)), "RGBA")
    said = [(e.frame, e.message) for e in run(tiny_shot) if isinstance(e, Warned) and e.input == "mask"]
    assert [frame for frame, _ in said] == [1001] and "--mask-channel" in said[0][1]


def test_a_mask_that_is_gone_for_a_while_is_told(tiny_shot, write_exr):
    """What it shows again counts as new, and a building that stands throws out dust."""
    for frame in (1001, 1004, 1005, 1008):  # before the first and after the last it has not begun, or is over
        edit(tiny_shot, write_exr, "mask", frame, lambda p: p * 0.3)
    said = [(e.frame, e.message) for e in run(tiny_shot) if isinstance(e, Warned) and e.input == "mask"]
    assert [frame for frame, _ in said] == [1004] and "empty in frames 1004-1005," in said[0][1]


def test_a_mask_that_leaves_any_of_the_picture_out_is_not_asked_about(tiny_shot, write_exr):
    frames = tiny_shot.paths["mask"]
    frames.update(dict.fromkeys(list(frames)[:-1], write_exr(tiny_shot.folder / "all.exr", np.ones((64, 96, 1)), "A")))
    assert not [e for e in run(tiny_shot) if isinstance(e, Warned) and e.input == "mask"]


@pytest.mark.parametrize("name", ["plate", "depth", "mask", "vectors"])
def test_bad_pixels_are_scrubbed_with_a_warning_that_names_the_frames(tiny_shot, write_exr, name):
    for frame in (1005, 1006, 1008):
        edit(tiny_shot, write_exr, name, frame, putting(np.nan))
    warned = [e for e in run(tiny_shot, scrubbing(tiny_shot.request())) if isinstance(e, Warned) and "NaN" in e.message]
    assert [(e.input, e.frame) for e in warned] == [(name, 1005)]
    assert "1005-1006, 1008" in warned[0].message


def test_a_vector_that_is_not_finite_is_told_as_standing_still(tiny_shot, write_exr):
    edit(tiny_shot, write_exr, "vectors", 1004, putting(np.nan))
    said = [e.message for e in run(tiny_shot, scrubbing(tiny_shot.request())) if isinstance(e, Warned) and e.input == "vectors"]
    assert said == ["NaN or infinite pixels in frame 1004 were taken as standing still."]


def test_vectors_of_a_pass_that_was_not_rendered_are_told(tiny_shot, write_exr):
    """Nothing moves by them, so no dust would be born."""
    for frame in tiny_shot.paths["vectors"]:
        edit(tiny_shot, write_exr, "vectors", frame, lambda p: p * 0)
    said = [(e.frame, e.message) for e in run(tiny_shot) if isinstance(e, Warned) and e.input == "vectors"]
    assert [frame for frame, _ in said] == [1001] and "leave them out" in said[0][1]


def test_a_faint_mask_is_enough_beside_an_own_guide(tiny_shot, write_exr):
    for frame in tiny_shot.paths["mask"]:
        edit(tiny_shot, write_exr, "mask", frame, lambda p: p * 0.5)
    assert run(tiny_shot, with_guide(tiny_shot, write_exr, "RGBA"))


def with_guide(shot, write_exr, channels):
    """The shot's request with a guide of these channels, another one in each frame."""
    for frame in shot.paths["plate"]:
        path = write_exr(shot.folder / ("guide.%d.exr" % frame), np.full((16, 24, len(channels)), frame / 2000), channels)
        shot.paths.setdefault("guide", {})[frame] = path
    files = []
    for frame, path in shot.paths["guide"].items():
        shot.by_hash[hash_file(path)] = path
        files.append(FrameFile(frame, hash_file(path), path.stat().st_size))
    request = shot.request()
    return dataclasses.replace(request, inputs=dataclasses.replace(request.inputs, guide=Pass("guide", (), tuple(files))))


def test_a_guide_without_depth_is_told_to_be_held_out_by_nothing(tiny_shot, write_exr):
    def said(channels):
        told = run(tiny_shot, with_guide(tiny_shot, write_exr, channels))
        return [(e.message, e.frame) for e in told if isinstance(e, Warned) and e.input == "guide"]

    assert said(("R", "G", "B", "A")) == [("The guide has no Z in frames 1001-1008: nothing in the plate holds it out.", 1001)]
    assert said(("R", "G", "B", "A", "depth.Z")) == []


def test_channels_of_the_plate_in_different_parts_are_refused(tiny_shot, tmp_path):
    two = [images.new_part({c: np.ones((64, 96), np.float16)}, Window(0, 0, 96, 64), Window(0, 0, 96, 64)) for c in ("ao.R", "G")]
    two[1].samples["B"] = two[1].samples["G"]
    for at, (part, name) in enumerate(zip(two, ("ao", "beauty"))):
        part.header = dataclasses.replace(part.header, index=at, name=name)
    for path in tiny_shot.paths["plate"].values():
        path.write_bytes(images.encode(two))
    request = tiny_shot.request()
    named = dataclasses.replace(request.inputs.plate, channels=("ao.R", "G", "B"))
    with pytest.raises(InputError, match="different parts"):
        run(tiny_shot, dataclasses.replace(request, inputs=dataclasses.replace(request.inputs, plate=named)))


def test_a_sky_cut_off_at_the_far_clip_is_taken_with_a_warning(tiny_shot, write_exr):
    for frame in tiny_shot.paths["depth"]:
        edit(tiny_shot, write_exr, "depth", frame, lambda p: np.where(p > 1e9, 1e6, p))
    said = [e.message for e in run(tiny_shot) if isinstance(e, Warned) and e.input == "depth"]
    assert said == ["The farthest depth, 1e+06 in frames 1001, 1004-1008, lies far beyond all else and was taken as sky."]


def test_a_table_top_in_metres_before_a_sky_of_zero_is_asked_about_and_goes_on(tiny_shot, write_exr):
    for frame in tiny_shot.paths["depth"]:
        edit(tiny_shot, write_exr, "depth", frame, lambda p: np.where(p > 1e9, 0, p / 40))
    said = [e.message for e in run(tiny_shot) if isinstance(e, Warned) and e.input == "depth"]
    assert any("nearer than 1 m" in message and "--depth-kind" in message for message in said)


def test_sky_as_zero_is_taken_with_a_warning(tiny_shot, write_exr):
    for frame in tiny_shot.paths["depth"]:
        edit(tiny_shot, write_exr, "depth", frame, lambda p: np.where(p > 1e9, 0, p))
    assert any(e.input == "depth" and "taken as sky" in e.message for e in run(tiny_shot) if isinstance(e, Warned))


def test_holes_are_filled_with_a_warning(tiny_shot, write_exr):
    edit(tiny_shot, write_exr, "depth", 1004, putting(-1.0))
    assert any((e.input, e.frame) == ("depth", 1004) and "Holes" in e.message for e in run(tiny_shot) if isinstance(e, Warned))


def test_a_depth_in_kilometres_is_asked_about(tiny_shot, write_exr):
    for frame in tiny_shot.paths["depth"]:
        edit(tiny_shot, write_exr, "depth", frame, lambda p: np.where(p > 1e9, p, p / 1000))
    assert any("--depth-scale" in e.message for e in run(tiny_shot) if isinstance(e, Warned))


def test_one_over_z_said_so_is_taken_without_a_word(tiny_shot, write_exr):
    for frame in tiny_shot.paths["depth"]:
        edit(tiny_shot, write_exr, "depth", frame, lambda p: np.where(p > 1e9, 0, 1 / p))
    assert not [e for e in run(tiny_shot, kind_of(tiny_shot.request(), "inverse")) if isinstance(e, Warned) and e.input == "depth"]


def test_a_good_shot_without_a_camera_is_told_of_the_stand_in_alone(tiny_shot):
    assert [e.input for e in run(tiny_shot) if isinstance(e, Warned)] == ["camera"]


@pytest.mark.parametrize(
    "frames, said",
    [(range(1001, 1009, 2), "frames 1002, 1004, 1006, 1008"), (range(1, 9), "frames 1001-1008"), ([1], ""), (range(990, 1010), "")],
)
def test_frames_that_a_moving_camera_leaves_out_are_told(tiny_shot, frames, said):
    """Held for two frames, a camera that moves sets everything that stands still in motion."""
    still = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    camera = Camera(up=(0.0, 1.0, 0.0), frames=tuple(CameraFrame(frame, still) for frame in frames))
    told = [e.message for e in run(tiny_shot, dataclasses.replace(tiny_shot.request(), camera=camera)) if isinstance(e, Warned)]
    assert len(told) == bool(said) and all(said + "," in message for message in told)


def test_no_room_on_the_disk_is_said_before_work(tiny_shot, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 4096, 4096))
    with pytest.raises(StorageError) as refused:
        run(tiny_shot)
    assert "4 kB free" in refused.value.message and "space" in refused.value.mend


def test_a_missing_frame_is_found_without_reading_a_file(tiny_shot):
    request = dataclasses.replace(tiny_shot.request(), frames=FrameRange(1001, 1020))
    with pytest.raises(InputError, match="12 frames are missing from the sequence: 1009-1020"):
        checks.check_request(request)


def test_a_file_for_all_frames_is_read_once(tiny_shot, monkeypatch):
    for name in ("depth", "mask"):
        tiny_shot.paths[name] = dict.fromkeys(tiny_shot.paths[name], tiny_shot.paths[name][1001])
    request = tiny_shot.request()
    opened = []
    for event in generate(
        request, lambda sha: opened.append(sha) or tiny_shot.open_file(sha), "c" * 32, scratch=tiny_shot.folder, device="cpu"
    ):
        if isinstance(event, Progress) and event.phase == "guide":
            break
    counts = {name: opened.count(getattr(request.inputs, name).at(1001).sha256) for name in ("plate", "depth")}
    assert counts["depth"] <= counts["plate"] + len(request.frames)
