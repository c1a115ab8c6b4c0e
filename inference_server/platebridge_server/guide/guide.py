# SPDX-License-Identifier: Apache-2.0
"""The guide of a shot: what moves, what it throws out, where that goes, how the shot's own camera sees it.

Two ways through the shot, each a frame at a time: a survey of what moves, then the simulation. Two things lie on disk, one
within the other: the simulation, and what a camera sees of it (a view), so that another density, another sun or another
camera finds the simulation done. It knows the shot's arrays and the guide's dials. It must not know files of the shot,
models or colours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import deque
from pathlib import Path
from typing import Callable, Iterator, Optional

import numpy as np
import torch
import torch.nn.functional as F
from platebridge.curves import Curve
from platebridge.errors import Cancelled, RequestError
from platebridge.request import GenerateRequest, GuideSettings

from ..camera import Pinhole
from . import chunk_layer, domain, shelf, solver, volume
from .billows import Billows
from .debris import Chunks, Debris
from .dials import Dials, finer, fingerprint, refuse_turned
from .emitters import MOST_POINTS, PACE, Emitters, Event, joined
from .frame import GuideFrame, coarse, nothing, packed, unpacked
from .motion import Moving, Seen, look, moving
from .store import Store

#: Raised when the same inputs would give another guide: kept guides of older versions are not taken.
VERSION = 13
#: Optical depth across one height of the reference domain, of dust of density 1.
EXTINCTION = 80.0
PLANES = 16
#: Cells by which dust on the ground goes on below it. The plate's own ground cuts it there, as crisply as it is; where dust itself ends it
#: fades over a pixel of the guide, and one saw through its foot.
BELOW = 2
#: Without vectors a motion is looked for over this many frames: slow ones move less than a pixel in one.
LAG = 4
#: Longest way, in cells, that dust goes in one step of the solver.
LONGEST_STEP = 1.6
#: By this part a finer cloud's large shapes are drawn to the coarser one's in each of the solver's steps.
FOLLOWS = 0.3
#: Density below this is none.
THINNEST = 1e-6
#: Alpha below this doesn't widen the part of the picture that is worked on: the effect drops twice as much.
LEAST_SEEN = 1.0 / 2048
#: Rows of a plate whose shadow is found at once.
_ROWS = 64
#: Dials that colour the result and don't change the guide.
COLOURS = ("light", "ambient", "tint", "shadow")
#: Dials that change what is seen of the simulation, not the simulation.
VIEW = ("density", "sun_azimuth", "sun_elevation")
#: All others.
SIMULATED = tuple(f.name for f in dataclasses.fields(GuideSettings) if f.name not in COLOURS + VIEW)


def simulation_of(request: GenerateRequest, geometry: str) -> str:
    """Of everything that the simulation depends on, so that what another request left is never taken. 64 hex digits.

    Not among it: the plate's colours, the model, its seed, and the dials that colour the result or change how the cloud is seen. A
    request that names the simulation of an earlier take has that one. geometry: as `shot.Shot` has it.
    """
    if request.simulation:
        return request.simulation
    return _digest({**_kept(request, geometry, SIMULATED), "finer": finer(request)})


def view_of(request: GenerateRequest, geometry: str, size: tuple[int, int]) -> str:
    """Of everything that the guide's pictures depend on: the simulation, the camera, the dials of `VIEW`. 64 hex digits."""
    return _digest({**_kept(request, geometry, VIEW), "simulation": simulation_of(request, geometry), "size": list(size)})


def _kept(request: GenerateRequest, geometry: str, dials) -> dict:
    """What of a request the guide depends on, its dials those named."""
    tree = request.to_dict()
    kept = {k: tree[k] for k in ("frames", "camera", "settings")}
    return {**kept, "inputs": moved_by(tree, geometry), "guide": fingerprint(tree, dials), "version": VERSION}


