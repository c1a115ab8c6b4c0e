# SPDX-License-Identifier: Apache-2.0
"""The guide of a shot: what moves, what it throws out, where that goes, how the shot's own camera sees it.

Two ways through the shot, each a frame at a time: a survey of what moves, then the simulation; results lie on disk. It
knows the shot's arrays and the guide's dials. It must not know files of the shot, models or colours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import deque
from pathlib import Path
from typing import Callable, Iterator, Optional

import numpy as np
import torch

from platebridge.errors import Cancelled
from platebridge.request import GuideSettings

from ..camera import Pinhole
from . import domain, solver, volume
from .debris import Chunks, Debris
from .emitters import MOST_POINTS, Emitters, joined
from .frame import GuideFrame, nothing, packed, unpacked
from .motion import Moving, Seen, look, moving
from .store import Store

#: Raised when the same inputs would give another guide: kept guides of older versions are not taken.
VERSION = 1
#: Optical depth across one height of the reference domain, of dust of density 1.
EXTINCTION = 32.0
MARCH_STEPS, PLANES = 70, 10
#: Without vectors a motion is looked for over this many frames: slow ones move less than a pixel in one.
LAG = 4
#: Longest way, in cells, that dust goes in one step of the solver.
LONGEST_STEP = 1.6
#: Dials that colour the result and don't change the guide.
_COLOURS = ("light", "ambient", "tint")


class Guide:
    """The guide of a shot.

    shot: `request`, `size`, `camera`, `depth(f)`, `mask(f)`, `vectors(f)` as `shot.Shot` has them. size: (h, w) of the
    guide's picture, which shows the whole plate. scratch: a folder of this request's own; what an interrupted run left
    there is taken over. Call `simulate` once, then `frame` in any order, as often as wanted.
    """

    def __init__(self, shot, settings: GuideSettings, fps: float, size: tuple[int, int], scratch: Path, device: str = "cpu") -> None:
        self.shot, self.settings, self.size, self.device = shot, settings, (int(size[0]), int(size[1])), torch.device(device)
        self.frames, self.frame_seconds = shot.request.frames, 1.0 / fps
        self.level = domain.level_from_world(shot.camera, self.frames.first)
        self.sun = domain.direction(settings.sun_azimuth, settings.sun_elevation)
        self._store = Store(Path(scratch), self._fingerprint())
        self._plan: Optional[dict] = None

    def _fingerprint(self) -> str:
        """Of everything that the guide depends on, so that what another request left is never taken."""
        tree = self.shot.request.to_dict()
        tree["guide"] = {k: v for k, v in dataclasses.asdict(self.settings).items() if k not in _COLOURS}
        kept = {k: tree[k] for k in ("frames", "inputs", "camera", "settings", "guide")}
        kept.update(version=VERSION, size=self.size, seconds=self.frame_seconds)
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    # --- the first way through the shot: what moves ------------------------------------------------------------------------

    def _camera(self, frame: int, size: Optional[tuple[int, int]] = None) -> Pinhole:
        camera = self.shot.camera.at(frame).moved(self.level)
        return camera.resized(size) if size else camera

    def _seen(self, frame: int) -> Seen:
        return look(self.shot.depth(frame), self.shot.mask(frame), self.shot.vectors(frame), self._camera(frame))

    def _survey(self, step: Callable[[], None]) -> domain.Survey:
        """Look at every frame once and keep what moves in it."""
        survey, before = domain.Survey(), deque(maxlen=LAG)
        up = np.array([0.0, 0.0, 1.0])
        for frame in self.frames:
            seen = self._seen(frame)
            if before and (not self.settings.start_frame or frame >= self.settings.start_frame):
                other = before[-1] if seen.vectors is not None else before[0]
                apart = 1 if seen.vectors is not None else len(before)
                found = moving(seen, other, apart * self.frame_seconds, up)
                found = found.thinned(MOST_POINTS, np.random.default_rng([self.settings.composition, 4, frame % 2**32]))
                if len(found):
                    self._store.put("moving", frame, {f.name: getattr(found, f.name) for f in dataclasses.fields(found)})
                survey.add(frame, seen, found)
            before.append(seen)
            step()
        return survey

    def _moving(self, frame: int) -> Optional[Moving]:
        return Moving(**self._store.get("moving", frame)[0]) if self._store.has("moving", frame) else None

    # --- the second way: the dust ------------------------------------------------------------------------------------------

    def simulate(self, progress: Callable[[int, int], None] = lambda done, total: None, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Run through the shot once. progress(done, total) after each step; Cancelled is raised between two frames."""
        done, total = 0, 2 * len(self.frames)

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)
            if cancelled():
                raise Cancelled()

        if self._store.has("plan"):
            progress(total, total)
            return
        survey = self._survey(step)
        bounds = None
        for _, seen in self._simulated(survey):
            if seen is not None:
                bounds = seen if bounds is None else (min(bounds[0], seen[0]), min(bounds[1], seen[1]), max(bounds[2], seen[2]), max(bounds[3], seen[3]))
            step()
        self._store.put("plan", None, {}, {"bbox": bounds, "first": survey.first})

    def _simulated(self, survey: domain.Survey) -> Iterator[tuple[int, Optional[tuple[float, float, float, float]]]]:
        """Each frame and the part of the picture its dust and debris take, as it is kept."""
        smoke = emitters = debris = None
        for frame in self.frames:
            if survey.first is None or frame < survey.first or self.settings.amount <= 0:
                self._store.put("frame", frame, {})
                yield frame, None
                continue
            if smoke is None:
                event = survey.event()
                box = survey.box(event, self.settings, self.frames.last - survey.first + 1, self.frame_seconds)
                smoke = self._smoke(event, box)
                emitters = Emitters(self.settings, event, self.frame_seconds)
                debris = Debris(self.settings, event, self.frame_seconds, self._moving, survey.first, survey.last)
            chunks = debris.step(frame)
            found = self._moving(frame)
            burst = joined([b for b in (emitters.emit(found, frame) if found else None, emitters.trail(*chunks.trails(), frame)) if b is not None])
            self._advance(smoke, burst)
            yield frame, self._keep(frame, smoke, event, chunks)

    def _smoke(self, event, box: domain.Box) -> solver.Smoke:
        dials = self.settings
        plain = solver.SmokeSettings()
        settings = dataclasses.replace(
            plain, buoyancy=plain.buoyancy * dials.rise / 0.3, confinement=plain.confinement * min(dials.turbulence, 1.6), forcing=plain.forcing * dials.turbulence
        ).for_domain(event.height)
        smoke = solver.Smoke(box.shape, box.cell, box.origin, self.device, settings, dials.composition)
        wind = torch.tensor(self._wind(), dtype=torch.float32, device=self.device)
        smoke.velocity += wind.view(3, 1, 1, 1)
        return smoke

    def _wind(self) -> tuple[float, float, float]:
        return tuple(float(v) for v in domain.direction(self.settings.wind_direction) * self.settings.wind)

    def _advance(self, smoke: solver.Smoke, burst) -> None:
        fastest = float(np.quantile(np.linalg.norm(burst.velocity, axis=1), 0.95)) if burst is not None else 0.0
        steps = int(np.clip(np.ceil(max(fastest, self.settings.wind) * self.frame_seconds / (LONGEST_STEP * smoke.cell)), 1, 4))
        sources = burst.sources(smoke) if burst is not None else None
        for _ in range(steps):
            smoke.step(self.frame_seconds / steps, sources, self._wind())

    # --- seen ----------------------------------------------------------------------------------------------------------------

    def _keep(self, frame: int, smoke: solver.Smoke, event, chunks: Chunks):
        """Render the frame and keep it, unless it is kept already; then the part of the picture that it takes."""
        if not self._store.has("frame", frame):
            extinction = EXTINCTION / event.height * self.settings.density
            seen = self._rendered(frame, smoke.density, smoke.origin, smoke.cell, extinction)
            facts = {"origin": smoke.origin, "cell": smoke.cell, "extinction": extinction}
            self._store.put("cloud", frame, {"density": smoke.density.cpu().to(torch.float16).numpy()}, facts)
            self._store.put("frame", frame, {**packed(seen), **{"chunks_" + k: v for k, v in chunks.arrays().items()}})
        return _bounds(self.frame(frame), self._camera(frame))

    def _rendered(self, frame: int, density: torch.Tensor, origin, cell: float, extinction: float, camera: Optional[Pinhole] = None) -> GuideFrame:
        camera = camera or self._camera(frame, self.size)
        lit = volume.light(density, cell, extinction, self.sun)
        passes = volume.march(
            density, origin, cell, camera.camera_to_world, camera.focal_px, camera.principal_px, camera.size, extinction, self.sun,
            steps=MARCH_STEPS, planes=PLANES, lit=lit,
        )
        shadow = np.zeros(camera.size, np.float32)
        if self.settings.shadow > 0:
            depth = _thinned(self.shot.depth(frame), camera.size)
            there = np.isfinite(depth) & (depth > 0)
            points = torch.from_numpy(camera.unproject(np.where(there, depth, 1.0)).reshape(-1, 3).astype(np.float32)).to(self.device)
            light = volume.sun_transmittance(points, lit, origin, cell, torch.from_numpy(self.sun.astype(np.float32)).to(self.device))
            shadow = np.where(there, 1.0 - light.cpu().numpy().reshape(camera.size), 0.0).astype(np.float32)
        deep = volume.Deep(*(getattr(passes.deep, f.name).cpu() for f in dataclasses.fields(passes.deep)))
        arrays = (getattr(passes, name).cpu().numpy() for name in ("sun", "ambient", "alpha", "depth"))
        return GuideFrame(*arrays, light_view=self._light_view(camera), shadow=shadow, deep=deep)

    def _light_view(self, camera: Pinhole) -> np.ndarray:
        return (camera.camera_to_world[:3, :3].T @ self.sun).astype(np.float32)

    # --- what others ask ---------------------------------------------------------------------------------------------------

    def frame(self, frame: int) -> GuideFrame:
        """The guide at a frame. `simulate` must have come that far."""
        arrays, _ = self._store.get("frame", frame)
        chunks = {k[len("chunks_"):]: v for k, v in arrays.items() if k.startswith("chunks_")}
        dust = {k: v for k, v in arrays.items() if not k.startswith("chunks_")}
        seen = unpacked(dust, self.size, self._light_view(self._camera(frame, self.size)))
        return dataclasses.replace(seen, chunks=Chunks(**chunks)) if chunks else seen

    def through(self, frame: int, camera: Pinhole) -> GuideFrame:
        """The same cloud through another camera of the world, at that camera's size; a shadow only through the shot's own."""
        if not self._store.has("cloud", frame):
            return nothing(camera.size, self._light_view(camera.moved(self.level)))
        arrays, facts = self._store.get("cloud", frame)
        density = torch.from_numpy(arrays["density"].astype(np.float32)).to(self.device)
        return self._rendered(frame, density, facts["origin"], facts["cell"], facts["extinction"], camera.moved(self.level))

    def empty(self, frame: int) -> bool:
        """Whether nothing is to be seen at a frame: before the collapse begins."""
        return self.frame(frame).empty

    @property
    def bbox(self) -> Optional[tuple[float, float, float, float]]:
        """Left, top, right, bottom of all dust and debris over the shot, parts of the picture in [0, 1]; None if there is none."""
        if self._plan is None:
            self._plan = self._store.get("plan")[1]
        return tuple(self._plan["bbox"]) if self._plan["bbox"] else None


def _thinned(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest pixel of each pixel of a smaller picture: depths are never averaged."""
    h, w = picture.shape
    rows = np.minimum(((np.arange(size[0]) + 0.5) * h / size[0]).astype(np.int64), h - 1)
    columns = np.minimum(((np.arange(size[1]) + 0.5) * w / size[1]).astype(np.int64), w - 1)
    return picture[rows[:, None], columns]


def _bounds(seen: GuideFrame, camera: Pinhole) -> Optional[tuple[float, float, float, float]]:
    """The part of the picture that a frame's dust (a pixel wider) and chunks take, or None."""
    h, w = seen.alpha.shape
    rows, columns = np.nonzero(seen.alpha.any(1))[0], np.nonzero(seen.alpha.any(0))[0]
    parts = []
    if len(rows):
        parts.append((max(columns[0] - 1, 0) / w, max(rows[0] - 1, 0) / h, min(columns[-1] + 2, w) / w, min(rows[-1] + 2, h) / h))
    if seen.chunks is not None and len(seen.chunks):
        parts += seen.chunks.bounds(camera)
    if not parts:
        return None
    left, top, right, bottom = (f(p[i] for p in parts) for i, f in enumerate((min, min, max, max)))
    return float(left), float(top), float(right), float(bottom)
