# SPDX-License-Identifier: Apache-2.0
"""Grids read at points between their cells, on all threads, and where in a grid something is.

It knows tensors. It must not know what they mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def between(fields: torch.Tensor, points: torch.Tensor, beyond: str) -> torch.Tensor:
    """(c, n): fields (c, nz, ny, nx) at points (n, 3), x, y, z in [-1, 1] from face to face of the grid, linearly.

    beyond: "border" or "zeros", what is read outside. On the processor torch reads a grid on one thread for each item of a batch, so the
    points are dealt out to as many items as there are threads; the bits don't depend on how many.
    """
    items = 1 if fields.is_cuda else torch.get_num_threads()
    each = -(-len(points) // items)
    lacking = items * each - len(points)
    dealt = F.pad(points, (0, 0, 0, lacking)) if lacking else points
    batch = fields.expand(items, *fields.shape), dealt.view(items, 1, 1, each, 3)
    got = F.grid_sample(*batch, padding_mode=beyond, align_corners=False)
    return got.view(items, len(fields), each).transpose(0, 1).reshape(len(fields), -1)[:, : len(points)]


def around(there: torch.Tensor, margin: int) -> tuple[slice, ...]:
    """The smallest box with all cells of (nz, ny, nx) that are set, and `margin` cells about it; the whole grid if none is."""
    spans = [torch.nonzero(there.amax([other for other in range(3) if other != axis])).flatten() for axis in range(3)]
    if not len(spans[0]):
        return (slice(None),) * 3
    return tuple(slice(max(int(span[0]) - margin, 0), int(span[-1]) + margin + 1) for span in spans)
