# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""What an earlier take left is used again: its simulation, its passes under another light, and nothing that is not whole."""

import dataclasses
import hashlib
import json
import os
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from platebridge.errors import Cancelled, RequestError
from platebridge.events import FileReady, Progress
from platebridge.request import FrameFile, Pass
from platebridge_server import images, layers
from platebridge_server.generate import generate
from platebridge_server.guide import shelf
from platebridge_server.guide.guide import simulation_of
from platebridge_server.shot import Shot
from stand_in import TAKE, StandIn, make, pixels, scratch, shot, stand_in  # noqa: F401


def test_another_seed_and_another_light_find_the_simulation_done(shot, scratch):
    def guide_steps(request):
        events = list(generate(request, shot.open_file, TAKE, scratch=scratch, device="cpu"))
        return [e.done for e in events if isinstance(e, Progress) and e.phase == "guide"]

    assert len(guide_steps(shot.request(seed=1))) == 16
    assert guide_steps(shot.request(seed=2)) == [16]
    assert len(guide_steps(shot.request(seed=2, density=2.0))) == 8  # looked at anew, not simulated
    assert guide_steps(shot.request(seed=2, light=2.0, tint=(0.5, 0.4, 0.3))) == []
    assert len(guide_steps(shot.request(seed=2, rise=1.0))) == 16


def test_while_a_take_runs_its_simulation_counts_as_used(shot, scratch):
    """A painter works for hours, and another take must not remove what the next frame is made of."""
    fresh = []
    for event in generate(shot.request(), shot.open_file, TAKE, scratch=scratch, device="cpu"):
        (simulation,) = (scratch.parent / "guides").glob("*") if (scratch.parent / "guides").exists() else (None,)
        if simulation is None or not isinstance(event, (Progress, FileReady)):
            continue
        folders = simulation, *(simulation / "views").iterdir()
        fresh.append([time.time() - folder.stat().st_mtime < shelf.IN_USE for folder in folders])
        for folder in folders:
            os.utime(folder, (time.time() - 86400,) * 2)
    assert len(fresh) > 10 and all(map(all, fresh)) and len(fresh[-1]) == 2


def test_another_light_on_the_same_dust_asks_neither_guide_nor_model_and_is_the_same(shot, make, tmp_path, monkeypatch):
    request = shot.request(light=2.5, ambient=0.3, tint=(0.7, 0.4, 0.2), shadow=0.6)
    _, full = make(shot, request, take_id="a" * 32)
    scratch = tmp_path / "again" / "scratch"
    make(shot, shot.request(shadow=0.6), scratch=scratch, take_id="b" * 32)
    StandIn.asked = []
    monkeypatch.setattr("platebridge_server.generate.Guide", None)
    events, relit = make(shot, request, scratch=scratch.parent / "other", take_id="a" * 32)
    assert not StandIn.asked and {p.phase for p in events if isinstance(p, Progress)} == {"reading", "writing"}
    assert set(relit) == set(full)
    assert [name for name in full if relit[name] != full[name]] == ["take.json"]
    told, was = json.loads(relit["take.json"]), json.loads(full["take.json"])
    assert told["passes_of"] == "b" * 32 and told["work_area"] == was["work_area"] and told["light"] == was["light"]


