# SPDX-License-Identifier: Apache-2.0
"""LoRAs: small files that bend a large model towards a look, a curve or fewer steps. A folder, a strength, a hash.

    <models>/loras/collapse.safetensors      chosen as "collapse:0.8", several with commas

    chosen = loras.chosen("collapse:0.8, few-steps:0.53")      # found, hashed, or ModelError
    loras.merge(pipe, chosen)                                  # on a pipeline that was just loaded
    take["loras"] = loras.facts(chosen)

They are added into the weights once, in float32, before anything is cast or moved: then they cost nothing per step, and go with every
plan. Another strength loads the model again. Knows no planner and no takes.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import torch
from platebridge.errors import ModelError, RequestError

from . import layout, store

FOLDER = "loras"
#: Strengths beyond this are a slip of the hand: pictures fall apart well before.
STRONGEST = 2.0
#: Which transformer a LoRA is for, where there are two: the one for high noise comes first in time.
EXPERTS = {"high": ("transformer",), "low": ("transformer_2",), "": ("transformer", "transformer_2")}


@dataclass(frozen=True)
class Lora:
    """One that was chosen. `expert`: "high", "low", or "" for every transformer there is."""

    name: str
    strength: float
    expert: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Change:
    """What one LoRA adds to one tensor of a network: (up, down), whose product it is, or (bias,); and its strength."""

    factors: Tuple[torch.Tensor, ...]
    scale: float

    def whole(self, shape: torch.Size) -> torch.Tensor:
        """As large as the tensor, float32."""
        return _product([factor.float() for factor in self.factors], self.scale, shape)

    def fits(self, shape: torch.Size) -> None:
        """Raises RuntimeError or IndexError where `whole` would. Nothing is multiplied."""
        _product([torch.empty(factor.shape, device="meta") for factor in self.factors], self.scale, shape)


def folder() -> Path:
    return store.root() / FOLDER


def names() -> List[str]:
    """Those that are here."""
    return sorted(path.stem for path in folder().glob("*.safetensors")) if folder().is_dir() else []


def few_steps(model: str, strength: float) -> str:
    """How the few-step LoRA of a model is chosen, if it is here: few-steps-MODEL, or few-steps-MODEL-high and -low for two experts."""
    name, here = "few-steps-" + model, names()
    if name in here:
        return "%s:%g" % (name, strength)
    pair = ["%s-%s" % (name, expert) for expert in ("high", "low")]
    return ", ".join("%s:%g/%s" % (one, strength, one.rpartition("-")[2]) for one in pair) if set(pair) <= set(here) else ""


def chosen(text: str) -> Tuple[Lora, ...]:
    """What "collapse:0.8, few-steps:0.53/low" names, hashed; empty text is none. Raises RequestError (the words), ModelError (a file)."""
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        named, _, expert = item.partition("/")
        name, colon, typed = named.partition(":")
        name, expert = name.strip(), expert.strip()
        try:
            strength = float(typed) if colon else 1.0
        except ValueError:
            strength = float("nan")
        if not -STRONGEST <= strength <= STRONGEST or expert not in EXPERTS:
            mend = "Write name:strength, from -%g to %g; where there are two experts, name:strength/high or /low." % (STRONGEST, STRONGEST)
            raise RequestError("The LoRA %r is not understood." % item, mend)
        found.append(Lora(name, strength, expert, *_file(name)))
    twice = [lora.name for at, lora in enumerate(found) if (lora.name, lora.expert) in [(o.name, o.expert) for o in found[:at]]]
    if twice:
        raise RequestError("The LoRA %s is named twice." % twice[0], "Name it once, with the sum of its strengths.")
    return tuple(found)


def facts(loras: Sequence[Lora]) -> List[Dict[str, Any]]:
    """For take.json and for cache keys: what was in the weights, by content."""
    return [{"name": lora.name, "strength": lora.strength, "expert": lora.expert, "sha256": lora.sha256} for lora in loras]


@torch.no_grad()
def merge(pipe: Any, loras: Sequence[Lora]) -> Dict[str, int]:
    """Adds them to the weights of a pipeline on the processor. Gives how many layers each touched.

    The sum over all of them is made in float32 and rounded once to the weights' type, one weight at a time: all products of a large
    model's LoRA together would take as much as its weights in float32. Raises ModelError when one is for another model; then the pipeline
    is as it was.
    """
    added: Dict[Tuple[str, str], List[Change]] = defaultdict(list)
    touched: Dict[str, int] = defaultdict(int)
    for lora in loras:
        if lora.strength == 0.0:
            continue
        state = _state(pipe, lora)
        for part in EXPERTS[lora.expert]:
            if getattr(pipe, part, None) is None:
                if lora.expert:
                    said = "The LoRA %s is for the %s-noise expert, and this model has one alone." % (lora.name, lora.expert)
                    raise ModelError(said, "Leave /%s out." % lora.expert)
                continue
            layers = _changes(getattr(pipe, part), part, lora, state)
            for place, change in layers.items():
                added[part, place].append(change)
            touched[lora.name] += len({place.rpartition(".")[0] for place in layers})
    for (part, place), changes in added.items():
        weight = getattr(pipe, part).get_parameter(place)
        whole = changes[0].whole(weight.shape)
        for change in changes[1:]:
            whole = whole + change.whole(weight.shape)
        weight.copy_((weight.float() + whole.to(weight.device)).to(weight.dtype))
    return dict(touched)


def _file(name: str) -> Tuple[Path, str]:
    """Where a LoRA lies, and its SHA-256."""
    path = folder() / (name + ".safetensors")
    if not name or name[0] == "." or set(name) & set('/\\:*?"<>|\0') or not path.is_file():
        pickled = next((p.name for p in folder().glob(name + ".*") if layout.is_pickle(p.name)), None) if name.isidentifier() else None
        if pickled:
            raise ModelError("The LoRA %s is a pickle, which runs code when it is read." % pickled, "Only safetensors are loaded.")
        there = ", ".join(names()) or "none"
        raise ModelError("There is no LoRA called %r." % name, "Put %s.safetensors into %s; there is %s." % (name, folder(), there))
    try:
        wanted, size = layout.length(path)
    except (OSError, ValueError) as problem:
        raise ModelError("The LoRA %s is no safetensors file (%s)." % (name, problem), "Copy it again.") from problem
    if wanted != size:
        raise ModelError("The LoRA %s has %d bytes where its header says %d." % (name, size, wanted), "It is half a copy: copy it again.")
    return path, store.hash_of(path, lambda done: None, lambda: False)


def _changes(network: Any, part: str, lora: Lora, state: Mapping[str, torch.Tensor]) -> Dict[str, Change]:
    """What a LoRA adds to each weight and bias of a transformer. Each has been seen to fit."""
    scaled = _Scales(lora.path)
    halves: Dict[str, Dict[str, torch.Tensor]] = defaultdict(dict)
    for label, tensor in state.items():
        prefix, _, rest = label.partition(".")
        if prefix not in ("transformer", "transformer_2"):
            rest = label
        elif prefix == "transformer_2" and part != "transformer_2":
            continue
        place, lora_word, half = rest.rpartition(".lora_")
        if not lora_word or half not in ("A.weight", "B.weight", "B.bias"):
            raise _foreign(lora, label)
        halves[place][half] = tensor
    changes = {}
    for place, half in halves.items():
        found = {place + ".weight": ("B.weight", "A.weight"), **({place + ".bias": ("B.bias",)} if "B.bias" in half else {})}
        for name, factors in found.items():
            try:
                changes[name] = Change(tuple(half[factor] for factor in factors), scaled.at(place, half) * lora.strength)
                changes[name].fits(network.get_parameter(name).shape)
            except (AttributeError, KeyError, RuntimeError, IndexError, TypeError, ValueError) as problem:
                raise _foreign(lora, place) from problem
    if not changes:
        raise _foreign(lora, "no layer")
    return changes


def _product(factors: Sequence[torch.Tensor], scale: float, shape: torch.Size) -> torch.Tensor:
    made = factors[0] if len(factors) == 1 else factors[0].flatten(1) @ factors[1].flatten(1)
    return (made * scale).reshape(shape)


def _state(pipe: Any, lora: Lora) -> Dict[str, torch.Tensor]:
    """The file's tensors by diffusers' names, whichever of the usual trainers wrote it; diffusers itself translates."""
    import safetensors.torch

    tensors = safetensors.torch.load_file(str(lora.path))
    broken = next((label for label, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()), None)
    if broken:  # every picture would be empty, hours later and without a word
        raise ModelError("The LoRA %s holds NaN or infinity (%s)." % (lora.name, broken), "Take an earlier step of its training.")
    if any("dora_scale" in label or "lora_magnitude_vector" in label for label in tensors):  # diffusers would leave that out and log it
        raise ModelError("The LoRA %s is a DoRA, which can't be added into weights." % lora.name, "Take one that is a plain LoRA.")
    try:
        return type(pipe).lora_state_dict(tensors)
    except (ValueError, KeyError, AttributeError, IndexError) as problem:
        if any("vace_blocks" in label for label in tensors):  # diffusers translates the trunk's names alone
            said = "The LoRA %s names layers of the control branch (vace_blocks) as the original code does, which is not read."
            raise ModelError(said % lora.name, "Take it with diffusers' names, or one that was trained on the trunk alone.") from problem
        raise _foreign(lora, str(problem)[:80]) from problem


class _Scales:
    """How strongly a file's halves count at strength 1: alpha over rank, as peft has it, where the file says so apart from its tensors;
    else 1, as the halves then hold it. Rank and alpha may differ from layer to layer, and rsLoRA divides by the rank's root."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            said = json.loads(file.read(int.from_bytes(file.read(8), "little"))).get("__metadata__") or {}
        try:
            self._about = json.loads(said["lora_adapter_metadata"])
            self._alpha = float(self._about["transformer.lora_alpha"])
        except (KeyError, ValueError, TypeError):
            self._about = {}

    def at(self, place: str, half: Mapping[str, torch.Tensor]) -> float:
        """place: of a layer in the network; half: its tensors."""
        if not self._about:
            return 1.0
        rank, alphas = max(1, len(half["A.weight"])), self._about.get("transformer.alpha_pattern") or {}
        if not all(re.fullmatch(r"[\w.]+", named) for named in alphas):  # peft takes regular expressions; a stranger's could run for ever
            raise ValueError("alpha_pattern")
        alpha = next((alpha for named, alpha in alphas.items() if ("." + place).endswith("." + named)), self._alpha)
        return float(alpha) / (rank**0.5 if self._about.get("transformer.use_rslora") else rank)


def _foreign(lora: Lora, where: str) -> ModelError:
    return ModelError("The LoRA %s does not belong to this model (%s)." % (lora.name, where), "Take one that was trained for it.")
