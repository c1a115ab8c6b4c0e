# SPDX-License-Identifier: Apache-2.0
"""What a moving surface throws out: dust at its breaks, in its wake, and a surge along the ground where it comes down.

It turns moving points into `solver.Sources`. It knows dials and metres. It must not know pictures, cameras or the march.

Everything is measured against the event's own size, so that a heap of bricks and a tower behave alike: lengths against
`Event.scale`, speeds against the speed that a fall of that height gives. Rates are the solver's reference rates
(`training/simulate.py` uses the same ones), so that the guide's dust is the dust our model has learnt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np
import torch
from platebridge.request import GuideSettings

from . import solver
from .dials import Dials
from .motion import Moving

#: Rates of a wholly covered cell in the reference domain, 1/s.
DENSITY, WEIGHT, SWELL = 22.0, 25.0, 24.0
#: The reference domain is this much taller than the event.
HEADROOM = 1.5
#: Gravity that times the dust. More than the true one: a fall presses the air out ahead of it faster than it falls itself.
#: With 9.81 a 36 m tower's surge crept 5 m in its first second; with this it leaves at 15 to 25 m/s, as filmed ones do.
PACE = 25.0
#: Reference seconds until a collapse that has begun emits with full strength.
RAMP = 0.15
#: Points of the surge, and of the whole of one frame's other sources.
SURGE_POINTS, MOST_POINTS = 4000, 6000


@dataclass(frozen=True)
class Event:
    """The collapse as a whole, in level space (x to the right of the first camera, y away from it, z up; metres).

    scale: height of what moves, at least a fifth of its width. ground: z of the ground. thickness: how deep the
    body behind the surface that is seen is taken to be. first: frame in which it begins to move.
    """

    scale: float
    ground: float
    thickness: float
    first: int = 0

    @property
    def height(self) -> float:
        """Metres that are one height of the solver's reference domain."""
        return HEADROOM * self.scale

    @property
    def second(self) -> float:
        """Seconds that one second of the reference domain lasts."""
        return solver.reference_second(self.height, PACE)

    @property
    def fall_speed(self) -> float:
        """Metres per second that a fall from the event's height ends with, over root two."""
        return math.sqrt(9.81 * self.scale)


@dataclass(frozen=True)
class Burst:
    """Points that emit during a step, float32: position, velocity (n, 3), volume in cubic metres (n,), and rates in 1/s (n,)."""

    position: np.ndarray
    velocity: np.ndarray
    volume: np.ndarray
    density: np.ndarray
    weight: np.ndarray
    swell: np.ndarray

    def __len__(self) -> int:
        return len(self.position)

    def thinned(self, part: float) -> Burst:
        """The same points, each filling only a part of its volume."""
        return replace(self, volume=(self.volume * np.float32(part)))

    def sources(self, smoke: solver.Smoke) -> solver.Sources:
        columns = [torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(smoke.device) for a in vars(self).values()]
        position, velocity, volume, density, weight, swell = columns
        return solver.splat_sources(
            position,
            volume / smoke.cell**3,
            velocity,
            smoke.shape,
            smoke.cell,
            smoke.origin,
            density=density,
            weight=weight,
            divergence=swell,
        )


def joined(parts: list[Burst]) -> Optional[Burst]:
    parts = [p for p in parts if len(p)]
    return Burst(*(np.concatenate(column) for column in zip(*(vars(p).values() for p in parts)))) if parts else None


