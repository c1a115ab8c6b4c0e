# SPDX-License-Identifier: Apache-2.0
"""GenerateRequest: everything that defines a generation, in one tree of frozen dataclasses.

The same tree travels on the wire, lies beside the take in take.json, drives the command, and is what provenance signs.
Inputs stand in it by content (SHA-256 of each frame's file), so equal requests are equal pictures, wherever the files lie.
A dial that is not in the tree does not exist.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from .curves import MAX_KEYS, Curve, read
from .depths import DEPTHS
from .dials import DIALS, find, is_text
from .errors import RequestError, VersionError
from .frames import FrameRange, windows_keeps

#: 2: dials may change over the shot. A request in which none does says 1, as before: its hash stays, and older sides read it.
REQUEST_VERSION = 2
DEPTH_KINDS = tuple(DEPTHS)
BAD_PIXELS = ("refuse", "scrub")
Matrix = Tuple[Tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class FrameFile:
    """One frame's file by content. `sha256`: 64 hex digits. `size`: bytes."""

    frame: int
    sha256: str
    size: int


@dataclass(frozen=True)
class Pass:
    """One input as a sequence of files. `name`: what the artist calls it (shown, recorded, never opened).

    `channels`: the channels to take, by name and in order; empty means the usual names for this input.
    """

    name: str = ""
    channels: Tuple[str, ...] = ()
    files: Tuple[FrameFile, ...] = ()

    def at(self, frame: int) -> Optional[FrameFile]:
        """The file of a frame, or None."""
        for file in self.files:
            if file.frame == frame:
                return file
        return None


@dataclass(frozen=True)
class Inputs:
    """plate: scene-linear colour. depth, mask, vectors, guide: see ShotSettings and the pipeline's docstrings.

    reference: pictures of what the result should look like, for models that paint; numbered from 1, of no frame, any size and format.
    """

    plate: Pass = Pass()
    depth: Pass = Pass()
    mask: Pass = Pass()
    vectors: Optional[Pass] = None
    guide: Optional[Pass] = None
    reference: Optional[Pass] = None


@dataclass(frozen=True)
class CameraFrame:
    """The camera at one frame. `camera_to_world`: 4 rows of 4, metres; x right, y up, looking along -z.

    `focal_mm` None: the shot's. `principal_px` None: the middle; else (x, y) from the top left of the picture, in pixels.
    """

    frame: int
    camera_to_world: Matrix
    focal_mm: Optional[float] = None
    principal_px: Optional[Tuple[float, float]] = None


@dataclass(frozen=True)
class Camera:
    """The shot's camera. `up`: the world's up, against gravity. A frame that is not listed holds the nearest listed one."""

    focal_mm: float = 35.0
    sensor_width_mm: float = 36.0
    up: Tuple[float, float, float] = (0.0, 0.0, 1.0)
    frames: Tuple[CameraFrame, ...] = ()


@dataclass(frozen=True)
class ShotSettings:
    """What the inputs mean. `depth_kind`: "z" (metres along the camera axis), "distance" (along the ray), "inverse" (1/Z),
    "near_one" or "near_zero" (normalised: even steps to the far end).

    `depth_scale` turns the file's unit into metres (after 1/Z is undone); of a normalised depth it is the far end, in metres.
    `bad_pixels`: NaN and inf are refused by frame number, or scrubbed with a warning. `working_space`: the DCC's
    scene-linear space, by name. `fps`: frames per second.
    """

    depth_kind: str = "z"
    depth_scale: float = 1.0
    bad_pixels: str = "refuse"
    working_space: str = "Linear Rec.709"
    fps: float = 24.0


