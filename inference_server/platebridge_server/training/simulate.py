# SPDX-License-Identifier: Apache-2.0
"""Simulated collapses: what the dust model learns from. Everything follows from a seed.

Each simulation is run twice with the same emitters, fine (the truth) and coarse (a guide), the fine one nudged
towards the coarse one so that large shapes agree and billows differ; each is seen by two cameras under two suns.
It knows the solver and the march. It must not know the network, nor how the shards are stored (`data.py`).

Lengths are domain heights; a frame is two steps of 1/76 s of the reference domain (`solver.REFERENCE_GRAVITY`), or,
for two simulations in five, one: a tall tower at 24 frames per second moves that little from frame to frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch

from platebridge_server.guide import solver, volume
from platebridge_server.models.dust.condition import of_frame

FINE = (144, 96, 66)
COARSE = (48, 32, 22)
STEP = 1.0 / 76.0
CLIP_FRAMES = 20
SIZE = (128, 192)
GUIDE_SCALE = 4
NUDGE = 0.10
#: Raised when a seed gives other clips than before: shards of another number are made anew.
RECIPE = 2

#: From here on there are also floors that burst one after another and surges without a fall, closer views, thicker dust, shaken cameras.
WIDER_SEED = 20
#: From here on they are framed as a take's guide is: cells of 3 to 5.25 pixels, where earlier ones have 6 to 12, and up to twice as thick.
FRAMED_SEED = 40
#: From here on clips have as many frames as shots have, `LONG`, from the first to the last: late dust is large, slow and thin.
LONG_SEED = 70
LONG = (24, 96)
#: Simulations from here on are never trained on.
HELD_OUT_SEED = 9000
#: From here to the next they are framed so, too.
HELD_OUT_FRAMED_SEED = 9200
#: From here on what falls is a façade, a kind of emitter that training has none of.
UNSEEN_EMITTER_SEED = 9500
#: From here on the sun grazes the ground, lower than training ever has it.
UNSEEN_LIGHT_SEED = 9700


@dataclass
class View:
    """One clip's camera and sun. camera_to_world: (frames, 4, 4); focal in pixels of `SIZE`."""

    camera_to_world: torch.Tensor
    focal: float
    sun: torch.Tensor
    extinction: float


@dataclass
class Clip:
    """What one view gives: (frames, 3, h, w) sun, ambient, alpha, linear premultiplied; depth (frames, h, w).

    truth at `SIZE`, guide (the coarse re-simulation) at a quarter of it; depth inf where there is no dust.
    light_view: (frames, 3) unit vector towards the sun in the camera's axes. cell: (frames, 2) as `condition.of_frame` wants it.
    """

    truth: torch.Tensor
    truth_depth: torch.Tensor
    guide: torch.Tensor
    guide_depth: torch.Tensor
    light_view: torch.Tensor
    cell: torch.Tensor

    @property
    def told(self) -> torch.Tensor:
        """(frames, 6) as `condition.of_frame` has it."""
        return of_frame(self.light_view, self.cell)


