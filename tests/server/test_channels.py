# SPDX-License-Identifier: Apache-2.0
"""Which channels are taken of a file that has many: those the trade means, all of one layer, and none by mistake."""

from pathlib import Path

import pytest
from platebridge.errors import InputError
from platebridge_server import channels
from platebridge_server.images import Header, PartHeader, Where, Window

HERE = Window(0, 0, 8, 8)
RGBA = ("R", "G", "B", "A")


def file(*parts):
    """Of each part its channels, or (name, channels)."""
    named = [part if isinstance(part[1], tuple) else ("", part) for part in parts]
    return Header(Path(), tuple(PartHeader(at, n, c, ("half",) * len(c), HERE, HERE, "zip") for at, (n, c) in enumerate(named)))


def layer(name, letters):
    return tuple("%s.%s" % (name, c) for c in letters)


def names(header, input, named=()):
    return [name for _, name in channels.find(header, input, named)]


@pytest.mark.parametrize(
    "beside",
    [layer("V.Normal", "XYZ"), layer("V.Vector", "XYZW"), layer("V.Position", "XYZ"), layer("P", "XYZ"), layer("n", "xyz")],
)
def test_the_third_of_a_vector_is_no_depth(beside):
    with pytest.raises(InputError, match=r"no channel called depth\.Z or Z") as refused:
        channels.find(file(layer("V.Combined", "RGBA") + beside), "depth", (), Where("depth", 1001))
    assert "--depth-channels" in refused.value.mend
    assert names(file(layer("V.Combined", "RGBA") + beside + ("zdepth.Z",)), "depth") == ["zdepth.Z"]
    assert names(file(RGBA + beside), "depth", (beside[2],)) == [beside[2]]  # by the artist's word


def test_the_third_of_a_vector_in_a_part_of_its_own_is_no_depth():
    assert channels.find(file(("rgba", RGBA), ("N", ("X", "Y", "Z")), ("far", ("Z",))), "depth") == [(2, "Z")]


def test_a_depth_that_lies_beside_plain_x_and_y_is_still_found():
    assert names(file(RGBA + ("X", "Y", "Z")), "depth") == ["Z"]


def test_a_normal_in_a_part_of_its_own_is_no_motion():
    parts = ("rgba", RGBA), ("N", ("X", "Y", "Z"))
    with pytest.raises(InputError, match=r"no channel called Vector\.X and Vector\.Y"):
        channels.find(file(*parts), "vectors")
    assert channels.find(file(*parts, ("motion", ("X", "Y"))), "vectors") == [(2, "X"), (2, "Y")]
    assert channels.find(file(*parts, ("motionvector", ("X", "Y", "Z"))), "vectors") == [(2, "X"), (2, "Y")]
    assert channels.find(file(("rgba", RGBA), ("speed", ("X", "Y", "Z", "W"))), "vectors") == [(1, "X"), (1, "Y")]
    assert channels.find(file(*parts), "vectors", ("X", "Y")) == [(1, "X"), (1, "Y")]  # by the artist's word


@pytest.mark.parametrize("more", [("forward.u", "forward.v"), ("Z",), layer("V.Normal", "XYZ")])
def test_colour_is_no_motion_where_the_file_has_other_layers(more):
    with pytest.raises(InputError, match=r"no channel called Vector\.X and Vector\.Y"):
        channels.find(file(RGBA + more), "vectors")
    with pytest.raises(InputError, match=r"no channel called Vector\.X and Vector\.Y"):
        channels.find(file(("rgba", RGBA), ("motion", RGBA)), "vectors")


@pytest.mark.parametrize("whole", [("R", "G"), ("R", "G", "B"), RGBA])
def test_vectors_may_be_the_colour_of_a_file_that_has_nothing_else(whole):
    assert names(file(whole), "vectors") == ["R", "G"]


def test_a_plates_channels_are_of_one_layer():
    assert names(file(("AO.R",) + layer("beauty", "RGB")), "plate") == ["beauty.R", "beauty.G", "beauty.B"]
    assert channels.find(file(("ao", ("ao.R",)), ("beauty", layer("beauty", "RGB"))), "plate") == [(1, c) for c in layer("beauty", "RGB")]
    assert names(file(layer("V.Combined", "RGBA") + layer("W.Combined", "RGBA")), "guide") == list(layer("V.Combined", "RGBA"))