@dataclass(frozen=True)
class GuideSettings:
    """The guide's dials; ranges, units and meaning stand in dials.py. One that changes over the shot is as at its first frame here."""

    amount: float = 1.0
    density: float = 1.0
    speed: float = 1.0
    rise: float = 0.3
    spread: float = 1.0
    turbulence: float = 1.0
    billows: float = 0.8
    wind: float = 0.0
    wind_direction: float = 90.0
    debris: int = 60
    debris_size: float = 0.5
    light: float = 1.0
    ambient: float = 1.0
    sun_azimuth: float = 120.0
    sun_elevation: float = 35.0
    tint: Tuple[float, float, float] = (0.62, 0.56, 0.50)
    shadow: float = 0.0
    start_frame: int = 0
    composition: int = 0
    detail: int = 112


@dataclass(frozen=True)
class ModelSettings:
    """Which model, its seed, draft or final, and how much of the built-in model's detail is drawn."""

    name: str = "dust"
    seed: int = 0
    quality: str = "final"
    texture: float = 1.0


@dataclass(frozen=True)
class PaintSettings:
    """Dials of models that paint a whole picture; ranges and meaning stand in dials.py. Other models refuse any that is turned."""

    prompt: str = ""
    avoid: str = ""
    follow: float = 0.5
    led_by: str = "dust"
    control: float = 1.0
    guidance: float = 0.0
    steps: int = 0
    rim: int = 24
    curve: str = "display"
    space: str = ""
    lora: str = ""
    large: str = "shrink"
    skip: float = 0.0


@dataclass(frozen=True)
class OutputSettings:
    """Which files the take gets beside comp and effect. `picture`: what a painting model made of each frame, before it became an effect.

    `wedge`: 32 hex digits that all takes of one wedge share, or "". Such a take gets sheet.png, the contact sheet of those that are done.
    """

    guide: bool = True
    preview: bool = True
    wedge: str = ""
    picture: bool = False


@dataclass(frozen=True)
class GenerateRequest:
    """One generation. `shot`: its name, which names the take's folder.

    `simulation`: 64 hex digits that an earlier take's take.json names, or "". Then the cloud is that take's, seen through this
    request's camera, and no mask is needed; the dials that the simulation depends on must be that take's too.
    `animated`: the dials that change over the shot, by name; only those, and only within `frames`. `with_dials` sees to that.
    """

    shot: str
    frames: FrameRange
    inputs: Inputs
    camera: Optional[Camera] = None
    settings: ShotSettings = ShotSettings()
    guide: GuideSettings = GuideSettings()
    model: ModelSettings = ModelSettings()
    paint: PaintSettings = PaintSettings()
    output: OutputSettings = OutputSettings()
    simulation: str = ""
    animated: Tuple[Curve, ...] = ()
    version: int = field(default=REQUEST_VERSION)

    def to_dict(self) -> Dict[str, Any]:
        """Plain dicts, lists, numbers and strings; `from_dict` gives an equal tree back."""
        tree = _plain(self)
        if self.paint == PaintSettings():  # so the hash of a take that paints nothing stays, and older sides read its request
            del tree["paint"]
        if self.inputs.reference is None:
            del tree["inputs"]["reference"]
        if not self.output.picture:
            del tree["output"]["picture"]
        if not self.animated:
            del tree["animated"]
            tree["version"] = 1
        return tree

    def hash(self) -> str:
        """SHA-256 of the tree's canonical JSON: equal trees, equal hash, on any machine."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()

    def with_dials(self, values: Dict[str, Any]) -> GenerateRequest:
        """A request with dials turned, by name: each to one value, or to a curve in any form that `curves.read` knows.

        Raises RequestError on an unknown dial or a value out of range.
        """
        changed: Dict[str, Dict[str, Any]] = {}
        curves = {curve.dial: curve for curve in self.animated}
        for name, value in values.items():
            dial = find(name)
            got = read(dial, value)
            curves.pop(dial.name, None)
            if isinstance(got, Curve):
                got = got.within(self.frames)
            if isinstance(got, Curve):
                curves[dial.name] = got
                got = got.keys[0][1]
            room, leaf = dial.path.split(".")
            changed.setdefault(room, {})[leaf] = got
        rooms = {room: dataclasses.replace(getattr(self, room), **leaves) for room, leaves in changed.items()}
        return dataclasses.replace(self, **rooms, animated=tuple(curves[name] for name in sorted(curves)))

    def dial_values(self) -> Dict[str, Any]:
        """Every dial's value by name, a `Curve` for one that changes over the shot; `with_dials` turns another request's to the same."""
        out = {}
        for dial in DIALS.values():
            room, leaf = dial.path.split(".")
            out[dial.name] = getattr(getattr(self, room), leaf)
        out.update((curve.dial, curve) for curve in self.animated)
        return out

    def refuse_curves(self, names: Iterable[str]) -> None:
        """Raises RequestError where one of these dials changes over the shot: a wedge would put one value in the place of its curve."""
        for curve in self.animated:
            if curve.dial in names:
                raise RequestError(
                    "%s changes over the shot (%s), and a wedge would put one value in its place."
                    % (find(curve.dial).label, curve.summary()),
                    "Wedge another dial, or take its keyframes away.",
                )

    def guide_at(self, frame: int) -> GuideSettings:
        """The guide's dials as they stand at a frame."""
        return settings_at(self.guide, self.animated, frame)

    def all_files(self) -> List[FrameFile]:
        """Every input file once, in the order it is needed: all passes of the first frame before the second's."""
        own = self.inputs
        passes = [p for p in (own.reference, own.plate, own.depth, own.mask, own.vectors, own.guide) if p]
        seen, out = set(), []
        for file in sorted((f for p in passes for f in p.files), key=lambda f: f.frame):
            if file.sha256 not in seen:
                seen.add(file.sha256)
                out.append(file)
        return out


