# SPDX-License-Identifier: Apache-2.0
"""Light and a ray march for a box of dust: density in, three passes and their depth out.

It knows a density grid, a camera and a sun. It must not know how the dust moved (`guide/solver.py`), nor colours:
light is given as unit-free passes, and colour = sun_colour * sun + sky_colour * ambient is applied by others.

The march is **not** held out by the plate. It keeps how alpha grows with depth instead (`Deep`), so that `cut`
can cut the dust at the plate's own full resolution afterwards, with an edge as crisp as the plate's.

Conventions: world z up, grids (nz, ny, nx), vectors (x, y, z). A camera looks along its own -z, x right, y up;
pixel row 0 is the top. Depth is along the camera axis, in the same lengths as the world (metres), not along the ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from .lookup import around, between

#: Alpha up to this is made nothing: it cannot be seen, and such a pixel has no depth of its own.
CLEAR = 1e-4
#: Density up to this is clear air to a look.
_THIN = 1e-4
#: A ray that is let through less than this sees nothing more.
_DARK = 2e-3
#: Cells along a side of the blocks by which clear air is passed over. Smaller ones pass over more, in more steps: that is slower.
_BLOCK = 12


@dataclass
class Light:
    """The light in each cell, (nz, ny, nx) each.

    sun: optical depth towards the sun, which lies smoothly between cells where the light itself does not. ambient: the sky's, in [0, 1].
    """

    sun: torch.Tensor
    ambient: torch.Tensor


@dataclass
class Deep:
    """How alpha grows along the camera axis, in a few planes; small enough to keep beside every frame.

    planes            (K,) depths, ascending; the first lies before all dust, the last behind it
    cumulative_alpha  (K, h, w) alpha of the dust nearer than each plane; [0] is 0, [-1] is the alpha pass
    cumulative_depth  (K, h, w) alpha-weighted sum of the depths of that dust, lengths
    front             (h, w) depth of the first dust; inf where there is none
    """

    planes: torch.Tensor
    cumulative_alpha: torch.Tensor
    cumulative_depth: torch.Tensor
    front: torch.Tensor


@dataclass
class Passes:
    """One rendered frame, every array (h, w) float32.

    sun, ambient  premultiplied light in about [0, 1], to be coloured later
    alpha         coverage, [0, 1]
    depth         mean depth of what is seen, alpha weighted, lengths along the camera axis; inf where alpha is nothing
    deep          how alpha grows with depth
    """

    sun: torch.Tensor
    ambient: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
    deep: Deep


def _swept(extinction: torch.Tensor, direction, cell: float) -> torch.Tensor:
    """Optical depth from each cell's centre to the light. extinction: per length; direction: towards the light.

    One sweep of slices along the direction's dominant axis, each shifted in its plane by less than a cell. The
    repeated bilinear shift softens distant shadows, as a sun of some width would.
    """
    direction = torch.as_tensor(direction, dtype=torch.float64)
    direction = direction / direction.norm()
    main = int(direction.abs().argmax())
    axis = 2 - main  # x, y, z of the world are axes 2, 1, 0 of the grid
    others = [a for a in (0, 1, 2) if a != axis]
    grid = extinction.movedim(axis, 0)
    if direction[main] > 0:
        grid = grid.flip(0)
    slope = [float(direction[2 - a] / direction[main].abs()) for a in others]
    step = cell / float(direction[main].abs())
    out = torch.empty_like(grid)
    out[0] = 0.5 * step * grid[0]
    for k in range(1, grid.shape[0]):
        above = out[k - 1] + 0.5 * step * grid[k - 1]
        for dim, part in enumerate(slope):
            if part:
                above = torch.lerp(above, _shifted(above, dim, part > 0), abs(part))
        out[k] = above + 0.5 * step * grid[k]
    if direction[main] > 0:
        out = out.flip(0)
    return out.movedim(0, axis)


def _shifted(plane: torch.Tensor, dim: int, forward: bool) -> torch.Tensor:
    """The plane read one cell further on (or back); beyond the box there is no dust."""
    empty = torch.zeros_like(plane.narrow(dim, 0, 1))
    n = plane.shape[dim]
    return torch.cat([plane.narrow(dim, 1, n - 1), empty], dim) if forward else torch.cat([empty, plane.narrow(dim, 0, n - 1)], dim)


def _scattered(depth: torch.Tensor) -> torch.Tensor:
    """Light left after an optical depth, three octaves of scattering (after Wrenninge's contrast approximation, 2013)."""
    return 0.62 * torch.exp(-depth) + 0.27 * torch.exp(-0.35 * depth) + 0.11 * torch.exp(-0.10 * depth)


def _blurred(grid: torch.Tensor, radius: int) -> torch.Tensor:
    """Box blur of a grid, radius in cells, edges counted as empty. By running sums: pooling costs several times as much."""
    size = 2 * radius + 1
    for axis in (0, 1, 2):
        running = F.pad(grid, (0, 0) * (2 - axis) + (radius + 1, radius)).cumsum(axis)
        n = grid.shape[axis]
        grid = (running.narrow(axis, size, n) - running.narrow(axis, 0, n)) / size
    return grid.clamp_min(0)


def light(density: torch.Tensor, cell: float, extinction: float, sun_direction) -> Light:
    """Sun and sky in every cell of a density grid; nothing weakens the sun, and no sky is told, in those that are far from all dust.

    density: (nz, ny, nx). extinction: per length at density 1. sun_direction: (x, y, z) towards the sun, world.
    """
    reach = max(1, round(0.03 * density.shape[0]))
    near = around(density > 0, 3 * reach + 4)  # as far as a cell's dust darkens the sky of others, and what a look between cells mixes
    thick = density[near] * extinction
    sky_depth = _swept(thick, (0.0, 0.0, 1.0), cell)
    # What is buried in dust sees less sky from every side: the crease between two billows is dark because of this.
    height = cell * density.shape[0]
    buried = _blurred(thick, reach) * (2 * reach + 1) * cell * 0.5 + _blurred(_blurred(thick, 2 * reach), reach) * height * 0.05
    whole = Light(torch.zeros_like(density), torch.zeros_like(density))
    whole.sun[near] = _swept(thick, sun_direction, cell)
    whole.ambient[near] = (0.35 + 0.65 * _scattered(0.5 * sky_depth)) * (0.15 + 0.85 * torch.exp(-0.32 * buried))
    return whole


def _finer(grid: torch.Tensor) -> torch.Tensor:
    """(c, 2 nz, 2 ny, 2 nx) of (c, nz, ny, nx), none below 0, by the cubic of Mitchell and Netravali (1988).

    Read linearly, thick dust shows the rows and columns of its cells: its surface bends at each of them. Read from this it is round.
    """
    # Products with matrices that are nearly empty, and still several times as fast as sums of shifted grids.
    _, nz, ny, nx = grid.shape
    z, y, x = (_halved(n).to(grid.device) for n in (nz, ny, nx))
    grid = y @ (grid @ x.T)
    return (z @ grid.flatten(2)).unflatten(2, (2 * ny, 2 * nx)).clamp_min_(0)


@lru_cache(maxsize=16)
def _halved(n: int) -> torch.Tensor:
    """(2n, n): what a row of cells gives to cells half as large; beyond its ends it goes on as it ends."""
    weights = torch.zeros(2 * n, n)
    for k, taps in ((0, (-34, 590, 1802, -54)), (1, (-54, 1802, 590, -34))):
        for tap, part in enumerate(taps):
            at = (torch.arange(n) + tap + k - 2).clamp(0, n - 1)
            weights.index_put_((2 * torch.arange(n) + k, at), torch.tensor(part / 2304), accumulate=True)
    return weights


def towards_sun(density: torch.Tensor, cell: float, extinction: float, sun_direction) -> torch.Tensor:
    """(2, nz, ny, nx): the optical depth from each cell to the sun, and that times the mean distance of the dust it comes from."""
    thick = _swept(density * extinction, sun_direction, cell)
    return torch.stack([thick, _swept(thick, sun_direction, cell)])  # by parts: the integral of s k(s) is that of tau(s)


def sun_thickness(points: torch.Tensor, towards: torch.Tensor, origin, cell: float, sun_direction) -> tuple[torch.Tensor, torch.Tensor]:
    """Optical depth (n,) of the dust between points (n, 3) of the world and the sun, and where in the world it lies, (n, 3).

    towards: as `towards_sun` gives it. Points outside the box look along the sun to where their ray enters it, so a shadow on
    the street is right far from the dust too; before a ray that misses the box, or leaves it, there is nothing.
    """
    _, nz, ny, nx = towards.shape
    low = torch.as_tensor(origin, dtype=points.dtype, device=points.device)
    high = low + cell * torch.tensor([nx, ny, nz], dtype=points.dtype, device=points.device)
    way = torch.as_tensor(sun_direction, dtype=points.dtype, device=points.device)
    way = way / way.norm()
    way = torch.where(way.abs() < 1e-9, torch.full_like(way, 1e-9), way)
    a, b = (low - points) / way, (high - points) / way
    enter, leave = torch.minimum(a, b).amax(1).clamp_min(0.0), torch.maximum(a, b).amin(1)
    entry = points + enter[:, None] * way
    where = 2 * (entry - low) / (high - low) - 1
    tau, moment = between(towards, where, "border")
    tau = torch.where(leave > enter, tau, torch.zeros_like(enter))
    return tau, entry + (moment / tau.clamp_min(1e-6))[:, None] * way


def march(density, origin, cell, camera_to_world, focal_px, principal_px, size, extinction, sun_direction, *,
          steps: int | None = None, planes=10, lit: Light | None = None, smooth=False, below: int = 0) -> Passes:
    """Render a density grid from a pinhole camera.

    density: (nz, ny, nx). origin: (x, y, z) lowest corner. cell: length. camera_to_world: 4x4 rows. focal_px:
    (fx, fy) and principal_px: (cx, cy) in pixels of `size` = (h, w); a pixel's centre is at (column + .5, row + .5).
    extinction: per length at density 1. sun_direction: (x, y, z) towards the sun. steps: samples along the depth of
    the dust, spread evenly in camera-axis depth and shared by all pixels; three in two cells, when left out. lit: from `light`, if made
    already. smooth: the grid is read through a cubic (`_finer`), as one whose cells are as large as pixels has to be. below: so many cells
    of dust are added below what lies on the grid's floor, for a plate's ground to cut.
    """
    device, (h, w) = density.device, size
    matrix = torch.as_tensor(camera_to_world, dtype=torch.float32, device=device)
    zeros = torch.zeros(h, w, device=device)
    box = around(density > _THIN, 2 if smooth else 1)
    inside = density[box]
    low = torch.tensor([origin[main] + cell * (box[2 - main].start or 0) for main in range(3)], device=device)
    below = 0 if box[0].start else below
    inside = _sunk(inside, below)
    low[2] -= below * cell
    span = cell * torch.tensor(inside.shape[::-1], dtype=torch.float32, device=device)
    dusty = inside > _THIN
    # Read between cells, dust ends half a cell beyond the outermost ones' faces. On the ground it lies against such a face.
    first, last = low - cell / (4 if smooth else 2), low + span + cell / (4 if smooth else 2)
    interval = _depth_interval((first.cpu(), last.cpu()), matrix.cpu()) if bool(dusty.any()) else None
    if interval is None:
        deep = Deep(torch.linspace(1.0, 2.0, planes + 1, device=device), zeros.expand(planes + 1, h, w).clone(),
                    zeros.expand(planes + 1, h, w).clone(), torch.full_like(zeros, torch.inf))
        return Passes(zeros, zeros.clone(), zeros.clone(), torch.full_like(zeros, torch.inf), deep)
    near, far = interval
    chunk = max(1, -(-(steps or math.ceil(1.5 * (far - near) / cell)) // planes))
    dz = (far - near) / (chunk * planes)

    columns = (torch.arange(w, device=device) + 0.5 - principal_px[0]) / focal_px[0]
    rows = (principal_px[1] - torch.arange(h, device=device) - 0.5) / focal_px[1]
    ray = torch.stack([columns.expand(h, w), rows[:, None].expand(h, w), torch.full((h, w), -1.0, device=device)], -1)
    ray = ray.reshape(-1, 3)
    lengths = ray.norm(dim=1)
    ray = ray @ matrix[:3, :3].T  # world direction for one length of camera-axis depth
    eye = matrix[:3, 3]
    safe = torch.where(ray.abs() < 1e-9, torch.full_like(ray, 1e-9), ray)
    a, b = (first - eye) / safe, (last - eye) / safe
    enter, leave = torch.minimum(a, b).amax(1), torch.maximum(a, b).amin(1)

    lit = lit or light(density, cell, extinction, sun_direction)
    # Light is sampled as it is, not weighted by density: at a cloud's rim that keeps the lit edge bright.
    fields = torch.stack([inside, _sunk(lit.sun[box], below), _sunk(lit.ambient[box], below)])
    fields = _finer(fields) if smooth else fields
    # Most of the way of most rays is clear air: of each stretch, only rays near whose middle there is dust are followed.
    blocks = F.max_pool3d(F.max_pool3d(dusty[None].float(), _BLOCK, ceil_mode=True), 3, 1, 1)[0] > 0
    stretch = max(1, int((_BLOCK - 1) * cell / (dz * float(lengths.max()))))
    through = torch.ones(h * w, device=device)
    total = torch.zeros(3, h * w, device=device)  # sun, ambient, alpha-weighted depth
    front = torch.full((h * w,), torch.inf, device=device)
    alphas, depths = [torch.zeros(h * w, device=device)], [torch.zeros(h * w, device=device)]
    for begin in (k for number in range(planes) for k in range(number * chunk, (number + 1) * chunk, stretch)):
        count = min(stretch, chunk - begin % chunk)
        start, end = near + begin * dz, near + (begin + count) * dz
        live = torch.nonzero((leave > start) & (enter < end) & (through > _DARK) & (leave > enter)).flatten()
        live = live[_hit(blocks, (eye + ray[live] * (0.5 * (start + end)) - low) / (_BLOCK * cell))]
        if live.numel():
            z = start + (torch.arange(count, device=device) + 0.5) * dz
            points = eye + ray[live, None, :] * z[None, :, None]
            thick, depth, ambient = between(fields, (2 * (points - low) / span - 1).view(-1, 3), "zeros").reshape(3, -1, count)
            stay = torch.exp(-thick * (extinction * dz) * lengths[live, None])
            before = torch.cumprod(stay, 1) / stay.clamp_min(1e-30)
            part = before * (1 - stay) * through[live, None]
            total[0, live] += (part * _scattered(depth)).sum(1)
            total[1, live] += (part * ambient).sum(1)
            total[2, live] += (part * z).sum(1)
            through[live] *= stay.prod(1)
            begins = torch.where(stay < 1 - 1e-6, z - 0.5 * dz, torch.full_like(z, torch.inf).expand_as(thick)).amin(1)
            front[live] = torch.minimum(front[live], begins)
        if (begin + count) % chunk == 0:
            alphas.append(1 - through)
            depths.append(total[2].clone())
    alpha = 1 - through
    # A trace is nothing, in every array alike: or a pixel could have alpha and no front to hold it out by.
    there = (alpha > CLEAR) & torch.isfinite(front)
    total, alpha = total * there, alpha * there
    infinite = torch.full_like(alpha, torch.inf)
    depth = torch.where(there, total[2] / alpha.clamp_min(1e-9), infinite)
    deep = Deep(near + chunk * dz * torch.arange(planes + 1, device=device), (torch.stack(alphas) * there).view(-1, h, w),
                (torch.stack(depths) * there).view(-1, h, w), torch.where(there, front, infinite).view(h, w))
    return Passes(total[0].view(h, w), total[1].view(h, w), alpha.view(h, w), depth.view(h, w), deep)


def _sunk(grid: torch.Tensor, cells: int) -> torch.Tensor:
    """(nz + cells, ny, nx): the grid (nz, ny, nx), its lowest layer going on below it."""
    return torch.cat([grid[:1].expand(cells, -1, -1), grid]) if cells else grid


def _hit(blocks: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """(n,) bool: which of the points, (n, 3) x, y, z in blocks, lie in one that is set; points outside read the nearest."""
    nz, ny, nx = blocks.shape
    x, y, z = (at[:, main].long().clamp_(0, n - 1) for main, n in enumerate((nx, ny, nz)))
    return blocks.flatten()[(z * ny + y) * nx + x]


def _depth_interval(box, matrix):
    """Least and greatest camera-axis depth of a box in front of the camera, or None if it lies behind."""
    corners = torch.stack([torch.stack([box[i][0], box[j][1], box[k][2]]) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    depth = -((corners - matrix[:3, 3]) @ matrix[:3, 2])
    near, far = float(depth.min()), float(depth.max())
    if far <= 0:
        return None
    return max(near, 1e-3 * far), far


def _filled(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """values (c, h, w) where weight (h, w) is positive, spread outwards into the holes, nearest detail first."""
    top, below = values * weight, weight
    stack: list[tuple[torch.Tensor, torch.Tensor]] = []
    while min(below.shape) > 1 and len(stack) < 6:
        stack.append((top, below))
        top = F.avg_pool2d(top[None], 2, ceil_mode=True, count_include_pad=False)[0]
        below = F.avg_pool2d(below[None, None], 2, ceil_mode=True, count_include_pad=False)[0, 0]
    out = top / below.clamp_min(1e-9)
    for top, below in reversed(stack):
        up = F.interpolate(out[None], below.shape, mode="bilinear", align_corners=False)[0]
        out = torch.where(below > 1e-7, top / below.clamp_min(1e-9), up)
    return torch.where(weight > 1e-7, values, out)


def resized(deep: Deep, size) -> Deep:
    """The same dust at another resolution (h, w), with `cumulative_alpha` as a **part of the whole**, [-1] = 1.

    Pixels without dust take the parts of their neighbours, so that a refined silhouette a little outside the
    guide's is cut where its neighbours are. `cumulative_depth` becomes the mean depth of the dust so far.
    """
    h, w = size
    k = deep.planes.shape[0]
    alpha = deep.cumulative_alpha[-1]
    part = deep.cumulative_alpha / alpha.clamp_min(1e-9)
    mean = deep.cumulative_depth / deep.cumulative_alpha.clamp_min(1e-9)
    mean = torch.where(deep.cumulative_alpha > 1e-7, mean, deep.planes.view(-1, 1, 1).expand_as(mean))
    front = torch.where(torch.isfinite(deep.front), deep.front, deep.planes[-1])[None]
    rows = _filled(torch.cat([part, mean, front]), alpha)
    if not bool((alpha > 0).any()):
        rows[:k], rows[-1] = 0.0, deep.planes[-1]
    if (h, w) != tuple(alpha.shape):
        rows = F.interpolate(rows[None], (h, w), mode="bilinear", align_corners=False)[0]
    return Deep(deep.planes, rows[:k], rows[k : 2 * k], rows[-1])


def cut(sun, ambient, alpha, planes, front, read, limit):
    """Cut dust at the plate. Returns (sun, ambient, alpha, depth); light and alpha stay premultiplied.

    Of any pixels: all but `planes` are of one shape. limit: the plate's depth along the camera axis, inf is sky. read(plane): the part of
    the whole alpha that lies before each pixel's own plane, a number, and the mean depth of it, as `resized` has them.
    What remains of a pixel is the part of its alpha that lies nearer than the plate: exactly nothing where the plate is nearer than all
    dust, exactly the whole where it is behind it. depth is the mean depth of that part, never behind the plate; inf where nothing is left.
    """
    low = (torch.bucketize(limit, planes) - 1).clamp(0, len(planes) - 2)  # the last plane before the limit
    # Alpha starts to grow at the first dust, not at the plane before it.
    begin, end = torch.maximum(planes[low], front), planes[low + 1]
    along = ((limit - begin) / (end - begin).clamp_min(1e-9)).clamp(0.0, 1.0)
    inside = (limit > begin) & (end > begin)
    (before, start), (behind, stop) = read(low), read(low + 1)
    start = torch.where(before > 1e-7, start, begin)
    # What a stretch of even dust lets through falls as a power of the way into it: most of its alpha lies near its front.
    let = [(1 - alpha * of).clamp_min(_DARK) for of in (before, behind)]
    fall = (let[1] / let[0]).clamp_max(1 - 1e-4)
    grown = before + (behind - before) * (1 - fall**along) / (1 - fall)
    part = torch.where(inside, grown, torch.zeros_like(alpha))
    part = torch.where(limit >= planes[-1], torch.ones_like(part), part.clamp(0.0, 1.0))
    left = alpha * part
    mean = torch.where(inside, torch.lerp(start, stop, along), front)
    depth = torch.where(left > 0, torch.minimum(mean, limit), torch.full_like(mean, torch.inf))
    return sun * part, ambient * part, left, depth
