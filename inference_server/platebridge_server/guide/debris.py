# SPDX-License-Identifier: Apache-2.0
"""Debris: chunks and grit thrown out by what breaks, flying by gravity and drag, bouncing, coming to rest.

It knows moving points, dials and metres, in level space. It must not know pictures; `chunk_layer.py` draws what flies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
from platebridge.request import GuideSettings

from .dials import Dials
from .emitters import Event, outward_of
from .motion import Moving

GRAVITY = 9.81
#: Speed lost to the air: per metre flown, for a stone one metre across.
AIR = 4e-4
#: Grains of grit that fly with each chunk, and their largest size as a part of the largest chunk's.
GRIT_PER_CHUNK, GRIT_SIZE = 14, 0.10
MOST_GRIT = 6000
#: Sizes follow a power law: many small, few large (fragmentation of brittle stone gives exponents about 2 to 3).
EXPONENT = 2.0
SUBSTEPS = 4
#: Chunks that trail dust, the largest first, and for how long, in reference seconds.
FINGERS, FINGER_SECONDS = 14, 0.5


@dataclass(frozen=True)
class Chunks:
    """What flies or lies at a frame, in level space; n pieces, float32 but for `number`.

    position, velocity: (n, 3) metres, metres/s. turn: (n, 3) axis times angle, radians. size: (n,) metres across.
    number: (n,) int64, a piece's own number: its shape and shade follow from it. trailing: (n,) radius in metres of the dust
    it leaves, 0 for none.
    """

    position: np.ndarray
    velocity: np.ndarray
    turn: np.ndarray
    size: np.ndarray
    number: np.ndarray
    trailing: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, as `Chunks(**arrays)` takes them; nothing when there are none."""
        return dict(vars(self)) if len(self) else {}

    def trails(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, velocity and radius of those that trail dust."""
        there = self.trailing > 0
        return self.position[there], self.velocity[there], self.trailing[there]


class Debris:
    """All debris of one event. `step` must be called frame by frame from `first` on; the same arguments give the same bits.

    moving: what moves at a frame, in level space, or None. first, last: frames between which something moves. Where the number of
    chunks changes over the shot, as many are made as there would be at most, and of those that would start at a frame only as large a
    part does as that frame's number is of the most.
    """

    def __init__(
        self, dials: Dials, event: Event, frame_seconds: float, moving: Callable[[int], Optional[Moving]], first: int, last: int
    ) -> None:
        self.dials, self.event, self.frame_seconds, self._moving = dials, event, frame_seconds, moving
        settings = dials.settings
        self._composition = settings.composition
        random = np.random.default_rng([self._composition, 5])
        frames = np.arange(first, last + 1)
        numbers = np.array([_number(dials.at(int(frame))) for frame in frames])
        chunks = round(float(numbers.max()))
        grit = min(GRIT_PER_CHUNK * chunks, MOST_GRIT)
        n = chunks + grit
        self.size = np.concatenate(
            [
                np.sort(_power_law(random, chunks, 0.12 * settings.debris_size, settings.debris_size))[::-1],
                _power_law(random, grit, 0.15 * GRIT_SIZE * settings.debris_size, GRIT_SIZE * settings.debris_size),
            ]
        )
        self.is_grit = np.arange(n) >= chunks
        self.trail = np.where(np.arange(n) < min(FINGERS, chunks), event.height * random.uniform(0.010, 0.024, n), 0.0)
        self.born = random.choice(frames, n, p=self._likelihood(frames)) if n else np.zeros(0, np.int64)
        if dials.changes("debris_size"):
            self.size = self.size * np.array([dials.at(int(frame)).debris_size for frame in self.born]) / settings.debris_size
        self.position, self.velocity = np.zeros((n, 3)), np.zeros((n, 3))
        self.turn, self.spin = (
            random.uniform(-3, 3, (n, 3)),
            random.normal(0, 1, (n, 3)) * (4.0 / np.sqrt(np.maximum(self.size, 0.02)))[:, None],
        )
        self.age = np.full(n, -1.0)  # not born
        self.throw = random.random((n, 4))
        self.angle = random.uniform(0, 2 * np.pi, n)
        if dials.changes("amount", "debris") and n:
            left_out = random.random(n) >= numbers[self.born - first] / max(float(numbers.max()), 1e-9)
            self.born[left_out] = first - 1  # before the first frame, so never

    def _likelihood(self, frames: np.ndarray) -> np.ndarray:
        """How many of the pieces start at each frame: with what breaks, and more at first."""
        weights = np.zeros(len(frames))
        for at, frame in enumerate(frames):
            found = self._moving(int(frame))
            if found is not None:
                weights[at] = self._loose(found).sum() * np.exp(-at * self.frame_seconds / (0.6 * self.event.second))
        return weights / weights.sum() if weights.sum() > 0 else np.eye(1, len(frames))[0]

    def _loose(self, moving: Moving) -> np.ndarray:
        """(n,) how likely a piece comes off at each moving point."""
        speed = np.linalg.norm(moving.velocity, axis=1) / self.event.fall_speed
        return moving.area * (0.05 * speed + np.minimum(moving.shear / (0.1 * self.event.fall_speed), 1.0) + 0.5 * moving.fresh + 1e-6)

    def step(self, frame: int) -> Chunks:
        """Fly for one frame, let loose what starts in it, and say what is there now."""
        self._fly()
        self._let_loose(frame)
        there = (self.age >= 0) & (~self.is_grit | (self.age < 4.0))
        number = np.nonzero(there)[0]
        flying = np.linalg.norm(self.velocity, axis=1) > 0.15 * self.event.fall_speed
        trailing = self.trail * np.clip(1 - self.age / (FINGER_SECONDS * self.event.second), 0.0, 1.0) * flying
        pick = (self.position, self.velocity, self.turn, self.size, trailing)
        position, velocity, turn, size, trailing = (np.ascontiguousarray(a[there], np.float32) for a in pick)
        return Chunks(position, velocity, turn, size, number.astype(np.int64), trailing)

    def _let_loose(self, frame: int) -> None:
        starts = np.nonzero((self.born == frame) & (self.age < 0))[0]
        found = self._moving(frame) if len(starts) else None
        if found is None or not len(found):
            return
        event = self.event
        random = np.random.default_rng([self._composition, 6, frame % 2**32])
        likely = self._loose(found)
        at = random.choice(len(found), len(starts), p=likely / likely.sum())
        place = found.points[at]
        out = outward_of(place, found, event)
        a, b, c, d = self.throw[starts].T
        angle = self.angle[starts]
        aside = np.stack([np.cos(angle), np.sin(angle), np.zeros(len(starts))], axis=1)
        push = out * (0.12 + 0.8 * a**2)[:, None] + aside * (0.45 * b**2)[:, None]
        push[:, 2] += -0.05 + 0.65 * c**2
        # A chunk behind the wall that is seen would be hidden: let loose at the surface, a little before it.
        push[:, 1] = np.where(push[:, 1] > 0, -0.7 * push[:, 1], push[:, 1])
        self.position[starts] = place + found.velocity[at] * (self.frame_seconds * (d - 1.0))[:, None]
        self.position[starts, 1] -= self.size[starts]
        self.velocity[starts] = 0.7 * found.velocity[at] + push * (1.5 * event.fall_speed * self.dials.at(frame).speed**0.5)
        self.age[starts] = 0.0

    def _fly(self) -> None:
        dt = self.frame_seconds / SUBSTEPS
        floor = self.event.ground + 0.3 * self.size
        for _ in range(SUBSTEPS):
            live = self.age >= 0
            speed = np.linalg.norm(self.velocity, axis=1)
            drag = 1.0 / (1.0 + dt * AIR * speed / np.maximum(self.size, 1e-3))
            resting = live & (self.position[:, 2] <= floor + 1e-4) & (speed < 0.6)
            moves = live & ~resting
            self.velocity[resting] = 0.0
            self.velocity[moves] *= drag[moves, None]
            self.velocity[moves, 2] -= GRAVITY * dt
            self.position[moves] += self.velocity[moves] * dt
            self.turn[moves] += self.spin[moves] * dt
            hits = moves & (self.position[:, 2] < floor) & (self.velocity[:, 2] < 0)
            self.position[hits, 2] = floor[hits]
            self.velocity[hits] *= np.array([0.55, 0.55, -0.22])
            self.velocity[hits, 2] = np.where(self.velocity[hits, 2] < 0.5, 0.0, self.velocity[hits, 2])
            self.spin[hits] *= 0.5
            self.age[hits & self.is_grit] = np.inf  # grit is lost in the dust on the ground
        self.age[self.age >= 0] += self.frame_seconds


def _number(dials: GuideSettings) -> float:
    """Chunks that would fly if these dials held for the whole shot."""
    return dials.debris * min(1.0, dials.amount)


def _power_law(random: np.random.Generator, n: int, smallest: float, largest: float) -> np.ndarray:
    """n sizes whose number falls as size to the minus EXPONENT - 1."""
    u = random.random(n)
    return smallest * (1 - u * (1 - (smallest / largest) ** EXPONENT)) ** (-1 / EXPONENT)
