# SPDX-License-Identifier: Apache-2.0
"""Blocks that are skipped where little has changed since the step before: diffusers' FirstBlockCache, made right for VACE.

The cache runs a transformer's first block, and where its change is nearly that of the step before, adds what all other blocks changed
then. In VACE the control is added between those blocks: diffusers' cache has it in what it adds, and the transformer adds it once more.
So while blocks are skipped the control's strength is put to nothing, but for what comes after the last block. The branch that reads the
control is never skipped, so a sixth (14B) to a third (1.3B) of the work stays. tests/server/test_vace_skipping.py shows each of these.
"""

from __future__ import annotations

import contextlib
from typing import Iterator, Sequence

import torch
from diffusers import FirstBlockCacheConfig
from diffusers.hooks.first_block_cache import _FBC_LEADER_BLOCK_HOOK


@contextlib.contextmanager
def on(networks: Sequence, threshold: float) -> Iterator[None]:
    """While it lasts these transformers (None: there is none) skip blocks. threshold: relative change of the first block's; 0 is never."""
    there = [network for network in networks if network is not None] if threshold > 0 else []
    try:
        for network in there:
            network.enable_cache(FirstBlockCacheConfig(threshold=threshold))
        yield
    finally:
        for network in there:
            if network.is_cache_enabled:
                network.disable_cache()  # its memory of another run, or of half a step, goes with it


@contextlib.contextmanager
def control_kept(network, strength: torch.Tensor) -> Iterator[torch.Tensor]:
    """For one call of a transformer: the control's strength at each of its layers, which is nothing where it is in the cache already."""
    if not network.is_cache_enabled:
        yield strength
        return
    scale, first = strength.clone(), network.blocks[0]
    inner = [n for n, layer in enumerate(network.config.vace_layers) if layer < len(network.blocks) - 1]

    def ran(*_: object) -> None:
        if skipped(network):
            scale[inner] = 0.0  # the transformer reads it when it comes to a layer

    hook = first.register_forward_hook(ran)
    try:
        yield scale
    finally:
        hook.remove()


def skipped(network) -> bool:
    """Whether all blocks but the first are skipped in the call that is under way."""
    return not network.blocks[0]._diffusers_hook.get_hook(_FBC_LEADER_BLOCK_HOOK).state_manager.get_state().should_compute
