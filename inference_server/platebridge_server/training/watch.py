# SPDX-License-Identifier: Apache-2.0
"""What a training run shows to whoever watches it: the curves of its log, and strips of what its weights make by now.

It knows clips, the sampler and files of a run. It must not know losses, optimisers or held-out simulations: those are for `evaluate`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np
import torch
from platebridge.takes import write_whole

from platebridge_server.models.dust import condition as told
from platebridge_server.models.dust.network import DustNetwork
from platebridge_server.models.dust.sampling import Dust
from platebridge_server.models.dust.scheduler import DustLevels
from platebridge_server.training import data, simulate

LOG, CURVES = "log.jsonl", "curves.svg"
#: Clips of a strip, frames of each that are made for it, and the largest part of a clip, rows and columns: it is made every few minutes.
VIEWS, FRAMES, MOST = 3, 8, (128, 192)
#: Of the noise: the same for all strips, so that what changes is the weights' doing.
SEED = 1
#: Pixels of a curve, and how many stand side by side.
_PANEL, _ACROSS = (320, 150), 3
#: What a line of the log is told by, and no curve of.
_CLOCKS = ("iteration", "seconds")


@dataclass(frozen=True)
class View:
    """A part of a clip: guide (frames, 3, h, w) linear, its depth (frames, h, w), what is told of each frame, truth (frames, 3, H, W)."""

    guide: torch.Tensor
    depth: torch.Tensor
    told: torch.Tensor
    truth: torch.Tensor

    @classmethod
    def of(cls, clip: simulate.Clip) -> View:
        """Some frames about two thirds of the clip, where dust has billows, and no more of the picture than is made in no time."""
        first = max(0, min(len(clip.truth) * 2 // 3 - FRAMES // 2, len(clip.truth) - FRAMES))
        part = slice(first, first + FRAMES)
        high, wide = (_span(clip.truth[part, 2].sum((0, along)), most) for along, most in ((2, MOST[0]), (1, MOST[1])))
        low = tuple(slice(side.start // simulate.GUIDE_SCALE, side.stop // simulate.GUIDE_SCALE) for side in (high, wide))
        parts = clip.guide[(part, slice(None), *low)], clip.guide_depth[(part, *low)], clip.told[part], clip.truth[part, :, high, wide]
        return cls(*(p.clone() for p in parts))  # a studio's clip is large, and is let go


class Watch:
    """The pictures of one run in its folder `out`: `curves.svg`, and at each `show` one more `strip_000123.png`.

    folder: of the shards that it learns from. Of three of them, evenly spread, the clip with most dust is on the strips.
    """

    def __init__(self, out: Path, folder: Path, device: str) -> None:
        self.out, self.device = Path(out), device
        shards = data.shards(folder)
        chosen = (data.read_shard(shards[at]) for at in sorted({k * len(shards) // VIEWS for k in range(VIEWS)}))
        self.views = [View.of(max(clips, key=lambda clip: float(clip.truth[:, 2].mean()))) for clips in chosen]

    def show(self, iteration: int, weights: Mapping[str, torch.Tensor], options: dict, levels: DustLevels, steps: int) -> None:
        """Draw anew what the log says, and a strip of the network of these weights and options: guide | result | truth, a row a clip."""
        curves(self.out / LOG, self.out / CURVES)
        network = DustNetwork(**options)
        network.load_state_dict(weights)
        pipe = Dust(network.to(device=self.device, memory_format=torch.channels_last).eval(), levels)
        rows = []
        for view in self.views:
            size = view.truth.shape[-2:]
            made = generated(pipe, view.guide, view.depth, view.told, size, steps)
            rows.append(side_by_side(told.condition(view.guide, view.depth, size), made, view.truth, len(made) // 2))
        data.write_png(self.out / f"strip_{iteration:06d}.png", np.concatenate(data.as_wide(rows)))


def _span(dust: torch.Tensor, most: int) -> slice:
    """Of a side of the picture, `most` pixels about the middle of its dust (n,), or all of it; whole pixels of the guide."""
    scale, middle = simulate.GUIDE_SCALE, float((dust * torch.arange(len(dust))).sum() / dust.sum().clamp_min(1e-6))
    first = int(max(0, min(middle - most / 2, len(dust) - most))) // scale * scale
    return slice(first, min(first + most, len(dust)))


def generated(pipe: Dust, guide, depth, light, size, steps: int, **options) -> torch.Tensor:
    """(frames, 3, H, W) linear passes of a clip's guide (frames, 3, h, w), its depth (frames, h, w), and what is told of each frame."""
    def reader(frame):
        return dict(zip(("sun", "ambient", "alpha", "depth"), (*guide[frame].numpy(), depth[frame].numpy())))

    made = pipe.sample(reader, range(len(guide)), size, SEED, steps, lambda frame: tuple(light[frame].tolist()), **options)
    return torch.from_numpy(np.stack([np.stack([got["sun"], got["ambient"], got["alpha"]]) for _, got in made]))


