# SPDX-License-Identifier: Apache-2.0
"""What a studio wants to know of a picture model on its own shots, as figures of arrays.

Each function is one question, of clips (frames, h, w, ...) in scene-linear light; differences are in display code values (`EYES`),
where 1/255 is a step of an 8-bit display. A figure that can't be told is NaN. It knows colour. It must not know models or takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from . import colour

EYES = colour.find("display")
#: PU21 for banding with glare: R. Mantiuk and M. Azimi, "PU21: A novel perceptually uniform encoding for adapting existing quality
#: metrics for HDR", Picture Coding Symposium 2021. Luminance from 0.005 to 10000 cd/m2; 100 cd/m2 is near 256.
_PU21 = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)


@dataclass
class Clip:
    """A shot as it is judged. plate, comp: (frames, h, w, 3) float32; mask, alpha: (frames, h, w).

    picture: what the model gave before the comp, truth and truth_alpha: what should have come, vectors: (frames, h, w, 2), where a
    plate's pixel was a frame before, less where it is, x right, y up; None where there is none. joints: the frames (counted from
    0) with which a window begins. nits: what scene-linear 1 is on the display.
    """

    plate: np.ndarray
    mask: np.ndarray
    comp: np.ndarray
    alpha: np.ndarray
    picture: np.ndarray | None = None
    truth: np.ndarray | None = None
    truth_alpha: np.ndarray | None = None
    vectors: np.ndarray | None = None
    joints: tuple[int, ...] = ()
    nits: float = 100.0


#: Heading and figure's name.
COLUMNS = (
    ("outside, mean", "outside_mean"), ("outside, most", "outside_most"), ("comp outside", "comp_outside"), ("effect inside", "inside"),
    ("found", "found"), ("coverage", "coverage"), ("warp error", "warp"), ("plate's own", "warp_plate"), ("flicker", "flicker"),
    ("seam jump", "seam"), ("PU21-PSNR", "pu21_psnr"),
)  # fmt: skip


def judge(clip: Clip) -> dict[str, float]:
    """Every figure of a clip, by the names of `COLUMNS`; NaN where the clip lacks what a figure needs."""
    none = math.nan
    mean, most = outside(clip.picture, clip.plate, clip.mask) if clip.picture is not None else (none, none)
    inside, found, coverage = effect_in_place(clip.alpha, clip.mask, clip.truth_alpha)
    moving = clip.vectors is not None
    return {
        "outside_mean": mean,
        "outside_most": most,
        "comp_outside": outside(clip.comp, clip.plate, clip.mask)[1],
        "inside": inside,
        "found": found,
        "coverage": coverage,
        "warp": warp_error(clip.comp, clip.plate, clip.vectors, clip.mask) if moving else none,
        "warp_plate": warp_error(clip.plate, clip.plate, clip.vectors, clip.mask) if moving else none,
        "flicker": flicker(clip.comp, clip.plate, clip.mask, clip.truth),
        "seam": seam_jump(clip.comp, clip.plate, clip.mask, clip.joints),
        "pu21_psnr": pu21_psnr(clip.comp, clip.truth, clip.nits) if clip.truth is not None else none,
    }


def codes(clip: np.ndarray) -> np.ndarray:
    """Display code values in [0, 1] of scene-linear (..., 3)."""
    return colour.limited(EYES.encode(clip))[0]


def outside(picture: np.ndarray, plate: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Mean and largest difference from the plate outside the mask: the model's own drift, before the comp puts the plate back."""
    there = ~(np.asarray(mask) > 0)
    if not there.any():
        return math.nan, math.nan
    apart = np.abs(codes(picture[there]) - codes(plate[there]))
    return float(apart.mean()), float(apart.max())


def effect_in_place(alpha: np.ndarray, mask: np.ndarray, wanted: np.ndarray | None = None) -> tuple[float, float, float]:
    """The share of the effect that is where it should be; the share of where it should be that has any; how much of it there is.

    alpha, mask, wanted: (frames, h, w). wanted is the alpha of the truth or of the guide; without it the mask is the place, and the
    last figure, the sum of alpha over that of wanted, is NaN. "Any" is alpha above 0.02, "should be" is wanted above 0.02.
    """
    place = np.asarray(mask) > 0 if wanted is None else np.asarray(wanted) > 0.02
    total = float(alpha.sum())
    inside = float(alpha[place].sum()) / total if total > 0 else math.nan
    found = float((alpha[place] > 0.02).mean()) if place.any() else math.nan
    coverage = total / float(wanted.sum()) if wanted is not None and wanted.sum() > 0 else math.nan
    return inside, found, coverage


def warp_error(clip: np.ndarray, plate: np.ndarray, vectors: np.ndarray, mask: np.ndarray) -> float:
    """Mean difference inside the mask between a frame and the one before it, carried along the plate's exact vectors.

    Pixels that the plate itself shows to have been hidden or outside a frame before (it differs by more than 0.05 there) don't count. Dust
    does move against the plate, so this is never 0: compare it between models, and with the plate's own.
    """
    errors, count = 0.0, 0
    for at in range(1, len(clip)):
        carried, inside = _carried(codes(clip[at - 1]), vectors[at])
        behind, _ = _carried(codes(plate[at - 1]), vectors[at])
        fair = inside & (np.asarray(mask[at]) > 0) & (np.abs(behind - codes(plate[at])).max(axis=-1) <= 0.05)
        errors += float(np.abs(carried - codes(clip[at])).mean(axis=-1)[fair].sum())
        count += int(fair.sum())
    return errors / count if count else math.nan


