# SPDX-License-Identifier: Apache-2.0
"""The smoke solver, by its laws: what is splatted is conserved, what is projected has no divergence, what is warm rises."""

import pytest

torch = pytest.importorskip("torch")

from platebridge_server.guide import solver  # noqa: E402

SHAPE = (20, 16, 18)
CELL = 1 / 18


def puff(smoke, centre=(0.5, 0.4, 0.3), radius=0.12):
    z, y, x = torch.meshgrid(*(torch.arange(n) * smoke.cell + smoke.cell / 2 for n in smoke.density.shape), indexing="ij")
    away = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2).sqrt()
    return torch.sigmoid((radius - away) / 0.03)


def height_of(smoke):
    z = (torch.arange(smoke.density.shape[0]) + 0.5) * smoke.cell
    return float((smoke.density.sum((1, 2)) * z).sum() / smoke.density.sum())


def test_a_splat_keeps_the_sum_of_what_is_inside():
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([20.0, 16.0, 18.0]) * CELL
    values = torch.rand(500, 2, generator=torch.Generator().manual_seed(2))
    grid = solver.splat(points, values, SHAPE, CELL, (0, 0, 0))
    assert grid.shape == (2, 18, 16, 20)
    torch.testing.assert_close(grid.sum((1, 2, 3)), values.sum(0), rtol=1e-4, atol=1e-3)


def test_a_splat_leaves_out_what_is_outside():
    points = torch.tensor([[-0.01, 0.3, 0.3], [0.3, 0.3, 1.01]])
    assert float(solver.splat(points, torch.ones(2), SHAPE, CELL, (0, 0, 0)).sum()) == 0.0


def test_a_splat_puts_the_centre_of_mass_where_the_point_is():
    point = torch.tensor([[0.437, 0.391, 0.512]])
    grid = solver.splat(point, torch.ones(1), SHAPE, CELL, (0, 0, 0))[0]
    for axis, dims in ((0, (0, 1)), (1, (0, 2)), (2, (1, 2))):
        line = grid.sum(dims)
        at = float((line * (torch.arange(len(line)) + 0.5) * CELL).sum())
        assert at == pytest.approx(float(point[0, axis]), abs=1e-5)


def test_a_source_is_a_part_of_a_voxel():
    points = torch.full((1, 3), 5.5 * CELL)
    got = solver.splat_sources(points, torch.tensor([0.25]), torch.tensor([[2.0, 0.0, 0.0]]), SHAPE, CELL, (0, 0, 0),
                               density=8.0, weight=10.0, divergence=4.0)
    assert float(got.density[5, 5, 5]) == pytest.approx(2.0)
    assert float(got.divergence[5, 5, 5]) == pytest.approx(1.0)
    assert float(got.momentum[0, 5, 5, 5] / got.weight[5, 5, 5]) == pytest.approx(2.0)


def test_crowded_points_cover_a_voxel_once():
    points = torch.full((9, 3), 5.5 * CELL)
    got = solver.splat_sources(points, torch.full((9,), 0.5), torch.zeros(9, 3), SHAPE, CELL, (0, 0, 0),
                               density=8.0, weight=1.0, divergence=1.0)
    assert float(got.density[5, 5, 5]) == pytest.approx(8.0)


def test_the_pressure_solver_solves_its_own_equation():
    pressure = solver.PressureSolver(SHAPE, CELL, "cpu")
    right = torch.randn(18, 16, 20, generator=torch.Generator().manual_seed(3))
    p = pressure.solve(right).double()
    padded = torch.zeros(20, 18, 22, dtype=torch.float64)
    padded[1:-1, 1:-1, 1:-1] = p
    padded[0, 1:-1, 1:-1] = p[0]  # ground: no gradient
    padded[-1, 1:-1, 1:-1] = -p[-1]  # open: nothing on the face
    padded[1:-1, 0, 1:-1], padded[1:-1, -1, 1:-1] = -p[:, 0], -p[:, -1]
    padded[1:-1, 1:-1, 0], padded[1:-1, 1:-1, -1] = -p[:, :, 0], -p[:, :, -1]
    inner = padded[1:-1, 1:-1, 1:-1]
    laplacian = (padded[2:, 1:-1, 1:-1] + padded[:-2, 1:-1, 1:-1] + padded[1:-1, 2:, 1:-1] + padded[1:-1, :-2, 1:-1]
                 + padded[1:-1, 1:-1, 2:] + padded[1:-1, 1:-1, :-2] - 6 * inner) / CELL**2
    assert float((laplacian - right).abs().max()) < 1e-3 * float(right.abs().max())


def test_projection_removes_divergence():
    smoke = solver.Smoke((32, 32, 32), 1 / 32)
    blob = puff(smoke, (0.5, 0.5, 0.5), 0.2)
    velocity = torch.stack([blob, 0.5 * blob, -blob])
    before = solver.divergence(velocity, smoke.cell)
    after = solver.divergence(smoke._project(velocity, None), smoke.cell)
    assert float(after.square().mean().sqrt()) < 0.12 * float(before.square().mean().sqrt())