def test_another_grade_of_the_plate_asks_neither_guide_nor_model_and_is_the_same(shot, make, tmp_path, monkeypatch):
    files = []
    for file in shot.request().inputs.plate.files:
        (part,) = images.read(shot.open_file(file.sha256))
        part.samples.update({c: part.samples[c] * np.float16(0.5) for c in "RGB"})
        data = images.encode([part])
        files.append(FrameFile(file.frame, hashlib.sha256(data).hexdigest(), len(data)))
        (tmp_path / files[-1].sha256).write_bytes(data)

    def regraded(request, **how):
        plate = dataclasses.replace(request.inputs.plate, name="plate_v002.####.exr", files=tuple(files), **how)
        return dataclasses.replace(request, inputs=dataclasses.replace(request.inputs, plate=plate))

    both = SimpleNamespace(open_file=lambda sha: tmp_path / sha if (tmp_path / sha).exists() else shot.open_file(sha))
    _, full = make(both, regraded(shot.request()), take_id="a" * 32)
    scratch = tmp_path / "again" / "scratch"
    _, first = make(shot, shot.request(), scratch=scratch, take_id="b" * 32)
    StandIn.asked = []
    monkeypatch.setattr("platebridge_server.generate.Guide", None)
    _, again = make(both, regraded(shot.request()), scratch=scratch.parent / "other", take_id="a" * 32)
    assert not StandIn.asked and [name for name in full if again[name] != full[name]] == ["take.json"]
    assert again["comp.1006.exr"] != first["comp.1006.exr"] and json.loads(again["take.json"])["passes_of"] == "b" * 32


def test_a_plate_with_another_canvas_has_dust_of_its_own(shot):
    request, seen = shot.request(), Shot(shot.request(), shot.open_file).geometry
    names = {geometry: (simulation_of(request, geometry), layers.passes_of(request, geometry, {}, "cpu")) for geometry in (seen, "another")}
    assert all(a != b for a, b in zip(*names.values()))
    painter, graded = {"kind": "picture"}, dataclasses.replace(request, inputs=dataclasses.replace(request.inputs, plate=Pass()))
    assert layers.passes_of(request, seen, painter, "cpu") != layers.passes_of(graded, seen, painter, "cpu")  # it sees the plate


def test_a_light_that_changes_over_the_shot_asks_neither_guide_nor_model_and_is_each_frames_own(shot, make, tmp_path, monkeypatch):
    request = shot.request(tint="1001:0.7,0.4,0.2;1008:0.2,0.4,0.7", light="1001:0,1008:2")
    _, full = make(shot, request, take_id="a" * 32)
    still = make(shot, shot.request(**{k: getattr(request.guide_at(1006), k) for k in ("tint", "light")}), take_id="a" * 32)[1]
    scratch = tmp_path / "again" / "scratch"
    make(shot, scratch=scratch, take_id="b" * 32)
    StandIn.asked = []
    monkeypatch.setattr("platebridge_server.generate.Guide", None)
    _, relit = make(shot, request, scratch=scratch.parent / "other", take_id="a" * 32)
    assert not StandIn.asked and [name for name in full if relit[name] != full[name]] == ["take.json"]
    told = json.loads(relit["take.json"])
    assert told["passes_of"] == "b" * 32 and list(told["light_at"]) == [str(f) for f in range(1001, 1009)]
    assert told["light_at"]["1001"] == told["light"] and told["light"]["sun"] == [0, 0, 0] != told["light_at"]["1008"]["sun"]
    for number, files in enumerate((relit, still)):
        (tmp_path / ("%d.exr" % number)).write_bytes(files["effect.1006.exr"])
    (moving, spec), (fixed, its) = (pixels(tmp_path / ("%d.exr" % number)) for number in (0, 1))
    assert (moving["R"] > 0).any() and all(np.array_equal(moving[c], fixed[c]) for c in fixed)
    for name in ("sun", "sky"):
        assert spec.get_string_attribute("platebridge:" + name) == its.get_string_attribute("platebridge:" + name)


def test_a_take_that_is_lit_again_tells_its_own_light_alone(shot, make, scratch):
    asked = {"first": "1001:0,1008:2", "still": 1.5, "moving": "1001:4,1008:1"}
    told = {name: make(shot, shot.request(light=light), scratch=scratch.parent / name)[1] for name, light in asked.items()}
    assert StandIn.asked == list(range(StandIn.asked[0], 1009))  # once
    told = {name: json.loads(files["take.json"]) for name, files in told.items()}
    assert told["still"]["light"]["sun"] != told["first"]["light"]["sun"] == [0, 0, 0] and "light_at" not in told["still"]
    assert told["moving"]["light_at"]["1001"] == told["moving"]["light"] != told["first"]["light"]


