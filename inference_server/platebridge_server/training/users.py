# SPDX-License-Identifier: Apache-2.0
"""Guides as users' are, with no truth beside them: of a shot in which a building falls, by the code that makes a take's guide.

Our truths' guides are of emitters that know the collapse; a user's is made from depth, mask and vectors, by dials, at another size. What
a network answers to those can be compared with no truth, but it can be asked to look like one. It knows shots of boxes and files.

A file holds, of one shot (float16): guide (frames, 3, h, w), encoded, guide_depth (frames, h, w), light_view (frames, 3), cell (frames, 2).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from platebridge.frames import FrameRange
from platebridge.request import Camera, CameraFrame, GenerateRequest, Inputs

from platebridge_server import work
from platebridge_server.camera import CameraPath
from platebridge_server.guide.guide import VERSION, Guide
from platebridge_server.models.dust.condition import decode, encode
from platebridge_server.training import data
from platebridge_server.training.simulate import CLIP_FRAMES, GUIDE_SCALE, HELD_OUT_SEED, SIZE, look_at

FIRST, FPS, PLATE = 1001, 24.0, (360, 640)
#: Shots whose dust takes less of the picture than a crop of the lesson are made anew, by the next numbers, at most so often.
TRIES = 8


class Falling:
    """A shot of a building of blocks that come down, each after its own wait, before a street, seen by a camera that may move.

    Answers what `shot.Shot` answers, from rays and boxes. Which building, how it falls and what the dials are follows from the seed.
    """

    size, geometry = PLATE, ""

    def __init__(self, seed: int, attempt: int = 0):
        random = np.random.default_rng([seed, 11, attempt])
        u = random.uniform
        tower = u() < 0.6
        across, up = (int(random.integers(*most)) for most in (((2, 5), (4, 8)) if tower else ((4, 8), (2, 4))))
        edge = np.array([u(3, 8), u(4, 10), u(2.5, 5)])
        begin, start = 2, int(random.integers(5, 26))
        self.first = FIRST + begin + start  # of the frames that are kept
        span = FrameRange(FIRST, self.first + CLIP_FRAMES - 1)
        grid = np.stack(np.meshgrid(np.arange(across) - (across - 1) / 2, [0.0], np.arange(up) + 0.5, indexing="ij"), -1).reshape(-1, 3)
        self._middles, self._half = grid * edge, 0.49 * edge
        level = grid[:, 2] / up
        order = (level if u() < 0.4 else 1 - level) * u(0, 12)  # from the ground up, or from the top down
        self._waits = (begin + order + random.uniform(0, 5, len(grid))) / FPS
        self._pulls, self._lean = random.uniform(0.6, 1.2, len(grid)), u(-3, 3)
        high, wide = up * edge[2], across * edge[0]
        distance = max(high * u(1.6, 3.0), wide * u(1.0, 1.8))
        turn, lift = u(-0.6, 0.6), u(0.03, 0.35)
        target = np.array([u(-0.15, 0.15) * wide, 0.0, u(0.3, 0.5) * high])
        push, pan = (u(-0.006, 0.006), u(-0.006, 0.006)) if u() < 0.5 else (0.0, 0.0)
        cameras = []
        for frame in span:
            away, angle = distance * (1 + push * (frame - FIRST)), turn + pan * (frame - FIRST)
            eye = target + away * np.array([np.sin(angle), -np.cos(angle) * np.cos(lift), np.sin(lift)])
            cameras.append(CameraFrame(frame, tuple(map(tuple, look_at(eye, target).double().tolist()))))
        dials = {
            "amount": u(0.7, 1.6), "density": u(0.6, 1.8), "speed": u(0.7, 1.4), "rise": u(0.0, 0.6), "spread": u(0.7, 1.5),
            "turbulence": u(0.5, 1.6), "sun_azimuth": u(0, 360), "sun_elevation": u(10, 75), "debris": int(random.integers(0, 60)),
            "composition": seed, "detail": int(random.choice([64, 80, 96, 128])), "billows": u(0.0, 1.0),
        }  # fmt: skip
        request = GenerateRequest("falling", span, Inputs(), Camera(u(24, 50), 36, (0, 0, 1), tuple(cameras)))
        self.request = request.with_dials(dials)
        self.camera = CameraPath.from_request(self.request.camera, span, PLATE[1], PLATE[0])
        self._held: tuple = (None, None, None)

    def _placed(self, frame: int) -> np.ndarray:
        """(blocks, 3) middles of the blocks."""
        fall = np.maximum(0.0, (frame - FIRST) / FPS - self._waits)
        at = self._middles + np.stack([self._lean * fall**2, 0 * fall, -0.5 * 25 * self._pulls * fall**2], -1)
        at[:, 2] = np.maximum(at[:, 2], 0.4 * self._half[2])
        return at

    def _rays(self, frame: int):
        if self._held[0] != frame:
            camera = self.camera.at(frame)
            eye = camera.camera_to_world[:3, 3]
            rays = camera.unproject(np.ones(PLATE)) - eye
            rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
            depth = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
            depth = np.where(depth < 600, depth, np.inf)
            number = np.full(PLATE, -1)
            for block, middle in enumerate(self._placed(frame)):
                a, b = (middle - self._half - eye) / rays, (middle + self._half - eye) / rays
                enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
                hit = (leave > enter) & (enter > 0) & (enter < depth)
                depth, number = np.where(hit, enter, depth), np.where(hit, block, number)
            self._held = frame, depth.astype(np.float32), number
        return self._held[1:]

    def depth(self, frame: int) -> np.ndarray:
        return self._rays(frame)[0]

    def mask(self, frame: int) -> np.ndarray:
        return (self._rays(frame)[1] >= 0).astype(np.float32)

    def vectors(self, frame: int) -> np.ndarray:
        """(h, w, 2): where each pixel's surface was a frame before, less where it is: pixels, x right, y up."""
        depth, number = self._rays(frame)
        points = self.camera.at(frame).unproject(np.where(np.isfinite(depth), depth, 1e4))
        moved = self._placed(frame) - self._placed(frame - 1)
        before = points - np.where((number >= 0)[..., None], moved[np.maximum(number, 0)], 0)
        (x, y, _), (was_x, was_y, _) = self.camera.at(frame).project(points), self.camera.at(frame - 1).project(before)
        return np.stack([was_x - x, y - was_y], -1).astype(np.float32)


