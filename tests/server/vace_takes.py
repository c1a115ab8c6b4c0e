# SPDX-License-Identifier: Apache-2.0
"""Takes of the tiny VACE by the whole pipeline, for the tests: the model taken in, a small shot, and `make(**dials)`.

Import the fixtures by name; a test has a cache of its own, and the model as a fresh process has it.
"""

from __future__ import annotations

import dataclasses

import OpenImageIO as oiio
import pytest
import tiny_vace
from platebridge.events import FileReady
from platebridge_server.generate import generate
from platebridge_server.models import registry, store

NAME, TAKE = "tiny-vace", "7" * 32


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The root of the models with the tiny one taken in."""
    root = tmp_path_factory.mktemp("models")
    folder = tiny_vace.make(tmp_path_factory.mktemp("weights"))
    patch = pytest.MonkeyPatch()
    patch.setenv(store.VARIABLE, str(root))
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    store.add(folder, tiny_vace.card(NAME))
    yield root
    patch.undo()


@pytest.fixture(autouse=True)
def alone(installed, monkeypatch, tmp_path):
    """Each test has a cache of its own, and the model as a fresh process has it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "_made", {})


@pytest.fixture(scope="module")
def shot(tmp_path_factory, tiny_maker):
    return tiny_maker(tmp_path_factory.mktemp("shot"), width=64, height=48, frames=6)


@pytest.fixture(scope="module")
def guides(tmp_path_factory):
    return tmp_path_factory.mktemp("guides")


@pytest.fixture
def make(tmp_path, shot, guides):
    """`make(**dials)` -> (events, {name: bytes}). Simulations are shared, finished effects of earlier takes only in `passes`, a folder."""
    made = []

    def run(request=None, take_id=TAKE, cancelled=lambda: False, passes=None, **dials):
        request = request or wanted(shot, **dials)
        scratch = tmp_path / "work" / ("%d" % len(made)) / "scratch"
        made.append(scratch)
        scratch.mkdir(parents=True)
        (scratch.parent / "guides").symlink_to(guides)
        if passes is not None:
            passes.mkdir(exist_ok=True)
            (scratch.parent / "passes").symlink_to(passes)
        events = []
        for event in generate(request, shot.open_file, take_id, scratch=scratch, device="cpu", cancelled=cancelled):
            events.append(event)
        return events, {e.name: e.data for e in events if isinstance(e, FileReady)}

    return run


def wanted(shot, name=NAME, **dials):
    request = shot.request(**{"steps": 2, "rim": 6, "amount": 3.0, **dials})
    return dataclasses.replace(request, model=dataclasses.replace(request.model, name=name))


def pixels(files, name, folder):
    """{channel: (h, w) in its own type}, by OIIO."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(files[name])
    file = oiio.ImageInput.open(str(folder / name))
    spec = file.spec()
    kinds = spec.channelformats or (spec.format,) * spec.nchannels
    return {n: file.read_image(0, 0, c, c + 1, k)[..., 0] for c, (n, k) in enumerate(zip(spec.channelnames, kinds))}


def frames(files, kind="effect"):
    return {name: data for name, data in files.items() if name.startswith(kind)}


@pytest.fixture(scope="module")
def plain(installed, shot, tmp_path_factory):
    """The effects of a request as it stands."""
    scratch = tmp_path_factory.mktemp("plain") / "scratch"
    scratch.mkdir()
    events = list(generate(wanted(shot), shot.open_file, TAKE, scratch=scratch, device="cpu"))
    return frames({e.name: e.data for e in events if isinstance(e, FileReady)})
