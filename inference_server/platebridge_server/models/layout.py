# SPDX-License-Identifier: Apache-2.0
"""Whether a folder is the model that a card describes: diffusers' layout, every component there, the classes it says, no pickle.

Works on names and on JSON and safetensors headers alone; loads nothing and imports no model. Knows neither where folders lie nor the hub.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from platebridge.errors import ModelError

#: Files that can hold a pickle, which runs what it likes when it is read. None is ever opened, fetched or kept.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".msgpack", ".h5")
_BESIDE = (".json", ".txt", ".model")  # what lies beside weights: settings, vocabularies
_WEIGHTS = ("diffusion_pytorch_model", "model")  # diffusers' name and transformers'
_CONFIGS = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}  # of the others: config.json
_VOCABULARIES = ("tokenizer.json", "spiece.model")
_INDEX = "model_index.json"
_SAFETENSORS = ".safetensors"
_VARIANT = re.compile(r"(%s)(-\d{5}-of-\d{5})?\.(?!safetensors)" % "|".join(_WEIGHTS))
#: A header larger than this is no header (safetensors' own limit).
_LONGEST_HEADER = 100_000_000
#: How a file begins that git has put in the place of a large one.
_POINTER = b"version https://git-lfs"


def is_pickle(path: str) -> bool:
    return path.lower().endswith(PICKLES)


def wanted(paths: Iterable[str], card: Mapping[str, Any]) -> List[str]:
    """Of a folder's or repository's files ("transformer/config.json"), those that the model is made of, in order.

    One set of weights per component: the plain ones, not the variants beside them. Raises ModelError where a component has no safetensors.
    """
    there = sorted(set(paths))
    out = [path for path in there if "/" not in path and (path in (_INDEX, "README.md") or path.upper().startswith("LICENSE"))]
    if _INDEX not in out:
        raise ModelError("There is no %s, so it is no model in diffusers' layout." % _INDEX, "Give the folder that holds it.")
    for component in card["layout"]:
        inside = [path[len(component) + 1 :] for path in there if path.startswith(component + "/") and path.count("/") == 1]
        if not inside:
            raise ModelError("The component %s is missing." % component, "Copy the whole folder, in diffusers' layout.")
        keep = [name for name in inside if name.endswith(_BESIDE) and not name.endswith(_SAFETENSORS + ".index.json")]
        if component == "tokenizer" and not set(keep) & set(_VOCABULARIES):  # transformers makes one that knows no word, and says nothing
            said = "The component tokenizer has no vocabulary (%s)." % " or ".join(_VOCABULARIES)
            raise ModelError(said, "Copy the whole folder, in diffusers' layout.")
        if component not in _CONFIGS:
            keep += _weights_of(component, inside)
        out += ["%s/%s" % (component, name) for name in sorted(keep)]
    return out


def checked(folder: Path, card: Mapping[str, Any]) -> Dict[str, int]:
    """The model's files in a folder with their sizes in bytes. Raises ModelError that says what is not as the card has it."""
    folder = Path(folder)
    there = [str(path.relative_to(folder).as_posix()) for path in _files(folder, card)]
    for path in there:
        if is_pickle(path):
            mend = "Take it out of %s: only safetensors are loaded." % folder
            raise ModelError("%s may be a pickle, which runs code when it is read." % path, mend)
    found = wanted(there, card)
    beside = strange(folder, card, found)
    if beside:
        mend = "Which of them are the model's can't be known: take the others out of %s." % folder
        raise ModelError("%s lies beside the weights of %s." % (beside[0], beside[0].split("/")[0]), mend)
    for path in found:
        _check_pointer(folder, path)
    index = _json(folder, _INDEX)
    _check_index(index, card)
    for component, expected in card["layout"].items():
        inside = [path for path in found if path.startswith(component + "/")]
        _check_config(folder, component, expected, inside, card)
    for path in found:
        if path.endswith(_SAFETENSORS):
            _check_safetensors(folder, path)
        elif path.endswith(_SAFETENSORS + ".index.json"):
            _check_shards(folder, path, found)
    return {path: (folder / path).stat().st_size for path in found}


