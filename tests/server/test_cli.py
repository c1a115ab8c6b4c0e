# SPDX-License-Identifier: Apache-2.0
"""The command: what it says, what it leaves on disk, and how it ends."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from house import until
from platebridge.client import Client
from platebridge.courier import Courier, Ended
from platebridge.errors import Cancelled, ModelError
from platebridge.events import Started
from platebridge.takes import list_takes, verify_take
from platebridge_server import cli, command_generate, sequences
from platebridge_server.guide import solver
from platebridge_server.models import registry
from platebridge_server.models.base import Passes
from typer.testing import CliRunner

CAMERA = {
    "focal_mm": 35.0,
    "sensor_width_mm": 36.0,
    "up": [0, 0, 1],
    "frames": [{"frame": 1001, "camera_to_world": [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 1.7], [0, 0, 0, 1]]}],
}


class StandIn:
    """The guide, made larger."""

    name = "dust"

    def card(self):
        return {"name": "dust", "licence": "none", "weights_sha256": "5" * 64}

    def load(self, device):
        pass

    def generate(self, guide, frames, size, settings, progress, cancelled, first_frame=None):
        for frame in frames:
            if cancelled():
                raise Cancelled()
            low = guide.passes(frame)
            wide = torch.from_numpy(np.stack([low[k] for k in ("sun", "ambient", "alpha")]))[None]
            progress(frame - frames.start + 1, len(frames))
            if first_frame is None or frame >= first_frame:
                yield frame, Passes(*torch.nn.functional.interpolate(wide, size, mode="bilinear")[0].numpy())


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A stand-in for the model, and folders of our own."""
    monkeypatch.setitem(registry._MODELS, "dust", StandIn)
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def small(make_shot):
    return make_shot(width=48, height=32, frames=6)


@pytest.fixture
def run():
    """`run("generate", …)` -> (exit code, standard output, standard error)."""

    def invoke(*arguments):
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke


def inputs(shot, **changed):
    patterns = {**{k: shot.patterns[k] for k in ("plate", "depth", "mask")}, **changed}
    return [part for name, pattern in patterns.items() for part in ("--" + name, pattern)]


def asking(shot, out, *more):
    return [
        "generate",
        *inputs(shot),
        "--frames",
        "%d-%d" % (shot.first, shot.last),
        "--out",
        out,
        "--set",
        "detail=24",
        "--set",
        "debris=4",
        *more,
    ]


def test_a_shot_becomes_a_take_and_another_a_take_beside_it(run, small, tmp_path):
    code, said, _ = run(*asking(small, tmp_path / "out", "--seed", "7"))
    assert code == 0 and "take_0001" in said and "comp.####.exr" in said and "preview.mp4" in said
    first = (tmp_path / "out/take_0001/comp.1006.exr").read_bytes()
    assert run(*asking(small, tmp_path / "out", "--seed", "8"))[0] == 0
    assert [t.path.name for t in list_takes(tmp_path / "out")] == ["take_0001", "take_0002"]
    assert verify_take(tmp_path / "out/take_0001") == [] == verify_take(tmp_path / "out/take_0002")
    assert (tmp_path / "out/take_0001/comp.1006.exr").read_bytes() == first
    assert not list((tmp_path / "XDG_CACHE_HOME").rglob("*.npy"))  # work under way is cleared away


def test_a_preset_turns_its_dials_and_those_that_are_set_win(run, small, tmp_path):
    assert run(*asking(small, tmp_path / "out", "--draft", "--preset", "brick"))[0] == 0
    made = list_takes(tmp_path / "out")[0].document["request"]["guide"]
    assert (made["speed"], made["rise"], made["tint"]) == (1.4, 0.0, [0.62, 0.47, 0.38]) and made["debris"] == 4
    code, _, error = run(*asking(small, tmp_path / "out", "--preset", "thunder"))
    assert code == 2 and "no preset called 'thunder'" in error and "ground_blast" in error


