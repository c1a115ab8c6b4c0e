# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""What is seen of large models: their cards, the list, the command, the doctor, and what a job for one that is not here is told."""

import json
from pathlib import Path

import pytest
from platebridge.errors import ModelError, StorageError
from platebridge_server import cli, doctor
from platebridge_server.models import cards, registry, store
from rich.console import Console
from test_model_store import NAME, folder, home, run, swapped  # noqa: F401
from tiny_model import make_model
from typer.testing import CliRunner


def test_cards_say_what_a_clearance_desk_asks():
    for name in cards.names():
        card = cards.card(name)
        assert (card["licence"] == "Apache-2.0" and card["trained"] and "arXiv" in card["trained_on"]) or "README" in card["trained_on"]
        assert all(side % card["limits"]["multiple_of"] == 0 for size in card["limits"]["sizes"] for side in size)
        revision = card["source"]["revision"]
        assert revision is None or (len(revision) == 40 and card["source"]["revision_source"])


def test_a_job_for_a_model_that_is_not_here_is_refused_before_any_work(tiny_shot, tmp_path):
    from dataclasses import replace

    from platebridge_server.generate import generate

    request = replace(tiny_shot.request(), model=replace(tiny_shot.request().model, name=NAME))
    with pytest.raises(ModelError, match=r"Type: platebridge models fetch"):
        for event in generate(request, tiny_shot.open_file, "0" * 32, scratch=tmp_path / "scratch"):
            assert type(event).__name__ == "Started"


def test_a_model_whose_disk_was_taken_off_is_said_so_in_the_list_and_before_any_work(folder, tmp_path):
    """It lies in a folder of the studio's own, which is only pointed at."""
    store.add(folder)
    folder.rename(tmp_path / "taken off")
    said = run("list")[1]
    assert "lost" in said and str(folder) in said and "here, in" not in said
    with pytest.raises(ModelError, match=r"has lost .*Put it back into"):
        registry.ready(NAME)


def test_a_file_where_the_folder_of_models_should_be_is_said_so(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for named in (tmp_path / "file", tmp_path / "file" / "models"):
        monkeypatch.setenv(store.VARIABLE, str(named))
        for what in (["add", folder], ["fetch", NAME]):
            code, _, error = run(*what)
            assert code == 1 and "%s is a file, not a folder." % (tmp_path / "file") in error and store.VARIABLE in error
        assert "refused" not in run("list")[1]


def test_json_before_the_word_is_not_read_as_sentences():
    code, said, error = run("--json", "list")
    assert code == 2 and not said and "models list" in error


def test_the_command_takes_in_lists_verifies_and_removes(folder, tmp_path):
    code, said, _ = run("list")
    assert code == 0 and "platebridge models fetch wan-vace-14b\n" in said and "46 to 82 GB" in said
    listed = json.loads(run("--json")[1])
    assert listed[NAME]["installed"] is False and listed["dust"]["name"] == "dust"
    code, said, _ = run("add", folder)
    assert code == 0 and "wan-vace-1.3b is here and whole" in said
    assert "here, in %s" % folder.resolve() in run("list")[1]
    assert json.loads(run("verify", NAME, "--json")[1])["source"] == {"kind": "folder", "folder": str(folder.resolve())}
    swapped(folder / "vae" / "diffusion_pytorch_model.safetensors")
    code, _, said = run("verify", NAME)
    assert code == 1 and "not what was taken in" in said
    assert run("remove", NAME)[0] == 0 and run("remove", NAME)[0] == 1


def test_the_doctor_looks_at_large_models_and_does_not_load_them(folder):
    found = {finding.what: finding for finding in doctor._models()}
    assert found["model " + NAME].good and "platebridge models fetch" in found["model " + NAME].found
    store.add(folder)
    assert "SHA-256" in {f.what: f for f in doctor._models()}["model " + NAME].found
    (folder / "model_index.json").unlink()
    assert not {f.what: f for f in doctor._models()}["model " + NAME].good


@pytest.mark.parametrize("package", ["transformers", "ftfy", "accelerate"])
def test_the_doctor_misses_what_only_the_large_models_need(monkeypatch, package):
    """Without one of them a take ends after its guide, on a library's own words."""
    version = doctor.metadata.version

    def asked(name):
        if name == package:
            raise doctor.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor.metadata, "version", asked)
    found = {finding.what: finding for finding in doctor._versions()}["packages"]
    assert not found.good and "absent: %s" % package in found.found and "pip install" in found.mend


def test_a_drive_that_is_not_there_is_said_so(monkeypatch, folder):
    with monkeypatch.context() as lost:
        lost.setattr(Path, "exists", lambda path: False)
        with pytest.raises(StorageError, match=r"There is no drive /\."):
            store.check_room(Path("/models/of/ours"), 1, lambda path: 10**12)
        assert {f.found for f in doctor._disk() if not f.good} == {"there is no drive /"}


def test_a_path_is_shown_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "jobs [old]"))
    folder = make_model(tmp_path / "copied [two]")
    assert "in %s\n" % folder in run("add", folder)[1]
    assert "in %s\n" % folder in run("list")[1]
    monkeypatch.setattr(doctor, "examine", lambda connection: [doctor.Finding(False, "model [a]", "lost [b]", "Put back [c].")])
    said = CliRunner().invoke(cli.app, ["doctor"]).stdout
    assert "model [a]" in said and "lost [b]" in said and "Put back [c]." in said


def test_what_to_open_is_shown_as_it_is(tmp_path, capsys, monkeypatch):
    take = tmp_path / "jobs [old]" / "take_0001"
    take.mkdir(parents=True)
    (take / "preview.mp4").touch()
    monkeypatch.setattr(cli, "out", Console(width=400))
    cli._say_what_to_open([take])
    said = capsys.readouterr().out
    assert "Done. %s\n" % take in said and str(take / "preview.mp4") in said