def settings_at(settings: GuideSettings, animated: Sequence[Curve], frame: int) -> GuideSettings:
    """The guide's dials with those that change put to what they are at a frame."""
    if not animated:
        return settings
    now: Dict[str, Any] = {find(curve.dial).path.split(".")[1]: curve.at(frame) for curve in animated}
    return dataclasses.replace(settings, **now)


def differing_dials(a: GenerateRequest, b: GenerateRequest) -> Dict[str, Tuple[Any, Any]]:
    """Dials that differ between two takes: {name: (a's value, b's value)}, a `Curve` for a value that changes over the shot."""
    left, right = a.dial_values(), b.dial_values()
    return {name: (left[name], right[name]) for name in left if left[name] != right[name]}


def told_apart(request: GenerateRequest, before: Optional[GenerateRequest]) -> str:
    """What sets a take apart from the one before it, in the words of every program's list of takes: "amount 2, seed 7"."""
    if before is None:
        other = "" if request.model.name == ModelSettings().name else "model %s, " % request.model.name
        return other + "seed %d" % request.model.seed
    said = ["%s %s" % (name.replace("_", " "), _short(pair[1])) for name, pair in differing_dials(before, request).items()]
    if request.model.name != before.model.name:
        said.insert(0, "model %s" % request.model.name)
    if request.shot != before.shot:  # in one folder: the same cloud through another camera, which gives the shot its name
        if request.shot.startswith(before.shot + " "):
            said.insert(0, "through %s" % request.shot[len(before.shot) + 1 :])
        else:
            said.insert(0, "through its own camera" if before.shot.startswith(request.shot + " ") else "as %s" % request.shot)
    if request.frames != before.frames:
        said.append("frames %s" % request.frames)
    return ", ".join(said) or "same dials"


def _short(value: Any) -> str:
    if isinstance(value, Curve):
        return value.summary()
    if isinstance(value, (tuple, list)):
        return "/".join(_short(part) for part in value)
    return "%.4g" % value if isinstance(value, float) else str(value)


# --- reading a tree that came from outside -----------------------------------------------------------------------------------

MAX_FRAMES = 100_000
MAX_NAME = 1024