def test_a_wedge_is_a_take_for_each_value_from_one_simulation(run, small, tmp_path, monkeypatch):
    steps = []
    step = solver.Smoke.step
    monkeypatch.setattr(solver.Smoke, "step", lambda self, *a: steps.append(1) or step(self, *a))
    assert run(*asking(small, tmp_path / "one", "--draft"))[0] == 0
    alone = len(steps)
    assert alone
    code, said, _ = run(*asking(small, tmp_path / "out", "--draft", "--seed", "3", "--wedge", "density=0.5,1,2,4"))
    assert code == 0 and len(steps) == alone  # that of the first take serves all four
    rows = json.loads(run("takes", tmp_path / "out", "--json")[1])
    assert [(r["take"], r["density"]) for r in rows] == [("take_000%d" % n, d) for n, d in enumerate((0.5, 1.0, 2.0, 4.0), 1)]
    assert all("take_000%d" % n in said for n in range(1, 5)) and str(tmp_path / "out/take_0004/sheet.png") in said
    colours = run(*asking(small, tmp_path / "tint", "--draft", "--wedge", "tint=0.6,0.5,0.4; 0.2,0.2,0.2"))
    assert colours[0] == 0 and len(list_takes(tmp_path / "tint")) == 2 and len(steps) == alone


def test_a_wedge_over_one_dial_leaves_the_curve_of_another_alone(run, small, tmp_path):
    code, _, error = run(*asking(small, tmp_path / "out", "--draft", "--set", "amount=1001:0.5,1006:2", "--wedge", "seed=1,2"))
    assert code == 0, error
    asked = [take.document["request"] for take in list_takes(tmp_path / "out")]
    assert [a["model"]["seed"] for a in asked] == [1, 2]
    assert [a["animated"] for a in asked] == [[{"dial": "amount", "keys": [[1001, 0.5], [1006, 2.0]]}]] * 2
    assert "sheet.png" in list_takes(tmp_path / "out")[1].files()


def test_a_wedge_over_two_dials_has_one_sheet_and_turns_the_dear_dial_slowest(run, small, tmp_path, monkeypatch):
    fields = []
    new = solver.Smoke.__init__
    monkeypatch.setattr(solver.Smoke, "__init__", lambda self, *a, **k: fields.append(1) or new(self, *a, **k))
    code, _, error = run(*asking(small, tmp_path / "out", "--draft", "--wedge", "tint=0.6,0.5,0.4;0.2,0.2,0.2", "--wedge", "amount=1,2"))
    assert code == 0 and len(fields) == 2, error
    dials = [take.document["request"]["guide"] for take in list_takes(tmp_path / "out")]
    assert [(d["amount"], d["tint"][0]) for d in dials] == [(1.0, 0.6), (1.0, 0.2), (2.0, 0.6), (2.0, 0.2)]
    assert verify_take(tmp_path / "out/take_0004") == []


@pytest.mark.parametrize(
    "wedge",
    [["density"], ["density=0.5,thick"], ["thickness=1,2"], ["density=1,900"], ["density=1"], ["density=1,2", "density=3,4"],
     ["density=1,2", "amount=1,2", "rise=1,2"]],
)
def test_a_wedge_that_can_t_be_is_refused_before_any_take_is_begun(run, small, tmp_path, wedge):
    assert run(*asking(small, tmp_path / "out", *(part for one in wedge for part in ("--wedge", one))))[0] == 2
    assert not (tmp_path / "out").exists()


