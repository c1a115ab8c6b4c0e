# SPDX-License-Identifier: Apache-2.0
"""Pixels are sacred on Nuke's way too: what the node makes of difficult plates and depths equals what the command makes of the files."""

from __future__ import annotations

import json

import numpy as np
import OpenImageIO as oiio
import pytest
from node_at_work import finish, pixels, press
from platebridge_server import channels, images

DIALS = {"detail": 24, "debris": 8, "seed": 7, "amount": 2.0, "quality": "draft", "shadow": 0.0}


def overscan(which, at, picture):
    """A plate that reaches 8 pixels beyond its format on every side, with NaN, inf, light and darkness beyond 1 and 0."""
    if which == "plate":
        picture = np.pad(picture, ((8, 8), (8, 8), (0, 0)), mode="edge")
        picture[2, 3], picture[4, 5], picture[6, 7], picture[9, 9] = 60000.0, -3.0, np.nan, np.inf
        return picture, (-8, -8)
    if which == "depth":
        picture[0:5], picture[5:8] = np.inf, 0.0
    return picture, (0, 0)


def small_box(which, at, picture):
    """A plate whose bounding box is smaller than the format, scanned through an anamorphic lens; a mask with a box of its own."""
    if which == "plate":
        return picture[6:60, 10:90], (10, 6)
    if which == "mask":
        return picture[4:62, 20:80], (20, 4)
    return picture, (0, 0)


@pytest.mark.parametrize("change, aspect", [(overscan, 1.0), (small_box, 2.0)])
def test_nukes_way_equals_the_commands_to_the_last_bit(nuke, wired, serve, write_exr, tmp_path, change, aspect):
    from platebridge.frames import FrameRange
    from platebridge.request import ShotSettings
    from platebridge.takes import read_take
    from platebridge_server import command_generate as command

    node, shot = wired
    for which in ("plate", "depth", "mask"):
        for at, path in enumerate(shot.paths[which].values()):
            file = oiio.ImageInput.open(str(path))
            picture, names = file.read_image("float"), file.spec().channelnames
            file.close()
            picture, corner = change(which, at, picture.reshape(64, 96, -1).copy())
            how = {"data": corner, "display": (0, 0, 96, 64), "attributes": {"PixelAspectRatio": aspect}}
            write_exr(path, picture, names, "float" if which == "depth" else "half", **how)
    for name, value in {**DIALS, "bad_pixels": "scrub"}.items():
        node[name].setValue(value)
    job = press(node, serve("platebridge_server.generate:generate").connection)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None, job.error
    request = read_take(job.take).document["request"]
    (tmp_path / "camera.json").write_text(json.dumps(request["camera"]))
    sources = command.Sources({which: shot.patterns[which] for which in ("plate", "depth", "mask")})  # the artist's own files
    frames, settings = FrameRange(shot.first, shot.last), ShotSettings(**request["settings"])
    asked = command.asked(job.take.parent.name, frames, settings, camera=tmp_path / "camera.json", dials=DIALS)
    (there,), files = command.with_files([asked], sources)
    writer = command.begin(there, sources, tmp_path / "command")
    command.run_here(there, files, writer, lambda event: None, lambda: False, "cpu")
    dusty = False
    for frame in there.frames:
        for kind in ("comp", "effect"):
            name = "%s.%04d.exr" % (kind, frame)
            assert pixels(job.take / name).tobytes() == pixels(writer.path / name).tobytes(), name
            mine, theirs = (oiio.ImageInput.open(str(folder / name)).spec() for folder in (job.take, writer.path))
            for spec in (mine, theirs):
                assert spec.get_float_attribute("PixelAspectRatio", 1.0) == aspect
            assert [getattr(mine, at) for at in ("x", "y", "width", "height", "full_width")] == [
                getattr(theirs, at) for at in ("x", "y", "width", "height", "full_width")
            ]
        effect, whole, box = pixels(job.take / name), mine, oiio.ImageInput.open(str(shot.paths["plate"][frame])).spec()
        top, left = box.y - whole.y, box.x - whole.x  # the effect goes beyond a small box, the comp does not
        effect = effect[top : top + box.height, left : left + box.width]
        plate, comp = pixels(shot.paths["plate"][frame]), pixels(job.take / ("comp.%04d.exr" % frame))
        none = effect[..., 3] == 0
        assert plate.shape == comp.shape and comp[none].tobytes() == plate[none].tobytes()
        dusty = dusty or not none.all()
    assert dusty


def test_a_plate_in_the_files_own_bits(nuke, wired, make_shot):
    from platebridge_nuke import inputs

    node, _ = wired
    assert inputs.plan(node).exact == ("depth",)
    whole = make_shot(frames=4, plate_type="float")
    node.setInput(0, nuke.nodes.Dot(inputs=[nuke.nodes.Read(file=whole.patterns["plate"], first=1001, last=1004)]))
    assert inputs.plan(node).exact == ("plate", "depth")
    node["plate_type"].setValue("16 bit half")
    assert inputs.plan(node).exact == ("depth",)


def test_vectors_and_an_artists_guide_go_along(nuke, wired, serve, write_exr, tmp_path):
    """backward.u and .v in 32 bits; a guide of another size than the plate."""
    node, shot = wired
    random = np.random.default_rng(2)
    for frame in shot.paths["plate"]:
        write_exr(tmp_path / ("v.%d.exr" % frame), random.normal(size=(64, 96, 2)).astype("f4"), ("backward.u", "backward.v"))
        write_exr(tmp_path / ("g.%d.exr" % frame), random.uniform(size=(32, 48, 4)).astype("f2"), ("R", "G", "B", "A"), "half")
    for number, name in ((3, "v"), (4, "g")):
        node.setInput(number, nuke.nodes.Read(file=str(tmp_path / (name + ".####.exr")), first=1001, last=1004))
    job = press(node, serve().connection)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None
    from platebridge.takes import read_take

    assert {k for k, v in read_take(job.take).document["request"]["inputs"].items() if v} == {"plate", "depth", "mask", "vectors", "guide"}
    rendered = job.take.parent
    for name, which, kind in (("v", "vectors", "float32"), ("g", "guide", "float16")):
        mine, theirs = pixels(rendered / which / (which + ".1002.exr")), pixels(tmp_path / (name + ".1002.exr"))
        assert str(mine.dtype) == kind and mine.tobytes() == theirs.tobytes()


def test_vectors_of_another_layer_go_along_by_name(nuke, wired, serve, write_exr, tmp_path):
    """The server knows Nuke's own backward, and no studio's layers."""
    node, shot = wired
    for frame in shot.paths["plate"]:
        write_exr(tmp_path / ("v.%d.exr" % frame), np.ones((64, 96, 2), "f4"), ("mv.u", "mv.v"))
    node.setInput(3, nuke.nodes.Read(file=str(tmp_path / "v.####.exr"), first=1001, last=1004))
    node["vectors_layer"].setValue("mv")
    job = press(node, serve().connection)
    assert job is not None, node["status"].value()
    finish(nuke, job)
    assert job.error is None
    from platebridge.takes import read_take

    told = read_take(job.take).document["request"]["inputs"]["vectors"]["channels"]
    assert told == ["mv.u", "mv.v"]
    rendered = images.read_header(job.take.parent / "vectors" / "vectors.1001.exr")
    assert [name for _, name in channels.find(rendered, "vectors", tuple(told))] == told
