# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""The command where things are not as they are in a tidy house: odd names, Ctrl-C at odd moments, packages that don't load."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import platebridge
import pytest
import tomllib
import torch
from platebridge.dials import DIALS
from platebridge.errors import InputError, StorageError
from platebridge.frames import FrameRange, name_at, parse_range
from platebridge.request import GenerateRequest, Inputs
from platebridge.takes import TakeWriter, list_takes, verify_take
from platebridge_server import cli, command_generate, doctor, images, locks, sequences
from test_cli import CAMERA, StandIn, alone, asking, fail_after, run, small  # noqa: F401


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("job#12/plate.####.exr", "job#12/plate.1001.exr"),
        ("a@b 100%done/plät e.%04d.exr", "a@b 100%done/plät e.1001.exr"),
        ("####/plate.####.exr", "####/plate.1001.exr"),
        ("plate_10-####.exr", "plate_10-1001.exr"),
        ("plate_v2####.exr", "plate_v21001.exr"),
        ("v#2.######.exr", "v#2.001001.exr"),
        ("plate.####.left.exr", "plate.1001.left.exr"),
    ],
)
def test_what_stands_around_the_frame_is_left_as_it_was_typed(pattern, name):
    assert sequences.paths("/shots/" + pattern, FrameRange(1001, 1001)) == {1001: Path("/shots/" + name)}


def test_frames_before_nought_are_written_as_our_own_are():
    assert sequences.paths("/p.####.exr", FrameRange(-12, -12)) == {-12: Path("/" + name_at("p.####.exr", -12))}


def test_frames_before_nought_are_found_as_blender_and_as_nuke_write_them(tmp_path):
    there = {-2: tmp_path / "p.-0002.exr", -1: tmp_path / "p.-001.exr", 0: tmp_path / "p.0000.exr"}
    for path in there.values():
        path.touch()
    assert sequences.paths(str(tmp_path / "p.####.exr"), FrameRange(-2, 0)) == there


@pytest.mark.parametrize("name", ["matte@2x.exr", "matte #2.exr", "matte 100%done.exr"])
def test_one_picture_may_have_a_name_that_looks_like_a_pattern(tmp_path, name):
    still, frames = tmp_path / name, FrameRange(1001, 1002)
    still.touch()
    assert sequences.found("mask", str(still), frames) == {1001: still, 1002: still}
    of_a_sequence = next(iter(sequences.paths(str(still), frames).values()))
    of_a_sequence.touch()
    assert sequences.found("mask", str(still), frames) == {1001: of_a_sequence}


@pytest.mark.parametrize(
    ("plate", "frames", "said"),
    [
        (".", "1001-1006", "is a folder. Name the files in it, like plate.####.exr."),
        ("plate.####.exr", "1-6", "in frames 1-6; there is plate.1001.exr to plate.1006.exr. Check path and frames"),
        ("plate.######.exr", "1001-1006", "there is plate.1001.exr to plate.1006.exr. Check path and frames; in #### each # is a digit."),
        ("plat.####.exr", "1001-1006", "in frames 1001-1006. Check"),
        ("plate.*.exr", "1001-1006", "in frames 1001-1006. Check"),
    ],
)
def test_a_plate_that_is_not_found_is_told_with_what_lies_there(small, monkeypatch, plate, frames, said):
    monkeypatch.chdir(Path(small.patterns["plate"]).parent)
    with pytest.raises(InputError) as refused:
        sequences.found("plate", plate, parse_range(frames))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--server"], 1, "No server runs here"),
        (["--reference", "any.png"], 2, "reference: The model dust takes no reference images. Leave them out"),
        (["--dials", "none.json"], 2, "none.json can't be read (No such file or directory). Give"),
    ],
)
def test_what_is_not_there_is_told_before_the_shot_is_read(run, small, tmp_path, monkeypatch, options, code, said):
    monkeypatch.setattr(sequences, "hashed", lambda *a: pytest.fail("the shot was read"))
    ended, _, error = run(*asking(small, tmp_path / "out", *options))
    assert ended == code and said in error


