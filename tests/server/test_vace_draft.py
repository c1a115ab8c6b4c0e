# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""A draft by `dust`, the final by VACE: one guide, one place, and the draft's finished effect as what leads the final."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")

from platebridge.errors import StorageError
from platebridge_server import colour, dusted, painted
from platebridge_server.models import dust_model
from vace_takes import alone, frames, guides, installed, make, pixels, plain, shot, wanted  # noqa: F401

SEED = 11


def asked(shot, model, **dials):
    return wanted(shot, model, **({"seed": SEED, **dials} if model != "dust" else {"seed": SEED, "steps": 0, "rim": 24, **dials}))


@pytest.fixture
def shown(monkeypatch):
    """{frame: (codes that lead the model, region, area)} of the newest take."""
    seen, scene = {}, painted.Painting.scene

    def watched(self, wanted_frames):
        made = scene(self, wanted_frames)
        seen.clear()
        seen.update({f: (made.dust(f), made.region(f), self.area) for f in wanted_frames})
        return made

    monkeypatch.setattr(painted.Painting, "scene", watched)
    return seen


@pytest.fixture
def drawn(monkeypatch):
    """A line for each run of the dust model."""
    runs, generate = [], dust_model.DustModel.generate
    monkeypatch.setattr(dust_model.DustModel, "generate", lambda self, *a: (runs.append(1), generate(self, *a))[1])
    return runs


def test_the_drafts_own_effect_leads_the_final_and_is_not_made_twice(make, shot, shown, drawn, tmp_path):
    _, draft = make(asked(shot, "dust"), passes=tmp_path / "passes")
    assert len(drawn) == 1
    _, final = make(asked(shot, "tiny-vace", led_by="draft"), passes=tmp_path / "passes")
    assert len(drawn) == 1 and frames(draft, "guide").keys() == frames(final, "guide").keys()
    for name in frames(draft, "guide"):
        theirs, ours = (pixels(files, name, tmp_path / "guide") for files in (draft, final))
        assert all(np.array_equal(theirs[c], ours[c]) for c in theirs)
    code, led = colour.find("display", working_space="Linear Rec.709"), 0
    for frame, (codes, _, area) in shown.items():
        comp = pixels(draft, "comp.%d.exr" % frame, tmp_path / "comp")
        part = slice(area.y, area.y + area.height), slice(area.x, area.x + area.width)
        comp = np.stack([comp[c] for c in "RGB"], -1)[part].astype(np.float32)
        assert area.size == comp.shape[:2]  # this crop is shown at its own size
        wanted_codes = colour.limited(code.encode(comp))[0]
        assert np.abs(codes - wanted_codes).max() < 2e-3  # half floats lie between
        led += int((pixels(draft, "effect.%d.exr" % frame, tmp_path / "effect")["A"][part] > 0.05).sum())
    assert led > 100


def test_it_is_made_where_no_draft_was_and_the_final_is_the_same_bits(make, shot, drawn, tmp_path):
    request = asked(shot, "tiny-vace", led_by="draft", seed=12)
    _, first = make(request)
    assert len(drawn) == 1
    make(asked(shot, "dust", seed=12), passes=tmp_path / "passes")
    _, again = make(request, passes=tmp_path / "passes")
    assert len(drawn) == 2 and frames(first) == frames(again)
    told = json.loads(first["take.json"])["draft"]
    assert told["model"] == "dust" and len(told["weights_sha256"]) == 64 and len(told["passes"]) == 64


def test_a_shelf_that_is_cleared_while_the_painter_works_costs_nothing(make, shot, tmp_path, monkeypatch):
    """A final may take hours, and other takes push the draft off the shelf meanwhile."""
    import shutil

    request = asked(shot, "tiny-vace", led_by="draft", seed=14)
    _, whole = make(request)
    make(asked(shot, "dust", seed=14), passes=tmp_path / "passes")
    scene = painted.Painting.scene

    def cleared(self, wanted_frames):
        for kept in (tmp_path / "passes").iterdir():
            shutil.rmtree(kept)
            kept.mkdir()
        return scene(self, wanted_frames)

    monkeypatch.setattr(painted.Painting, "scene", cleared)
    _, again = make(request, passes=tmp_path / "passes")
    assert frames(again) == frames(whole)


@pytest.mark.skipif(os.name != "posix", reason="the limit that plays a full disk is POSIX")
def test_a_draft_that_a_power_cut_has_damaged_is_made_anew(make, shot, drawn, tmp_path):
    request = asked(shot, "tiny-vace", led_by="draft", seed=15)
    _, whole = make(request)
    make(asked(shot, "dust", seed=15), passes=tmp_path / "passes")
    sorted((tmp_path / "passes").rglob("effect.*.exr"))[-1].write_bytes(b"")
    _, again = make(request, passes=tmp_path / "passes")
    assert len(drawn) == 3 and frames(whole) == frames(again)


def test_a_full_disk_leaves_no_half_of_a_draft_to_be_led_by(make, shot, tmp_path, monkeypatch):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    settled = dusted.Dusting.settled

    def full(self, *frame):
        made = settled(self, *frame)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
        return made

    monkeypatch.setattr(dusted.Dusting, "settled", full)
    try:
        with pytest.raises(StorageError, match="disk is full"):
            make(asked(shot, "tiny-vace", led_by="draft", seed=15))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "work/0/scratch/draft").iterdir()) == []


def test_another_seed_is_another_draft_and_a_guide_is_no_draft(make, shot, shown):
    seen = []
    for dials in ({"led_by": "draft"}, {"led_by": "draft", "seed": 13}, {"led_by": "dust"}):
        make(asked(shot, "tiny-vace", **dials))
        seen.append(np.stack([codes for codes, _, _ in shown.values()]))
    assert not np.array_equal(seen[0], seen[1]) and not np.array_equal(seen[0], seen[2])
    assert np.abs(seen[0] - seen[1]).mean() < np.abs(seen[0] - seen[2]).mean()


def test_draft_and_final_have_the_dust_in_one_place(make, shot, shown, tmp_path):
    """What the guide placed: the draft's dust lies in the region that the final may paint, and the final paints nowhere else."""
    _, draft = make(asked(shot, "dust"))
    for led_by in ("dust", "draft"):
        _, final = make(asked(shot, "tiny-vace", led_by=led_by))
        drafted, painted_, in_region = (0, 0, 0)
        for frame, (_, region, area) in shown.items():
            part = slice(area.y, area.y + area.height), slice(area.x, area.x + area.width)
            one, other = (pixels(files, "effect.%d.exr" % frame, tmp_path / "effect")["A"] for files in (draft, final))
            assert not np.delete(other.ravel(), np.flatnonzero(_on(region, part, other.shape))).any()
            drafted += int((one > 0.05).sum())
            in_region += int(((one > 0.05)[part] & region).sum())
            painted_ += int((other > 0).sum())
        assert in_region > 0.98 * drafted > 0 and painted_ > 0.5 * drafted, led_by


def _on(region, part, size):
    whole = np.zeros(size, bool)
    whole[part] = region
    return whole


def test_the_guide_model_and_dust_refuse_to_be_led(make, shot):
    from platebridge.errors import RequestError

    for model in ("dust", "guide"):
        request = shot.request(led_by="draft")
        with pytest.raises(RequestError, match="has no use for led_by"):
            make(dataclasses.replace(request, model=dataclasses.replace(request.model, name=model)))
