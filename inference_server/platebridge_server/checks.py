# SPDX-License-Identifier: Apache-2.0
"""What can be refused before any work is done: each fault one sentence with input, frame and mend.

First what needs no pixel (is every frame there, does every header fit, is there room on the disk), then one pass over the
pixels of plate, depth, mask and what else was given. Nothing is written and nothing is generated before both are through.
Must not know guides or models.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple

import numpy as np
from platebridge.errors import Cancelled, InputError, RequestError, StorageError
from platebridge.events import Event, Progress, Warned
from platebridge.frames import FrameRange
from platebridge.request import GenerateRequest, PaintSettings, Pass

from . import channels, depth
from .guide.dials import finer
from .images import Header, Where
from .shot import Shot

#: Narrower than this there is nothing to see, and the model's smallest field is larger.
LEAST_SIDE = 16


def check_request(request: GenerateRequest) -> None:
    """What the request alone shows: inputs that are absent, frames that are missing. Raises InputError or RequestError."""
    for name in ("plate", "depth", "mask", "vectors", "guide"):
        source = getattr(request.inputs, name)
        if source is None or (name == "mask" and request.simulation and not source.files):
            continue  # a kept simulation has its mask behind it
        check_frames(name, source, request.frames)
    if request.simulation and request.inputs.guide is not None:
        raise RequestError("Both a guide and a kept simulation were given.", "Leave one of them out.", input="guide")
    if request.camera is not None and not request.camera.frames:
        raise RequestError("The camera has no frames.", "List at least one frame with its camera_to_world.", input="camera")


def check_frames(name: str, source: Pass, frames: FrameRange) -> None:
    """Whether an input has a file for every frame. Raises InputError that lists those that are missing."""
    there = {f.frame for f in source.files}
    if not there:
        raise InputError("There are no files.", "Give the %s as a sequence of OpenEXR files." % name, input=name)
    missing = [f for f in frames if f not in there]
    if missing:
        one = len(missing) == 1
        raise InputError(
            "%s missing from the sequence: %s." % ("1 frame is" if one else "%d frames are" % len(missing), listed(missing)),
            "Write %s, or shorten the frame range." % ("it" if one else "them"),
            input=name,
            frame=missing[0],
        )


def check_dials(request: GenerateRequest, card: Mapping[str, Any]) -> None:
    """Dials that the model would leave without effect. Raises RequestError that names them."""
    plain = PaintSettings()
    turned = [name for name, value in vars(request.paint).items() if value != getattr(plain, name)]
    if turned and card.get("kind") != "picture":
        raise RequestError(
            "The model %s paints no picture and has no use for %s." % (request.model.name, " and ".join(turned)),
            "Leave %s out, or choose a model that paints." % ("it" if len(turned) == 1 else "them"),
        )
    if request.output.picture and card.get("kind") != "picture":
        mend = "Leave the picture files (--picture-files) out."
        raise RequestError("The model %s paints no picture that could be kept." % request.model.name, mend)


def check_headers(request: GenerateRequest, header: Callable[[str, int], Header]) -> None:
    """Every file's header: readable, with the channels wanted, of one size. `header(input, frame)` reads one. Raises InputError."""
    size: Optional[Tuple[int, int, int, int]] = None
    for name in ("plate", "depth", "mask", "vectors", "guide"):
        source = getattr(request.inputs, name)
        if source is None:
            continue
        seen: Dict[str, None] = {}
        for file in (f for f in source.files if f.frame in request.frames):
            if file.sha256 in seen:
                continue
            seen[file.sha256] = None
            where = Where(name, file.frame)
            head = header(name, file.frame)
            found = channels.find(head, name, source.channels, where)
            part = head.parts[found[0][0]]
            if name == "plate":
                _check_plate(head, found, where)
            if name == "guide":
                continue  # an artist's guide may have any size
            shown = part.display
            now = (shown.x, shown.y, shown.width, shown.height)
            if size is None:
                size = now
            elif now != size:
                raise InputError(
                    "The picture is %dx%d where the plate's first is %dx%d%s."
                    % (now[2:] + size[2:] + ("" if now[2:] != size[2:] else ", and begins elsewhere",)),
                    "Render it at the plate's size.",
                    input=name,
                    frame=file.frame,
                )