def from_dict(tree: Any) -> GenerateRequest:
    """A checked request from plain data. Raises RequestError (what is wrong, where) or VersionError (which side to upgrade)."""
    if not isinstance(tree, dict):
        raise RequestError("A request must be a table of fields.", "Send what GenerateRequest.to_dict gives.")
    version = tree.get("version")
    if isinstance(version, bool) or version not in range(1, REQUEST_VERSION + 1):
        older = isinstance(version, int) and version < 1
        raise VersionError(
            "This request has version %r; this side reads up to version %d." % (version, REQUEST_VERSION),
            "Upgrade the side that made it." if older else "Upgrade this side.",
        )
    _only(tree, GenerateRequest, "request")
    inputs_tree = _table(tree.get("inputs"), "inputs")
    _only(inputs_tree, Inputs, "inputs")
    request = GenerateRequest(
        shot=shot_name(tree.get("shot")),
        frames=_frame_range(tree.get("frames")),
        inputs=Inputs(
            plate=_pass(inputs_tree.get("plate"), "plate"),
            depth=_pass(inputs_tree.get("depth"), "depth"),
            mask=_pass(inputs_tree.get("mask"), "mask"),
            vectors=_optional_pass(inputs_tree.get("vectors"), "vectors"),
            guide=_optional_pass(inputs_tree.get("guide"), "guide"),
            reference=_optional_pass(inputs_tree.get("reference"), "reference"),
        ),
        camera=camera_from_dict(tree["camera"]) if tree.get("camera") is not None else None,
        settings=_settings(tree.get("settings", {})),
        output=_output(tree.get("output", {})),
        simulation=_simulation(tree.get("simulation", "")),
    )
    model = _table(tree.get("model", {}), "model")
    _only(model, ModelSettings, "model")
    name = model.get("name", "dust")
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise RequestError("The model's name must be a word.", "`platebridge models` lists them.")
    request = dataclasses.replace(request, model=ModelSettings(name=name))
    guide = _table(tree.get("guide", {}), "guide")
    paint = _table(tree.get("paint", {}), "paint")
    _only(paint, PaintSettings, "paint")
    by_path = {dial.path: dial.name for dial in DIALS.values()}
    values = {}
    for room, fields in (("guide", guide), ("model", {k: v for k, v in model.items() if k != "name"}), ("paint", paint)):
        for leaf, value in fields.items():
            values[by_path.get("%s.%s" % (room, leaf), leaf)] = value
    return request.with_dials(values).with_dials(_animated(tree.get("animated", ())))


def _animated(value: Any) -> Dict[str, Curve]:
    """The curves by dial, not yet cut to the request's frames."""
    found: Dict[str, Curve] = {}
    for item in _list(value, "animated", len(DIALS)):
        item = _table(item, "animated")
        _only(item, Curve, "animated")
        name = item.get("dial")
        if not isinstance(name, str) or name in found:
            raise RequestError("animated names %r twice, or no dial." % (name,), "Give each dial one curve.")
        keys = [tuple(_list(key, "animated.keys", 2)) for key in _list(item.get("keys"), "animated.keys", MAX_KEYS)]
        got = read(find(name), keys)
        if not isinstance(got, Curve):
            raise RequestError("%s has a curve without keys." % name, "Give each key a frame and a value.")
        found[name] = got
    return found