def test_a_simulation_counts_as_used_where_only_its_passes_are(shot, make, scratch):
    make(shot, scratch=scratch)
    (simulation,) = (scratch.parent / "guides").iterdir()
    os.utime(simulation, (time.time() - 86400,) * 2)
    make(shot, shot.request(light=2.0), scratch=scratch.parent / "lit")
    assert time.time() - simulation.stat().st_mtime < shelf.IN_USE


def test_a_simulation_that_has_left_its_shelf_comes_again_with_its_take_as_the_refusal_says(shot, make, scratch):
    another = dataclasses.replace(shot.request(), simulation=json.loads(make(shot, scratch=scratch)[1]["take.json"])["simulation"])
    shutil.rmtree(scratch.parent / "guides")
    with pytest.raises(RequestError, match="once more, as it was"):
        make(shot, another, scratch=scratch.parent / "refused")
    StandIn.asked = []
    make(shot, scratch=scratch.parent / "once more")
    assert not StandIn.asked  # the model's passes lie there still
    assert "comp.1008.exr" in make(shot, another, scratch=scratch.parent / "another")[1]


def test_cancelled_while_it_is_lit_again_it_ends_there(shot, make, scratch):
    make(shot, scratch=scratch)
    stop, came = threading.Event(), []
    with pytest.raises(Cancelled):
        for event in generate(shot.request(light=2.0), shot.open_file, "9" * 32, scratch=scratch, device="cpu", cancelled=stop.is_set):
            came += [event.name] if isinstance(event, FileReady) else []
            if came:
                stop.set()
    assert came == ["comp.1001.exr", "effect.1001.exr", "guide.1001.exr"]


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"density": 2.0}, {"quality": "draft"}, {"sun_azimuth": 10.0}, {"shadow": 0.5}, {"shadow": "1001:0,1008:1"}]
)
def test_what_is_not_light_alone_is_generated(shot, make, scratch, other):
    make(shot, scratch=scratch)
    StandIn.asked = []
    make(shot, shot.request(**other), scratch=scratch)
    assert StandIn.asked


def test_passes_of_a_take_that_was_cut_off_are_not_taken(shot, make, scratch):
    for event in (events := generate(shot.request(), shot.open_file, TAKE, scratch=scratch, device="cpu")):
        if isinstance(event, FileReady) and event.name == "comp.1007.exr":
            events.close()
            break
    StandIn.asked = []
    make(shot, shot.request(light=2.0), scratch=scratch)
    assert StandIn.asked


@pytest.mark.parametrize("damaged", ["effect.1006.exr", "guide.1001.exr", "passes.json"])
def test_passes_that_a_power_cut_damaged_cost_time_and_no_take(shot, make, tmp_path, damaged):
    request, scratch = shot.request(light=2.5), tmp_path / "again" / "scratch"
    _, full = make(shot, request)
    make(shot, scratch=scratch, take_id="b" * 32)
    (kept,) = (scratch.parent / "passes").iterdir()
    whole = (kept / damaged).read_bytes()
    (kept / damaged).write_bytes(b"[]" if damaged == "passes.json" else whole[: len(whole) // 2])
    events, relit = make(shot, request, scratch=scratch.parent / "other")
    names = [e.name for e in events if isinstance(e, FileReady)]
    assert len(names) == len(set(names)) and [name for name in full if relit[name] != full[name]] == ["take.json"]
    told, was = json.loads(relit["take.json"]), json.loads(full["take.json"])
    assert "passes_of" not in told and (told["light"], told["files"]) == (was["light"], was["files"])
    StandIn.asked = []
    assert "passes_of" in json.loads(make(shot, shot.request(light=3.0), scratch=scratch.parent / "third")[1]["take.json"])
    assert not StandIn.asked  # it is whole again
