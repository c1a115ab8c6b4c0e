# SPDX-License-Identifier: Apache-2.0
"""The last lesson: what a few evaluations give must not be told from the truth by another network that learns to tell.

A denoiser's answer is a mean, and the mean of all billows that a guide allows is fog. So the last evaluation of the shipped sampler is
trained against a critic (adversarial diffusion distillation, Sauer et al. 2023; for smoke, tempoGAN, Xie et al. 2018): it sees three
frames at once, so that boiling gives a picture away as well as softness does, and the guide, so that the right dust in the wrong
place does too. The higher noise levels go on learning to denoise, what the result is at the guide's size is held to the guide, its
patches as a whole are to be like the truth's (`patches_apart`), and an account is kept of its waves (`Waves`), or a weave would stay that
a critic hardly sees. Guides as users' are, which have no truth, are among those that it answers (`users.py`, `Weave`).

It knows clips, the network, the sampler's levels and a critic. It must not know windows or shots. Checkpoints as in `train.py`.
"""

from __future__ import annotations

import json
import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from platebridge_server.models.dust import condition as told
from platebridge_server.models.dust.network import DustNetwork
from platebridge_server.models.dust.sampling import MARGIN, quick_bfloat16
from platebridge_server.models.dust.scheduler import DustLevels
from platebridge_server.training import data, train, users
from platebridge_server.training.simulate import GUIDE_SCALE, SIZE
from platebridge_server.training.watch import LOG, Watch

FRAMES = 8
#: Pixels of a crop, down and along, at most: whole pictures of our clips. In a smaller crop how crisp dust is is chance, and the median of
#: chances, which is what least absolute differences ask for, lies half a decibel under their mean.
VIEW = SIZE
RATE, CRITIC_RATE = 2e-4, 1.2e-3
KEPT = 0.995  # of the averaged weights, per iteration
# Weights against the denoising loss.
HELD = 300.0  # of what must stay as the guide has it
FAINT = 1e-3  # light, linear: the root of light, which is what is compared, has no slope at none
FOOLING = 0.07  # of the critic's word
EVEN = 0.1  # of what its waves have too much or too little of, of each length and way
STRAIGHT = 0.4  # of what there is too much of along the axes, under guides that have no truth
REMEMBERED = 0.99  # of that account, per iteration
ALIKE = 8.0  # of how unlike the patches are, as a whole, of what it makes and of the truth at the same place
DIRECTIONS = 48  # along which patches are compared, other ones each time
BOILING = 0.3  # of how unlike their second differences in time are: boiling is in these, and in no frame by itself
#: Guides that agree with the truth among those that it answers to the critic: the others are as a user's are, another cloud than any truth.
AGREEING = 0.25
#: The part of what it answers to guides that users' shots gave (`users.py`), where there are some: with no truth beside them it is held to
#: the guide, is to fool the critic, and is to have no more waves along the axes, beside slanted ones, than truths have.
ASKED = 0.15
DENOISES = 2  # iterations of which one goes on denoising, so many times as loudly: that is much of the work
LEAST_NOISE, MOST_NOISE = 2.0, 20.0  # of the levels that go on denoising, evenly in their logarithm
GAIN = 16.0  # of the critic's word: its layers' norms are held to one, and the truth differs from a good guess by less than that


