# SPDX-License-Identifier: Apache-2.0
"""How a large model is made to fit: what is free and what is asked for give a plan, said before anything is loaded.

    plans = planner.plans(model.card, Work(832, 480, 81), Memory.of("cuda:0"))    # ModelError says what to lower when none fits
    pipe = parts.load(model.folder, plans[0].torch_dtype)
    place = planner.apply(plans[0], pipe, "cuda:0")
    place.turn("vae")                                                             # before it is called; then "transformer"

What leaves the picture as it is comes first, and of that the quicker; what changes it a little (tiles, 8-bit weights) comes after it, and
shorter windows last. Where a draft is asked for, attention and compiling are chosen for speed.
Figures come from the card and from counting what a forward pass holds (tests/server/test_planner.py); no GPU is asked for here.
Knows no shot, no files and no sockets.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar

import psutil
import torch
from platebridge.errors import ModelError

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Of what is free: the driver's own, workspaces of kernels, and what allocators can't use for its shape.
SLACK, SHARE = 1_000_000_000, 0.92
#: Bytes held per pixel of a frame while the VAE, float32, reads or writes four frames; and of a tile of 256 pixels, whatever the frame.
#: Counted on diffusers 0.42: 19 560 and 14 130 per pixel, 1.39 GB and 1.01 GB.
VAE_PIXEL, VAE_TILE = 19_600, 1_400_000_000
#: In tiles the whole clip, float32, is put together in the computer's memory, this many times it at most: tiles of 256 pixels, 192 apart,
#: 16/9; their rows, the picture of those, and what is cut to [-1, 1] of it, once each. Counted: 4.67 to 4.75.
VAE_GATHERED = 3 + 16 / 9
#: A transformer holds this many times (tokens x width), each of the blocks' inputs kept for the VACE branch one more, and its feed-forward
#: layer 1.6 times (tokens x its width). Counted: 32.1 times in all for the 1.3B, 20.2 for the 14B.
TIMES, FEED_FORWARD = 8.0, 1.6
#: Of the weights, what stays on the card when blocks come one by one: two blocks at once, and everything that is no block.
BLOCKS_AT_ONCE = 2
#: Passes of the network after which compiling it has paid for itself.
WORTH_COMPILING = 60
#: Frames at once, where those that are asked for don't fit: 4k + 1. Fewer give a cloud's movement too little to go by.
SHORTER = (65, 49, 33)


@dataclass(frozen=True)
class Memory:
    """What is free, in bytes, and what the device can do. `kind`: "cuda" or "cpu"; on a processor `device` is the host's."""

    kind: str
    device: int
    host: int
    bfloat16: bool = True
    flash: bool = False

    @classmethod
    def of(cls, device: str, ours: int = 0) -> Memory:
        """As it is now. What torch holds on a card is counted as free: only a model that is to give way, or to be used again, lies there.

        ours: bytes of the computer's memory that such a model holds. On a processor float32: it is quicker there than bfloat16.
        """
        host = psutil.virtual_memory().available + ours
        if torch.device(device).type != "cuda":
            return cls("cpu", host, host, False)
        free, _ = torch.cuda.mem_get_info(device)
        found = importlib.util.find_spec("flash_attn") is not None
        return cls("cuda", free + torch.cuda.memory_reserved(device), host, torch.cuda.is_bf16_supported(), found)