def strange(folder: Path, card: Mapping[str, Any], known: Iterable[str]) -> List[str]:
    """Weights, or lists of them, that lie in components' folders and are none of `known`. diffusers takes shards before a single file, so
    what it loads would not be what was hashed. Variants ("model.fp16.safetensors") are left alone: they are loaded only by name."""
    known = set(known)
    inside = [path.relative_to(folder).as_posix() for path in _files(folder, card) if path.parent != folder]
    weights = [path for path in inside if path.endswith((_SAFETENSORS, _SAFETENSORS + ".index.json"))]
    return [path for path in weights if path not in known and not _VARIANT.match(path.split("/")[-1])]


def nearest(folder: Path, known: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The card whose components and networks a folder is most like: `checked` says whether it is that model."""

    def likeness(card: Mapping[str, Any]) -> int:
        score = -sum((Path(folder) / other).is_dir() != (other in card["layout"]) for other in ("transformer", "transformer_2"))
        for component, expected in card["layout"].items():
            with contextlib.suppress(ModelError):
                config = _json(Path(folder), component + "/config.json")
                score += sum(config.get(label) == value for label, value in expected["config"].items())
        return score

    return max(known, key=likeness)


def _files(folder: Path, card: Mapping[str, Any]) -> List[Path]:
    """What lies in the folder and in its components' folders. Links are followed: hubs' caches are made of them."""
    if not folder.is_dir():
        raise ModelError("There is no folder %s." % folder, "Give the folder that holds %s." % _INDEX)
    places = [folder] + [folder / component for component in card["layout"]]
    return [path for place in places if place.is_dir() for path in sorted(place.iterdir()) if path.is_file()]


def _weights_of(component: str, inside: List[str]) -> List[str]:
    for stem in _WEIGHTS:
        if stem + _SAFETENSORS in inside:
            return [stem + _SAFETENSORS]
        shards = [name for name in inside if re.fullmatch(re.escape(stem) + r"-\d{5}-of-\d{5}\.safetensors", name)]
        if shards:
            index = stem + _SAFETENSORS + ".index.json"
            if index not in inside or len(shards) != int(shards[0][-17:-12]):
                mend = "Copy or fetch it whole: %s names them all." % index
                raise ModelError("The component %s lacks a part of its weights." % component, mend)
            return [*shards, index]
    pickled = next((name for name in inside if is_pickle(name)), None)
    if pickled:
        raise ModelError("The component %s has its weights only as %s, a pickle." % (component, pickled), "Only safetensors are loaded.")
    raise ModelError("The component %s has no weights." % component, "Copy the whole folder, in diffusers' layout.")


def _check_index(index: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    if index.get("_class_name") != card["pipeline"]:
        said = index.get("_class_name")
        raise ModelError("It is a %s and no %s." % (said, card["pipeline"]), "Give the folder of %s." % card["name"])
    for component, said in index.items():
        if component.startswith("_") or not isinstance(said, list) or said == [None, None]:
            continue
        if component not in card["layout"]:
            raise ModelError("It has a component %s, which %s does not have." % (component, card["name"]), "Is it another model?")
        expected = card["layout"][component]
        if len(said) != 2 or said[0] != expected["library"] or said[1] not in expected["classes"]:
            raise ModelError(
                "Its %s is %s, where %s has %s." % (component, ".".join(map(str, said)), card["name"], " or ".join(expected["classes"])),
                "Only the classes of the card are loaded.",
            )
    absent = [component for component in card["layout"] if index.get(component) in (None, [None, None])]
    if absent:
        raise ModelError("%s does not name the component %s." % (_INDEX, absent[0]), "Is it another model?")
    if "transformer_2" in card["layout"] and not isinstance(index.get("boundary_ratio"), float):  # it would never be called
        said = "%s has no boundary_ratio, so the second of its two transformers would do nothing." % _INDEX
        raise ModelError(said, "Copy or fetch the model again; of Wan 2.2 it is 0.875.")


def _check_pointer(folder: Path, path: str) -> None:
    """The file is itself and not git's word of it: that is what a clone holds where git-lfs is not installed."""
    try:
        with open(folder / path, "rb") as file:
            begins = file.read(len(_POINTER))
    except OSError as problem:
        raise ModelError("%s can't be read (%s)." % (path, problem), "Copy or fetch the model again.") from problem
    if begins == _POINTER:
        raise ModelError("%s is git-lfs's pointer to the file and not the file." % path, "Type in its folder: git lfs pull")


def _check_config(folder: Path, component: str, expected: Mapping[str, Any], inside: List[str], card: Mapping[str, Any]) -> None:
    """inside: the component's files."""
    name = _CONFIGS.get(component, "config.json")
    if "%s/%s" % (component, name) not in inside:
        raise ModelError("The component %s has no settings (%s)." % (component, name), "Copy the whole folder, in diffusers' layout.")
    config = _json(folder, "%s/%s" % (component, name))
    said = config.get("_class_name") or config.get("tokenizer_class") or config.get("architectures") or None
    said = said[0] if isinstance(said, list) else said
    if said is not None and said not in expected["classes"]:
        raise ModelError(
            "The settings of %s say %s, where %s has %s." % (component, said, card["name"], " or ".join(expected["classes"])),
            "Is it another model?",
        )
    if config.get("auto_map"):
        raise ModelError("The settings of %s ask for code of their own." % component, "Only the classes of the card are loaded.")
    for label, value in expected["config"].items():
        if config.get(label) != value:
            raise ModelError(
                "Its %s has %s = %s, where %s has %s." % (component, label, config.get(label), card["name"], value), "Is it another model?"
            )


def _check_safetensors(folder: Path, path: str) -> None:
    """The header is one, and the file is as long as it says: half a copy, or a pickle under another name, is neither."""
    try:
        wanted, size = length(folder / path)
    except (OSError, ValueError) as problem:
        raise ModelError("%s is no safetensors file (%s)." % (path, problem), "Copy or fetch it again.") from problem
    if wanted != size:
        raise ModelError("%s has %d bytes where its header says %d." % (path, size, wanted), "It is half a copy: copy or fetch it again.")


def length(path: Path) -> Tuple[int, int]:
    """(bytes that a safetensors file's header says it has, bytes that it has). Raises OSError or ValueError."""
    spans, begin, size = header(path)
    return begin + max((stop for _, stop in spans), default=0), size


def header(path: Path) -> Tuple[List[Tuple[int, int]], int, int]:
    """(where each tensor lies, where the first begins, the file's size), in bytes. Raises OSError or ValueError."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise ValueError("it has no header")
        said = json.loads(file.read(length))
    if not isinstance(said, dict):
        raise ValueError("its header is no table")
    try:
        offsets = [tensor["data_offsets"] for label, tensor in said.items() if label != "__metadata__"]
        return [(int(begin), int(end)) for begin, end in offsets], 8 + length, size
    except (KeyError, TypeError, OverflowError) as problem:
        raise ValueError("its header does not say where a tensor lies") from problem


def _check_shards(folder: Path, path: str, found: List[str]) -> None:
    """The index names files beside it, and those that are there."""
    component = path.split("/")[0]
    table = _json(folder, path).get("weight_map")
    named = set(map(str, table.values())) if isinstance(table, dict) else set()
    strange = sorted(name for name in named if "%s/%s" % (component, name) not in found)
    if strange or not named:
        what = strange[0] if strange else "nothing"
        raise ModelError("%s names %s, which is not there." % (path, what), "Copy or fetch the model whole.")


def _json(folder: Path, path: str) -> Dict[str, Any]:
    try:
        found = json.loads((folder / path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError("%s can't be read (%s)." % (path, problem), "Copy or fetch the model again.") from problem
    if not isinstance(found, dict):
        raise ModelError("%s is no table of settings." % path, "Copy or fetch the model again.")
    return found