class Emitters:
    """The emitters of one event. The same dials, event and points give the same dust, bit for bit."""

    def __init__(self, dials: Dials, event: Event, seconds_per_frame: float) -> None:
        self.dials, self.event, self.frame_seconds = dials, event, seconds_per_frame
        self._composition = dials.settings.composition
        random = np.random.default_rng([self._composition, 1])
        # A few plane waves make smooth patches in space and time: nothing leaves as an even sheet.
        self._waves = random.normal(0, 15.0 / event.height, (7, 3))
        self._phases, self._beats = random.uniform(0, 2 * math.pi, 7), random.uniform(-3, 3, 7) / event.second
        self._lobes = [(k, random.uniform(0, 2 * math.pi), random.uniform(0.15, 0.45)) for k in random.integers(1, 9, 4)]

    def emit(self, moving: Moving, frame: int) -> Optional[Burst]:
        """What is thrown out during a frame, or None. moving: in level space."""
        dials = self.dials.at(frame)
        if not len(moving) or dials.amount <= 0:
            return None
        random = np.random.default_rng([self._composition, 2, frame % 2**32])
        time = frame * self.frame_seconds
        # The first crack doesn't throw out a full cloud: it would stand there whole within a frame.
        begun = min(1.0, (frame - self.event.first + 1) * self.frame_seconds / (RAMP * self.event.second))
        return joined([self._breaks(dials, moving, time, random), self._surge(dials, moving, time, random)]).thinned(begun)

    def trail(self, position: np.ndarray, velocity: np.ndarray, radius: np.ndarray, frame: int) -> Optional[Burst]:
        """Dust that flying chunks leave: thin fingers. position, velocity: (n, 3); radius: (n,) metres of the dust behind each."""
        dials = self.dials.at(frame)
        if not len(position) or dials.amount <= 0:
            return None
        random = np.random.default_rng([self._composition, 3, frame % 2**32])
        count = 12
        back = random.uniform(0, self.frame_seconds, (len(position), count, 1))  # along the whole way, or they leave beads
        puff = random.normal(0, 0.5, (len(position), count, 3)) * radius[:, None, None]
        at = (position[:, None] - velocity[:, None] * back + puff).reshape(-1, 3)
        return self._burst(
            dials, at, np.repeat(0.35 * velocity, count, 0), np.repeat(4.2 * radius**3 / count, count), density=0.8, weight=0.8, swell=0.4
        )

    def _burst(self, dials: GuideSettings, position, velocity, volume, density, weight, swell) -> Burst:
        """Rates are parts of the reference rates; the dials come in here, once."""
        n, rate = len(position), 1.0 / self.event.second
        amount = dials.amount
        return Burst(
            np.asarray(position, np.float32),
            np.asarray(velocity, np.float32),
            np.asarray(volume * amount**0.5, np.float32),
            np.full(n, DENSITY * density * rate * amount**0.5, np.float32),
            np.full(n, WEIGHT * weight * rate, np.float32),
            np.full(n, SWELL * swell * rate * dials.spread * amount**0.5, np.float32),
        )

    def _patchy(self, at: np.ndarray, time: float) -> np.ndarray:
        """Smooth noise in [0, 1] over space and time."""
        waves = np.sin(at @ self._waves.T + self._phases + self._beats * time).sum(1)
        return np.clip(0.15 + 0.6 * waves, 0.0, 1.0)

    def _breaks(self, dials: GuideSettings, moving: Moving, time: float, random: np.random.Generator) -> Burst:
        """Dust from the surfaces themselves: much where they break or appear, a veil where they only move."""
        event = self.event
        speed = np.linalg.norm(moving.velocity, axis=1)
        share = speed / (speed + 0.3 * event.fall_speed)
        breaking = np.clip(moving.shear / (0.25 * event.fall_speed), 0.0, 1.0) ** 2
        part = (0.08 * share + 1.8 * breaking * share + 0.6 * moving.fresh) * self._patchy(moving.points, time)
        at = moving.points - moving.velocity * random.uniform(0, self.frame_seconds, (len(moving), 1))
        # Much of the dust is inside the body: unseen while it stands, the plume above it when it has gone down.
        inside = random.random(len(moving)) < 0.4
        at[:, 1] += np.where(inside, random.uniform(0, event.thickness, len(moving)), 0.0)
        at += random.normal(0, 0.025 * event.scale, at.shape)  # or falling edges leave curtains behind them
        outward = outward_of(at, moving, event)
        push = outward * (0.22 * event.height / event.second * dials.speed * (share + moving.fresh))[:, None]
        volume = moving.area * 0.06 * event.scale * part
        return self._burst(dials, at, 0.35 * moving.velocity + push, volume, density=1.0, weight=0.8, swell=1.8)

    def _surge(self, dials: GuideSettings, moving: Moving, time: float, random: np.random.Generator) -> Burst:
        """The ring that runs out along the ground where something comes down on it, or comes down out of sight.

        Strips across the view are looked at one by one: the lowest moving points of a strip, how fast they fall, whether
        they are near the ground. The ring follows the body's outline, guessed behind, and is fed by the strips below it.
        """
        event = self.event
        falling = moving.velocity[:, 2] < -0.03 * event.fall_speed
        if falling.sum() < 3:
            return _no_burst()
        points, down, hidden = moving.points[falling], -moving.velocity[falling, 2], moving.hidden[falling]
        width = event.scale / 16
        strip = np.floor(points[:, 0] / width).astype(np.int64)
        first = strip.min()
        count = int(min(strip.max() - first + 1, 400))
        strip = np.minimum(strip - first, count - 1)
        strength, front = np.zeros(count), np.full(count, np.nan)
        for k in np.unique(strip):
            mine = strip == k
            heights = points[mine, 2] - event.ground
            lowest = heights <= np.quantile(heights, 0.12) + 1e-6
            near = heights[lowest].min() < 0.15 * event.scale or hidden[mine][lowest].mean() > 0.3
            if near:
                fall = np.median(down[mine])
                strength[k] = fall**2 / (fall**2 + (0.3 * event.fall_speed) ** 2)
                front[k] = np.median(points[mine][lowest, 1])
        active = np.nonzero(strength)[0]
        if not len(active):
            return _no_burst()
        front[np.isnan(front)] = np.interp(np.nonzero(np.isnan(front))[0], active, front[active])
        left, right = (first + active[0]) * width, (first + active[-1] + 1) * width
        back = np.median(front[active]) + event.thickness
        thick, tall = 0.08 * event.height, 0.13 * event.height
        at, out = _on_rim(left, right, front, first * width, width, back, random)
        along = np.clip(np.floor(at[:, 0] / width).astype(np.int64) - first, 0, count - 1)
        fed = strength[along]
        turn = np.arctan2(out[:, 1], out[:, 0])
        lobe = np.clip(0.8 + sum(w * np.cos(k * turn + p + 0.3 * time / event.second) for k, p, w in self._lobes), 0.1, 1.7)
        at = at + out * (random.uniform(-0.3, 1.0, (len(at), 1)) * thick)
        position = np.concatenate([at, event.ground + random.uniform(0, tall, (len(at), 1))], axis=1)
        speed = (0.9 * event.height / event.second) * dials.speed * lobe * (0.3 + 0.7 * fed)
        velocity = np.concatenate([out * speed[:, None], random.uniform(0, 0.5, (len(at), 1)) * speed[:, None]], axis=1)
        length = 2 * (right - left) + 2 * event.thickness
        volume = length * thick * tall / len(at) * fed * self._patchy(position, time)
        return self._burst(dials, position, velocity, volume, density=1.0, weight=1.0, swell=2.0)


