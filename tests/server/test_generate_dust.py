# SPDX-License-Identifier: Apache-2.0
"""The whole way once with the model that ships: real guide, real network, real files; here and on an artist's own guide."""

import json

import numpy as np
import OpenImageIO as oiio
import pytest
from platebridge.takes import list_takes, verify_take
from platebridge_server import command_generate as command
from platebridge_server.models import dust


def pixels(path):
    """{channel: (h, w) in its own type}, by OIIO."""
    file = oiio.ImageInput.open(str(path))
    spec = file.spec()
    kinds = spec.channelformats or (spec.format,) * spec.nchannels
    return {n: file.read_image(0, 0, c, c + 1, k)[..., 0] for c, (n, k) in enumerate(zip(spec.channelnames, kinds))}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def take(tmp_path):
    """`take(shot, **dials)`: generates here, gives the take's folder. Other inputs by name."""
    from platebridge.frames import FrameRange
    from platebridge.request import ShotSettings

    def make(shot, inputs=None, model="dust", **dials):
        sources = command.Sources({**{n: shot.patterns[n] for n in ("plate", "depth", "mask", "vectors")}, **(inputs or {})})
        dials = {"detail": 24, "debris": 4, "amount": 2.0, **dials}
        asked = command.asked("tiny", FrameRange(shot.first, shot.last), ShotSettings(), model=model, dials=dials)
        (request,), by_hash = command.with_files([asked], sources)
        writer = command.begin(request, sources, tmp_path / "out")
        command.run_here(request, by_hash, writer, lambda event: None, lambda: False, "cpu")
        return writer.path

    return make


def test_the_shipped_model_generates_a_take_that_keeps_every_law(take, tiny_shot):
    folder = take(tiny_shot, seed=7)
    assert verify_take(folder) == []
    told = json.loads((folder / "take.json").read_text())
    assert told["model"] == dust.card() and told["weights_sha256"] == dust.card()["weights_sha256"]
    assert not pixels(folder / "effect.1001.exr")["A"].any()
    for frame in tiny_shot.paths["plate"]:
        plate = pixels(tiny_shot.paths["plate"][frame])
        comp, effect = (pixels(folder / ("%s.%d.exr" % (kind, frame))) for kind in ("comp", "effect"))
        depth, clear = pixels(tiny_shot.paths["depth"][frame])["Z"], effect["A"] == 0
        assert all((comp[c].view(np.uint16)[clear] == plate[c].view(np.uint16)[clear]).all() for c in "RGB")
        assert not (effect["A"][depth < effect["Z"]] > 0).any() and not effect["A"][tiny_shot.post()].any()
    assert 0.1 < effect["A"].max() <= 1 and np.isfinite(effect["R"]).all()


def test_another_seed_changes_detail_and_the_same_seed_nothing(take, tiny_shot):
    first, again, other = (pixels(take(tiny_shot, seed=seed, quality="draft") / "effect.1008.exr") for seed in (7, 7, 8))
    assert all((first[c] == again[c]).all() for c in first)
    changed = np.abs(first["A"].astype(float) - other["A"])
    assert changed.max() > 0 and changed.mean() < 0.05


def test_texture_softens_the_detail_and_leaves_the_guide_and_the_amount_of_dust(take, tiny_shot):
    folders = [take(tiny_shot, seed=7, quality="draft", texture=texture) for texture in (1.0, 0.5, 0.0)]
    told = [json.loads((folder / "take.json").read_text()) for folder in folders]
    assert told[0]["simulation"] == told[1]["simulation"]
    full, half, none = (pixels(folder / "effect.1008.exr")["A"].astype(np.float32) for folder in folders)
    assert 0 < np.abs(half - none).mean() < np.abs(full - none).mean()
    assert half.mean() == pytest.approx(full.mean(), rel=0.1)


@pytest.mark.parametrize("with_depth", [False, True])
def test_an_artists_own_guide_leads_the_model(take, tiny_shot, tmp_path, write_exr, with_depth):
    h, w = 40, 60
    rows, columns = np.mgrid[0:h, 0:w]
    alpha = np.clip(1.5 - np.hypot(rows - 20, columns - 30) / 8, 0, 1)
    picture = np.stack([0.9 * alpha, 0.6 * alpha, 0.3 * alpha, alpha] + ([np.where(alpha > 0, 18.0, 1e10)] if with_depth else []), -1)
    for frame in tiny_shot.paths["plate"]:
        write_exr(tmp_path / ("own.%d.exr" % frame), picture, ["R", "G", "B", "A", "Z"][: picture.shape[-1]])
    folder = take(tiny_shot, {"guide": str(tmp_path / "own.####.exr")}, quality="draft")
    effect = pixels(folder / "effect.1001.exr")
    thick = effect["A"] > 0.5
    assert thick.sum() > 100
    middle = np.argwhere(thick).mean(0) / effect["A"].shape
    assert middle == pytest.approx([0.5, 0.5], abs=0.08)
    assert effect["R"][thick].mean() > 1.5 * effect["B"][thick].mean()  # the artist's colour, brown
    depth = pixels(tiny_shot.paths["depth"][1001])["Z"]
    assert not (effect["A"][depth < effect["Z"]] > 0).any()
    assert effect["A"][tiny_shot.post()].any() != with_depth  # without a depth of its own nothing says what is nearer
    assert len(list_takes(folder.parent)) == 1


def test_every_frame_of_an_artists_guide_has_its_layers_also_one_that_it_leaves_empty(take, tiny_shot, tmp_path, write_exr):
    rows, columns = np.mgrid[0:40, 0:60]
    alpha = np.clip(1.5 - np.hypot(rows - 20, columns - 30) / 8, 0, 1)
    frames = sorted(tiny_shot.paths["plate"])
    for frame in frames:
        covers = alpha * (frame not in (frames[0], frames[3], frames[-1]))
        write_exr(tmp_path / ("own.%d.exr" % frame), np.stack([0.9 * covers, 0.6 * covers, 0.3 * covers, covers], -1), "RGBA")
    folder = take(tiny_shot, {"guide": str(tmp_path / "own.####.exr")}, model="guide")
    layers = [set(pixels(folder / ("effect.%d.exr" % frame))) for frame in frames]
    assert "chroma.R" in layers[1] and all(names == layers[1] for names in layers)


def test_a_preview_of_the_guide_is_a_take_that_no_model_made_and_the_dust_keeps_its_composition(take, tiny_shot):
    looked_at, dust_, final = take(tiny_shot, model="guide"), take(tiny_shot, quality="draft"), take(tiny_shot)
    told, after = (json.loads((folder / "take.json").read_text()) for folder in (looked_at, dust_))
    assert told["model"]["name"] == "guide" and told["weights_sha256"] == "" and verify_take(looked_at) == []
    assert told["digital_source_type"]["effect"].endswith("/algorithmicMedia")
    assert told["digital_source_type"]["comp"].endswith("/composite")
    assert told["simulation"] == after["simulation"]  # a draft finds it done
    last = "effect.%d.exr" % tiny_shot.last
    header = oiio.ImageInput.open(str(looked_at / last)).spec()
    assert header["Iptc4xmpExt:DigitalSourceType"] == told["digital_source_type"]["effect"]
    plain, *finer = (pixels(folder / last)["A"].astype(np.float32) for folder in (looked_at, dust_, final))
    assert plain.max() > 0.1 and all(np.corrcoef(plain.ravel(), fine.ravel())[0, 1] > 0.9 for fine in finer)