def _carried(before: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame before, (h, w, 3), fetched to where its pixels are now, linearly; and (h, w) where they were in the picture."""
    height, width = before.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns + vectors[..., 0], rows - vectors[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = np.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1).astype(np.float32)
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(before, -1, 0), dtype=np.float32))
    got = F.grid_sample(planes[None], torch.from_numpy(grid)[None], mode="bilinear", padding_mode="border", align_corners=True)
    return np.moveaxis(got[0].numpy(), 0, -1), inside


def flicker(comp: np.ndarray, plate: np.ndarray, mask: np.ndarray, truth: np.ndarray | None = None) -> float:
    """How restless the effect is: the mean size of comp less plate's second difference in time, inside the mask.

    With a truth it is a share of the truth's own: 1 is as restless as it should be.
    """
    own = _restless(comp, plate, mask)
    if truth is None:
        return own
    right = _restless(truth, plate, mask)
    return own / right if right > 0 else math.nan


def _restless(comp: np.ndarray, plate: np.ndarray, mask: np.ndarray) -> float:
    if len(comp) < 3:
        return math.nan
    change = codes(comp) - codes(plate)
    second = np.abs(change[:-2] - 2 * change[1:-1] + change[2:]).mean(axis=-1)
    there = np.asarray(mask[1:-1]) > 0
    return float(second[there].mean()) if there.any() else math.nan


def seam_jump(comp: np.ndarray, plate: np.ndarray, mask: np.ndarray, joints: tuple[int, ...]) -> float:
    """The change of comp less plate from frame to frame where a window begins, over that of all other frames: 1 is no seam."""
    change = np.abs(np.diff(codes(comp) - codes(plate), axis=0)).mean(axis=-1)
    there = np.asarray(mask[1:]) > 0
    steps = np.array([float(one[at].mean()) if at.any() else math.nan for one, at in zip(change, there)])
    at_joint = np.isin(np.arange(1, len(comp)), joints)
    if not at_joint.any() or at_joint.all() or np.isnan(steps[at_joint]).all() or not np.nanmedian(steps[~at_joint]) > 0:
        return math.nan
    return float(np.nanmean(steps[at_joint]) / np.nanmedian(steps[~at_joint]))


def pu21(luminance: np.ndarray) -> np.ndarray:
    """PU21 values of cd/m2, cut to 0.005 and 10000: a step of 1 is about as visible everywhere (Mantiuk and Azimi 2021)."""
    a, b, c, d, e, f, g = _PU21
    power = np.clip(np.asarray(luminance, np.float64), 0.005, 10000.0) ** d
    return np.maximum(g * (((a + b * power) / (1 + c * power)) ** e - f), 0.0)


def pu21_psnr(clip: np.ndarray, truth: np.ndarray, nits: float = 100.0) -> float:
    """PSNR in decibels of PU21 values, each channel taken as a luminance, with a peak of 256; +inf if they are equal."""
    error = float(np.mean((pu21(clip * nits) - pu21(truth * nits)) ** 2))
    return 20 * math.log10(256.0) - 10 * math.log10(error) if error > 0 else math.inf


def table(rows: dict[str, dict[str, float]]) -> str:
    """The figures as text, a line a shot and one of their mean; a dash where a figure can't be told."""
    lines = [" " * 24 + "".join(f"{heading:>15}" for heading, _ in COLUMNS)]
    for name, row in {**rows, "mean": mean(list(rows.values()))}.items():
        lines.append(f"{name[:23]:24}" + "".join(f"{row[key]:>15.4g}" if not math.isnan(row[key]) else f"{'-':>15}" for _, key in COLUMNS))
    return "\n".join(lines)


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Each figure's mean over the shots that have it."""
    out = {}
    for _, key in COLUMNS:
        known = [row[key] for row in rows if not math.isnan(row[key])]
        out[key] = sum(known) / len(known) if known else math.nan
    return out


def contact_sheet(clip: Clip, count: int = 4) -> np.ndarray:
    """(rows, columns, 3) uint8: for a few frames, side by side, plate, model's picture, comp, alpha, and truth where there is one.

    No picture is wider than 480 pixels: every nth pixel of it is taken.
    """
    step = max(1, -(-clip.plate.shape[2] // 480))
    rows = []
    for at in sorted({round(i * (len(clip.plate) - 1) / max(count - 1, 1)) for i in range(count)}):
        shown = [clip.plate[at], clip.comp[at] if clip.picture is None else clip.picture[at], clip.comp[at]]
        pictures = [codes(one[::step, ::step]) for one in shown]
        pictures.append(np.repeat(np.clip(clip.alpha[at][::step, ::step, None], 0, 1), 3, axis=-1))
        if clip.truth is not None:
            pictures.append(codes(clip.truth[at][::step, ::step]))
        rows.append(np.concatenate(pictures, axis=1))
    return (np.concatenate(rows) * 255 + 0.5).astype(np.uint8)
