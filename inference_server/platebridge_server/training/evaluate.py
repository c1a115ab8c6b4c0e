# SPDX-License-Identifier: Apache-2.0
"""How good the dust is: figures on simulations that were never trained on, beside those of the upsampled guide.

It knows the model, clips and metrics. It must not know the training loop.

All metrics are of encoded passes (`condition.encode`) over a whole clip (frames, 3, h, w), unless said otherwise.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from platebridge_server import effect
from platebridge_server.guide import solver, volume
from platebridge_server.guide.frame import GuideFrame
from platebridge_server.models.dust import condition as told
from platebridge_server.models.dust import sampling as dust
from platebridge_server.training import data, simulate, users
from platebridge_server.training.watch import generated, side_by_side

FRAMES = 12  # of each clip; the windowed run takes all twenty of one
WAVES = (16.0, 10.0, 7.0, 5.0, 4.0)  # pixels, of the bands in which a weave is looked for
UPRIGHT = 0.02  # cycles per pixel from an axis of the picture, at most, of waves that can make one


def spectrum(clip: torch.Tensor) -> torch.Tensor:
    """(c, 12) power of (frames, c, h, w) in twelve quarter-octave bins over the three octaves below Nyquist, Hann window."""
    height, width = clip.shape[-2:]
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)[None]
    power = sum(torch.fft.fft2(frame * window).abs().square() for frame in clip) / len(clip)  # one by one: a studio's clips are large
    fy, fx = torch.meshgrid(torch.fft.fftfreq(height), torch.fft.fftfreq(width), indexing="ij")
    octave = torch.log2(torch.sqrt(fy**2 + fx**2).clamp_min(1e-6) / 0.5)  # 0 at Nyquist
    number = torch.floor((octave + 3) * 4).long()
    return torch.stack([power[:, number == k].mean(1) for k in range(12)], dim=1)


def waves(clip: torch.Tensor) -> torch.Tensor:
    """(4, 2) power of (frames, c, h, w) in waves of 16 to 10, 7, 5 and 4 pixels: along an axis of the picture, and slanted."""
    height, width = clip.shape[-2:]
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)[None]
    power = sum(torch.fft.rfft2(frame * window).abs().square().mean(0) for frame in clip) / len(clip)
    down, along = torch.fft.fftfreq(height).abs()[:, None], torch.fft.rfftfreq(width)[None]
    length, upright = 1 / torch.hypot(down, along).clamp_min(1e-6), torch.minimum(down, along) < UPRIGHT
    bands = [(length <= longest) & (length > shortest) for longest, shortest in zip(WAVES, WAVES[1:])]
    return torch.stack([torch.stack([power[band & upright].mean(), power[band & ~upright].mean()]) for band in bands])


def weave(power: torch.Tensor, truth: torch.Tensor) -> float:
    """dB: how much more of waves along the picture's axes there is than truths have, beyond what there is more of slanted ones, in the
    band where that is most. On a photographed shot 5 was plain to see, and no other figure had told of it. Both as `waves` gives them."""
    more = 10 * torch.log10(power / truth)
    return round(float((more[:, 0] - more[:, 1]).max()), 2)


def _patches(level: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(patches, 49 * c): the 7x7 patches of a level whose upper left corners are at chosen (patches, 3): frame, row, column."""
    frame, row, column = chosen.unbind(1)
    return level.unfold(2, 7, 1).unfold(3, 7, 1)[frame, :, row, column].flatten(1)