class Collapse:
    """The emitters of one seeded event: what falls, where it pushes, what flies. Same points at any resolution."""

    def __init__(self, random: np.random.Generator, kind: str = ""):
        self.random = random
        u = random.uniform
        self.kind = kind or random.choice(["tower", "wall", "blast"], p=[0.6, 0.25, 0.15])
        self.gravity = u(1.8, 3.4)
        self.turn = u(0, math.pi)
        self.centre = np.array([u(-0.15, 0.15), u(-0.1, 0.1)])
        self.half = {"tower": (u(0.12, 0.24), u(0.1, 0.2)), "wall": (u(0.3, 0.5), u(0.06, 0.12)),
                     "blast": (u(0.05, 0.1), u(0.05, 0.1))}.get(self.kind, (0.0, 0.0))
        self.height = {"tower": u(0.36, 0.66), "wall": u(0.22, 0.45), "blast": u(0.08, 0.2)}.get(self.kind, 0.0)
        if self.kind == "façade":
            self.half, self.height = (u(0.2, 0.4), u(0.02, 0.05)), u(0.25, 0.45)
        elif self.kind == "floors":
            self.half, self.height = (u(0.12, 0.26), u(0.1, 0.22)), u(0.4, 0.66)
        elif self.kind == "surge":
            self.half, self.height = (u(0.06, 0.3), u(0.05, 0.12)), u(0.05, 0.1)
        self.fall_time = math.sqrt(2 * self.height / self.gravity)
        self.start = u(0.0, 0.04)
        self.spread = u(0.6, 1.6)
        self.front_divergence = u(10, 26)
        self.surge_start = self.start + self.fall_time * math.sqrt(u(0.10, 0.16)) * (0.3 if self.kind == "blast" else 1)
        self.surge_length = u(0.4, 1.0)
        self.surge_speed = u(0.5, 1.5)
        self.surge_divergence = u(9, 26)
        self.lobes = [(random.integers(1, 9), u(0, 2 * math.pi), u(0.2, 0.6)) for _ in range(4)]
        self.patches = [(random.normal(0, 14, 3), u(0, 2 * math.pi), u(-9, 9)) for _ in range(6)]
        self.jets = [self._jet() for _ in range(0 if self.kind == "blast" else random.integers(2, 8))]
        self.chunks = [self._chunk() for _ in range(random.integers(2, 11))]
        self.floors: list[tuple[float, float, float]] = []  # height, begin, speed
        if self.kind == "floors":
            count = int(random.integers(4, 9))
            for floor in (np.arange(count) + 0.5) / count * self.height:
                begin = self.start + math.sqrt(2 * (self.height - floor) / self.gravity)
                self.floors.append((float(floor), begin, u(0.5, 1.5)))
        elif self.kind == "surge":  # what pushed it fell elsewhere: it comes as a wall, longer and mostly one way
            self.surge_length, self.surge_speed, self.jets = u(0.9, 1.8), u(0.8, 1.8), []
            self.lobes.append((1, u(0, 2 * math.pi), u(0.4, 0.8)))

    def _world(self, local: np.ndarray) -> np.ndarray:
        c, s = math.cos(self.turn), math.sin(self.turn)
        out = local.copy()
        out[..., 0] = c * local[..., 0] - s * local[..., 1]
        out[..., 1] = s * local[..., 0] + c * local[..., 1]
        return out

    def _place(self, local: np.ndarray) -> np.ndarray:
        out = self._world(local)
        out[..., :2] += self.centre
        return out

    def _jet(self):
        u = self.random.uniform
        side, along = self.random.integers(4), u(-0.9, 0.9)
        a, b = self.half
        at = {0: (a, along * b), 1: (-a, along * b), 2: (along * a, b), 3: (along * a, -b)}[int(side)]
        out = {0: (1, 0), 1: (-1, 0), 2: (0, 1), 3: (0, -1)}[int(side)]
        begin = self.start + u(0.0, 0.9) * self.fall_time
        top = self.height - 0.5 * self.gravity * (begin - self.start) ** 2
        return {"at": np.array([*at, max(0.03, top * u(0.3, 0.95))]), "to": np.array([*out, u(-0.2, 0.35)]) * u(0.8, 1.7),
                "begin": begin, "length": u(0.06, 0.25), "radius": u(0.015, 0.04)}

    def _chunk(self):
        u = self.random.uniform
        a, b = self.half
        at = np.array([u(-a, a), u(-b, b), self.height * u(0.3, 1.0)])
        angle, push = u(0, 2 * math.pi), u(0.25, 1.2)
        lift = u(-0.2, 0.9) if self.kind != "blast" else u(0.5, 1.6)
        return {"at": at, "to": np.array([push * math.cos(angle), push * math.sin(angle), lift]),
                "begin": self.start + u(0.0, 0.5) * self.fall_time, "radius": u(0.008, 0.021)}

    def _patchy(self, at: np.ndarray, time: float) -> np.ndarray:
        """Smooth noise in [0, 1] over space and time, so that nothing leaves as an even sheet."""
        total = sum(np.sin(at @ k + phase + speed * time) for k, phase, speed in self.patches)
        return np.clip(0.6 + 0.35 * total, 0.0, 1.0)

    def points(self, time: float):
        """(position (n, 3), velocity (n, 3), volume (n,), density, weight, divergence rates (n,)) emitted at `time`."""
        parts = []
        random, (a, b) = self.random, self.half
        since = time - self.start
        if self.kind == "façade" and 0 <= since < self.fall_time:
            parts.append(self._facade(since, time))
        elif 0 <= since < self.fall_time:
            top = self.height - 0.5 * self.gravity * since**2
            n, thick = 7000, 0.06
            local = random.uniform(-1, 1, (n, 3)) * [a, b, 0.5 * thick] + [0, 0, max(top, 0.03)]
            there = self._patchy(local, time)
            velocity = np.concatenate([local[:, :2] / [[a, b]] * self.spread * 0.5, np.full((n, 1), -0.45 * self.gravity * since)], 1)
            parts.append(self._part(local, velocity, there * 4 * a * b * thick / n, 22, 25, self.front_divergence))
        after = time - self.surge_start
        if self.kind == "façade":  # what is pushed aside lies under the whole of it, when it strikes the ground
            after, b = time - self.start - 0.9 * self.fall_time, self.height / 2
        if 0 <= after < self.surge_length:
            n, thick, tall = 7000, 0.06, 0.07
            turn, out, flat = self._rim(n, a, b, thick)
            local = np.concatenate([flat, random.uniform(0, tall, (n, 1))], 1)
            if self.kind == "façade":
                local[:, 1] -= b
            lobe = np.clip(0.75 + sum(w * np.cos(k * turn + p) for k, p, w in self.lobes), 0.05, 1.6)
            fade = 1 - after / self.surge_length
            speed = self.surge_speed * lobe * (0.35 + 0.65 * fade)
            velocity = np.concatenate([out * speed[:, None], random.uniform(0.0, 0.2, (n, 1)) * speed[:, None]], 1)
            length = 4 * (a + b)
            there = self._patchy(local, time) * (0.4 + 0.6 * fade)
            parts.append(self._part(local, velocity, there * length * thick * tall / n, 22, 25, self.surge_divergence * (0.3 + 0.7 * fade)))
        for floor, begin, push in self.floors:
            if 0 <= time - begin < 0.12:
                n, thick, tall = 1500, 0.04, 0.03
                turn, out, flat = self._rim(n, a, b, thick)
                local = np.concatenate([flat, floor + random.uniform(-1, 1, (n, 1)) * tall], 1)
                lobe = np.clip(0.6 + sum(w * np.cos(k * turn + p + 9 * floor) for k, p, w in self.lobes), 0.0, 1.6)
                velocity = np.concatenate([out * (push * lobe)[:, None], random.uniform(-0.3, 0.1, (n, 1))], 1)
                there = self._patchy(local, time) * np.minimum(lobe, 1.0)
                parts.append(self._part(local, velocity, there * 8 * (a + b) * thick * tall / n, 22, 30, self.front_divergence))
        for jet in self.jets:
            if 0 <= time - jet["begin"] < jet["length"]:
                parts.append(self._ball(jet["at"], jet["to"], jet["radius"], 260, 24, 40, 16))
        for chunk in self.chunks:
            flown = time - chunk["begin"]
            if flown >= 0:
                at = chunk["at"] + chunk["to"] * flown - [0, 0, 0.5 * self.gravity * flown**2]
                if at[2] > 0:
                    velocity = chunk["to"] - [0, 0, self.gravity * flown]
                    # Several balls along the way of one step, or a fast chunk leaves beads.
                    for back in (0.0, 1 / 3, 2 / 3):
                        parts.append(self._ball(at - velocity * back * STEP, 0.35 * velocity, chunk["radius"], 60, 12, 20, 5))
        if not parts:
            return None
        return tuple(np.concatenate(column).astype(np.float32) for column in zip(*parts))

    def _rim(self, n: int, a: float, b: float, thick: float):
        """Angles (n,), ways outward (n, 2) and points (n, 2) on a rectangle's rim, pushed out by up to the ring's thickness."""
        turn = self.random.uniform(0, 2 * math.pi, n)
        out = np.stack([np.cos(turn), np.sin(turn)], 1)
        rim = out * np.minimum(a / np.maximum(np.abs(out[:, :1]), 1e-6), b / np.maximum(np.abs(out[:, 1:]), 1e-6))
        return turn, out, rim + out * self.random.uniform(-0.3, 1, (n, 1)) * thick

    def _facade(self, since: float, time: float):
        """A slab that topples about its foot: dust leaves all of it, with the speed it has there."""
        n, thick = 7000, 0.04
        angle = 0.5 * math.pi * (since / self.fall_time) ** 2
        turning = math.pi * since / self.fall_time**2
        along, up, through = (self.random.uniform(low, high, n) for low, high in ((-1, 1), (0, 1), (-0.5, 0.5)))
        reach = up * self.height
        local = np.stack([along * self.half[0], -reach * math.sin(angle) + through * thick, reach * math.cos(angle) + 0.02], 1)
        velocity = np.stack([np.zeros(n), -reach * turning * math.cos(angle), -reach * turning * math.sin(angle)], 1)
        there = self._patchy(local, time)
        return self._part(local, 0.5 * velocity, there * 2 * self.half[0] * self.height * thick / n, 22, 25, self.front_divergence)

    def _ball(self, at, velocity, radius, n, density, weight, divergence):
        offset = self.random.normal(0, 1, (n, 3))
        offset *= radius * self.random.uniform(0, 1, (n, 1)) ** (1 / 3) / np.linalg.norm(offset, axis=1, keepdims=True)
        volume = np.full(n, 4 / 3 * math.pi * radius**3 / n)
        return self._part(at + offset, np.broadcast_to(velocity, (n, 3)), volume, density, weight, divergence)

    def _part(self, local, velocity, volume, density, weight, divergence):
        n = len(local)
        return (self._place(np.asarray(local, float)), self._world(np.asarray(velocity, float)), volume,
                np.full(n, density), np.full(n, weight), np.full(n, divergence))


