# SPDX-License-Identifier: Apache-2.0
"""The parts of the model from a folder in diffusers' layout: safetensors alone, and nothing from any network.

The text encoder is by far the largest part of the small model and is needed only for words that were not met before, so it is read
apart and let go again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanVACEPipeline, WanVACETransformer3DModel

#: Tokens of a prompt; what is longer is cut off by the tokenizer.
TOKENS = 512
#: How the family predicts, as its own UniPC settings say too. Those of a plain Euler scheduler don't say it: it knows nothing else.
FLOW: Dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


def load(folder: Path, dtype: torch.dtype) -> WanVACEPipeline:
    """The pipeline without tokenizer and text encoder, on the processor. dtype: of the transformers; the VAE is always float32.

    Raises OSError or ValueError when a part is not there or is no safetensors.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    how: Dict[str, Any] = {"local_files_only": True, "use_safetensors": True}

    def transformer(name: str):
        if not index.get(name, [None])[0]:
            return None
        return WanVACETransformer3DModel.from_pretrained(folder, subfolder=name, torch_dtype=dtype, **how)

    pipe = WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=AutoencoderKLWan.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32, **how),
        scheduler=UniPCMultistepScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True, **FLOW),
        transformer=transformer("transformer"),
        transformer_2=transformer("transformer_2"),
        boundary_ratio=index.get("boundary_ratio"),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def read_text_encoder(pipe: WanVACEPipeline, folder: Path, device: str | torch.device, dtype: torch.dtype) -> None:
    """Gives the pipeline its tokenizer and text encoder; `drop_text_encoder` takes them away."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    how: Dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    encoder = UMT5EncoderModel.from_pretrained(folder, subfolder="text_encoder", torch_dtype=dtype, **how)
    tokenizer = AutoTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    pipe.register_modules(tokenizer=tokenizer, text_encoder=encoder.to(device).eval())


def drop_text_encoder(pipe: WanVACEPipeline) -> None:
    pipe.register_modules(tokenizer=None, text_encoder=None)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@torch.no_grad()
def embedding(pipe: WanVACEPipeline, prompt: str) -> torch.Tensor:
    """(1, TOKENS, width) of a prompt; the pipeline has its text encoder."""
    device = pipe.text_encoder.device
    return pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=TOKENS, device=device)[0]