def camera_from_dict(tree: Any) -> Camera:
    """A camera from camera.json's plain data (see CameraFrame). Raises RequestError naming the field."""
    tree = _table(tree, "camera")
    _only(tree, Camera, "camera")
    frames = []
    for item in _list(tree.get("frames", []), "camera.frames", MAX_FRAMES):
        item = _table(item, "camera.frames")
        _only(item, CameraFrame, "camera.frames")
        rows: Any = item.get("camera_to_world")
        if not _of_length(rows, 4) or not all(_of_length(row, 4) for row in rows):
            raise RequestError(
                "camera_to_world must be 4 rows of 4 numbers.", "Write the camera's world matrix row by row.", input="camera"
            )
        matrix = tuple(tuple(_finite(v, "camera_to_world") for v in row) for row in rows)
        point = item.get("principal_px")
        if point is not None and not _of_length(point, 2):
            raise RequestError("principal_px must be two numbers.", "Give x and y in pixels, from the picture's top left.", input="camera")
        frames.append(
            CameraFrame(
                frame=_whole(item.get("frame"), "camera frame"),
                camera_to_world=matrix,  # type: ignore[arg-type]
                focal_mm=None if item.get("focal_mm") is None else _positive(item["focal_mm"], "focal_mm"),
                principal_px=None if point is None else tuple(_finite(v, "principal_px") for v in point),  # type: ignore[arg-type]
            )
        )
    up = tuple(_finite(v, "up") for v in _list(tree.get("up", (0.0, 0.0, 1.0)), "up", 3))
    if len(up) != 3 or not any(up):
        raise RequestError("up must be three numbers, not all zero.", "Z up is [0, 0, 1].", input="camera")
    return Camera(
        _positive(tree.get("focal_mm", 35.0), "focal_mm"),
        _positive(tree.get("sensor_width_mm", 36.0), "sensor_width_mm"),
        up,
        tuple(sorted(frames, key=lambda f: f.frame)),
    )


def shot_name(value: Any) -> str:
    """A shot's name that is safe as a folder's name. Raises RequestError."""
    good = (
        isinstance(value, str)
        and 0 < len(value) <= 120
        and value not in (".", "..")
        and value == value.strip(" .")
        and not any(c in '/\\:*?"<>|' or ord(c) < 32 for c in value)
        and is_text(value)
        and len(value.encode()) <= 255  # bytes, on Linux
        and not windows_keeps(value)
    )
    if not good:
        raise RequestError("%.200r can't name a shot." % (value,), "Use letters, digits, - and _: it names a folder on every system.")
    return value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _only(tree: dict, kind: Any, where: str) -> None:
    unknown = sorted(str(k) for k in set(tree) - {f.name for f in dataclasses.fields(kind)})
    if unknown:
        raise RequestError("%s has an unknown field: %s." % (where, ", ".join(unknown[:3])), "Remove it, or upgrade this side.")


def _table(value: Any, where: str) -> dict:
    if not isinstance(value, dict):
        raise RequestError("%s must be a table of fields." % where, "Send what GenerateRequest.to_dict gives.")
    return value


def _list(value: Any, where: str, most: int) -> Any:
    if not isinstance(value, (list, tuple)):
        raise RequestError("%s must be a list." % where, "Write it as one, and see that it isn't left out.")
    if len(value) > most:
        raise RequestError("%s must be a list of at most %d." % (where, most), "Shorten it.")
    return value


