# SPDX-License-Identifier: Apache-2.0
"""The tensor cache: what goes in comes out bit for bit or not at all, within its bounds, whoever else is at work in the folder."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from platebridge_server import cache, cli
from platebridge_server.cache import CacheLimits, TensorCache, digest, key
from typer.testing import CliRunner

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]


def tensors(number, length=64):
    return {"a": torch.arange(length, dtype=torch.float32) + number}


def name(number, kind="text"):
    return key(kind, number=number)


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def cached(folder, **limits):
    """A cache that does not ask how full this machine's disk is."""
    return TensorCache(folder, CacheLimits(reserve=0, **limits))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tensors"


# --- what comes out is what went in ------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=0, max_size=4), st.sampled_from(TYPES), st.integers(0, 9))
def test_any_tensor_comes_back_bit_for_bit_from_memory_and_from_disk(tmp_path_factory, shape, kind, seed):
    folder = tmp_path_factory.mktemp("any")
    made = torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(seed)).to(kind)
    kept = cached(folder)
    kept.put(name(seed), {"made": made, "other": made[None].expand(2, *shape)})
    for reader in (kept, cached(folder)):
        found = reader.get(name(seed))
        assert same(found, {"made": made, "other": torch.stack([made, made])})


def test_what_is_not_there_is_none(folder):
    kept = cached(folder)
    assert kept.get(name(1)) is None
    kept.put(name(1), tensors(1))
    assert kept.get(name(2)) is None and kept.get(name(1, "plate")) is None
    assert (kept.hits, kept.misses) == (0, 3)


def test_what_a_caller_does_to_its_tensors_stays_with_the_caller(folder):
    kept, mine = cached(folder), tensors(1)
    kept.put(name(1), mine)
    mine["a"].zero_()
    kept.get(name(1))["a"].fill_(7)
    assert same(kept.get(name(1)), tensors(1))


def test_kept_makes_once(folder):
    made = []
    for reader in (cached(folder), cached(folder)):
        for _ in range(2):
            assert same(reader.kept(name(3), lambda: made.append(1) or tensors(3)), tensors(3))
    assert made == [1]


# --- keys --------------------------------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(plain, plain)
def test_keys_are_equal_where_the_parts_are_and_only_there(a, b):
    assert key("text", part=a) == key("text", part=json.loads(json.dumps(a)))
    assert (key("text", part=a) == key("text", part=b)) == (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


def test_the_order_of_the_parts_and_the_container_of_a_tensor_do_not_matter():
    array = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")
    assert key("plate", a=1, b=array) == key("plate", b=torch.from_numpy(array), a=1)
    assert key("plate", size=(3, 4)) == key("plate", size=[3, 4])
    assert digest(array) == digest(np.asfortranarray(array)) == digest(torch.from_numpy(array.T.copy()).T)


def test_a_tensors_type_shape_and_every_bit_are_in_its_key():
    base = torch.arange(12, dtype=torch.float32)
    other = base.clone()
    other[7] = float(np.nextafter(np.float32(7), np.float32(8)))
    variants = [base, base.reshape(3, 4), base.reshape(4, 3), base.to(torch.bfloat16), base.to(torch.float64), other, base[:11]]
    assert len({digest(v) for v in variants}) == len(variants)


def test_a_table_can_not_be_mistaken_for_a_tensor():
    tensor = torch.ones(2)
    assert key("text", a=tensor) != key("text", a={"tensor": digest(tensor)})


def test_another_version_of_torch_is_another_key(monkeypatch):
    before = key("text", a=1)
    monkeypatch.setattr(cache.metadata, "version", lambda package: "9.9")
    assert key("text", a=1) != before


@pytest.mark.parametrize("bad, why", [(float("nan"), ValueError), (object(), TypeError), ({1: 2}, TypeError), (b"x", TypeError)])
def test_what_can_not_be_compared_makes_no_key(bad, why):
    with pytest.raises(why):
        key("text", part=bad)


@pytest.mark.parametrize("bad", ["text", "../x/" + "a" * 64, "text/" + "A" * 64, "text/../" + "a" * 61, "partial/x"])
def test_only_keys_are_names(folder, bad):
    with pytest.raises(ValueError):
        cached(folder).put(bad, tensors(1))


# --- bounds ------------------------------------------------------------------------------------------------------------------

ENTRY = 64 * 4  # bytes of `tensors`, without the header


def bytes_on_disk(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 5)), max_size=25))
def test_the_last_used_stay_on_disk_and_the_bound_holds_after_every_step(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("bound")
    one = cached(folder / "size")
    one.put(name(0), tensors(0))
    room = bytes_on_disk(folder / "size")
    kept, expected = cached(folder / "cache", disk=3 * room, memory=0), OrderedDict()
    for what, number in steps:
        if what == "put":
            kept.put(name(number), tensors(number))
            expected[number] = True
            expected.move_to_end(number)
            while len(expected) > 3:
                expected.popitem(last=False)
        else:
            found = kept.get(name(number))
            assert (found is not None) == (number in expected)
            if found is not None:
                assert same(found, tensors(number))
                expected.move_to_end(number)
        assert bytes_on_disk(folder / "cache") <= 3 * room
    assert [entry.name for entry in kept.entries()] == [name(number) for number in reversed(expected)]


def test_memory_is_bounded_and_holds_what_was_used_last(folder):
    kept = cached(folder, memory=2 * ENTRY)
    for number in (1, 2):
        kept.put(name(number), tensors(number))
    kept.get(name(1))
    kept.put(name(3), tensors(3))
    assert list(kept._memory) == [name(1), name(3)] and kept._held == 2 * ENTRY
    kept.put(name(4), tensors(4, 1000))  # larger than all memory: it lies on disk alone
    assert kept._held == 2 * ENTRY and same(kept.get(name(4)), tensors(4, 1000))


def test_an_entry_larger_than_the_whole_cache_is_not_written_and_drives_nothing_out(folder):
    kept = cached(folder, disk=4000, memory=0)
    kept.put(name(1), tensors(1))
    kept.put(name(2), tensors(2, 5000))
    assert [entry.name for entry in kept.entries()] == [name(1)]


def test_a_full_disk_costs_the_cache_and_no_take(folder):
    kept = TensorCache(folder, CacheLimits(reserve=1000), free=lambda path: 1000)
    kept.put(name(1), tensors(1))
    assert same(kept.get(name(1)), tensors(1))  # from memory
    assert kept.entries() == [] and cached(folder).get(name(1)) is None


def test_a_folder_that_can_not_be_written_costs_the_cache_and_no_take(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    kept = cached(tmp_path / "file" / "tensors")
    kept.put(name(1), tensors(1))
    assert same(kept.get(name(1)), tensors(1)) and "can't write" in caplog.text


# --- damage ------------------------------------------------------------------------------------------------------------------


def cut(data):
    return data[:-5]


def flipped(data):  # in the numbers: safetensors itself sees nothing
    return data[:-1] + bytes([data[-1] ^ 1])


def empty(data):
    return b""


def boasting(data):  # a header longer than the file
    return (2**40).to_bytes(8, "little") + data[8:]


@pytest.mark.parametrize("damage", [cut, flipped, empty, boasting])
def test_a_damaged_entry_is_dropped_and_made_anew(folder, damage, caplog):
    cached(folder).put(name(1), tensors(1))
    (path,) = folder.rglob("*.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    kept = cached(folder)
    assert kept.get(name(1)) is None and not path.exists() and "damaged" in caplog.text
    assert same(kept.kept(name(1), lambda: tensors(1)), tensors(1)) and same(cached(folder).get(name(1)), tensors(1))


def test_an_entry_under_another_ones_name_is_not_believed(folder):
    kept = cached(folder)
    kept.put(name(1), tensors(1))
    kept.put(name(2), tensors(2))
    first, second = kept._path(name(1)), kept._path(name(2))
    second.write_bytes(first.read_bytes())
    assert cached(folder).get(name(2)) is None


# --- others at work ----------------------------------------------------------------------------------------------------------


def _work(folder, seed, wrong):
    order = np.random.default_rng(seed).integers(0, 12, 60)
    kept = cached(folder, disk=6000, memory=1000)
    for number in map(int, order):
        if not same(kept.kept(name(number), lambda number=number: tensors(number)), tensors(number)):
            wrong.put(number)


def test_processes_share_a_folder_and_none_ever_reads_what_is_half_written(folder):
    context = multiprocessing.get_context("spawn")
    wrong = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(folder, seed, wrong)) for seed in range(2)]
    for worker in workers:
        worker.start()
    _work(folder, 9, wrong)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0] and wrong.empty()
    assert not list((folder / "partial").iterdir())


