# SPDX-License-Identifier: Apache-2.0
"""Billows finer than the solver's own: creases in the rim of thick dust, between puffs that go along with it.

A solver of a hundred cells a side makes round, smooth clouds, in which billows of five to ten cells are lacking. So points are strewn
in the dust's rim and carried by its air, and where a place of the rim is as far from one as from another, dust is taken away, and put
onto what lies near one: puffs with creases between them, and smaller ones on those. (Cellular noise, the second distance less the
first, after Worley 1996, as clouds are cut by it in games. Its points are carried, and rise and sink slowly but for those of dust
that has just burst out, so that nothing slides over the dust and nothing pops up.)

It knows grids and points. It must not know cameras, dials, requests or files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from .lookup import around, between
from .solver import Smoke

#: Cells from puff to puff: of the large ones, and of the small ones on them.
SPACING = (12.0, 6.0)
#: How deep creases are at most, as a part of the rim, and between large puffs, beside those between small ones.
DEEPEST, LARGE = 0.62, 0.6
#: By how much of their density puffs become denser at most.
DENSER = 2.0
#: Puffs differ in size by this part, up and down.
VARIED = 0.35
#: A crease is where the second nearest puff is no farther off than the nearest, and ends where it is this much farther, in their sizes.
CREASE = 0.6
#: Distances from a puff, in its sizes, from which on there are fewer creases, and none: nothing but dust is beyond.
FAR, NONE = 1.5, 2.2
#: The puffs nearest to a place that have a say in it: with fewer, young ones crowd out a grown one, and its crease is gone at once.
SAY = 8
#: Density from which on dust has billows, and from which on they are as deep as they get: thin dust has wisps.
THIN, THICK = 0.1, 0.4
#: Frames in which a puff grows, or goes.
GROWS = 16
#: The rim ends where dust, looked at through two cells, is this part of the thickest near it.
RIM = 0.85
#: How far in the farthest of what is near has to lie for a place to have creases, and for full ones: a finger would fall to pieces.
SLIM, BODY = 0.3, 0.8
#: Density below which there is no dust to take away.
LEAST = 3e-3
#: So many cells of the rim are tried for new puffs in a frame.
TRIED = 1500


@dataclass
class _Puffs:
    """Puffs of one size, the oldest first. at: (n, 3) x, y, z in cells. size: (n,) cells. grown: (n,) in [0, 1]."""

    spacing: float
    random: np.random.Generator
    at: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    size: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    grown: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    leaving: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def carried(self, smoke: Smoke, seconds: float) -> None:
        """Along with the air. Those that are left without dust, or have come too near to an older one, begin to go."""
        if not len(self.at):
            return
        cells = seconds / smoke.cell
        half = self.at + 0.5 * cells * _read(smoke.velocity, self.at)
        self.at = (self.at + cells * _read(smoke.velocity, half)).astype(np.float32)
        self.leaving |= _read(smoke.density[None], self.at)[:, 0] < 0.5 * THIN
        live = np.flatnonzero(~self.leaving)
        pairs = _tree(self.at[live]).query_pairs(0.5 * self.spacing, output_type="ndarray")
        self.leaving[live[pairs.max(1)]] = True
        self.grown = np.clip(self.grown + np.where(self.leaving, -1, 1) / np.float32(GROWS), 0, 1)
        kept = (self.grown > 0) & ((self.at >= 0) & (self.at < smoke.shape)).all(1)
        self.at, self.size, self.grown, self.leaving = (part[kept] for part in (self.at, self.size, self.grown, self.leaving))

    def filled(self, rim: np.ndarray, fresh: Callable[[np.ndarray], np.ndarray]) -> None:
        """New ones where there are none near, as far grown as the dust there is fresh. rim: (n, 3) cells in which they may begin. fresh:
        (n,) in [0, 1] of points (n, 3)."""
        if not len(rim):
            return
        least = 0.8 * self.spacing
        tried = rim[self.random.integers(0, len(rim), TRIED)] + self.random.random((TRIED, 3), np.float32)
        place = np.floor(tried / least).astype(np.int64) @ (1, 1 << 20, 1 << 40)
        tried = tried[np.unique(place, return_index=True)[1]]  # one in each place of that size
        if not self.leaving.all():
            tried = tried[_tree(self.at[~self.leaving]).query(tried, distance_upper_bound=least)[0] > least]
        tried = tried[_apart(tried, least)]
        n = len(tried)
        self.at = np.concatenate([self.at, tried])
        self.size = np.concatenate([self.size, (self.spacing * self.random.uniform(1 - VARIED, 1 + VARIED, n)).astype(np.float32)])
        self.grown = np.concatenate([self.grown, fresh(tried)])
        self.leaving = np.concatenate([self.leaving, np.zeros(n, bool)])

    def crease(self, points: np.ndarray) -> np.ndarray:
        """(n,) in [0, 1]: how much points (n, 3) lie in a crease, as far from one puff as from another. A young puff is farther off than it
        looks, so that it comes up from below."""
        if len(self.at) < 2:
            return np.zeros(len(points), np.float32)
        far, which = _tree(self.at).query(points, k=min(SAY, len(self.at)), distance_upper_bound=NONE * self.spacing, workers=-1)
        # Where there are fewer, the last ones are infinitely far.
        size, grown = np.append(self.size, np.float32(1))[which], np.append(_smooth(self.grown), np.float32(0))[which]
        away = far.astype(np.float32) / size
        near = (grown * (1 - _smooth((away - FAR) / (NONE - FAR)))).max(1)
        first, second = np.minimum(np.partition(away + 1 - grown, 1)[:, :2].T, 2 * NONE)
        return near * (1 - _smooth((second - first) / CREASE))


class Billows:
    """The creases of one cloud. Call `step` once a frame, after the smoke's own steps, and then `carved`, where it is wanted.

    The same seed and smoke give the same bits.
    """

    def __init__(self, seed: int) -> None:
        self._large, self._small = (_Puffs(spacing, np.random.default_rng([seed, 5, n])) for n, spacing in enumerate(SPACING))
        self._rim: _Rim | None = None
        self._before: torch.Tensor | None = None  # (1, nz, ny, nx): the most dust near each cell at the last step

    def step(self, smoke: Smoke, seconds: float) -> None:
        """So many seconds later."""
        self._rim = _Rim(smoke.density)
        dusty = self._rim.cells[self._rim.density > THIN]
        for puffs in (self._large, self._small):
            puffs.carried(smoke, seconds)
            puffs.filled(dusty, lambda points: self._fresh(points, smoke, seconds))
        self._before = F.max_pool3d(smoke.density[None], 3, 1, 1)

    def _fresh(self, points: np.ndarray, smoke: Smoke, seconds: float) -> np.ndarray:
        """(n,) in [0, 1]: how little of the dust at points (n, 3) was anywhere near where it has come from at the last step. Puffs of dust
        that has just burst out are there with it; in dust that was there before, they would pop up."""
        if self._before is None:
            return np.ones(len(points), np.float32)
        whence = points - seconds / smoke.cell * _read(smoke.velocity, points)
        was, now = _read(self._before, whence)[:, 0], _read(smoke.density[None], points)[:, 0]
        return 1 - _smooth(was / np.maximum(now, 1e-6))

    def carved(self, density: torch.Tensor, depth: float) -> torch.Tensor:
        """The density that `step` was given, (nz, ny, nx), with creases, and what these lack in the puffs beside them, as far as `DENSER`
        lets them. depth: how deep creases are, in [0, 1]; at 0 the density is as it was."""
        rim = self._rim
        if depth <= 0 or rim is None or not len(rim.cells):
            return density
        # Large ones by blocks, small ones by cells: they would be blunted.
        large, small = rim.between(self._large.crease(rim.middles)), self._small.crease(rim.cells + np.float32(0.5))
        crease = DEEPEST * depth * rim.thick * (1 - (1 - LARGE * large) * (1 - small))
        kept = np.clip((rim.inner - crease) / (np.maximum(rim.inner, 1e-6) * (1 - crease)), 0, 1)
        # What creases lack, puffs have, the more the farther out: they are crisper, and the cloud covers what it covered.
        lost, outer = (rim.density * (1 - kept)).sum(), rim.thick * (1 - rim.inner)
        kept *= 1 + min(float(lost / max((rim.density * kept * outer).sum(), 1e-6)), DENSER) * outer
        x, y, z = torch.from_numpy(rim.cells.astype(np.int64).T).to(density.device)
        out = density.clone()
        out[z, y, x] *= torch.from_numpy(kept.astype(np.float32)).to(density.device)
        return out


class _Rim:
    """Where a cloud, (nz, ny, nx), may have creases. It is looked for in blocks of two cells a side.

    middles: (m, 3) of the blocks, in cells. cells: (n, 3) x, y, z. Of each cell, (n,): its density; inner, how far in it lies, in [0, 1];
    thick, in [0, 1] from dust that is too thin for billows.
    """

    def __init__(self, density: torch.Tensor) -> None:
        box = around(density > LEAST, 6)
        low = np.array([2 * ((part.start or 0) // 2) for part in box])
        part = density[tuple(slice(int(a), span.stop) for a, span in zip(low, box))]
        blocks = F.avg_pool3d(part[None], 2, ceil_mode=True)[0].cpu()
        most = _spread(_spread(blocks, 2, _most), 1, _mean)  # the most of some blocks alone leaps from frame to frame
        inner = (_spread(blocks, 2, _mean) / (RIM * most).clamp_min(1e-6)).clamp_max_(1.0)
        heart = _spread(_spread(inner, 2, _most), 1, _mean)
        thick = ((most - THIN) / (THICK - THIN)).clamp_(0, 1) * ((heart - SLIM) / (BODY - SLIM)).clamp_(0, 1)
        self._where, self._shape = torch.nonzero((inner < 1) & (thick > 0)), blocks.shape
        here = self._where.numpy()[:, ::-1].astype(np.float32)
        corner = low[::-1].astype(np.float32)
        self.middles = 2 * here + 1 + corner
        corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
        cells = (2 * here[:, None] + corners).reshape(-1, 3)
        cells = cells[(cells < part.shape[::-1]).all(1)]
        x, y, z = torch.from_numpy(cells.astype(np.int64).T).to(part.device)
        held = part[z, y, x].cpu().numpy()
        cells, self.density = cells[held > LEAST], held[held > LEAST]
        self._at = torch.from_numpy((cells + 0.5) / np.array(blocks.shape[::-1], np.float32) - 1)
        self.cells = cells + corner
        self.inner, self.thick = between(torch.stack([inner, thick]), self._at, "border").numpy()

    def between(self, values: np.ndarray) -> np.ndarray:
        """(n,): for the cells, what `values` (m,) are at the blocks' middles, linearly; 0 at all other blocks'."""
        grid = torch.zeros(self._shape)
        grid[tuple(self._where.T)] = torch.from_numpy(values.astype(np.float32))
        return between(grid[None], self._at, "border")[0].numpy()


def _apart(points: np.ndarray, least: float) -> np.ndarray:
    """(n,) bool: those of points (n, 3) that are no nearer than `least` to any taken before them."""
    taken = np.ones(len(points), bool)
    if len(points):
        for one, other in sorted(_tree(points).query_pairs(least)):
            taken[other] &= not taken[one]
    return taken


def _tree(points: np.ndarray):
    """Answers which of the points are near others. Loaded when it is wanted: a third of a second, and the model's training does without."""
    from scipy.spatial import cKDTree

    return cKDTree(points)


