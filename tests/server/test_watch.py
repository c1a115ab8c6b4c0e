# SPDX-License-Identifier: Apache-2.0
"""What a training run shows while it goes on: curves of its log, strips of what its weights make."""

import json
import re
import xml.etree.ElementTree as xml

import numpy as np
import OpenImageIO as oiio
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from platebridge_server.models import dust  # noqa: E402
from platebridge_server.training import data, simulate, train, watch  # noqa: E402

SMALL = {"widths": (8, 12), "blocks": (1, 1), "embedding": 16}
SVG = "{http://www.w3.org/2000/svg}"


def clip(height, width, frames=6, seed=0, far=None):
    """Noise for dust, thicker towards the right; all of it there if `far` is given."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.rand(frames, 3, height, width, generator=random) * torch.linspace(0.2, 1.0, width)
    if far is not None:
        truth[..., :far] = 0
    guide = torch.nn.functional.avg_pool2d(truth, simulate.GUIDE_SCALE)
    light, cell = torch.tensor([[0.0, 0.6, 0.8]]).expand(frames, 3), torch.full((frames, 2), torch.nan)
    return simulate.Clip(truth, torch.ones_like(truth[:, 0]), guide, torch.ones_like(guide[:, 0]), light, cell)


def pixels(path):
    return oiio.ImageBuf(str(path)).get_pixels(oiio.UINT8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shards").mkdir()
    for number in range(4):
        data.write_shard(data.shard_path(tmp_path / "shards", number), [clip(48, 64, seed=2 * number), clip(48, 64, seed=2 * number + 1)])
    return tmp_path / "shards"


def test_a_run_leaves_curves_and_a_strip_of_its_own_weights_at_each_checkpoint(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    run = tmp_path / "run"
    first = train.train(folder, run, 0.03, threads=1, compiled=False, config=SMALL)
    more = train.train(folder, run, 0.06, threads=1, compiled=False, resume=True)
    one, other = (pixels(run / ("strip_%06d.png" % iteration)) for iteration in (first, more))
    assert one.shape == (3 * 48, 3 * 64, 3) and len(list(run.glob("strip_*.png"))) == 2
    changed = (one != other).any(-1)
    assert changed[:, 64:128].any() and not changed[:, :64].any() and not changed[:, 128:].any()  # guide and truth stay
    names = [name for line in (run / "log.jsonl").read_text().splitlines() for name in json.loads(line)]
    drawn = xml.parse(run / "curves.svg").getroot().findall(".//%spolyline" % SVG)
    assert len(drawn) == len(set(names) - {"iteration", "seconds"})


def test_the_row_of_a_clip_is_guide_and_what_the_exported_weights_make_and_truth(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 32)
    monkeypatch.setattr(watch, "VIEWS", 1)
    count = train.train(folder, tmp_path / "run", 0.02, threads=1, compiled=False, config=SMALL)
    strip = pixels(tmp_path / "run" / ("strip_%06d.png" % count))
    pipe = dust.load(folder=train.export(tmp_path / "run", "0", tmp_path / "out"))
    clips = data.read_shard(data.shards(folder)[0])
    shown = max(clips, key=lambda c: float(c.truth[:, 2].mean()))
    made = watch.generated(pipe, shown.guide, shown.guide_depth, shown.told, (48, 64), 2)
    assert (strip[:, 128:] == data.picture(shown.truth[3])).all()
    assert np.abs(strip[:, 64:128].astype(int) - data.picture(made[3])).max() <= 2  # it is exported in halves


def test_of_a_studio_s_large_clip_the_part_with_the_dust_is_shown_and_no_more():
    whole = clip(200, 400, far=300)
    view = watch.View.of(whole)
    assert view.truth.shape[-2:] == (128, 192) and view.guide.shape[-2:] == (32, 48) and len(view.truth) == 6
    places = range(28, 48, simulate.GUIDE_SCALE)  # about the middle, and the dust's last column is in it
    assert any(torch.equal(view.truth[..., 92:], whole.truth[:, :, top : top + 128, 300:]) for top in places)
    assert torch.equal(torch.nn.functional.avg_pool2d(view.truth, 4), view.guide)


def test_what_a_break_cut_off_in_the_log_is_passed_over(tmp_path):
    log, svg = tmp_path / "log.jsonl", tmp_path / "curves.svg"
    lines = [{"iteration": n, "seconds": 1.0, "loss": n / 100, "held": float("nan") if n == 50 else 1.0} for n in (25, 50, 75)]
    again = {"iteration": 75, "seconds": 2.0, "loss": 0.5, "a<b": 1}
    log.write_text("\n".join(map(json.dumps, lines)) + '\n{"iteration": 100, "lo' + "\n[]\n" + json.dumps(again) + "\n")
    watch.curves(log, svg)
    drawn = xml.parse(svg).getroot()
    points = [line.get("points").split() for line in drawn.findall(".//%spolyline" % SVG)]
    assert [len(p) for p in points] == [3, 1, 1]
    said = "".join(drawn.itertext())
    assert re.search(r"loss: 0\.5 \(0\.25 to 0\.5\)", said) and "75 iterations" in said and "a<b: 1" in said


def test_before_the_first_line_of_a_log_there_is_an_empty_picture(tmp_path):
    watch.curves(tmp_path / "log.jsonl", tmp_path / "curves.svg")
    assert not xml.parse(tmp_path / "curves.svg").getroot().findall(".//%spolyline" % SVG)
