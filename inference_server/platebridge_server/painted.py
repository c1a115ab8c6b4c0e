# SPDX-License-Identifier: Apache-2.0
"""The way of a model that paints pictures: the shot as it is shown, and of what it paints the effect.

It knows plate, depth, guide, colour transforms and the matte. It must not know files, events or what a model does with what it is shown.
The model never keeps a pixel of the plate: what it paints comes back as premultiplied colour and alpha, exactly nothing outside its
region and behind what stands before the dust, and is laid over the plate as any effect is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from platebridge.errors import RequestError
from platebridge.request import GenerateRequest

from . import colour, composite, depth, effect, layers, matte, references, work
from .composite import Effect
from .guide.dials import fingerprint
from .guide.guide import VERSION as GUIDE_VERSION
from .guide.guide import moved_by
from .light import DustLight
from .models.base import Asked, Ears, PictureModel, Scene
from .models.guide_model import enlarged

#: Raised when the same shot and guide would be shown otherwise.
VERSION = 2
#: Alpha of the guide from which a pixel belongs to the dust.
THERE = 0.01
#: Frames of which what is shown is held: those whose regions one latent frame of a video model pools, and a few.
_KEPT = 12


@dataclass(frozen=True)
class _Shown:
    """One frame at the model's size. codes, dust: (h, w, 3) code values. alpha: (h, w), the guide's, held out. z: (h, w) metres of what is
    seen, inf is sky. region: (h, w) bool."""

    codes: np.ndarray
    dust: np.ndarray
    alpha: np.ndarray
    z: np.ndarray
    region: np.ndarray


def transform(request: GenerateRequest) -> colour.Transform:
    """How light is coded for the model. Raises RequestError: no such space, or one that nothing would be done with.

    A config-defined space is looked up in the config that this machine's OCIO variable names, as every program of a studio does.
    """
    paint = request.paint
    if paint.space and paint.curve != "ocio":
        raise RequestError("The OCIO space %s is of no use to the curve %s." % (paint.space, paint.curve), "Choose the curve ocio.")
    own: Dict[str, str] = {}
    if paint.curve == "ocio":
        own = {"space": paint.space, **({"config": os.environ["OCIO"]} if os.environ.get("OCIO") else {})}
        if not paint.space:
            raise RequestError("The curve ocio needs to know the space.", "Set the dial space to a role or colour space of the config.")
    return colour.find(paint.curve, working_space=request.settings.working_space, **own)


class Painting:
    """A shot for one model. guide: as guide.Guide; colours: the light on the dust at a frame. draft: a finished effect of the same guide,
    as dusted.Draft, that is shown in the guide's place; None shows the guide. open_file(sha256): where a reference image lies."""

    def __init__(
        self, shot, guide, request: GenerateRequest, colours: Callable[[int], DustLight], model: PictureModel, scratch, draft=None,
        open_file: Callable[[str], Path] = Path,
    ) -> None:
        limits = model.card()["limits"]
        self._shot, self._guide, self._request, self._colours, self._model = shot, guide, request, colours, model
        self._draft, self._open = draft, open_file
        self._timed: Callable[[str], Any] = contextlib.nullcontext
        rim = request.paint.rim
        pixels = sorted(width * height for width, height in limits["sizes"])
        most = pixels[0] if request.model.quality == "draft" else pixels[-1]
        if request.paint.large == "tiles":
            most = shot.size[0] * shot.size[1] + limits["multiple_of"] * sum(shot.size)  # never shrunk: the model sees to its own tiles
        self.area = work.choose_for_painting(shot.size, guide.bbox, limits["multiple_of"], most, rim)
        self.transform = transform(request)
        self._cropped = work.CroppedGuide(guide, self.area, shot.camera.at, scratch, "crop")
        self._scale = self.area.size[0] / self.area.height
        self._held: OrderedDict[int, _Shown] = OrderedDict()
        self._regions: Dict[int, np.ndarray] = {}  # packed: a model asks for them again and again, in any order

    def facts(self) -> Dict[str, Any]:
        """What take.json says of how the shot was shown."""
        area = self.area
        named = {k: v for k, v in self.transform.parameters.items() if v != ""}
        out: Dict[str, Any] = {
            "work_area": {"x": area.x, "y": area.y, "width": area.width, "height": area.height, "size": list(area.size)},
            "colour_transform": {
                "name": self.transform.name,
                **named,
                "code_0_is": self.transform.black,
                "code_1_is": self.transform.white,
            },
            "matte": {"weights_sha256": matte.weights_sha256(), "trained_on": "Platebridge's own simulations over made-up plates."},
        }
        if self._scale != 1.0:
            out["resampled"] = {"plate": "linear, antialiased, in code values", "effect": "bicubic", "scale": self._scale}
        return out

    def glance(self, frame: int, codes: np.ndarray, width: int) -> np.ndarray:
        """The picture as it forms, (h, w, 3) light for the eye. codes: (h', w', 3), coarse, in the region over the plate."""
        size = min(self.area.size[0], round(width * self.area.size[0] / self.area.size[1])), min(self.area.size[1], width)
        shown = self._shown(frame)
        planes = torch.from_numpy(np.ascontiguousarray(codes.transpose(2, 0, 1), np.float32))[None]
        coarse = F.interpolate(planes, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).clamp(0, 1).numpy()
        there = work.shrunk(shown.region[..., None].astype(np.float32), size)
        return self.transform.decode(coarse * there + work.shrunk(shown.codes, size) * (1 - there))

    def asked(self, frames: range) -> Asked:
        """How much it is."""
        given = self._request.inputs.reference
        return Asked(self.area.size, len(frames), len(given.files) if given is not None else 0)

    def scene(self, frames: range) -> Scene:
        return Scene(
            frames,
            self._request.frames.last,
            self.area.size,
            lambda f: self._shown(f).codes,
            lambda f: self._shown(f).dust,
            lambda f: self._shown(f).z,
            self._region,
            self._request.guide_at((frames.start + frames.stop - 1) // 2),  # words are one for all frames: those of the middle
            self._prints(),
            self._references(),
        )

    def effects(
        self, frames: range, ears: Ears, timed: Callable[[str], Any] = contextlib.nullcontext
    ) -> Iterator[Tuple[int, Effect]]:
        """Every frame's effect in order, each as soon as it and the next are painted. timed(stage): a context around the model's own
        work, "generating", and around making what it is shown, "showing"."""
        self._timed = timed
        begun = self._model.paint(self.scene(frames), self._request.model, self._request.paint, ears)
        painted = _each_within(lambda: timed("generating"), begun)
        pictures = self._pictures = _Stream(self.transform.decode(codes) for _, codes in painted)
        at = self._first = frames.start

        def each(of: Callable[[_Shown], np.ndarray]) -> _Reader:
            return _Reader(lambda n: of(self._shown(at + n)), len(frames))

        plates = each(lambda shown: self.transform.decode(shown.codes))
        regions = _Reader(lambda n: self._region(at + n), len(frames))
        visible = each(lambda shown: np.ones(shown.alpha.shape, np.float32))  # held out below, at the plate's own resolution
        noise = matte.measured_noise([pictures[0]], [plates[0]], [regions[0]])
        layers_ = matte.estimates(
            _Reader(pictures.__getitem__, len(frames)),
            plates,
            regions,
            each(lambda s: s.alpha),
            visible,
            transform=self.transform,
            noise=noise,
        )
        for n, (rgb, alpha) in enumerate(layers_):
            yield at + n, self._settled(at + n, rgb, alpha)

    def picture(self, frame: int) -> np.ndarray:
        """What was painted for the frame that `effects` gave last, (h, w, 3) float32 scene-linear over the plate: before the comp, and
        with whatever the model changed outside its region."""
        area, plate = self.area, self._shot.plate(frame)
        codes = self.transform.encode(self._pictures[frame - self._first]).transpose(2, 0, 1)
        if area.size != (area.height, area.width):
            small = torch.from_numpy(np.ascontiguousarray(codes, np.float32))[None]
            codes = F.interpolate(small, (area.height, area.width), mode="bicubic", align_corners=False)[0].clamp(0, 1).numpy()
        own, inside = area.on_canvas(self._shot.size)
        out = plate.copy()
        out[own] = self.transform.decode(np.ascontiguousarray(codes.transpose(1, 2, 0), np.float32))[inside]
        return out

    # --- what is shown -------------------------------------------------------------------------------------------------------

    def _shown(self, frame: int) -> _Shown:
        if frame not in self._held:
            with self._timed("showing"):
                self._held[frame] = self._show(frame)
            while len(self._held) > _KEPT:
                self._held.popitem(last=False)
        return self._held[frame]

    def _region(self, frame: int) -> np.ndarray:
        if frame not in self._regions:
            self._regions[frame] = np.packbits(self._shown(frame).region)
        h, w = self.area.size
        return np.unpackbits(self._regions[frame], count=h * w).reshape(h, w).astype(bool)

    def _show(self, frame: int) -> _Shown:
        area, shot = self.area, self._shot
        lit = colour.limited(self.transform.encode(work.edged(shot.plate(frame), area)))[0]
        codes = work.shrunk(lit, area.size)
        plate_depth = work.thinned(work.edged(shot.depth(frame), area), area.size)
        light, alpha, z = self._led(frame, plate_depth) if self._draft is None else self._drafted(frame)
        over = light + (1 - alpha[..., None]) * self.transform.decode(codes)
        dust = np.where(alpha[..., None] > 0, colour.limited(self.transform.encode(over))[0], codes)
        region = dilated(alpha > THERE, round(self._request.paint.rim * self._scale))
        return _Shown(codes, dust, alpha, np.minimum(z, plate_depth), region)

    def _references(self) -> Tuple[np.ndarray, ...]:
        given, space = self._request.inputs.reference, self._request.settings.working_space
        files = given.files if given is not None else ()
        return tuple(references.read(self._open(file.sha256), self.transform, space, file.frame) for file in files)

    def _led(self, frame: int, plate_depth: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The guide at the model's size: its light, (h, w, 3) premultiplied, alpha and z, held out."""
        area, seen = self.area, self._cropped.frame(frame)
        debris = self._guide.debris(frame, area.camera(self._shot.camera.at(frame), area.size), plate_depth)
        full = enlarged(self._cropped.passes(frame), area.size)
        passes, z = effect.assemble(full.sun, full.ambient, full.alpha, seen, plate_depth, debris)
        light = self._colours(frame).coloured(passes[..., 0], passes[..., 1])
        chroma = effect.hue(seen, area.size)
        return (light if chroma is None else light * chroma), passes[..., 2], z

    def _drafted(self, frame: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `_led`, of the draft."""
        rgba, z = self._draft.layer(frame)
        small = work.shrunk(work.padded(rgba, self.area, 0.0), self.area.size)
        return small[..., :3], small[..., 3], work.thinned(work.padded(z, self.area, np.inf), self.area.size)

    def _prints(self) -> Dict[str, str]:
        tree = self._request.to_dict()
        own = {"version": VERSION, "area": repr(self.area), "settings": tree["settings"], "frames": tree["frames"]}
        coded = [self.transform.name, self.transform.parameters]
        plate = _print(own, plate=tree["inputs"]["plate"], transform=coded)
        dials = fingerprint(tree, set(tree["guide"]) - {*layers.RELIT, "shadow"})  # no shadow is shown
        guide = _print(
            own,
            inputs=moved_by(tree, self._shot.geometry),
            dials=dials,
            camera=tree["camera"],
            simulation=tree["simulation"],
            guide=GUIDE_VERSION,
        )
        if self._draft is not None:
            guide = _print({}, guide=guide, draft=self._draft.fingerprint)
        return {
            "plate": plate,
            "dust": _print({}, plate=plate, guide=guide, light=self._light()),
            "depth": guide,
            "region": _print({}, guide=guide, rim=self._request.paint.rim),
            "reference": _print({}, files=tree["inputs"].get("reference"), transform=coded, version=VERSION),
        }

    def _light(self) -> Any:
        """The light that the guide is shown in, over the shot."""
        each = [layers.light_of(self._colours(f)) for f in self._request.frames]
        return each[0] if all(light == each[0] for light in each) else each

    # --- what comes back -----------------------------------------------------------------------------------------------------

    def _settled(self, frame: int, rgb: np.ndarray, alpha: np.ndarray) -> Effect:
        """What was painted, at the model's size, as the effect that is written: at the plate's resolution, held out, with its shadow."""
        area, shot, camera = self.area, self._shot, self._shot.camera.at(frame)
        plate_depth = shot.depth(frame)
        seen = self._cropped.frame(frame)
        soft = _soft(self._shown(frame).region, round(self._request.paint.rim * self._scale / 2))
        small = np.concatenate([rgb, alpha[..., None]], -1) * soft[..., None]
        full = area.enlarged(np.ascontiguousarray(small.transpose(2, 0, 1), np.float32))
        limit = work.padded(plate_depth, area, np.inf)
        front, z = self._stands(frame, seen, limit)
        full = full * ~(np.isfinite(front) & (limit < front))
        shadow = None
        if self._request.guide_at(frame).shadow > 0:
            finer = area.camera(camera, area.size), effect.thickening(alpha, seen)
            shadow = self._guide.shadow(frame, plate_depth, finer)
        layer = work.pasted(full.transpose(1, 2, 0), area, shot.size, 0.0)
        return composite.settle_painted(layer[..., :3], layer[..., 3], work.pasted(z, area, shot.size, np.inf), plate_depth, shadow)

    def _stands(self, frame: int, seen, limit: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Where the effect begins and where it stands, (h, w) metres of the crop; beyond the guide as its rim does, inf where nothing is
        known. What is painted has no depth of its own."""
        first = seen.depth if seen.deep is None else seen.deep.front.numpy()
        size = (self.area.height, self.area.width)
        front, z = (work.thinned(depth.filled(np.asarray(a, np.float32), ~np.isfinite(a)), size) for a in (first, seen.depth))
        debris = self._guide.debris(frame, self.area.camera(self._shot.camera.at(frame), size), limit)
        if debris is not None:
            front[debris.where], z[debris.where] = np.minimum(front[debris.where], debris.z), np.minimum(z[debris.where], debris.z)
        return front, np.minimum(z, limit)


class _Reader:
    """A sequence whose items are made when they are asked for."""

    def __init__(self, read: Callable[[int], np.ndarray], count: int) -> None:
        self._read, self._count = read, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, n: int) -> np.ndarray:
        return self._read(n)


class _Stream:
    """An iterator's items by number: as far as was asked for, the last few held."""

    def __init__(self, items: Iterator[np.ndarray]) -> None:
        self._items, self._held, self._next = items, {}, 0

    def __getitem__(self, n: int) -> np.ndarray:
        while n >= self._next:
            self._held[self._next] = next(self._items)
            self._next += 1
            self._held.pop(self._next - 4, None)  # the matte looks at the one before and the next
        return self._held[n]


def _each_within(timed: Callable[[], Any], items: Iterator[Any]) -> Iterator[Any]:
    """The items, each made within a context of its own."""
    with contextlib.closing(items):
        while True:
            with timed():
                got = next(items, None)
            if got is None:
                return
            yield got


def dilated(region: np.ndarray, pixels: int) -> np.ndarray:
    """(h, w) bool grown by so many pixels in every direction: a model paints better in a generous region than in a tight one."""
    if pixels <= 0 or not region.any():
        return region
    grown = torch.from_numpy(region.astype(np.float32))[None, None]
    for axis in ((2 * pixels + 1, 1), (1, 2 * pixels + 1)):
        grown = F.max_pool2d(grown, axis, 1, (axis[0] // 2, axis[1] // 2))
    return grown[0, 0].numpy() > 0


def _soft(region: np.ndarray, pixels: int) -> np.ndarray:
    """(h, w) float32: 1 well inside the region, falling to 0 within so many pixels of its rim; exactly 0 outside. The picture's own edge
    is no rim."""
    if pixels <= 0:
        return region.astype(np.float32)
    planes = F.pad(torch.from_numpy(region.astype(np.float32))[None, None], (pixels,) * 4, mode="replicate")
    near = F.avg_pool2d(planes, 2 * pixels + 1, 1)[0, 0].numpy()
    return (np.clip(2 * near - 1, 0, 1) * region).astype(np.float32)


def _print(base: Dict[str, Any], **parts: Any) -> str:
    return hashlib.sha256(json.dumps({**base, **parts}, sort_keys=True).encode()).hexdigest()