class Critic(nn.Module):
    """How much each place of three frames looks like the truth: (n, 13, h, w) -> (n, 1, h / 4, w / 4). Used in training alone."""

    def __init__(self, width: int = 80):
        super().__init__()
        layers: list[nn.Module] = []
        wide = 2 * width
        for seen, made, size, stride in ((13, width, 4, 2), (width, wide, 4, 2), (wide, wide, 3, 1), (wide, wide, 3, 1), (wide, 1, 3, 1)):
            layers += [spectral_norm(nn.Conv2d(seen, made, size, stride, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, residual: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
        """residual (batch, frames, 3, h, w) over the guide, scaled; wide (batch, frames, 4 or more, h, w) the condition.

        Every three frames on end. The residual and not the passes: all that differs is in it, and beside the guide it is faint.
        """
        three = torch.cat([2 * residual[:, :-2], 2 * residual[:, 1:-1], 2 * residual[:, 2:], wide[:, 1:-1, :4]], dim=2).flatten(0, 1)
        return GAIN * self.layers(three.contiguous(memory_format=torch.channels_last))


def dusty(wide: torch.Tensor, size) -> torch.Tensor:
    """(n, 1, *size) in [0, 1]: where there can be dust at all in the middle one of every three frames. Emptiness fools nobody."""
    there = told.support(wide[:, 1:-1].flatten(0, 1))
    return F.adaptive_avg_pool2d(there, size)


def sampled(model, scheduler: DustLevels, white: torch.Tensor, wide: torch.Tensor, light: torch.Tensor) -> tuple:
    """The sample as the last level finds it, and that level's sigma, by the sampler that ships. white: len(noise_taps) - 1 frames more."""
    sigmas = scheduler.sigmas.tolist()
    value, before = scheduler.in_time(white) * scheduler.init_noise_sigma, None
    for level, sigma in enumerate(sigmas[:-1]):
        denoised = model(value, torch.full((len(value),), sigma, device=value.device), wide, light)
        value, before = scheduler.advance(value, denoised, before, level), denoised
    return value, torch.full((len(value),), sigmas[-1], device=value.device)


def distil(folder: Path, start: Path, out: Path, minutes: float, *, steps: int, sigma_min: float, threads: int = 1, seed: int = 0,
           device: str = "cpu", compiled: bool = True, resume: bool = False, batch: int = 1) -> int:
    """Train from the weights in `start` (diffusers' layout) for so long; writes checkpoint.safetensors, state.json, log.jsonl and what
    `watch` draws into `out`.

    steps, sigma_min: the sampler that will use the weights. A resumed run goes on with the critic, its optimiser and the accounts as they
    were. Returns how many iterations. Raises what `train.train` does.
    """
    torch.set_num_threads(threads)
    state = train.gone_on_with(out, resume, steps=steps, sigma_min=sigma_min)
    out.mkdir(parents=True, exist_ok=True)
    network = DustNetwork.read(start / "unet")
    network.hear(told.FRAME_NUMBERS, told.CHANNELS)
    network = network.to(device=device, memory_format=torch.channels_last).train()
    critic = Critic().to(device=device, memory_format=torch.channels_last)
    anew = {"iterations": 0, "seconds": 0.0, "seed": seed, "steps": steps, "sigma_min": sigma_min, **train.begun_from(start)}
    state = state or anew
    average = {key: value.detach().clone() for key, value in network.named_parameters()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.5, 0.99), weight_decay=1e-2)
    judge = torch.optim.AdamW(critic.parameters(), lr=CRITIC_RATE, betas=(0.5, 0.99), weight_decay=1e-2)
    account, weave = Waves(), Weave()
    accounts = {"waves": account, "weave": weave}
    if state["iterations"]:
        train._restore(out, network, average, optimiser)
        _restore_critic(out, critic, judge, accounts, device)
    torch.manual_seed(state["seed"] * 1000003 + state["iterations"])
    clips = train.Clips(folder, np.random.default_rng([state["seed"], state["iterations"]]))
    clips.begin()
    size = clips.least(VIEW, network.multiple)
    scheduler = DustLevels(noise_taps=train.NOISE_TAPS, sigma_min=sigma_min)
    scheduler.set_timesteps(steps)
    model = train.faster(network, compiled, device)
    scale, kind = network.residual_scale(device), torch.device(device).type
    quick = quick_bfloat16(torch.device(device))
    begun = time.monotonic()
    before, iteration, saved, rows = state["seconds"], state["iterations"], state["seconds"], []
    more = len(train.NOISE_TAPS) - 1
    theirs = Users(folder, clips.random, size)
    watch = Watch(out, folder, device)

    def keep_it(seconds: float) -> None:
        now = {**state, "iterations": iteration, "seconds": seconds}
        _save_critic(out, critic, judge, accounts)
        train._save(out, network, average, optimiser, now)
        watch.show(iteration, average, network.options, train.levels_of(now), steps)

    with train.asked_to_stop() as stop, (out / LOG).open("a") as log:
        while (seconds := before + time.monotonic() - begun) < 60 * minutes and not stop.asked:
            for group, rate in ((optimiser.param_groups[0], RATE), (judge.param_groups[0], CRITIC_RATE)):
                group["lr"] = rate * min(1.0, (iteration + 1) / 100, 0.1 + 2.0 * (1 - seconds / (60 * minutes)))
            # What truths are like is shown by guides that agree with them; what is answered to a user's guide must look like that too.
            (residual, known, known_light), (lacking, wide, light) = (
                [torch.stack(column).to(device) for column in zip(*(clips.crop(FRAMES, size, soft) for _ in range(batch)))]
                for soft in (1.0, AGREEING)
            )
            residual, truth = residual / scale, (wide[:, :, :3] + lacking) / scale
            of_users = bool(theirs) and clips.random.random() < ASKED
            if of_users:
                wide, light = (torch.stack(column).to(device) for column in zip(*(theirs.crop(FRAMES) for _ in range(batch))))
            wide = _as_sampled(wide)
            white, other = (torch.randn(batch, FRAMES + more, *residual.shape[2:]).to(device) for _ in range(2))
            support, known_support = (told.support(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in (wide, known))
            # By itself: earlier torch keeps weights as it cast them here, cut off from their gradients, until an autocast ends.
            with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=quick):
                value, sigma = sampled(model, scheduler, white, wide, light)
            with torch.autocast(kind, torch.bfloat16, enabled=quick):
                made = model(value, sigma, wide, light) * support
                known_residual = _inside(residual * known_support)
                made, near, shown, truth = (_inside(part) for part in (made, wide, known, truth))
                whole = Cut.apply(near[:, :, :3] / scale + made, 1 / scale)
                made = whole - near[:, :, :3] / scale
                seen = _aside(made.shape[-2:], clips.random)
                critic.requires_grad_(False)
                word = critic(made[seen], near[seen]).float()
                where = dusty(near[seen], word.shape[-2:])
                share = where.mean().clamp_min(0.02)
                fooling = -(word * where).mean() / share
                held = _coarse(whole * scale, near)
                if of_users:
                    other_truth = shown[:, :, :3] / scale + known_residual
                    uneven, unlike = STRAIGHT * weave.owed(*folded(clips.random, whole, other_truth)), whole.new_zeros(())
                else:  # of the same place: of another one, content would be on the account
                    uneven = EVEN * account.owed(*folded(clips.random, whole, truth))
                    unlike = patches_apart(whole, truth, clips.random)
                if iteration % DENOISES == 0:
                    denoising = train.edm_loss(model, residual, _sigmas(batch).to(device), known, known_light, scheduler.in_time(other))
                else:
                    denoising = whole.new_zeros(batch)
            asked = DENOISES * denoising.mean() + FOOLING * fooling + HELD * held + uneven + ALIKE * unlike
            asked.backward()
            train.refuse_no_number(iteration, asked.detach(), torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0))
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            critic.requires_grad_(True)
            with torch.autocast(kind, torch.bfloat16, enabled=quick):
                real = critic(known_residual[seen], shown[seen]).float()
                false = critic(made.detach()[seen], near[seen]).float()
            known_where = dusty(shown[seen], real.shape[-2:])
            told_apart = (F.relu(1 - real) * known_where).mean() / known_where.mean().clamp_min(0.02)
            told_apart = told_apart + (F.relu(1 + false) * where).mean() / share
            told_apart.backward()
            train.refuse_no_number(iteration, told_apart.detach())
            judge.step()
            judge.zero_grad(set_to_none=True)
            iteration += 1
            keep = min(KEPT, (1 + iteration) / (10 + iteration))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.values()), [p.detach() for p in network.parameters()], 1 - keep)
            losses = [float(v.detach().mean()) for v in (DENOISES * denoising, fooling, held, told_apart, unlike)]
            if of_users:
                losses[-1] = math.nan
            rows.append([*losses, account.decibels(), weave.decibels()])
            if iteration % 25 == 0:
                names = ("denoising", "fooling", "held", "told_apart", "unlike", "waves_db", "weave_db")
                means = dict(zip(names, np.nanmean(rows[-100:], axis=0).round(5).tolist()))
                line = {"iteration": iteration, "seconds": round(seconds, 1), **means}
                log.write(json.dumps(line) + "\n")
                log.flush()
            if seconds - saved > 180:
                keep_it(seconds)
                saved = seconds
    keep_it(before + time.monotonic() - begun)
    return iteration