def test_another_camera_sees_the_cloud_of_an_earlier_take_and_needs_no_mask(run, small, tmp_path, monkeypatch):
    assert run(*asking(small, tmp_path / "out", "--set", "amount=1001:2,1006:1.5"))[0] == 0
    monkeypatch.setattr(solver.Smoke, "step", None)
    aside = json.loads(json.dumps(CAMERA))
    aside["frames"][0]["camera_to_world"] = [[1, 0, 0, 3], [0, 0, -1, 0], [0, 1, 0, 1.7], [0, 0, 0, 1]]
    (tmp_path / "aside.json").write_text(json.dumps(aside))
    asked = ["generate", "--plate", small.patterns["plate"], "--depth", small.patterns["depth"], "--frames", "1001-1006",
             "--out", tmp_path / "out", "--camera", tmp_path / "aside.json", "--simulation-of", tmp_path / "out/take_0001"]
    assert run(*asked)[0] == 0
    first, second = (json.loads((tmp_path / "out" / t / "take.json").read_text()) for t in ("take_0001", "take_0002"))
    assert second["simulation"] == second["request"]["simulation"] == first["simulation"]
    assert second["request"]["guide"] == first["request"]["guide"] and second["request"]["animated"] == first["request"]["animated"]
    code, _, said = run(*asked, "--set", "amount=1")
    assert code == 2 and "amount is 1.0 at frame 1001" in said
    (tmp_path / "elsewhere").mkdir()
    assert run(*asked[:-1], tmp_path / "elsewhere")[0] == 2


def test_a_wedge_over_a_kept_simulation_is_refused_whole_where_it_would_turn_the_cloud(run, small, tmp_path, monkeypatch):
    assert run(*asking(small, tmp_path / "out"))[0] == 0
    monkeypatch.setattr(solver.Smoke, "step", None)
    asked = asking(small, tmp_path / "out", "--simulation-of", tmp_path / "out/take_0001")
    code, _, error = run(*asked, "--wedge", "amount=1,2")
    assert code == 2 and "amount is 2.0, and in the simulation it is 1.0" in error and "--simulation-of" in error
    assert len(list_takes(tmp_path / "out")) == 1  # not even the one whose dials are the simulation's own
    assert run(*asked, "--wedge", "density=0.5,2")[0] == 0
    first, *seen = (take.document for take in list_takes(tmp_path / "out"))
    assert [take["request"]["guide"]["density"] for take in seen] == [0.5, 2.0]
    assert {take["simulation"] for take in seen} == {first["simulation"]} and "sheet.png" in seen[1]["files"]


def test_of_a_wedge_that_ends_early_the_takes_that_are_whole_are_named(run, small, tmp_path, monkeypatch):
    real = StandIn.generate

    def generate(self, guide, frames, size, settings, *more, **named):
        if settings.seed == 2:
            raise ModelError("The model is gone.", "Bring it back.")
        return real(self, guide, frames, size, settings, *more, **named)

    monkeypatch.setattr(StandIn, "generate", generate)
    code, said, error = run(*asking(small, tmp_path / "out", "--wedge", "seed=1,2"))
    assert code == 1 and "Done. %s" % (tmp_path / "out/take_0001") in said and "take_0002" not in said and "gone" in error
    code, said, _ = run(*asking(small, tmp_path / "json", "--wedge", "seed=1,2", "--json"))
    told = [line for line in map(json.loads, said.splitlines()) if line["event"] in ("Started", "Take", "Failed")]
    assert code == 1 and [line["event"] for line in told] == ["Started", "Take", "Started", "Failed"]
    assert told[1]["path"] == str(tmp_path / "json/take_0001")


def test_takes_shows_what_differs(run, small, tmp_path):
    run(*asking(small, tmp_path / "out", "--seed", "7"))
    run(*asking(small, tmp_path / "out", "--seed", "8", "--set", "amount=1.5", "--draft"))
    code, said, _ = run("takes", tmp_path / "out", "--json")
    rows = json.loads(said)
    assert code == 0 and [(r["take"], r["state"], r["seed"], r["amount"], r["quality"]) for r in rows] == [
        ("take_0001", "whole", 7, 1.0, "final"),
        ("take_0002", "whole", 8, 1.5, "draft"),
    ]
    assert "density" not in rows[0]
    assert "take_0002" in run("takes", tmp_path / "out")[1]


