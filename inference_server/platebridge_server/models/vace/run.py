# SPDX-License-Identifier: Apache-2.0
"""One run over a scene: words, plate, control and region to finished latents, each made once and kept by what it was made from.

It knows scenes, dials and the cache. It must not know where weights come from, nor what becomes of the pictures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np
import torch
from platebridge.request import PaintSettings

from ... import cache
from ..base import Ears, Scene
from . import conditioning, latents, parts, prompts, watch, windows
from .denoise import Recipe, calls, denoise
from .forming import Projection

#: Raised when the same scene would be told to the model otherwise: what older versions kept is not taken.
VERSION = 1
#: After a look at the forming picture there is none for so many times what it took: quick steps are not slowed by being watched.
LOOK_REST = 100


@dataclass(frozen=True)
class Laid:
    """What is loaded, and how. `hashes`: SHA-256 of each file by name ("vae/config.json"); `weights`: of all. `plan`: planner.Plan or None;
    `loras`: what was added to the weights."""

    folder: Path
    hashes: Mapping[str, str]
    weights: str
    device: str
    plan: Any = None
    loras: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A model ready to run. `place`: planner.Place, which moves its networks in and out; None where all of them stay."""

    pipe: Any
    laid: Laid
    place: Any = None

    @property
    def bytes_here(self) -> int:
        """Bytes of its weights that lie in the computer's memory."""
        networks = [n for n in (self.pipe.transformer, self.pipe.transformer_2, self.pipe.vae) if n is not None]
        return sum(p.numel() * p.element_size() for n in networks for p in n.parameters() if p.device.type == "cpu")

    def turn(self, part: str) -> None:
        """Before a network is used."""
        if self.place is not None:
            self.place.turn(part)

    def rest(self) -> None:
        """Before something large that is no part of it comes to the device for a moment."""
        if self.place is not None:
            self.place.rest()

    def close(self) -> None:
        if self.place is not None:
            self.place.close()