def sliced_distance(clip: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """Sliced Wasserstein distance of 7x7 patches where there is dust, per level of a Laplacian pyramid, finest first; NaN where there is
    none."""
    out = []
    for number in range(3):
        random = torch.Generator().manual_seed(number)
        low, low_truth = F.avg_pool2d(clip, 2), F.avg_pool2d(truth, 2)
        last = number == 2
        a = clip if last else clip - F.interpolate(low, clip.shape[-2:], mode="bilinear", align_corners=False)
        b = truth if last else truth - F.interpolate(low_truth, truth.shape[-2:], mode="bilinear", align_corners=False)
        there = truth[:, -1, 3:-3, 3:-3] > 0.02  # a patch by its middle
        places = torch.nonzero(there.flatten())[:, 0]
        places = places[torch.randperm(len(places), generator=random)[:12000]]
        chosen = torch.stack(torch.unravel_index(places, there.shape), dim=1)
        a, b = _patches(a, chosen), _patches(b, chosen)
        directions = torch.randn(a.shape[1], 192, generator=random)
        directions /= directions.norm(dim=0)
        out.append(float(((a @ directions).sort(0).values - (b @ directions).sort(0).values).abs().mean()))
        clip, truth = low, low_truth
    return out


def guide_error(clip: torch.Tensor, guide: torch.Tensor) -> tuple[float, int]:
    """(squared error, number of values) of the blurred and decimated result against its guide, encoded, at the guide's size."""
    low = F.avg_pool2d(data.blurred(told.decode(clip), data.SOFT_SIGMA), clip.shape[-1] // guide.shape[-1])
    error = told.encode(low) - told.encode(guide)
    return float(error.square().sum()), error.numel()


def restless(clip: torch.Tensor) -> float:
    """Mean size of the second difference in time."""
    return float(np.mean([float((one - 2 * two + three).abs().mean()) for one, two, three in zip(clip, clip[1:], clip[2:])]))


def depth_leak(clip: torch.Tensor, passes: volume.Passes) -> float:
    """Largest alpha that a take's effect leaves where a plate that cuts through the cloud is nearer than all dust round about.

    clip: one frame (3, h, w) of linear passes. passes: the guide's march. Round about: the guide's own pixels next to this one, as the
    march saw their first dust; what is cut at between them is the effect's affair, and what is asked here.
    """
    size = clip.shape[-2:]
    there = clip[2] > 0
    if not bool(there.any()):
        return 0.0
    front = F.interpolate(-F.max_pool2d(-passes.deep.front[None, None], 5, stride=1, padding=2), size, mode="nearest")[0, 0]
    # A tilted plate through the middle of the cloud: in front of it on one side, behind it on the other.
    middle = float(passes.depth[torch.isfinite(passes.depth)].median())
    reach = float(passes.deep.planes[-1] - passes.deep.planes[0])
    plate = middle + reach * torch.linspace(-0.5, 0.5, size[1]).expand(size)
    guide = GuideFrame(*(p.numpy() for p in (passes.sun, passes.ambient, passes.alpha, passes.depth)), np.zeros(3, np.float32), passes.deep)
    left, depth = (torch.from_numpy(part) for part in effect.assemble(*clip.numpy(), guide, plate.numpy()))
    alpha = left[..., 2]
    if bool((depth[alpha > 0] > plate[alpha > 0]).any()):
        raise AssertionError("Held-out dust lies behind the plate.")
    nearer = there & torch.isfinite(front) & (plate <= front)
    return float(alpha[nearer].max()) if bool(nearer.any()) else 0.0


class Figures:
    """Sums over clips, so that a clip with little dust does not count as much as one with a lot."""

    def __init__(self):
        self.power, self.truth_power, self.distances, self.background = 0.0, 0.0, [], []
        self.error, self.count, self.restless, self.truth_restless = 0.0, 0, 0.0, 0.0
        self.waves, self.truth_waves = 0.0, 0.0

    def add(self, clip: torch.Tensor, truth: torch.Tensor, guide: torch.Tensor | None, empty: torch.Tensor) -> None:
        """clip, truth: encoded, alpha last. guide: linear, low; or None. empty: (frames, h, w) bool, where there is nothing."""
        self.power, self.truth_power = self.power + spectrum(clip), self.truth_power + spectrum(truth)
        self.waves, self.truth_waves = self.waves + waves(clip), self.truth_waves + waves(truth)
        self.distances.append(sliced_distance(clip, truth))
        if guide is not None:
            error, count = guide_error(clip, guide)
            self.error, self.count = self.error + error, self.count + count
        self.restless, self.truth_restless = self.restless + restless(clip), self.truth_restless + restless(truth)
        if bool(empty.any()):
            self.background.append(float(clip[:, -1][empty].mean()))

    def include(self, other: Figures) -> None:
        """What has been added to others is added here too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def result(self) -> dict:
        """The figures by name; NaN or infinity where the truth has nothing to compare with."""
        figures = {
            "power_spectrum_db": round(float((10 * torch.log10(self.power / self.truth_power)).abs().mean()), 3),
            "swd": [round(_known_mean(level), 5) for level in zip(*self.distances)],
            "weave_db": weave(self.waves, self.truth_waves),
            "flicker": round(self.restless / self.truth_restless, 3) if self.truth_restless else math.nan,
            "background_alpha": round(float(np.mean(self.background)) if self.background else math.nan, 6),
        }
        if self.count:
            figures["guide_psnr_db"] = round(float(-10 * np.log10(max(self.error / self.count, 1e-12))), 2)
        return figures


def _known_mean(values: Iterable[float]) -> float:
    """The mean of those that could be told."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _window_step(pipe, clip, size) -> float:
    """Step between frames at the joints of windows, over that of the same frames made in one window (1 is no joint)."""
    guide, depth = clip.guide, clip.guide_depth
    whole = told.encode(generated(pipe, guide, depth, clip.told, size, dust.FINAL_STEPS, window=64))
    parts = told.encode(generated(pipe, guide, depth, clip.told, size, dust.FINAL_STEPS, window=8, overlap=2))
    plan = dust.windows.plan(range(len(guide)), 8, 2)
    joints = sorted({edge for window in plan for edge in (window.frames.start, window.frames.stop)} - {0, len(guide)})
    steps = [(parts[1:] - parts[:-1]).abs().mean((1, 2, 3)), (whole[1:] - whole[:-1]).abs().mean((1, 2, 3))]
    at = torch.tensor([edge - 1 for edge in joints])
    return round(float(steps[0][at].sum() / steps[1][at].sum()), 4)


@dataclass
class Judged:
    """What came of one group of clips: figures of the model and of the upsampled guide, seconds for `frames` frames, rows for the eye."""

    model: Figures = field(default_factory=Figures)
    plain: Figures = field(default_factory=Figures)
    seconds: float = 0.0
    seconds_draft: float = 0.0
    frames: int = 0
    rows: list[np.ndarray] = field(default_factory=list)


def bare(truth: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    """(frames, h, w) bool: where neither truth nor guide has any dust. The model may reach a little beyond its guide; what it leaves there
    counts. truth: (frames, 3, h, w) linear. wide: the condition."""
    return (F.max_pool2d(truth[:, 2:3], 9, stride=1, padding=4)[:, 0] < 1e-3) & (wide[:, 2] < 1e-3)


def judge(pipe, clips: Iterable[simulate.Clip], soft: bool = False, draft: bool = False) -> Judged:
    """Runs the model over clips: with their re-simulated guides, or with soft ones that agree with the truth; `draft` times that too."""
    judged, part = Judged(), slice(4, 4 + FRAMES)
    for clip in clips:
        truth, size, light = clip.truth[part], clip.truth.shape[-2:], clip.told[part]
        guide, depth = clip.guide[part], clip.guide_depth[part]
        if soft:
            guide, depth = data.soft_guide(truth, clip.truth_depth[part], data.SOFT_SIGMA)
        wide = told.condition(guide, depth, size)
        begun = time.perf_counter()
        result = generated(pipe, guide, depth, light, size, dust.FINAL_STEPS)
        judged.seconds += time.perf_counter() - begun
        judged.frames += FRAMES
        if draft:
            begun = time.perf_counter()
            generated(pipe, guide, depth, light, size, dust.DRAFT_STEPS)
            judged.seconds_draft += time.perf_counter() - begun
        empty = bare(truth, wide)
        encoded = told.encode(truth)
        judged.model.add(told.encode(result), encoded, guide, empty)
        judged.plain.add(wide[:, :3], encoded, guide, empty)
        judged.rows.append(side_by_side(wide, result, truth, FRAMES * 2 // 3))
    return judged


#: How many shots whose guides are as users' are.
USERS = 4
#: Groups of held-out simulations that are reported apart: by the key in the figures, the first seed and how many.
APART = {
    "framed": (simulate.HELD_OUT_FRAMED_SEED, 4),
    "unseen_emitter": (simulate.UNSEEN_EMITTER_SEED, 2),
    "unseen_light": (simulate.UNSEEN_LIGHT_SEED, 2),
}


def evaluate(folder: Path, weights: Path | None = None, simulations: int = 4, device: str = "cpu", strip: Path | None = None,
             floor: bool = False) -> dict:
    """Figures of the model and of the upsampled guide; makes the held-out simulations in `folder` if they are absent.

    The main figures are those on re-simulated guides, which are what a user's guide is; `soft` has those on guides that agree with the
    truth; `framed` those of dust whose cells are as small and as thick in the picture as a take's; `unseen_emitter` and `unseen_light`
    those of a kind of collapse and of a light that training has none of. `another_truth`, if `floor` is asked for: those of a second
    simulation under the same guide in the model's place, which is as good as can be.
    """
    pipe = dust.load(device, folder=weights)
    held_out = _held_out(folder, simulate.HELD_OUT_SEED, simulations)
    known, soft = judge(pipe, held_out, draft=True), judge(pipe, held_out, soft=True)
    out: dict = {"model": known.model.result(), "upsampled_guide": known.plain.result()}
    groups = {"soft": soft}
    for name, (seed, count) in APART.items():
        groups[name] = judge(pipe, _held_out(folder, seed, count))
    for name, group in groups.items():
        out["model"][name], out["upsampled_guide"][name] = group.model.result(), group.plain.result()
    out["model"].update(
        depth_leak=_cut(pipe, simulate.HELD_OUT_SEED),
        window_step=_window_step(pipe, held_out[0], held_out[0].truth.shape[-2:]),
        seconds=round((known.seconds + soft.seconds) / (known.frames + soft.frames), 3),
        seconds_draft=round(known.seconds_draft / known.frames, 3),
        users=_asked(pipe, folder, known.model.truth_waves),
    )
    threads = torch.get_num_threads()
    out["conditions"] = {
        "simulations": simulations, "frames": known.frames, "size": list(simulate.SIZE), "threads": threads, "device": device,
        "weights_sha256": dust.weights_sha256(weights or dust.WEIGHTS),
    }  # fmt: skip
    if floor:
        out["another_truth"] = _another_truth(folder, held_out, simulations)
    if strip is not None:
        left, right = known.rows[:6], soft.rows[:6]
        data.write_png(strip, np.concatenate([np.concatenate(left), np.concatenate(right)], 1))
    return out


def _held_out(folder: Path, seed: int, count: int) -> list[simulate.Clip]:
    """The clips of `count` held-out simulations, made if they are absent."""
    data.make(folder, count, seed, workers=2)
    return [clip for number in range(seed, seed + count) for clip in data.read_shard(data.shard_path(folder, number))]


def _another_truth(folder: Path, held_out: list[simulate.Clip], simulations: int) -> dict:
    """Figures of another truth of each held-out simulation: what the guide leaves to chance falls otherwise in it."""
    figures, part = Figures(), slice(4, 4 + FRAMES)
    data.make(folder, simulations, simulate.HELD_OUT_SEED, workers=2, chance=1)
    shards = (data.shard_path(folder, simulate.HELD_OUT_SEED + number, chance=1) for number in range(simulations))
    for clip, other in zip(held_out, (clip for shard in shards for clip in data.read_shard(shard))):
        truth, its = (told.encode(c.truth[part]) for c in (clip, other))
        figures.add(its, truth, clip.guide[part], torch.zeros(len(truth), *truth.shape[-2:], dtype=torch.bool))
    return figures.result()


def _asked(pipe, folder: Path, truth_waves: torch.Tensor) -> dict:
    """Figures of what is made of guides as users' are, of shots that nothing was taught with; there is no truth to compare it with.

    truth_waves: of all held-out truths, as `waves` gives them: what clouds have along the axes.
    """
    users.make(folder, USERS, simulate.HELD_OUT_SEED)
    power, error, count = torch.zeros_like(truth_waves), 0.0, 0
    for guide, depth, light, cell in users.read(folder, held_out=True)[:USERS]:
        part = slice(4, 4 + FRAMES)
        size = tuple(simulate.GUIDE_SCALE * n for n in guide.shape[-2:])
        made = told.encode(generated(pipe, guide[part], depth[part], told.of_frame(light[part], cell[part]), size, dust.FINAL_STEPS))
        power = power + waves(made)
        more = guide_error(made, guide[part])
        error, count = error + more[0], count + more[1]
    return {"weave_db": weave(power, truth_waves), "guide_psnr_db": round(float(-10 * np.log10(max(error / count, 1e-12))), 2)}


def _cut(pipe, seed: int) -> float:
    """Depth leak of a short shot made as a user's is: coarse smoke, march, model, and the cut by a plate that runs through it."""
    event = simulate.collapse(seed)
    smoke = simulate.boxed(simulate.COARSE, solver.SmokeSettings(), seed)
    height, width = simulate.SIZE
    low = height // simulate.GUIDE_SCALE, width // simulate.GUIDE_SCALE
    camera, sun = simulate.look_at((0.4, -2.6, 0.7), (0.0, 0.0, 0.3)), torch.tensor([0.4, -0.5, 0.77])
    seen = []
    for step in range(40):
        smoke.step(simulate.STEP, simulate.emit(event.points(step * simulate.STEP), smoke))
        if step >= 30:
            focal = 1.7 * low[1]
            middle = low[1] / 2, low[0] / 2
            seen.append(volume.march(smoke.density, smoke.origin, smoke.cell, camera, (focal, focal), middle, low, 40.0, sun, smooth=True))
    guide = torch.stack([torch.stack([p.sun, p.ambient, p.alpha]) for p in seen])
    light = (camera[:3, :3].T @ sun).expand(len(seen), 3)
    result = generated(pipe, guide, torch.stack([p.depth for p in seen]), light, simulate.SIZE, dust.FINAL_STEPS)
    return max(depth_leak(frame, passes) for frame, passes in zip(result, seen))


def table(figures: dict) -> str:
    """The figures as lines for a terminal."""
    heads = ("spectrum dB", "SWD fine", "middle", "coarse", "PSNR guide", "weave dB", "flicker", "background")
    lines = [" " * 32 + "".join(f"{head:>12}" for head in heads)]
    rows = [(name.replace("_", " "), figures[name]) for name in ("model", "upsampled_guide", "another_truth") if name in figures]
    for name, row in rows:
        groups = {key.replace("_", " "): part for key, part in row.items() if isinstance(part, dict) and key != "users"}
        for kind, f in {"simulated": row, **groups}.items():
            lines.append(f"{name + ', ' + kind:32}{f['power_spectrum_db']:>12.2f}" + "".join(f"{v:>12.4f}" for v in f["swd"])
                         + f"{f['guide_psnr_db']:>12.2f}{f['weave_db']:>12.2f}{f['flicker']:>12.2f}{f['background_alpha']:>12.5f}")
    model = figures["model"]
    lines.append(f"users' guides: weave {model['users']['weave_db']} dB, PSNR to the guide {model['users']['guide_psnr_db']}")
    lines.append(f"depth leak {model['depth_leak']:.6f}, step at window joints {model['window_step']}, "
                 f"seconds per frame {model['seconds']} final, {model['seconds_draft']} draft")
    return "\n".join(lines)


def write_json(path: Path, figures: dict) -> None:
    """The figures as they are, what can't be told as null: other programs' JSON has no NaN and no infinity."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        if isinstance(value, list):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(figures), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def run(
    folder: Path, weights: Path | None, json_path: Path | None, strip: Path | None, simulations: int, device: str, floor: bool = False
) -> None:
    """The command: evaluate, print, and write what was asked for."""
    figures = evaluate(folder, weights, simulations, device, strip, floor=floor)
    print(table(figures))
    if json_path is not None:
        write_json(json_path, figures)