def test_channels_that_are_named_are_of_one_part():
    two = file(("ao", ("ao.R", "depth.Z")), ("beauty", layer("beauty", "RGB")))
    assert channels.find(two, "plate", layer("beauty", "RGB")) == [(1, c) for c in layer("beauty", "RGB")]
    assert channels.find(file(("a", ("R",)), ("b", ("R", "G", "B"))), "plate", ("R", "G", "B")) == [(1, c) for c in "RGB"]
    with pytest.raises(InputError) as refused:
        channels.find(two, "plate", ("ao.R", "beauty.G", "beauty.B"), Where("plate", 1001))
    assert (refused.value.input, refused.value.frame) == ("plate", 1001)
    assert "different parts" in refused.value.message and "one part" in refused.value.mend


@pytest.mark.parametrize("named", ["mask", "Mask", "MASK"])
def test_of_two_channels_that_differ_in_case_alone_the_one_that_is_named_is_taken(named):
    assert names(file(("MASK", "Mask", "mask")), "mask", (named,)) == [named]
    assert names(file(("Mask", "Z")), "mask", (named,)) == ["Mask"]


def test_a_name_with_brackets_is_a_name():
    """Lights and view layers are called as their artist likes."""
    key = layer("lit[key]", "RGB")
    assert names(file(layer("litk", "RGB") + key), "plate", key) == list(key)
    assert channels.find(file(("rgba", RGBA), ("lit[key]", ("R", "G", "B"))), "plate", key) == [(1, c) for c in "RGB"]
    assert names(file(layer("litk", "RGB") + key), "plate", tuple(name.lower() for name in key)) == list(key)
    assert names(file(layer("litk", "RGB")), "plate", layer("lit?", "RGB")) == list(layer("litk", "RGB"))


def test_a_plate_has_three_channels_for_the_comp_is_written_into_them():
    grey = file(("Y", "A"))
    with pytest.raises(InputError, match="Y is named more than once") as refused:
        channels.find(grey, "plate", ("Y", "Y", "Y"), Where("plate", 1001))
    assert refused.value.frame == 1001 and "R, G and B" in refused.value.mend
    assert names(grey, "guide", ("Y", "Y", "Y", "A")) == ["Y", "Y", "Y", "A"]  # a guide is only read


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (file(RGBA + ("Z",)), (0, "Z")),
        (file(RGBA + ("depth.Z",)), (0, "depth.Z")),
        (file(layer("V.Combined", "RGBA") + ("V.Depth.Z",)), (0, "V.Depth.Z")),
        (file(("rgba", RGBA), ("depth", ("Z",))), (1, "Z")),
        (file(RGBA + layer("V.Normal", "XYZ")), None),
        (file(RGBA + ("other.Z",)), None),
        (file(RGBA), None),
    ],
)
def test_a_guides_depth_is_beside_its_colour_or_called_so(header, wanted):
    assert channels.depth_with(header, channels.find(header, "guide")) == wanted


@pytest.mark.parametrize("colour", [("beauty.R", "beauty.G", "beauty.B"), ("beauty.red", "beauty.green", "beauty.blue")])
def test_a_layers_alpha_is_found_as_blender_and_as_nuke_call_it(colour):
    alpha = "beauty.A" if colour[0].endswith("R") else "beauty.alpha"
    header = file(RGBA + (*colour, alpha))
    assert channels.beside(header, channels.find(header, "plate", colour), "A") == (0, alpha)
    assert channels.beside(header, channels.find(header, "plate"), "A") == (0, "A")
    assert channels.beside(file(colour), [(0, colour[0])], "A") is None


def test_the_alpha_of_a_layer_in_a_part_of_its_own_is_found_too():
    header = file(("rgba", RGBA), ("beauty", ("alpha", "blue", "green", "red")))
    found = channels.find(header, "plate", ("beauty.red", "beauty.green", "beauty.blue"))
    assert found == [(1, "red"), (1, "green"), (1, "blue")] and channels.beside(header, found, "A") == (1, "alpha")