def test_clearing_reaches_what_another_process_holds_in_memory(folder):
    kept = cached(folder)
    kept.put(name(1), tensors(1))
    kept.put(name(2, "plate"), tensors(2))
    command = "import pathlib, sys; from platebridge_server.cache import cleared; print(cleared(pathlib.Path(sys.argv[1]), 'text'))"
    freed = subprocess.run([sys.executable, "-c", command, folder], check=True, capture_output=True, text=True).stdout
    assert int(freed) > ENTRY
    assert kept.get(name(1)) is None and same(kept.get(name(2, "plate")), tensors(2))


def test_what_is_no_entry_is_neither_counted_nor_taken_away(folder):
    """A folder that was named by mistake: `platebridge cache clear --folder /mnt/models`."""
    theirs = folder / "wan" / "v1" / "diffusion_pytorch_model.safetensors"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"19 GB")
    kept = cached(folder)
    kept.put(cache.key("latents", n=1), {"x": torch.ones(2)})
    assert [entry.kind for entry in kept.entries()] == ["latents"]
    assert cache.cleared(folder) > 0 and theirs.read_bytes() == b"19 GB"


def test_what_a_killed_process_left_half_written_goes_in_time(folder):
    kept = cached(folder)
    kept.put(name(1), tensors(1))
    old, young = folder / "partial" / "old", folder / "partial" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    kept.put(name(2), tensors(2))
    assert not old.exists() and young.exists()


# --- the command -------------------------------------------------------------------------------------------------------------


def test_the_command_shows_and_clears(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        result = CliRunner().invoke(cli.app, ["cache", *arguments, "--folder", str(folder)])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "Nothing is kept" in run("show")
    kept = cached(folder)
    for number, kind in enumerate(["text", "plate", "plate"]):
        kept.put(name(number, kind), tensors(number))
    said = run("show")
    assert "plate" in said and "text" in said and str(folder) in said
    shown = json.loads(run("show", "--json"))
    assert [(row["kind"], row["entries"]) for row in shown["kinds"]] == [("plate", 2), ("text", 1)]
    assert json.loads(run("clear", "plate", "--json"))["freed"] == shown["kinds"][0]["bytes"]
    assert "freed" in run("clear") and kept.entries() == []


def test_a_kind_that_is_not_kept_is_told_and_not_cleared_in_vain(folder):
    cached(folder).put(name(1, "text"), tensors(1))
    said = CliRunner().invoke(cli.app, ["cache", "clear", "txet", "--folder", str(folder)])
    assert said.exit_code == 2 and "Nothing called 'txet' is kept in %s. There is: text." % folder in said.stderr and not said.stdout
    assert len(cached(folder).entries()) == 1


def test_the_usual_folder_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert cache.place() == tmp_path / "platebridge" / "tensors"