@dataclass(frozen=True)
class Work:
    """What is asked for. width, height: what the network sees at once, in pixels: the crop's, or those of a tile of it. frames: of one
    window, 4k+1, reference images not counted. whole: (width, height) of the crop, where it is painted in tiles. clip: frames of the whole
    shot; 0 is one window.

    passes: how often the network is called in all. quick: the last bits may differ from a plain diffusers script, for speed.
    """

    width: int
    height: int
    frames: int = 81
    references: int = 0
    passes: int = 100
    quick: bool = False
    whole: Optional[Tuple[int, int]] = None
    clip: int = 0

    @property
    def pixels(self) -> int:
        """Of a whole frame: what the VAE takes."""
        return self.width * self.height if self.whole is None else self.whole[0] * self.whole[1]

    @property
    def tokens(self) -> int:
        return ((self.frames - 1) // 4 + 1 + self.references) * (self.height // 16) * (self.width // 16)


@dataclass(frozen=True)
class Plan:
    """offload: "none" (everything on the device), "parts" (one network at a time) or "blocks" (one block at a time, the next on its way).

    device_bytes, host_bytes: needed, at the worst moment. why: sentences. changes: what differs from the plain picture, or "". frames: of
    one window, where that is fewer than was asked for; else 0.
    """

    dtype: str
    offload: str
    fp8: bool
    tiles: bool
    attention: str
    compile: bool
    text_on_device: bool
    device_bytes: int
    host_bytes: int
    why: Tuple[str, ...] = ()
    changes: str = ""
    frames: int = 0

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    def said(self) -> str:
        """One line for the log, the take and the artist."""
        how = {"none": "all of it on the device", "parts": "one network on the device at a time", "blocks": "block by block"}[self.offload]
        more = [word for word, yes in (("8-bit weights", self.fp8), ("VAE in tiles", self.tiles), ("compiled", self.compile)) if yes]
        more += ["%d frames at once" % self.frames] if self.frames else []
        more += [self.attention + " attention"] if self.attention != "native" else []
        return "%s, %s (%.1f GB there, %.1f GB here)." % (
            self.dtype,
            ", ".join([how, *more]),
            self.device_bytes / 1e9,
            self.host_bytes / 1e9,
        )


# --- what a thing needs ------------------------------------------------------------------------------------------------------


def activations(card: Mapping[str, Any], work: Work, size: int) -> int:
    """Bytes that one pass of the transformer holds beside its weights. size: bytes per number."""
    net = card["network"]
    width = net["heads"] * net["head_size"]
    times = TIMES + net["vace_blocks"] + FEED_FORWARD * net["feed_forward"] / width
    return int(work.tokens * width * size * times)


def vae_bytes(card: Mapping[str, Any], work: Work, tiles: bool) -> int:
    """Bytes that reading or writing frames takes at most, the VAE's own weights with it."""
    return card["network"]["vae_parameters"] * 4 + (VAE_TILE if tiles else VAE_PIXEL * work.pixels)


def gathered_bytes(work: Work, tiles: bool) -> int:
    """Bytes of the computer's memory where tiles become frames: all of the shot at once."""
    return int(VAE_GATHERED * work.pixels * (work.clip or work.frames) * 3 * 4) if tiles else 0


def weights(card: Mapping[str, Any], size: int) -> int:
    """Bytes of one transformer."""
    return card["network"]["transformer_parameters"] * size


def _on_device(card: Mapping[str, Any], plan: Plan, work: Work, memory: Memory) -> Tuple[int, int]:
    """(device, host) bytes that a plan needs. A processor's two are one.

    Weights that lie on disk in 16 bits are mapped and not read while they are only loaded (measured: 1.00 GB of them took 0.02 GB), and
    in 8 bits take half of their size; the host's figure is what stays there, or passes through where they are converted.
    """
    net = card["network"]
    number = {"float32": 4}.get(plan.dtype, 2)
    stored = 1 if plan.fp8 else number
    experts, one = net["experts"], weights(card, stored)
    working, vae, gathered = activations(card, work, number), vae_bytes(card, work, plan.tiles), gathered_bytes(work, plan.tiles)
    block = max(net["block_parameters"], net["vace_block_parameters"])
    cast = block * number if plan.fp8 else 0  # the block at work, in the precision it computes in
    own_vae = net["vae_parameters"] * 4
    if memory.kind == "cpu":
        text = net["text_encoder_parameters"] * number
        everything = experts * one + max(own_vae + working + cast, vae + gathered)
        return max(everything, text), 0
    if plan.offload == "none":
        return experts * one + max(own_vae + working + cast, vae), max(one, gathered)
    if plan.offload == "parts":
        return max(one + working + cast, vae), experts * one + own_vae + gathered
    outside = net["transformer_parameters"] - net["blocks"] * net["block_parameters"] - net["vace_blocks"] * net["vace_block_parameters"]
    resident = outside * number * experts + BLOCKS_AT_ONCE * block * stored + cast
    return resident + max(own_vae + working, vae), experts * one + gathered


# --- choosing ----------------------------------------------------------------------------------------------------------------


def plans(card: Mapping[str, Any], work: Work, memory: Memory) -> List[Plan]:
    """Every plan that fits, the best first. Raises ModelError that says what to lower when none does."""
    found = [plan for plan in _ladder(card, work, memory) if _fits(plan, memory)]
    if not found:
        raise _nothing_fits(card, work, memory)
    return found


def plan(card: Mapping[str, Any], work: Work, memory: Memory) -> Plan:
    """The best that fits; see plans."""
    return plans(card, work, memory)[0]


def next_after(failed: Plan, left: Sequence[Plan]) -> Optional[Plan]:
    """The plan to try once more with when memory ran out on `failed`: the next that takes a tenth less of the device at least."""
    return next((plan for plan in left if plan.device_bytes <= 0.9 * failed.device_bytes), None)


def _ladder(card: Mapping[str, Any], work: Work, memory: Memory) -> Iterator[Plan]:
    """All plans, whether they fit or not, the best first."""
    dtype = "bfloat16" if memory.bfloat16 else "float16" if memory.kind == "cuda" else "float32"
    offloads = ("none", "parts", "blocks") if memory.kind == "cuda" else ("none",)
    ways = [(offload, False, False) for offload in offloads]
    ways += [(offload, False, True) for offload in offloads]
    if memory.kind == "cuda":
        ways += [(offload, True, tiles) for tiles in (False, True) for offload in offloads]
    for frames in (work.frames, *(fewer for fewer in SHORTER if fewer < work.frames)):
        window = replace(work, frames=frames, clip=work.clip or work.frames)
        for offload, fp8, tiles in ways:
            yield _planned(card, window, memory, dtype, offload, fp8, tiles, 0 if frames == work.frames else frames)


def _planned(
    card: Mapping[str, Any], work: Work, memory: Memory, dtype: str, offload: str, fp8: bool, tiles: bool, frames: int
) -> Plan:
    attention = "flash" if work.quick and memory.flash and dtype != "float32" else "native"
    compiled = work.quick and memory.kind == "cuda" and offload != "blocks" and not fp8 and work.passes >= WORTH_COMPILING
    made = Plan(dtype, offload, fp8, tiles, attention, compiled, False, 0, 0, frames=frames)
    device, host = _on_device(card, made, work, memory)
    text = card["network"]["text_encoder_parameters"] * (4 if dtype == "float32" else 2)
    resident = device if offload == "none" else 0  # otherwise the networks can step aside while words are read
    made = replace(made, device_bytes=device, host_bytes=host)
    made = replace(made, text_on_device=memory.kind == "cuda" and resident + text <= _usable(memory))
    return replace(made, why=tuple(_why(made, work, memory)), changes=_changes(made))


def _usable(memory: Memory) -> int:
    return int(memory.device * SHARE) - SLACK


def _fits(plan: Plan, memory: Memory) -> bool:
    return plan.device_bytes <= _usable(memory) and plan.host_bytes <= memory.host * SHARE


def _why(plan: Plan, work: Work, memory: Memory) -> Iterator[str]:
    free = "%.1f GB are free on the device and %.1f GB here" % (memory.device / 1e9, memory.host / 1e9)
    of = " in tiles of %d x %d" % (work.width, work.height) if work.whole else ""
    size = work.whole or (work.width, work.height)
    yield "%s; %d x %d%s, %d frames at once, %d tokens." % (free, *size, of, work.frames, work.tokens)
    if plan.frames:
        yield "Windows of %d frames: with more at once nothing fits." % plan.frames
    if plan.dtype != "bfloat16":
        yield "%s: this device is slow or unable in bfloat16." % plan.dtype
    if plan.offload == "parts":
        yield "One network at a time, as they don't fit together: the picture is the same, changing over takes seconds."
    if plan.offload == "blocks":
        yield "Block by block, the next on its way while one works: the picture is the same, small pictures take longer."
    if plan.tiles:
        yield "The VAE works in tiles of 256 pixels that are blended: whole frames don't fit."
    if plan.fp8:
        yield "Weights are kept in 8 bits: in 16 they don't fit."
    if plan.attention != "native":
        yield "%s attention: it is here, and a draft may differ in its last bits." % plan.attention.capitalize()
    if plan.compile:
        yield "Compiled: %d passes of the network repay it, and a draft may differ in its last bits." % work.passes


def _changes(plan: Plan) -> str:
    found = [what for what, yes in (("VAE tiles", plan.tiles), ("8-bit weights", plan.fp8), ("compiled", plan.compile)) if yes]
    found += [plan.attention + " attention"] if plan.attention != "native" else []
    return ", ".join(found + (["windows of %d frames" % plan.frames] if plan.frames else []))


def _nothing_fits(card: Mapping[str, Any], work: Work, memory: Memory) -> ModelError:
    """What is lacking, and the first lighter thing that would fit."""
    least = min(_ladder(card, work, memory), key=lambda plan: (max(0, plan.device_bytes - _usable(memory)), plan.host_bytes))
    lacking = []
    if least.device_bytes > _usable(memory):
        needed = (least.device_bytes + SLACK) / SHARE
        lacking.append("%.1f GB on the device, where %.1f GB are free" % (needed / 1e9, memory.device / 1e9))
    if least.host_bytes > memory.host * SHARE:
        lacking.append("%.1f GB of the computer's memory, where %.1f GB are free" % (least.host_bytes / SHARE / 1e9, memory.host / 1e9))
    asked = "%d x %d with %d frames at once" % (*(work.whole or (work.width, work.height)), min(work.frames, SHORTER[-1]))
    return ModelError("%s at %s needs at least %s." % (card["name"], asked, " and ".join(lacking)), _lighter(card, work, memory))


def _lighter(card: Mapping[str, Any], work: Work, memory: Memory) -> str:
    def fits(other: Work) -> bool:
        return any(_fits(plan, memory) for plan in _ladder(card, other, memory))

    for width, height in sorted(card["limits"]["sizes"], key=lambda size: -size[0] * size[1]):
        if width * height < work.pixels and fits(replace(work, width=width, height=height, whole=None)):
            return "It would fit at %d x %d: mask less, or let large crops be shrunk; a draft takes the smallest size." % (width, height)
    return "Close what else is on the device, take a smaller model (`platebridge models list`), or another device (--device)."


# --- doing -------------------------------------------------------------------------------------------------------------------


class Place:
    """A pipeline laid out as its plan says. `turn(part)` before a part is used: "vae", "transformer", "transformer_2"."""

    def __init__(self, plan: Plan, pipe: Any, device: str) -> None:
        self.plan, self.device = plan, torch.device(device)
        self._parts = {name: part for name in ("transformer", "transformer_2", "vae") if (part := getattr(pipe, name, None)) is not None}
        self._hooks: List[Any] = []

    def turn(self, part: str) -> None:
        """This network comes to the device, the others leave it, where there is no room for all. Otherwise nothing happens."""
        if self.plan.offload != "parts":
            return
        for name, network in self._parts.items():
            if name != part:
                network.to("cpu")
        self._parts[part].to(self.device)

    def rest(self) -> None:
        """All of them leave the device where they come by turns: something else needs the room."""
        if self.plan.offload == "parts":
            for network in self._parts.values():
                network.to("cpu")

    def watch(self) -> None:
        """Two experts change over by themselves, wherever the loop calls the other one."""
        for name in ("transformer", "transformer_2"):
            if name in self._parts:
                self._hooks.append(self._parts[name].register_forward_pre_hook(lambda module, args, name=name: self._called(name)))

    def _called(self, name: str) -> None:
        if self._parts[name].device != self.device:
            self.turn(name)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()


def apply(plan: Plan, pipe: Any, device: str) -> Place:
    """Lays a pipeline out that was just loaded to the processor, in plan.torch_dtype with its VAE in float32, and no text encoder.

    Another plan wants the pipeline loaded anew: hooks of group offloading don't come off without traces.
    """
    place = Place(plan, pipe, device)
    transformers = [part for name, part in place._parts.items() if name != "vae"]
    if plan.tiles:
        pipe.vae.enable_tiling()
    for transformer in transformers:
        if plan.fp8:
            transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=plan.torch_dtype)
        if plan.attention != "native":
            transformer.set_attention_backend(plan.attention)
        if plan.offload == "blocks":
            streams = place.device.type == "cuda"
            transformer.enable_group_offload(
                onload_device=place.device,
                offload_device=torch.device("cpu"),
                offload_type="block_level",
                num_blocks_per_group=1,
                use_stream=streams,
                non_blocking=streams,
            )
        elif plan.offload == "none":
            transformer.to(place.device)
        if plan.compile:
            transformer.compile_repeated_blocks()
    if plan.offload == "parts":
        if len(transformers) > 1:
            place.watch()
    else:
        pipe.vae.to(place.device)
    log.info("Plan: %s %s", plan.said(), " ".join(plan.why))
    return place


