# SPDX-License-Identifier: Apache-2.0
"""A small shot that every room may use: a block falls before a wall, a lamp post stands in front of both.

The files are written by OpenImageIO alone, never by our own writer, so what reads them is tested against another tool.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Tuple

import pytest

POST_M, BLOCK_M, WALL_M, SKY = 6.0, 22.0, 30.0, 1e10
ROOM = 4  # GiB: servers and caches never touch the last 2 of a disk, and tests run many of them as an artist does


@pytest.fixture(scope="session", autouse=True)
def _room(tmp_path_factory):
    """On a full disk dozens of tests would fail, each in its own words."""
    folder = tmp_path_factory.getbasetemp()
    free = shutil.disk_usage(folder).free / 2**30
    if free < ROOM:
        said = "Tests write to %s, whose disk has %.1f GiB free: they need %d. Make room there, or set TMPDIR to a folder on another disk."
        pytest.exit(said % (folder, free, ROOM), returncode=4)


@dataclass
class TinyShot:
    """The shot on disk. `paths`: input -> {frame: file}. `patterns`: input -> 'folder/plate.####.exr'."""

    folder: Path
    width: int
    height: int
    first: int
    last: int
    paths: Dict[str, Dict[int, Path]] = field(default_factory=dict)
    by_hash: Dict[str, Path] = field(default_factory=dict)

    @property
    def patterns(self) -> Dict[str, str]:
        return {name: str(self.folder / name / (name + ".####.exr")) for name in self.paths}

    def post(self) -> Tuple[slice, slice]:
        """Rows and columns of the post, the nearest thing in the shot."""
        return slice(self.height // 8, self.height), slice(self.width * 5 // 12, self.width * 5 // 12 + max(2, self.width // 24))

    def request(self, **dials):
        """A request for the files as they are now, with dials turned. The guide is kept coarse so that tests are quick."""
        from platebridge.frames import FrameRange
        from platebridge.request import FrameFile, GenerateRequest, Inputs, Pass

        def named(name: str) -> Pass:
            files = []
            for frame, path in self.paths[name].items():
                data = path.read_bytes()
                sha = hashlib.sha256(data).hexdigest()
                self.by_hash[sha] = path
                files.append(FrameFile(frame, sha, len(data)))
            return Pass(name + ".####.exr", (), tuple(files))

        inputs = Inputs(named("plate"), named("depth"), named("mask"), named("vectors") if "vectors" in self.paths else None)
        dials = {"detail": 24, "debris": 8, "seed": 7, "amount": 2.0, **dials}
        return GenerateRequest("tiny", FrameRange(self.first, self.last), inputs).with_dials(dials)

    def open_file(self, sha256: str) -> Path:
        """The file of that content: all that a generation knows of where its inputs lie."""
        return self.by_hash[sha256]


def make_tiny_shot(
    folder: Path, width: int = 96, height: int = 64, frames: int = 8, first: int = 1001, plate_type: str = "half"
) -> TinyShot:
    """Writes the shot's plate (R G B, some values above 1 and below 0), depth (Z, metres), mask (A) and vectors (X Y Z W)."""
    np = pytest.importorskip("numpy")
    shot = TinyShot(Path(folder), width, height, first, first + frames - 1)
    rows, columns = np.mgrid[0:height, 0:width].astype("f4")
    horizon = int(height * 0.7)
    back_z = np.where(
        rows < height * 0.2,
        SKY,
        np.where(rows < horizon, WALL_M, WALL_M * (height - horizon) / np.maximum(rows - horizon, 1) / 4).clip(8, WALL_M),
    )
    block_w, block_h, left = width // 4, height // 4, width * 3 // 8
    noise = np.random.default_rng(11).normal(0, 0.02, (height, width, 3)).astype("f4")
    top_before = None
    for at in range(frames):
        top = int(height * 0.22 + 0.5 * max(0, at - 1) ** 2 * height / 48)  # still for two frames, then it falls
        inside = (rows >= top) & (rows < top + block_h) & (columns >= left) & (columns < left + block_w)
        z = np.where(inside, BLOCK_M, back_z)
        z[shot.post()] = POST_M
        plate = np.stack([0.2 + columns / width, 0.3 + rows / height, 0.25 + 0 * rows], -1) + noise
        plate[rows < height * 0.2] = (2.0, 3.0, 6.5)
        plate[inside] = (0.5, 0.4, 0.3)
        plate[shot.post()] = (0.02, 0.02, -0.01)
        mask = inside.astype("f4")
        mask[shot.post()] = 0
        fell = 0 if top_before is None else top - top_before
        vectors = np.zeros((height, width, 4), "f4")
        vectors[..., 1] = mask * fell  # previous - current, y up: what fell was higher before
        top_before = top
        frame = first + at
        _write(shot, "plate", frame, plate, ("R", "G", "B"), plate_type)
        _write(shot, "depth", frame, z[..., None], ("Z",), "float")
        _write(shot, "mask", frame, mask[..., None], ("A",), "half")
        _write(shot, "vectors", frame, vectors, ("X", "Y", "Z", "W"), "float")
    return shot


def _write(shot: TinyShot, name: str, frame: int, pixels, channels, kind: str) -> None:
    path = shot.folder / name / ("%s.%04d.exr" % (name, frame))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_exr(path, pixels, channels, kind)
    shot.paths.setdefault(name, {})[frame] = path


def write_exr(path: Path, pixels, channels, kind: str = "float", data=None, display=None, attributes=()) -> Path:
    """One EXR by OIIO. pixels: (h, w, c). data: (x, y) of the first pixel; display: (x, y, width, height)."""
    oiio = pytest.importorskip("OpenImageIO")
    np = pytest.importorskip("numpy")
    height, width, count = pixels.shape
    spec = oiio.ImageSpec(width, height, count, kind)
    spec.channelnames = tuple(channels)
    if data is not None:
        spec.x, spec.y = data
    if display is not None:
        spec.full_x, spec.full_y, spec.full_width, spec.full_height = display
    for key, value in dict(attributes).items():
        spec.attribute(key, value)
    file = oiio.ImageOutput.create(str(path))
    assert file.open(str(path), spec), oiio.geterror()
    assert file.write_image(np.ascontiguousarray(pixels.astype({"half": "f2", "float": "f4", "uint": "u4"}[kind]))), file.geterror()
    assert file.close()
    return Path(path)


@pytest.fixture(name="write_exr")
def _write_exr():
    """`write_exr(path, pixels, channels, kind, data, display, attributes)` as above: tests can't import from here."""
    return write_exr


@pytest.fixture(scope="session")
def tiny_maker():
    """`tiny_maker(folder, …)`: make_tiny_shot, for fixtures that outlive a test."""
    return make_tiny_shot


@pytest.fixture
def make_shot(tmp_path: Path):
    """`make_shot(width=…, height=…, frames=…, first=…, plate_type=…)`: a shot of another size, in a folder of its own."""
    made = []

    def make(**how) -> TinyShot:
        made.append(make_tiny_shot(tmp_path / ("shot_%d" % len(made)), **how))
        return made[-1]

    return make


@pytest.fixture
def tiny_shot(tmp_path: Path) -> TinyShot:
    """96x64, frames 1001 to 1008."""
    return make_tiny_shot(tmp_path / "tiny")


if sys.version_info < (3, 11):  # the thin client is tested on every Python that a DCC ships; the server only where torch is
    collect_ignore_glob = ["server/*", "blender/*"]