def test_dials_that_change_over_the_shot_are_typed_or_read_from_a_file_and_listed(run, small, tmp_path):
    (tmp_path / "dials.json").write_text(json.dumps({"amount": [[1001, 0.5], [1006, 2]], "rise": 1.5}))
    assert run(*asking(small, tmp_path / "out", "--set", "amount=1001:0.5,1006:2", "--set", "rise=1.5"))[0] == 0
    assert run(*asking(small, tmp_path / "out", "--dials", tmp_path / "dials.json"))[0] == 0
    assert run(*asking(small, tmp_path / "out", "--dials", tmp_path / "dials.json", "--set", "amount=1"))[0] == 0
    asked = [json.loads((tmp_path / "out" / ("take_000%d" % n) / "take.json").read_text())["request"] for n in (1, 2, 3)]
    assert asked[0] == asked[1] and asked[0]["animated"] == [{"dial": "amount", "keys": [[1001, 0.5], [1006, 2.0]]}]
    assert "animated" not in asked[2] and asked[2]["guide"]["amount"] == 1.0
    assert [row["amount"] for row in json.loads(run("takes", tmp_path / "out", "--json")[1])] == ["1001:0.5,1006:2"] * 2 + [1.0]
    assert "0.5→2" in run("takes", tmp_path / "out")[1]


def test_a_camera_is_taken_and_nothing_is_said_of_a_stand_in(run, small, tmp_path):
    (tmp_path / "camera.json").write_text(json.dumps(CAMERA))
    code, _, said = run(*asking(small, tmp_path / "out", "--camera", tmp_path / "camera.json"))
    assert code == 0 and "35 mm" not in said
    told = json.loads((tmp_path / "out/take_0001/take.json").read_text())
    assert told["request"]["camera"]["frames"][0]["camera_to_world"][2] == [0, 1, 0, 1.7]
    assert "35 mm" in run(*asking(small, tmp_path / "out"))[2]


def test_one_mask_serves_every_frame(run, small, tmp_path):
    arguments = asking(small, tmp_path / "out")
    arguments[arguments.index("--mask") + 1] = small.paths["mask"][1001]
    assert run(*arguments)[0] == 0
    told = json.loads((tmp_path / "out/take_0001/take.json").read_text())
    assert (
        len({f["sha256"] for f in told["request"]["inputs"]["mask"]["files"]}) == 1 and len(told["request"]["inputs"]["mask"]["files"]) == 6
    )


@pytest.mark.parametrize("pattern", ["plate.####.exr", "plate.%04d.exr", "plate.@@@@.exr", "plate.#.exr", "plate.$F4.exr"])
def test_every_way_to_write_a_sequence_means_the_same_files(pattern):
    from platebridge.frames import FrameRange

    found = sequences.paths("somewhere/" + pattern, FrameRange(1001, 1003))
    assert [p.name for p in found.values()] == ["plate.1001.exr", "plate.1002.exr", "plate.1003.exr"]


