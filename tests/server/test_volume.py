# SPDX-License-Identifier: Apache-2.0
"""Light and the ray march, against what can be worked out by hand: Beer and Lambert, pinholes, and the law of holdout."""

import math

import pytest

torch = pytest.importorskip("torch")

from platebridge_server.guide import volume  # noqa: E402

CELL = 0.25

LOOK_ALONG_Y = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1.0, -10.0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])  # at y = -10, up is z


def box(value=1.0, shape=(16, 16, 16)):
    """A full box, but for the outermost cells, so that its faces are half a cell soft and no more."""
    density = torch.zeros(shape)
    density[1:-1, 1:-1, 1:-1] = value
    return density


def see(density, size=(48, 64), extinction=0.6, focal=120.0, steps=160, sun=(0.0, 0.0, 1.0), camera=LOOK_ALONG_Y, **more):
    return volume.march(density, (-2.0, -2.0, -2.0), CELL, camera, (focal, focal), (size[1] / 2, size[0] / 2), size, extinction, sun,
                        steps=steps, **more)


def holdout(sun, ambient, alpha, deep, plate_depth):
    """`volume.cut` of whole pictures, the deep planes at their resolution."""
    at = volume.resized(deep, alpha.shape)

    def read(plane):
        return at.cumulative_alpha.gather(0, plane[None])[0], at.cumulative_depth.gather(0, plane[None])[0]

    return volume.cut(sun, ambient, alpha, deep.planes, at.front, read, plate_depth)


def test_alpha_of_a_uniform_box_is_beers_law():
    passes = see(box())
    assert float(passes.alpha[24, 32]) == pytest.approx(1 - math.exp(-0.6 * 14 * CELL), abs=0.01)
    assert float(passes.alpha[0, 0]) == 0.0


def test_alpha_does_not_depend_on_the_number_of_steps():
    few, many = see(box(), steps=60), see(box(), steps=300)
    assert float((few.alpha - many.alpha).abs().max()) < 0.02


def test_depth_is_along_the_axis_and_that_of_a_thin_wall():
    density = torch.zeros(16, 16, 16)
    density[1:-1, 8, 1:-1] = 4.0  # a wall whose middle is at y = -2 + 8.5 * .25
    passes = see(density, extinction=8.0, steps=400)
    expected = 10.0 - 2.0 + 8.5 * CELL
    for row, column in ((24, 32), (24, 48), (12, 20)):  # off the axis too: not along the ray
        assert float(passes.depth[row, column]) == pytest.approx(expected, abs=0.15)
    assert math.isinf(float(passes.depth[0, 0]))


def test_a_cloud_is_where_the_camera_should_see_it():
    density = torch.zeros(16, 16, 16)
    density[12, 8, 12] = 5.0  # at x = z = 1.125, y = .125: right of the middle and above it
    alpha = see(density, extinction=5.0).alpha
    row, column = divmod(int(alpha.argmax()), 64)
    depth = 10.125
    assert column + 0.5 == pytest.approx(32 + 120 * 1.125 / depth, abs=1.0)
    assert row + 0.5 == pytest.approx(24 - 120 * 1.125 / depth, abs=1.0)


def test_passes_are_premultiplied_and_in_range():
    passes = see(box(1.5), extinction=2.0)
    for light in (passes.sun, passes.ambient):
        assert float(light.min()) >= 0.0
        assert bool((light <= passes.alpha + 1e-5).all())


def test_the_side_towards_the_sun_is_the_bright_one():
    left = see(box(), extinction=3.0, sun=(-1.0, 0.0, 0.2)).sun
    assert float(left[24, 20]) > 1.5 * float(left[24, 44])


@pytest.mark.parametrize("sun", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.6, 0.3, 0.74), (-0.5, 0.8, 0.33)])
def test_optical_depth_of_a_uniform_box_is_its_path(sun):
    extinction = torch.ones(24, 24, 24)
    cell = 0.1
    depth = volume._swept(extinction, sun, cell)
    norm = math.sqrt(sum(v * v for v in sun))
    path = min((1.2 / abs(v / norm)) for v in sun if v)
    assert float(depth[12, 12, 12]) == pytest.approx(path, rel=0.12)


def test_a_shadow_falls_where_the_sun_is_behind_the_dust():
    density = box(1.0)
    sun = (0.0, 0.0, 1.0)
    points = torch.tensor([[0.0, 0.0, -3.0], [3.5, 0.0, -3.0], [0.0, 0.0, 3.0]])
    thick, dust = volume.sun_thickness(points, volume.towards_sun(density, CELL, 0.6, sun), (-2.0, -2.0, -2.0), CELL, sun)
    assert float(thick[0]) == pytest.approx(0.6 * 14 * CELL, rel=0.02)
    assert float(thick[1]) == 0.0 and float(thick[2]) == 0.0
    assert dust[0].numpy() == pytest.approx([0, 0, 0], abs=0.6 * CELL)  # the middle of the box throws it


