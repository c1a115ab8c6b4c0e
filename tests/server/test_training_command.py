# SPDX-License-Identifier: Apache-2.0
"""`python -m platebridge_server.training` as it is typed: mistakes answered in a sentence, a run in several processes that is stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from platebridge.errors import InputError  # noqa: E402
from platebridge_server import devices  # noqa: E402
from platebridge_server.training import data, distil, simulate, train  # noqa: E402
from platebridge_server.training.__main__ import _arguments, entry  # noqa: E402
from platebridge_server.training.__main__ import main as command  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "options, said",
    [
        ("train --data {} --out {}/run --minutes 1", "holds no clips"),
        ("train --data {} --out {}/run --minutes 1 --from {}/wrong", "wrong holds no weights"),
        ("distil --data {} --out {}/run --minutes 1 --from dust", "holds no clips"),
        ("evaluate --weights {}/wrong", "wrong holds no weights"),
        ("evaluate --set {} --weights {}/wrong", "wrong holds no weights"),
        ("evaluate --set {}/nowhere", "There is no folder"),
        ("export --run {}/wrong --version 1 --to {}/out", "wrong holds no checkpoint"),
        ("sheet --data {} --png {}/sheet.png", "holds no shards"),
        ("train-matte --data {} --out {}/matte.safetensors --minutes 1", "holds no clips"),
        ("train --data {} --out {}/run --minutes 1 --device cuda:99", "The device cuda:99 can't be used"),
        ("evaluate --data {} --device cuda:99", "The device cuda:99 can't be used"),
        ("evaluate --data {} --strip {}/file/strip.png", "file is a file, not a folder"),
        ("evaluate --data {} --json {}/file/figures.json", "file is a file, not a folder"),
        ("train-matte --data {} --out {}/file/matte.safetensors --minutes 1", "file is a file, not a folder"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(tmp_path, capsys, options, said):
    (tmp_path / "file").write_text("")
    assert entry([part.replace("{}", str(tmp_path)) for part in options.split()]) in (1, 2)
    printed = capsys.readouterr()
    assert said in printed.err and "Traceback" not in printed.err and len(printed.err.splitlines()) == 1


def test_the_help_says_of_every_option_what_it_is():
    commands = next(a for a in _arguments()._actions if a.dest == "command").choices
    assert {f"{name} {a.dest}": a.help for name, one in commands.items() for a in one._actions if not a.help} == {}


def test_a_mistake_is_answered_so_by_several_processes_too(tmp_path):
    with pytest.raises(InputError, match="holds no clips"):
        train.train_together(tmp_path, tmp_path / "run", 1.0, 2, threads=1, compiled=False)


def test_weights_that_ship_are_written_over_on_purpose_alone(capsys):
    run = ["export", "--run", "run", "--version", "9"]
    half, whole = [*run, "--to", "there", "--share", "0.5"], [*run, "--ship", "--start", "x"]
    for told, said in ((run, "--to --ship"), (half, "--start"), (whole, "--share")):
        with pytest.raises(SystemExit) as end:
            command(told)
        assert end.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("options", ["evaluate --simulations 0", "make-data --out {} --seeds 1,x", "train --out {} --minutes 1 --threads 0",
                                     "export --run {} --version 1 --to {}/out --share 2", "train --out {} --minutes nan",
                                     "train-matte --data {} --out {}/matte.safetensors --minutes 0",
                                     "distil --data {} --from dust --out {} --minutes 1 --sigma-min 0"])
def test_a_number_that_means_nothing_is_answered_by_the_option(tmp_path, capsys, options):
    with pytest.raises(SystemExit) as end:
        entry([part.replace("{}", str(tmp_path)) for part in options.split()])
    assert end.value.code == 2 and "error: argument --" in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed, used",
    [
        ("train", "the best"),
        ("train --device cpu", "cpu"),
        ("train --processes 2", "cpu"),
        ("distil --from dust", "the best"),
        ("distil --from dust --device cpu", "cpu"),
    ],
)
def test_a_run_takes_the_best_device_there_is_unless_told_otherwise(tmp_path, monkeypatch, typed, used):
    taken = []
    monkeypatch.setattr(devices, "best", lambda: "the best")
    monkeypatch.setattr(train, "train_together", lambda *a, device, **options: taken.append(device))
    monkeypatch.setattr(distil, "distil", lambda *a, device, **options: taken.append(device))
    command(f"{typed} --data {tmp_path} --out {tmp_path}/run --minutes 1".split())
    assert taken == [used]


def test_several_processes_on_a_gpu_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "check", lambda name: None)
    with pytest.raises(SystemExit):
        command(f"train --data {tmp_path} --out {tmp_path}/run --minutes 1 --processes 2 --device cuda:0".split())
    assert "--processes above 1 is for the processor" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_run_in_several_processes_that_is_asked_to_stop_ends_with_a_checkpoint(tmp_path):
    """A farm, or `kill`, asks the process that was started; the others must hear of it."""
    random = torch.Generator().manual_seed(1)
    truth = data.blurred(torch.rand(8, 3, 96, 96, generator=random), 1.0)
    guide, far = data.soft_guide(truth, torch.ones(8, 96, 96), data.SOFT_SIGMA)
    unknown = torch.full((8, 2), torch.nan)
    clip = simulate.Clip(truth, torch.ones(8, 96, 96), guide, far, torch.ones(8, 3) / 3**0.5, unknown)
    data.write_shard(tmp_path / "set_one.safetensors", [clip])
    run = tmp_path / "run"
    told = f"train --data {tmp_path} --out {run} --minutes 60 --processes 2 --threads 1 --no-compile"
    process = subprocess.Popen([sys.executable, "-m", "platebridge_server.training", *told.split()], stderr=subprocess.PIPE, text=True)
    try:
        while not (run / "log.jsonl").exists() and process.poll() is None:
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert json.loads((run / "state.json").read_text())["iterations"] >= 1