def test_expansion_pushes_outwards_by_its_volume():
    smoke = solver.Smoke((32, 32, 32), 1 / 32)
    push = 5.0 * puff(smoke, (0.5, 0.5, 0.5), 0.15)
    after = solver.divergence(smoke._project(torch.zeros(3, 32, 32, 32), push), smoke.cell)
    assert float(after.sum()) == pytest.approx(float(push.sum()), rel=0.05)


@pytest.mark.parametrize(("buoyancy", "sign"), [(2.0, 1), (-2.0, -1)])
def test_a_warm_puff_rises_and_a_heavy_one_sinks(buoyancy, sign):
    settings = solver.SmokeSettings(buoyancy=buoyancy, forcing=0.0, dissipation=0.0)
    smoke = solver.Smoke(SHAPE, CELL, settings=settings)
    smoke.density = puff(smoke, (0.5, 0.4, 0.5))
    start = height_of(smoke)
    for _ in range(10):
        smoke.step(1 / 60)
    assert sign * (height_of(smoke) - start) > 0.005


def test_wind_carries_the_dust():
    smoke = solver.Smoke(SHAPE, CELL, settings=solver.SmokeSettings(buoyancy=0.0, forcing=0.0, drag=2.0))
    smoke.density = puff(smoke)
    x = (torch.arange(SHAPE[0]) + 0.5) * CELL
    start = float((smoke.density.sum((0, 1)) * x).sum() / smoke.density.sum())
    for _ in range(10):
        smoke.step(1 / 60, wind=(1.0, 0.0, 0.0))
    assert float((smoke.density.sum((0, 1)) * x).sum() / smoke.density.sum()) > start + 0.02


def test_density_stays_within_its_cap_and_above_nothing():
    smoke = solver.Smoke(SHAPE, CELL, seed=4)
    points = torch.tensor([[0.5, 0.4, 0.1]]).repeat(40, 1) + 0.05 * torch.randn(40, 3, generator=torch.Generator().manual_seed(5))
    for _ in range(8):
        sources = solver.splat_sources(points, torch.ones(40), torch.ones(40, 3), SHAPE, CELL, (0, 0, 0),
                                       density=80.0, weight=20.0, divergence=15.0)
        smoke.step(1 / 60, sources)
    assert float(smoke.density.min()) >= 0.0
    assert float(smoke.density.max()) == pytest.approx(smoke.settings.density_cap * 0.998, rel=0.02)


def collapse(seed):
    smoke = solver.Smoke(SHAPE, CELL, seed=seed, settings=solver.SmokeSettings(forcing=20.0, forcing_cycles=(6.0,)))
    smoke.density = puff(smoke)
    smoke.velocity[0] = 0.5
    for _ in range(3):
        smoke.step(1 / 60)
    return smoke.density


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    assert torch.equal(collapse(1), collapse(1))
    assert not torch.equal(collapse(1), collapse(2))


def test_a_domain_in_metres_is_the_reference_domain_slowed_down():
    """Froude scaling: 40 m at real gravity, its own second, gives the density of the domain of height 1."""
    height = 40.0
    second = solver.reference_second(height)
    reference = solver.SmokeSettings(buoyancy=1.5)
    small = solver.Smoke(SHAPE, CELL, seed=1, settings=reference)
    large = solver.Smoke(SHAPE, CELL * height, seed=1, settings=reference.for_domain(height))
    small.density = puff(small)
    large.density = small.density.clone()
    for _ in range(5):
        small.step(1 / 60)
        large.step(second / 60)
    torch.testing.assert_close(small.density, large.density, atol=2e-3, rtol=0)
    assert second == pytest.approx((2.7 * 40 / 9.81) ** 0.5)


def test_nudging_draws_the_flow_to_the_target():
    target = torch.zeros(3, 18, 16, 20)
    target[0] = 1.0
    means = []
    for nudge in (0.0, 0.3):
        smoke = solver.Smoke(SHAPE, CELL, settings=solver.SmokeSettings(forcing=0.0, buoyancy=0.0))
        smoke.step(1 / 60, target_velocity=target, nudge=nudge)
        means.append(float(smoke.velocity[0].mean()))
    assert means[0] == pytest.approx(0.0, abs=1e-6)
    assert means[1] > 0.15


def test_the_air_far_from_the_dust_moves_none_of_it(monkeypatch):
    """Only the air around the dust is moved: the dust is the same as if all of it were."""
    def made():
        smoke = solver.Smoke((48, 20, 18), CELL, seed=1, settings=solver.SmokeSettings(forcing=4.0, forcing_cycles=(6.0,)))
        smoke.density = puff(smoke, (0.6, 0.5, 0.3), 0.1)
        smoke.density[smoke.density < 1e-3] = 0.0
        smoke.velocity[2] = 0.8 * smoke.density
        for _ in range(6):
            smoke.step(1 / 60)
        return smoke.density

    near = made()
    monkeypatch.setattr(solver, "REACH", 100)
    whole = made()
    assert float((near - whole).abs().sum() / whole.sum()) < 0.01