def check_room(folder: Path, wanted: int, what: str) -> None:
    """Raises StorageError if the disk of `folder` has less than `wanted` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise StorageError(
            "There is not enough disk left for %s: about %s needed, %s free in %s." % (what, _size(wanted), _size(free), folder),
            "Free some space, or choose another folder.",
            wanted=wanted,
        )


def scratch_bytes(request: GenerateRequest, height: int, width: int) -> int:
    """About how much the scratch folder takes at most while a shot of this size is made: guides, clouds, glances, passes."""
    guide = int(3_000_000 * finer(request) ** 3)
    return len(request.frames) * (guide + min(height * width, 600_000) * 5 // 2 + height * width * 6) + 4 * height * width * 24


def take_bytes(request: GenerateRequest) -> int:
    """About how many bytes a take's files have at least: comps like their plates, effects about half as much."""
    return sum(f.size for f in request.inputs.plate.files if f.frame in request.frames) * 3 // 2


def check_pixels(shot: Shot, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """One pass over all pixels: Progress and Warned as it goes. Raises InputError; Cancelled when asked."""
    request, frames = shot.request, list(shot.request.frames)
    tally = _Tally(request)
    done_files = set()
    for at, frame in enumerate(frames):
        if cancelled():
            raise Cancelled()
        yield Progress("reading", at, len(frames))
        for name in ("plate", "depth", "mask", "vectors", "guide"):
            file = shot.file(name, frame)
            if file is None or (name, file.sha256) in done_files:
                continue
            done_files.add((name, file.sha256))
            if name == "depth":
                tally.depth(shot, frame)
            else:
                tally.count(name, frame, shot.raw(name, frame), file.sha256)
            if name == "guide" and shot.guide_depth(frame) is None:
                tally.flat.append(frame)
        tally.mask_meets_depth(shot, frame)
        tally.mask_leaves_room(shot, frame)
    yield Progress("reading", len(frames), len(frames))
    yield from tally.verdict()


class _Tally:
    """What a pass over the pixels found, frame by frame, and what follows from it."""

    def __init__(self, request: GenerateRequest) -> None:
        self.request, self.scrub = request, request.settings.bad_pixels == "scrub"
        self.mask_leads = not (request.simulation or request.inputs.guide)  # else nothing is born of it
        self.bad: Dict[str, List[int]] = {}
        self.over_one: List[int] = []
        self.zero_sky: List[int] = []
        self.holes: List[int] = []
        self.inverse: List[int] = []
        self.near: List[int] = []
        self.far: List[int] = []
        self.far_end = 0.0
        self.flat: List[int] = []  # the guide
        self.most_mask = 0.0
        self.empty: Set[str] = set()  # files of the mask in which nothing counts as collapsing
        self.masked, self.masked_solid = False, False
        self.vectors_move = request.inputs.vectors is None
        self.bare = False  # whether the mask leaves any of the picture out

    def count(self, name: str, frame: int, pixels: np.ndarray, sha256: str) -> None:
        """pixels: (h, w, c) float32 as read, of the file of that hash."""
        good = np.isfinite(pixels)
        if not good.all():
            self._bad(name, frame, int((~good.all(axis=-1)).sum()))
        if name == "vectors":
            self.vectors_move |= bool((good & (pixels != 0)).any())
        if name == "mask":
            most = float(np.max(pixels, initial=0.0, where=good))
            self.most_mask = max(self.most_mask, most)
            if most <= 0.5:
                self.empty.add(sha256)
            if most > 1.001:
                self.over_one.append(frame)

    def depth(self, shot: Shot, frame: int) -> None:
        raw = shot.raw_depth(frame)
        kind = self.request.settings.depth_kind
        broken = np.isnan(raw) | np.isneginf(raw) | (np.isposinf(raw) if kind in ("inverse", "near_one") else False)
        if broken.any():
            self._bad("depth", frame, int(broken.sum()))
        if not raw.any():
            raise InputError(
                "The depth is zero everywhere.",
                "Render the depth pass again; is it switched on in every layer?",
                input="depth",
                frame=frame,
            )
        z, holes, zeros = shot.metres(frame, raw)
        if not np.isfinite(z).any():
            if (np.isfinite(raw) & (raw < 0)).any():
                raise InputError(
                    "The depth is below 0 wherever something stands.",
                    "Turn its sign: before the camera it is above 0.",
                    input="depth",
                    frame=frame,
                )
            raise InputError(
                "The depth is sky everywhere.", "Render what stands in the shot into the depth pass.", input="depth", frame=frame
            )
        if holes.any():
            self.holes.append(frame)
        if zeros.any():
            self.zero_sky.append(frame)
        far = depth.far_end(raw, self.request.settings.depth_scale) if kind in ("z", "distance") else np.nan
        if np.isfinite(far):
            self.far.append(frame)
            self.far_end = max(self.far_end, far)
        if kind == "z":
            step = max(1, min(raw.shape) // 128)
            small = raw[::step, ::step] * np.float32(self.request.settings.depth_scale)
            if depth.looks_inverse(small):
                self.inverse.append(frame)
            elif float(z[np.isfinite(z)].max()) < 1.0:
                self.near.append(frame)

    def mask_meets_depth(self, shot: Shot, frame: int) -> None:
        if self.masked_solid or self.request.simulation:
            return
        mask = shot.mask(frame) > 0
        if mask.any():
            self.masked = True
            self.masked_solid = bool(np.isfinite(shot.depth(frame)[mask]).any())

    def mask_leaves_room(self, shot: Shot, frame: int) -> None:
        if self.mask_leads and not self.bare:
            shown, _ = shot.display.slices_in(shot.window)
            self.bare = bool((shot.mask(frame)[shown] <= 0.5).any())

    def verdict(self) -> Iterator[Event]:
        """Raises what must stop the work, else yields what the artist should know."""
        frames = self.request.frames
        if len(self.inverse) * 2 > len(frames):
            raise InputError(
                "The depth is said to be Z in metres, but it looks like 1/Z: it shrinks with distance and nothing is farther than 1 m.",
                "Say depth kind inverse (--depth-kind inverse), or give the scale of its unit (--depth-scale).",
                input="depth",
                frame=self.inverse[0],
            )
        if not (self.masked or self.request.simulation):
            raise InputError(
                "The mask is empty in every frame of %s." % frames,
                "Paint or render what collapses into it.",
                input="mask",
                frame=frames.first,
            )
        if self.most_mask <= 0.5 and self.mask_leads:
            raise InputError(
                "The mask is nowhere above 0.5, and only what is counts as collapsing.",
                "Paint or render what collapses at 1.",
                input="mask",
                frame=frames.first,
            )
        if not (self.masked_solid or self.request.simulation):
            raise InputError(
                "Wherever the mask is, the depth is sky, in every frame.",
                "Render the depth with what the mask shows in it.",
                input="mask",
                frame=frames.first,
            )
        absent = _without_camera(self.request)
        if absent:
            said = "The camera says nothing of %s, and the nearest frame that it has was taken: what stands still may seem to move there."
            yield Warned(said % _frames(absent), "camera", absent[0])
        for name, bad in self.bad.items():
            taken = {"depth": "holes", "vectors": "standing still"}.get(name, "0")
            yield Warned("NaN or infinite pixels in %s were taken as %s." % (_frames(bad), taken), name, bad[0])
        if self.over_one:
            yield Warned("The mask goes above 1 in %s; it was cut off at 1." % _frames(self.over_one), "mask", self.over_one[0])
        gone = self._mask_gone() if self.mask_leads else []
        if gone:
            said = "The mask is empty in %s, but not before and after: what comes back may throw out dust as if it had just appeared."
            yield Warned(said % _frames(gone), "mask", gone[0])
        if self.mask_leads and not self.bare:
            yield Warned(
                "The mask covers the whole picture in every frame. If that is only the picture's alpha, name the mask's own channel "
                "(--mask-channel).",
                "mask",
                frames.first,
            )
        masks = {file.sha256 for file in self.request.inputs.mask.files if file.frame in frames}
        if self.mask_leads and not self.vectors_move and len(masks) > 1:
            said = "The motion vectors are 0 in every frame, though the mask changes. If their pass was not rendered, leave them out."
            yield Warned(said, "vectors", frames.first)
        if self.zero_sky:
            yield Warned("Depth 0 in %s was taken as sky." % _frames(self.zero_sky), "depth", self.zero_sky[0])
        if self.far:
            yield Warned(
                "The farthest depth, %g in %s, lies far beyond all else and was taken as sky." % (self.far_end, _frames(self.far)),
                "depth",
                self.far[0],
            )
        if self.holes:
            yield Warned("Holes in the depth of %s were filled from around them." % _frames(self.holes), "depth", self.holes[0])
        if self.near:
            yield Warned(
                "Everything is nearer than 1 m in %s: is the depth in metres? Give its unit with --depth-scale, or say --depth-kind."
                % _frames(self.near),
                "depth",
                self.near[0],
            )
        if self.flat:
            yield Warned("The guide has no Z in %s: nothing in the plate holds it out." % _frames(self.flat), "guide", self.flat[0])

    def _mask_gone(self) -> List[int]:
        """Frames in which the mask is empty, between others in which it isn't."""
        files, frames = self.request.inputs.mask.files, self.request.frames
        there = {file.frame for file in files if file.sha256 not in self.empty and file.frame in frames}
        return [f for f in range(min(there), max(there)) if f not in there] if there else []

    def _bad(self, name: str, frame: int, count: int) -> None:
        if not self.scrub:
            raise InputError(
                "%d pixel%s NaN or infinite." % (count, " is" if count == 1 else "s are"),
                "Render the frame again, or let such pixels be scrubbed (--bad-pixels scrub).",
                input=name,
                frame=frame,
            )
        self.bad.setdefault(name, []).append(frame)


def _without_camera(request: GenerateRequest) -> List[int]:
    """Frames that a camera with several frames doesn't list. One frame alone is a camera that stands still."""
    known = {item.frame for item in request.camera.frames} if request.camera else set()
    return [f for f in request.frames if f not in known] if len(known) > 1 else []


def _check_plate(head: Header, found, where: Where) -> None:
    part = head.parts[found[0][0]]
    whole = part.display.union(part.data)  # a frame that is empty but for a little is cropped to that, and yet as large as the others
    if any(part.types[part.channels.index(name)] == "uint" for _, name in found):
        raise InputError(
            "The plate's colour is in whole numbers, not in light.", "Write it as half or float.", input="plate", frame=where.frame
        )
    if min(whole.width, whole.height) < LEAST_SIDE:
        raise InputError(
            "The picture is %s; the smallest is %dx%d." % (whole, LEAST_SIDE, LEAST_SIDE),
            "Render it larger.",
            input="plate",
            frame=where.frame,
        )


def listed(frames: List[int]) -> str:
    """[1001, 1002, 1003, 1007] as '1001-1003, 1007'; a long list is cut."""
    runs: List[List[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    said = ["%d" % a if a == b else "%d-%d" % (a, b) for a, b in runs]
    return ", ".join(said[:6]) + (" and more" if len(said) > 6 else "")


def _frames(frames: List[int]) -> str:
    return ("frame " if len(frames) == 1 else "frames ") + listed(frames)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return "%.0f %s" % (count, unit)
        count /= 1000.0
    return "%.1f TB" % count