def side_by_side(wide: torch.Tensor, made: torch.Tensor, truth: torch.Tensor, at: int) -> np.ndarray:
    """Upsampled guide | result | truth of frame `at`, (h, 3 w, 3) bytes. wide: the condition; made, truth: (frames, 3, h, w) linear."""
    return np.concatenate([data.picture(passes[at]) for passes in (told.decode(wide[:, :3]), made, truth)], 1)


def curves(log: Path, svg: Path) -> None:
    """Draw a curve over the iterations of each figure that a run's log has. What a break cut off in the log is passed over."""
    lines = {}
    for text in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            line = json.loads(text)
            lines[line["iteration"]] = line  # gone on with from a checkpoint, a run goes through some once more
        except (ValueError, KeyError, TypeError):
            continue
    lines = [lines[iteration] for iteration in sorted(lines)]
    names = list(dict.fromkeys(name for line in lines for name in line if name not in _CLOCKS))
    (width, height), down = _PANEL, -(-len(names) // _ACROSS)
    places = [(at % _ACROSS * width, at // _ACROSS * height) for at in range(len(names))]
    panels = [f'<g transform="translate({x},{y})">{_curve(name, lines)}</g>' for name, (x, y) in zip(names, places)]
    size = f'width="{width * _ACROSS}" height="{height * max(down, 1)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11"><rect {size} fill="white"/>'
    write_whole(svg, "\n".join([head, *panels, "</svg>\n"]).encode("utf-8"))


def _curve(name: str, lines: Sequence[Mapping[str, float]]) -> str:
    points = [(line["iteration"], line[name]) for line in lines if isinstance(line.get(name), (int, float)) and math.isfinite(line[name])]
    if not points:
        return f'<text x="12" y="16">{escape(name)}: nothing yet</text>'
    (width, height), (left, top, right, bottom) = _PANEL, (12, 24, 12, 20)
    (first, last), (low, high) = ((min(column), max(column)) for column in zip(*points))

    def place(iteration: float, value: float) -> str:
        x = left + (width - left - right) * (iteration - first) / max(last - first, 1)
        y = height - bottom - (height - top - bottom) * (value - low) / ((high - low) or 1)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(*point) for point in points)
    return (
        f'<text x="{left}" y="16">{escape(name)}: <tspan font-weight="bold">{points[-1][1]:.4g}</tspan> ({low:.4g} to {high:.4g})</text>'
        f'<rect x="{left}" y="{top}" width="{width - left - right}" height="{height - top - bottom}" fill="none" stroke="#ccc"/>'
        f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="1.5"/>'
        f'<text x="{left}" y="{height - 6}" fill="#666">{first}</text>'
        f'<text x="{width - right}" y="{height - 6}" fill="#666" text-anchor="end">{last} iterations</text>'
    )