def outward_of(at: np.ndarray, moving: Moving, event: Event) -> np.ndarray:
    """(n, 3) horizontal, away from the axis of what moves, 1 at its rim and beyond."""
    middle = np.median(moving.points[:, :2], axis=0) + [0.0, 0.5 * event.thickness]
    low, high = np.quantile(moving.points[:, 0], [0.03, 0.97])
    away = (at[:, :2] - middle) / [max(0.5 * (high - low), 0.2 * event.scale), 0.5 * event.thickness]
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1.0)
    return np.concatenate([away, np.zeros((len(at), 1))], axis=1)


def _no_burst() -> Burst:
    return Burst(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), *(np.zeros(0, np.float32) for _ in range(4)))


def _on_rim(left, right, front, first_x, width, back, random):
    """Points (n, 2) evenly along the outline of the body on the ground, and outward unit vectors (n, 2).

    front: (count,) y of the side that is seen, per strip of `width` from first_x on; the back is a straight line.
    """
    middle_front = float(np.median(front))
    across, deep = right - left, max(back - middle_front, 1e-6)
    place = random.uniform(0, 2 * (across + deep), SURGE_POINTS)
    x = np.where(place < across, left + place, right)
    x = np.where((place >= across + deep) & (place < 2 * across + deep), right - (place - across - deep), x)
    x = np.where(place >= 2 * across + deep, left, x)
    strip = np.clip(np.floor((x - first_x) / width).astype(np.int64), 0, len(front) - 1)
    y = front[strip]
    y = np.where((place >= across) & (place < across + deep), middle_front + (place - across), y)
    y = np.where((place >= across + deep) & (place < 2 * across + deep), back, y)
    y = np.where(place >= 2 * across + deep, back - (place - 2 * across - deep), y)
    out = np.stack([(x - 0.5 * (left + right)) / (0.5 * across + 1e-9), (y - 0.5 * (middle_front + back)) / (0.5 * deep)], axis=1)
    out = np.sign(out) * np.abs(out) ** 2  # a rounded rectangle: mostly straight out, turning at the corners
    return np.stack([x, y], axis=1), out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