def test_no_dust_gives_empty_passes():
    passes = see(torch.zeros(16, 16, 16))
    assert float(passes.alpha.abs().sum()) == 0.0
    _, _, alpha, depth = holdout(passes.sun, passes.ambient, passes.alpha, passes.deep, torch.full((48, 64), 5.0))
    assert float(alpha.sum()) == 0.0 and bool(torch.isinf(depth).all())


def test_dust_behind_the_camera_is_not_seen():
    behind = LOOK_ALONG_Y.clone()
    behind[1, 3] = 20.0
    assert float(see(box(), camera=behind).alpha.max()) == 0.0


def finer(density, extinction, sun):
    """32 cells a side, as `see` sees 16."""
    return volume.march(density, (-2.0, -2.0, -2.0), 0.125, LOOK_ALONG_Y, (120.0, 120.0), (32.0, 24.0), (48, 64), extinction, sun)


def cloud():
    z, y, x = torch.meshgrid(*(torch.linspace(-2, 2, 32),) * 3, indexing="ij")
    density = (torch.sin(3 * x) + torch.cos(4 * y) + torch.sin(5 * z) > 0).float() * ((x * x + y * y + z * z) < 2.2)
    return finer(density, 1.5, (0.3, 0.2, 0.9))


def test_holdout_behind_everything_changes_nothing():
    passes = cloud()
    sun, ambient, alpha, depth = holdout(passes.sun, passes.ambient, passes.alpha, passes.deep, torch.full((48, 64), torch.inf))
    assert torch.equal(alpha, passes.alpha) and torch.equal(sun, passes.sun) and torch.equal(ambient, passes.ambient)
    there = alpha > 1e-3
    torch.testing.assert_close(depth[there], passes.depth[there], rtol=1e-3, atol=1e-2)


def test_holdout_before_everything_leaves_exactly_nothing():
    passes = cloud()
    plate = torch.where(torch.isfinite(passes.deep.front), passes.deep.front, torch.full_like(passes.deep.front, 3.0))
    sun, _, alpha, depth = holdout(passes.sun, passes.ambient, passes.alpha, passes.deep, plate)
    assert float(alpha.abs().max()) == 0.0 and float(sun.abs().max()) == 0.0
    assert bool(torch.isinf(depth).all())


def test_held_out_alpha_grows_with_the_plates_depth_and_its_depth_stays_before_the_plate():
    passes = cloud()
    before = torch.zeros(48, 64)
    for plate in torch.linspace(8.0, 12.5, 19):
        held = torch.full((48, 64), float(plate))
        _, _, alpha, depth = holdout(passes.sun, passes.ambient, passes.alpha, passes.deep, held)
        assert bool((alpha >= before - 1e-6).all()) and bool((alpha <= passes.alpha + 1e-6).all())
        assert bool((depth[alpha > 0] <= plate).all())
        before = alpha


def test_holdout_agrees_with_a_march_through_the_cut_cloud():
    density = box(1.0, (32, 32, 32))
    whole = finer(density, 0.5, (0, 0, 1.0))
    cut = density.clone()
    cut[:, 16:] = 0.0  # nothing beyond y = 0, that is depth 10
    near = finer(cut, 0.5, (0, 0, 1.0))
    _, _, alpha, _ = holdout(whole.sun, whole.ambient, whole.alpha, whole.deep, torch.full((48, 64), 10.0))
    assert float((alpha - near.alpha)[14:34, 14:50].abs().max()) < 0.03


def test_a_plate_amid_even_dust_is_hidden_as_beer_and_lambert_have_it():
    passes = finer(box(1.0, (32, 32, 32)), 2.0, (0, 0, 1.0))
    for deep in (0.3, 0.6, 1.0, 1.5):  # in far fewer planes than that
        plate = float(passes.deep.front[24, 32]) + deep
        _, _, alpha, _ = holdout(passes.sun, passes.ambient, passes.alpha, passes.deep, torch.full((48, 64), plate))
        assert float(alpha[24, 32]) == pytest.approx(1 - math.exp(-2.0 * deep), abs=0.1)


def test_dust_on_the_ground_is_cut_there_by_the_plate_and_nobody_sees_through_its_foot():
    """The guide has a sixth of the plate's pixels along a side: by itself it fades over a dozen of the plate's."""
    density = torch.zeros(16, 16, 16)
    density[:6, 4:12, 3:13] = 0.6
    view = LOOK_ALONG_Y.clone()
    view[2, 3] = -0.5
    fine = see(density, (192, 256), 8.0, 480.0, camera=view, smooth=True).alpha
    rows = (96 - torch.arange(192) - 0.5) / 480.0
    ground = torch.where(rows < 0, -1.5 / rows, torch.inf)[:, None].expand(192, 256).contiguous()  # the floor lies 1.5 below the eye
    wrong = {}
    for below in (0, 2):
        low = see(density, (32, 43), 8.0, 80.0, camera=view, smooth=True, planes=16, below=below)
        wide = torch.nn.functional.interpolate(torch.stack([low.sun, low.ambient, low.alpha])[None], (192, 256), mode="bilinear")[0]
        _, _, alpha, _ = holdout(*wide, low.deep, ground)
        foot = fine[:, 100:156].gt(0.9).flip(0).int().argmax(0)  # from below, the first row that is thick
        near = [slice(191 - int(at) - 5, 191 - int(at) + 6) for at in foot]
        wrong[below] = max(float((alpha - fine)[part, 100 + k].abs().mean()) for k, part in enumerate(near))
    assert wrong[2] < 0.06 < 0.1 < wrong[0], wrong


