# SPDX-License-Identifier: Apache-2.0
"""The built-in model `dust`: from guide passes to detailed dust passes, for any size and any length of shot.

It knows the network, the scheduler, the windows and the weights that lie in this package. It must not know sockets,
requests, files of a shot, colours or holdout: it is given arrays and gives arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from platebridge.errors import Cancelled

from platebridge_server.models.dust import condition as told
from platebridge_server.models.dust import windows
from platebridge_server.models.dust.network import WEIGHTS_FILE, DustNetwork
from platebridge_server.models.dust.scheduler import DustLevels

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "weights"
# By eye, over plates: two evaluations give clean billows with crisp rims; four are nearer to the truth in the figures, and
# add a grain that boils. So a final takes two, and who wants the grain asks for it.
FINAL_STEPS = 2
DRAFT_STEPS = 1
CRISP_STEPS = 4
#: Pixels all around that are made and cut off again. At a border the network sees nothing beyond, and draws dots along it.
MARGIN = 16


class WeightsDiffer(Exception):
    """The weights on disk are not those that the card describes."""


def card() -> dict:
    """The model card, as data."""
    return json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))


def of_frame(light: tuple[float, float, float], cell: tuple[float, float] | None) -> tuple[float, ...]:
    """What `Dust.sample`'s light_view gives for a frame: the way to the sun, and the guide's cell as `base.GuideReader` has it."""
    return tuple(told.of_frame(torch.tensor([light]), torch.tensor([cell or (torch.nan, torch.nan)]))[0].tolist())


def noise(seed: int, frame: int, size) -> torch.Tensor:
    """(3, H, W) white unit noise of one frame of the shot. It depends on seed, frame number and size, never on windows."""
    state = np.random.SeedSequence([seed & 0xFFFFFFFFFFFFFFFF, frame & 0xFFFFFFFF]).generate_state(1, np.uint64)[0]
    return torch.randn(3, *size, generator=torch.Generator().manual_seed(int(state) >> 1))


class Dust:
    """Generates dust over a guide. `sample` gives frames one by one as they are finished."""

    def __init__(self, unet: DustNetwork, scheduler: DustLevels):
        self.unet, self.scheduler = unet, scheduler

    @torch.no_grad()
    def sample(
        self,
        guide_reader: Callable[[int], dict],
        frames: range,
        size: tuple[int, int],
        seed: int = 0,
        steps: int = FINAL_STEPS,
        light_view: Callable[[int], tuple[float, ...]] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        first_needed_frame: int | None = None,
        window: int = 16,
        overlap: int = 4,
        texture: float = 1.0,
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield (frame, {"sun", "ambient", "alpha"}) in order, each (H, W) float32, linear, premultiplied.

        guide_reader(frame) -> {"sun", "ambient", "alpha", "depth"}: (h, w) arrays at low resolution (a quarter of `size`
        is what was trained), linear premultiplied, depth along the camera axis in any length, inf or nan where clear. It is
        called once per frame, when it is needed. frames: consecutive frame numbers. size: (H, W) of the result.
        steps: network evaluations per frame, 2 for final, 1 for draft, 4 for crisp. light_view(frame): unit vector to the sun in the
        camera's axes (x right, y up, z backwards). on_progress(done, total) counts network calls; `cancelled` is asked
        before each and makes `platebridge.errors.Cancelled` come. first_needed_frame: frames before it exist already;
        what only they need is left out, and the others come out bit for bit as in one run over all of `frames`. texture: so much of the
        detail over the guide is drawn; 0 leaves the guide itself, widened.

        alpha is in [0, 1]; sun and ambient are >= 0; all are exactly 0 outside the guide's dilated alpha.
        """
        if frames.step != 1:
            raise ValueError("Dust needs every frame: give consecutive frame numbers.")
        unet, scheduler = self.unet, self.scheduler
        scheduler.set_timesteps(steps)
        sigmas = scheduler.sigmas.tolist()
        device, dtype = (getattr(next(unet.parameters()), name) for name in ("device", "dtype"))
        multiple = unet.multiple
        height, width = size
        padded = tuple(-(-(n + 2 * MARGIN) // multiple) * multiple for n in size)
        inside = slice(MARGIN, MARGIN + height), slice(MARGIN, MARGIN + width)
        scale = unet.residual_scale(device)
        kept: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

        def read(frame: int):
            if frame not in kept:
                guide = guide_reader(frame)
                low = torch.from_numpy(np.stack([np.asarray(guide[k], np.float32) for k in ("sun", "ambient", "alpha")]))
                depth = torch.from_numpy(np.ascontiguousarray(guide["depth"], np.float32))
                light = light_view(frame) if light_view else (0.0, 0.7, 0.7)
                kept[frame] = low, depth, F.pad(torch.as_tensor(light, dtype=torch.float32), (0, 6 - len(light)))
            return kept[frame]

        def conditions(numbers):
            rows = [read(frame) for frame in numbers]
            low, depth, light = (torch.stack(column).to(device) for column in zip(*rows))
            low = told.tell(low, depth)[:, : unet.condition_channels]
            wide, light = told.widen(low, size), torch.cat([light, told.fineness(low)], dim=-1)
            beyond = MARGIN, padded[1] - width - MARGIN, MARGIN, padded[0] - height - MARGIN
            return F.pad(wide, beyond, mode="replicate"), light

        reach = len(scheduler.options["noise_taps"]) // 2

        def begin(frame: int):
            around = range(frame - reach, frame + reach + 1)
            white = torch.stack([noise(seed, number, padded) for number in around])
            return scheduler.in_time(white)[0].to(device) * scheduler.init_noise_sigma

        calls = 0

        def denoise(numbers, values, level):
            nonlocal calls
            if cancelled is not None and cancelled():
                raise Cancelled()
            wide, light = conditions(numbers)
            sigma = torch.full((1,), sigmas[level], device=device)
            noised = torch.stack(values)
            out, near = torch.zeros_like(noised), _about(told.support(wide), multiple)
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.float32 and quick_bfloat16(device)):
                if near is not None:  # what lies farther off has no dust in these frames
                    out[near] = unet(noised[near][None], sigma, wide[near][None], light[None])[0]
            calls += 1
            if on_progress is not None:
                on_progress(calls, total)
            return list(out)

        plan = windows.plan(frames, window, overlap)
        total = len(windows.order(plan, steps, first_needed_frame))
        for frame, residual in windows.run(plan, steps, denoise, scheduler.advance, begin, first_needed_frame):
            wide = conditions([frame])[0][(..., *inside)]
            encoded = wide[:, :3] + texture * told.drawn(wide) * residual[None][(..., *inside)] * scale
            passes = (told.decode(encoded) * told.support(wide))[0].float().cpu().numpy()
            for old in [k for k in kept if k <= frame]:
                del kept[old]
            yield frame, {"sun": passes[0], "ambient": passes[1], "alpha": passes[2]}


def _about(there: torch.Tensor, multiple: int) -> tuple | None:
    """Where to look in a window's frames, as an index of (frames, c, h, w): all that is not 0 in `there`, (frames, 1, h, w), and `MARGIN`
    about it, its borders at whole multiples; None where there is nothing."""
    anywhere = there.amax((0, 1)) > 0
    if not bool(anywhere.any()):
        return None
    sides = []
    for along in (1, 0):
        dusty = torch.nonzero(anywhere.any(along))[:, 0]
        first, last = int(dusty[0]) - MARGIN, int(dusty[-1]) + MARGIN
        sides.append(slice(max(first // multiple, 0) * multiple, (last // multiple + 1) * multiple))
    return (..., *sides)


def quick_bfloat16(device: torch.device) -> bool:
    """Whether this machine multiplies bfloat16 faster than float32; elsewhere it would be emulated, and slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return False


def weights_sha256(folder: Path = WEIGHTS) -> str:
    """SHA-256 of the network's safetensors file."""
    return hashlib.sha256((folder / "unet" / WEIGHTS_FILE).read_bytes()).hexdigest()


def load(device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, folder: Path | None = None) -> Dust:
    """The model with the weights of this package (or of `folder`, in diffusers' layout), ready to use.

    The packaged weights are compared with the card; `WeightsDiffer` says so if they are not those.
    """
    if folder is None:
        folder = WEIGHTS
        if weights_sha256(folder) != card()["weights_sha256"]:
            raise WeightsDiffer("The dust model's weights are not those its card describes; install Platebridge again.")
    unet = DustNetwork.read(folder / "unet").to(device=device, dtype=dtype, memory_format=torch.channels_last)
    return Dust(unet.eval(), DustLevels.read(folder / "scheduler"))
