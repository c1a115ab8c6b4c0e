# SPDX-License-Identifier: Apache-2.0
"""The large models on this machine: a folder for each, and beside it what its files were when they were taken in.

    <root>/wan-vace-1.3b/platebridge.json      what it is, every file's SHA-256, and where the files lie: here, or in a folder of yours

    model = store.opened("wan-vace-1.3b")      # its files are those that were taken in, or ModelError says what is not
    WanVACEPipeline.from_pretrained(model.folder, local_files_only=True, use_safetensors=True)

Nothing here touches the network, and nothing is loaded. `PLATEBRIDGE_MODELS` names another root: a share that a whole studio reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

import platformdirs
from platebridge.errors import Cancelled, ModelError, StorageError
from platebridge.takes import storage_error, write_whole

from . import cards, layout

VARIABLE = "PLATEBRIDGE_MODELS"
MANIFEST = "platebridge.json"
MANIFEST_VERSION = 1
#: Of the disk, bytes that stay free when weights are copied or fetched.
RESERVE = 2 * 2**30
#: Seconds after which a copy that nothing was written to is one that was killed.
ABANDONED = 24 * 3600
_ANEW = "To take it anew: platebridge models remove %s, then add or fetch it."
Progress = Callable[[str, int, int], None]  # (file, bytes done, bytes in all)


def _quiet(file: str, done: int, total: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Installed:
    """A model that is here. `folder`: in diffusers' layout. `card`: with the hashes of its weights and of its settings; one of ours says
    where these files came from, and not where the model is found. `manifest`: as it was written."""

    name: str
    folder: Path
    card: Dict[str, Any]
    manifest: Dict[str, Any]

    @property
    def files(self) -> Dict[str, Dict[str, Any]]:
        """{"transformer/config.json": {"sha256", "bytes"}}"""
        return self.manifest["files"]

    @property
    def bytes(self) -> int:
        return sum(file["bytes"] for file in self.files.values())


def root() -> Path:
    """Where models lie: the variable's folder, its ~ the home folder, else this user's own."""
    named = os.environ.get(VARIABLE)
    return Path(os.path.expanduser(named)) if named else Path(platformdirs.user_data_dir("platebridge", appauthor=False)) / "models"


def names() -> List[str]:
    """The models that are here."""
    with contextlib.suppress(OSError):
        return sorted(name for path in root().glob("*/" + MANIFEST) if not (name := path.parent.name).startswith("."))
    return []


def how_to_get(name: str) -> str:
    """The one line to type for a model that is not here."""
    try:
        revision = cards.card(name)["source"]["revision"]
    except ModelError:
        return "platebridge models add FOLDER --card CARD.json"
    return "platebridge models fetch %s%s" % (name, "" if revision else " --revision COMMIT")


def find(name: str) -> Optional[Installed]:
    """What is here under that name, unverified; None when there is nothing. Raises ModelError when what it says of itself is no sense."""
    path = _place(name) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as problem:
        raise _broken(name, "%s can't be read (%s)" % (MANIFEST, problem)) from problem
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or manifest.get("version") != MANIFEST_VERSION or manifest.get("name") != name:
        raise _broken(name, "%s is not one of ours" % MANIFEST)
    for file, said in files.items():
        sane = isinstance(said, dict) and isinstance(said.get("sha256"), str) and isinstance(said.get("bytes"), int)
        if not sane or ".." in Path(file).parts or Path(file).is_absolute():
            raise _broken(name, "%s names %r" % (MANIFEST, file))
    card = cards.checked(manifest["card"], MANIFEST) if manifest.get("card") else cards.card(name)
    if card["name"] != name:
        raise _broken(name, "its card is that of %s" % card["name"])
    combined = weights_sha256({file: said["sha256"] for file, said in files.items()})
    for who, claim in ((MANIFEST, manifest.get("weights_sha256")), ("its card", card.get("weights_sha256") or combined)):
        if claim != combined:
            raise _broken(name, "the weights' hash in %s is not that of its files" % who)
    folder = manifest.get("folder", ".")
    if not manifest.get("card"):
        card["source"] = _came_from(manifest, card)
    card = {**card, "weights_sha256": combined, "settings_sha256": settings_sha256(files)}
    return Installed(name, root() / name if folder == "." else Path(folder), card, manifest)


def opened(name: str, progress: Progress = _quiet, cancelled: Callable[[], bool] = lambda: False) -> Installed:
    """A model that is here, every file being what was taken in. Raises ModelError with the line to type, or what has changed.

    A file that was hashed before and has not been touched since is not hashed again; on another machine, or through another user,
    that takes a minute or two once.
    """
    return _compared(_there(name), False, progress, cancelled)


def check_there(model: Installed) -> None:
    """Raises ModelError where a file is gone or has another size: a disk that was taken off, for instance. Nothing is read."""
    for file in model.files:
        _state(model, file)


def verify(name: str, progress: Progress = _quiet, cancelled: Callable[[], bool] = lambda: False) -> Installed:
    """As `opened`, but every byte is read again, and the folder's layout is looked at again."""
    model = _there(name)
    layout.checked(model.folder, model.card)
    return _compared(model, True, progress, cancelled)


