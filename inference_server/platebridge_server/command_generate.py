# SPDX-License-Identifier: Apache-2.0
"""What `platebridge generate` does once its options are read: files to a request, a take made here or by a server.

Here and there run the same pipeline on the same request, so their frames are equal. Knows nothing of how it is shown:
events go to a `show` that the command gives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import platebridge
import platformdirs
from platebridge.client import Client, JobHandle
from platebridge.connection import read_connection
from platebridge.dials import find, is_text
from platebridge.errors import Cancelled, InputError, ModelError, RequestError, StorageError
from platebridge.errors import from_dict as error_from_dict
from platebridge.events import Event, FileReady, Progress
from platebridge.frames import FrameRange
from platebridge.request import (
    Camera,
    FrameFile,
    GenerateRequest,
    Inputs,
    OutputSettings,
    Pass,
    ShotSettings,
    camera_from_dict,
    refuse_too_many,
)
from platebridge.request import from_dict as request_from_dict
from platebridge.takes import MARKER, TAKE, TakeWriter, hash_file, read_take, storage_error

from . import checks, locks, sequences
from .sequences import typed
from .starting import importing

#: What an interrupted run left in the scratch folder is kept so long, seconds.
KEPT_SECONDS = 7 * 86400
#: What stays in the scratch folder for the takes to come; each sees to its own size.
SHELVES = ("guides", "passes", "wedges")
#: What ends a server's job for good: nobody needs its folder where nothing came.
REFUSED = (Cancelled, InputError, ModelError, RequestError)
#: How long a server may be silent before it is given up, seconds.
PATIENCE = 20.0
Show = Callable[[Event], None]
#: A take's own name, and so that of its folder for work under way, which is removed in the end: no other folder has such a one.
_TAKE_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Sources:
    """The inputs as they were typed: input -> pattern, and the channels that were named. references: files, in order."""

    patterns: Dict[str, str]
    channels: Dict[str, Tuple[str, ...]] = dataclasses.field(default_factory=dict)
    references: Tuple[str, ...] = ()

    def plain(self) -> Dict[str, Any]:
        """For unfinished.json: absolute, so that it can be gone on with from anywhere."""
        return {
            "patterns": {k: str(typed(p).absolute()) for k, p in self.patterns.items()},
            "channels": {k: list(c) for k, c in self.channels.items()},
            "references": [str(typed(p).absolute()) for p in self.references],
        }

    @classmethod
    def of(cls, told: Dict[str, Any]) -> Sources:
        """Of what `plain` gave."""
        return cls(told["patterns"], {k: tuple(v) for k, v in told["channels"].items()}, tuple(told.get("references", ())))


def asked(
    shot: str,
    frames: FrameRange,
    settings: ShotSettings,
    *,
    camera: Optional[Path] = None,
    model: str = "dust",
    dials: Optional[Dict[str, Any]] = None,
    simulation_of: Optional[Path] = None,
    output: OutputSettings = OutputSettings(),
) -> GenerateRequest:
    """All of a request but its files. Raises RequestError and InputError.

    simulation_of: an earlier take's folder. Its cloud is taken, and its guide's dials where `dials` has no others.
    """
    refuse_too_many(frames)
    request = GenerateRequest(
        shot=shot,
        frames=frames,
        inputs=Inputs(),
        camera=read_camera(camera) if camera else None,
        settings=settings,
        output=output,
    )
    if simulation_of is not None:
        simulation, kept = kept_simulation(simulation_of)
        request = dataclasses.replace(request, simulation=simulation).with_dials(kept)
    request = dataclasses.replace(request, model=dataclasses.replace(request.model, name=model)).with_dials(dials or {})
    return _checked(request)


def with_files(
    requests: Sequence[GenerateRequest], sources: Sources, show: Show = lambda event: None
) -> Tuple[List[GenerateRequest], sequences.Found]:
    """Requests of the same frames with their files, hashed once for all of them; and where each content lies. Raises as `asked`."""
    _refuse_missing(requests[0], sources)
    passes, by_hash = _hashed(sources, requests[0].frames, show)
    return [_checked(dataclasses.replace(request, inputs=Inputs(**passes))) for request in requests], by_hash


def _checked(request: GenerateRequest) -> GenerateRequest:
    """The checks of a request from outside hold for a typed one too."""
    return request_from_dict(request.to_dict())


def refuse_here(requests: Sequence[GenerateRequest], device: Optional[str] = None, references: int = 0) -> None:
    """What this process can't do, whatever the files are: the model is not here, a dial is none of its, it takes no references or not so
    many, there is no such device.

    Raises ModelError and RequestError.
    """
    with importing():
        from . import devices
        from .models import registry
        from .references import check_number

    for request in requests:
        registry.ready(request.model.name)
        model = registry.find(request.model.name)
        checks.check_dials(request, model.card())
        if references:
            check_number(references, request.model.name, model.card())
        if model.card().get("kind") == "picture":
            model.made_of(request.model, request.paint)  # a LoRA that is not there
    devices.check(device or "cpu")


def refuse_devices(devices: str) -> None:
    """Raises RequestError where one of a server's devices, with commas between, can't be used: its worker would end each take with that.

    They are looked at in a process of its own: a server keeps neither torch nor a part of the GPU.
    """
    named = [name for name in map(str.strip, devices.split(",")) if name not in ("", "cpu")]
    if named:
        looking = [sys.executable, "-m", "platebridge_server.devices", *named]
        looked = subprocess.run(looking, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if looked.returncode == 2:  # a driver may say something, too
            raise error_from_dict(json.loads(looked.stdout.splitlines()[-1]))


def refuse_there(connection: Optional[Path] = None) -> None:
    """Raises ConnectionFailed where no server has left word of itself: before files are read for one."""
    read_connection(typed(connection) if connection else None)


def refuse_another_simulation(requests: Sequence[GenerateRequest], take: Path) -> None:
    """Raises RequestError where one turns a dial of the simulation that all of them take from an earlier take."""
    with importing():
        from .guide.dials import Dials, refuse_turned
        from .guide.guide import SIMULATED

    _, dials = kept_simulation(take)
    for request in requests:
        refuse_turned(Dials.of(request), Dials.of(request.with_dials(dials)), request.frames, SIMULATED)


def kept_simulation(take: Path) -> Tuple[str, Dict[str, Any]]:
    """The simulation that a take was made from, by its name, and the guide's dials of the take. Raises RequestError where it has none."""
    document = read_take(typed(take)).document
    if not document.get("simulation"):
        raise RequestError("%s names no simulation." % take, "Choose a finished take (its folder, take_0001) without a guide of your own.")
    dials = request_from_dict(document["request"]).dial_values()
    return str(document["simulation"]), {name: value for name, value in dials.items() if find(name).path.startswith("guide.")}


