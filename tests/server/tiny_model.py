# SPDX-License-Identifier: Apache-2.0
"""A folder that has the shape of a large model and a few numbers for weights: what taking in and fetching are tested on."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch
from platebridge_server.models import cards

WEIGHTED = ("transformer", "transformer_2", "vae", "text_encoder")


def make_model(folder: Path, name: str = "wan-vace-1.3b", *, seed: int = 0, numbers: int = 64, shards: int = 1) -> Path:
    """A folder that a card of ours recognises. numbers: float32 in each file of weights; shards: files of the transformer's."""
    card = cards.card(name)
    folder.mkdir(parents=True)
    index = {"_class_name": card["pipeline"], "_diffusers_version": "0.36.0"}
    if "transformer_2" in card["layout"]:
        index["boundary_ratio"] = 0.875
    for component, said in card["layout"].items():
        place = folder / component
        place.mkdir()
        index[component] = [said["library"], said["classes"][0]]
        config = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}.get(component, "config.json")
        label = {"tokenizer": "tokenizer_class"}.get(component, "_class_name")
        about = {"architectures": said["classes"][:1]} if component == "text_encoder" else {label: said["classes"][0]}
        (place / config).write_text(json.dumps({**about, **said["config"]}))
        if component in WEIGHTED:
            stem = "model" if component == "text_encoder" else "diffusion_pytorch_model"
            _weights(place, stem, seed, numbers, shards if component.startswith("transformer") else 1)
    (folder / "tokenizer" / "spiece.model").write_bytes(b"pieces")
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("A model.")
    return folder


def _weights(place: Path, stem: str, seed: int, numbers: int, shards: int) -> None:
    names = [stem + ".safetensors"] if shards == 1 else ["%s-%05d-of-%05d.safetensors" % (stem, at + 1, shards) for at in range(shards)]
    made = torch.Generator().manual_seed(seed)
    for at, name in enumerate(names):
        safetensors.torch.save_file({"layer.%d" % at: torch.randn(numbers, generator=made)}, str(place / name))
    if shards > 1:
        index = {"weight_map": {"layer.%d" % at: name for at, name in enumerate(names)}}
        (place / (stem + ".safetensors.index.json")).write_text(json.dumps(index))