def test_a_reference_that_is_not_there_is_told_before_the_shot_is_read(small, monkeypatch):
    monkeypatch.setattr(sequences, "hashed", lambda *a: pytest.fail("the shot was read"))
    with pytest.raises(InputError, match="There is no file") as refused:
        sources = command_generate.Sources({"plate": small.patterns["plate"]}, references=("none.png",))
        command_generate.with_files([small.request()], sources)
    assert refused.value.input == "reference"


def test_a_take_that_is_not_there_is_not_called_one_that_is_left_as_it_is(run, tmp_path):
    code, _, error = run("generate", "--resume", tmp_path / "take_0009")
    assert code == 1 and "There is no folder %s." % (tmp_path / "take_0009") in error


def test_stop_does_not_advise_to_start_a_server(run):
    code, _, error = run("stop")
    assert code == 1 and "No server runs here" in error and "--connection FILE" in error and "serve" not in error.split("absent")[1]


def test_a_list_of_keys_that_is_not_there_is_asked_for(run, tmp_path):
    keys = tmp_path / "keys.txt"
    code, _, error = run("serve", "--data", tmp_path / "data", "--bind", "0.0.0.0", "--client-keys", keys)
    assert code == 1 and "There is no file %s. Make it" % keys in error


def test_the_help_names_every_dial(run):
    said = run("generate", "--help")[1]
    assert all(re.search(r"\b%s[,.]" % name, said) for name in DIALS)


def test_takes_shows_colours_in_one_way(run, small, tmp_path):
    for tint in ("0.6,0.5,0.4", "1001:0.6,0.5,0.4;1006:0.3,0.3,0.3"):
        assert run(*asking(small, tmp_path / "out", "--frames", "1001-1002", "--set", "tint=" + tint))[0] == 0
    said = run("takes", tmp_path / "out")[1]
    assert " 0.6/0.5/0.4 " in said and " 0.6/0.5/0.4→0.54/0.46/0.38 " in said
    assert json.loads(run("takes", tmp_path / "out", "--json")[1])[0]["tint"] == [0.6, 0.5, 0.4]


def test_doctor_finds_no_fault_in_a_port_that_is_taken_and_no_weights_in_the_guide(monkeypatch):
    def taken(self, address):
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr("socket.socket.bind", taken)
    assert doctor._port().good and "next free" in doctor._port().found  # `serve` takes it
    assert {f.what: f.found for f in doctor._models()}["model guide"] == "no weights, Apache-2.0"


def test_a_take_that_was_killed_just_before_its_end_is_whole(run, small, tmp_path):
    assert run(*asking(small, tmp_path / "out", "--frames", "1001-1002"))[0] == 0
    take = tmp_path / "out/take_0001"
    before = (take / "take.json").read_bytes()
    request = json.loads(before)["request"]
    patterns = {name: str(small.patterns[name]) for name in ("plate", "depth", "mask")}
    note = {"take_id": json.loads(before)["take_id"], "request": request, "sources": {"patterns": patterns, "channels": {}}}
    (take / "unfinished.json").write_text(json.dumps(note))
    code, said, error = run("generate", "--resume", take)
    assert code == 0 and str(take) in said, error
    assert (take / "take.json").read_bytes() == before and not (take / "unfinished.json").exists()