def read_dials(path: Path) -> Dict[str, Any]:
    """A file of dials: {"density": 1.4, "amount": [[1001, 0.2], [1048, 2]]}. Raises InputError, or RequestError for an unknown name."""
    try:
        tree = json.loads(typed(path).read_text(encoding="utf-8-sig"))  # Windows' editors begin a file with a mark
    except OSError as error:
        raise InputError("%s can't be read (%s)." % (path, error.strerror or error), "Give the path of a file of dials.") from error
    except (ValueError, RecursionError) as error:
        raise InputError("%s is no JSON (%s)." % (path, error), "Write it anew; docs/generate.md shows the form.") from error
    if not isinstance(tree, dict):
        raise InputError("%s is no table of dials." % path, 'Write {"density": 1.4, "amount": [[1001, 0.2], [1048, 2]]}.')
    return {find(str(name)).name: value for name, value in tree.items()}


def read_camera(path: Path) -> Camera:
    """camera.json. Raises InputError when it is not there or no JSON, RequestError for what stands in it."""
    try:
        tree = json.loads(typed(path).read_text(encoding="utf-8-sig"))  # Windows' editors begin a file with a mark
    except OSError as error:
        raise InputError(
            "%s can't be read (%s)." % (path, error.strerror or error), "Give the path of a camera.json.", input="camera"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            "%s is no JSON (%s)." % (path, error), "Write it anew; docs/generate.md shows the form.", input="camera"
        ) from error
    return camera_from_dict(tree)


