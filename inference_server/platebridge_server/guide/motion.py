# SPDX-License-Identifier: Apache-2.0
"""What moves under the mask: masked pixels become points of space with a velocity in metres per second.

Camera motion drops out, because both ends of every motion are taken to the world first. It knows pictures and cameras.
It must not know dust, dials or the solver: `emitters.py` decides what a moving surface throws out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from ..camera import Pinhole

#: Faster than this nothing falls in a shot; rigid-body ejections and broken vectors do (metres per second).
FASTEST = 60.0
#: Pictures are thinned to about this many pixels before they are looked at: the solver's cells are far coarser.
LOOK_PIXELS = 150_000
#: Two depths of one surface may differ by this part, between frames and between neighbouring pixels.
SAME_DEPTH = 0.02
#: Masked pixels this many times as far off as nine tenths of them are no part of the event: edges whose depth was averaged with the sky's
#: stand kilometres away, for thousands of times their area.
FARTHEST = 4.0
#: Noise of vectors in pixels of the plate, and of depth as a part of itself: smaller motions are rest.
VECTOR_NOISE, DEPTH_NOISE = 0.1, 0.001


@dataclass(frozen=True)
class Seen:
    """One frame as it is looked at. depth: (h, w), not finite or <= 0 is sky or hole. mask: (h, w) in [0, 1].

    vectors: (h, w, 2) or None; where the same surface stood in the frame before, less where it stands, in pixels, x right,
    **y up** (Blender's and Nuke's convention). step: pixels of the plate to one of these.
    """

    depth: np.ndarray
    mask: np.ndarray
    vectors: Optional[np.ndarray]
    camera: Pinhole
    step: int = 1

    @property
    def solid(self) -> np.ndarray:
        """(h, w) bool: masked pixels that have a depth, but for those that lie far behind all else."""
        there = (self.mask > 0.5) & np.isfinite(self.depth) & (self.depth > 0)
        return there & (self.depth <= FARTHEST * np.quantile(self.depth[there], 0.9)) if there.any() else there


@dataclass(frozen=True)
class Moving:
    """Points that move or have just appeared; n of them, world metres.

    points, velocity: (n, 3), metres and metres/s. area: (n,) square metres of surface each stands for, facing the camera.
    fresh: (n,) 1 where the surface has just appeared or laid something bare, else 0.
    shear: (n,) how differently the neighbours move, metres/s: high where a wall breaks, 0 on a rigid block.
    hidden: (n,) bool, just below it stands something nearer: where it falls to can't be seen.
    """

    points: np.ndarray
    velocity: np.ndarray
    area: np.ndarray
    fresh: np.ndarray
    shear: np.ndarray
    hidden: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.points, self.velocity, self.area, self.fresh, self.shear, self.hidden

    def packed(self) -> dict[str, np.ndarray]:
        """The arrays by name, small enough to keep for every frame."""
        return {k: a if a.dtype == bool else a.astype(np.float32) for k, a in vars(self).items()}

    def chosen(self, index: np.ndarray) -> Moving:
        return Moving(*(a[index] for a in self.arrays()))

    def thinned(self, most: int, random: np.random.Generator) -> Moving:
        """At most `most` points that stand for the same area."""
        if len(self) <= most:
            return self
        # Evenly spaced picks keep the coverage even, which picking at random would not.
        index = np.floor((np.arange(most) + random.random()) * (len(self) / most)).astype(np.int64)
        picked = self.chosen(np.minimum(index, len(self) - 1))
        return Moving(picked.points, picked.velocity, picked.area * (self.area.sum() / max(picked.area.sum(), 1e-12)), *picked.arrays()[3:])


def look(depth: np.ndarray, mask: np.ndarray, vectors: Optional[np.ndarray], camera: Pinhole) -> Seen:
    """A frame thinned to at most about LOOK_PIXELS: every n-th pixel, never a mean of a near and a far one."""
    h, w = depth.shape
    step = max(1, int(np.ceil(np.sqrt(h * w / LOOK_PIXELS))))
    if step == 1:
        return Seen(depth, mask, vectors, camera)
    first = step // 2
    shift = first + 0.5 - 0.5 * step
    thin, thin_mask = (np.ascontiguousarray(a[first::step, first::step]) for a in (depth, mask))  # a view would hold the whole frame
    small = Pinhole(
        camera.camera_to_world,
        camera.fx / step,
        camera.fy / step,
        (camera.cx - shift) / step,
        (camera.cy - shift) / step,
        thin.shape,
    )
    return Seen(thin, thin_mask, None if vectors is None else vectors[first::step, first::step] / step, small, step)


def moving(now: Seen, before: Seen, seconds: float, up: np.ndarray) -> Moving:
    """What moved between two frames that lie `seconds` apart.

    With `now.vectors` they must be neighbours; without, frames further apart show slower motion. A surface that stands
    still gives nothing, however the camera moves; where the frame before doesn't show a place it is taken as at rest.
    """
    solid = now.solid
    y, x = np.nonzero(solid)
    if not len(x):
        return _nothing()
    depth = now.depth[solid].astype(np.float64)
    points = now.camera.unproject_at(x + 0.5, y + 0.5, depth)
    area = now.camera.pixel_size(depth) ** 2 * now.mask[solid]
    if now.vectors is not None:
        velocity, fresh = _from_vectors(now, before, x, y, depth, points, seconds)
        extra = None
    else:
        velocity, fresh, extra = _from_depth(now, before, points, seconds, up)
    shear = np.zeros(len(x))
    if now.vectors is not None:
        velocity, shear = _smoothed(velocity, solid, y, x)
    speed = np.linalg.norm(velocity, axis=1)
    velocity = velocity * np.minimum(1.0, FASTEST / np.maximum(speed, 1e-9))[:, None]
    moves = _together((speed > 0) | (fresh > 0), solid, y, x)
    hidden = _hidden_below(now, x, y, depth)
    out = Moving(points, velocity, area, fresh, np.minimum(shear, FASTEST), hidden).chosen(np.nonzero(moves)[0])
    if extra is not None and len(extra):
        out = Moving(*(np.concatenate(pair) for pair in zip(out.arrays(), extra.arrays())))
    return out


def _nothing() -> Moving:
    return Moving(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))


def _around(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 3 by 3 pixels around positions (n,): values (9, n), and (n,) whether the position lies inside the picture."""
    h, w = picture.shape
    column, row = np.floor(np.clip(x, -1, w)).astype(np.int64), np.floor(np.clip(y, -1, h)).astype(np.int64)
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    values = [picture[np.clip(row + dy, 0, h - 1), np.clip(column + dx, 0, w - 1)] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.stack(values), inside


def _sampled(depth: np.ndarray, x: np.ndarray, y: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Depth at positions (n,): between pixels where they are one surface, else the one of 3 by 3 nearest to `expected`."""
    h, w = depth.shape
    column, row = np.clip(x - 0.5, 0, w - 1.001), np.clip(y - 0.5, 0, h - 1.001)
    c, r = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    a, b = column - c, row - r
    four = np.stack([depth[r, c], depth[r, c + 1], depth[r + 1, c], depth[r + 1, c + 1]]).astype(np.float64)
    # 1/depth of a plane is linear in the picture; depth is not.
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / four
        smooth = 1.0 / (inverse[0] * (1 - a) * (1 - b) + inverse[1] * a * (1 - b) + inverse[2] * (1 - a) * b + inverse[3] * a * b)
        one_surface = (four.max(0) - four.min(0)) < SAME_DEPTH * four.min(0)
    near, _ = _around(depth, x, y)
    off = np.abs(near - expected)
    off[~np.isfinite(off)] = np.inf
    best = np.take_along_axis(near, off.argmin(0)[None], 0)[0]
    return np.where(one_surface & np.isfinite(smooth), smooth, best)


def _from_vectors(now, before, x, y, depth, points, seconds):
    """Velocity (n, 3) and freshness (n,) from motion vectors; depth changes come from the frame before's depth."""
    vector = now.vectors[y, x].astype(np.float64)
    h, w = before.depth.shape
    good = np.isfinite(vector).all(1) & (np.abs(vector) < max(h, w)).all(1)
    vector = np.where(good[:, None], vector, 0.0)
    was_x, was_y = x + 0.5 + vector[:, 0], y + 0.5 - vector[:, 1]
    still_x, still_y, still_depth = before.camera.project(points)
    was_depth = _sampled(before.depth, was_x, was_y, still_depth)
    masks, inside = _around(before.mask, was_x, was_y)
    masked = masks.max(0) > 0.5
    near, _ = _around(before.depth, was_x, was_y)
    with np.errstate(invalid="ignore"):
        known = inside & masked & (np.abs(was_depth - still_depth) < FASTEST * seconds + SAME_DEPTH * still_depth)
        # Depth a little off is the noise of its file; a half float alone gives metres per second at 24 frames a second.
        noise = DEPTH_NOISE * still_depth
        # At an edge, or on a surface seen edge on, the neighbours' depths say little about one another.
        here, _ = _around(now.depth, x + 0.5, y + 0.5)
        noise = np.maximum(noise, np.maximum(np.ptp(near, axis=0), np.ptp(here, axis=0)))
        change = np.where(known, was_depth - still_depth, 0.0)
    shift = np.hypot(was_x - still_x, was_y - still_y)
    # inf less inf is NaN, beside the sky: no measure either.
    rest = ((shift * now.step < VECTOR_NOISE) & ~(np.abs(change) >= noise)) | ~good | (still_depth <= 0)
    was = before.camera.unproject_at(was_x, was_y, still_depth + change)
    velocity = np.where(rest[:, None], 0.0, (points - was) / seconds)
    with np.errstate(invalid="ignore"):
        covered = (near < still_depth * (1 - SAME_DEPTH)).any(0)
    fresh = good & inside & ~masked & ~covered & (still_depth > 0)
    return velocity, fresh.astype(np.float64)


def _from_depth(now, before, points, seconds, up):
    """Velocity and freshness without vectors: how the two frames' surfaces disagree, and how fast the top comes down."""
    fresh = _absent(before, points, need_mask=True)
    gone_y, gone_x = np.nonzero(before.solid)
    gone_depth = before.depth[gone_y, gone_x].astype(np.float64)
    were = before.camera.unproject_at(gone_x + 0.5, gone_y + 0.5, gone_depth)
    bare = _absent(now, were, need_mask=False) if len(were) else np.zeros(0, bool)
    keep = np.zeros(before.depth.shape, bool)
    keep[gone_y, gone_x] = bare
    bare = bare & _together(bare, keep, gone_y, gone_x)
    velocity = np.zeros_like(points)
    if fresh.any() or bare.any():
        velocity = -up * _sinking(points, were, fresh, bare, now.camera.pixel_size(np.median(now.depth[now.solid])), seconds, up)[:, None]
    n = int(bare.sum())
    left = Moving(
        were[bare],
        np.zeros((n, 3)),
        before.camera.pixel_size(gone_depth[bare]) ** 2 * before.mask[gone_y, gone_x][bare],
        np.ones(n),
        np.zeros(n),
        np.zeros(n, bool),
    )
    return velocity, fresh.astype(np.float64), left


def _absent(other: Seen, points: np.ndarray, need_mask: bool) -> np.ndarray:
    """(n,) whether the other frame looks right through a point (or, with need_mask, shows it unmasked)."""
    x, y, depth = other.camera.project(points)
    near, inside = _around(other.depth, x, y)
    near = np.where(np.isfinite(near) & (near > 0), near, np.inf)
    with np.errstate(invalid="ignore"):
        agrees = (np.abs(near - depth) < SAME_DEPTH * depth).any(0)
        covered = (near < depth * (1 - SAME_DEPTH)).any(0)
    absent = ~agrees & ~covered
    if need_mask:
        masks, _ = _around(other.mask, x, y)
        absent |= agrees & (masks.max(0) < 0.5)
    # At the picture's rim the neighbourhood is cut off: a point that comes into the picture hasn't moved.
    h, w = other.depth.shape
    return absent & inside & (depth > 0) & (x > 2) & (y > 2) & (x < w - 2) & (y < h - 2)


def _sinking(points, were, fresh, bare, pixel, seconds, up):
    """(n,) downward speed of each point: how fast the top of its upright strip came down, where something changed there."""
    if not len(were):
        return np.zeros(len(points))
    flat = points - points.mean(0)
    flat -= np.outer(flat @ up, up)
    across = np.linalg.eigh(flat.T @ flat)[1][:, -1]  # the way along which they lie farthest apart
    low, high = min((points @ across).min(), (were @ across).min()), max((points @ across).max(), (were @ across).max())
    count = 24
    strip = np.clip(((points @ across - low) / max(high - low, 1e-9) * count).astype(int), 0, count - 1)
    strip_were = np.clip(((were @ across - low) / max(high - low, 1e-9) * count).astype(int), 0, count - 1)
    speed = np.zeros(count)
    for k in range(count):
        mine, theirs = points[strip == k] @ up, were[strip_were == k] @ up
        if len(mine) < 8 or len(theirs) < 8 or fresh[strip == k].sum() + bare[strip_were == k].sum() < 3:
            continue
        drop = np.quantile(theirs, 0.97) - np.quantile(mine, 0.97)
        speed[k] = drop / seconds if drop > pixel else 0.0
    return np.minimum(speed, FASTEST)[strip]


def _spread_out(values, solid, y, x):
    """Values (n, c) of solid pixels as a picture cropped to them, a pixel of margin: (h', w', c), and their place in it."""
    top, left = y.min() - 2, x.min() - 2
    picture = np.full((y.max() - top + 3, x.max() - left + 3, values.shape[1]), np.nan)
    picture[y - top, x - left] = values
    return picture, y - top, x - left


def _smoothed(velocity, solid, y, x):
    """Median of 3 by 3 of the velocity, and how much it differs over 5 by 5 (root of the variance), where solid."""
    picture, y, x = _spread_out(velocity, solid, y, x)
    shifts = [picture[1 + dy : picture.shape[0] - 1 + dy, 1 + dx : picture.shape[1] - 1 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    nine = np.stack(shifts)[:, y - 1, x - 1]
    empty = np.isnan(nine)
    ordered = np.sort(nine, axis=0)  # NaN last
    middle = (9 - empty.sum(0) - 1) // 2
    calm = np.take_along_axis(ordered, middle[None], 0)[0]
    picture[y, x] = calm
    there = ~np.isnan(picture[..., :1])
    filled = np.where(there, picture, 0.0)
    number, total, square = (_boxed(a) for a in (there.astype(float), filled, (filled**2).sum(-1, keepdims=True)))
    mean = total / np.maximum(number, 1)
    variance = square / np.maximum(number, 1) - (mean**2).sum(-1, keepdims=True)
    return calm, np.sqrt(np.maximum(variance[y, x, 0], 0.0))


def _boxed(picture: np.ndarray) -> np.ndarray:
    """Sum over 5 by 5 pixels, the same size, nothing beyond the edges."""
    out = picture
    for axis in (0, 1):
        pad = [(0, 0)] * picture.ndim
        pad[axis] = (3, 2)
        summed = np.cumsum(np.pad(out, pad), axis=axis)
        n = picture.shape[axis]
        out = np.take(summed, np.arange(5, 5 + n), axis) - np.take(summed, np.arange(n), axis)
    return out


def _together(flags, solid, y, x):
    """Flags (n,) that most of their 3 by 3 neighbourhood shares: a lone pixel is an edge or noise, not a motion."""
    if not flags.any():
        return flags
    picture = np.zeros((solid.shape[0] + 2, solid.shape[1] + 2))
    picture[y + 1, x + 1] = flags
    there = np.zeros_like(picture)
    there[y + 1, x + 1] = 1.0
    h, w = solid.shape
    votes, seats = (sum(p[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] for dy in (-1, 0, 1) for dx in (-1, 0, 1)) for p in (picture, there))
    return flags & (votes[y, x] >= np.minimum(4, np.maximum(3, 0.5 * seats[y, x])))


def _hidden_below(now: Seen, x, y, depth):
    """(n,) whether what the picture shows just below a point is nearer, and not masked."""
    h = now.depth.shape[0]
    below = np.minimum(y + 2, h - 1)
    under = now.depth[below, x]
    with np.errstate(invalid="ignore"):
        return (under > 0) & (under < depth * (1 - SAME_DEPTH)) & (now.mask[below, x] <= 0.5)