def test_a_take_in_a_folder_that_can_not_be_written_is_not_gone_on_with(run, small, tmp_path, monkeypatch):
    """Said before a file is hashed and the shot is simulated anew, not when its next frame is to be written."""
    fail_after(monkeypatch, 1)
    assert run(*asking(small, tmp_path / "out"))[0] == 130

    def read_only(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(command_generate.tempfile, "TemporaryFile", read_only)
    monkeypatch.setattr(sequences, "hash_file", None)
    code, _, error = run("generate", "--resume", tmp_path / "out/take_0001")
    assert code == 1 and "%s can't be written: no access" % (tmp_path / "out/take_0001") in error


@pytest.mark.parametrize("changed", [{"take_id": "../../../precious"}, {"take_id": ""}, {"sources": {}}, {"sources": 7}])
def test_a_note_that_is_not_as_it_was_written_is_refused_and_takes_nothing_away(run, small, tmp_path, monkeypatch, changed):
    """A take's id names the folder of work under way, which is removed in the end."""
    fail_after(monkeypatch, 1)
    assert run(*asking(small, tmp_path / "out"))[0] == 130
    (tmp_path / "precious").mkdir()
    note = tmp_path / "out/take_0001/unfinished.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), **changed}))
    code, _, error = run("generate", "--resume", tmp_path / "out/take_0001")
    assert code == 1 and "%s is damaged" % note in error
    assert (tmp_path / "precious").is_dir()


def test_a_take_that_another_process_makes_is_left_to_it(run, small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_after(patch, 1)
        assert run(*asking(small, tmp_path / "out"))[0] == 130
    take = tmp_path / "out/take_0001"
    before = {path.name for path in take.iterdir()}
    with locks.opened(command_generate.scratch_folder(TakeWriter.resume(take).take_id) / "lock") as other:
        locks.hold(other)
        code, _, error = run("generate", "--resume", take)
    assert code == 1 and "%s is being made by another process" % take in error and "Traceback" not in error
    assert {path.name for path in take.iterdir()} == before
    request, by_hash, late = command_generate.resumed(take)  # and one that waited until it was whole has nothing left to do
    assert run("generate", "--resume", take)[0] == 0 and verify_take(take) == []
    command_generate.run_here(request, by_hash, late, None, lambda: False, "cpu")
    assert verify_take(take) == [] and not list((tmp_path / "XDG_CACHE_HOME/platebridge/scratch").glob(late.take_id))


def test_an_input_that_is_rendered_again_while_the_take_is_made_ends_it(run, small, tmp_path, monkeypatch):
    """take.json would name a file that the pixels are not from. The same file written again is no trouble."""
    plate, other = (small.paths["plate"][frame] for frame in (1006, 1005))
    real, written = StandIn.generate, [plate.read_bytes(), other.read_bytes()]

    def generate(self, *arguments, **named):
        data = written.pop(0)
        plate.write_bytes(data)
        os.utime(plate, ns=(1, len(data)))
        return real(self, *arguments, **named)

    monkeypatch.setattr(StandIn, "generate", generate)
    assert run(*asking(small, tmp_path / "out"))[0] == 0
    code, _, error = run(*asking(small, tmp_path / "out", "--seed", "2"))
    assert code == 2 and "plate frame 1006" in error and "%s was written anew while the take was made" % plate in error
    assert not (tmp_path / "out/take_0002/take.json").exists()


def test_an_input_that_is_rendered_again_before_its_take_has_opened_it_ends_it(run, small, tmp_path, monkeypatch, write_exr):
    """All files are hashed before the first take of a wedge, which works for hours; and one that is not compressed keeps its size."""
    plate, real = small.paths["plate"][1006], command_generate.begin
    write_exr(plate, np.full((32, 48, 3), 0.5), "RGB", "half", attributes={"compression": "none"})

    def begin(*arguments):
        data = bytearray(plate.read_bytes())
        data[-1] ^= 1
        plate.write_bytes(data)
        os.utime(plate, ns=(1, data[-1]))
        return real(*arguments)

    assert run(*asking(small, tmp_path / "out"))[0] == 0
    monkeypatch.setattr(command_generate, "begin", begin)
    code, _, error = run(*asking(small, tmp_path / "out", "--wedge", "light=1,2"))
    assert code == 2 and "plate frame 1006" in error and "%s was written anew while the take was made" % plate in error
    assert [t.path.name for t in list_takes(tmp_path / "out")] == ["take_0001"]


@pytest.mark.parametrize("within", ["", "jobs"])
def test_a_file_where_the_servers_folder_should_be_is_said_so(run, tmp_path, within):
    (tmp_path / "data").write_text("not a folder")
    code, _, error = run("serve", "--data", tmp_path / "data" / within)
    assert code == 1 and "%s is a file, not a folder. Choose another --data." % (tmp_path / "data") in error


def test_a_drive_that_has_gone_is_not_said_to_be_a_file(monkeypatch):
    """Of Windows: Z:\\takes, and nothing under that letter."""
    with monkeypatch.context() as lost:
        for asked in ("exists", "is_dir"):
            lost.setattr(Path, asked, lambda path: False)
        with pytest.raises(StorageError, match=r"There is no drive /\. Bring it back, or choose another --out\."):
            command_generate.check_writable(Path("/takes/of/ours"))


def test_ctrl_c_while_files_are_read_ends_there(run, small, tmp_path, monkeypatch):
    hashed = []

    def hash_file(path):
        hashed.append(path)
        signal.raise_signal(signal.SIGINT)
        return "0" * 64

    class OnThisThread:
        """A signal can be raised on the main thread alone."""

        def __init__(self, count): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def map(self, work, items):
            return map(work, items)

    monkeypatch.setattr(sequences, "hash_file", hash_file)
    monkeypatch.setattr(sequences, "ThreadPoolExecutor", OnThisThread)
    code, _, error = run(*asking(small, tmp_path / "out"))
    assert code == 130 and "Cancelling" in error and len(hashed) == 1
    assert not (tmp_path / "out").exists()


def test_take_json_says_of_the_comps_what_their_headers_say(run, small, tmp_path):
    """Over a plate that a model made one frame of; the effect itself is no model's."""
    plate, word = small.paths["plate"][1002], "Iptc4xmpExt:DigitalSourceType"
    plate.write_bytes(images.encode(images.read(plate), {word: "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"}))
    assert run(*asking(small, tmp_path / "out", "--model", "guide", "--frames", "1001-1002"))[0] == 0
    take = tmp_path / "out/take_0001"
    told = json.loads((take / "take.json").read_text())["digital_source_type"]
    assert told["comp"] == told["preview"] == images.metadata(take / "comp.1002.exr")[0][word]
    assert told["comp"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert told["effect"] == images.metadata(take / "effect.1002.exr")[0][word]


def test_a_second_ctrl_c_does_not_wait_for_the_step_that_runs(small, tmp_path):
    program = Path(__file__).with_name("command_with_stand_in.py")
    out = [sys.executable, str(program), *map(str, asking(small, tmp_path / "out", "--json"))]
    process = subprocess.Popen(out, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "STEP_WITHOUT_END": "1"})
    try:
        next(line for line in process.stdout if line == "a step\n")
        process.send_signal(signal.SIGINT)
        next(line for line in process.stderr if "Cancelling" in line)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130 and "To go on" in process.stderr.read()
    finally:
        process.kill()


def test_server_may_be_named_with_an_equals_sign(run, small, tmp_path, monkeypatch):
    monkeypatch.setattr("platebridge_server.command_generate.PATIENCE", 0.5)
    code, _, error = run(*asking(small, tmp_path / "out", "--server=%s" % (tmp_path / "none.json")))
    assert code == 1 and str(tmp_path / "none.json") in error


def test_a_path_that_the_terminal_has_no_letter_for_is_told_all_the_same(tmp_path):
    """A farm's log may be in ASCII, and the output of a Windows command in a code of its own."""
    named = [sys.executable, "-m", "platebridge_server", "cache", "show", "--folder", str(tmp_path / "l\u00e9opard")]
    done = subprocess.run(named, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0 and b"l\\xe9opard" in done.stdout, done.stderr


def test_files_that_begin_with_a_mark_as_windows_editors_write_it_are_read(tmp_path):
    (tmp_path / "camera.json").write_text(json.dumps(CAMERA), encoding="utf-8-sig")
    (tmp_path / "dials.json").write_text('{"rise": 1.5}', encoding="utf-8-sig")
    assert command_generate.read_camera(tmp_path / "camera.json").focal_mm == 35.0
    assert command_generate.read_dials(tmp_path / "dials.json") == {"rise": 1.5}


def test_takes_shows_a_prompt_as_it_was_typed(run, small, tmp_path):
    run(*asking(small, tmp_path / "out", "--frames", "1001-1002"))
    run(*asking(small, tmp_path / "out", "--frames", "1001-1002", "--seed", "2"))
    for number, prompt in (("1", "a [wide] shot"), ("2", "[/] grey dust")):
        path = tmp_path / ("out/take_000%s/take.json" % number)
        told = json.loads(path.read_text())
        told["request"]["paint"] = {**told["request"].get("paint", {}), "prompt": prompt}
        path.write_text(json.dumps(told))
    code, said, error = run("takes", tmp_path / "out")
    assert code == 0 and "a [wide] shot" in said and "[/] grey dust" in said, error


def test_takes_shows_the_seconds_of_a_long_final_as_people_read_them(run, small, tmp_path):
    assert run(*asking(small, tmp_path / "out", "--frames", "1001-1002"))[0] == 0
    path = tmp_path / "out/take_0001/take.json"
    told = json.loads(path.read_text())
    told["seconds"]["total"] = 41234.56
    path.write_text(json.dumps(told))
    assert " 41235 " in run("takes", tmp_path / "out")[1]


def test_a_cache_in_a_folder_with_brackets_is_named_as_it_is(run, tmp_path):
    folder = tmp_path / "cache [old]"
    for what in ("show", "clear"):
        assert str(folder) in run("cache", what, "--folder", folder)[1]


def test_doctor_says_of_a_gpu_that_can_not_be_used_what_it_says(run, monkeypatch):
    import torch

    def full(index):
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    code, said, _ = run("doctor", "--json")
    gpu = next(f for f in json.loads(said) if f["what"] == "cuda:0")
    assert code == 1 and gpu["found"] == "CUDA error: out of memory" and "--device cpu" in gpu["mend"]


def test_doctor_says_where_models_lie_and_when_that_is_no_folder(monkeypatch, tmp_path):
    """A share that is not there makes all that lie on it 'not installed'."""

    def found():
        (finding,) = (f for f in doctor._models() if f.what == "models")
        return finding

    monkeypatch.setenv("PLATEBRIDGE_MODELS", str(tmp_path))
    assert found().good and found().found == "in %s" % tmp_path
    monkeypatch.setenv("PLATEBRIDGE_MODELS", str(tmp_path / "gone"))
    assert found().good and "there is no folder %s" % (tmp_path / "gone") in found().found
    (tmp_path / "file").touch()
    monkeypatch.setenv("PLATEBRIDGE_MODELS", str(tmp_path / "file"))
    assert not found().good and "%s is a file" % (tmp_path / "file") in found().found and "PLATEBRIDGE_MODELS" in found().mend


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_that_is_none_is_refused(run, tmp_path, monkeypatch, port):
    """libzmq would take it, and listen at another."""
    monkeypatch.setattr("platebridge_server.server.serve", lambda *given, **named: None)
    code, _, error = run("serve", "--data", tmp_path / "data", "--port", port)
    assert code == 2 and "--port" in error


@pytest.mark.parametrize("what", ["verify", "fetch", "remove"])
def test_a_model_that_ships_is_said_to_be_here(run, what):
    code, _, error = run("models", what, "dust")
    assert code == 1 and "dust is a part of Platebridge" in error and "platebridge doctor" in error and "not installed" not in error


@pytest.mark.parametrize("package", ["torch", "av"])
def test_doctor_goes_on_after_a_package_that_can_not_be_loaded(run, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    code, said, _ = run("doctor", "--json")
    found = json.loads(said)
    assert code == 1 and any(package in f["found"] and "pip install" in f["mend"] for f in found if not f["good"])
    assert "memory" in [f["what"] for f in found]


def test_takes_lists_the_rest_and_names_those_that_cant_be_read(run, tmp_path):
    """One was cut short by a full disk, one is of a newer Platebridge."""
    request = GenerateRequest("tower", FrameRange(1001, 1048), Inputs()).to_dict()
    files = [{"frame": 1001, "sha256": "0" * 64, "size": 1}]
    request["inputs"] = {name: {"name": name, "files": files} for name in ("plate", "depth", "mask")}
    for tree in (request, {}, {**request, "version": 99}, request):
        writer = TakeWriter.create(tmp_path, "1" * 32, {"request": tree})
    (tmp_path / "take_0002" / "take.json").write_bytes(b'{"take_id": ')
    code, said, told = run("takes", tmp_path, "--json")
    assert code == 0 and [row["take"] for row in json.loads(said)] == ["take_0001", "take_0004"]
    first, second = told.splitlines()
    assert first.startswith(str(tmp_path / "take_0002" / "take.json") + " is damaged.") and "take_0003 can't be listed" in second
    assert "take_0004" in run("takes", tmp_path)[1]
    for take in ("take_0001", "take_0004"):
        (writer.path.with_name(take) / "take.json").write_bytes(b"[]")
    code, said, told = run("takes", tmp_path)
    assert code == 2 and [n for n in range(1, 5) if "take_000%d" % n in told] == [1, 2, 3, 4]


def test_a_place_that_the_system_refuses_is_named_in_a_sentence(run, small, tmp_path):
    """A share that has gone, a folder that may not be looked into, a name that is too long: all are OSErrors."""
    far = tmp_path / ("x" * 300)
    named = ["--shot", "tower"]
    code, said, error = run(*asking(small, tmp_path / "out", *named, "--plate", far / "p.####.exr"))
    assert code == 2 and not said and "File name too long" in error and "plate: %s" % far in error
    with pytest.raises(InputError, match="File name too long"):
        sequences.pictures("reference", (str(far / "p.png"),))
    for command in (
        asking(small, far, *named),
        ["cache", "show", "--folder", far],
        ["cache", "clear", "--folder", far],
        ["models", "add", far],
    ):
        code, said, error = run(*command)
        assert code == 1 and not said and "File name too long" in error and str(far) in error
    assert json.loads(run("models", "add", far, "--json")[1])["event"] == "Failed"
    server = next(f for f in json.loads(run("doctor", "--connection", far, "--json")[1]) if "File name too long" in f["found"])
    assert server["what"] == "server" and str(far) in server["found"] and "pip" not in server["mend"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--camera", "--dials"])
def test_a_file_of_brackets_is_no_json(run, small, tmp_path, option):
    (tmp_path / "odd.json").write_text("[" * 100_000)
    code, _, error = run(*asking(small, tmp_path / "out", option, tmp_path / "odd.json"))
    assert code == 2 and "odd.json" in error


@pytest.mark.parametrize("user", [ModuleNotFoundError("No module named 'pwd'"), "ren\udce9"], ids=["none", "no text"])
def test_a_user_without_a_name_makes_takes_too(run, small, tmp_path, monkeypatch, user):
    """A service on Windows with an empty environment has none, and there Python looks for a module of Unix."""

    def asked():
        if isinstance(user, str):
            return user
        raise user

    monkeypatch.setattr(command_generate.getpass, "getuser", asked)
    code, _, error = run(*asking(small, tmp_path / "out", "--frames", "1001-1002"))
    assert code == 0, error
    assert json.loads((tmp_path / "out/take_0001/take.json").read_text())["origin"]["user"] == ""


@pytest.mark.parametrize("frame", [".####", ".%04d", "_@@@@", "_$F4", "$F", "-####.left", ""])
def test_a_shot_is_called_as_its_plate_without_the_frame(frame):
    assert cli._shot_of("/shots/sh010_plate%s.exr" % frame) == "sh010_plate"


def test_a_plate_that_can_not_name_the_shot_is_told_with_the_option_that_does(run, small, tmp_path):
    """On Linux and macOS a file may be called so."""
    plate = tmp_path / "sh:010.####.exr"
    for frame in range(small.first, small.last + 1):
        shutil.copy(small.paths["plate"][frame], tmp_path / ("sh:010.%d.exr" % frame))
    code, _, error = run(*asking(small, tmp_path / "out", "--plate", plate))
    assert code == 2 and "'sh:010' can't name a shot" in error and "--shot" in error
    assert run(*asking(small, tmp_path / "out", "--plate", plate, "--shot", "sh010"))[0] == 0


@pytest.mark.parametrize("device", ["gpu", "cpu,cuda:99", "cpu:3"])
def test_a_server_for_a_device_that_is_none_does_not_start(run, tmp_path, device):
    """Its worker would, and would end each take with that."""
    code, _, error = run("serve", "--data", tmp_path / "data", "--device", device, "--connection", tmp_path / "connection.json")
    assert code == 2 and "The device %s can't be used" % device.split(",")[-1] in error
    assert not (tmp_path / "connection.json").exists()


def installed():
    """The command as `pip install` makes it."""
    with open(Path(__file__).parents[2] / "pyproject.toml", "rb") as file:
        module, _, function = tomllib.load(file)["project"]["scripts"]["platebridge"].partition(":")
    return ["-c", "from %s import %s as command; command()" % (module, function)]


@pytest.mark.parametrize("command", [["-m", "platebridge_server"], installed()], ids=["module", "installed"])
def test_ctrl_c_while_the_command_is_being_loaded_ends_it_in_silence(tmp_path, command):
    # Whoever runs the tests in a shell's background has told all of them to take no notice of Ctrl-C.
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nsignal.raise_signal(signal.SIGINT)\n"
    (tmp_path / "typer.py").write_text(heard)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, *command, "--version"], capture_output=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["--version"], ["--help"], ["cache", "show"], ["cache", "show", "--json"]], ids=" ".join)
def test_a_full_disk_under_what_a_command_says_is_a_sentence(command, unbuffered):
    with open("/dev/full", "wb") as full:
        named = [sys.executable, "-m", "platebridge_server", *command]
        done = subprocess.run(named, stdout=full, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1 and done.stderr.decode().split("\n")[0].startswith("The disk is full"), done.stderr
    assert b"Traceback" not in done.stderr and b"ignored" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["--version"], ["cache", "show"]], ids=" ".join)
def test_nobody_who_reads_what_a_command_says_is_no_error_of_its_own(command, unbuffered):
    reads, writes = os.pipe()
    os.close(reads)
    named = [sys.executable, "-m", "platebridge_server", *command]
    done = subprocess.run(named, stdout=writes, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")


def too_much_for_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB")


def too_much_for_its_driver():
    raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later.")


@pytest.mark.parametrize(
    "too_much",
    [lambda: np.empty(1 << 55), lambda: torch.empty(1 << 50), too_much_for_a_gpu, too_much_for_its_driver],
    ids=["NumPy", "torch", "GPU", "driver"],
)
def test_a_machine_without_memory_for_the_shot_is_told_in_a_sentence(run, small, tmp_path, monkeypatch, too_much):
    monkeypatch.setattr(StandIn, "generate", lambda *given, **named: too_much())
    code, _, error = run(*asking(small, tmp_path / "out", "--device", "cpu"))
    assert code == 1 and "There was not enough memory on cpu" in error and "--device" in error and "Traceback" not in error


def test_the_version_is_printed(run):
    assert run("--version")[:2] == (0, platebridge.__version__ + "\n")