def begin(request: GenerateRequest, sources: Sources, out: Path, by_hash: Optional[Mapping[str, Path]] = None) -> TakeWriter:
    """A new take folder for the request in `out`. Raises StorageError before anything is written: no access, no room.

    by_hash: where each content lies, for Blender and Nuke, which can then attach to the take whatever form its patterns have.
    """
    out = typed(out).absolute()
    checks.check_request(request)
    check_writable(out)
    checks.check_room(_nearest(out), checks.take_bytes(request), "the take")
    files = {sha: str(path) for sha, path in (by_hash or {}).items()}
    return TakeWriter.create(out, uuid.uuid4().hex, {"request": request.to_dict(), "sources": sources.plain(), "files": files})


def resumed(take: Path, show: Show = lambda event: None) -> Tuple[GenerateRequest, sequences.Found, TakeWriter]:
    """What an interrupted take still needs. Raises StorageError when there is nothing to go on with, InputError when an
    input is no longer what it was."""
    if not typed(take).exists():
        raise StorageError("There is no folder %s." % typed(take), "Give that of the take, like takes/take_0001.")
    writer = TakeWriter.resume(typed(take))
    if not writer.finished:
        check_writable(writer.path)
    told = writer.note.get("sources")
    if "request" not in writer.note or told is None:
        raise StorageError("%s was not made by this command." % take, "Go on with it where it was begun.")
    if not _TAKE_ID.fullmatch(writer.take_id) or not _is_sources(told):
        raise StorageError("%s is damaged." % (writer.path / MARKER), "Generate a new take; this one is left as it is.")
    request = request_from_dict(writer.note["request"])
    passes, by_hash = _hashed(Sources.of(told), request.frames, show)
    for name, now in passes.items():
        for was in getattr(request.inputs, name).files:
            if now.at(was.frame) != was:
                raise InputError(
                    "The file is not what it was when the take was begun.",
                    "Put it back, or generate a new take.",
                    input=name,
                    frame=was.frame,
                )
    return request, by_hash, writer


def _is_sources(told: Any) -> bool:
    """Whether it is what `Sources.plain` gives: a take's folder may be anybody's to write."""
    return isinstance(told, dict) and all(isinstance(told.get(part), dict) for part in ("patterns", "channels"))


def run_here(
    request: GenerateRequest,
    by_hash: sequences.Found,
    writer: TakeWriter,
    show: Show,
    cancelled: Callable[[], bool],
    device: Optional[str] = None,
) -> None:
    """Makes the take in this process. Raises PlatebridgeError; the take can then be gone on with, if anything came."""
    with importing():
        from .generate import generate

    scratch = scratch_folder(writer.take_id)
    mend = "Wait for that one; if it ends early, the same command goes on with what came."
    held = StorageError("%s is being made by another process." % writer.path, mend)
    kept = True
    try:
        with locks.alone(scratch / "lock", held):  # a second that goes on with it would work in the same scratch folder
            if (writer.path / TAKE).exists():  # another process has just ended it
                kept = False
                return
            events = generate(
                request,
                _as_hashed(request, by_hash),
                writer.take_id,
                scratch=scratch,
                device=device,
                origin=origin(writer),
                have=writer.have,
                cancelled=cancelled,
            )
            try:
                with contextlib.closing(events):
                    for event in events:
                        if isinstance(event, FileReady):
                            writer.write(event)
                        show(event)
            finally:
                kept = bool(writer.have) and not writer.finished
    finally:
        if not kept:
            shutil.rmtree(scratch, ignore_errors=True)


def _as_hashed(request: GenerateRequest, by_hash: sequences.Found) -> Callable[[str], Path]:
    """Where the file of a content lies, as long as it holds that content: somebody may render a shot again while its take is made.

    A file of another date is hashed again. Raises InputError: take.json would name a file that the pixels are not from.
    """
    files = {f.sha256: (name, f) for name, source in vars(request.inputs).items() if source for f in source.files}
    dates = dict(by_hash.dates)

    def open_file(sha256: str) -> Path:
        path, (name, file) = by_hash[sha256], files[sha256]
        with contextlib.suppress(OSError):  # whoever reads it says what is wrong
            state = path.stat()
            if dates.get(sha256) != state.st_mtime_ns:
                if state.st_size != file.size or hash_file(path) != sha256:
                    mend = "Put it back and go on, or generate a new take."
                    raise InputError("%s was written anew while the take was made." % path, mend, input=name, frame=file.frame)
                dates[sha256] = state.st_mtime_ns
        return path

    return open_file


