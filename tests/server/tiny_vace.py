# SPDX-License-Identifier: Apache-2.0
"""A whole WanVACEPipeline with tiny random weights, made by the test that wants it: diffusers' and transformers' own classes.

Every part is the real one at a reduced size, saved as its own save_pretrained does, so what reads it reads the real thing too.
"""

from __future__ import annotations

from pathlib import Path

import torch

#: Text width and words of the stand-in for UMT5.
WIDTH, PIECES = 32, "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:-()'\"!?/"


def tokenizer():
    """Pieces of single letters, with T5's own special tokens; needs no file from anywhere."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [(piece, -4.0) for piece in PIECES]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def make(folder: Path, *, heads: int = 2, layers: int = 3, second: bool = False, base: int = 4, seed: int = 0) -> Path:
    """Writes the pipeline's folder. heads, layers, base: how large; second: with a low-noise transformer, as Wan 2.2 has."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanVACEPipeline, WanVACETransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(seed)

    def transformer():
        return WanVACETransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=heads, attention_head_dim=12, in_channels=16, out_channels=16, text_dim=WIDTH,
            freq_dim=32, ffn_dim=48, num_layers=layers, vace_layers=list(range(0, layers, 2)), vace_in_channels=96, rope_max_seq_len=128,
        )  # fmt: skip

    config = UMT5Config(
        vocab_size=len(PIECES) + 3, d_model=WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=1
    )
    pipe = WanVACEPipeline(
        tokenizer=tokenizer(),
        text_encoder=UMT5EncoderModel(config).eval(),
        vae=AutoencoderKLWan(base_dim=base, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval(),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        transformer=transformer().eval(),
        transformer_2=transformer().eval() if second else None,
        boundary_ratio=0.875 if second else None,
    )
    pipe.save_pretrained(str(folder), safe_serialization=True)
    return folder


def card(name: str) -> dict:
    """A card of one's own for it, as a studio writes one."""
    return {
        "name": name, "kind": "picture", "licence": "none", "summary": "Random.", "trained_on": "Nothing.", "pipeline": "WanVACEPipeline",
        "limits": {"multiple_of": 16, "frames": "4k+1", "window": 81, "sizes": [[96, 64], [64, 96]]},
        "layout": {
            "transformer": {"library": "diffusers", "classes": ["WanVACETransformer3DModel"], "config": {"in_channels": 16}},
            "vae": {"library": "diffusers", "classes": ["AutoencoderKLWan"], "config": {"z_dim": 16}},
            "text_encoder": {"library": "transformers", "classes": ["UMT5EncoderModel"], "config": {}},
            "tokenizer": {"library": "transformers", "classes": ["PreTrainedTokenizerFast", "TokenizersBackend"], "config": {}},
            "scheduler": {"library": "diffusers", "classes": ["UniPCMultistepScheduler"], "config": {}},
        },
    }  # fmt: skip
