# SPDX-License-Identifier: Apache-2.0
"""A small 3-D smoke solver in torch: what moves the guide's dust, and what our own model was trained on.

It knows grids, points and time. It must not know cameras, plates, requests or files: emitters turn those into
`Sources` before they come here, and `guide/volume.py` renders what comes out.

Conventions, everywhere in this module:
  axes      world x, y, z with **z up**; arrays are indexed (z, y, x); vectors are ordered (x, y, z)
  units     any length (metres in a shot, domain heights in the training data), seconds
  density   0 clear, 1 the usual density of fresh dust, capped at `SmokeSettings.density_cap`
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .lookup import around, between

#: Gravity of the reference domain (height 1) for which the default settings were tuned, in heights per second^2.
#: A real domain is mapped to it by Froude scaling, so a 60 m collapse is slow and a 2 m one quick, as they should be.
REFERENCE_GRAVITY = 2.7
#: Cells around the dust in which the air is moved with it.
REACH = 8


@dataclass(frozen=True)
class SmokeSettings:
    """How the smoke behaves. The defaults are for a domain of height 1 and gravity `REFERENCE_GRAVITY`.

    buoyancy        upward acceleration of density 1, length/s^2 (negative: dust heavier than air)
    confinement     vorticity confinement, 1/s (multiplied by the cell inside, after Fedkiw et al. 2001)
    forcing         small random acceleration where the dust is dense and moving, length/s^2
    forcing_cycles  lattice cells of that forcing per domain height; each half as strong as the one
                    before; those finer than the grid are left out
    forcing_speed   speed at which the forcing reaches full strength, length/s
    dissipation     density lost, 1/s
    drag            velocity lost, 1/s
    density_cap     largest density of a cell
    """

    buoyancy: float = 0.35
    confinement: float = 1.8
    forcing: float = 6.0
    forcing_cycles: tuple[float, ...] = (18.0, 41.0)
    forcing_speed: float = 0.35
    dissipation: float = 0.12
    drag: float = 0.15
    density_cap: float = 1.6

    def for_domain(self, height: float, gravity: float = 9.81) -> SmokeSettings:
        """The same smoke in a domain `height` lengths tall under `gravity` lengths/s^2 (Froude scaling).

        One reference second lasts `reference_second(height, gravity)` seconds: rates are divided by it and
        accelerations scaled by height / second^2. Source rates and speeds are the caller's to scale alike.
        """
        second = reference_second(height, gravity)
        acceleration = height / second**2
        return replace(
            self,
            buoyancy=self.buoyancy * acceleration,
            confinement=self.confinement / second,
            forcing=self.forcing * acceleration,
            forcing_speed=self.forcing_speed * height / second,
            dissipation=self.dissipation / second,
            drag=self.drag / second,
        )


def reference_second(height: float, gravity: float = 9.81) -> float:
    """Seconds that one second of the reference domain lasts in a domain `height` lengths tall."""
    return math.sqrt(REFERENCE_GRAVITY * height / gravity)


@dataclass
class Sources:
    """What is emitted in one step; every array is (nz, ny, nx) float32, momentum (3, nz, ny, nx).

    density     density per second
    weight      how firmly the source sets the velocity, 1/s
    momentum    weight * velocity, length/s^2
    divergence  expansion, 1/s: 6..22 at a covered cell is what makes billows (buoyancy does not)
    """

    density: torch.Tensor
    weight: torch.Tensor
    momentum: torch.Tensor
    divergence: torch.Tensor


def splat(points: torch.Tensor, values: torch.Tensor, shape, cell: float, origin) -> torch.Tensor:
    """Scatter values of points into a grid, trilinearly. The grid's sum is the sum of the values.

    points: (n, 3) x, y, z in lengths. values: (n,) or (n, c). shape: (nx, ny, nz). Points outside the domain are
    left out; those in its outermost half cell go to the border cells whole. Returns (c, nz, ny, nx), c = 1 for (n,).
    """
    if values.ndim == 1:
        values = values[:, None]
    nx, ny, nz = shape
    size = torch.tensor([nx, ny, nz], device=points.device)
    at = (points - torch.as_tensor(origin, dtype=points.dtype, device=points.device)) / cell
    inside = ((at >= 0) & (at < size)).all(dim=1)
    at, values = at[inside] - 0.5, values[inside]
    low = torch.floor(at)
    part = at - low
    low = low.long()
    grid = torch.zeros(nz * ny * nx, values.shape[1], dtype=values.dtype, device=points.device)
    for dz in (0, 1):
        for dy in (0, 1):
            for dx in (0, 1):
                step = torch.tensor([dx, dy, dz], device=points.device)
                corner = torch.minimum((low + step).clamp_min(0), size - 1)
                share = torch.where(step.bool(), part, 1 - part).prod(dim=1)
                index = (corner[:, 2] * ny + corner[:, 1]) * nx + corner[:, 0]
                grid.index_add_(0, index, values * share[:, None])
    return grid.T.reshape(-1, nz, ny, nx)


def splat_sources(points, fraction, velocity, shape, cell, origin, *, density, weight, divergence) -> Sources:
    """Sources from points, each filling a part of a voxel (a whole voxel per point makes a coarse cloud too fat).

    points, velocity: (n, 3). fraction: (n,) volume of each point divided by the volume of a cell.
    density, weight, divergence: rates (1/s) of a wholly covered cell, numbers or (n,).
    Where points crowd, a cell counts as covered once.
    """
    n = points.shape[0]
    columns = [fraction]
    for rate in (density, weight, divergence):
        columns.append(fraction * torch.as_tensor(rate, dtype=points.dtype, device=points.device).expand(n))
    columns += [columns[2] * velocity[:, axis] for axis in range(3)]
    grid = splat(points, torch.stack(columns, dim=1), shape, cell, origin)
    grid = grid / grid[:1].clamp_min(1.0)
    return Sources(density=grid[1], weight=grid[2], momentum=grid[4:7], divergence=grid[3])


class PressureSolver:
    """Solves the Poisson equation on a box directly, by fast diagonalisation (Lynch, Rice and Thomas 1964).

    The three 1-D compact Laplacians have dense eigenvectors, so a solve is six matrix products: no FFT, no
    iterations, any mix of walls. Ground (low z): Neumann. Other faces: open, pressure 0 on the face.
    """

    def __init__(self, shape, cell: float, device):
        nx, ny, nz = shape
        self.vectors, values = [], []
        for n, ground in ((nz, True), (ny, False), (nx, False)):
            laplacian = torch.diag(torch.full((n,), -2.0, dtype=torch.float64))
            laplacian += torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
            laplacian += torch.diag(torch.ones(n - 1, dtype=torch.float64), -1)
            laplacian[0, 0] = -1.0 if ground else -3.0
            laplacian[-1, -1] = -3.0
            eigenvalues, eigenvectors = torch.linalg.eigh(laplacian / cell**2)
            values.append(eigenvalues)
            self.vectors.append(eigenvectors.float().to(device))
        total = values[0][:, None, None] + values[1][None, :, None] + values[2][None, None, :]
        self.inverse = (1.0 / total).float().to(device)

    def solve(self, right: torch.Tensor) -> torch.Tensor:
        """Pressure (nz, ny, nx) whose Laplacian is `right`."""
        vz, vy, vx = self.vectors
        nz, ny, nx = right.shape
        hat = vy.T @ (right @ vx)
        hat = (vz.T @ hat.reshape(nz, -1)).reshape(nz, ny, nx) * self.inverse
        out = (vz @ hat.reshape(nz, -1)).reshape(nz, ny, nx)
        return (vy @ out) @ vx.T


def divergence(velocity: torch.Tensor, cell: float) -> torch.Tensor:
    """Divergence (nz, ny, nx) of (3, nz, ny, nx), from face means; no flow through the ground."""
    total = torch.zeros_like(velocity[0])
    for component, axis in ((0, 2), (1, 1), (2, 0)):
        u = velocity[component]
        first, last = u.narrow(axis, 0, 1), u.narrow(axis, u.shape[axis] - 1, 1)
        between = 0.5 * (u.narrow(axis, 1, u.shape[axis] - 1) + u.narrow(axis, 0, u.shape[axis] - 1))
        low = torch.zeros_like(first) if component == 2 else first
        total += torch.cat([between, last], axis) - torch.cat([low, between], axis)
    return total / cell


def _pressure_gradient(pressure: torch.Tensor, cell: float) -> torch.Tensor:
    """Cell gradient (3, nz, ny, nx) as the mean of the two face gradients, matching `PressureSolver`'s walls."""
    out = torch.empty((3, *pressure.shape), dtype=pressure.dtype, device=pressure.device)
    for component, axis in ((0, 2), (1, 1), (2, 0)):
        n = pressure.shape[axis]
        first, last = pressure.narrow(axis, 0, 1), pressure.narrow(axis, n - 1, 1)
        between = pressure.narrow(axis, 1, n - 1) - pressure.narrow(axis, 0, n - 1)
        low = torch.zeros_like(first) if component == 2 else 2 * first
        torch.add(torch.cat([low, between], axis), torch.cat([between, -2 * last], axis), out=out[component])
    return out.mul_(0.5 / cell)