def run_there(
    request: GenerateRequest,
    by_hash: sequences.Found,
    writer: TakeWriter,
    show: Show,
    cancelled: Callable[[], bool],
    connection: Optional[Path] = None,
    again: bool = False,
) -> None:
    """Has a running server make the take. Raises as `run_here`, and ConnectionFailed.

    A new take that was refused or cancelled before anything came leaves no folder; one that the server may have keeps it.
    """
    job = None
    try:
        with Client(typed(connection) if connection else None, "platebridge generate") as client:
            job = client.upload_and_submit(request, by_hash.__getitem__, writer.take_id, origin(writer), writer.have, again)
            asker = threading.Thread(target=_pass_on, args=(cancelled, job), daemon=True)
            asker.start()
            try:
                client.finish(job, writer, show, patience=PATIENCE)
            except KeyboardInterrupt:  # the second Ctrl-C: nobody may have passed on the first yet
                job.cancel()
                raise
    except BaseException as error:
        if not again and (isinstance(error, REFUSED) or job is None or not job.known):
            forget_if_empty(writer)
        raise


def _pass_on(cancelled: Callable[[], bool], job: JobHandle) -> None:
    """Tells the server once that the artist cancelled: events may be far apart, and a queued job has none at all."""
    while not job.finished:
        if cancelled():
            job.cancel()
            return
        time.sleep(0.1)


def forget_if_empty(writer: TakeWriter) -> None:
    """Takes a take folder away again that nothing came into."""
    if not writer.have:
        with contextlib.suppress(OSError):
            (writer.path / MARKER).unlink()
            writer.path.rmdir()


def origin(writer: TakeWriter) -> Dict[str, str]:
    """What this client says of itself, and what it calls the take, in take.json."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for this user id: a farm's container; and on Windows Python looks for Unix's list
        user = ""
    return {
        "application": "platebridge generate",
        "version": platebridge.__version__,
        "host": platform.node(),
        "user": user if is_text(user) else "",
        "take": writer.path.name,
    }


def scratch_folder(take_id: str) -> Path:
    """This take's folder for work under way, the same when it is gone on with. Those of takes long given up are removed."""
    root = Path(platformdirs.user_cache_dir("platebridge", appauthor=False)) / "scratch"
    folder = root / take_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in root.iterdir():
            with contextlib.suppress(OSError):  # another take has ended a moment ago
                if old not in (folder, *(root / kept for kept in SHELVES)) and time.time() - old.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        said = storage_error(error, folder)
        raise StorageError(said.message, "Work under way lies there; on Linux XDG_CACHE_HOME names another folder for it.") from error
    return folder


def _refuse_missing(request: GenerateRequest, sources: Sources) -> None:
    """Raises InputError for a frame that lacks a file, before the first is hashed."""
    for name, pattern in sources.patterns.items():
        there = sequences.found(name, pattern, request.frames)
        files = Pass(Path(pattern).name, (), tuple(FrameFile(frame, "", 0) for frame in there))
        checks.check_frames(name, files, request.frames)


def _hashed(sources: Sources, frames: FrameRange, show: Show) -> Tuple[Dict[str, Pass], sequences.Found]:
    passes: Dict[str, Pass] = {}
    by_hash = sequences.Found()
    if sources.references:  # first: they are few, and one that isn't there is told before a shot is hashed
        passes["reference"], found = sequences.pictures("reference", sources.references)
        by_hash.add(found)
    total = len(frames) * len(sources.patterns)
    for at, (name, pattern) in enumerate(sources.patterns.items()):

        def seen(count: int, before: int = at * len(frames)) -> None:
            show(Progress("finding", before + count, total))

        passes[name], found = sequences.hashed(name, pattern, frames, sources.channels.get(name, ()), seen)
        by_hash.add(found)
    return passes, by_hash


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def check_writable(folder: Path, option: str = "--out") -> None:
    """Raises StorageError where no files can come into the folder, which need not be there yet. option: how it was named."""
    there = _nearest(typed(folder).absolute())
    if not there.exists():  # a network drive of Windows' that has gone
        raise StorageError("There is no drive %s." % there, "Bring it back, or choose another %s." % option)
    if not there.is_dir():
        raise StorageError("%s is a file, not a folder." % there, "Choose another %s." % option)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise storage_error(error, there) from error
