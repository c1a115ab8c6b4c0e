# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""Every dial and every other leaf of the request, for a model that paints: it changes the take, or is refused with a sentence.

The table is held against the table of dials and the tree itself, so a dial that is new has to be put here.
"""

import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")

from platebridge.dials import DIALS
from platebridge.errors import InputError, PlatebridgeError
from platebridge.frames import FrameRange
from platebridge.request import Camera, CameraFrame, GenerateRequest, Inputs, OutputSettings, ShotSettings
from vace_takes import NAME, alone, frames, guides, installed, make, plain, shot, wanted  # noqa: F401

#: Each dial, turned; where another dial must be turned for it to count, from what it is turned (the second).
TURNED = {
    "amount": ({"amount": 1.0}, {}), "density": ({"density": 0.3}, {}), "speed": ({"speed": 2.0}, {}), "rise": ({"rise": -1.0}, {}),
    "spread": ({"spread": 2.5}, {}), "turbulence": ({"turbulence": 3.0}, {}),
    "billows": ({"billows": 0.0}, {}), "wind": ({"wind": 20.0}, {}),
    "wind_direction": ({"wind_direction": -90.0}, {"wind": 20.0}), "debris": ({"debris": 200}, {}),
    "debris_size": ({"debris_size": 2.0}, {"debris": 200}), "light": ({"light": 3.0}, {}), "ambient": ({"ambient": 3.0}, {}),
    "sun_azimuth": ({"sun_azimuth": 20.0}, {}), "sun_elevation": ({"sun_elevation": 80.0}, {}), "tint": ({"tint": (0.3, 0.2, 0.1)}, {}),
    "shadow": ({"shadow": 0.8}, {}), "start_frame": ({"start_frame": 1005}, {}), "composition": ({"composition": 4}, {}),
    "detail": ({"detail": 32}, {}), "seed": ({"seed": 8}, {}), "quality": ({"quality": "draft"}, {"quality": "final", "steps": 0}),
    "prompt": ({"prompt": "At night."}, {}), "avoid": ({"avoid": "smoke"}, {}), "follow": ({"follow": 0.25}, {}),
    "led_by": ({"led_by": "depth"}, {}), "control": ({"control": 0.4}, {}), "guidance": ({"guidance": 2.0}, {}),
    "steps": ({"steps": 3}, {}), "rim": ({"rim": 12}, {}), "curve": ({"curve": "acescct"}, {}),
    "space": ({"space": "sRGB - Texture"}, {"curve": "ocio", "space": "ACEScct"}),
    "lora": ({"lora": "collapse"}, {}), "large": ({"large": "tiles"}, {}),
    "skip": ({"skip": 1.0}, {"steps": 4}), "texture": ({"texture": 0.2}, {"led_by": "draft"}),
}  # fmt: skip


@pytest.fixture
def base(make, plain):
    """`base(dials)`: the effects from which a dial is turned; the plain ones are made once."""
    return lambda dials: frames(make(**dials)[1]) if dials else plain


def test_no_dial_is_left_out():
    assert TURNED.keys() == DIALS.keys()


@pytest.mark.parametrize("dial", sorted(set(TURNED) - {"lora", "large"}))
def test_a_dial_that_is_turned_changes_the_effect(make, base, dial):
    turned, before = TURNED[dial]
    assert frames(make(**{**before, **turned})[1]) != base(before)


def test_a_lora_that_is_not_there_is_refused_before_any_work(make):
    with pytest.raises(PlatebridgeError, match="There is no LoRA called 'collapse'"):
        make(**TURNED["lora"][0])


def test_large_crops_change_where_a_crop_is_large(make, tmp_path, tiny_maker, shot):
    large = tiny_maker(tmp_path / "large", width=160, height=112, frames=4)
    shot.by_hash.update(large.by_hash)
    one, other = (frames(make(_for(shot, wanted(large, large=how, steps=1), large))[1]) for how in ("shrink", "tiles"))
    assert one != other and any(len(data) for data in one.values())


def _for(shot, request, other):
    shot.by_hash.update(other.by_hash)
    return request


@pytest.mark.parametrize("value", ["dust", "draft"])
def test_each_choice_of_what_leads_is_another_picture(make, plain, value):
    assert (frames(make(led_by=value)[1]) == plain) == (value == "dust")


@pytest.mark.parametrize("follow", [0.0, 0.75, 1.0])
def test_follow_changes_all_the_way(make, plain, follow):
    assert frames(make(follow=follow)[1]) != plain


@pytest.mark.parametrize("curve", ["logc3", "log-gamma", "ocio"])
def test_each_curve_is_another_picture(make, plain, curve):
    assert frames(make(curve=curve, **({"space": "ACEScct"} if curve == "ocio" else {}))[1]) != plain


@pytest.mark.parametrize(
    "dials, said",
    [
        ({"space": "ACEScct"}, "of no use to the curve display"),
        ({"curve": "ocio"}, "needs to know the space"),
        ({"curve": "ocio", "space": "Nowhere"}, "Nowhere"),
    ],
    ids=str,
)
def test_a_space_that_says_nothing_or_is_not_there_is_refused_before_any_work(make, dials, said):
    with pytest.raises(PlatebridgeError, match=said):
        make(**dials)


def test_a_guides_dial_that_changes_over_the_shot_counts_and_a_painters_is_refused_with_a_sentence(make, plain):
    assert frames(make(density=[[1001, 0.2], [1006, 4.0]])[1]) != plain
    with pytest.raises(PlatebridgeError, match="paints the frames of a window together"):
        make(follow=[[1001, 0.2], [1006, 0.8]])


# What is no dial.

#: Every other leaf of the request, by what is done to it: the effect changes, or the take's other files do, or it is refused.
ELSEWHERE = {
    "shot": "files", "frames": "effect", "inputs": "effect", "camera": "effect", "settings.depth_kind": "effect",
    "settings.depth_scale": "effect", "settings.bad_pixels": "nothing to scrub", "settings.working_space": "effect",
    "settings.fps": "effect",
    "model.name": "effect", "output.guide": "files", "output.preview": "files", "output.wedge": "files",
    "output.picture": "files", "simulation": "refused",
    "animated": "tested above", "version": "refused",
}  # fmt: skip


def changed(request, name):
    """The request with one of them changed."""
    settings = {"depth_kind": "distance", "depth_scale": 1.5, "working_space": "ACEScg", "fps": 12.0}
    room, _, leaf = name.partition(".")
    if room == "settings":
        return dataclasses.replace(request, settings=dataclasses.replace(request.settings, **{leaf: settings[leaf]}))
    if room == "output":
        value = {"wedge": "a" * 32, "picture": True}.get(leaf, False)
        return dataclasses.replace(request, output=dataclasses.replace(request.output, **{leaf: value}))
    if name == "model.name":
        plain_paint = dataclasses.replace(request, paint=type(request.paint)())
        return dataclasses.replace(plain_paint, model=dataclasses.replace(request.model, name="dust"))
    if name == "camera":
        rows = ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, -1.0, 0.0), (0.0, 1.0, 0.0, 1.7), (0.0, 0.0, 0.0, 1.0))
        return dataclasses.replace(request, camera=Camera(focal_mm=60.0, frames=(CameraFrame(request.frames.first, rows),)))
    if name == "inputs":
        return dataclasses.replace(request, inputs=dataclasses.replace(request.inputs, vectors=None))
    if name == "simulation":
        return dataclasses.replace(request, simulation="b" * 64)
    value = {"shot": "another", "frames": FrameRange(request.frames.first, request.frames.last - 1)}[name]
    return dataclasses.replace(request, **{name: value})


def test_no_leaf_of_the_request_is_left_out():
    def leaves(cls, *rooms):
        return {".".join((*rooms, field.name)) for field in dataclasses.fields(cls)}

    rooms = {"settings": ShotSettings, "output": OutputSettings}
    there = leaves(GenerateRequest) - {"settings", "output", "guide", "model", "paint"} | {"model.name"}
    assert there | {leaf for room, cls in rooms.items() for leaf in leaves(cls, room)} == ELSEWHERE.keys()
    assert {"plate", "depth", "mask", "vectors", "guide", "reference"} == leaves(Inputs)


@pytest.mark.parametrize("name", [name for name, what in ELSEWHERE.items() if what == "effect"])
def test_what_is_no_dial_changes_the_effect_too(make, plain, shot, name):
    assert frames(make(changed(wanted(shot), name))[1]) != plain


@pytest.mark.parametrize("name", [name for name, what in ELSEWHERE.items() if what == "files"])
def test_what_is_about_files_changes_them_and_not_the_effects_pixels(make, shot, tmp_path, name):
    from vace_takes import pixels

    one, other = (make(request)[1] for request in (wanted(shot), changed(wanted(shot), name)))
    without = {name_: data for name_, data in one.items() if name_ != "take.json"}
    assert without != {name_: data for name_, data in other.items() if name_ != "take.json"}
    for file in frames(one):
        a, b = (pixels(files, file, tmp_path / "effect") for files in (one, other))
        assert all((a[c] == b[c]).all() for c in a)


def test_a_simulation_that_is_not_kept_is_refused(make, shot):
    with pytest.raises(PlatebridgeError, match="simulation"):
        make(changed(wanted(shot), "simulation"))


def test_an_input_that_lacks_a_frame_is_refused(make, shot):
    request = wanted(shot)
    mask = dataclasses.replace(request.inputs.mask, files=request.inputs.mask.files[1:])
    with pytest.raises(InputError, match="missing from the sequence"):
        make(dataclasses.replace(request, inputs=dataclasses.replace(request.inputs, mask=mask)))
    assert request.model.name == NAME