def collapse(seed: int) -> Collapse:
    """The event of a seed."""
    kind = "façade" if UNSEEN_EMITTER_SEED <= seed < UNSEEN_LIGHT_SEED else ""
    if WIDER_SEED <= seed < HELD_OUT_SEED:
        kind = str(np.random.default_rng([seed, 4]).choice(["floors", "surge", ""], p=[0.35, 0.25, 0.4]))
    return Collapse(np.random.default_rng([seed, 1]), kind)


def look_at(eye, target) -> torch.Tensor:
    """camera_to_world (4, 4) of an upright camera at `eye` looking at `target`."""
    eye, target = np.asarray(eye, float), np.asarray(target, float)
    back = eye - target
    back /= np.linalg.norm(back)
    right = np.cross([0, 0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = right, np.cross(back, right), back, eye
    return torch.tensor(matrix, dtype=torch.float32)


def _view(
    random: np.random.Generator, frames: int, early: bool, grazing: bool = False, wider: Optional[np.random.Generator] = None,
    framed: Optional[np.random.Generator] = None,
) -> View:
    """frames: how many. early: it looks a little higher. grazing: its sun does. wider: draws what has been wider since `WIDER_SEED`.
    framed: draws how large and how thick a cell of the coarse twin is, as takes have it."""
    u = random.uniform
    turn, lift = u(0, 2 * math.pi), u(0.03, 0.45)
    distance = u(2.0, 3.4)
    target = np.array([u(-0.12, 0.12), u(-0.12, 0.12), u(0.22, 0.36) if early else u(0.18, 0.34)])
    moving = random.random() < 0.4
    pan, push = (u(-0.012, 0.012), u(-0.012, 0.012)) if moving else (0.0, 0.0)
    pan, push = (CLIP_FRAMES / frames * way for way in (pan, push))  # a long clip's camera goes no farther in all
    cameras = []
    # Held by hand: two waves a second or so, of a few pixels.
    shake = wider is not None and wider.random() < 0.3
    sway = wider.normal(0, 0.006, (2, 2, 3)) if shake else np.zeros((2, 2, 3))
    beats = wider.uniform(0.2, 0.9, (2, 1)) if shake else np.zeros((2, 1))
    for frame in range(frames):
        angle, away = turn + pan * frame, distance * (1 + push * frame)
        eye = target + away * np.array([math.cos(angle) * math.cos(lift), math.sin(angle) * math.cos(lift), math.sin(lift)])
        swayed = (sway[0] * np.sin(beats * frame) + sway[1] * np.cos(beats * frame)).sum(0)
        cameras.append(look_at(eye, target + swayed))
    # Framed as tight as 0.9 and as wide as 1.9 domain heights across the picture's height and a half.
    focal = SIZE[1] * distance / u(0.85, 1.6)
    azimuth, elevation = u(0, 2 * math.pi), u(0.2, 1.25)
    if grazing:
        elevation = 0.02 + 0.1 * (elevation - 0.2)
    flat = math.cos(elevation)
    sun = torch.tensor([math.cos(azimuth) * flat, math.sin(azimuth) * flat, math.sin(elevation)], dtype=torch.float32)
    extinction = float(np.exp(u(math.log(16), math.log(75))))
    if wider is not None:
        focal *= wider.uniform(1.0, 1.7)
        extinction *= wider.uniform(1.0, 2.0)
    if framed is not None:
        focal = framed.uniform(3.0, 5.25) * distance * COARSE[2]
        extinction = float(np.exp(framed.uniform(math.log(0.8), math.log(4.0)))) * COARSE[2]
    return View(torch.stack(cameras), focal, sun, extinction)


def _render(smoke: solver.Smoke, view: View, frame: int, scale: int, **how):
    h, w = SIZE[0] // scale, SIZE[1] // scale
    focal = view.focal / scale
    passes = volume.march(smoke.density, smoke.origin, smoke.cell, view.camera_to_world[frame], (focal, focal), (w / 2, h / 2), (h, w),
                          view.extinction, view.sun, **how)
    return torch.stack([passes.sun, passes.ambient, passes.alpha]), passes.depth


def emit(points, smoke: solver.Smoke) -> solver.Sources | None:
    """What `Collapse.points` gives, splatted into one smoke's grid."""
    if points is None:
        return None
    at, velocity, space, density, weight, push = (torch.from_numpy(column) for column in points)
    return solver.splat_sources(at, velocity=velocity, fraction=space / smoke.cell**3, shape=smoke.shape, cell=smoke.cell,
                                origin=smoke.origin, density=density, weight=weight, divergence=push)


def boxed(shape, settings: solver.SmokeSettings, seed: int) -> solver.Smoke:
    """Still air in a box of height 1, its floor's middle at the origin."""
    cell = 1.0 / shape[2]
    return solver.Smoke(shape, cell, (-0.5 * shape[0] * cell, -0.5 * shape[1] * cell, 0.0), "cpu", settings, seed)


def simulate(seed: int, fine=FINE, coarse=COARSE, chance: int = 0) -> list[Clip]:
    """Both clips of a seeded collapse. The same seed gives the same bits on the same machine and thread count.

    chance: another one gives another truth, just as good, under the same guide: the small turbulence of the fine smoke falls otherwise.
    """
    event = collapse(seed)
    dials = np.random.default_rng([seed, 2])
    u = dials.uniform
    settings = solver.SmokeSettings(buoyancy=u(-0.2, 0.7), confinement=6 * u(0.15, 0.5), forcing=u(0.8, 4.0))
    wider = np.random.default_rng([seed, 5]) if WIDER_SEED <= seed < HELD_OUT_SEED else None
    as_takes = FRAMED_SEED <= seed < HELD_OUT_SEED or HELD_OUT_FRAMED_SEED <= seed < UNSEEN_EMITTER_SEED
    framed = np.random.default_rng([seed, 6]) if as_takes else None
    long = LONG_SEED <= seed < HELD_OUT_SEED
    frames = int(np.random.default_rng([seed, 7]).integers(LONG[0], LONG[1] + 1)) if long else CLIP_FRAMES
    views = [_view(dials, frames, early, seed >= UNSEEN_LIGHT_SEED, wider, framed) for early in (True, False)]
    wind = (u(-0.25, 0.25), u(-0.25, 0.25), 0.0) if dials.random() < 0.5 else (0.0, 0.0, 0.0)
    pace = np.random.default_rng([seed, 3])
    slow = pace.random() < 0.4
    draw = pace if slow else dials
    first = int(draw.integers(6, 24) if slow else draw.integers(2, 9))
    starts = (first, first + frames + int(draw.integers(4, 32) if slow else draw.integers(0, 11)))
    smokes = [boxed(fine, settings, seed + 100003 * chance), boxed(coarse, settings, seed)]
    taken: list[list] = [[], []]
    steps = 1 if slow else 2
    for frame in range(starts[-1] + frames):
        for part in range(steps):
            emitted = event.points((frame * steps + part) * STEP)
            target = None
            for smoke in reversed(smokes):  # the coarse one first: the fine one is pulled towards it
                sources = emit(emitted, smoke)
                smoke.step(STEP, sources, wind, target, NUDGE if target is not None else 0.0)
                target = smoke.velocity
        for number, start in enumerate(starts):
            if start <= frame < start + frames:
                view = views[number]
                truth = _render(smokes[0], view, frame - start, 1, steps=112)
                guide = _render(smokes[1], view, frame - start, GUIDE_SCALE, smooth=True)
                light = view.camera_to_world[frame - start, :3, :3].T @ view.sun
                taken[number].append((*truth, *guide, light))
    clips = []
    for view, rows in zip(views, taken):
        truth, truth_depth, guide, depth, light = (torch.stack(column) for column in zip(*rows))
        clips.append(Clip(truth, truth_depth, guide, depth, light, _cell_seen(guide, depth, view.focal, smokes[1].cell, view.extinction)))
    return clips


def _cell_seen(guide: torch.Tensor, depth: torch.Tensor, focal: float, cell: float, extinction: float) -> torch.Tensor:
    """(frames, 2) as `condition.of_frame` wants it; the first is NaN in frames without dust, and so the cell is not known there.

    guide: (frames, 3, h, w). depth: (frames, h, w). focal: in pixels of the result. cell: its edge, in the depth's lengths; extinction:
    per such length.
    """
    weight = torch.where(torch.isfinite(depth), guide[:, 2].clamp(0, 1), 0.0)
    mean = (weight * torch.where(torch.isfinite(depth), depth, 0.0)).sum((-2, -1)) / weight.sum((-2, -1))
    return torch.stack([focal * cell / mean, torch.full_like(mean, cell * extinction)], dim=-1)
