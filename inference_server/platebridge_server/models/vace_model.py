# SPDX-License-Identifier: Apache-2.0
"""Wan VACE as the pipeline's protocol for models that paint wants it; the model itself is in models/vace/.

Three tiers of what was computed are kept by what it was computed from: the words' embeddings, the latents of plate and control (each for
itself), and the finished latents. So a new seed pays for denoising and decoding alone, another light only for the control's latents,
and words that were met before never load the text encoder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from platebridge.errors import ModelError
from platebridge.request import ModelSettings, PaintSettings

from . import store, stored_model
from .base import Asked, Ears, Scene

if TYPE_CHECKING:  # a list of models must not wait for diffusers
    from ..cache import TensorCache
    from ..planner import Plan, Work
    from .loras import Lora
    from .speeds import Speed
    from .vace.denoise import Recipe
    from .vace.run import Loaded

_INSTALL = "Type in the folder that Platebridge is installed from: pip install '.[server]'"
_NO_NUMBERS = "Leave LoRAs out, or lower their strength; `platebridge models verify` says whether the weights are what they were."
_LESS = "Close what else is on the device (`platebridge doctor` shows what is free), take a smaller model, or another device (--device)."
#: Frames at once, where a card says nothing: what the family was trained on.
WINDOW = 81
#: Latent frames that neighbouring windows share: 16 frames and a little.
OVERLAP = 5
#: The flow's shift for fields of so many pixels at most, and beyond, where a card names none: Wan 2.1's own two values for 480 and 720
#: lines. With two experts it also says how many steps each of them has.
SHIFT_PIXELS, SHIFT_SMALL, SHIFT_LARGE = 600_000, 3.0, 5.0


class VaceModel:
    """See base.PictureModel. kept: the cache; None is this user's own."""

    def __init__(self, name: str, kept: Optional[TensorCache] = None) -> None:
        self.name, self._kept = name, kept
        self._loaded: Optional[Loaded] = None
        self._installed: Any = None
        self._chosen: Tuple[Lora, ...] = ()
        self._plans: Sequence[Optional[Plan]] = (None,)

    def card(self) -> Dict[str, Any]:
        return stored_model.card(self.name)

    def load(self, device: str, asked: Asked, settings: ModelSettings, dials: PaintSettings) -> None:
        """Transformers and VAE as the planner lays them out, LoRAs within; the text encoder is read when words are new."""
        installed = store.opened(self.name)
        try:
            import accelerate  # noqa: F401 (without these diffusers goes on until it needs them)
            import ftfy  # noqa: F401
            import transformers  # noqa: F401

            from .. import planner
            from ..cache import TensorCache
            from . import loras
            from .vace import parts, run  # noqa: F401
        except (ImportError, RuntimeError) as problem:  # diffusers says it in either way
            said = " ".join(str(problem).split())[:200]
            raise ModelError("The model %s needs packages that are not here (%s)." % (self.name, said), _INSTALL) from problem
        self._kept = self._kept or TensorCache()
        chosen = loras.chosen(self._loras(settings, dials))
        self._plans = (None,)  # a studio's card need not say how large it is
        if "network" in installed.card:
            memory = planner.Memory.of(device, self._loaded.bytes_here if self._loaded else 0)
            self._plans = planner.plans(installed.card, self._work(asked, settings, dials), memory)
        self._plans = self._laid_out(installed, device, self._plans, chosen)

    def _work(self, asked: Asked, settings: ModelSettings, dials: PaintSettings) -> Work:
        """What the planner is asked for."""
        from .. import planner
        from .vace import conditioning, denoise, windows

        recipe = self.recipe(asked.size, settings, dials)
        clip = len(conditioning.clip_frames(range(asked.frames), asked.frames - 1))
        frames = min(4 * recipe.window - 3, clip)
        h, w = asked.size
        field = windows.latent_frames(frames), h // 8, w // 8
        passes = denoise.calls(recipe, (windows.latent_frames(asked.frames + (1 - asked.frames) % 4), h // 8, w // 8))
        if recipe.skip > 0:
            passes = 0  # nothing repays compiling: what is skipped is decided between the blocks, by hooks
        (rows, columns), whole = windows.tiles(field[1:], recipe.tile)[0], recipe.tile is not None
        seen = 8 * len(columns.weights), 8 * len(rows.weights)
        return planner.Work(*seen, frames, asked.references, passes, settings.quality == "draft", (w, h) if whole else None, clip)

    def _laid_out(
        self, installed: store.Installed, device: str, left: Sequence[Optional[Plan]], chosen: Tuple[Lora, ...], again: bool = True
    ) -> Sequence[Optional[Plan]]:
        """Lays it out by the first of these plans; where memory runs out in that, `again` by the next that takes less: another program may
        have taken it since it was looked at. Gives the plans that are left, the one that was taken first. Raises ModelError."""
        import torch

        from .. import planner

        now = left[0]
        try:
            self._lay_out(installed, device, now, chosen)
            return left
        except torch.OutOfMemoryError:
            pass
        planner.let_go()  # outside the handler: its traceback holds what memory is wanted from
        lighter = planner.next_after(now, [plan for plan in left if plan is not None]) if again and now is not None else None
        if lighter is None:
            raise ModelError("The device ran out of memory while the model %s was loaded." % self.name, _LESS)
        return self._laid_out(installed, device, left[left.index(lighter) :], chosen, again=False)

    def _lay_out(self, installed: store.Installed, device: str, plan: Optional[Plan], chosen: Tuple[Lora, ...]) -> None:
        """What is loaded becomes this; nothing is done when it is."""
        from .. import planner
        from . import loras
        from .vace import parts, run

        hashes = {name: said["sha256"] for name, said in installed.files.items()}
        now = run.Laid(
            installed.folder, hashes, installed.card["weights_sha256"], device, _as_laid_out(plan), tuple(map(str, loras.facts(chosen)))
        )
        if self._loaded is not None and self._loaded.laid == now:
            return
        if self._loaded is not None:
            self._loaded.close()
        self._loaded = None  # before the next one takes its place in memory
        planner.let_go()
        try:
            pipe = parts.load(installed.folder, run.dtype_of(device) if plan is None else plan.torch_dtype)
        except (OSError, ValueError, KeyError) as problem:
            mend = "`platebridge models verify %s` says what is wrong with it." % self.name
            raise ModelError("The model %s can't be loaded (%s)." % (self.name, problem), mend) from problem
        loras.merge(pipe, chosen)
        place = planner.apply(plan, pipe, device) if plan is not None else None
        self._loaded = run.Loaded(pipe if place else pipe.to(device), now, place)
        self._installed, self._chosen = installed, chosen

    # --- how a request is painted ----------------------------------------------------------------------------------------------

    def speed(self, settings: ModelSettings, dials: PaintSettings) -> Tuple[Speed, str]:
        """The quality's speed, and the few-step LoRAs that are part of it, as the dial writes them. Steps that an artist sets are the
        model's own steps, without such a LoRA."""
        from . import loras, speeds

        name = speeds.OF_QUALITY[settings.quality]
        few = speeds.find(name, True)
        own = loras.few_steps(self.name, few.strength) if few.strength and not dials.steps else ""
        return (few if own else speeds.find(name, False)), own

    def _loras(self, settings: ModelSettings, dials: PaintSettings) -> str:
        """All LoRAs of a request."""
        return ", ".join(filter(None, [self.speed(settings, dials)[1], dials.lora]))

    def made_of(self, settings: ModelSettings, dials: PaintSettings) -> Any:
        from . import loras

        return loras.facts(loras.chosen(self._loras(settings, dials)))

    def recipe(self, size: Tuple[int, int], settings: ModelSettings, dials: PaintSettings) -> Recipe:
        """How a request is generated at a size (h, w)."""
        from .vace import denoise, windows

        speed, few = self.speed(settings, dials)
        usual = SHIFT_SMALL if size[0] * size[1] <= SHIFT_PIXELS else SHIFT_LARGE
        return denoise.Recipe(
            seed=settings.seed,
            steps=dials.steps or speed.steps,
            guidance=dials.guidance or speed.guidance,
            control=dials.control,
            shift=usual if few else float(self.card().get("shift", usual)),  # few-step LoRAs have learned theirs
            window=windows.latent_frames(self.card()["limits"].get("window", WINDOW)),
            overlap=OVERLAP,
            tile=self._tile(size, settings.quality),
            scheduler=speed.scheduler,
            skip=dials.skip,
        )

    def _tile(self, size: Tuple[int, int], quality: str) -> Optional[Tuple[int, int]]:
        """(h, w) latent pixels of a tile where a picture of `size` is more than the model was made for, else None."""
        sizes = sorted(self.card()["limits"]["sizes"], key=lambda wh: wh[0] * wh[1])
        most = sizes[0] if quality == "draft" else sizes[-1]
        if size[0] * size[1] <= most[0] * most[1]:
            return None
        long, short = max(most), min(most)
        h, w = (short, long) if size[1] >= size[0] else (long, short)
        return h // 8, w // 8

    def paint(self, scene: Scene, settings: ModelSettings, dials: PaintSettings, ears: Ears) -> Iterator[Tuple[int, np.ndarray]]:
        if self._loaded is None or self._kept is None:
            raise ModelError("The model %s is not loaded." % self.name, "Load it before generating.")
        from .. import planner
        from . import loras, speeds
        from .vace import run, windows

        recipe, kept = self.recipe(scene.size, settings, dials), self._kept
        speed, few = self.speed(settings, dials)
        ears.told({"speed": {"name": speeds.OF_QUALITY[settings.quality], "few_step_lora": few, "source": speed.source}})
        ears.told({"loras": loras.facts(self._chosen)} if self._chosen else {})
        finished: List[Tuple[Any, Recipe]] = []  # latents, and how they were made

        def made(plan: Optional[Plan], first: Optional[int]) -> Iterator[Tuple[int, np.ndarray]]:
            assert self._loaded is not None
            self._lay_out(self._installed, self._loaded.laid.device, plan, self._chosen)
            ears.told({"plan": planner.facts(plan)} if plan is not None else {})
            now = recipe if plan is None or not plan.frames else replace(recipe, window=windows.latent_frames(plan.frames))
            done, now = finished[-1] if finished else (None, now)
            at_work = run.Run(self._loaded, kept, scene, dials, now, ears, done)
            for frame, picture in at_work.pictures(lambda clean: finished.append((clean, now))):
                if not np.isfinite(picture).all():
                    raise ModelError("The model %s gave pixels that are no numbers in frame %d." % (self.name, frame), _NO_NUMBERS)
                if first is None or frame >= first:
                    yield frame, picture

        if self._plans[0] is None:
            yield from made(None, None)
        else:
            yield from planner.generated(self._plans, made, ears.warned)


def _as_laid_out(plan: Optional[Plan]) -> Optional[Plan]:
    """What of a plan makes it another layout: not how much was free when it was made, nor how many frames are taken at once."""
    if plan is None:
        return None
    changes = ", ".join(part for part in plan.changes.split(", ") if not part.startswith("windows of "))
    return replace(plan, device_bytes=0, host_bytes=0, why=(), frames=0, changes=changes)