def generated(
    left: Sequence[Plan],
    make: Callable[[Plan, Optional[int]], Iterator[Tuple[int, T]]],
    warn: Callable[[str], None],
    first_frame: Optional[int] = None,
) -> Iterator[Tuple[int, T]]:
    """What `make(plan, first_frame)` gives, frame by frame; when memory runs out in it, once more by the next plan from where it was.

    Frames that came stay. left: as `plans` gave them. Raises ModelError when the second try runs out, too.
    """
    now: Optional[Plan] = left[0]
    for attempt in (1, 2):
        assert now is not None
        try:
            for frame, made in make(now, first_frame):
                first_frame = frame + 1
                yield frame, made
            return
        except torch.OutOfMemoryError as problem:
            log.warning("Out of memory on plan: %s (%s)", now.said(), str(problem)[:300])
            following = next_after(now, left) if attempt == 1 else None
        # outside the handler: its traceback holds the tensors that memory is wanted from
        let_go()
        if following is None:
            raise ModelError(
                "The device ran out of memory, also with less: %s" % now.said(),
                "The frames that came are kept. Mask less, ask for a draft, or close what else is on the device.",
            )
        warn("The device ran out of memory; it goes on with less: %s" % following.said())
        now = following


def let_go() -> None:
    """Memory that nothing refers to any more is free for the next."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def facts(plan: Plan) -> Dict[str, Any]:
    """For take.json: how it was made, as far as a picture may depend on it."""
    return {"plan": plan.said(), "changes": plan.changes, "why": list(plan.why)}
