# SPDX-License-Identifier: Apache-2.0
"""A shot as arrays: plate, depth in metres, mask, vectors and an artist's guide, read frame by frame.

All arrays of a shot lie on one canvas: the union of the plate's display and data windows. So overscan is kept and worked on, dust
goes beyond a plate that was cropped to what is in it, a depth or mask with another data window is put where its window says, and
a pixel of an array is the same pixel in all of them.
A few frames are held, and of short shots the files that are read more than once; never the whole of a long one.
Must not know guides, models or sockets.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
from platebridge.errors import InputError
from platebridge.request import FrameFile, GenerateRequest, Pass

from . import channels, depth, images
from .camera import CameraPath
from .images import Header, Part, Where, Window

#: Frames of each array that are held: the frame before, this one and the next.
KEPT = 3
#: Bytes of samples that are held as read, of the passes that every stage reads again; of a long shot the latest.
HELD_BYTES = 256 << 20
#: A guide's depth is spread so far over its rim: dust that is finer than the guide reaches a little beyond it.
RIM = 8


@dataclass(frozen=True)
class GuidePicture:
    """An artist's guide at its own size. rgba: (h, w, 4) float32, premultiplied, scene-linear; depth: (h, w) float32
    metres along the camera's axis with +inf where nothing is, spread RIM pixels outwards, or None. part: left, top, right, bottom of
    what it shows, in parts of the display window: more than that is overscan of its own."""

    rgba: np.ndarray
    depth: Optional[np.ndarray]
    part: Tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


class Shot:
    """The inputs of a request.

    `window`: the canvas, `display`: the plate's display window, `size`: (height, width) of the canvas. `pixel_aspect`: how many
    times as wide as high the plate's pixels are, as its first frame's header says. `geometry`: all these as text: what of the plate
    dust depends on.
    `open_file`: SHA-256 -> path. Raises InputError as images.read_header does, for plate frames that can't be opened.
    """

    def __init__(self, request: GenerateRequest, open_file: Callable[[str], Path]) -> None:
        self.request, self._open = request, open_file
        self._files: Dict[str, Dict[int, FrameFile]] = {
            name: {f.frame: f for f in source.files}
            for name in ("plate", "depth", "mask", "vectors", "guide")
            if (source := self.source(name)) is not None
        }
        self._held: Dict[str, OrderedDict] = {}
        self._read_files: OrderedDict[Tuple[str, str], Tuple[Header, list, dict]] = OrderedDict()
        self.window, self.display = self._canvas()
        self.size: Tuple[int, int] = (self.window.height, self.window.width)
        self.pixel_aspect = self._pixel_aspect()
        self.geometry = repr((self.window, self.display, self.pixel_aspect))
        self.camera = self._camera()

    def source(self, input: str) -> Optional[Pass]:
        """The request's pass of that name, or None."""
        return getattr(self.request.inputs, input)

    def file(self, input: str, frame: int) -> Optional[FrameFile]:
        """The file that an input has for a frame, or None."""
        return self._files.get(input, {}).get(frame)

    def header(self, input: str, frame: int) -> Header:
        """What the file of an input says at a frame. Raises InputError when there is none or it can't be read."""
        return images.read_header(self._path(input, frame), Where(input, frame))

    def plate_parts(self, frame: int) -> List[Part]:
        """The plate's whole file, in its own pixel types: what a comp is made from."""
        return images.read(self._path("plate", frame), Where("plate", frame))

    def plate(self, frame: int) -> np.ndarray:
        """(h, w, 3) float32 scene-linear; 0 outside the plate's data window; NaN and inf, once allowed, are 0."""
        return self._hold("plate", frame, lambda: _scrubbed(self._read("plate", frame, 0.0)))

    def plate_at(self, frame: int) -> Tuple[slice, slice]:
        """Rows and columns of the canvas where the plate has pixels."""
        header = self.header("plate", frame)
        found = channels.find(header, "plate", self.request.inputs.plate.channels, Where("plate", frame))
        return header.parts[found[0][0]].data.slices_in(self.window)[0]

    def depth(self, frame: int) -> np.ndarray:
        """(h, w) float32 metres along the camera's axis; +inf is sky, and where the file has no pixels. Holes are filled."""
        return self._hold("depth", frame, lambda: self.metres(frame, self.raw_depth(frame))[0])

    def metres(self, frame: int, raw: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`depth.to_metres` of what `raw_depth` gave: (z, holes, zeros), each (h, w)."""
        settings = self.request.settings
        ray_scale = self.camera.at(frame).ray_scale() if settings.depth_kind == "distance" else None
        return depth.to_metres(raw, settings.depth_kind, settings.depth_scale, ray_scale)

    def raw_depth(self, frame: int) -> np.ndarray:
        """(h, w) float32, the file's own numbers on the canvas; outside its window what the kind of depth calls sky."""
        kind = self.request.settings.depth_kind
        header, found, samples = self._samples("depth", frame)
        if kind in ("z", "distance"):
            samples = {channel: depth.unclamped(raw) for channel, raw in samples.items()}
        return _on_canvas(samples, header, found, self.window, 0.0 if kind in ("inverse", "near_one") else np.inf)[..., 0]

    def mask(self, frame: int) -> np.ndarray:
        """(h, w) float32 in [0, 1]; 0 outside the mask's data window."""
        return self._hold("mask", frame, lambda: np.clip(_scrubbed(self._read("mask", frame, 0.0)[..., 0]), 0.0, 1.0))

    def vectors(self, frame: int) -> Optional[np.ndarray]:
        """(h, w, 2) float32: where a pixel's surface was a frame before, less where it is, in pixels, x right, y up. Or None.

        Not finite where the file doesn't say: 0 would be a motion too. Blender's Vector pass has it as X and Y, measured; Nuke's as
        backward.u and backward.v.
        """
        if self.source("vectors") is None:
            return None
        return self._hold("vectors", frame, lambda: self._read("vectors", frame, np.nan))

    def guide_image(self, frame: int) -> Optional[GuidePicture]:
        """The artist's own guide at its own size, or None when the request has none. Its display window is the plate's."""
        if self.source("guide") is None:
            return None
        return self._hold("guide", frame, lambda: self._guide_picture(frame))

    def guide_depth(self, frame: int) -> Optional[channels.Channel]:
        """The channel that the guide's depth lies in, or None."""
        header, source = self.header("guide", frame), self.source("guide")
        return channels.depth_with(header, channels.find(header, "guide", source.channels if source else (), Where("guide", frame)))

    def raw(self, input: str, frame: int) -> np.ndarray:
        """(h, w, c) float32 as the file has it, its own data window only: for the checks, which count what is broken."""
        _, found, samples = self._samples(input, frame)
        return np.stack([samples[c] for c in found], axis=-1).astype(np.float32)

    def _samples(self, input: str, frame: int) -> Tuple[Header, list, dict]:
        """The file's header, the channels that the input has of it, and their samples as `images.read_channels` gives them."""
        file, source = self.file(input, frame), self.source(input)
        key = input, file.sha256 if file else ""
        if key in self._read_files:
            self._read_files.move_to_end(key)
            return self._read_files[key]
        header = self.header(input, frame)
        found = channels.find(header, input, source.channels if source else (), Where(input, frame))
        got = header, found, images.read_channels(header, found, Where(input, frame))
        if input in ("depth", "mask", "vectors"):  # a plate's pixels are checked, and then read as the comp's
            self._read_files[key] = got
            while self.held_bytes() > HELD_BYTES:
                self._read_files.popitem(last=False)
        return got

    def _path(self, input: str, frame: int) -> Path:
        file = self.file(input, frame)
        if file is None:
            raise InputError("The frame is missing.", "Add its file, or shorten the frame range.", input=input, frame=frame)
        return self._open(file.sha256)

    def _read(self, input: str, frame: int, outside: float) -> np.ndarray:
        """(h, w, c) float32 on the canvas."""
        header, found, samples = self._samples(input, frame)
        return _on_canvas(samples, header, found, self.window, outside)

    def _guide_picture(self, frame: int) -> GuidePicture:
        header = self.header("guide", frame)
        source = self.source("guide")
        found = channels.find(header, "guide", source.channels if source else (), Where("guide", frame))
        z = self.guide_depth(frame)
        samples = images.read_channels(header, found + ([z] if z else []), Where("guide", frame))
        shown, data = header.display, header.parts[found[0][0]].data
        whole = shown.union(data)
        images.check_canvas(whole, Where("guide", frame))
        left, top = (whole.x - shown.x) / shown.width, (whole.y - shown.y) / shown.height
        part = (left, top, left + whole.width / shown.width, top + whole.height / shown.height)
        rgba = _scrubbed(_on_canvas(samples, header, found, whole, 0.0))
        if z is None:
            return GuidePicture(rgba, None, part)
        samples[z] = depth.unclamped(samples[z])
        far = depth.to_metres(_on_canvas(samples, header, [z], whole, np.inf)[..., 0], "z", 1.0)[0]
        return GuidePicture(rgba, depth.filled(far, np.isinf(far), RIM), part)

    def _hold(self, kind: str, frame: int, read: Callable[[], object]):
        held = self._held.setdefault(kind, OrderedDict())
        if frame not in held:
            held[frame] = read()
            while len(held) > KEPT:
                held.popitem(last=False)
        held.move_to_end(frame)
        return held[frame]

    def held(self) -> int:
        """How many arrays are in memory now."""
        return sum(len(h) for h in self._held.values())

    def held_bytes(self) -> int:
        """How many bytes of samples are in memory as they were read."""
        return sum(array.nbytes for _, _, samples in self._read_files.values() for array in samples.values())

    def _canvas(self) -> Tuple[Window, Window]:
        whole: Optional[Window] = None
        for frame in self.request.frames:
            header = self.header("plate", frame)
            images.metadata(header.path, Where("plate", frame))  # what can't be kept in the comp is said now
            found = channels.find(header, "plate", self.request.inputs.plate.channels, Where("plate", frame))
            data, display = header.parts[found[0][0]].data, header.parts[found[0][0]].display
            whole = (whole or display).union(display).union(data)
            images.check_canvas(whole, Where("plate", frame))
        assert whole is not None  # a range has at least one frame
        return whole, display

    def _pixel_aspect(self) -> float:
        said = self.header("plate", self.request.frames.first).parts[0].pixel_aspect
        return said if 0.1 <= said <= 10.0 else 1.0

    def _camera(self) -> CameraPath:
        """The camera as it sees the canvas; the request's sees the display window, so overscan is a wider view."""
        shown, window = self.display, self.window
        camera = CameraPath.from_request(self.request.camera, self.request.frames, shown.width, shown.height, self.pixel_aspect)
        if window == shown:
            return camera
        left, top = (window.x - shown.x) / shown.width, (window.y - shown.y) / shown.height
        part = (left, top, left + window.width / shown.width, top + window.height / shown.height)
        return CameraPath({f: camera.at(f).resized(self.size, part) for f in self.request.frames}, camera.up, camera.given)


def _on_canvas(samples: Dict[Tuple[int, str], np.ndarray], header: Header, found, window: Window, outside: float) -> np.ndarray:
    """(h, w, c) float32 of the channels, each put where its part's data window says."""
    out = np.full((window.height, window.width, len(found)), outside, np.float32)
    for at, channel in enumerate(found):
        into, own = header.parts[channel[0]].data.slices_in(window)
        out[into + (at,)] = samples[channel][own]
    return out


def _scrubbed(array: np.ndarray) -> np.ndarray:
    """NaN and inf as 0."""
    return np.where(np.isfinite(array), array, np.float32(0))