class Cut(torch.autograd.Function):
    """Whole passes as the sampler gives them: no light and no alpha below 0, no alpha above 1.

    What is cut off hears of a loss only what would bring it back. A lesson that sees what is not cut asks emptiness to be 0 in the mean;
    cut, its noise is haze about every rim, and solid dust has lost the upper half of its own.
    """

    @staticmethod
    def forward(ctx, passes: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
        """passes: (..., 3, h, w), scaled. one: (3, 1, 1), what 1 is in each of them."""
        most = torch.cat([torch.full_like(one[:2], torch.inf), one[2:]])
        ctx.save_for_backward(passes < 0, passes > most)
        return torch.minimum(passes.clamp_min(0), most)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        below, above = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.masked_fill((below & (gradient > 0)) | (above & (gradient < 0)), 0.0), None


def _inside(part: torch.Tensor) -> torch.Tensor:
    """What the sampler keeps of (..., h, w): what is patched together at a border counts for nothing, or all that is lacking goes there."""
    return part[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def _as_sampled(wide: torch.Tensor) -> torch.Tensor:
    """The condition (batch, frames, c, h, w) of a picture that ends where `_inside` does: beyond it the sampler repeats its border."""
    return F.pad(_inside(wide).flatten(0, 1), (MARGIN,) * 4, mode="replicate").unflatten(0, wide.shape[:2])


def folded(random: np.random.Generator, *pictures: torch.Tensor) -> list[torch.Tensor]:
    """Pictures (..., h, w) as they are, or a half beside its own mirror, so that a border is in the middle, alike for all of them.

    What looks through a window that fades towards the borders is blind there, and a network finds out: rows of dots stood along them.
    """
    for axis in (-2, -1):
        side = random.integers(3)
        if side:
            half = pictures[0].shape[axis] // 2
            start = 0 if side == 1 else pictures[0].shape[axis] - half
            halves = [part.narrow(axis, start, half) for part in pictures]
            pictures = tuple(torch.cat([part.flip(axis), part] if side == 1 else [part, part.flip(axis)], axis) for part in halves)
    return list(pictures)


#: Waves longer than this many pixels are the composition's.
LONGEST = 16
#: Bands of a quarter of an octave, from the longest waves to those of two pixels.
BANDS = 12
#: Less than this is nothing.
LEAST_POWER = 1e-4


def waves(part: torch.Tensor) -> torch.Tensor:
    """(BANDS, 3, 3) mean power of the waves of each length: slanted ones, those down, those along the picture; in each pass.

    part: (batch, frames, 3, h, w), whole passes, scaled. Through a window that fades towards the borders.
    """
    h, w = part.shape[-2:]
    window = torch.outer(torch.hann_window(h, device=part.device), torch.hann_window(w, device=part.device))
    with torch.autocast(part.device.type, enabled=False):
        power = torch.fft.rfft2(part.float() * window).abs().square().mean((0, 1)).flatten(1)
        return (_bands(h, w).to(power) @ power.T).unflatten(0, (BANDS, 3))


@lru_cache(maxsize=4)
def _bands(h: int, w: int) -> torch.Tensor:
    """(BANDS * 3, h * (w // 2 + 1)): what each wave of a picture counts in each of the means that `waves` gives."""
    down, along = torch.fft.fftfreq(h).abs()[:, None], torch.fft.rfftfreq(w)[None]
    octave, near = torch.log2(torch.hypot(down, along).clamp_min(1e-6) * LONGEST), 1.5 / min(h, w)
    ways = (down > near) & (along > near), along <= near, down <= near
    there = torch.stack([(octave >= 0.25 * n) & (octave < 0.25 * (n + 1)) & way for n in range(BANDS) for way in ways])
    return there.flatten(1) / there.sum((1, 2)).clamp_min(1)[:, None]


class Account:
    """What results have too much of and truths have not, over many crops: one crop's is chance. In logarithms of power."""

    def __init__(self, remembered: float):
        self.remembered, self.count = remembered, 0  # of the account, per entry
        self.too_much: Optional[torch.Tensor] = None

    def enter(self, now: torch.Tensor) -> None:
        """One crop's. While they are few the account is the mean of all, or it would live on its first."""
        self.count += 1
        part = min(self.remembered, 1 - 1 / self.count)
        self.too_much = now if self.too_much is None else torch.lerp(now, self.too_much, part)


class Waves(Account):
    """Keeps account of how much of the waves of each length and way results have and truths have; the differences are paid back.

    A critic is slow to see a faint weave that is everywhere, of the period of the network's own strides; an eye is not. The account is
    kept over many crops: one crop's is chance. Of each wave by itself it would be chance still, and its gradient several times that of
    all else that is asked for.
    """

    def __init__(self) -> None:
        super().__init__(REMEMBERED)

    def owed(self, made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """A scalar whose gradient takes from waves that there are too many of. Both (batch, frames, 3, h, w), whole passes, scaled.

        Every clip counts alike, whatever its contrast: in an account of power, what a few crisp clips lack was put into all, as grain.
        """
        power = (waves(made) + LEAST_POWER).log()
        self.enter(power.detach() - (waves(truth) + LEAST_POWER).log())
        return (self.too_much * power).mean()

    def decibels(self) -> float:
        """Mean absolute difference, over all lengths and ways."""
        return 0.0 if self.too_much is None else float(self.too_much.abs().mean()) * 10 / math.log(10)


class Weave(Account):
    """Keeps account of how much more there is of waves along the axes than of slanted ones of their length, beside what truths have.

    For results with no truth of their own: how much of each wave there is is the cloud's affair, but a cloud knows no rows and columns.
    """

    #: Of the longest waves: of shorter ones there are too few along an axis.
    BANDS = 9

    def __init__(self) -> None:
        super().__init__(0.97)  # there are fewer entries than in `Waves`

    def owed(self, made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """A scalar whose gradient takes from waves along the axes. Both (batch, frames, 3, h, w), whole passes, scaled, of any clouds."""
        more = self._more(made)
        self.enter(more.detach() - self._more(truth))
        return (self.too_much.clamp_min(0) * more).mean()

    def decibels(self) -> float:
        """What there is too much of, in the mean of all lengths."""
        return 0.0 if self.too_much is None else float(self.too_much.clamp_min(0).mean()) * 10 / math.log(10)

    def _more(self, part: torch.Tensor) -> torch.Tensor:
        """(lengths, 2, 3): logarithm of the power of waves down and along, over that of slanted ones, in each pass."""
        power = (waves(part)[: self.BANDS] + LEAST_POWER).log()
        return power[:, 1:] - power[:, :1]


class Users:
    """Guides as users' are, ready to be cropped; none where the folder holds none."""

    def __init__(self, folder: Path, random: np.random.Generator, size: tuple[int, int]):
        self.random, self.size, self.shots = random, size, []
        for guide, depth, light, cell in users.read(folder):
            self.shots.append((told.tell(guide, depth).half(), F.avg_pool2d(guide[:, 2:3], 2)[:, 0].numpy(), light, cell))

    def __len__(self) -> int:
        return len(self.shots)

    def crop(self, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Condition (frames, 8, h, w) and what else a frame is told of (frames, 8), around dust."""
        low, alpha, light, cell = self.shots[self.random.integers(len(self.shots))]
        first = self.random.integers(low.shape[0] - frames + 1)
        part, scale = slice(first, first + frames), GUIDE_SCALE
        top, left = train.corner(self.random, alpha[first + frames // 2], self.size, [scale * n for n in low.shape[-2:]], scale)
        wide = train.widened(low[part].float(), top, left, self.size, scale)
        light = torch.cat([told.of_frame(light[part], cell[part]), told.fineness(low[part])], dim=-1)
        if self.random.random() < 0.5:
            wide = wide.flip(-1)
            light[:, 0] = -light[:, 0]
        return wide, light


def patches_apart(made: torch.Tensor, truth: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """How far the patches of results lie from those of truths, clip by clip, whatever their places: a sliced Wasserstein distance.

    Both (batch, frames, 3, h, w), whole passes, scaled. Patches of 7x7 pixels where the truth has dust, of the finest two octaves, along
    random directions (Heitz et al. 2021, "A sliced Wasserstein loss for neural texture synthesis"); in parts of the truth's own spread.
    Half of the directions look at one pass alone: among all three, the faint detail of alpha hides behind light's. What a patch does from
    frame to frame is compared alike, by its second difference.
    """
    total = made.new_zeros((), dtype=torch.float32)
    with torch.autocast(made.device.type, enabled=False):
        for one, other in zip(made.float(), truth.float()):
            for stride in (3, 2):
                low, low_other = F.avg_pool2d(one, 2), F.avg_pool2d(other, 2)
                along = torch.randn(DIRECTIONS, 3, 7, 7, device=one.device)
                along[::2] *= torch.eye(3, device=one.device).repeat(DIRECTIONS // 6, 1)[:, :, None, None]
                along = along / along.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                row, column = random.integers(0, stride, 2)
                there = other[:, 2, row + 3 : -3 : stride, column + 3 : -3 : stride] > 0.1  # scaled; an alpha of 0.02
                lengths = [
                    F.conv2d((fine - F.interpolate(coarse, fine.shape[-2:], mode="bilinear"))[..., row:, column:], along, stride=stride)
                    for fine, coarse in ((one, low), (other, low_other))
                ]
                restless = [length[:-2] - 2 * length[1:-1] + length[2:] for length in lengths]
                total = total + _spread_apart(*(length.transpose(0, 1)[:, there] for length in lengths))
                total = total + BOILING * _spread_apart(*(change.transpose(0, 1)[:, there[1:-1]] for change in restless))
                one, other = low, low_other
    return total / (2 * len(made))


def _spread_apart(mine: torch.Tensor, its: torch.Tensor) -> torch.Tensor:
    """How far numbers (directions, n) lie from others, sorted, in parts of the others' spread; 0 where there are hardly any."""
    if mine.shape[1] <= 100:
        return mine.new_zeros(())
    mine, its = (numbers.sort(dim=1).values for numbers in (mine, its))
    return ((mine - its).abs().mean(dim=1) / its.std(dim=1).clamp_min(0.02)).mean()


def _aside(size, random: np.random.Generator) -> tuple:
    """All but a few rows and columns: the critic's strides then lie each time elsewhere, or it teaches a pattern of their period."""
    top, left = random.integers(0, 8, 2)
    return ..., slice(top, size[0] - 8 + top), slice(left, size[1] - 8 + left)


def _coarse(made: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    """Squared error of the result, blurred as a soft guide is, beside its guide, at the guide's size: the composition, not the critic's."""
    with torch.autocast(made.device.type, enabled=False):
        fine, base = (told.decode(part.float()).flatten(0, 1) for part in (made, wide[:, :, :3]))
        fine = data.blurred(fine, data.SOFT_SIGMA)
        low, guide = (F.avg_pool2d(part, GUIDE_SCALE) for part in (fine, base))
        low, guide = (torch.cat([(part[:, :2] + FAINT).sqrt(), part[:, 2:]], dim=1) for part in (low, guide))
        return (low - guide).square().mean()


def _sigmas(batch: int) -> torch.Tensor:
    """(batch,) of the levels that go on denoising. Lower ones would ask the last evaluation for a mean, which is what it must unlearn."""
    return LEAST_NOISE * (MOST_NOISE / LEAST_NOISE) ** torch.rand(batch)


def _save_critic(out: Path, critic: Critic, judge: torch.optim.Optimizer, accounts: dict[str, Account]) -> None:
    """What a lesson goes on with beside the network: by itself it would take hundreds of iterations to be as sharp-eyed again."""
    tensors = {**critic.state_dict(), **train.remembered(judge)}
    for name, one in accounts.items():
        if one.too_much is not None:
            tensors.update({f"account.{name}.too_much": one.too_much, f"account.{name}.count": torch.tensor(one.count)})
    data.save_whole(out / "critic.safetensors", tensors)


def _restore_critic(out: Path, critic: Critic, judge: torch.optim.Optimizer, accounts: dict[str, Account], device: str) -> None:
    """A run from before the end of November 2026 has the critic alone: what it lacks begins anew."""
    tensors = load_file(out / "critic.safetensors")
    critic.load_state_dict({name: tensors[name] for name in critic.state_dict()})
    train.remember(judge, tensors)
    for name, one in accounts.items():
        if f"account.{name}.too_much" in tensors:
            one.too_much, one.count = tensors[f"account.{name}.too_much"].to(device, copy=True), int(tensors[f"account.{name}.count"])
