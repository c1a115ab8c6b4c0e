# SPDX-License-Identifier: Apache-2.0
"""Large models on this machine: only what their card describes is taken in, and only what was taken in is loaded."""

import errno
import json
import os
import pickle
import shutil
import time

import pytest
from platebridge.errors import Cancelled, ModelError, StorageError
from platebridge.request import ModelSettings, PaintSettings
from platebridge_server import cli
from platebridge_server.models import cards, layout, registry, store
from platebridge_server.models.base import Asked
from tiny_model import make_model
from typer.testing import CliRunner

NAME = "wan-vace-1.3b"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A user's folders of our own."""
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path):
    return make_model(tmp_path / "copied")


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed from now on."""
    seen, hash_of = [], store.hash_of
    monkeypatch.setattr(store, "hash_of", lambda path, *a, **k: seen.append(path.name) or hash_of(path, *a, **k))
    return seen


def run(*arguments):
    result = CliRunner().invoke(cli.app, ["models", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refusal(folder, **how):
    with pytest.raises(ModelError) as found:
        store.add(folder, **how)
    assert store.names() == [] and not list(store.root().glob("*")), "nothing is left of what was refused"
    return str(found.value)


# --- taking in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("name", cards.names())
def test_each_of_our_models_is_recognised_taken_in_and_opened(tmp_path, name, copy):
    folder = make_model(tmp_path / "copied", name, shards=3)
    assert store.add(folder, copy=copy).name == name
    model = store.opened(name)
    assert model.folder == (store.root() / name if copy else folder.resolve())
    assert {"model_index.json", "vae/config.json", "transformer/diffusion_pytorch_model-00003-of-00003.safetensors"} <= set(model.files)
    assert len(model.card["weights_sha256"]) == 64 and model.card["licence"] == "Apache-2.0"
    if copy:
        shutil.rmtree(folder)
        assert store.verify(name).bytes == model.bytes


def test_the_hash_of_a_model_is_that_of_its_weights_alone(tmp_path, folder):
    first = store.add(folder).card["weights_sha256"]
    store.remove(NAME)
    (folder / "README.md").write_text("Another word.")
    assert store.add(folder).card["weights_sha256"] == first
    store.remove(NAME)
    assert store.add(make_model(tmp_path / "other", seed=1)).card["weights_sha256"] != first


def test_what_lies_beside_the_model_is_not_taken_in(folder):
    (folder / "assets").mkdir()
    (folder / "assets" / "film.mp4").write_bytes(b"film")
    for variant in ("diffusion_pytorch_model.fp16.safetensors", "notes.py"):
        shutil.copy(folder / "vae" / "diffusion_pytorch_model.safetensors", folder / "vae" / variant)
    files = store.add(folder, copy=True).files
    assert not [file for file in files if "film" in file or "fp16" in file or ".py" in file]
    assert not (store.root() / NAME / "assets").exists()


def test_a_folder_under_the_models_own_name_is_taken_in_where_it_lies_and_stays_when_it_is_removed(monkeypatch):
    folder = make_model(store.root() / NAME, shards=2)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    for copy in (False, True):
        model = store.add(folder, copy=copy)
        assert model.folder == folder and store.verify(NAME).files == model.files
        elsewhere = folder.parent.rename(folder.parent.with_name("share"))  # the root under another name: another machine's mount
        with monkeypatch.context() as there:
            there.setenv(store.VARIABLE, str(elsewhere))
            assert store.opened(NAME).folder == elsewhere / NAME
        elsewhere.rename(folder.parent)
        store.remove(NAME)
        assert store.find(NAME) is None
        assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert [path.name for path in store.root().iterdir()] == [NAME]


def test_a_folder_on_another_disk_that_is_linked_under_the_models_name_is_taken_in_where_it_lies(folder, monkeypatch):
    store.root().mkdir(parents=True)
    (store.root() / NAME).symlink_to(folder)
    replace = os.replace

    def across(source, target):
        if os.stat(os.path.dirname(source)).st_ino != os.stat(os.path.dirname(target)).st_ino:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    assert store.add(folder).folder == store.root() / NAME and (folder / store.MANIFEST).is_file()
    store.remove(NAME)
    assert (folder / "model_index.json").is_file() and [path.name for path in store.root().iterdir()] == [NAME]


@pytest.mark.parametrize("copy", [False, True])
def test_weights_that_lie_under_the_models_name_and_are_not_taken_in_are_never_replaced(folder, hashed, copy):
    mine = store.root() / NAME / "transformer" / "weights.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"46 GB")
    with pytest.raises(ModelError, match=r"is there already, and was not taken in.*platebridge models add"):
        store.add(folder, copy=copy)
    assert mine.read_bytes() == b"46 GB" and hashed == []


def test_an_empty_folder_under_the_models_name_is_in_nobodys_way(folder):
    (store.root() / NAME).mkdir(parents=True)
    store.add(folder, copy=True)
    assert store.opened(NAME).folder == store.root() / NAME


def test_a_second_model_of_the_name_is_refused_until_the_first_is_removed(tmp_path, folder):
    store.add(folder)
    with pytest.raises(ModelError, match=r"here already.*platebridge models remove wan-vace-1.3b"):
        store.add(make_model(tmp_path / "other"))


def test_a_pickle_is_refused_wherever_it_lies(folder):
    for place in ("pytorch_model.bin", "vae/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.PT"):
        (folder / place).write_bytes(pickle.dumps({}))
        assert "pickle" in refusal(folder)
        (folder / place).unlink()
    store.add(folder)


def test_a_pickle_under_the_name_of_safetensors_is_refused(folder):
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(pickle.dumps(list(range(1000))))
    assert "is no safetensors file" in refusal(folder)


def test_weights_that_are_only_pickled_are_no_weights(folder):
    paths = [str(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file() and p.parent.name != "vae"]
    with pytest.raises(ModelError, match=r"only as diffusion_pytorch_model.bin, a pickle"):
        layout.wanted([*paths, "vae/config.json", "vae/diffusion_pytorch_model.bin"], cards.card(NAME))


def test_half_a_copy_is_refused(folder):
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "half a copy" in refusal(folder)


@pytest.mark.parametrize("offsets", [3, None, [0], ["a", "b"], [0, 1e999]])
def test_weights_whose_header_says_nothing_of_their_place_are_refused(folder, offsets):
    header = json.dumps({"layer": {"data_offsets": offsets} if offsets else {}}).encode()
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "no safetensors file" in refusal(folder)


def test_a_missing_shard_or_component_is_refused(tmp_path):
    folder = make_model(tmp_path / "copied", shards=3)
    (folder / "transformer" / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    assert "transformer lacks a part of its weights" in refusal(folder)
    shutil.rmtree(folder / "transformer")
    assert "The component transformer is missing" in refusal(folder)


@pytest.mark.parametrize("component", ["transformer", "text_encoder"])
def test_a_single_file_of_weights_beside_shards_is_refused(tmp_path, component):
    """diffusers takes the shards, and the single file is what would have been hashed."""
    folder = make_model(tmp_path / "copied")
    shard_beside(folder / component)
    said = refusal(folder)
    assert "lies beside the weights of %s" % component in said and "take the others out" in said


def shard_beside(place):
    """Other weights for a component, as one shard with its index."""
    stem = "model" if place.name == "text_encoder" else "diffusion_pytorch_model"
    shard = stem + "-00001-of-00001.safetensors"
    shutil.copy(place / (stem + ".safetensors"), place / shard)
    (place / (stem + ".safetensors.index.json")).write_text(json.dumps({"weight_map": {"layer.0": shard}}))
    return sorted(path for path in place.iterdir() if shard in path.name or path.name.endswith("index.json"))


def test_a_tokenizer_without_its_vocabulary_is_half_a_copy(folder):
    """transformers would make one that knows no word, and every prompt would be the same to the model."""
    (folder / "tokenizer" / "spiece.model").unlink()
    assert "The component tokenizer has no vocabulary" in refusal(folder)
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    store.add(folder)


@pytest.mark.parametrize("file", ["vae/diffusion_pytorch_model.safetensors", "tokenizer/spiece.model"])
def test_what_git_leaves_where_lfs_is_not_installed_is_said_so(folder, file):
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 5000000000\n" % ("a" * 64))
    said = refusal(folder)
    assert said.startswith("%s is git-lfs's pointer" % file) and "git lfs pull" in said


def test_two_experts_of_which_the_second_would_never_be_asked_are_refused(tmp_path):
    folder = make_model(tmp_path / "copied", "wan2.2-vace-fun-a14b")
    index = json.loads((folder / "model_index.json").read_text())
    for said in (None, "0.875"):
        (folder / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": said}))
        assert "has no boundary_ratio" in refusal(folder)


def test_a_tokenizers_file_beside_the_text_encoder_is_not_taken_for_its_settings(folder):
    shutil.copy(folder / "tokenizer" / "tokenizer_config.json", folder / "text_encoder")
    store.add(folder)
    store.remove(NAME)
    (folder / "text_encoder" / "config.json").write_text(json.dumps({"architectures": ["UMT5EncoderModel"], "d_model": 64}))
    assert "Its text_encoder has d_model = 64" in refusal(folder)


def test_an_index_that_points_elsewhere_is_refused(tmp_path):
    folder = make_model(tmp_path / "copied", shards=2)
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"layer.0": "../../secret.safetensors"}}))
    assert "../../secret.safetensors, which is not there" in refusal(folder)
    index.write_text(json.dumps({"weight_map": ["layer.0"]}))
    assert "names nothing, which is not there" in refusal(folder)


@pytest.mark.parametrize(
    "file, change, said",
    [
        ("model_index.json", {"_class_name": "WanPipeline"}, "It is a WanPipeline"),
        ("model_index.json", {"vae": ["diffusers", "AutoencoderKL"]}, "Its vae is diffusers.AutoencoderKL"),
        ("model_index.json", {"vae": ["own_code", "AutoencoderKLWan"]}, "Its vae is own_code.AutoencoderKLWan"),
        ("model_index.json", {"spy": ["diffusers", "AutoencoderKLWan"]}, "a component spy"),
        ("model_index.json", {"scheduler": [None, None]}, "does not name the component scheduler"),
        ("transformer/config.json", {"_class_name": "WanTransformer3DModel"}, "say WanTransformer3DModel"),
        ("transformer/config.json", {"num_layers": 31}, "has num_layers = 31, where wan-vace-1.3b has 30"),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "own.Encoder"}}, "code of their own"),
    ],
)
def test_another_model_or_one_with_code_of_its_own_is_refused(folder, file, change, said):
    tree = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**tree, **change}))
    assert said in refusal(folder)


def test_no_folder_and_no_model_are_said_to_be_none(tmp_path):
    assert "There is no folder" in refusal(tmp_path / "nowhere")
    assert "model_index.json" in refusal(tmp_path)


def test_a_copy_that_the_disk_can_not_take_is_not_begun(folder):
    with pytest.raises(StorageError, match=r"not enough disk"):
        store.add(folder, copy=True, free=lambda path: store.RESERVE)
    assert store.names() == []


def test_a_cancelled_copy_leaves_nothing(folder):
    with pytest.raises(Cancelled):
        store.add(folder, copy=True, cancelled=lambda: True)
    assert not list(store.root().iterdir())


def test_progress_ends_at_the_whole(folder):
    told = []
    model = store.add(folder, progress=lambda file, done, total: told.append((done, total)))
    assert told[-1] == (model.bytes, model.bytes) and told == sorted(told)


# --- a card of one's own -----------------------------------------------------------------------------------------------------


def own_card(**changed):
    return {**cards.card(NAME), "name": "our-dust-1.3b", "trained_on": "Our own plates.", **changed}


def test_a_studios_own_model_stands_under_its_own_card(folder):
    store.add(folder, own_card())
    card = registry.find("our-dust-1.3b").card()
    assert card["trained_on"] == "Our own plates." and card["installed"] and "our-dust-1.3b" in registry.names()
    assert [c["name"] for c in registry.cards()][-1] == "our-dust-1.3b"
    store.remove("our-dust-1.3b")
    assert "our-dust-1.3b" not in store.names()


def test_a_card_that_lies_about_its_weights_is_refused_when_it_is_taken_in(folder):
    assert "says weights of SHA-256 aaaa" in refusal(folder, card=own_card(weights_sha256="a" * 64))


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "Big", "a/b", 7, "dotted.", "a" * 101, "line\n"])
def test_a_name_that_is_no_folders_is_refused(name):
    with pytest.raises(ModelError, match=r"can't name a model"):
        cards.checked(own_card(name=name), "card.json")


def test_a_card_says_what_it_lacks(tmp_path):
    path = tmp_path / "card.json"
    path.write_text('{"name": "x", "licence": "mine"}')
    with pytest.raises(ModelError, match=r"does not say summary, trained_on"):
        cards.from_file(path)
    path.write_text("no json")
    with pytest.raises(ModelError, match=r"can't be read"):
        cards.from_file(path)


@pytest.mark.parametrize("name", ["dust", "guide", "loras"])
def test_a_name_that_is_given_away_is_refused(name):
    """One that ships would hide the model; and among the models the LoRAs have their folder."""
    with pytest.raises(ModelError, match=r"The name %s is taken" % name):
        cards.checked(own_card(name=name), "card.json")


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"layout": {"transformer": []}}, "library, classes, config of transformer"),
        ({"layout": []}, "library, classes, config of layout"),
        ({"limits": {}}, "limits has no sizes"),
        ({"limits": {"sizes": [[832, 480]]}}, "multiple_of"),
        ({"limits": {"sizes": [[832, 480]], "multiple_of": 8}}, "multiple_of, 16 or"),  # the transformer takes 2 x 2 of 8 x 8
        ({"limits": {"sizes": [[832, 480]], "multiple_of": 16, "window": 80}}, "no window of 4k . 1 frames, 21 at least"),
        ({"limits": {"sizes": [[832, 480]], "multiple_of": 16, "window": 17}}, "21 at least"),  # all of it shared with the next
        ({"limits": {"sizes": [[832, 480]], "multiple_of": 16, "window": "81"}}, "21 at least"),
        ({"layout": {"..": cards.card(NAME)["layout"]["vae"]}}, "layout has a component '..'"),
        ({"kind": "passes"}, "kind is not"),
        ({"shift": "12"}, "shift is no number above 0"),
        ({"shift": 0}, "shift is no number above 0"),
        ({"trained": False}, "trained is not true"),  # its frames would be labelled as a simulation's
        ({"licence": None}, "licence is no text"),
        ({"weights_sha256": 5}, "weights_sha256 is no text"),
        ({"network": {}}, "network does not say transformer_parameters"),
    ],
)
def test_a_card_that_could_not_be_worked_with_is_refused_when_it_is_taken_in(changed, said):
    with pytest.raises(ModelError, match=said):
        cards.checked(own_card(**changed), "card.json")


def test_a_card_that_begins_with_a_mark_as_windows_editors_write_it_is_read(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps(own_card()), encoding="utf-8-sig")
    assert cards.from_file(tmp_path / "card.json")["name"] == "our-dust-1.3b"


def test_a_card_of_ours_says_where_the_files_came_from_and_not_where_they_might_have(folder):
    """It stands in every take: weights of an unknown folder are not those of a repository's commit because they have their shape."""
    assert store.add(folder).card["source"] == {"kind": "folder", "looks_like": "Wan-AI/Wan2.1-VACE-1.3B-diffusers"}
    assert registry.find(NAME).card()["source"]["kind"] == "folder"
    store.remove(NAME)
    store.add(folder, own_card(source="Our own training."))
    assert store.find("our-dust-1.3b").card["source"] == "Our own training."


