# SPDX-License-Identifier: Apache-2.0
"""A large model from the hub to this machine: the one place of Platebridge that reaches for the network, and only when it is asked to.

What a commit holds is asked first (names, sizes, hashes), then the disk; then each file is fetched, on from where it stopped, and hashed.
The folder becomes the model only when every file is what the hub announced. Pickles are not even asked for.

huggingface_hub keeps no half of a file that it was interrupted in (2.x deletes it), and a shard is 5 GB; so its own transfer,
`http_get`, writes here into a file that we keep.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Callable, Dict, Iterator, List, Optional

from platebridge.errors import Cancelled, ModelError, PlatebridgeError, RequestError
from platebridge.takes import storage_error

from .. import locks
from . import cards, layout, store


@dataclass(frozen=True)
class Remote:
    """A file as the hub announces it. `sha256`: of large files; `git`: git's own hash of small ones, which it calls a blob. A mirror that
    leaves any of them out has -1 or "" here."""

    path: str
    size: int
    sha256: str
    git: str


def fetch(
    name: str,
    revision: str = "",
    *,
    repository: str = "",
    progress: store.Progress = lambda file, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> store.Installed:
    """Fetches a model that we know at a commit, 40 hex digits: a branch's name may mean other weights tomorrow. Goes on where it stopped.

    repository: another one with the same model, "owner/name". Raises RequestError, ModelError, StorageError, Cancelled; what came is kept
    for the next try.
    """
    card = cards.card(name)
    repository = repository or card["source"]["repository"]
    pinned = card["source"]["revision"] if repository == card["source"]["repository"] else None
    revision = revision or pinned or ""
    if len(revision) != 40 or set(revision) - set("0123456789abcdef"):
        said = "A commit is 40 hex digits, not %r." % revision if revision else "No commit of %s is pinned by us." % repository
        raise RequestError(said, "Take one from the list of commits on the model's page, and give it with --revision.")
    store.check_root()
    store.check_absent(name)
    place = _place(name)
    with _alone(place, name):
        store.sweep()
        with online():
            remote = {file.path: file for file in _announced(repository, revision)}
            wanted = [remote[path] for path in layout.wanted(remote, card)]
            _check_announced(wanted)
            _sweep(place, wanted)
            total = sum(file.size for file in wanted)
            store.check_room(store.root(), total - sum(min(_there(place, file), file.size) for file in wanted), free)
            hashes = _all_fetched(place, wanted, repository, revision, progress, cancelled)
        layout.checked(place, card)
        said = {"source": {"kind": "hub", "repository": repository, "revision": revision}, "folder": "."}
        store.write_manifest(place, card, False, hashes, {file.path: file.size for file in wanted}, said)
        store.become(place, name)
    return store.remembered(_installed(name))


def begun(name: str) -> int:
    """Bytes that a fetch has brought which is under way or was broken off; 0 where there is none."""
    if name not in cards.names():  # no other is fetched, and a name may be anything that was typed
        return 0
    return sum(path.stat().st_size for path in _place(name).rglob("*") if path.is_file())


def give_up(name: str) -> int:
    """Takes away what a fetch brought that was broken off, and gives its bytes. Raises ModelError while it is under way, StorageError."""
    place = _place(name)
    with _alone(place, name):
        freed = begun(name)
        try:
            shutil.rmtree(place)
        except OSError as problem:
            raise storage_error(problem, place) from problem
    return freed


def _place(name: str) -> Path:
    """Where a model lies while it is fetched."""
    return store.root() / (".fetching-" + name)


@contextlib.contextmanager
def online() -> Iterator[None]:
    """The network is allowed while this is open. Everywhere else huggingface_hub is told that there is none (see platebridge_server)."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "0"
    import huggingface_hub.constants as constants

    constants.HF_HUB_OFFLINE = False
    try:
        with _in_sentences():
            yield
    finally:
        constants.HF_HUB_OFFLINE = True
        os.environ["HF_HUB_OFFLINE"] = before or "1"


