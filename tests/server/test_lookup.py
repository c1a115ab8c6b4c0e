# SPDX-License-Identifier: Apache-2.0
"""Grids read between their cells: the same bits on any number of threads."""

import pytest

torch = pytest.importorskip("torch")

from platebridge_server.guide.lookup import between  # noqa: E402


@pytest.mark.parametrize("count", [1, 7, 240])
@pytest.mark.parametrize("beyond", ["border", "zeros"])
def test_points_are_read_alike_on_any_number_of_threads(count, beyond, monkeypatch):
    random = torch.Generator().manual_seed(count)
    fields, points = torch.rand(3, 5, 6, 7, generator=random), torch.rand(count, 3, generator=random) * 2.4 - 1.2
    whole = torch.nn.functional.grid_sample(fields[None], points.view(1, 1, 1, -1, 3), padding_mode=beyond, align_corners=False)[0, :, 0, 0]
    for threads in (1, 2, 3, 16):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(between(fields, points, beyond), whole)
