# SPDX-License-Identifier: Apache-2.0
"""The whole way of a shot as one stream of events: checks, guide, model, composite, files.

The same code serves `platebridge generate` in one process and the server's worker. It knows arrays, models and files; it
must not know sockets, jobs or hosts. Frames leave it in order, each as soon as it is done, and none stays in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, Generator, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np
from platebridge.errors import Cancelled, ModelError
from platebridge.events import Done, Event, FileReady, Preview, Progress, Started, Warned
from platebridge.frames import name_at
from platebridge.request import GenerateRequest
from platebridge.takes import storage_error

from . import channels, checks, composite, devices, effect, images, layers, light, matte, references, sheet, take, work
from .composite import Effect
from .depth import HALF_MAX
from .devices import best as best_device
from .dusted import DRAWN_BY, Draft, Dusting
from .guide import shelf
from .guide.dials import finer
from .guide.guide import Guide, simulation_of
from .guide.own import OwnGuide
from .guide.store import Store
from .images import Header, Part, Where, Window
from .journal import Journal
from .live import streamed
from .models import registry
from .models.base import Ears
from .painted import Painting, transform
from .shot import Shot
from .work import Box

#: The guide's picture in pixels at most: it is for the eye, the model reads its own crop of the same cloud.
GUIDE_PIXELS = 60_000
#: Width of the pictures sent while work goes on.
GLANCE = 320
#: Of a take's facts, its request's own: a take that is made of an earlier one's passes has not that one's.
OWN = ("light", "light_at", "simulation")


def generate(
    request: GenerateRequest,
    open_file: Callable[[str], Path],
    take_id: str,
    *,
    scratch: Path,
    device: Optional[str] = None,
    origin: Optional[Mapping[str, Any]] = None,
    have: Mapping[str, str] = {},
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, None]:
    """Generates a take. `open_file(sha256)`: where an input file lies. `take_id`: 32 hex digits.

    scratch: a folder of this take's own, which stays when the work is interrupted and begun again; beside it, in `guides`,
    simulations are kept for the next takes, so that another seed pays for the model alone, and in `passes` what the model gave,
    so that another light, tint or grade of the plate pays for neither. device: "cpu", "cuda:0" …;
    None takes the best there is. origin: what the client says of itself, for take.json. have: files that had come,
    {name: SHA-256}; they are not made again. cancelled: asked before each step of each stage.

    The same request gives the same frames, bit for bit, on one machine. Raises PlatebridgeError; what came before is good.
    """

    def work_on(say: Callable[[Event], None]) -> None:
        try:
            devices.check(device or "cpu")
            _Generation(request, open_file, take_id, Path(scratch), device or best_device(), origin, dict(have), cancelled, say).run()
            return
        except OSError as error:  # inputs have their own sentences: it is the disk that the work is kept on
            if error.errno is None:  # a library's own
                raise
            raise storage_error(error, error.filename or scratch) from error
        except (MemoryError, RuntimeError) as error:
            if not devices.lack_memory(error):
                raise
        # outside the handler: its traceback holds what the memory went to
        mend = "Close what else needs memory (`platebridge doctor` shows what is free), ask for a draft, or take another --device."
        raise ModelError("There was not enough memory on %s; the frames that came are kept." % (device or best_device()), mend)

    yield from streamed(work_on)


class _Generation:
    """One run. `say` takes events; it waits until each is read, so a slow reader slows the work and nothing piles up."""

    def __init__(self, request, open_file, take_id, scratch, device, origin, have, cancelled, say) -> None:
        self.request, self.open_file, self.take_id, self.device = request, open_file, take_id, device
        self.scratch, self.origin, self.have, self.cancelled, self._tell = scratch, origin, have, cancelled, say
        self._used: List[Path] = []  # of what is kept for other takes, the folders that this one works in
        self.model = registry.find(request.model.name)
        self.card = self.model.card()
        self.paints = self.card.get("kind") == "picture"
        self._opened = -1
        self.seconds: Dict[str, float] = defaultdict(float)
        self.busy: Dict[str, float] = defaultdict(float)  # of the processor, by stage
        self._within: List[List[float]] = []  # of the stages under way: what others within them took
        self.warnings: List[Dict[str, Any]] = []
        self.facts: Dict[str, Any] = {}
        self.files = Journal(scratch / "files.jsonl", have)
        self.dust: Dict[int, float] = {}  # mean alpha of the frames that were made here
        self._pool = ThreadPoolExecutor(3, "files")  # a frame's files are made side by side, and beside the next frame
        self._leaving: List[Tuple[int, Dict[str, Future[bytes]], Future[bytes]]] = []  # the frame whose files are being made
        self._said_in: Dict[Tuple[str, bool], Dict[str, str]] = {}  # labels by kind, and whether a model made the plate

    def run(self) -> None:
        began = time.monotonic()
        with self._pool:
            self._run()
        self.seconds["total"] = time.monotonic() - began
        self._write_document()
        self._say(Done({name: round(value, 3) for name, value in self.seconds.items()}))

    def _run(self) -> None:
        self._say(Started(self.model.name, self.device))
        devices.deterministic(self.device)
        with self._timed("reading"):
            self._check()
            self.plate_light = light.of_shot(self.shot)
        self.facts["light"] = layers.light_of(self._colours(self.request.frames.first))
        if {curve.dial for curve in self.request.animated} & set(layers.RELIT):
            self.facts["light_at"] = {str(f): layers.light_of(self._colours(f)) for f in self.request.frames}
        self.simulation = simulation_of(self.request, self.shot.geometry)
        if self.request.inputs.guide is None:
            self.facts["simulation"] = self.simulation
        self.kept = layers.Kept(self._shelf("passes", layers.passes_of(self.request, self.shot.geometry, self._made_by(), self.device)))
        earlier = self.kept.facts({name: None for f in self.request.frames for name in self._layer_names(f).values()})
        if earlier is None or self.request.output.picture or not self._light_again(earlier):
            self._make()
        with self._timed("preview"):
            self._write_preview()
            self._write_sheet()

    # --- stages ------------------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        """Every frame from guide and model; what they gave is kept for another light."""
        with self._timed("guide"):
            self.guide = self._simulated()
        for frame, made in self._effects():
            with self._timed("writing"):
                if self.request.output.picture and self._names(frame)["picture"] not in self.files.known:
                    self._write_picture(frame, self.shot.plate(frame))  # nothing was painted
                self._write_frame(frame, made, self._guide_picture)
        self._send()
        if self.guide.bbox:
            self.kept.finish({**self.facts, "passes_of": self.take_id})

    def _light_again(self, earlier: Dict[str, Any]) -> bool:
        """Every frame from the passes that an earlier take of the same dust left; only the light's colour and the plate are new.

        False where one of them is damaged, by a power cut for instance: that costs time and no take. What has gone out by then stays."""
        before = dict(self.facts)
        self.facts.update({name: fact for name, fact in earlier.items() if name not in OWN})
        try:
            self._lit_again()
            return True
        except layers.Damaged:
            self._send()
            self.have.update({name: sha for name, (sha, _) in self.files.known.items()})
            self.facts = before
            return False

    def _lit_again(self) -> None:
        if self.request.inputs.guide is None:
            self._keep_simulation()
        for frame in self._wanted():
            if self.cancelled():
                raise Cancelled()
            with self._timed("writing"):
                made = self.kept.effect(self._layer_names(frame)["effect"])
                self._write_frame(frame, made, lambda f: self.kept.effect(self._layer_names(f)["guide"]))
        self._send()

    def _keep_simulation(self) -> None:
        """Another camera may ask for this take's simulation: it stays as long as its passes. One that has left the shelf is made again."""
        kept = Store(self._shelf("guides", self.simulation), self.simulation)
        if not (kept.has("plan") or self.request.simulation):
            with self._timed("guide"):
                self._simulated()

    def _made_by(self) -> Dict[str, Any]:
        """The cards of all models that have a part in the effect, and what goes into it by name alone."""
        if not self.paints:
            return self.card
        drawn = {"draft": registry.find(DRAWN_BY).card()} if self.request.paint.led_by == "draft" else {}
        made_of = self.model.made_of(self.request.model, self.request.paint)
        return {**self.card, **drawn, "made_of": made_of, "matte": matte.weights_sha256()}

    def _check(self) -> None:
        request = self.request
        registry.opened(request.model.name, self._opening, self.cancelled)
        checks.check_request(request)
        checks.check_dials(request, self.card)
        references.check(request, self.card, self.open_file)
        if self.paints:
            transform(request)  # one that can't be is said now
        files = {(name, f.frame): f.sha256 for name, source in vars(request.inputs).items() if source for f in source.files}
        checks.check_headers(request, lambda name, frame: images.read_header(self.open_file(files[name, frame]), Where(name, frame)))
        self.shot = shot = Shot(request, self.open_file)
        checks.check_room(self.scratch, checks.scratch_bytes(request, *shot.size), "the work")
        if not shot.camera.given:
            self._warn(Warned("No camera was given; a 35 mm camera that stands still was taken.", "camera"))
        for event in checks.check_pixels(shot, self.cancelled):
            self._warn(event) if isinstance(event, Warned) else self._say(event)

    def _simulated(self) -> Union[Guide, OwnGuide]:
        """The guide, ours or the artist's, seen through once."""
        settings = self.request.guide
        h, w = self.shot.size
        shrink = min(1.0 / work.COARSER, (GUIDE_PIXELS / (h * w)) ** 0.5)
        if self.request.inputs.guide is None:  # no finer than the model reads it: dust all over the plate is then rendered once
            shrink = min(shrink, settings.detail * finer(self.request) * work.PIXELS_PER_CELL / work.COARSER / max(h, w))
        size = max(4, round(h * shrink)), max(4, round(w * shrink))
        if self.request.inputs.guide is not None:
            guide: Union[Guide, OwnGuide] = OwnGuide(self.shot, settings, size)
        else:
            folder = self._shelf("guides", self.simulation)
            guide = Guide(self.shot, settings, self.request.settings.fps, size, folder, self.device)
            self._used.append(guide.folder)
        guide.simulate(lambda done, total: self._say(Progress("guide", done, total)), self.cancelled)
        return guide

    def _shelf(self, kind: str, fingerprint: str) -> Path:
        """Where what was made lies, for this take and the next ones of the same shot and dials."""
        folder = shelf.place(self.scratch.parent / kind, fingerprint)
        self._used.append(folder)
        return folder

    def _wanted(self) -> List[int]:
        """Frames that are still to be made."""
        return [f for f in self.request.frames if not all(name in self.have for name in self._names(f).values())]

    def _effects(self) -> Iterator[Tuple[int, Effect]]:
        """Every frame that is still to be made with its effect, in order."""
        frames = list(self.request.frames)
        wanted = self._wanted()
        if not wanted:
            return
        box = self.guide.bbox
        dusty = [f for f in frames if not self.guide.empty(f)] if box else []
        if box is None or not dusty:
            self._warn(self._nothing_to_do())
            for frame in wanted:
                yield frame, self._without_dust(frame)
            return
        for frame in (f for f in wanted if f < dusty[0]):
            yield frame, self._without_dust(frame)
        during = {f for f in wanted if dusty[0] <= f <= dusty[-1]}
        if during:
            with contextlib.closing(self._generated(box, range(dusty[0], dusty[-1] + 1), min(during))) as made:
                for frame, effect_ in made:
                    if frame in during:
                        yield frame, effect_
                    if frame == max(during):
                        break
        for frame in (f for f in wanted if f > dusty[-1]):
            yield frame, self._without_dust(frame)

    def _without_dust(self, frame: int) -> Effect:
        """A frame with no dust in the picture. What has left it, or not come into it, may throw its shadow there all the same."""
        layers_ = {"painted": self.paints, "hued": self.request.inputs.guide is not None and not self.paints}
        if self.request.guide_at(frame).shadow <= 0:
            return composite.nothing(*self.shot.size, **layers_)
        plate_depth = self.shot.depth(frame)
        return composite.shadow_alone(self.guide.shadow(frame, plate_depth), plate_depth, **layers_)

    def _nothing_to_do(self) -> Warned:
        frames, start = self.request.frames, self.request.guide.start_frame
        if all(self.request.guide_at(f).amount <= 0 for f in frames):
            return Warned("The amount is 0, so the effect is empty in every frame.")
        if self.request.inputs.guide is not None:
            return Warned("The guide is empty in every frame, and so is the effect.", "guide")
        if self.request.simulation and any(self.guide.cell(f) for f in frames):
            return Warned("The cloud of the simulation is never in this camera's picture.", "camera")
        if start > frames.last:
            return Warned("The start frame %d lies after the last frame, so no dust is born: the effect is empty in every frame." % start)
        if len(frames) == 1:
            return Warned("One frame shows no motion, so no dust is born: the effect is empty.", "mask")
        return Warned("Nothing in the mask moves, so no dust is born: the effect is empty in every frame.", "mask")

    def _generated(self, box: Box, frames: range, first_needed: int) -> Generator[Tuple[int, Effect], None, None]:
        """The model over the frames that have dust, from `first_needed` on; box: the part of the canvas that it takes."""
        if self.paints:
            yield from self._painted(frames)
            return
        dusting = Dusting(self.shot, self.guide, self.request, self._crops())
        self.facts.update(dusting.facts())
        with self._timed("loading"):
            self.model.load(self.device)
        made = dusting.passes(self.model, frames, self._generating, self._before_a_step, first_needed)
        while True:
            with self._timed("generating"):
                got = next(made, None)
            if got is None:
                return
            with self._timed("writing"):
                settled = dusting.settled(*got)
            yield got[0], settled

    def _painted(self, frames: range) -> Generator[Tuple[int, Effect], None, None]:
        """As `_generated`, of a model that paints whole pictures."""
        draft = self._drafted(frames) if self.request.paint.led_by == "draft" else None
        painting = Painting(self.shot, self.guide, self.request, self._colours, self.model, self._crops(), draft, self.open_file)
        self.facts.update(painting.facts())
        with self._timed("loading"):
            self.model.load(self.device, painting.asked(frames), self.request.model, self.request.paint)
        ears = Ears(
            self._generating,
            lambda frame, codes: self._forming(frame, painting.glance(frame, codes, GLANCE)),
            self.facts.update,
            lambda sentence: self._warn(Warned(sentence)),
            self._before_a_step,
        )
        with contextlib.closing(painting.effects(frames, ears, self._timed)) as made:
            while True:
                with self._timed("matte"):
                    got = next(made, None)
                if got is None:
                    return
                if self.request.output.picture:
                    with self._timed("writing"):
                        self._write_picture(got[0], painting.picture(got[0]))
                yield got

    def _drafted(self, frames: range) -> Draft:
        """What the built-in model makes of the same request: it leads the painter."""
        own = self.scratch / "draft"
        draft = Draft(self.shot, self.guide, self.request, self._colours, self.device, self._shelf, self._crops(), own)
        with self._timed("draft"):
            draft.make(frames, lambda done, total: self._say(Progress("draft", done, total)), self.cancelled)
        self.facts.update(draft.facts())
        return draft

    def _crops(self) -> Path:
        """Where crops of the guide are kept: beside the simulation that they are of."""
        return (self.scratch if isinstance(self.guide, OwnGuide) else self.guide.folder) / "crop"

    def _forming(self, frame: int, light_: np.ndarray) -> None:
        """A small scene-linear picture of what is coming, of the plate's own pixels."""
        self._say(Preview(frame, take.png(take.display(light_, GLANCE, self.shot.pixel_aspect), GLANCE)))

    def _say(self, event: Event) -> None:
        """An event goes out. Each step and each frame says one, so meanwhile no other take removes what this one works in."""
        shelf.touch(*self._used)
        self._tell(event)

    def _before_a_step(self) -> bool:
        """A model asks whether to stop. What is finished doesn't wait for the step."""
        self._send()
        return self.cancelled()

    def _opening(self, file: str, done: int, total: int) -> None:
        """A large model's files are hashed: bytes, told by the hundredth."""
        hundredths = 100 * done // total
        if hundredths > self._opened:
            self._opened = hundredths
            self._say(Progress("loading", hundredths, 100))

    def _generating(self, done: int, total: int) -> None:
        self._say(Progress("generating", done, total))

    # --- files -------------------------------------------------------------------------------------------------------------

    def _write_frame(self, frame: int, made: Effect, guide: Callable[[int], Effect]) -> None:
        """Comp, effect and guide of a frame, those that are not there yet; a glance for the eye, and one kept for the preview.

        They go out when the next frame's are begun, or `_send` is called."""
        names, shot, colours = self._names(frame), self.shot, self._colours(frame)
        parts = shot.plate_parts(frame)
        by_a_model = images.by_a_model([part.metadata for part in parts])
        rgba = made.rgba(colours)
        self.dust[frame] = float(made.alpha.mean())
        seen = self._comp(frame, parts, rgba, made.shadow)
        files: Dict[str, Future[bytes]] = {}  # made side by side
        if names["comp"] not in self.have:
            files["comp"] = self._pool.submit(images.encode, parts, self._labels("comp", by_a_model))
        if names["effect"] not in self.have:
            files["effect"] = self._layers("effect", frame, layers.part(made, rgba, shot.window, shot.display))
        if "guide" in names and names["guide"] not in self.have:
            small = guide(frame)
            windows = self._windows_of_guide(small.alpha.shape)
            files["guide"] = self._layers("guide", frame, layers.part(small, small.rgba(colours), *windows))
        glance = self._pool.submit(self._glanced, frame, seen)
        self._send()
        self._leaving = [(frame, files, glance)]

    def _glanced(self, frame: int, seen: np.ndarray) -> bytes:
        """A PNG of the comp, small; one as wide as the preview is kept."""
        picture = take.display(seen, pixel_aspect=self.shot.pixel_aspect)
        self._glance(frame).parent.mkdir(exist_ok=True)
        kept = io.BytesIO()  # NumPy's own way into a file tells of a full disk without its number
        np.save(kept, picture)
        self._glance(frame).write_bytes(kept.getbuffer())
        return take.png(picture, GLANCE)

    def _send(self) -> None:
        """The frame whose files were begun last goes out."""
        while self._leaving:
            frame, files, glancing = self._leaving.pop()
            with self._timed("writing"):
                glance = glancing.result()  # kept before a file goes out: once one has, the work may be cut off at any moment
                for kind, file in files.items():
                    data = file.result()
                    if kind != "comp" and "passes_of" not in self.facts:
                        self.kept.put(self._names(frame)[kind], data)  # for another light
                    self._ready(kind, frame, self._names(frame)[kind], data)
                self._say(Preview(frame, glance))
                self._say(Progress("writing", frame - self.request.frames.first + 1, len(self.request.frames)))

    def _layers(self, kind: str, frame: int, part: Part) -> Future[bytes]:
        """A file with passes, in the making."""
        painted = kind == "effect" and self.paints  # then there are no passes to put another light on
        lit = {} if painted else layers.labels(self._colours(frame))
        return self._pool.submit(images.encode, [part], {**self._labels(kind), **lit, "pixelAspectRatio": self.shot.pixel_aspect})

    def _write_picture(self, frame: int, picture: np.ndarray) -> None:
        """What the model painted, (h, w, 3) float32 scene-linear over the canvas."""
        name = self._names(frame)["picture"]
        if name not in self.have:
            light_ = np.clip(picture, -HALF_MAX, HALF_MAX).astype(np.float16)  # a plate of floats may go beyond
            samples = {c: light_[..., i] for i, c in enumerate("RGB")}
            part = images.new_part(samples, self.shot.window, self.shot.display)
            told = {**self._labels("picture"), "pixelAspectRatio": self.shot.pixel_aspect}
            self._ready("picture", frame, name, images.encode([part], told))

    def _colours(self, frame: int) -> light.DustLight:
        """The light on the dust in a frame."""
        return self.plate_light.dust(self.request.guide_at(frame))

    def _comp(self, frame: int, parts: List[Part], rgba: np.ndarray, shadow: np.ndarray) -> np.ndarray:
        """Lays the effect over the plate's own samples, in place; gives the comp on the canvas, (h, w, 3) float32, for the eye."""
        header = Header(Path(), tuple(p.header for p in parts))
        found = channels.find(header, "plate", self.request.inputs.plate.channels, Where("plate", frame))
        part = parts[found[0][0]]
        coverage = channels.beside(header, found, "A")
        on_canvas, _ = part.header.data.slices_in(self.shot.window)
        # The canvas holds every frame's data window, so this is the whole of this one.
        if np.count_nonzero(rgba[..., 3]) > np.count_nonzero(rgba[on_canvas][..., 3]):
            said = "The dust goes beyond the plate's data window, and there the comp has no pixels; the effect is whole."
            self._warn(Warned(said, "plate"))
        rgba, shadow = rgba[on_canvas], shadow[on_canvas]
        plate = {c: part.samples[name] for c, (_, name) in zip("RGB", found)}
        over = composite.over(rgba, plate, part.samples[coverage[1]] if coverage else None, shadow)
        for c, (_, name) in zip("RGB", found):
            part.samples[name] = over[c]
        if coverage:
            part.samples[coverage[1]] = over["A"]
        seen = np.zeros((*self.shot.size, 3), np.float32)
        seen[on_canvas] = np.stack([over[c] for c in "RGB"], -1).astype(np.float32)
        return seen

    def _guide_picture(self, frame: int) -> Effect:
        """The guide as it is looked at: over the whole canvas, small, in the same light as the effect."""
        seen = self.guide.frame(frame)
        size = seen.alpha.shape
        if seen.empty and seen.chroma is None:
            return composite.nothing(*size)
        plate_depth = work.thinned(self.shot.depth(frame), size)
        debris = self.guide.debris(frame, self.shot.camera.at(frame).resized(size), plate_depth)
        passes, z = effect.assemble(seen.sun, seen.ambient, seen.alpha, seen, plate_depth, debris)
        return composite.settle(passes, z, plate_depth, chroma=effect.hue(seen, size))

    def _windows_of_guide(self, size: Tuple[int, int]) -> Tuple[Window, Window]:
        """Data and display window of the whole canvas at the guide's size: the plate's own, as near as whole pixels come."""
        canvas, shown = self.shot.window, self.shot.display
        down, across = size[0] / canvas.height, size[1] / canvas.width
        display = Window(round((shown.x - canvas.x) * across), round((shown.y - canvas.y) * down),
                         max(1, round(shown.width * across)), max(1, round(shown.height * down)))
        return Window(0, 0, size[1], size[0]), display

    def _glance(self, frame: int) -> Path:
        return self.scratch / "glances" / ("%d.npy" % frame)

    def _write_preview(self) -> None:
        """preview.mp4 of all frames, the slate burned in. Read one by one from the scratch folder."""
        if not self.request.output.preview or "preview.mp4" in self.have:
            return
        frames = [f for f in self.request.frames if self._glance(f).exists()]
        if len(frames) < len(self.request.frames):
            self._warn(Warned("The preview lacks frames that were made before an interruption; the frames themselves are all there."))
        path = self.scratch / "preview.mp4"
        slates = (take.slate(np.load(self._glance(f)), "%s  %s  %d" % (self.request.shot, self.take_id[:8], f)) for f in frames)
        take.preview_mp4(slates, self.request.settings.fps, path)
        if frames:
            self._ready("preview", None, "preview.mp4", path.read_bytes())

    def _write_sheet(self) -> None:
        """sheet.png of a wedge: this take beside those of the same wedge that are done, at the frame where the first had most dust."""
        if not self.request.output.wedge or sheet.NAME in self.have:
            return
        folder = self._shelf("wedges", self.request.output.wedge)
        frames = [f for f in self.request.frames if self._glance(f).exists()]
        frame = sheet.frame_of(folder)
        if frame is None and frames:
            frame = max(frames, key=lambda f: self.dust.get(f, 0.0))
        if frame not in frames:
            self._warn(Warned("The contact sheet lacks this take: its picture went with an interruption."))
            return
        name = str((self.origin or {}).get("take") or self.take_id[:8])
        tile = sheet.Tile(name, frame, self.request.dial_values(), np.load(self._glance(frame)))
        sheet.add(folder, self.take_id, tile)
        self._ready("sheet", None, sheet.NAME, sheet.png(folder, self.request))

    def _write_document(self) -> None:
        self.facts["processor_seconds"] = {stage: round(value, 3) for stage, value in self.busy.items()}
        data = take.document(
            self.request,
            self.take_id,
            self.card,
            files=self.files.known,
            warnings=self.warnings,
            seconds=self.seconds,
            origin=self.origin,
            device=self.device,
            over_a_model=self._over_a_model(),
            facts=self.facts,
        )
        self._say(FileReady("take", None, "take.json", hashlib.sha256(data).hexdigest(), data))

    def _over_a_model(self) -> bool:
        """Whether any frame of the plate says that a trained model had a hand in it."""
        plates = {f.sha256: f.frame for f in self.request.inputs.plate.files if f.frame in self.request.frames}
        return any(images.by_a_model(images.metadata(self.open_file(sha), Where("plate", frame))) for sha, frame in plates.items())

    def _names(self, frame: int) -> Dict[str, str]:
        kinds = ("comp", "effect", "guide") if self.request.output.guide else ("comp", "effect")
        kinds += ("picture",) if self.request.output.picture else ()
        return {kind: name_at(kind + ".####.exr", frame) for kind in kinds}

    def _layer_names(self, frame: int) -> Dict[str, str]:
        """Of a frame's files, those with passes."""
        return {kind: name for kind, name in self._names(frame).items() if kind in ("effect", "guide")}

    def _labels(self, kind: str, over_a_model: bool = False) -> Dict[str, str]:
        if (kind, over_a_model) not in self._said_in:
            self._said_in[kind, over_a_model] = take.labels(kind, self.request, self.take_id, self.card, over_a_model)
        return self._said_in[kind, over_a_model]

    def _ready(self, kind: str, frame: Optional[int], name: str, data: bytes) -> None:
        """A finished file goes out."""
        sha = hashlib.sha256(data).hexdigest()
        self.files.add(name, sha, len(data))
        self._say(FileReady(kind, frame, name, sha, data))

    def _warn(self, event: Warned) -> None:
        said = {"message": event.message, "input": event.input, "frame": event.frame}
        if said not in self.warnings:
            self.warnings.append(said)
            self._say(event)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """A stage's own time: what lies within it and is another stage is that one's alone."""
        began, busy = time.monotonic(), time.process_time()
        self._within.append([0.0, 0.0])
        try:
            yield
        finally:
            spent = time.monotonic() - began, time.process_time() - busy
            inner = self._within.pop()
            self.seconds[stage] += spent[0] - inner[0]
            self.busy[stage] += spent[1] - inner[1]
            if self._within:
                self._within[-1] = [a + b for a, b in zip(self._within[-1], spent)]
