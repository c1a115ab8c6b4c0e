# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a shot's folder was captured, and with which settings: capture.json and camera.json.

So a capture that was broken off goes on where it stopped, settings that change only one input render only that one again, and files
of others are never written over. Two Blenders may capture into one folder at once, as on a farm: each keeps what the other has noted.
Knows files; nothing of scenes or rendering.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Set, Tuple

from platebridge.errors import StorageError
from platebridge.request import Camera, CameraFrame, camera_from_dict
from platebridge.takes import storage_error, write_whole

from . import scene_camera
from .sources import Plan

RECORD = "capture.json"
CAMERA = "camera.json"


class Record:
    """The captured frames of a plan's inputs. `good`: with the plan's own settings. `ours`: with any, so they may be replaced."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._file = plan, plan.folder / RECORD
        self._good: Dict[str, Set[int]] = {which: set() for which in plan.fingerprints}
        self._ours: Dict[str, Set[int]] = {which: set() for which in plan.fingerprints}
        self._noted: Dict[str, Set[int]] = {}  # the good ones of our own settings in capture.json, as it was read or written last
        for which, (fingerprint, good, ours) in self._read().items():
            if which in plan.fingerprints:
                self._ours[which] = ours
                if fingerprint == plan.fingerprints[which]:
                    self._noted[which], self._good[which] = good, set() if plan.recapture else set(good)
        # One look into a folder for all its frames: to ask for each of a thousand files takes longer than a tick may.
        self._there = {which: _there(source.files) for which, source in plan.sources.items() if source.how != "files"}

    def missing(self, frame: int) -> Set[str]:
        """The inputs that must be rendered at a frame."""
        return {which for which, there in self._there.items() if frame not in self._good[which] or frame not in there}

    def open(self, frames: Iterable[int]) -> None:
        """Makes the folder and claims the files of these frames.

        Raises StorageError when one of them is there that was not captured, or the folder can't be written.
        """
        plan, frames = self._plan, set(frames)
        for which, source in plan.sources.items():
            if source.how == "files":
                continue
            strangers = [source.files[frame] for frame in sorted(frames & self._there[which] - self._ours[which])]
            if strangers:
                raise StorageError(
                    "%s lies where the captured %s would go." % (strangers[0], which),
                    "Move it, or give the shot another name.",
                    input=which,
                )
            self._ours[which] |= frames
        try:
            plan.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                "The folder %s can't be made (%s)." % (plan.folder, error.strerror), "Choose another under Takes."
            ) from error
        self._write()

    def add(self, frame: int, which: Iterable[str]) -> None:
        """These inputs stand at this frame."""
        for name in which:
            self._good[name].add(frame)
            self._there[name].add(frame)
        self._write()

    def forget(self, which: str) -> None:
        """This input is to be captured anew, at every frame."""
        self._good[which] = set()
        self._write()

    def cameras(self) -> Dict[int, Tuple[CameraFrame, float]]:
        """Cameras of an earlier capture with the same settings, by frame, each with the sensor it is measured against.

        None where nothing is rendered: the camera is read anew then, for that costs next to nothing and it may have moved.
        """
        path = self._plan.folder / CAMERA
        if not self._plan.rendered("render") or not self._good.get("camera") or not path.is_file():
            return {}
        good = self._good["camera"]
        try:  # our own words, unless somebody wrote in them; whoever sends them on has them checked
            camera = json.loads(path.read_text())
            return {row["frame"]: (CameraFrame(**row), camera["sensor_width_mm"]) for row in camera["frames"] if row["frame"] in good}
        except (ValueError, KeyError, TypeError):
            return {}

    def keep_cameras(self, cameras: Dict[int, Tuple[CameraFrame, float]]) -> None:
        """Writes camera.json, whole."""
        camera = scene_camera.assemble(cameras[frame] for frame in sorted(cameras))
        # No dataclasses.asdict: it copies every number of every frame, which takes longer than a tick may.
        _write_json(self._plan.folder / CAMERA, {**vars(camera), "frames": [vars(item) for item in camera.frames]})
        self._good["camera"] = set(cameras)
        self._write()

    def _read(self) -> Dict[str, Tuple[str, Set[int], Set[int]]]:
        """{input: (fingerprint, good, ours)} as it is noted there, {} where nothing is. Raises StorageError."""
        try:
            kept = json.loads(self._file.read_text())["inputs"]
            return {which: (entry["fingerprint"], set(entry["good"]), set(entry["ours"])) for which, entry in kept.items()}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise storage_error(error, self._file) from error
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StorageError("%s is damaged." % self._file, "Move the captured passes away, or give the shot another name.") from None

    def _write(self) -> None:
        kept = self._read()  # with inputs that this plan takes from elsewhere, and what another Blender has noted meanwhile
        for which, fingerprint in self._plan.fingerprints.items():
            settings, good, ours = kept.get(which, ("", set(), set()))
            self._ours[which] |= ours
            if settings == fingerprint:
                self._good[which] |= good - self._noted.get(which, set())
            self._noted[which] = set(self._good[which])
            kept[which] = (fingerprint, self._good[which], self._ours[which])
        told = {which: {"fingerprint": f, "good": sorted(good), "ours": sorted(ours)} for which, (f, good, ours) in kept.items()}
        _write_json(self._file, {"inputs": told})


def captured_camera(plan: Plan) -> Callable[[], Optional[Camera]]:
    """What gives the shot's camera as capture wrote it, cut to the plan's frames, or None when the plan wants none.

    The file is read at once, for another capture may write it anew; to take it apart is for a thread.
    """
    if not plan.camera:
        return lambda: None
    text, frames = (plan.folder / CAMERA).read_text(), plan.frames

    def taken_apart() -> Camera:
        camera = camera_from_dict(json.loads(text))
        return dataclasses.replace(camera, frames=tuple(item for item in camera.frames if item.frame in frames))

    return taken_apart


def _there(files: Mapping[int, Path]) -> Set[int]:
    """The frames whose files exist. They lie in one folder. Raises StorageError."""
    folder = next(iter(files.values())).parent
    try:
        names = set(os.listdir(folder)) if folder.is_dir() else set()
    except OSError as error:  # made by somebody else, for their eyes alone
        raise storage_error(error, folder) from error
    return {frame for frame, path in files.items() if path.name in names}


def _write_json(path: Path, tree: Any) -> None:
    try:
        write_whole(path, json.dumps(tree).encode())
    except OSError as error:
        raise StorageError(
            "%s can't be written (%s)." % (path, error.strerror), "Make room, or choose another folder under Takes."
        ) from error