@contextlib.contextmanager
def _alone(place: Path, name: str) -> Iterator[None]:
    """One fetch of a model at a time: two would write into the same halves of files. The system lets the lock go when the process ends,
    however it ends. It lies beside the folder, which is renamed in the end: Windows renames none with an open file in it."""
    path = place.with_name(place.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise storage_error(problem, path) from problem
    said = "The model %s is being fetched by another process." % name
    with locks.alone(path, ModelError(said, "Wait for that one; if it ends early, the same command goes on with what came.")):
        yield
    with contextlib.suppress(OSError):
        path.unlink()  # the model is whole; after a fetch that was broken off it waits beside the halves


def _installed(name: str) -> store.Installed:
    model = store.find(name)
    assert model is not None  # it has just become it
    return model


def _endpoint() -> Optional[str]:
    """A mirror within the studio, by the hub's own variable; None is the hub itself."""
    return os.environ.get("HF_ENDPOINT") or None


def _announced(repository: str, revision: str) -> List[Remote]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi(_endpoint(), library_name="platebridge").model_info(repository, revision=revision, files_metadata=True)
    except HFValidationError:
        raise
    except (ValueError, KeyError, TypeError) as problem:
        mend = "Is it a page to log in on, or does HF_ENDPOINT name something else? In a closed network: docs/models.md."
        raise ModelError("%s answers, but not as a hub does." % (_endpoint() or "The hub"), mend) from problem
    if info.sha != revision:
        raise ModelError("%s gave commit %s where %s was asked for." % (repository, info.sha, revision), "Give a whole commit.")
    found = []
    for file in info.siblings or []:
        path = Path(file.rfilename)
        if path.is_absolute() or ".." in path.parts or "\\" in file.rfilename or path.parts[0].startswith("."):
            continue  # .gitattributes, and whatever would leave the folder
        size = -1 if file.size is None else file.size
        found.append(Remote(file.rfilename, size, file.lfs.sha256 if file.lfs else "", "" if file.lfs else file.blob_id or ""))
    return found


def _check_announced(wanted: List[Remote]) -> None:
    """Raises ModelError where a file could not be compared with what was announced."""
    untold = next((file.path for file in wanted if file.size < 0 or not (file.sha256 or file.git)), None)
    if untold:
        said = "%s does not say how large %s is and which hash it has." % (_endpoint() or "The hub", untold)
        raise ModelError(said, "Nothing that can't be compared is fetched: take it from the hub itself, or by hand (docs/models.md).")


def _partial(place: Path, file: Remote) -> Path:
    """Where half of a file lies: under its hash, so that another commit's half is never gone on with."""
    return place / ".partial" / (file.sha256 or file.git)


def _sweep(place: Path, wanted: List[Remote]) -> None:
    """Takes away what an earlier try of another commit or repository left: it takes room, and other shards would be in the way."""
    kept = {path for file in wanted for path in (place / file.path, _partial(place, file))}
    try:
        for path in list(place.rglob("*")):
            if path.is_file() and path not in kept:
                path.unlink()
    except OSError as problem:
        raise storage_error(problem, place) from problem


def _there(place: Path, file: Remote) -> int:
    """Bytes of a file that an earlier try left."""
    for path in (place / file.path, _partial(place, file)):
        with contextlib.suppress(OSError):
            return path.stat().st_size
    return 0


def _fetched(
    place: Path, file: Remote, repository: str, revision: str, tell: Callable[[int], None], cancelled: Callable[[], bool]
) -> str:
    """The file's SHA-256, once it lies whole in its place."""
    target, partial = place / file.path, _partial(place, file)
    if target.is_file() and target.stat().st_size == file.size:
        found = _verified(target, file, tell, cancelled)
        if found is not None:
            return found
    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.is_file() and partial.stat().st_size > file.size:
        partial.unlink()
    if not partial.is_file() or partial.stat().st_size < file.size:
        with open(partial, "ab") as out:
            _transfer(_Counted(out, tell, cancelled), out.tell(), file, repository, revision)
    found = _verified(partial, file, tell, cancelled)
    if found is None:
        partial.unlink()
        raise ModelError(
            "%s is not what the hub announced for commit %s…: its hash is another." % (file.path, revision[:12]),
            "It was thrown away. Fetch again; if it happens again, trust neither the repository nor the way to it.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, target)
    return found


def _all_fetched(
    place: Path, wanted: List[Remote], repository: str, revision: str, progress: store.Progress, cancelled: Callable[[], bool]
) -> Dict[str, str]:
    """Every file's SHA-256, by its path, once all lie whole in their places."""
    total, done = sum(file.size for file in wanted), 0
    hashes: Dict[str, str] = {}
    for file in wanted:

        def tell(within: int, file: Remote = file, done: int = done) -> None:
            progress(file.path, done + within, total)

        try:
            hashes[file.path] = _fetched(place, file, repository, revision, tell, cancelled)
        except Cancelled:
            raise Cancelled("Cancelled; what was fetched is kept, and the same command goes on with it.") from None
        except OSError as problem:
            if problem.errno is None or isinstance(problem, ConnectionError):  # the way's trouble, not the disk's
                raise
            raise storage_error(problem, place) from problem
        done += file.size
    return hashes


def _transfer(out: _Counted, there: int, file: Remote, repository: str, revision: str) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars()  # the command has its own
    http_get(
        hf_hub_url(repository, file.path, revision=revision, endpoint=_endpoint()),
        out,  # type: ignore[arg-type]
        resume_size=there,
        headers=build_hf_headers(library_name="platebridge"),
        expected_size=file.size,
    )


def _verified(path: Path, file: Remote, tell: Callable[[int], None], cancelled: Callable[[], bool]) -> Optional[str]:
    """The SHA-256 of a whole file, or None when it is not what was announced."""
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size)  # git's name for a file: not for safety, the hub has no other for small ones
    sha256 = store.hash_of(path, tell, cancelled, git.update)
    if file.sha256:
        return sha256 if sha256 == file.sha256 else None
    return sha256 if git.hexdigest() == file.git else None


class _Counted:
    """The file as huggingface_hub writes it: says how far it is, and ends when somebody cancels."""

    def __init__(self, out: BinaryIO, tell: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
        self._out, self._tell, self._cancelled = out, tell, cancelled
        self.seek, self.tell, self.truncate = out.seek, out.tell, out.truncate

    def write(self, data: bytes) -> int:
        if self._cancelled():
            raise Cancelled()
        written = self._out.write(data)
        self._tell(self._out.tell())
        return written


@contextlib.contextmanager
def _in_sentences() -> Iterator[None]:
    """What can happen on the way, as a person can mend it."""
    from huggingface_hub import errors

    try:
        yield
    except PlatebridgeError:
        raise
    except errors.RevisionNotFoundError as problem:
        raise RequestError("The hub has no such commit.", "Take one from the list of commits on the model's page.") from problem
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as problem:
        raise ModelError("The hub does not give that repository.", "Is its name right (--repository), and may you have it?") from problem
    except errors.HfHubHTTPError as problem:
        status = getattr(getattr(problem, "response", None), "status_code", "?")
        raise ModelError("The hub answered with an error (%s)." % status, _AGAIN) from problem
    except errors.HFValidationError as problem:
        raise RequestError("%s." % problem, "A repository is owner/name.") from problem
    except (errors.HTTPError, OSError) as problem:  # HTTPError: of the library that the hub's own speaks HTTP with
        raise ModelError("The hub can't be reached (%s)." % (str(problem) or type(problem).__name__), _AGAIN) from problem


_AGAIN = "Type the same again: it goes on where it stopped. In a closed network: docs/models.md."
