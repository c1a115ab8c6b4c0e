# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""A shot from plate to take, read back with OpenImageIO: exact outside the dust, held out, labelled, the same every time.

The guide, the light and the files are the real ones. The model is a stand-in of a few lines, because what is tested here
must hold for every model; test_generate_dust.py goes the way once with the real network.
"""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import threading

import numpy as np
import pytest
from platebridge.errors import Cancelled, ModelError, StorageError
from platebridge.events import Done, FileReady, Preview, Progress, Started, Warned
from platebridge.request import Camera, CameraFrame
from platebridge_server.generate import _Generation, generate
from platebridge_server.guide.guide import Guide
from platebridge_server.models import registry
from platebridge_server.models.base import Passes
from stand_in import TAKE, StandIn, make, pixels, scratch, shot, stand_in  # noqa: F401

URIS = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture(scope="module")
def whole(shot, tmp_path_factory):
    """One undisturbed run, for every test that only reads: (events, {name: bytes}, folder with the files)."""
    folder = tmp_path_factory.mktemp("take")
    registry._MODELS["dust"], real = StandIn, registry._MODELS["dust"]
    try:
        scratch = tmp_path_factory.mktemp("whole") / "scratch"
        scratch.mkdir()
        events = list(generate(shot.request(), shot.open_file, TAKE, scratch=scratch, device="cpu", origin={"application": "test"}))
    finally:
        registry._MODELS["dust"] = real
    files = {e.name: e.data for e in events if isinstance(e, FileReady)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return events, files, folder


def on_disk(files, folder):
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_events_come_in_order_and_end_with_the_take(whole):
    events, _, _ = whole
    assert isinstance(events[0], Started) and isinstance(events[-1], Done)
    files = [e for e in events if isinstance(e, FileReady)]
    wanted = [(kind, frame) for frame in range(1001, 1009) for kind in ("comp", "effect", "guide")] + [("preview", None), ("take", None)]
    assert [(e.kind, e.frame) for e in files] == wanted
    assert all(hashlib.sha256(e.data).hexdigest() == e.sha256 for e in files)
    assert [p for p in dict.fromkeys(e.phase for e in events if isinstance(e, Progress))][:2] == ["reading", "guide"]


def test_a_frame_goes_out_before_the_next_is_generated(shot, scratch):
    for event in generate(shot.request(), shot.open_file, TAKE, scratch=scratch, device="cpu"):
        if isinstance(event, FileReady) and StandIn.asked:
            assert event.frame is None or event.frame == StandIn.asked[-1]


def test_nothing_is_generated_before_the_collapse_begins(whole):
    effect, _ = pixels(whole[2] / "effect.1001.exr")
    assert not any(effect[c].any() for c in set(effect) - {"Z"}) and np.isinf(effect["Z"]).all()
    assert pixels(whole[2] / "effect.1008.exr")[0]["A"].max() > 0.1


@pytest.mark.parametrize("frame", [1001, 1005, 1008])
def test_outside_the_effect_comp_is_plate_bit_for_bit_in_its_own_type(shot, whole, frame):
    plate, before = pixels(shot.paths["plate"][frame])
    comp, after = pixels(whole[2] / ("comp.%d.exr" % frame))
    effect, _ = pixels(whole[2] / ("effect.%d.exr" % frame))
    clear = effect["A"] == 0
    assert clear.any() and str(after.format) == str(before.format) == "half"
    for c in "RGB":
        assert (comp[c].view(np.uint16)[clear] == plate[c].view(np.uint16)[clear]).all()
    assert max(plate["B"][clear]) > 6 and min(plate["B"][clear]) < 0  # above 1 and below 0: both were there to lose


def test_effect_over_plate_is_comp_from_the_files_alone(shot, whole):
    plate, _ = pixels(shot.paths["plate"][1008])
    comp, _ = pixels(whole[2] / "comp.1008.exr")
    effect, _ = pixels(whole[2] / "effect.1008.exr")
    a = effect["A"].astype(np.float32)
    assert (a > 0.1).sum() > 50
    for c in "RGB":
        assert (comp[c] == (effect[c].astype(np.float32) + (1 - a) * plate[c].astype(np.float32)).astype(np.float16)).all()


def test_what_stands_in_front_holds_the_dust_out(shot, whole):
    for frame in shot.paths["depth"]:
        depth = pixels(shot.paths["depth"][frame])[0]["Z"]
        effect, _ = pixels(whole[2] / ("effect.%d.exr" % frame))
        assert not (effect["A"][depth < effect["Z"]] > 0).any()
        assert not effect["A"][shot.post()].any()
    left, right = shot.post()[1].start - 3, shot.post()[1].stop + 3
    last = pixels(whole[2] / "effect.1008.exr")[0]["A"]
    assert last[:, left].max() > 0.02 and last[:, right].max() > 0.02  # there was dust on both sides to be held out


def test_effect_is_premultiplied_half_with_a_float_depth(whole):
    effect, spec = pixels(whole[2] / "effect.1008.exr")
    assert {n: str(k) for n, k in zip(spec.channelnames, spec.channelformats)} == {
        "R": "half",
        "G": "half",
        "B": "half",
        "A": "half",
        "Z": "float",
        "ambient.Y": "half",
        "shadow": "half",
        "sun.Y": "half",
    }
    there = effect["A"] > 0
    assert not any(effect[c][~there].any() for c in "RGB") and np.isfinite(effect["Z"][there]).all()


@pytest.mark.parametrize(
    ("kind", "term"),
    [("comp", "compositeWithTrainedAlgorithmicMedia"), ("effect", "trainedAlgorithmicMedia"), ("guide", "algorithmicMedia")],
)
def test_every_header_says_what_the_file_is(shot, whole, kind, term):
    for frame in shot.paths["plate"]:
        spec = pixels(whole[2] / ("%s.%d.exr" % (kind, frame)))[1]
        said = {p.name: p.value for p in spec.extra_attribs}
        assert said["Iptc4xmpExt:DigitalSourceType"] == URIS + term
        assert ">%s<" % (URIS + term) in said["xmp"]
        assert (said["platebridge:take"], said["platebridge:request"]) == (TAKE, shot.request().hash())
        if kind != "guide":
            assert (said["platebridge:model"], said["platebridge:weights"]) == ("dust", "5" * 64)


def test_take_json_holds_request_card_and_the_hash_of_every_file(shot, whole):
    _, files, _ = whole
    told = json.loads(files["take.json"])
    assert told["request"] == json.loads(json.dumps(shot.request().to_dict())) and told["request_hash"] == shot.request().hash()
    assert told["model"] == StandIn().card() and told["weights_sha256"] == "5" * 64
    assert {n: f["sha256"] for n, f in told["files"].items()} == {
        n: hashlib.sha256(d).hexdigest() for n, d in files.items() if n != "take.json"
    }
    assert all(told["files"][n]["size"] == len(d) for n, d in files.items() if n != "take.json")
    assert (told["take_id"], told["shot"], told["frames"]) == (TAKE, "tiny", {"first": 1001, "last": 1008})
    assert (
        told["origin"] == {"application": "test"} and told["digital_source_type"]["comp"] == URIS + "compositeWithTrainedAlgorithmicMedia"
    )
    assert [w["input"] for w in told["warnings"]] == ["camera"] and told["software"]["torch"] and told["seconds"]["guide"] > 0


def test_the_plates_header_is_kept(make, make_shot, write_exr):
    files = make_shot(width=32, height=24, frames=2, plate_type="float")
    for path in files.paths["plate"].values():
        plate, _ = pixels(path)
        rgba = np.stack([plate["R"], plate["G"], plate["B"], np.ones((24, 32)), np.full((24, 32), 3)], -1)
        write_exr(
            path,
            rgba,
            ["R", "G", "B", "A", "spec.X"],
            "float",
            attributes={"Artist": "somebody", "compression": "piz", "DateTime": "2026:01:02 03:04:05"},
        )
    _, out = make(files)
    (files.folder / "comp.exr").write_bytes(out["comp.1002.exr"])
    comp, after = pixels(files.folder / "comp.exr")
    plate, before = pixels(files.paths["plate"][1002])
    ours = ("platebridge:", "Iptc4xmpExt:", "xmp")
    old, new = ({p.name: p.value for p in s.extra_attribs if not p.name.startswith(ours)} for s in (before, after))
    assert new == old and (after.nchannels, str(after.format)) == (5, "float")
    assert (comp["spec.X"] == plate["spec.X"]).all() and (comp["A"] == 1).all()


def test_overscan_and_odd_sizes_come_back_in_the_plates_own_windows(make, make_shot, write_exr):
    files = make_shot(width=51, height=37, frames=7)
    for path in files.paths["plate"].values():
        plate, _ = pixels(path)
        wide = np.pad(np.stack([plate[c] for c in "RGB"], -1), ((2, 3), (5, 4), (0, 0)), mode="edge")
        write_exr(path, wide, "RGB", "half", data=(-5, -2), display=(0, 0, 51, 37))
    _, out = make(files)
    folder = on_disk(out, files.folder / "take")
    for frame in files.paths["plate"]:
        plate, _ = pixels(files.paths["plate"][frame])
        comp, after = pixels(folder / ("comp.%d.exr" % frame))
        effect, layer = pixels(folder / ("effect.%d.exr" % frame))
        for spec in (after, layer):
            assert [getattr(spec, n) for n in ("x", "y", "width", "height", "full_width", "full_height")] == [-5, -2, 60, 42, 51, 37]
        clear = effect["A"] == 0
        assert (comp["G"].view(np.uint16)[clear] == plate["G"].view(np.uint16)[clear]).all()
    depth = pixels(files.paths["depth"][1007])[0]["Z"]
    inside = {c: a[2:39, 5:56] for c, a in effect.items()}
    assert inside["A"].max() > 0.02 and not (inside["A"][depth < inside["Z"]] > 0).any()


def test_the_same_request_gives_the_same_bytes(shot, make, whole):
    _, again = make(shot)
    assert {n: d for n, d in again.items() if n != "take.json"} == {n: d for n, d in whole[1].items() if n != "take.json"}


def test_another_take_of_it_differs_in_its_label_alone(shot, make, whole, tmp_path):
    _, again = make(shot, take_id="8" * 32)
    folder = on_disk(again, tmp_path / "again")
    for name in ("comp.1008.exr", "effect.1008.exr"):
        assert again[name] != whole[1][name]
        ours, theirs = pixels(folder / name)[0], pixels(whole[2] / name)[0]
        assert all((ours[c] == theirs[c]).all() for c in theirs)


def test_another_seed_gives_other_detail_over_the_same_guide(shot, make, whole, tmp_path):
    _, again = make(shot, shot.request(seed=8))
    folder = on_disk(again, tmp_path / "again")
    ours, theirs = (pixels(f / "guide.1008.exr")[0] for f in (folder, whole[2]))
    assert all((ours[c] == theirs[c]).all() for c in theirs)
    assert (pixels(folder / "effect.1008.exr")[0]["A"] != pixels(whole[2] / "effect.1008.exr")[0]["A"]).any()


@pytest.mark.parametrize("stopped_after", ["guide.1001.exr", "comp.1006.exr", "guide.1008.exr", "preview.mp4"])
def test_gone_on_with_it_makes_only_what_is_missing_and_the_same(shot, make, whole, tmp_path, stopped_after):
    scratch, have = tmp_path / "scratch", {}
    scratch.mkdir()
    events = generate(shot.request(), shot.open_file, TAKE, scratch=scratch, device="cpu")
    for event in events:
        if isinstance(event, FileReady):
            have[event.name] = event.sha256
            if event.name == stopped_after:
                events.close()
                break
    StandIn.asked = []
    _, files = make(shot, scratch=scratch, have=have)
    assert not set(files) & set(have)
    for name in set(files) - {"take.json", "preview.mp4"}:
        assert files[name] == whole[1][name]
    assert set(files) | set(have) == set(whole[1])
    told = json.loads(files["take.json"])["files"]
    assert told == json.loads(whole[1]["take.json"])["files"]
    finished = {int(n.split(".")[1]) for n in have if n.startswith("guide.")}
    assert not finished & set(StandIn.asked)


def test_without_its_scratch_folder_a_take_is_gone_on_with_all_the_same(shot, make, whole):
    have = {n: hashlib.sha256(d).hexdigest() for n, d in whole[1].items() if "100" in n and int(n.split(".")[1]) < 1006}
    events, files = make(shot, have=have)
    assert all(files[n] == whole[1][n] for n in files if n.endswith(".exr"))
    told = json.loads(files["take.json"])["files"]
    assert {n: f["sha256"] for n, f in told.items() if n.endswith(".exr")} == {
        n: hashlib.sha256(d).hexdigest() for n, d in whole[1].items() if n.endswith(".exr")
    }
    assert any("preview" in e.message for e in events if isinstance(e, Warned))


def test_cancelled_it_ends_at_the_next_call_and_the_next_job_is_as_on_a_fresh_server(shot, make, whole, scratch):
    stop, came = threading.Event(), []
    with pytest.raises(Cancelled):
        for event in generate(shot.request(), shot.open_file, "9" * 32, scratch=scratch, device="cpu", cancelled=stop.is_set):
            came += [event.name] if isinstance(event, FileReady) else []
            if isinstance(event, Progress) and event.phase == "generating" and event.done == 2:
                stop.set()
    assert len(StandIn.asked) == 2 and "comp.1001.exr" in came
    _, files = make(shot)
    assert {n: d for n, d in files.items() if n.endswith(".exr")} == {n: d for n, d in whole[1].items() if n.endswith(".exr")}


@pytest.mark.parametrize("phase", ["reading", "guide"])
def test_cancelled_before_the_model_it_ends_there(shot, scratch, phase):
    stop = threading.Event()
    with pytest.raises(Cancelled):
        for event in generate(shot.request(), shot.open_file, TAKE, scratch=scratch, device="cpu", cancelled=stop.is_set):
            if isinstance(event, Progress) and event.phase == phase and event.done == 1:
                stop.set()
    assert not StandIn.asked


def test_colour_can_be_made_again_from_the_passes_in_the_file(whole):
    for kind in ("effect", "guide"):
        layer, spec = pixels(whole[2] / ("%s.1008.exr" % kind))
        sun, sky = (np.array(spec.get_string_attribute("platebridge:" + n).split(), np.float64) for n in ("sun", "sky"))
        assert json.loads(whole[1]["take.json"])["light"] == {"sun": sun.tolist(), "sky": sky.tolist()}
        assert (layer["sun.Y"] > 0.05).any() and (layer["ambient.Y"] > 0.05).any()
        for i, c in enumerate("RGB"):
            again = sun[i] * layer["sun.Y"].astype(np.float64) + sky[i] * layer["ambient.Y"].astype(np.float64)
            assert (np.abs(again - layer[c]) <= np.spacing(layer[c]).astype(np.float64) / 2 * 1.001).all()


def test_an_amount_that_grows_over_the_shot_shows_in_the_effect_and_names_its_curve_in_the_take(shot, make, tmp_path):
    seen = {}
    for name, amount in (("still", 2.0), ("grown", "1003:0,1008:2")):
        files = make(shot, shot.request(amount=amount, debris=0))[1]
        for frame in (1005, 1008):
            (tmp_path / "e.exr").write_bytes(files["effect.%d.exr" % frame])
            seen[name, frame] = float(pixels(tmp_path / "e.exr")[0]["A"].mean())
    assert 0 < seen["grown", 1005] / seen["still", 1005] < 0.7 * seen["grown", 1008] / seen["still", 1008]
    assert json.loads(files["take.json"])["request"]["animated"] == [{"dial": "amount", "keys": [[1001, 0.0], [1003, 0.0], [1008, 2.0]]}]


def test_the_shadow_has_the_finished_dusts_holes(make, make_shot, monkeypatch):
    files = make_shot(frames=8)
    plain = make(files, files.request(shadow=1.0, density=4.0))[1]
    bored = StandIn.generate

    def with_no_left_half(self, guide, frames, size, *more):
        for frame, passes in bored(self, guide, frames, size, *more):
            there = (np.arange(size[1]) > size[1] // 2).astype(np.float32)
            yield frame, Passes(passes.sun * there, passes.ambient * there, passes.alpha * there)

    monkeypatch.setattr(StandIn, "generate", with_no_left_half)
    half = make(files, files.request(shadow=1.0, density=4.0))[1]
    whole_shadow, cut_shadow = (
        pixels(on_disk(out, files.folder / name) / "effect.1008.exr")[0]["shadow"].astype(float)
        for out, name in ((plain, "plain"), (half, "half"))
    )
    assert whole_shadow.sum() > 1 and cut_shadow.sum() < 0.8 * whole_shadow.sum() and (cut_shadow > 0).any()


def test_one_frame_has_nothing_that_moves_and_says_so(make, make_shot):
    events, files = make(make_shot(width=32, height=24, frames=1))
    assert {"comp.1001.exr", "effect.1001.exr", "take.json"} <= set(files)
    assert reasons(events) == ["One frame shows no motion, so no dust is born: the effect is empty."]


def reasons(events):
    """What is said of an effect with nothing in it."""
    return [e.message for e in events if isinstance(e, Warned) and "No camera" not in e.message]


def test_a_start_frame_after_the_last_is_named_where_no_dust_is(make, make_shot):
    files = make_shot(width=32, height=24, frames=3)
    assert reasons(make(files, files.request(start_frame=1004))[0]) == [
        "The start frame 1004 lies after the last frame, so no dust is born: the effect is empty in every frame."
    ]


def test_a_kept_cloud_that_the_camera_does_not_see_is_named_so(shot, make, scratch):
    made = json.loads(make(shot, scratch=scratch)[1]["take.json"])["simulation"]
    away = Camera(frames=(CameraFrame(1001, ((1.0, 0, 0, 0), (0, 0, 1.0, 0), (0, -1.0, 0, 0), (0, 0, 0, 1.0))),))
    request = dataclasses.replace(shot.request(), simulation=made, camera=away)
    assert reasons(make(shot, request, scratch=scratch)[0]) == ["The cloud of the simulation is never in this camera's picture."]


def test_where_the_dust_has_left_the_picture_its_shadow_stays(make, make_shot, monkeypatch):
    files = make_shot(frames=8)
    request = files.request(shadow=1.0, density=4.0)
    whole = on_disk(make(files, request)[1], files.folder / "whole")
    seen = Guide.empty
    monkeypatch.setattr(Guide, "empty", lambda self, frame: frame != 1006 or seen(self, frame))
    left = on_disk(make(files, request)[1], files.folder / "left")
    for frame in (1005, 1007, 1008):  # before the first with dust in it, and after the last
        effect, comp = (pixels(left / ("%s.%d.exr" % (kind, frame)))[0] for kind in ("effect", "comp"))
        plate, was = pixels(files.paths["plate"][frame])[0], pixels(whole / ("effect.%d.exr" % frame))[0]["shadow"].astype(float)
        assert not effect["A"].any() and effect["shadow"].sum() == pytest.approx(was.sum(), rel=0.2) and was.sum() > 0
        lit = 1 - effect["shadow"].astype(np.float32)
        assert all((comp[c] == (plate[c].astype(np.float32) * lit).astype(np.float16)).all() for c in "RGB")
    assert not pixels(left / "effect.1001.exr")[0]["shadow"].any()  # nothing is in the air yet


def test_the_dust_goes_beyond_a_plate_that_was_cropped_and_the_comp_keeps_its_window(make, make_shot, write_exr):
    files = make_shot(frames=8)
    whole = on_disk(make(files)[1], files.folder / "whole")
    for path in files.paths["plate"].values():
        plate, _ = pixels(path)
        write_exr(path, np.stack([plate[c] for c in "RGB"], -1)[12:40, 36:56], "RGB", "half", data=(36, 12), display=(0, 0, 96, 64))
    events, out = make(files)
    cropped = on_disk(out, files.folder / "cropped")
    (effect, layer), (was, _) = (pixels(folder / "effect.1008.exr") for folder in (cropped, whole))
    assert (layer.x, layer.y, layer.width, layer.height) == (0, 0, 96, 64)
    assert (effect["A"] == was["A"]).all() and effect["A"][:, :36].any()
    after = pixels(cropped / "comp.1008.exr")[1]
    assert (after.x, after.y, after.width, after.height, after.full_width) == (36, 12, 20, 28, 96)
    assert [e.message for e in events if isinstance(e, Warned) and e.input == "plate"] == [
        "The dust goes beyond the plate's data window, and there the comp has no pixels; the effect is whole."
    ]


def test_sixteen_pixels_are_enough(make, make_shot):
    _, files = make(make_shot(width=16, height=16, frames=6))
    assert len([n for n in files if n.startswith("comp")]) == 6


def test_a_shadow_darkens_the_plate_and_has_a_channel_of_its_own(make, make_shot):
    files = make_shot(frames=7)
    _, out = make(files, files.request(shadow=1.0))
    folder = on_disk(out, files.folder / "take")
    effect, _ = pixels(folder / "effect.1007.exr")
    comp, plate = pixels(folder / "comp.1007.exr")[0], pixels(files.paths["plate"][1007])[0]
    alone = (effect["shadow"] > 0.05) & (effect["A"] == 0)
    assert alone.any() and not effect["R"][alone].any()
    assert (comp["R"][alone] < plate["R"][alone])[plate["R"][alone] > 0.05].all()
    a, lit = effect["A"].astype(np.float32), 1 - effect["shadow"].astype(np.float32)
    for c in "RGB":
        assert (comp[c] == (effect[c].astype(np.float32) + (1 - a) * (plate[c].astype(np.float32) * lit)).astype(np.float16)).all()
    clear = (effect["A"] == 0) & (effect["shadow"] == 0)
    assert clear.any() and all((comp[c].view(np.uint16)[clear] == plate[c].view(np.uint16)[clear]).all() for c in "RGB")
    depth = pixels(files.paths["depth"][1007])[0]["Z"]
    assert not (effect["A"][depth < effect["Z"]] > 0).any()


def test_files_that_were_not_asked_for_are_not_made(make, make_shot):
    files = make_shot(width=32, height=24, frames=3)
    request = files.request()
    _, out = make(files, dataclasses.replace(request, output=dataclasses.replace(request.output, guide=False, preview=False)))
    assert set(out) == {"%s.%d.exr" % (k, f) for k in ("comp", "effect") for f in (1001, 1002, 1003)} | {"take.json"}


def test_an_unknown_model_is_refused_with_those_there_are(shot, make):
    request = shot.request()
    with pytest.raises(ModelError, match="dust"):
        make(shot, dataclasses.replace(request, model=dataclasses.replace(request.model, name="mist")))


def test_previews_are_small_pictures_and_the_movie_has_every_frame(whole):
    av = pytest.importorskip("av")
    events, _, folder = whole
    glances = [e for e in events if isinstance(e, Preview)]
    assert [e.frame for e in glances] == list(range(1001, 1009)) and all(e.png.startswith(b"\x89PNG") for e in glances)
    with av.open(str(folder / "preview.mp4")) as movie:
        assert sum(1 for _ in movie.decode(video=0)) == 8
        assert float(movie.streams.video[0].average_rate) == 24.0


@pytest.mark.parametrize("where", ["numpy.save", "platebridge_server.take.preview_mp4", "platebridge_server.journal.Journal.add"])
def test_a_full_disk_where_the_work_is_kept_is_a_sentence(shot, make, monkeypatch, where):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(where, full)
    with pytest.raises(StorageError, match=r"disk is full.*scratch"):
        make(shot)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process can't be given so little disk")
def test_a_disk_that_is_full_in_the_middle_of_a_glance_is_a_sentence(shot, make, monkeypatch):
    """NumPy's own way into a file writes what fits, and then names no number of an error."""
    import resource

    whole_, before = _Generation._glanced, resource.getrlimit(resource.RLIMIT_FSIZE)

    def glanced(self, *arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            return whole_(self, *arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(_Generation, "_glanced", glanced)
    with pytest.raises(StorageError, match=r"disk is full.*scratch"):
        make(shot)


def test_a_librarys_own_trouble_is_not_taken_for_the_disks(shot, make, monkeypatch):
    def lacking(self, device):
        raise OSError("Can't load the tokenizer.")

    monkeypatch.setattr(StandIn, "load", lacking)
    with pytest.raises(OSError, match="tokenizer"):
        make(shot)


def test_a_reader_that_stops_ends_the_work(shot, tmp_path, scratch):
    events = generate(shot.request(), shot.open_file, TAKE, scratch=scratch, device="cpu")
    for event in events:
        if isinstance(event, FileReady) and StandIn.asked:
            break
    events.close()
    asked = list(StandIn.asked)
    shutil.rmtree(tmp_path)  # nobody writes there any more
    assert asked == StandIn.asked and not tmp_path.exists()