def test_another_setting_is_another_model_to_what_is_kept_of_it(folder):
    """Which expert paints when is no weight, and yet another picture."""
    first = store.add(folder).card
    store.remove(NAME)
    (folder / "README.md").write_text("Another word.")
    assert store.add(folder).card["settings_sha256"] == first["settings_sha256"]
    store.remove(NAME)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": 0.9}))
    again = store.add(folder).card
    assert again["weights_sha256"] == first["weights_sha256"] and again["settings_sha256"] != first["settings_sha256"]


# --- opening -----------------------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_here_says_what_to_type():
    with pytest.raises(ModelError, match=r"not installed. Type: platebridge models fetch wan2.2-vace-fun-a14b --revision COMMIT"):
        store.opened("wan2.2-vace-fun-a14b")
    with pytest.raises(ModelError, match=r"not installed"):
        registry.find(NAME).load("cpu", Asked((480, 832), 81), ModelSettings(NAME), PaintSettings())


def test_opening_hashes_once_and_again_only_what_was_touched(folder, hashed, tmp_path):
    store.add(folder)
    hashed.clear()
    store.opened(NAME)
    assert hashed == []
    os.utime(folder / "vae" / "diffusion_pytorch_model.safetensors")
    store.opened(NAME)
    assert hashed == ["diffusion_pytorch_model.safetensors"]
    hashed.clear()
    store._stamp_file().unlink()  # another machine, another user
    store.opened(NAME)
    assert len(hashed) == len(store.find(NAME).files)