def _read(grid: torch.Tensor, at: np.ndarray) -> np.ndarray:
    """(n, c): a grid (c, nz, ny, nx) at points (n, 3) x, y, z in cells."""
    size = torch.tensor(grid.shape[:0:-1], dtype=torch.float32)
    where = (2 * torch.from_numpy(at.astype(np.float32)) / size - 1).to(grid.device)
    return between(grid, where, "border").T.cpu().numpy()


def _spread(grid: torch.Tensor, reach: int, mixed: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Each cell mixed with its two neighbours along each axis, `reach` times; beyond the grid it goes on as it ends."""
    for axis in (0, 1, 2):
        n = grid.shape[axis]
        for _ in range(reach):
            before = torch.cat([grid.narrow(axis, 0, 1), grid.narrow(axis, 0, n - 1)], axis)
            after = torch.cat([grid.narrow(axis, 1, n - 1), grid.narrow(axis, n - 1, 1)], axis)
            grid = mixed(before, grid, after)
    return grid


def _mean(before: torch.Tensor, here: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    return (before + here + after) / 3


def _most(before: torch.Tensor, here: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    return torch.maximum(torch.maximum(before, here), after)


def _smooth(part: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and smoothly from one to the other."""
    part = np.clip(part, 0, 1)
    return part * part * (3 - 2 * part)
