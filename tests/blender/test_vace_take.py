# SPDX-License-Identifier: GPL-3.0-or-later
"""A large model pressed from Blender and from Nuke: the menu's choice is all. Real server, Wan VACE with tiny random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from real_server import Server, until

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "server"))
pytest.importorskip("torch", reason="the server's packages are not here: pip install 'platebridge[server]'")
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")

NAME, DIALS = "tiny-vace", {"detail": 24, "debris": 8, "seed": 7, "amount": 3.0, "quality": "draft"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A running server that has the tiny model in its models' folder."""
    import tiny_vace
    from platebridge_server.models import store

    root = tmp_path_factory.mktemp("server")
    patch = pytest.MonkeyPatch()
    patch.setenv(store.VARIABLE, str(root / "models"))
    patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    patch.setenv("OMP_NUM_THREADS", "1")
    store.add(tiny_vace.make(root / "weights"), tiny_vace.card(NAME))
    server = Server(root / "server", generator=None).start()
    yield server
    server.stop()
    patch.undo()


@pytest.fixture
def shot(scene, whole, make_shot):
    """The tiny shot's files as the scene's inputs."""
    files = make_shot(width=64, height=48, frames=5)
    settings = scene.platebridge
    scene.frame_start, scene.frame_end = files.first, files.last
    for which, pattern in files.patterns.items():
        setattr(settings, which + "_source", "FILES")
        setattr(settings, which + "_files", pattern)
    settings.camera_source, settings.connection = "NONE", str(whole.connection)
    settings.dials.set_values(DIALS)
    return files


def press(scene):
    """Generate, as the button does."""
    from platebridge.takes import list_takes

    from blender_addon import sources

    assert bpy.ops.platebridge.generate() == {"FINISHED"}
    take = list_takes(sources.shot_folder(scene))[-1]
    assert take.finished
    return take


def pixels(read_exr, take, kind, shot):
    return [read_exr(take.path / ("%s.%04d.exr" % (kind, frame))) for frame in range(shot.first, shot.last + 1)]


def same(a, b):
    return all(set(x) == set(y) and all(np.array_equal(x[c], y[c], equal_nan=True) for c in x) for x, y in zip(a, b))


def listed(asking):
    assert bpy.ops.platebridge.ask_server() == {"FINISHED"}
    until(asking.poll, 240)
    assert asking.answer.trouble == ""
    return {card["name"]: asking.absent(card) for card in asking.answer.cards}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine may take long to start a worker."""
    from blender_addon import asking

    for patience in ("PATIENCE", "LOADING"):
        monkeypatch.setattr(asking, patience, 200.0)


def test_the_menus_choice_is_all_and_takes_of_both_stand_in_one_list_with_one_guide(scene, shot, read_exr):
    from blender_addon import asking

    there = listed(asking)
    assert there["dust"] == "" and there[NAME] == "" and "platebridge models fetch" in there["wan-vace-14b"]
    drafted = press(scene)
    scene.platebridge.dials.set_values({"rim": 6, "steps": 2})
    assert bpy.ops.platebridge.choose_model(model=NAME) == {"FINISHED"} and scene.platebridge.model == NAME
    painted = press(scene)
    rows = bpy.context.window_manager.platebridge_takes
    assert [row.name for row in rows] == [painted.path.name, drafted.path.name] and "model %s" % NAME in rows[0].differs
    assert [row.told.split(",")[0] for row in rows] == [NAME, "dust"]
    assert painted.document["simulation"] == drafted.document["simulation"]
    guides = [pixels(read_exr, take, "guide", shot) for take in (drafted, painted)]
    assert same(*guides) and any(frame["A"].any() for frame in guides[0])
    effects = [pixels(read_exr, take, "effect", shot) for take in (drafted, painted)]
    assert not same(*effects) and all(any(frame["A"].any() for frame in frames) for frames in effects)
    strips = [strip for strip in scene.sequence_editor.strips if "take" in strip.get("platebridge", {})]
    assert sorted(strip.name for strip in strips) == ["shot take 0001 comp", "shot take 0002 comp"]


def test_a_final_is_led_by_the_draft_and_a_picture_and_dust_is_asked_without_a_painters_dials(scene, shot, read_exr, tmp_path):
    scene.platebridge.model = NAME
    scene.platebridge.dials.set_values({"rim": 6, "steps": 2, "led_by": "draft"})
    scene.platebridge.reference_file = str(tmp_path / "absent.png")
    with pytest.raises(RuntimeError, match="There is no file"):
        bpy.ops.platebridge.generate()
    picture = bpy.data.images.new("look", 16, 16)
    picture.filepath_raw, picture.file_format = str(tmp_path / "look.png"), "PNG"
    picture.save()
    scene.platebridge.reference_file = str(tmp_path / "look.png")
    final = press(scene)
    assert final.document["request"]["inputs"]["reference"]["name"] == "look.png" and final.document["painting"]["references"] == 1
    assert final.document["draft"]["model"] == "dust"
    assert bpy.ops.platebridge.choose_model(model="dust") == {"FINISHED"}  # what a painter was told waits for the next final
    drafted = press(scene)
    asked = drafted.document["request"]
    assert "paint" not in asked and "reference" not in asked["inputs"] and scene.platebridge.dials.led_by == "draft"
    assert same(*(pixels(read_exr, take, "guide", shot) for take in (final, drafted)))
    assert drafted.document["simulation"] == final.document["simulation"]
