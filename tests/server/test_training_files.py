# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""What a training run leaves on the disk: whole or as it was before, whatever comes between."""

import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from platebridge import takes  # noqa: E402
from platebridge.errors import PlatebridgeError, StorageError  # noqa: E402
from platebridge_server.models import dust  # noqa: E402
from platebridge_server.training import data, train  # noqa: E402
from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_training import SMALL, checkpoint, clips, tiny  # noqa: E402, F401

pytestmark = pytest.mark.usefixtures("one_thread")


def test_weights_that_are_no_numbers_are_not_exported(tmp_path):
    checkpoint(tmp_path / "run", spoilt=True)
    with pytest.raises(PlatebridgeError, match=r"enter.weight"):
        train.export(tmp_path / "run", "0", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_checkpoint_takes_the_place_of_the_one_before_on_windows_too(clips, tmp_path, monkeypatch):
    """There a file can't be renamed to one that is there."""
    real = os.rename

    def as_on_windows(this, that, **how):
        if os.path.exists(that):
            raise FileExistsError(183, "Cannot create a file when that file already exists", str(this), 183, str(that))
        real(this, that, **how)

    monkeypatch.setattr(os, "rename", as_on_windows)
    for _ in range(2):
        checkpoint(tmp_path)
        data.write_shard(tmp_path / "sim_00001.safetensors", clips)
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_a_full_disk_is_told_in_a_sentence_and_costs_no_earlier_checkpoint(tmp_path, monkeypatch):
    checkpoint(tmp_path)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(tensors, path, metadata=None):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(data, "save_file", full)
    with pytest.raises(StorageError, match=r"checkpoint.safetensors can't be written .*No space left"):
        checkpoint(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_checkpoint_that_a_virus_scanner_looks_at_is_replaced_a_moment_later(tmp_path, monkeypatch):
    """Windows refuses for as long, and a run of hours would end by it."""
    checkpoint(tmp_path)
    monkeypatch.setattr(takes, "_AGAIN", (0, 0))
    real, refused = os.replace, []

    def scanned(this, that):
        refused.append(str(that))
        if refused.count(str(that)) < 3:
            raise PermissionError(13, "Access is denied", str(this), 5, str(that))
        real(this, that)

    monkeypatch.setattr(os, "replace", scanned)
    checkpoint(tmp_path)
    data.save_whole(tmp_path / "sim_00001.safetensors", {"truth": torch.zeros(1)})
    assert sorted({path.rsplit(".", 1)[-1] for path in refused}) == ["json", "safetensors"] and len(refused) == 9


def test_what_a_run_goes_on_with_does_not_keep_the_checkpoints_file_open(tmp_path, monkeypatch):
    """Tensors that safetensors reads are the file itself, mapped, and Windows lets no other take its place: the run would end at its
    first checkpoint."""
    network = dust.DustNetwork(**SMALL)
    average = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimiser = torch.optim.AdamW(network.parameters())
    sum(value.sum() for value in network.parameters()).backward()
    optimiser.step()
    train._save(tmp_path, network, average, optimiser, {})
    read = []
    monkeypatch.setattr(train, "load_file", lambda path: read.append(load_file(path)) or read[0])
    train._restore(tmp_path, network, average, optimiser)
    mapped = {tensor.data_ptr() for tensor in read[0].values()}
    ours = [*network.state_dict().values(), *average.values(), *(v for slot in optimiser.state.values() for v in slot.values())]
    assert len(ours) == len(mapped) and mapped.isdisjoint(tensor.data_ptr() for tensor in ours)