def add(
    folder: Path,
    card: Optional[Mapping[str, Any]] = None,
    *,
    copy: bool = False,
    progress: Progress = _quiet,
    cancelled: Callable[[], bool] = lambda: False,
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> Installed:
    """Takes in a folder that was copied by hand, in diffusers' layout. It stays where it is, unless `copy`; the one that lies among our
    models under the model's own name always does.

    card: a studio's own; one of ours is recognised from the folder. Raises ModelError, StorageError; then nothing was taken in.
    """
    folder = Path(folder).resolve()
    check_root()
    sweep()
    own = card is not None
    if card is None:
        card = layout.nearest(folder, [cards.card(name) for name in cards.names()])
    in_place = folder == (root() / card["name"]).resolve()
    check_absent(card["name"], in_place)
    copy = copy and not in_place
    sizes = layout.checked(folder, card)
    if copy:
        check_room(root(), sum(sizes.values()), free)
    hashes: Dict[str, str] = {}
    with being_added(card["name"], in_place) as place:
        done, total = 0, sum(sizes.values())
        for file, size in sizes.items():
            def tell(within: int, file: str = file, done: int = done) -> None:
                progress(file, done + within, total)

            hashes[file] = _copied(folder / file, place / file, tell, cancelled) if copy else hash_of(folder / file, tell, cancelled)
            done += size
        said = {"source": {"kind": "folder", "folder": str(folder)}, "folder": "." if copy or in_place else str(folder), "yours": not copy}
        write_manifest(place, card, own, hashes, sizes, said)
    return remembered(_there(card["name"]))


def remove(name: str) -> int:
    """Takes a model away and gives the bytes that are free again. A folder of yours that was only pointed at stays."""
    place = _place(name)
    sweep()
    if not (place / MANIFEST).is_file():
        raise ModelError("The model %s is not here." % name, "`platebridge models list` shows what is.")
    gone = root() / (".removed-" + uuid.uuid4().hex)
    try:
        if _is_yours_in_place(place):
            freed = (place / MANIFEST).stat().st_size
            (place / MANIFEST).unlink()
            return freed
        freed = sum(path.stat().st_size for path in place.rglob("*") if path.is_file() and not path.is_symlink())
        os.replace(place, gone)  # first out of sight, so that nobody opens half a model
        with contextlib.suppress(FileNotFoundError):  # another process sweeps it, too
            (gone / MANIFEST).unlink()
            shutil.rmtree(gone)
    except OSError as problem:
        raise storage_error(problem, place) from problem
    return freed


# --- what fetching needs, too ------------------------------------------------------------------------------------------------


def sweep() -> None:
    """Takes away what killed commands left half removed or half copied: tens of GB that nobody sees. What can't be stays."""
    for place in root().glob(".removed-*"):
        shutil.rmtree(place, ignore_errors=True)
    for place in root().glob(".adding-*"):
        with contextlib.suppress(OSError):
            if max(path.stat().st_mtime for path in (place, *place.rglob("*"))) < time.time() - ABANDONED:
                shutil.rmtree(place, ignore_errors=True)


def check_absent(name: str, in_place: bool = False) -> None:
    """Raises ModelError where a model of the name is, or a folder that is not ours to replace. in_place: that folder becomes the model."""
    place = root() / name
    if (place / MANIFEST).exists():
        raise ModelError("The model %s is here already." % name, "To have another in its place: platebridge models remove %s" % name)
    if not in_place and place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise ModelError(
            "%s is there already, and was not taken in as a model." % place,
            "If it is the model in diffusers' layout: platebridge models add %s; else move it away, or give it another name." % place,
        )


def check_root() -> None:
    """Raises StorageError where the folder of models, or one above it, is a file."""
    there = next((path for path in (root(), *root().parents) if path.exists()), None)
    if there is not None and not there.is_dir():
        raise StorageError("%s is a file, not a folder." % there, "Name the folder of models in %s." % VARIABLE)


def check_room(place: Path, wanted: int, free: Callable[[Path], int]) -> None:
    """Raises StorageError when `wanted` bytes more would not leave RESERVE free on the disk of `place`, or when there is no such disk."""
    there = next((folder for folder in (place, *place.parents) if folder.exists()), None)
    if there is None:
        raise StorageError("There is no drive %s." % place.anchor, "Bring it back, or name another folder in %s." % VARIABLE)
    left = free(there)
    if left < wanted + RESERVE:
        raise StorageError(
            "There is not enough disk: %.1f GB are needed and %.1f GB are free in %s." % ((wanted + RESERVE) / 1e9, left / 1e9, place),
            "Make room, or name another folder in %s." % VARIABLE,
        )


@contextlib.contextmanager
def being_added(name: str, in_place: bool = False) -> Iterator[Path]:
    """A folder that becomes the model's own when the block ends well, and is gone when it doesn't. in_place: the model lies there already,
    and the manifest alone comes to it."""
    place = root() / (name if in_place else ".adding-" + uuid.uuid4().hex)
    try:
        if in_place:
            yield place
            return
        place.mkdir(parents=True)
        try:
            yield place
            become(place, name)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as problem:
        raise storage_error(problem, place) from problem


def become(place: Path, name: str) -> None:
    """A finished folder takes the model's name, whole or not at all."""
    check_absent(name)
    with contextlib.suppress(FileNotFoundError):
        (root() / name).rmdir()  # an empty one; not everywhere can a folder take its place
    os.replace(place, root() / name)


def write_manifest(
    place: Path, card: Mapping[str, Any], own: bool, hashes: Mapping[str, str], sizes: Mapping[str, int], said: Mapping[str, Any]
) -> None:
    """What was taken in. Raises ModelError if the card says that it should have been something else."""
    combined = weights_sha256(hashes)
    if card.get("weights_sha256") not in (None, "", combined):
        raise ModelError(
            "The card of %s says weights of SHA-256 %s…, these are %s…." % (card["name"], card["weights_sha256"][:12], combined[:12]),
            "One of the two is not what it should be.",
        )
    manifest = {
        "version": MANIFEST_VERSION,
        "name": card["name"],
        "added": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **said,
        "weights_sha256": combined,
        "files": {file: {"sha256": hashes[file], "bytes": sizes[file]} for file in sizes},
        **({"card": dict(card)} if own else {}),
    }
    write_whole(place / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def weights_sha256(hashes: Mapping[str, str]) -> str:
    """One hash for a model: of the names and hashes of its safetensors files, as canonical JSON."""
    weights = {file: sha for file, sha in hashes.items() if file.endswith(".safetensors")}
    return hashlib.sha256(json.dumps(weights, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def settings_sha256(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One hash of what of a model is no weights and yet changes its pictures: settings and vocabulary of each component, and the index."""
    settings = {file: said["sha256"] for file, said in files.items() if not file.endswith(".safetensors")}
    settings = {file: sha for file, sha in settings.items() if "/" in file or file.endswith(".json")}  # no licence, no word about it
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_of(
    path: Path, progress: Callable[[int], None], cancelled: Callable[[], bool], into: Optional[Callable[[bytes], Any]] = None
) -> str:
    """SHA-256 of a file. `into`: is given every block, too."""
    digest, done = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**22), b""):
            if cancelled():
                raise Cancelled("Cancelled.")
            digest.update(block)
            if into is not None:
                into(block)
            done += len(block)
            progress(done)
    return digest.hexdigest()


# --- within ------------------------------------------------------------------------------------------------------------------


def _place(name: str) -> Path:
    if not name or name[0] in ".-" or set(name) & set("/\\:\0"):
        raise ModelError("%r can't name a model." % name, "`platebridge models list` shows the names.")
    return root() / name


def _is_yours_in_place(place: Path) -> bool:
    """Whether the weights beside the manifest were there before it: then they stay when it goes. They stay, too, where it is damaged:
    then nobody knows whose they are."""
    try:
        said = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not isinstance(said, dict) or (said.get("yours") is True and said.get("folder") == ".")


def _came_from(manifest: Mapping[str, Any], card: Mapping[str, Any]) -> Dict[str, Any]:
    """Where a model's files came from, for its card. Of a folder there is no more to know than what it looks like; its path is the
    machine's own business."""
    said = manifest.get("source")
    if isinstance(said, dict) and said.get("kind") == "hub":
        return said
    return {"kind": "folder", "looks_like": card["source"]["repository"]}


def _there(name: str) -> Installed:
    model = find(name)
    if model is None:
        raise ModelError("The model %s is not installed." % name, "Type: %s" % how_to_get(name))
    return model


def _compared(model: Installed, again: bool, progress: Progress, cancelled: Callable[[], bool]) -> Installed:
    stamps, done = ({} if again else _stamps()), 0
    seen: Dict[str, List[Any]] = {}
    for file, said in model.files.items():
        path, state = model.folder / file, _state(model, file)
        stamp = seen[str(path)] = [state.st_size, state.st_mtime_ns, said["sha256"]]
        if stamps.get(str(path)) != stamp:
            try:
                found = hash_of(path, lambda within, file=file, done=done: progress(file, done + within, model.bytes), cancelled)
            except OSError as problem:
                raise _lost(model, file, problem) from problem
            if found != said["sha256"]:
                raise _changed(model, file)
        done += state.st_size
    _remember(seen)
    strange = layout.strange(model.folder, model.card, model.files)
    if strange:
        said = "%s of the model %s was not there when it was taken in." % (strange[0], model.name)
        raise ModelError(said, "Weights that nobody hashed are not loaded: take it out of %s." % model.folder)
    return model


def _state(model: Installed, file: str) -> os.stat_result:
    """Of a file of the model, which is as long as it should be. Raises ModelError."""
    try:
        state = (model.folder / file).stat()
    except OSError as problem:
        raise _lost(model, file, problem) from problem
    if state.st_size != model.files[file]["bytes"]:
        raise _changed(model, file)
    return state


def _lost(model: Installed, file: str, problem: OSError) -> ModelError:
    said = "The model %s has lost %s (%s)." % (model.name, file, problem.strerror)
    return ModelError(said, "Put it back into %s, or: platebridge models remove %s" % (model.folder, model.name))


def _changed(model: Installed, file: str) -> ModelError:
    return ModelError(
        "%s of the model %s is not what was taken in." % (file, model.name),
        "It is not loaded. " + _ANEW % model.name,
    )


def _broken(name: str, why: str) -> ModelError:
    return ModelError("The model %s is refused: %s." % (name, why), _ANEW % name)


def _copied(source: Path, target: Path, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as out:
        return hash_of(source, progress, cancelled, out.write)


def _stamp_file() -> Path:
    """This user's own note of which file had which hash. Not beside the weights: those may be anybody's to write."""
    return Path(platformdirs.user_cache_dir("platebridge", appauthor=False)) / "hashed.json"


def _stamps() -> Dict[str, List[Any]]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_stamp_file().read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def remembered(model: Installed) -> Installed:
    """Notes that a model's files are what its manifest says: they have just been hashed."""
    states = {file: (model.folder / file).stat() for file in model.files}
    _remember({str(model.folder / file): [s.st_size, s.st_mtime_ns, model.files[file]["sha256"]] for file, s in states.items()})
    return model


def _remember(seen: Mapping[str, List[Any]]) -> None:
    """A note that can't be written costs time and nothing else."""
    before = _stamps()
    known = {**before, **seen}
    if known != before:
        with contextlib.suppress(OSError):
            note = _stamp_file()
            note.parent.mkdir(parents=True, exist_ok=True)
            fresh = note.with_name("%s.%s" % (note.name, uuid.uuid4().hex))
            fresh.write_text(json.dumps(known), encoding="utf-8")
            os.replace(fresh, note)