def test_holdout_at_a_finer_size_cuts_as_sharply_as_the_plate():
    passes = cloud()
    low = torch.stack([passes.sun, passes.ambient, passes.alpha])[None]
    up = torch.nn.functional.interpolate(low, (192, 256), mode="bilinear")[0]
    plate = torch.full((192, 256), torch.inf)
    plate[:, 128:] = 5.0  # a post before the right half
    _, _, alpha, _ = holdout(*up, passes.deep, plate)
    assert torch.equal(alpha[:, :128], up[2][:, :128])
    assert float(alpha[:, 128:].abs().max()) == 0.0


def test_empty_air_around_the_dust_changes_no_light():
    density = torch.zeros(30, 24, 24)
    density[2:12, 6:18, 6:18] = torch.rand(10, 12, 12, generator=torch.Generator().manual_seed(1))
    small = volume.light(density, 0.1, 3.0, (0.5, -0.3, 0.8))
    wide = volume.light(torch.nn.functional.pad(density, (20, 20, 20, 20)), 0.1, 3.0, (0.5, -0.3, 0.8))
    beside = slice(0, 14), slice(4, 20), slice(4, 20)
    for name in ("sun", "ambient"):
        assert torch.equal(getattr(small, name)[beside], getattr(wide, name)[:, 20:44, 20:44][beside])
    assert 1.0 < float(small.sun.max()) < 40.0


def ball(n):
    """A ball of even dust in a box of 4 lengths, (n, n, n), its edge a quarter of a length wide."""
    at = (torch.arange(n) + 0.5) * 4.0 / n - 2.0
    away = (at[:, None, None] ** 2 + at[:, None] ** 2 + at**2).sqrt()
    return ((1.4 - away) / 0.25 + 0.5).clamp(0, 1)


def seen_of(density, extinction, **how):
    cell = 4.0 / density.shape[0]
    sun = (0.6, -0.6, 0.5)
    return volume.march(density, (-2.0, -2.0, -2.0), cell, LOOK_ALONG_Y, (120.0, 120.0), (32.0, 24.0), (48, 64), extinction, sun, **how)


def test_thick_dust_in_large_cells_shows_no_rows_and_columns():
    """A ball whose cells stop nearly all light is to be shaded as one whose cells are a quarter as large."""
    truth = seen_of(ball(96), 12.0, steps=300)
    there = truth.alpha > 0.99

    def bent(passes):
        """How much the sun bends from pixel to pixel, beside the true ball's bend."""
        return (passes.sun - truth.sun).diff(n=2, dim=1)[there[:, 1:-1]].abs().mean()

    assert float(bent(seen_of(ball(20), 12.0, smooth=True))) < 0.6 * float(bent(seen_of(ball(20), 12.0)))


def test_clear_air_that_is_passed_over_changes_nothing(monkeypatch):
    density = torch.zeros(24, 30, 27)
    density[4:9, 20:26, 3:9] = density[2:5, 3:8, 15:24] = 0.8
    quick = seen_of(density, 2.0, smooth=True)
    monkeypatch.setattr(volume, "_BLOCK", 1000)
    slow = seen_of(density, 2.0, smooth=True)
    for name in ("sun", "ambient", "alpha"):
        torch.testing.assert_close(getattr(quick, name), getattr(slow, name), rtol=1e-5, atol=1e-6)
    assert torch.equal(quick.deep.front, slow.deep.front) and float(quick.alpha.max()) > 0.5


def test_a_grid_is_halved_without_loss_and_without_negative_dust():
    grid = torch.zeros(1, 9, 8, 10)
    grid[:, 3:6, 2:5, 4:7] = 1.0
    fine = volume._finer(grid)
    assert fine.shape == (1, 18, 16, 20) and float(fine.min()) == 0.0
    assert float(fine.mean()) == pytest.approx(float(grid.mean()), rel=0.1)
    torch.testing.assert_close(volume._finer(torch.ones_like(grid)), torch.ones_like(fine))


def test_dust_on_the_ground_is_the_same_however_far_a_ray_goes_at_a_time(monkeypatch):
    """Rays that leave through the floor still see what lies half a cell about it, all of it or none: by stretches it came and went."""
    density = torch.zeros(16, 16, 16)
    density[:5, 4:12, 3:13] = 0.4
    low = LOOK_ALONG_Y.clone()
    low[2, 3] = -1.5  # a little above the floor, so that rays leave through it slowly
    seen = []
    for block in (2, 3, 5, 12, 1000):
        monkeypatch.setattr(volume, "_BLOCK", block)
        seen.append(see(density, steps=None, camera=low, extinction=4.0, smooth=True))
    assert float(seen[0].alpha.max()) > 0.5
    for other in seen[1:]:
        assert float((other.alpha - seen[0].alpha).abs().max()) < 1e-5
