# SPDX-License-Identifier: Apache-2.0
"""What the last lesson asks for: that no critic can tell results from truths, no weave, patches alike, and the guide's composition."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from platebridge_server.models import dust  # noqa: E402
from platebridge_server.models.dust import condition  # noqa: E402
from platebridge_server.training import data, distil  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_last_evaluation_is_trained_on_what_the_sampler_gives_it():
    """Two levels of the trainer are two levels of the scheduler that ships."""
    scheduler = dust.DustLevels(noise_taps=(1.0, 2.0, 1.0), sigma_min=0.8)
    scheduler.set_timesteps(2)
    white = torch.randn(1, 5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    value, sigma = distil.sampled(lambda value, *_: torch.full_like(value, 0.25), scheduler, white, None, None)
    begin = scheduler.in_time(white) * scheduler.init_noise_sigma
    torch.testing.assert_close(value, scheduler.advance(begin, torch.full_like(begin, 0.25), None, 0))
    assert sigma.tolist() == pytest.approx([0.8])


def test_a_critic_learns_to_tell_softness_from_the_truth():
    torch.manual_seed(0)
    critic, wide = distil.Critic(8), torch.zeros(2, 4, 4, 32, 32)
    optimiser = torch.optim.Adam(critic.parameters(), 2e-3)
    for _ in range(60):
        truth = 0.5 * torch.randn(2, 4, 3, 32, 32)
        soft = data.blurred(truth.flatten(0, 1), 1.5).view_as(truth)
        loss = torch.relu(1 - critic(truth, wide)).mean() + torch.relu(1 + critic(soft, wide)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss) < 1.0


def test_the_account_of_waves_finds_a_weave_and_its_gradient_takes_it_out():
    random = torch.Generator().manual_seed(2)
    cloud = data.blurred(torch.randn(8, 3, 64, 64, generator=random), 2.0).unflatten(0, (2, 4))
    wave = torch.sin(torch.arange(64) * 2 * torch.pi / 8).expand(2, 4, 3, 64, 64)
    quiet, woven = distil.Waves(), distil.Waves()
    quiet.owed(cloud, cloud)
    strength = torch.tensor(0.05, requires_grad=True)
    woven.owed(cloud + strength * wave, cloud).backward()
    assert quiet.decibels() == 0 < woven.decibels()
    assert divmod(int(woven.too_much.mean(-1).argmax()), 3) == (4, 2)  # an octave finer than the longest, along rows
    assert float(strength.grad) > 0  # less of it is better


def test_the_account_of_waves_asks_for_what_softness_lacks():
    random = torch.Generator().manual_seed(3)
    cloud = torch.randn(2, 4, 3, 64, 64, generator=random)
    soft = data.blurred(cloud.flatten(0, 1), 1.0).view_as(cloud)
    sharpness = torch.tensor(0.0, requires_grad=True)
    distil.Waves().owed(soft + sharpness * (cloud - soft), cloud).backward()
    assert float(sharpness.grad) < 0


def test_a_border_is_looked_at_as_the_middle_is():
    """Dots along the last rows: through a window that fades there nothing is seen of them, folded about that border they are."""
    cloud = data.blurred(torch.randn(4, 3, 64, 96, generator=torch.Generator().manual_seed(7)), 2.0).unflatten(0, (1, 4))
    dotted = cloud.clone()
    dotted[..., -5:, :] += 0.3 * torch.sin(torch.arange(96) * 2 * torch.pi / 8)
    account, plain = distil.Waves(), distil.Waves()
    plain.owed(dotted, cloud)
    for seed in range(30):
        parts = distil.folded(np.random.default_rng(seed), dotted, cloud)
        assert [part.shape for part in parts] == [cloud.shape] * 2
        account.owed(*parts)
    assert account.decibels() > 2 * plain.decibels()
    same = distil.folded(np.random.default_rng(3), cloud, cloud)
    assert torch.equal(*same)


def test_a_weave_is_taken_out_where_there_is_no_truth_to_compare_with():
    """Of any clouds: what counts is how waves along the axes stand to slanted ones."""
    random = torch.Generator().manual_seed(5)
    cloud, other = (data.blurred(torch.randn(8, 3, 128, 192, generator=random), 2.0).unflatten(0, (2, 4)) for _ in range(2))
    wave = torch.sin(torch.arange(192) * 2 * torch.pi / 8).expand(2, 4, 3, 128, 192)
    quiet, woven = distil.Weave(), distil.Weave()
    quiet.owed(3.0 * cloud, other)  # more of everything is no weave
    strength = torch.tensor(0.05, requires_grad=True)
    woven.owed(cloud + strength * wave, other).backward()
    assert quiet.decibels() < 0.5 < woven.decibels()
    octave, direction = divmod(int(woven.too_much.mean(-1).argmax()), 2)
    assert (octave, direction) == (4, 1)  # an octave finer than the longest, along rows
    assert float(strength.grad) > 0


def test_where_there_is_less_along_the_axes_none_is_asked_for():
    random = torch.Generator().manual_seed(6)
    cloud = data.blurred(torch.randn(8, 3, 128, 192, generator=random), 2.0).unflatten(0, (2, 4))
    wave = 0.05 * torch.sin(torch.arange(192) * 2 * torch.pi / 8).expand_as(cloud)
    part = torch.tensor(0.0, requires_grad=True)
    account = distil.Weave()
    account.owed(cloud + part * wave, cloud + wave).backward()
    assert account.decibels() < 0.1 and abs(float(part.grad)) < 1e-2


def test_an_account_is_not_what_its_first_entry_happened_to_be():
    random = torch.Generator().manual_seed(7)
    cloud = data.blurred(torch.randn(8, 3, 64, 96, generator=random), 2.0).unflatten(0, (2, 4))
    wave = 0.2 * torch.sin(torch.arange(96) * 2 * torch.pi / 8).expand_as(cloud)
    for account in (distil.Waves(), distil.Weave()):
        account.owed(cloud + wave, cloud)
        first = account.decibels()
        for _ in range(9):
            account.owed(cloud, cloud)
        assert abs(account.decibels() - first / 10) < 0.01 * first


def test_the_last_lesson_sees_what_is_cut_off_as_the_sampler_gives_it():
    passes = torch.tensor([-0.5, 0.2, 7.0]).repeat(3, 1)[None, :, None].requires_grad_()  # (1, 3, 1, 3): below, within, above
    one = torch.full((3, 1, 1), 5.0)
    cut = distil.Cut.apply(passes, one)
    assert torch.equal(cut[0, :, 0], torch.tensor([[0, 0.2, 7], [0, 0.2, 7], [0, 0.2, 5]]))
    assert torch.allclose(condition.encode(condition.decode(passes / one)) * one, cut)
    (cut * torch.tensor([1.0, 1.0, -1.0])).sum().backward(retain_graph=True)  # all further out
    assert torch.equal(passes.grad[0, :, 0], torch.tensor([[0.0, 1, -1], [0, 1, -1], [0, 1, 0]]))
    passes.grad = None
    (cut * torch.tensor([-1.0, -1.0, 1.0])).sum().backward()  # back in
    assert torch.equal(passes.grad[0, :, 0], torch.tensor([[-1.0, -1, 1]] * 3))


def test_patches_are_alike_wherever_they_lie_and_softness_makes_them_unlike():
    random = torch.Generator().manual_seed(4)
    cloud = 1 + torch.randn(2, 4, 3, 64, 64, generator=random)  # of alpha enough everywhere
    elsewhere = cloud.roll((16, 16), dims=(-2, -1))
    soft = data.blurred(cloud.flatten(0, 1), 1.0).view_as(cloud)

    def apart(made):
        torch.manual_seed(0)
        return distil.patches_apart(made, cloud, np.random.default_rng(0))

    assert float(apart(cloud)) == 0 < float(apart(elsewhere)) < 0.1 * float(apart(soft))
    sharpness = torch.tensor(0.5, requires_grad=True)
    apart(soft + sharpness * (cloud - soft)).backward()
    assert float(sharpness.grad) < 0


def test_a_cloud_that_boils_is_told_from_one_that_rolls_though_each_of_its_frames_is_alike():
    still = 1 + torch.randn(1, 1, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    cloud = still.expand(1, 6, 3, 64, 64)
    boiling = torch.cat([cloud[:, n : n + 1].roll((9 * n, 14 * n), dims=(-2, -1)) for n in range(6)], dim=1)

    def apart(made):
        torch.manual_seed(0)
        return float(distil.patches_apart(made, cloud, np.random.default_rng(0)))

    assert apart(boiling) > 10 * apart(cloud.roll((9, 14), dims=(-2, -1)))


def test_faint_detail_of_one_pass_does_not_hide_behind_the_others():
    cloud = 3 + 0.5 * torch.randn(1, 3, 3, 48, 64, generator=torch.Generator().manual_seed(7))
    cloud[:, :, 2] = 3 + 0.2 * (cloud[:, :, 2] - 3)
    without = cloud.clone()
    without[:, :, 2] = 3.0
    torch.manual_seed(0)
    assert float(distil.patches_apart(without, cloud, np.random.default_rng(0))) > 0.1


def test_billows_cost_nothing_beside_their_guide_but_dust_elsewhere_does():
    random = torch.Generator().manual_seed(5)
    wide = torch.full((1, 2, 4, 48, 64), 0.5)
    grain = 0.1 * torch.randn(1, 2, 3, 48, 64, generator=random)
    waves = 0.1 * torch.sin(torch.arange(64) * 2 * torch.pi / 32).expand(1, 2, 3, 48, 64)  # of a shape that the guide shows

    def apart(more):
        return float(distil._coarse(wide[:, :, :3] + more, wide))

    assert apart(0) < 1e-9 < 5 * apart(grain) < apart(waves)
    dark = torch.zeros(1, 2, 4, 48, 64)
    haze = torch.full((1, 2, 3, 48, 64), 0.05, requires_grad=True)
    distil._coarse(haze, dark).backward()  # the faintest light over none
    assert bool((haze.grad[:, :, :2] > 0).all() and haze.grad.isfinite().all())


def test_where_the_truth_has_no_dust_no_patch_is_asked_for():
    made = torch.rand(1, 2, 3, 32, 32, requires_grad=True)
    distance = distil.patches_apart(made, torch.zeros(1, 2, 3, 32, 32), np.random.default_rng(0))
    assert float(distance) == 0 and torch.isfinite(distance)


def _judged(critic, judge, account):
    """One step of a critic and an entry in an account, of the same chance each time."""
    random = torch.Generator().manual_seed(11)
    truth, made = (torch.randn(1, 4, 3, 32, 32, generator=random) for _ in range(2))
    wide = torch.zeros(1, 4, 4, 32, 32)
    account.owed(made, truth)
    judge.zero_grad()
    (critic(made, wide).mean() - critic(truth, wide).mean()).backward()
    judge.step()


def test_a_lesson_goes_on_with_a_critic_as_sharp_eyed_as_it_was(tmp_path):
    """To the bit: its weights, what its optimiser knows, the account of waves; one that nothing was entered in stays empty."""

    def anew():
        critic = distil.Critic(8)
        judge = torch.optim.AdamW(critic.parameters(), 1e-3)
        return critic, judge, {"waves": distil.Waves(), "weave": distil.Weave()}

    critic, judge, accounts = anew()
    for _ in range(3):
        _judged(critic, judge, accounts["waves"])
    distil._save_critic(tmp_path, critic, judge, accounts)
    other, its_judge, its_accounts = anew()
    distil._restore_critic(tmp_path, other, its_judge, its_accounts, "cpu")
    for _ in range(2):
        _judged(critic, judge, accounts["waves"])
        _judged(other, its_judge, its_accounts["waves"])
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in critic.state_dict().items())
    assert torch.equal(accounts["waves"].too_much, its_accounts["waves"].too_much) and its_accounts["waves"].count == 5
    assert its_accounts["weave"].too_much is None and its_accounts["weave"].count == 0


def test_a_run_of_before_that_kept_its_critic_alone_goes_on(tmp_path):
    critic = distil.Critic(8)
    data.save_whole(tmp_path / "critic.safetensors", critic.state_dict())
    other = distil.Critic(8)
    judge, account = torch.optim.AdamW(other.parameters(), 1e-3), distil.Waves()
    distil._restore_critic(tmp_path, other, judge, {"waves": account}, "cpu")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in critic.state_dict().items())
    assert not judge.state and account.count == 0
