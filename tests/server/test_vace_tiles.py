# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""Large crops: tiles of latents that are blended inside each step, and what becomes of a plate that is larger than the model."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")
torch = pytest.importorskip("torch")

import tiny_vace  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from platebridge_server.models.vace import parts, windows  # noqa: E402
from platebridge_server.models.vace.denoise import Recipe, denoise  # noqa: E402
from vace_takes import alone, frames, guides, installed, make, pixels, wanted  # noqa: E402, F401


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return parts.load(tiny_vace.make(tmp_path_factory.mktemp("vace")), torch.float32)


@pytest.fixture(scope="module")
def told():
    made = torch.Generator().manual_seed(1)
    words = torch.randn(1, 8, tiny_vace.WIDTH, generator=made)
    return torch.randn(1, 96, 3, 12, 16, generator=made), words, words * 0.5


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 100), st.integers(2, 100), st.integers(2, 40), st.integers(2, 40))
def test_the_tiles_weights_sum_to_one_at_every_pixel_and_every_tile_is_whole(h, w, tall, wide):
    """In units of the network's own patches of two latent pixels, which no tile may cut."""
    h, w, tile = 2 * h, 2 * w, (2 * tall, 2 * wide)
    sums = np.zeros((h, w))
    for rows, columns in windows.tiles((h, w), tile):
        assert (len(rows.weights), len(columns.weights)) == (min(h, max(4, tile[0])), min(w, max(4, tile[1])))
        assert rows.first % 2 == columns.first % 2 == 0
        sums[rows.first : rows.stop, columns.first : columns.stop] += np.outer(rows.weights, columns.weights)
    assert np.abs(sums - 1).max() < 1e-9


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(4, 20), st.integers(4, 20), st.integers(2, 21), st.integers(2, 20))
def test_windows_of_tiles_sum_to_one_too(frames_, h, w, length, side):
    sums = np.zeros((frames_, 2 * h, 2 * w))
    for block in windows.blocks((frames_, 2 * h, 2 * w), length, max(1, length // 4), (2 * side, 2 * side)):
        spans = (block.frames, block.rows, block.columns)
        share = np.einsum("t,h,w->thw", *(np.array(span.weights) for span in spans))
        sums[tuple(slice(span.first, span.stop) for span in spans)] += share
    assert np.abs(sums - 1).max() < 1e-9


def test_one_tile_is_no_tiles_bit_for_bit(pipe, told):
    whole = denoise(pipe, *told, Recipe(seed=2, steps=3))
    for tile in ((12, 16), (40, 40)):
        assert torch.equal(denoise(pipe, *told, Recipe(seed=2, steps=3, tile=tile)), whole)
    assert not torch.equal(denoise(pipe, *told, Recipe(seed=2, steps=3, tile=(8, 8))), whole)


def test_tiles_agree_where_the_network_looks_at_each_pixel_alone(pipe, told, monkeypatch):
    def alone_(hidden_states, control_hidden_states, timestep, **_):
        return (torch.tanh(hidden_states + control_hidden_states[:, :16]),)

    monkeypatch.setattr(pipe.transformer, "forward", alone_)
    whole = denoise(pipe, *told, Recipe(seed=2, steps=3))
    cut = denoise(pipe, *told, Recipe(seed=2, steps=3, tile=(8, 8), window=2, overlap=1))
    assert (whole - cut).abs().max() < 1e-5


def test_each_tile_has_its_own_part_of_the_plate_and_the_references_at_its_own_size(pipe, told, monkeypatch):
    seen, real = [], pipe.transformer.forward
    monkeypatch.setattr(pipe.transformer, "forward", lambda **k: (seen.append(k["control_hidden_states"]), real(**k))[1])
    with_reference = torch.cat([torch.zeros_like(told[0][:, :, :1]), told[0]], 2)
    with_reference[:, :16, :1, :8, :8] = 0.7
    out = denoise(pipe, with_reference, *told[1:], Recipe(seed=1, steps=1, tile=(8, 8), guidance=1.0), references=1)
    assert out.shape == (1, 16, 3, 12, 16) and len(seen) == len(windows.tiles((12, 16), (8, 8))) > 3
    for part, (rows, columns) in zip(seen, windows.tiles((12, 16), (8, 8))):
        assert part.shape == (1, 96, 4, 8, 8) and (part[:, :16, 0] == 0.7).all()
        assert torch.equal(part[:, :, 1:], told[0][:, :, :, rows.first : rows.stop, columns.first : columns.stop])


# The whole way.


@pytest.fixture(scope="module")
def shot(tmp_path_factory, tiny_maker):
    """Larger than the tiny model's largest size, 96x64, wherever there is dust."""
    return tiny_maker(tmp_path_factory.mktemp("large"), width=160, height=112, frames=5)


def test_a_crop_that_is_too_large_is_shrunk_or_painted_in_tiles_at_the_plates_own_size(make, shot, tmp_path):
    shrunk, tiled = (make(wanted(shot, large=large, steps=1))[1] for large in ("shrink", "tiles"))
    one, other = (json.loads(files["take.json"]) for files in (shrunk, tiled))
    assert one["painting"]["tiles"] == 1 and one["resampled"]["effect"] == "bicubic" and one["resampled"]["scale"] < 1
    assert other["painting"]["tiles"] > 1 and "resampled" not in other and other["painting"]["recipe"]["tile"] == [8, 12]
    area = other["work_area"]
    assert area["size"] == [area["height"], area["width"]] and area["width"] * area["height"] > 96 * 64
    painted = 0
    for name in frames(tiled):
        effect = pixels(tiled, name, tmp_path / "effect")
        frame = int(name.split(".")[1])
        comp = pixels(tiled, "comp.%d.exr" % frame, tmp_path / "comp")
        plate = pixels({name: shot.paths["plate"][frame].read_bytes()}, name, tmp_path / "plate")
        clear = effect["A"] == 0
        painted += int((~clear).sum())
        assert all((comp[c].view(np.uint16)[clear] == plate[c].view(np.uint16)[clear]).all() for c in "RGB")
    assert painted > 300 and frames(shrunk) != frames(tiled)
