# SPDX-License-Identifier: Apache-2.0
"""Stopping a run from inside: within a step and within encoding and decoding, by an exception that a hook raises.

diffusers' own `_interrupt` lets the loop idle out and still decodes the half-noised latents, as if they were a result. An exception
leaves at once, and whatever a run needs is set anew when the next begins.
"""

from __future__ import annotations

import contextlib
from typing import Callable, Iterator

from platebridge.errors import Cancelled
from torch import nn


@contextlib.contextmanager
def watched(modules, cancelled: Callable[[], bool]) -> Iterator[None]:
    """While it lasts, `cancelled` is asked before each of `modules` runs; once it says so, Cancelled is raised there."""

    def ask(*_: object) -> None:
        if cancelled():
            raise Cancelled()

    hooks = [module.register_forward_pre_hook(ask) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def places(pipe) -> list[nn.Module]:
    """Every place in a pipeline where a run can be left: each block of its transformers, each latent frame of its VAE's two ways."""
    found: list[nn.Module] = []
    for transformer in (pipe.transformer, pipe.transformer_2):
        if transformer is not None:
            found += [*transformer.vace_blocks, *transformer.blocks]
    if pipe.text_encoder is not None:
        found += list(pipe.text_encoder.encoder.block)
    return [*found, pipe.vae.encoder, pipe.vae.decoder]