@dataclass
class Run:
    """One run. What is kept is made on the first run and read on the next, and is the same bits. finished: latents of a run that ended
    while they were decoded, by which this one goes on: another plan must not make another picture of half a shot."""

    model: Loaded
    kept: cache.TensorCache
    scene: Scene
    dials: PaintSettings
    recipe: Recipe
    ears: Ears
    finished: Optional[torch.Tensor] = None

    def __post_init__(self) -> None:
        self.pipe, self.laid, self.device = self.model.pipe, self.model.laid, self.model.laid.device
        self.frames = conditioning.clip_frames(self.scene.frames, self.scene.last)
        self.region = conditioning.pooled(lambda i: self.scene.region(self.frames[i]), len(self.frames))
        self.words = prompts.prompt(self.scene.guide, self.dials.prompt)
        self.avoid = prompts.avoided(self.dials.avoid)
        plan = windows.plan(self.latent_frames, self.recipe.window, self.recipe.overlap)
        field = self.latent_frames, self.scene.size[0] // 8, self.scene.size[1] // 8
        self._done, self._total = 0, calls(self.recipe, field) + 3 * self.latent_frames
        told = {
            "prompt": self.words,
            "negative_prompt": self.avoid if self.recipe.guidance > 1.0 else "",
            "recipe": {k: v for k, v in vars(self.recipe).items() if v is not None},
            "clip": {"first": self.frames[0], "frames": len(self.frames), "made_up": len(self.frames) - len(self.scene.frames)},
            **({"references": len(self.scene.references)} if self.scene.references else {}),
            "tiles": len(windows.tiles(field[1:], self.recipe.tile)),
            "joints": [self.frames[max(0, 4 * window.first - 3)] for window in plan[1:]],
        }
        self.ears.told({"painting": told, "joints": told.pop("joints")})

    @property
    def latent_frames(self) -> int:
        return windows.latent_frames(len(self.frames))

    def done(self, pieces: int = 1) -> None:
        self._done += pieces
        self.ears.progress(min(self._done, self._total), self._total)

    def pictures(self, noted: Callable[[torch.Tensor], None] = lambda clean: None) -> Iterator[Tuple[int, np.ndarray]]:
        """Every frame of the scene in order, (h, w, 3) float32 codes in [0, 1], each as soon as it is decoded. noted: hears of the
        finished latents, on the processor."""
        clean = self.clean() if self.finished is None else self.finished.to(self.device)
        noted(clean.cpu())
        self.model.turn("vae")
        with watch.watched(watch.places(self.pipe), self.ears.cancelled):
            for at, picture in enumerate(latents.decode(self.pipe.vae, clean)):
                if at == 0 or at % 4 == 1:  # the first of those that a latent frame codes
                    self.done()
                if at < len(self.scene.frames):
                    yield self.scene.frames[at], picture.permute(1, 2, 0).contiguous().numpy()

    def clean(self) -> torch.Tensor:
        """The finished latents on the device."""
        words = [self._embedding(self.words)] + ([self._embedding(self.avoid)] if self.recipe.guidance > 1.0 else [])
        keys = {"plate": self._plate_key(), "control": self._control_key()}
        if self.scene.references:
            keys["reference"] = self._reference_key()
        final = cache.key(
            "final", **keys, words=[self.words, *([self.avoid] if len(words) > 1 else [])], recipe=vars(self.recipe), **self._who()
        )

        def make() -> Dict[str, torch.Tensor]:
            with watch.watched(watch.places(self.pipe), self.ears.cancelled):
                return {"latents": self._denoised(words, keys)}

        before = self.kept.get(final)
        if before is not None:
            self.done(self._total - self.latent_frames)
        return (before or self.kept.kept(final, make))["latents"].to(self.device)

    def _denoised(self, words, keys) -> torch.Tensor:
        self.model.turn("vae")
        plate = self._latents(keys["plate"], False)
        control = self._latents(keys["control"], True)
        fold = conditioning.fold(self.region, len(self.frames), self.scene.size).to(plate)
        look = Projection(
            plate, lambda i: np.where(self.region(i)[..., None], conditioning.GREY, self.scene.plate(self.frames[i])), len(self.frames)
        )
        middle = len(self.scene.frames) // 2

        due = 0.0

        def stepped(step: int, forming: Callable[[], torch.Tensor]) -> None:
            nonlocal due
            if time.monotonic() < due and step < self.recipe.steps - 1:
                return
            picture = forming().cpu()  # a card may still be at the step; waiting for it is not the look's time
            began = time.monotonic()
            self.ears.forming(self.frames[middle], look(picture, middle))
            ended = time.monotonic()
            due = ended + LOOK_REST * (ended - began)

        self.model.turn("transformer" if self.pipe.transformer is not None else "transformer_2")
        negative = words[1] if len(words) > 1 else None
        told = torch.cat([plate, control, fold], 1)
        if references := len(self.scene.references):
            told = torch.cat([self._told_of(self._references(keys["reference"]), told), told], 2)
        return denoise(
            self.pipe, told, words[0], negative, self.recipe, references=references, called=self.done, stepped=stepped
        )  # fmt: skip

    def _told_of(self, references: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Reference latents (1, 16, n, h, w) as the conditioning has them, in a corner of it: plate's place, no control, no mask."""
        out = told.new_zeros((1, told.shape[1], references.shape[2], *told.shape[3:]))
        out[:, : references.shape[1], :, : references.shape[3], : references.shape[4]] = references
        return out

    # --- what is kept --------------------------------------------------------------------------------------------------------

    def _who(self) -> Dict[str, Any]:
        """What made it: weights and what was added to them, settings (which expert when, for one), device, precision, version."""
        pipe = self.pipe
        model = pipe.transformer if pipe.transformer is not None else pipe.transformer_2
        changes = self.laid.plan.changes if self.laid.plan is not None else ""
        set_by = {name: sha for name, sha in self.laid.hashes.items() if name.endswith(".json") and not name.endswith(".index.json")}
        own = {"weights": self.laid.weights, "loras": list(self.laid.loras), "dtype": str(model.dtype), "changes": changes}
        return {**own, "set_by": set_by, "device": self._kind(self.device), "version": VERSION}

    def _kind(self, name: str) -> str:
        device = torch.device(name)
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    def _part(self, component: str) -> Dict[str, str]:
        """The weights or the vocabulary of a component alone: three models share one text encoder and one VAE."""
        what = (".safetensors", "/tokenizer.json", "/spiece.model")
        return {name: sha for name, sha in self.laid.hashes.items() if name.startswith(component + "/") and name.endswith(what)}

    def _embedding(self, words: str) -> torch.Tensor:
        plan = self.laid.plan
        dtype = dtype_of(self.device) if plan is None else plan.torch_dtype
        device = self.device if plan is None or plan.text_on_device else "cpu"
        made_by = {"encoder": self._part("text_encoder"), "tokenizer": self._part("tokenizer")}
        key = cache.key("text", prompt=words, **made_by, device=self._kind(device), dtype=str(dtype), version=VERSION)

        def make() -> Dict[str, torch.Tensor]:
            self.model.rest()
            parts.read_text_encoder(self.pipe, self.laid.folder, device, dtype)
            try:
                with watch.watched(watch.places(self.pipe), self.ears.cancelled):
                    return {"embedding": parts.embedding(self.pipe, words), "pieces": torch.tensor([parts.pieces(self.pipe, words)])}
            finally:
                parts.drop_text_encoder(self.pipe)

        made = self.kept.kept(key, make)
        if (count := int(made["pieces"])) > parts.TOKENS:
            which = "The prompt" if words == self.words else "What is to be avoided"
            self.ears.warned("%s is longer than the model reads: of its %d pieces the first %d count." % (which, count, parts.TOKENS))
        return made["embedding"].to(self.device)

    def _plate_key(self) -> str:
        prints = self.scene.prints
        return cache.key("plate", plate=prints["plate"], region=prints["region"], **self._coded())

    @property
    def _led_by(self) -> str:
        """ "dust" or "depth"; a draft is dust that somebody else has finished."""
        return "depth" if self.dials.led_by == "depth" else "dust"

    def _control_key(self) -> str:
        prints, follow = self.scene.prints, self.dials.follow
        led = prints[self._led_by] if 0.0 < follow < 1.0 else None  # at the ends the guide is not looked at
        plate = prints["plate"] if follow > 0.5 else None
        return cache.key("control", led=led, by=self._led_by, plate=plate, follow=follow, region=prints["region"], **self._coded())

    def _coded(self) -> Dict[str, Any]:
        own = {"frames": self.frames, "size": list(self.scene.size), "vae": self._part("vae"), "tiles": bool(self.pipe.vae.use_tiling)}
        return {**own, "device": self._kind(self.device), "version": VERSION}

    def _latents(self, key: str, inside: bool) -> torch.Tensor:
        """Latents of the plate outside the region, or of what leads inside it; grey, which is 0, elsewhere."""
        lead = self._lead() if inside else self.scene.plate
        coded = False

        def read(i: int) -> torch.Tensor:
            nonlocal coded
            coded = True
            frame = self.frames[i]
            picture = torch.from_numpy(np.ascontiguousarray(lead(frame).transpose(2, 0, 1), np.float32))
            there = torch.from_numpy(self.region(i) == inside).to(picture)
            if i % 4 == 0:
                self.done()
            return (2.0 * picture - 1.0) * there

        made = self.kept.kept(key, lambda: {"latents": latents.encode(self.pipe.vae, read, len(self.frames))})["latents"]
        if not coded:
            self.done(self.latent_frames)
        return made.to(self.device)

    def _reference_key(self) -> str:
        own = {"vae": self._part("vae"), "tiles": bool(self.pipe.vae.use_tiling), "device": self._kind(self.device), "version": VERSION}
        return cache.key("reference", pictures=self.scene.prints["reference"], size=list(self._given), **own)

    @property
    def _given(self) -> Tuple[int, int]:
        """(h, w) pixels of what the transformer sees at once."""
        tile, size = self.recipe.tile, self.scene.size
        return size if tile is None else (min(size[0], 8 * tile[0]), min(size[1], 8 * tile[1]))

    def _references(self, key: str) -> torch.Tensor:
        """Latents of the reference images, the last first, as the stock pipeline has them."""

        def make() -> Dict[str, torch.Tensor]:
            pictures = [conditioning.on_white(picture, self._given) for picture in reversed(self.scene.references)]
            coded = [latents.encode(self.pipe.vae, lambda i, picture=picture: picture, 1) for picture in pictures]
            return {"latents": torch.cat(coded, 2)}

        return self.kept.kept(key, make)["latents"].to(self.device)

    def _lead(self) -> Callable[[int], np.ndarray]:
        scene, follow = self.scene, self.dials.follow
        if self._led_by == "dust":
            return lambda frame: conditioning.lead(scene.plate(frame), scene.dust(frame), follow)
        near_is_white = conditioning.NearIsWhite(lambda: (scene.depth(frame) for frame in sorted(set(self.frames))))
        return lambda frame: conditioning.lead(scene.plate(frame), near_is_white(scene.depth(frame)), follow)


def dtype_of(device: str) -> torch.dtype:
    """bfloat16 is the weights' own precision; processors are slower with it than with float32."""
    return torch.bfloat16 if device != "cpu" else torch.float32