def moved_by(tree: dict, geometry: str) -> dict:
    """Of the inputs of a request (as its `to_dict` has them), what dust depends on: the plate's geometry and not its colours, another grade
    moves none; no reference, which tells a painter how dust looks; and no names, which are for the eye."""
    passes = {kind: dict(source) for kind, source in tree["inputs"].items() if source and kind not in ("plate", "reference")}
    for source in passes.values():
        source.pop("name", None)
    return {**passes, "plate": geometry}


def _digest(tree: dict) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


class Guide:
    """The guide of a shot.

    shot: `request`, `geometry`, `size`, `camera`, `depth(f)`, `mask(f)`, `vectors(f)` as `shot.Shot` has them. size: (h, w) of the
    guide's picture, which shows the whole plate. scratch: a folder for this simulation (`simulation_of`); what another run left
    there is taken over, views in it are kept side by side. Call `simulate` once, then `frame` in any order, as often as wanted.
    """

    def __init__(self, shot, settings: GuideSettings, fps: float, size: tuple[int, int], scratch: Path, device: str = "cpu") -> None:
        self.shot, self.settings, self.size, self.device = shot, settings, (int(size[0]), int(size[1])), torch.device(device)
        self.dials = Dials(settings, shot.request.animated)
        self.frames, self.frame_seconds = shot.request.frames, 1.0 / fps
        self._store = Store(Path(scratch), simulation_of(shot.request, shot.geometry))
        view = view_of(shot.request, shot.geometry, self.size)
        #: Where this view's own pictures lie; others may be put beside them.
        self.folder = shelf.place(Path(scratch) / "views", view)
        self._view = Store(self.folder, view)
        self.level = self._level()
        self._bbox: Optional[tuple] = None
        self._cells = settings.detail

    def _level(self) -> np.ndarray:
        """From the world to level space: that of the camera that the simulation was made through."""
        request = self.shot.request
        if not request.simulation:
            return domain.level_from_world(self.shot.camera, self.frames.first)
        if not self._store.has("plan"):
            raise RequestError("The simulation %s… is not kept here any more." % request.simulation[:12],
                               "Generate the take that it comes from once more, as it was, then this one.")
        made = self._store.get("plan")[1]
        same_rate = math.isclose(made["seconds"], self.frame_seconds, rel_tol=1e-5)  # 24000 / 1001 is typed as 23.976
        if not same_rate or not made["frames"][0] <= self.frames.first <= self.frames.last <= made["frames"][1]:
            raise RequestError("The simulation has frames %d-%d at %g a second." % (*made["frames"], 1 / made["seconds"]),
                               "Give frames within these, and the same --fps.")
        its = Dials(GuideSettings(**{**dataclasses.asdict(self.settings), **made["dials"]}),
                    tuple(Curve(curve["dial"], tuple(map(tuple, curve["keys"]))) for curve in made.get("animated", ())))
        refuse_turned(self.dials, its, self.frames, SIMULATED)
        return np.array(made["level"])

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
                    self._store.put("moving", frame, found.packed())
                survey.add(frame, seen, found)
            before.append(seen)
            step()
        return survey

    def _moving(self, frame: int) -> Optional[Moving]:
        return Moving(**self._store.get("moving", frame)[0]) if self._store.has("moving", frame) else None

    # --- the second way: the dust ------------------------------------------------------------------------------------------

    def simulate(
        self, progress: Callable[[int, int], None] = lambda done, total: None, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Run through the shot once. progress(done, total) after each step; Cancelled is raised between two frames."""
        done, total = 0, 2 * len(self.frames)

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)
            if cancelled():
                raise Cancelled()

        if self._view.has("plan") and self._store.has("plan"):
            progress(total, total)
            if cancelled():
                raise Cancelled()
            return
        bounds, simulated = None, self._store.has("plan")
        total = len(self.frames) if simulated else total
        for frame in self.frames if simulated else self._simulated(self._survey(step)):
            seen = self._look(frame)
            if seen is not None:
                bounds = seen if bounds is None else (*map(min, bounds[:2], seen[:2]), *map(max, bounds[2:], seen[2:]))
            step()
        if not simulated:
            dials = fingerprint(self.shot.request.to_dict(), SIMULATED)
            facts = {"animated": dials.pop("animated", []), "dials": dials, "frames": [self.frames.first, self.frames.last]}
            facts.update(seconds=self.frame_seconds, level=self.level.tolist(), cells=self._cells)
            self._store.put("plan", None, {}, facts)
        self._view.put("plan", None, {}, {"bbox": bounds})

    def _simulated(self, survey: domain.Survey) -> Iterator[int]:
        """Each frame, as soon as its dust and debris are kept."""
        smokes: list[solver.Smoke] = []  # the coarsest first; each follows the one before, and the last one is kept
        emitters = debris = billows = None
        for frame in self.frames:
            if survey.first is None or frame < survey.first or self.dials.most("amount") <= 0:
                yield frame
                continue
            if not smokes:
                event = survey.event()
                box = survey.box(event, self.dials, self.frames.last - survey.first + 1, self.frame_seconds)
                fine = box.finer(finer(self.shot.request))
                smokes = [self._smoke(event, each, frame) for each in ((box,) if fine == box else (box, fine))]
                self._cells = round(self._cells * box.cell / fine.cell)
                billows = Billows(self.settings.composition)
                emitters = Emitters(self.dials, event, self.frame_seconds)
                debris = Debris(self.dials, event, self.frame_seconds, self._moving, survey.first, survey.last)
            else:
                for smoke in smokes:
                    self._turn(smoke, event, frame)
            chunks = debris.step(frame)
            found = self._moving(frame)
            burst = joined(
                [b for b in (emitters.emit(found, frame) if found else None, emitters.trail(*chunks.trails(), frame)) if b is not None]
            )
            lead = None
            for smoke in smokes:
                lead = self._advance(smoke, burst, frame, lead)
            if self.dials.most("billows") > 0:
                billows.step(smoke, self.frame_seconds)
            if not self._store.has("cloud", frame):
                facts = {"origin": smoke.origin, "cell": smoke.cell, "height": event.height, "shape": list(smoke.density.shape)}
                self._store.put("chunks", frame, chunks.arrays())
                self._store.put("cloud", frame, _cropped(billows.carved(smoke.density, self.dials.at(frame).billows)), facts)
            yield frame

    def _smoke(self, event: Event, box: domain.Box, first: int) -> solver.Smoke:
        settings = self._behaviour(event, first)
        smoke = solver.Smoke(box.shape, box.cell, box.origin, self.device, settings, self.settings.composition)
        smoke.velocity += self._air(self._wind(first))
        return smoke

    def _behaviour(self, event: Event, frame: int) -> solver.SmokeSettings:
        """How the smoke behaves in a frame."""
        dials = self.dials.at(frame)
        plain = solver.SmokeSettings()
        return dataclasses.replace(
            plain,
            buoyancy=plain.buoyancy * dials.rise / 0.3,
            confinement=plain.confinement * min(dials.turbulence, 1.6),
            forcing=plain.forcing * dials.turbulence,
        ).for_domain(event.height, PACE)

    def _turn(self, smoke: solver.Smoke, event: Event, frame: int) -> None:
        """Rise, turbulence and wind as they stand in this frame. A gust takes all the air along at once, as the first frame's wind did:
        left to the solver's own drag, it would take seconds to arrive."""
        smoke.settings = self._behaviour(event, frame)
        if self.dials.changes("wind", "wind_direction"):
            smoke.velocity += self._air(b - a for a, b in zip(self._wind(frame - 1), self._wind(frame)))

    def _air(self, wind) -> torch.Tensor:
        return torch.tensor(tuple(wind), dtype=torch.float32, device=self.device).view(3, 1, 1, 1)

    def _wind(self, frame: int) -> tuple[float, float, float]:
        dials = self.dials.at(frame)
        return tuple(float(v) for v in domain.direction(dials.wind_direction) * dials.wind)

    def _advance(self, smoke: solver.Smoke, burst, frame: int, lead: Optional[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
        """A frame further. lead: the air of a coarser run, which this one follows, before and after that frame; then its own is given."""
        before = smoke.velocity.clone()
        fastest = float(np.quantile(np.linalg.norm(burst.velocity, axis=1), 0.95)) if burst is not None else 0.0
        steps = int(np.clip(np.ceil(max(fastest, self.dials.at(frame).wind) * self.frame_seconds / (LONGEST_STEP * smoke.cell)), 1, 4))
        sources = burst.sources(smoke) if burst is not None else None
        for done in range(1, steps + 1):
            target = None if lead is None else torch.lerp(*lead, done / steps)
            smoke.step(self.frame_seconds / steps, sources, self._wind(frame), target, FOLLOWS)
        # What is left of a spread-out trace has denormal floats, which made every stage after it four times slower.
        smoke.density[smoke.density < THINNEST] = 0.0
        return before, smoke.velocity

    # --- seen ----------------------------------------------------------------------------------------------------------------

    def _look(self, frame: int) -> Optional[tuple[float, float, float, float]]:
        """Render the frame and keep it, unless it is kept already; then the part of the picture that it takes."""
        if not self._view.has("frame", frame):
            # Seen as it is kept, so that whatever is made from it later is of the very same cloud.
            self._view.put("frame", frame, packed(self.through(frame, self.shot.camera.at(frame).resized(self.size))))
        return _bounds(self.frame(frame), self._camera(frame), self.frame_seconds * chunk_layer.SHUTTER)

    def _rendered(self, frame: int, camera: Pinhole) -> GuideFrame:
        density, facts = self._cloud(frame)
        sun, extinction = self._sun(frame), self._extinction(frame, facts)
        passes = volume.march(
            density,
            facts["origin"],
            facts["cell"],
            camera.camera_to_world,
            camera.focal_px,
            camera.principal_px,
            camera.size,
            extinction,
            sun,
            planes=PLANES,
            lit=self._light(frame, density, facts),
            smooth=True,
            below=BELOW,
        )
        deep = coarse(volume.Deep(*(getattr(passes.deep, f.name).cpu() for f in dataclasses.fields(passes.deep))))
        arrays = (getattr(passes, name).cpu().numpy() for name in ("sun", "ambient", "alpha", "depth"))
        return GuideFrame(*arrays, light_view=_in_view(sun, camera), deep=deep)

    def _light(self, frame: int, density: torch.Tensor, facts: dict) -> volume.Light:
        """The light in every cell of a frame's dust: made once, for whatever camera looks. It costs more than a look."""
        if not self._view.has("light", frame):
            lit = volume.light(density, facts["cell"], self._extinction(frame, facts), self._sun(frame))
            near = _near(facts)
            self._view.put("light", frame, {name: part[near].cpu().to(torch.float16).numpy() for name, part in vars(lit).items()})
        # Seen as it is kept, as the dust itself is.
        return volume.Light(**{name: self._filled(part, _near(facts), facts) for name, part in self._view.get("light", frame)[0].items()})

    def _sun(self, frame: int) -> np.ndarray:
        """(3,) towards the sun in level space."""
        dials = self.dials.at(frame)
        return domain.direction(dials.sun_azimuth, dials.sun_elevation)

    # --- what others ask ---------------------------------------------------------------------------------------------------

    def frame(self, frame: int) -> GuideFrame:
        """The guide at a frame. `simulate` must have come that far."""
        arrays, _ = self._view.get("frame", frame)
        seen = unpacked(arrays, self.size, _in_view(self._sun(frame), self._camera(frame, self.size)))
        return dataclasses.replace(seen, chunks=self._chunks(frame))

    def _chunks(self, frame: int) -> Optional[Chunks]:
        fields = self._store.get("chunks", frame)[0] if self._store.has("chunks", frame) else {}
        return Chunks(**fields) if fields else None

    def through(self, frame: int, camera: Pinhole) -> GuideFrame:
        """The same cloud through another camera of the world, at that camera's size; a window of the shot's own, say. No debris."""
        if not self._store.has("cloud", frame):
            return nothing(camera.size, _in_view(self._sun(frame), camera.moved(self.level)))
        return self._rendered(frame, camera.moved(self.level))

    def cell(self, frame: int) -> Optional[tuple[float, float]]:
        """A cell of the simulation at a frame: its edge in metres, and its optical depth at density 1; None before the collapse."""
        if not self._store.has("cloud", frame):
            return None
        facts = self._store.facts("cloud", frame)
        return facts["cell"], facts["cell"] * self._extinction(frame, facts)

    @property
    def cells(self) -> int:
        """Of the simulation's longest side. `simulate` must be done."""
        return self._store.facts("plan").get("cells", self.settings.detail)

    def _extinction(self, frame: int, facts: dict) -> float:
        """Optical depth of a metre of dust of density 1."""
        return EXTINCTION / facts["height"] * self.dials.at(frame).density

    def _cloud(self, frame: int) -> tuple[torch.Tensor, dict]:
        """The density of a frame, (nz, ny, nx), and where it lies: of the grid, the cells that are held are `held`."""
        arrays, facts = self._store.get("cloud", frame)
        facts["held"] = tuple(slice(int(a), int(a) + n) for a, n in zip(arrays["low"], arrays["density"].shape))
        return self._filled(arrays["density"], facts["held"], facts), facts

    def _filled(self, part: np.ndarray, where: tuple[slice, ...], facts: dict) -> torch.Tensor:
        """(nz, ny, nx) of the cloud's grid with the part in it and nothing elsewhere."""
        whole = torch.zeros(facts["shape"])
        whole[where] = torch.from_numpy(part.astype(np.float32))
        return whole.to(self.device)

    def debris(self, frame: int, camera: Pinhole, plate_depth: np.ndarray) -> Optional[chunk_layer.Layer]:
        """Debris drawn for a camera of the world, or None where there are none. plate_depth: (h, w) of camera.size."""
        chunks = self._chunks(frame)
        if chunks is None:
            return None
        level = camera.moved(self.level)
        up = level.camera_to_world[2, :3]
        light = _in_view(self._sun(frame), level)
        return chunk_layer.draw(chunks, level, plate_depth, light, up, self.frame_seconds * chunk_layer.SHUTTER)

    def shadow(self, frame: int, plate_depth: np.ndarray, finer: Optional[tuple[Pinhole, np.ndarray]] = None) -> Optional[np.ndarray]:
        """(h, w) of the plate: the part of its light that the dust's shadow takes, times the dial; None where none falls.

        plate_depth: (h, w) metres, inf is sky: no shadow falls there. finer: a camera of the world and, for its picture, how many
        times thicker than the guide the finished dust is: what throws the shadow is looked up there, so that the shadow has the
        finished dust's edge.
        """
        strength, towards_sun = self.dials.at(frame).shadow, self._sun(frame)
        if strength <= 0 or not self._store.has("cloud", frame):
            return None
        density, facts = self._cloud(frame)
        towards = volume.towards_sun(density, facts["cell"], self._extinction(frame, facts), towards_sun)
        camera, sun = self._camera(frame), torch.from_numpy(towards_sun.astype(np.float32)).to(self.device)
        out = np.zeros(plate_depth.shape, np.float32)
        for top in range(0, len(out), _ROWS):
            rows = slice(top, top + _ROWS)
            there = np.isfinite(plate_depth[rows]) & (plate_depth[rows] > 0)
            y, x = np.nonzero(there)
            points = camera.unproject_at(x + 0.5, y + top + 0.5, plate_depth[rows][there]).astype(np.float32)
            thick, dust = volume.sun_thickness(torch.from_numpy(points).to(self.device), towards, facts["origin"], facts["cell"], sun)
            tau = thick.cpu().numpy()
            if finer is not None:
                shaded = tau > THINNEST
                tau[shaded] *= _read(finer[1], finer[0].moved(self.level), dust.cpu().numpy()[shaded])
            out[rows][there] = strength * (1.0 - np.exp(-tau))
        return out if out.any() else None

    def empty(self, frame: int) -> bool:
        """Whether a frame has no dust in the picture, and no debris anywhere: before the collapse begins, say."""
        return self.frame(frame).empty

    @property
    def bbox(self) -> Optional[tuple[float, float, float, float]]:
        """Left, top, right, bottom of all dust and debris over the shot, parts of the picture in [0, 1]; None if there is none."""
        if self._bbox is None:
            self._bbox = tuple(self._view.get("plan")[1]["bbox"] or ())
        return self._bbox or None


def _in_view(sun: np.ndarray, camera: Pinhole) -> np.ndarray:
    """(3,) towards the sun in the axes of a camera of level space."""
    return (camera.camera_to_world[:3, :3].T @ sun).astype(np.float32)


def _read(picture: np.ndarray, camera: Pinhole, points: np.ndarray) -> np.ndarray:
    """A picture (h, w), which `camera` sees, where it shows points (n, 3), linearly; 1 for those that it doesn't."""
    x, y, depth = camera.project(points)
    h, w = picture.shape
    inside = (depth > 0) & (x >= 0) & (x <= w) & (y >= 0) & (y <= h)
    at = np.stack([2 * x / w - 1, 2 * y / h - 1], -1).astype(np.float32)
    grid = torch.from_numpy(np.where(inside[:, None], at, 0)).view(1, -1, 1, 2)
    got = F.grid_sample(torch.from_numpy(picture)[None, None], grid, padding_mode="border", align_corners=False).view(-1).numpy()
    return np.where(inside, got, np.float32(1))


def _cropped(density: torch.Tensor) -> dict[str, np.ndarray]:
    """The cells that hold dust, as half floats, and their lowest corner."""
    there = (density > 1e-4).cpu().numpy()
    if not there.any():
        return {"density": np.zeros((1, 1, 1), np.float16), "low": np.zeros(3, np.int64)}
    spans = [np.nonzero(there.any(axis=tuple(a for a in range(3) if a != axis)))[0][[0, -1]] for axis in range(3)]
    part = density[tuple(slice(int(a), int(b) + 1) for a, b in spans)]
    return {"density": part.cpu().to(torch.float16).numpy(), "low": np.array([a for a, _ in spans], np.int64)}


def _near(facts: dict) -> tuple[slice, ...]:
    """The cells that a cloud's frame holds, and those beside them, which a look between cells sees too."""
    return tuple(slice(max(held.start - 2, 0), held.stop + 2) for held in facts["held"])


def _bounds(seen: GuideFrame, camera: Pinhole, shutter_seconds: float) -> Optional[tuple[float, float, float, float]]:
    """The part of the picture that a frame's dust (a pixel wider) and chunks take, or None."""
    h, w = seen.alpha.shape
    there = seen.alpha > LEAST_SEEN
    rows, columns = np.nonzero(there.any(1))[0], np.nonzero(there.any(0))[0]
    parts = []
    if len(rows):
        parts.append((max(columns[0] - 1, 0) / w, max(rows[0] - 1, 0) / h, min(columns[-1] + 2, w) / w, min(rows[-1] + 2, h) / h))
    pieces = chunk_layer.bounds(seen.chunks, camera, shutter_seconds) if seen.chunks is not None else None
    if pieces:
        parts.append(pieces)
    if not parts:
        return None
    left, top, right, bottom = (f(p[i] for p in parts) for i, f in enumerate((min, min, max, max)))
    return float(left), float(top), float(right), float(bottom)
