# SPDX-License-Identifier: Apache-2.0
"""A model of a few lines, and takes made with it: for tests of what must hold for every model. Use the fixtures by name."""

from __future__ import annotations

import numpy as np
import OpenImageIO as oiio
import pytest
import torch
from platebridge.errors import Cancelled
from platebridge.events import FileReady
from platebridge_server.generate import generate
from platebridge_server.models import registry
from platebridge_server.models.base import Passes

TAKE = "7" * 32


class StandIn:
    """Upsamples the guide and adds grain by seed and frame. Refuses what a real model refuses; `asked` counts its frames."""

    name = "dust"
    asked: list = []

    def __init__(self):
        self._loaded = False

    def card(self):
        return {"name": "stand-in", "licence": "none", "weights_sha256": "5" * 64}

    def load(self, device):
        self._loaded = True

    def generate(self, guide, frames, size, settings, progress, cancelled, first_frame=None):
        assert self._loaded and frames.step == 1
        for at, frame in enumerate(frames):
            if first_frame is not None and frame < first_frame:
                continue
            if cancelled():
                raise Cancelled()
            StandIn.asked.append(frame)
            low = guide.passes(frame)
            assert len(guide.sun_in_view(frame)) == 3
            wide = torch.from_numpy(np.stack([low[k] for k in ("sun", "ambient", "alpha")]))[None]
            wide = torch.nn.functional.interpolate(wide, size, mode="bilinear")[0].numpy()
            grain = np.random.default_rng([settings.seed, frame]).uniform(0.8, 1.0, size).astype(np.float32)
            progress(at + 1, len(frames))
            yield frame, Passes(*(wide * grain))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setitem(registry._MODELS, "dust", StandIn)
    StandIn.asked = []


@pytest.fixture(scope="module")
def shot(tmp_path_factory, tiny_maker):
    return tiny_maker(tmp_path_factory.mktemp("shot"))


@pytest.fixture
def scratch(tmp_path):
    """A folder for work under way, with a shelf for guides of its own beside it."""
    folder = tmp_path / "work" / "scratch"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def make(tmp_path):
    """`make(shot, request=None, …)` -> (events, {name: bytes})."""
    made = []

    def run(shot, request=None, **how):
        made.append(tmp_path / ("%d" % len(made)) / "scratch")
        scratch = how.pop("scratch", made[-1])
        scratch.mkdir(parents=True, exist_ok=True)
        request = request or shot.request()
        events = list(generate(request, shot.open_file, how.pop("take_id", TAKE), scratch=scratch, device="cpu", **how))
        return events, {e.name: e.data for e in events if isinstance(e, FileReady)}

    return run


def pixels(path):
    """{channel: (h, w) in its own type} and the first part's spec, by OIIO."""
    file = oiio.ImageInput.open(str(path))
    spec = file.spec()
    kinds = spec.channelformats or (spec.format,) * spec.nchannels
    return {n: file.read_image(0, 0, c, c + 1, k)[..., 0] for c, (n, k) in enumerate(zip(spec.channelnames, kinds))}, spec.copy()
