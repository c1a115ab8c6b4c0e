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
from platebridge.errors import ModelError

#: Tokens of a prompt; what is longer is cut off by the tokenizer.
TOKENS = 512
_ANOTHER_COPY = "Take another copy of the model; `platebridge models list` shows where this one lies."
#: How the family predicts, as its own UniPC settings say too. Those of a plain Euler scheduler don't say it: it knows nothing else.
FLOW: Dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


def load(folder: Path, dtype: torch.dtype) -> WanVACEPipeline:
    """The pipeline without tokenizer and text encoder, on the processor. dtype: of the transformers; the VAE is always float32.

    Raises OSError or ValueError when a part is not there or is no safetensors, ModelError when it lacks weights.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))

    def transformer(name: str):
        if not index.get(name, [None])[0]:
            return None
        return _whole(WanVACETransformer3DModel, folder, name, dtype)

    pipe = WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=_whole(AutoencoderKLWan, folder, "vae", torch.float32),
        scheduler=UniPCMultistepScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True, **FLOW),
        transformer=transformer("transformer"),
        transformer_2=transformer("transformer_2"),
        boundary_ratio=index.get("boundary_ratio"),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def read_text_encoder(pipe: WanVACEPipeline, folder: Path, device: str | torch.device, dtype: torch.dtype) -> None:
    """Gives the pipeline its tokenizer and text encoder; `drop_text_encoder` takes them away. Raises ModelError when they can't be read."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    try:
        # transformers raises a RuntimeError that names no weight for one of another shape, or lists it if it may; diffusers names it
        encoder = _whole(UMT5EncoderModel, folder, "text_encoder", dtype, ignore_mismatched_sizes=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as problem:
        said = (str(problem) or type(problem).__name__).splitlines()[0][:200].rstrip(".")
        raise ModelError("The model's text encoder and tokenizer can't be read (%s)." % said, _ANOTHER_COPY) from problem
    pipe.register_modules(tokenizer=tokenizer, text_encoder=encoder.to(device).eval())


def drop_text_encoder(pipe: WanVACEPipeline) -> None:
    pipe.register_modules(tokenizer=None, text_encoder=None)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _whole(kind: Any, folder: Path, part: str, dtype: torch.dtype, **how: Any) -> Any:
    """A network, every weight of which is in its files: diffusers and transformers make up by chance what isn't, and only log it."""
    made, told = kind.from_pretrained(
        folder, subfolder=part, torch_dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True, **how
    )
    other = sorted(told["mismatched_keys"])
    if other:
        said = "In %s the weights of %s are of another shape than its settings say: %s." % (folder, part, other[0][0])
        raise ModelError(said, _ANOTHER_COPY)
    absent = sorted(told["missing_keys"])
    if absent:
        more = " and %d more" % (len(absent) - 1) if absent[1:] else ""
        raise ModelError("The files of %s in %s lack weights: %s%s." % (part, folder, absent[0], more), _ANOTHER_COPY)
    return made


def pieces(pipe: WanVACEPipeline, prompt: str) -> int:
    """How many tokens a prompt is, of which TOKENS are read."""
    return len(pipe.tokenizer(" ".join(prompt.split())).input_ids)


@torch.no_grad()
def embedding(pipe: WanVACEPipeline, prompt: str) -> torch.Tensor:
    """(1, TOKENS, width) of a prompt; the pipeline has its text encoder."""
    device = pipe.text_encoder.device
    return pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=TOKENS, device=device)[0]