def swapped(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_weights_that_were_changed_are_refused(folder):
    store.add(folder)
    swapped(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    for door in (store.opened, store.verify):
        with pytest.raises(ModelError, match=r"transformer/diffusion_pytorch_model.safetensors of the model .* is not what was taken in"):
            door(NAME)


def test_weights_changed_under_their_old_date_are_found_by_verify(folder):
    store.add(folder)
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    before = path.stat()
    swapped(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelError, match=r"not what was taken in"):
        store.verify(NAME)


def test_weights_that_came_after_it_was_taken_in_are_refused(folder):
    store.add(folder)
    added = shard_beside(folder / "transformer")
    for last in (True, False):  # the shard alone, too
        for door in (store.opened, store.verify):
            with pytest.raises(ModelError, match=r"transformer/diffusion_pytorch_model.*safetensors"):
                door(NAME)
        if last:
            added.pop().unlink()
    added.pop().unlink()
    shutil.copy(folder / "vae" / "diffusion_pytorch_model.safetensors", folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    assert store.opened(NAME) and store.verify(NAME)  # a variant, which nobody asks for


def test_settings_that_were_changed_or_files_that_are_lost_are_refused(folder):
    store.add(folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ModelError, match=r"scheduler_config.json"):
        store.opened(NAME)
    path.unlink()
    with pytest.raises(ModelError, match=r"has lost scheduler/scheduler_config.json"):
        store.opened(NAME)


def rewritten(**change):
    path = store.root() / NAME / store.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def test_a_manifest_that_lies_about_its_weights_is_refused(folder):
    model = store.add(folder)
    lie = {**model.files, "vae/diffusion_pytorch_model.safetensors": {"sha256": "b" * 64, "bytes": 336}}
    rewritten(files=lie)
    with pytest.raises(ModelError, match=r"the weights' hash in platebridge.json is not that of its files"):
        store.find(NAME)
    rewritten(files=lie, weights_sha256=store.weights_sha256({file: said["sha256"] for file, said in lie.items()}))
    with pytest.raises(ModelError, match=r"is not what was taken in"):
        store.opened(NAME)


def test_a_card_that_lies_in_the_manifest_is_refused(folder):
    store.add(folder, own_card())
    path = store.root() / "our-dust-1.3b" / store.MANIFEST
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({**tree, "card": {**tree["card"], "weights_sha256": "c" * 64}}))
    with pytest.raises(ModelError, match=r"the weights' hash in its card"):
        store.find("our-dust-1.3b")


@pytest.mark.parametrize(
    "change", [{"version": 9}, {"name": "dust"}, {"files": []}, {"files": {"../x": {"sha256": "a", "bytes": 1}}}, {"files": {"x": {}}}]
)
def test_a_manifest_that_is_not_ours_is_refused_and_the_other_models_are_listed(folder, change):
    store.add(folder)
    rewritten(**change)
    with pytest.raises(ModelError, match=r"is refused"):
        store.find(NAME)
    found = {card["name"]: card for card in registry.cards()}
    assert "is refused" in found[NAME]["problem"]["message"] and found["dust"]["licence"] == "Apache-2.0"


# --- removing ----------------------------------------------------------------------------------------------------------------


def test_removing_leaves_a_folder_of_yours_and_takes_a_copy_away(folder):
    store.add(folder)
    store.remove(NAME)
    assert store.find(NAME) is None and (folder / "model_index.json").exists()
    size = store.add(folder, copy=True).bytes
    assert store.remove(NAME) >= size and not list(store.root().iterdir())


@pytest.mark.parametrize("damaged", ['{"version": 1, "na', "[]", ""])
def test_weights_of_which_nobody_knows_whose_they_are_stay(damaged):
    """The manifest of a folder that lies among the models is damaged, by a power cut for instance."""
    folder = make_model(store.root() / NAME)
    store.add(folder)
    before = sorted(path for path in folder.rglob("*") if path.name != store.MANIFEST)
    (folder / store.MANIFEST).write_text(damaged)
    with pytest.raises(ModelError, match=r"platebridge models remove wan-vace-1.3b, then add"):
        store.find(NAME)
    store.remove(NAME)
    assert sorted(folder.rglob("*")) == before and store.add(folder).name == NAME


@pytest.mark.parametrize("name", ["wan-vace-14b", "..", "../models", ""])
def test_only_models_are_removed(name):
    with pytest.raises(ModelError):
        store.remove(name)


def killed(name, hours):
    """What a killed command left, so many hours ago."""
    place = store.root() / name
    (place / "vae").mkdir(parents=True)
    for path in (place / "vae" / "half.safetensors", place / store.MANIFEST):
        path.write_text("{}")
    for path in (place, *place.rglob("*")):
        os.utime(path, (then := time.time() - hours * 3600, then))
    return place


def test_what_a_killed_command_left_is_no_model_and_is_swept_by_the_next(folder):
    removed, old, young = killed(".removed-a", 0), killed(".adding-b", 25), killed(".adding-c", 1)
    assert store.names() == [] and "removed" not in run("list")[1]
    store.add(folder)
    assert not removed.exists() and not old.exists() and young.exists()
    killed(".removed-a", 0)
    store.remove(NAME)
    assert not removed.exists()


def test_removing_that_is_killed_leaves_no_model(folder, monkeypatch):
    store.add(folder, copy=True)
    monkeypatch.setattr(store.shutil, "rmtree", lambda *a, **k: None)
    store.remove(NAME)
    assert len(list(store.root().glob(".removed-*/vae"))) == 1 and not list(store.root().glob("*/" + store.MANIFEST))