def _of_length(value: Any, length: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == length


def _finite(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise RequestError("%s = %.80r is not a finite number." % (where, value), "Give a plain number.")
    return number


def _positive(value: Any, where: str) -> float:
    number = _finite(value, where)
    if number <= 0:
        raise RequestError("%s = %g must be more than 0." % (where, number), "Give a number above 0.")
    return number


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 10**9:
        raise RequestError("%s = %r is not a whole number." % (where, value), "Frame numbers are whole.")
    return value


def _frame_range(value: Any) -> FrameRange:
    tree = _table(value, "frames")
    _only(tree, FrameRange, "frames")
    frames = FrameRange(_whole(tree.get("first"), "frames.first"), _whole(tree.get("last"), "frames.last"))
    refuse_too_many(frames)
    return frames


def refuse_too_many(frames: FrameRange) -> None:
    """Raises RequestError for a range that no shot has: a slip of the key, before a file is looked for at each of its frames."""
    count = frames.last - frames.first + 1  # len() has a limit of its own
    if count > MAX_FRAMES:
        raise RequestError("%d frames are more than a shot may have (%d)." % (count, MAX_FRAMES), "Cut the shot.")


def _pass(value: Any, name: str) -> Pass:
    tree = _table(value, name)
    _only(tree, Pass, name)
    files = []
    for item in _list(tree.get("files", ()), name + ".files", MAX_FRAMES):
        item = _table(item, name + ".files")
        _only(item, FrameFile, name + ".files")
        sha, size = item.get("sha256"), item.get("size")
        if not isinstance(sha, str) or not _is_sha256(sha):
            raise RequestError("A file's sha256 must be 64 hex digits.", "Hash the file's bytes.", input=name)
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise RequestError("A file's size must be a number of bytes.", "Send the file's length.", input=name)
        files.append(FrameFile(_whole(item.get("frame"), "frame"), sha, size))
    if len({f.frame for f in files}) != len(files):
        raise RequestError("A frame stands twice in the sequence.", "Give each frame one file.", input=name)
    channels = _list(tree.get("channels", ()), name + ".channels", 8)
    label = tree.get("name", "")
    if not isinstance(label, str) or len(label) > MAX_NAME or any(not isinstance(c, str) or len(c) > 255 for c in channels):
        raise RequestError("Names must be text of at most %d characters." % MAX_NAME, "Shorten them.", input=name)
    for said in (label, *channels):
        if not is_text(said):
            raise RequestError("The name %.80r is not in UTF-8." % said, "Give it another one.", input=name)
    return Pass(label, tuple(channels), tuple(sorted(files, key=lambda f: f.frame)))


def _simulation(value: Any) -> str:
    if not isinstance(value, str) or (value and not _is_sha256(value)):
        raise RequestError("A simulation is named by 64 hex digits.", "Take them from take.json of the take it was made for.")
    return value


def _is_sha256(value: str) -> bool:
    return len(value) == 64 and not set(value) - set("0123456789abcdef")


def _optional_pass(value: Any, name: str) -> Optional[Pass]:
    return None if value is None else _pass(value, name)


def _settings(value: Any) -> ShotSettings:
    tree = _table(value, "settings")
    _only(tree, ShotSettings, "settings")
    kind, bad, space = tree.get("depth_kind", "z"), tree.get("bad_pixels", "refuse"), tree.get("working_space", "Linear Rec.709")
    if kind not in DEPTH_KINDS:
        raise RequestError("%r is not a kind of depth." % (kind,), "Say %s." % ", ".join(DEPTH_KINDS), input="depth")
    if bad not in BAD_PIXELS:
        raise RequestError("bad_pixels = %r is unknown." % (bad,), "Say refuse or scrub.")
    if not isinstance(space, str) or len(space) > 255 or not is_text(space):
        raise RequestError("The working space must be a name.", "Send the DCC's name of it.")
    fps = _positive(tree.get("fps", 24.0), "fps")
    if not 1.0 <= fps <= 1000.0:
        raise RequestError("fps = %g is out of range." % fps, "It goes from 1 to 1000.")
    scale = _positive(tree.get("depth_scale", 1.0), "depth_scale")
    if not 1e-9 <= scale <= 1e9:
        raise RequestError("depth_scale = %g is out of range." % scale, "It is how many metres the depth's unit has.", input="depth")
    return ShotSettings(kind, scale, bad, space, fps)


def _output(value: Any) -> OutputSettings:
    tree = _table(value, "output")
    _only(tree, OutputSettings, "output")
    for name in ("guide", "preview", "picture"):
        if not isinstance(tree.get(name, True), bool):
            raise RequestError("output.%s must be true or false." % name, "Say which.")
    wedge = tree.get("wedge", "")
    if not isinstance(wedge, str) or (wedge and (len(wedge) != 32 or set(wedge) - set("0123456789abcdef"))):
        raise RequestError("A wedge is named by 32 hex digits.", "Leave output.wedge empty for a take by itself.")
    return OutputSettings(tree.get("guide", True), tree.get("preview", True), wedge, tree.get("picture", False))
