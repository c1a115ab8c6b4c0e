# SPDX-License-Identifier: Apache-2.0
"""A look at the picture as it forms: latents to colours by a linear map that is fitted to the shot's own plate.

The plate was encoded anyway, so what its latents look like is known: least squares of its colours on its latents, and no table of
somebody's numbers that fits one VAE alone. Coarse (an eighth of the size), and free. For the eye; must not know the loop.
"""

from __future__ import annotations

from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

#: Pulls the map towards the mean colour where the plate says little.
_RIDGE = 1e-2


class Projection:
    """latents: (1, c, t, h / 8, w / 8) of the plate; picture(frame): (h, w, 3) codes of what was encoded."""

    def __init__(self, latents: torch.Tensor, picture: Callable[[int], np.ndarray], frames: int) -> None:
        known, colours = [], []
        for at in sorted({0, frames // 2, frames - 1}):
            latent = latents[0, :, (at + 3) // 4].float().cpu()
            planes = torch.from_numpy(np.ascontiguousarray(picture(at).transpose(2, 0, 1), np.float32))[None]
            known.append(latent.flatten(1).T)
            colours.append(F.interpolate(planes, tuple(latent.shape[1:]), mode="area")[0].flatten(1).T)
        x, y = torch.cat(known).double(), torch.cat(colours).double()
        self._mean, self._colour = x.mean(0), y.mean(0)
        x, y = x - self._mean, y - self._colour
        self._map = torch.linalg.solve(x.T @ x + _RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.float64), x.T @ y)

    def __call__(self, latents: torch.Tensor, frame: int) -> np.ndarray:
        """(h / 8, w / 8, 3) float32 codes in [0, 1] of a frame."""
        latent = latents[0, :, (frame + 3) // 4].double().cpu()
        codes = torch.einsum("chw,ck->hwk", latent - self._mean[:, None, None], self._map) + self._colour
        return codes.clamp(0, 1).float().numpy()