def make(folder: Path, count: int, first_seed: int = 0) -> None:
    """Files `use_SEED.safetensors` for `count` seeds. The same seed gives the same guide; those that are there stay, unless the guide's own
    code gave others then (`guide.VERSION`)."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + count):
        path = folder / f"use_{seed:05d}.safetensors"
        if path.exists() and data.recipe(path) == VERSION:
            continue
        for attempt in range(TRIES):
            made = _guide(Falling(seed, attempt))
            if made is not None:
                data.save_whole(path, {name: part.half() for name, part in made.items()}, {"recipe": str(VERSION)})
                break
        print(f"{path.stem}", flush=True)


def _guide(shot: Falling) -> dict[str, torch.Tensor] | None:
    """What the model would be given of a shot; None if it is smaller than a crop."""
    settings = shot.request.guide
    with tempfile.TemporaryDirectory() as scratch:
        guide = Guide(shot, settings, FPS, (PLATE[0] // GUIDE_SCALE, PLATE[1] // GUIDE_SCALE), Path(scratch) / "guide")
        guide.simulate()
        if guide.bbox is None:
            return None
        area = work.choose(shot.size, guide.bbox, guide.cells)
        if area.size[0] < SIZE[0] or area.size[1] < SIZE[1]:
            return None
        seen = work.CroppedGuide(guide, area, shot.camera.at, Path(scratch) / "crop", "users")
        rows = []
        for frame in range(shot.first, shot.first + CLIP_FRAMES):
            passes, cell = seen.passes(frame), seen.cell(frame) or (np.nan, np.nan)
            picture = torch.from_numpy(np.stack([passes["sun"], passes["ambient"], passes["alpha"]]))
            rows.append((encode(picture), torch.from_numpy(passes["depth"]), torch.tensor(seen.sun_in_view(frame)), torch.tensor(cell)))
    return dict(zip(("guide", "guide_depth", "light_view", "cell"), map(torch.stack, zip(*rows))))


def read(folder: Path, held_out: bool = False) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """What lies in a folder, in order of seed: guide, linear, depth, light and cell of each shot, float32. Those for training, or those
    held out. Raises InputError: one can't be read."""
    out = []
    for path in sorted(Path(folder).glob("use_*.safetensors")):
        if (int(path.stem[4:]) >= HELD_OUT_SEED) != held_out:
            continue
        arrays = {name: part.float() for name, part in data.load_whole(path).items()}
        out.append((decode(arrays["guide"]), arrays["guide_depth"], arrays["light_view"], arrays["cell"]))
    return out