def _difference(field: torch.Tensor, axis: int) -> torch.Tensor:
    """Central difference in cells, one-sided at the walls."""
    n = field.shape[axis]
    inner = 0.5 * (field.narrow(axis, 2, n - 2) - field.narrow(axis, 0, n - 2))
    first = field.narrow(axis, 1, 1) - field.narrow(axis, 0, 1)
    last = field.narrow(axis, n - 1, 1) - field.narrow(axis, n - 2, 1)
    return torch.cat([first, inner, last], axis)


def _length(vectors: torch.Tensor) -> torch.Tensor:
    """Length of (3, ...) vectors; torch's own norm over a strided first axis is fifteen times slower here."""
    x, y, z = vectors
    return torch.sqrt(x * x + y * y + z * z)


class Smoke:
    """The smoke in a box.

    shape: (nx, ny, nz) cells. cell: edge of a cell, lengths. origin: (x, y, z) of the box's lowest corner; the
    ground is its floor. After `step`: `density` (nz, ny, nx) and `velocity` (3, nz, ny, nx) in lengths/s, float32.
    The same arguments and steps give the same bits on the same machine; `seed` drives the forcing alone.
    """

    def __init__(self, shape, cell, origin=(0.0, 0.0, 0.0), device="cpu", settings=SmokeSettings(), seed=0):
        self.shape = nx, ny, nz = tuple(int(n) for n in shape)
        self.cell, self.origin, self.device = float(cell), tuple(float(v) for v in origin), torch.device(device)
        self.settings = settings
        self.density = torch.zeros(nz, ny, nx, device=self.device)
        self.velocity = torch.zeros(3, nz, ny, nx, device=self.device)
        self._pressure = PressureSolver(self.shape, self.cell, self.device)
        # Noise is drawn on the processor whatever the device, so that a seed means the same cloud everywhere.
        self._random = torch.Generator().manual_seed(int(seed))
        self._lattices: list[torch.Tensor] = []
        self._spread: list[list[torch.Tensor]] = []
        for cycles in settings.forcing_cycles:
            if cycles <= 0.7 * nz:
                size = [max(2, round(cycles * n / nz) + 1) for n in (nz, ny, nx)]
                self._lattices.append(torch.randn(3, *size, generator=self._random))
                self._spread.append([_linear(n, k).to(self.device) for n, k in zip((nz, ny, nx), size)])
        index = torch.arange(nz * ny * nx, device=self.device).reshape(nz, ny, nx)
        self._home = torch.stack([index % nx, index // nx % ny, index // (nx * ny)], dim=-1).float()

    def step(self, dt: float, sources: Sources | None = None, wind=(0.0, 0.0, 0.0), target_velocity=None, nudge=0.0):
        """Advance by `dt` seconds.

        wind: lengths/s towards which the air outside the dust relaxes.
        target_velocity: (3, ...) velocity of the same box in fewer cells, a coarser run's, towards which this one, as seen in those
        cells, is pulled by the part `nudge` per step: large shapes agree, and what is finer is this one's own.
        """
        settings = self.settings
        near = self._near(sources)
        there = (slice(None), *near)
        density, velocity = self.density[near], self.velocity[there]
        push = None
        if sources is not None:
            density = density + dt * sources.density[near]
            weight = sources.weight[near]
            pull = 1.0 - torch.exp(-dt * weight)
            velocity = velocity + pull * (sources.momentum[there] / weight.clamp_min(1e-9) - velocity)
            push = sources.divergence
        velocity = velocity + dt * self._confinement(velocity)
        velocity = velocity + dt * self._forcing(density, velocity, dt, near)
        velocity[2] += dt * settings.buoyancy * density
        self.velocity[there] = velocity
        whole = self.velocity
        if any(wind):
            air = torch.tensor(wind, dtype=torch.float32, device=self.device).view(3, 1, 1, 1)
            whole = whole + (1.0 - math.exp(-dt * 4 * max(settings.drag, 1e-3))) * (air - whole)
        elif settings.drag:
            whole = whole * math.exp(-dt * settings.drag)
        if target_velocity is not None and nudge:
            apart = target_velocity - F.interpolate(whole[None], target_velocity.shape[1:], mode="area")[0]
            whole = whole + nudge * F.interpolate(apart[None], whole.shape[1:], mode="trilinear")[0]
        self.velocity = self._project(whole, push)
        velocity = self.velocity[there]
        moved = self._advect(torch.cat([velocity, density[None]]), velocity, dt)
        self.velocity[there] = moved[:3]
        self.density[near] = (moved[3] * math.exp(-dt * settings.dissipation)).clamp_(0.0, settings.density_cap)
        self.density = self._open_faces(self.density)

    def _near(self, sources: Sources | None) -> tuple[slice, ...]:
        """The part of the box in which air is moved: what holds dust or sources, and `REACH` cells around it.

        Air without spin is carried along by pressure alone, and what spins is where the dust is.
        """
        there = self.density > 0
        if sources is not None:
            there |= sources.weight > 0
        return around(there, REACH)

    def _project(self, velocity, push):
        """Take out the divergence, all but what the sources push."""
        right = divergence(velocity, self.cell)
        if push is not None:
            right = right - push
        return velocity - _pressure_gradient(self._pressure.solve(right), self.cell)

    def _open_faces(self, density):
        """Dust that has reached an open face is gone; kept, it would be drawn back in as a flat sheet."""
        density[-1] = 0
        density[:, 0] = density[:, -1] = 0
        density[:, :, 0] = density[:, :, -1] = 0
        return density

    def _advect(self, fields, velocity, dt):
        """MacCormack (Selle et al. 2008), limited to the values around the departure point."""
        nz, ny, nx = fields.shape[1:]
        size = torch.tensor([nx, ny, nz], dtype=torch.float32, device=self.device)
        shift = (velocity * (dt / self.cell)).permute(1, 2, 3, 0)
        home = self._home[:nz, :ny, :nx]
        back = home - shift
        ahead = home + shift
        scale = 2.0 / size
        offset = 1.0 / size - 1.0

        def sample(of, where):
            return between(of, (where * scale + offset).view(-1, 3), "border").reshape(of.shape)

        forward = sample(fields, back)
        again = sample(forward, ahead)
        better = forward + 0.5 * (fields - again)
        low = high = fields
        for axis in (1, 2, 3):  # least and greatest of the 2x2x2 cells that start at each cell
            n = low.shape[axis]
            low = torch.cat([torch.minimum(low.narrow(axis, 0, n - 1), low.narrow(axis, 1, n - 1)), low.narrow(axis, n - 1, 1)], axis)
            high = torch.cat([torch.maximum(high.narrow(axis, 0, n - 1), high.narrow(axis, 1, n - 1)), high.narrow(axis, n - 1, 1)], axis)
        corner = torch.minimum(torch.floor(back).clamp_min_(0), size - 1).long()
        corner = (corner[..., 2] * ny + corner[..., 1]) * nx + corner[..., 0]
        rows = torch.cat([low, high]).reshape(8, -1).T.contiguous().index_select(0, corner.reshape(-1)).T
        low, high = rows[:4].reshape(4, nz, ny, nx), rows[4:].reshape(4, nz, ny, nx)
        return torch.minimum(torch.maximum(better, low), high)

    def _confinement(self, velocity):
        """Acceleration that gives back the spin that the grid loses (Fedkiw et al. 2001)."""
        if not self.settings.confinement:
            return torch.zeros_like(velocity)
        u, v, w = velocity
        x, y, z = 2, 1, 0
        # Differences are in cells here: the cell's length cancels but for the one factor Fedkiw's scheme wants.
        curl = torch.stack([
            _difference(w, y) - _difference(v, z),
            _difference(u, z) - _difference(w, x),
            _difference(v, x) - _difference(u, y),
        ])
        amount = _length(curl)
        normal = torch.stack([_difference(amount, axis) for axis in (x, y, z)])
        normal /= _length(normal).add_(1e-6 * self.cell + 1e-12)
        normal *= self.settings.confinement
        (a, b, c), (i, j, k) = normal, curl
        return torch.stack([b * k - c * j, c * i - a * k, a * j - b * i])

    def _forcing(self, density, velocity, dt, near):
        """Small lattice noise, renewed as fast as it moves the dust, where that is dense and moving."""
        settings = self.settings
        if not settings.forcing or not self._lattices:
            return torch.zeros_like(velocity)
        keep = math.exp(-dt / (0.3 * settings.forcing_speed / max(settings.forcing, 1e-9) + dt))
        total = torch.zeros_like(velocity)
        for number, lattice in enumerate(self._lattices):
            fresh = torch.randn(lattice.shape, generator=self._random)
            lattice = keep * lattice + math.sqrt(1.0 - keep * keep) * fresh
            self._lattices[number] = lattice
            z, y, x = (weights[span] for weights, span in zip(self._spread[number], near))
            wide = y @ (lattice.to(self.device) @ x.T)
            total += 0.5**number * (z @ wide.flatten(2)).view_as(total)
        where = (density / 0.3).clamp(max=1.0)
        where = where * (_length(velocity) / settings.forcing_speed).clamp(max=1.0)
        return total * (where * settings.forcing)


def _linear(n: int, size: int) -> torch.Tensor:
    """(n, size): what each node of a lattice gives to each cell, linearly; the outermost nodes lie on the outermost cells."""
    at = torch.linspace(0, size - 1, n)
    return (1.0 - (at[:, None] - torch.arange(size)).abs()).clamp_min(0.0)