# What is added to a good command line, and words of the sentence it gets.
REFUSED = {
    "a sequence that is none": (["--plate", "'plate.####.exr'"], ["plate.####.exr", "no name of a sequence", "####"]),
    "an unknown dial": (["--set", "amuont=2"], ["amuont", "amount"]),
    "a dial out of range": (["--set", "amount=9"], ["amount = 9", "0 to 4"]),
    "a dial without a value": (["--set", "amount"], ["amount=1.4"]),
    "a dial that is no number": (["--set", "amount=much"], ["amount", "not a number"]),
    "a dial that can't change over the shot": (["--set", "seed=1001:1,1006:2"], ["Seed can't be animated", "one value"]),
    "a curve that is none": (["--set", "amount=1001:"], ["amount", "not a number"]),
    "a file of dials that is not there": (["--dials", "nowhere.json"], ["nowhere.json"]),
    "a wedge over a dial that changes": (
        ["--set", "amount=1001:0,1006:2", "--wedge", "amount=1,2"],
        ["Amount changes over the shot (0→2)", "Wedge another dial"],
    ),
    "more frames than a shot has": (["--frames", "1001-99999999999999999999"], ["more than a shot may have"]),
    "a device that is none": (["--device", "gpu"], ["device gpu can't be used", "--device cpu"]),
    "a device of a build that is not here": (["--device", "hpu"], ["device hpu can't be used", "--device cpu"]),
    "a device that holds no numbers": (["--device", "meta"], ["device meta can't be used", "--device cpu"]),
    "a processor with a number": (["--device", "cpu:3"], ["device cpu:3 can't be used (the processor is one device", "--device cpu"]),
    "a device for a server, which has its own": (["--server", "--device", "cpu"], ["A server works on its own device", "--device"]),
    "a seed out of range": (["--seed", "2147483648"], ["seed = 2147483648", "0 to 2147483647"]),
    "a dial a little out of range": (["--set", "amount=4.0000001"], ["amount = 4.0000001", "0 to 4"]),
    "pictures of a model that paints none": (["--picture-files"], ["dust paints no picture", "--picture-files"]),
    "a range back to front": (["--frames", "1048-1001"], ["1048-1001", "first-last"]),
    "no range": (["--frames", "all"], ["'all'", "1001-1048"]),
    "frames that are not there": (["--frames", "1001-1009"], ["plate frame 1007", "1007-1009", "shorten"]),
    "no plate": (["--plate", "nowhere/p.####.exr"], ["plate frame 1001", "nowhere/p.####.exr"]),
    "an unknown kind of depth": (["--depth-kind", "miles"], ["miles", "inverse"]),
    "a shot no folder can have": (["--shot", "a/b"], ["a/b", "folder"]),
    "a camera that is not there": (["--camera", "nowhere.json"], ["camera", "nowhere.json"]),
    "a channel that is not there": (["--depth-channel", "far"], ["depth frame 1001", "far", "Z"]),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_of_the_request_ends_with_2_one_sentence_and_nothing_on_disk(run, small, tmp_path, fault):
    added, words = REFUSED[fault]
    code, said, error = run(*asking(small, tmp_path / "out", *added))
    assert code == 2 and not said
    assert all(word in error for word in words) and "Traceback" not in error
    assert not list((tmp_path / "out").glob("take*"))


BEFORE_A_FILE_IS_READ = [
    ["--set", "amount=9"],
    ["--wedge", "amount=1,9"],
    ["--fps", "0"],
    ["--depth-kind", "miles"],
    ["--set", "prompt=dusk"],
    ["--model", "mist"],
    ["--model", "wan-vace-14b"],
    ["--device", "gpu"],
    ["--mask", "nowhere/m.####.exr"],
    ["--frames", "1001-1009"],
    ["--simulation-of", "nowhere"],
]


@pytest.mark.parametrize("added", BEFORE_A_FILE_IS_READ, ids=" ".join)
def test_what_can_be_known_without_a_file_is_refused_before_the_first_is_hashed(run, small, tmp_path, monkeypatch, added):
    """Of a long shot that is minutes, and more from a share."""
    monkeypatch.setattr(sequences, "hash_file", None)
    code, _, error = run(*asking(small, tmp_path / "out", *added))
    assert code in (1, 2) and error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file's name is text")
@pytest.mark.parametrize("named", [[], ["--shot", "tower"]], ids=["by its plate", "by hand"])
def test_a_file_whose_name_is_no_text_is_refused_in_a_sentence(run, small, tmp_path, named):
    """An old archive's names may be in another code; Python then hands us text that nothing can write down."""
    for frame, path in small.paths["plate"].items():
        path.rename(path.with_name(os.fsdecode(b"caf\xe9.%d.exr" % frame)))
    arguments = asking(small, tmp_path / "out", *named)
    arguments[arguments.index("--plate") + 1] = str(small.folder / "plate" / os.fsdecode(b"caf\xe9.####.exr"))
    code, said, error = run(*arguments)
    assert code == 2 and not said and "caf\\udce9" in error and "Traceback" not in error
    assert not list((tmp_path / "out").glob("take*"))


def test_a_tilde_that_no_shell_took_away_means_the_home_folder_wherever_a_path_is_typed(run, small, tmp_path, monkeypatch):
    """`--out=~/takes` comes as it is typed, and on Windows every path does."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir(), elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home)), monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setattr("platebridge_server.command_generate.PATIENCE", 0.5)
    monkeypatch.chdir(elsewhere)
    (home / "camera.json").write_text(json.dumps(CAMERA))
    (home / "dials.json").write_text('{"rise": 1.5}')
    code, said, error = run(*asking(small, "~/takes", "--camera", "~/camera.json", "--dials", "~/dials.json"))
    assert code == 0 and str(home / "takes/take_0001") in said, error
    assert run(*asking(small, "~/takes", "--camera", "~/camera.json", "--simulation-of", "~/takes/take_0001", "--set", "rise=1.5"))[0] == 0
    assert [row["take"] for row in json.loads(run("takes", "~/takes", "--json")[1])] == ["take_0001", "take_0002"]
    assert list_takes(home / "takes")[1].document["request"]["guide"]["rise"] == 1.5
    code, _, error = run("generate", "--resume", "~/takes/take_0001")
    assert code == 1 and "%s holds no unfinished take" % (home / "takes/take_0001") in error
    assert str(home / "none.json") in run("stop", "--connection", "~/none.json")[2]
    assert str(home / "none.json") in run("doctor", "--connection", "~/none.json")[1]
    assert str(home / "none.json") in run(*asking(small, "~/takes", "--server", "~/none.json"))[2]
    assert str(home / "keys.txt") in run("serve", "--data", "~/data", "--connection", "~/run/here.json", "--client-keys", "~/keys.txt")[2]
    assert (home / "data/server.key").exists()
    assert str(home / "model") in run("models", "add", "~/model")[2]
    assert str(home / "cache") in run("cache", "show", "--folder", "~/cache")[1]
    assert str(home / "shots") in run("eval-model", "guide", "--set", "~/shots")[2]
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("missing", ["plate", "depth", "mask"])
def test_an_input_that_was_not_given_is_asked_for(run, small, tmp_path, missing):
    arguments = asking(small, tmp_path / "out")
    at = arguments.index("--" + missing)
    code, _, error = run(*arguments[:at], *arguments[at + 2 :])
    assert code == 2 and "--%s 'path/%s.####.exr'" % (missing, missing) in error


def test_an_unknown_model_ends_with_1_and_says_which_there_are(run, small, tmp_path):
    code, _, error = run(*asking(small, tmp_path / "out", "--model", "mist"))
    assert code == 1 and "mist" in error and "dust" in error
    assert not list((tmp_path / "out").glob("take*"))


def test_a_file_where_the_folder_should_be_is_said_before_work(run, small, tmp_path):
    (tmp_path / "out").write_text("not a folder")
    code, _, error = run(*asking(small, tmp_path / "out"))
    assert code == 1 and "--out" in error


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_write_access_is_said_before_work(run, small, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    code, _, error = run(*asking(small, tmp_path / "out"))
    assert code == 1 and "no access" in error


def test_events_are_lines_of_json_for_scripts(run, small, tmp_path):
    code, said, _ = run(*asking(small, tmp_path / "out", "--json"))
    lines = [json.loads(line) for line in said.splitlines()]
    kinds = [line["event"] for line in lines]
    assert code == 0 and kinds[-2:] == ["Done", "Take"] and kinds.count("FileReady") == 20
    assert lines[-1]["path"] == str(tmp_path / "out/take_0001")
    code, said, _ = run(*asking(small, tmp_path / "out", "--json", "--frames", "1001-1099"))
    assert code == 2 and json.loads(said.splitlines()[-1])["error"]["input"] == "plate"


def test_an_input_that_changed_is_not_gone_on_with(run, small, tmp_path, monkeypatch):
    fail_after(monkeypatch, 1)
    assert run(*asking(small, tmp_path / "out"))[0] == 130
    small.paths["depth"][1004].write_bytes(small.paths["depth"][1005].read_bytes())
    code, _, error = run("generate", "--resume", tmp_path / "out/take_0001")
    assert code == 2 and "depth frame 1004" in error and "not what it was" in error


def fail_after(monkeypatch, frames):
    """Ctrl-C, when so many frames were asked of the model."""
    real = StandIn.generate

    def generate(self, *arguments, **named):
        for count, made in enumerate(real(self, *arguments, **named)):
            if count == frames:
                raise Cancelled()
            yield made

    monkeypatch.setattr(StandIn, "generate", generate)


def test_a_cancelled_take_keeps_its_frames_and_says_how_to_go_on(run, small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_after(patch, 1)
        code, _, error = run(*asking(small, tmp_path / "out"))
    take = tmp_path / "out/take_0001"
    assert code == 130 and "--resume %s" % take in error
    before = {p.name: p.stat().st_mtime_ns for p in take.glob("comp*")}
    assert before and not (take / "take.json").exists()
    assert run("generate", "--resume", take)[0] == 0
    assert verify_take(take) == [] and len(list(take.glob("comp.*.exr"))) == 6
    assert all((take / name).stat().st_mtime_ns == then for name, then in before.items())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))  # or the passes of the first would be taken
    run(*asking(small, tmp_path / "again"))
    for name in ("comp.1006.exr", "effect.1006.exr"):
        ours, theirs = (pixels(folder / name) for folder in (take, tmp_path / "again/take_0001"))
        assert (ours == theirs).all()
    code, _, error = run("generate", "--resume", take)
    assert code == 1 and "no unfinished take" in error


def test_a_take_begun_here_can_be_attached_to_as_blender_and_nuke_do_it(run, small, house, tmp_path, monkeypatch):
    """Its server never heard of it, and is sent its files; the frames that were made here stay."""
    fail_after(monkeypatch, 1)
    assert run(*asking(small, tmp_path / "out"))[0] == 130
    take = tmp_path / "out/take_0001"
    before = {p.name: p.read_bytes() for p in take.glob("*.exr")}
    courier = Courier.resume(lambda: Client(house.connection), take, house.origin())
    courier.run()
    assert [news.error for news in iter(courier.take_news, None) if isinstance(news, Ended)] == [None]
    made = [frame for _, frame in house.made()]
    assert verify_take(take) == [] and made and len(made) + sum(name.startswith("comp") for name in before) == 6
    assert all((take / name).read_bytes() == data for name, data in before.items())


def test_what_to_type_to_go_on_can_be_typed(run, small, tmp_path, monkeypatch):
    fail_after(monkeypatch, 1)
    _, _, error = run(*asking(small, tmp_path / "the client's takes"))
    typed = shlex.split(next(line for line in error.splitlines() if "--resume" in line).partition("To go on: ")[2])
    assert typed == ["platebridge", "generate", "--resume", str(tmp_path / "the client's takes" / "take_0001")]


def test_another_take_that_ends_meanwhile_is_no_trouble(tmp_path, monkeypatch):
    """Takes of one farm share the folder for work under way, and each removes its own."""
    root = command_generate.scratch_folder("1" * 32).parent
    os.utime(command_generate.scratch_folder("2" * 32), (1e9, 1e9))
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([folder / "ended", *real(folder)]))
    command_generate.scratch_folder("3" * 32)
    assert {path.name for path in real(root)} == {"1" * 32, "3" * 32}


def pixels(path):
    import OpenImageIO as oiio

    return oiio.ImageInput.open(str(path)).read_image("float")


def test_ctrl_c_ends_a_real_process_with_130_and_a_take_to_go_on_with(small, tmp_path):
    program = Path(__file__).with_name("command_with_stand_in.py")
    command = [sys.executable, str(program), *map(str, asking(small, tmp_path / "out", "--json"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if json.loads(line)["event"] == "FileReady":
                process.send_signal(signal.SIGINT)
                break
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in error and "--resume" in error
    assert (tmp_path / "out/take_0001/unfinished.json").exists() and list((tmp_path / "out/take_0001").glob("comp.*.exr"))


def test_with_a_server_it_makes_the_take_of_the_same_request(run, small, houses, tmp_path):
    server = houses(generator="platebridge_server.generate:generate").start()
    code, said, error = run(*asking(small, tmp_path / "out", "--server", server.connection, "--seed", "5", "--draft"))
    assert code == 0 and "take_0001" in said, error
    run(*asking(small, tmp_path / "here", "--seed", "5", "--draft"))
    there, here = (json.loads((tmp_path / where / "take_0001/take.json").read_text()) for where in ("out", "here"))
    assert there["request_hash"] == here["request_hash"] and set(there["files"]) == set(here["files"])
    assert verify_take(tmp_path / "out/take_0001") == []


def test_without_a_server_server_says_how_to_start_one_and_leaves_nothing(run, small, tmp_path, monkeypatch):
    monkeypatch.setattr("platebridge_server.command_generate.PATIENCE", 0.5)
    code, _, error = run(*asking(small, tmp_path / "out", "--server"))
    assert code == 1 and "platebridge serve" in error
    assert not list((tmp_path / "out").glob("take*"))


def test_a_take_that_a_server_has_is_never_forgotten_for_want_of_an_answer(run, small, house, tmp_path, monkeypatch):
    """The server goes on with it: without the folder nobody would know its id."""
    monkeypatch.setattr("platebridge_server.command_generate.PATIENCE", 0.5)
    monkeypatch.setattr(cli.Bars, "show", lambda self, event: getattr(event, "phase", "") == "uploading" and house.kill())
    code, _, error = run(*asking(small, tmp_path / "out", "--server", house.connection))
    take = tmp_path / "out/take_0001"
    assert code == 1 and "--resume %s --server %s" % (take, house.connection) in error and (take / "unfinished.json").exists()
    assert run("generate", "--resume", take, "--server", house.connection)[0] == 1 and (take / "unfinished.json").exists()


def test_ctrl_c_twice_at_once_still_cancels_the_take_on_the_server(run, small, house, tmp_path, monkeypatch):
    """The second press may come before anybody has looked whether there was a first."""

    def press(self, event):
        if isinstance(event, Started):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    house.hold(small.first)
    monkeypatch.setattr(command_generate, "origin", lambda writer: house.origin())
    monkeypatch.setattr(cli.Bars, "show", press)
    assert run(*asking(small, tmp_path / "out", "--server", house.connection))[0] == 130
    with Client(house.connection) as client:
        until(lambda: client.jobs().result(20)[0]["state"] == "cancelled", "the end of the take on the server")


def test_a_take_that_a_server_refused_leaves_nothing(run, small, houses, tmp_path):
    full = houses(spool={"reserve": 2**60}).start()
    code, _, error = run(*asking(small, tmp_path / "out", "--server", full.connection))
    assert code == 1 and "disk is full" in error and "--resume" not in error
    assert not list((tmp_path / "out").glob("take*"))


def test_models_lists_cards(run):
    code, said, _ = run("models", "--json")
    assert code == 0 and json.loads(said)["dust"]["licence"] == "none"
    assert "dust" in run("models")[1]


def test_eval_dust_hands_its_options_to_the_evaluation(run, monkeypatch):
    from platebridge_server.training import evaluate

    asked = []
    monkeypatch.setattr(evaluate, "run", lambda *given: asked.append(given))
    assert run("eval-dust", "--json", "figures.json", "--simulations", "2")[0] == 0
    assert asked[0][2] == Path("figures.json") and asked[0][4] == 2
    assert run("eval-dust", "--help")[1].startswith("usage: platebridge eval-dust ")
