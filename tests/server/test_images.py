# SPDX-License-Identifier: Apache-2.0
"""EXR files in and out: what OpenImageIO wrote is read exactly, what we write OpenImageIO reads exactly, the rest is refused."""

import fractions
import os
import struct
import sys

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
from platebridge.errors import InputError
from platebridge_server import images
from platebridge_server.images import Where, Window

HALF_BITS = np.array([0x7E01, 0x7C01, 0xFE55, 0x7C00, 0xFC00, 0x0001, 0x8000, 0x7BFF, 0xBC00, 0x4900, 0x3C00, 0x0000], np.uint16)


def by_oiio(path):
    """Every part's channels by OIIO alone: [({name: array in its own type}, spec)]."""
    out, file, at = [], oiio.ImageInput.open(str(path)), 0
    while file.seek_subimage(at, 0):
        spec = file.spec()
        kinds = spec.channelformats or (spec.format,) * spec.nchannels
        out.append(
            ({n: file.read_image(at, 0, c, c + 1, k)[..., 0] for c, (n, k) in enumerate(zip(spec.channelnames, kinds))}, spec.copy())
        )
        at += 1
    file.geterror()
    return out


def test_every_bit_of_half_survives_reading_and_writing(tmp_path, write_exr):
    pixels = np.stack([HALF_BITS.reshape(3, 4).view(np.float16)] * 3, -1)
    path = write_exr(tmp_path / "plate.exr", pixels, "RGB", "half")
    again = tmp_path / "again.exr"
    again.write_bytes(images.encode(images.read(path)))
    for name in "RGB":
        assert (by_oiio(again)[0][0][name].view(np.uint16) == HALF_BITS.reshape(3, 4)).all()


def test_half_and_float_stay_what_they_are_in_one_file(tmp_path):
    rgb = np.random.default_rng(1).normal(0, 4, (5, 7)).astype(np.float16)
    z = np.full((5, 7), 1e10, np.float32)
    part = images.new_part({"R": rgb, "Z": z}, Window(0, 0, 7, 5), Window(0, 0, 7, 5))
    (tmp_path / "a.exr").write_bytes(images.encode([part]))
    samples, spec = by_oiio(tmp_path / "a.exr")[0]
    assert {n: str(k) for n, k in zip(spec.channelnames, spec.channelformats)} == {"R": "half", "Z": "float"}
    assert (samples["R"] == rgb).all() and (samples["Z"] == z).all()


def test_windows_and_metadata_are_kept(tmp_path, write_exr):
    kept = {"Artist": "somebody", "camera/lens": "35 mm", "framesPerSecond": 24.0, "owner": "house", "DateTime": "2026:01:02 03:04:05"}
    path = write_exr(tmp_path / "plate.exr", np.ones((6, 8, 3)), "RGB", "half", data=(-3, 5), display=(0, 0, 20, 10), attributes=kept)
    again = tmp_path / "again.exr"
    again.write_bytes(images.encode(images.read(path), {"platebridge:take": "a" * 32}))
    before, after = by_oiio(path)[0][1], by_oiio(again)[0][1]
    assert (after.x, after.y, after.full_x, after.full_width, after.full_height) == (-3, 5, 0, 20, 10)
    old, new = ({p.name: p.value for p in spec.extra_attribs} for spec in (before, after))
    assert {k: v for k, v in new.items() if k != "platebridge:take"} == old
    assert new["platebridge:take"] == "a" * 32


def test_a_file_of_many_parts_keeps_them_all(tmp_path):
    beauty, depth = oiio.ImageSpec(8, 4, 3, "half"), oiio.ImageSpec(8, 4, 1, "float")
    beauty.attribute("oiio:subimagename", "ViewLayer.Combined")
    depth.attribute("oiio:subimagename", "ViewLayer.Depth")
    depth.channelnames = ("ViewLayer.Depth.Z",)
    path = str(tmp_path / "parts.exr")
    file = oiio.ImageOutput.create(path)
    file.open(path, (beauty, depth))
    file.write_image(np.full((4, 8, 3), 2.5, np.float16))
    file.open(path, depth, "AppendSubimage")
    file.write_image(np.full((4, 8, 1), 30.0, np.float32))
    file.close()
    assert images.read_header(path).channels == [(0, "R"), (0, "G"), (0, "B"), (1, "ViewLayer.Depth.Z")]
    (tmp_path / "again.exr").write_bytes(images.encode(images.read(path)))
    again = by_oiio(tmp_path / "again.exr")
    assert [spec.get_string_attribute("oiio:subimagename") for _, spec in again] == ["ViewLayer.Combined", "ViewLayer.Depth"]
    assert again[0][0]["R"][0, 0] == 2.5 and again[1][0]["ViewLayer.Depth.Z"][0, 0] == 30.0


@pytest.mark.parametrize(
    ("compression", "wanted"), [("none", "none"), ("rle", "rle"), ("zips", "zips"), ("piz", "piz"), ("dwaa", "zip"), ("b44", "zip")]
)
def test_a_compression_that_loses_is_not_used_again(tmp_path, write_exr, compression, wanted):
    path = write_exr(tmp_path / "plate.exr", np.ones((8, 8, 3)), "RGB", "half", attributes={"compression": compression})
    parts = images.read(path)
    (tmp_path / "again.exr").write_bytes(images.encode(parts))
    samples, spec = by_oiio(tmp_path / "again.exr")[0]
    assert spec.get_string_attribute("compression") == wanted
    assert (samples["G"] == parts[0].samples["G"]).all()


def test_the_same_parts_give_the_same_bytes_and_no_date(tmp_path):
    part = images.new_part({"Y": np.zeros((4, 4), np.float32)}, Window(0, 0, 4, 4), Window(0, 0, 4, 4))
    first = images.encode([part])
    assert first == images.encode([part])
    (tmp_path / "a.exr").write_bytes(first)
    assert not by_oiio(tmp_path / "a.exr")[0][1].get_string_attribute("DateTime")


def deep(path, _):
    spec = oiio.ImageSpec(4, 4, 2, "float")
    spec.channelnames, spec.deep = ("A", "Z"), True
    file = oiio.ImageOutput.create(str(path))
    file.open(str(path), spec)
    data = oiio.DeepData()
    data.init(16, 2, (oiio.FLOAT, oiio.FLOAT), ("A", "Z"))
    file.write_deep_image(data)
    file.close()


def subsampled(path, _):
    """An uncompressed luminance-chroma EXR, made by hand: OpenImageIO writes none."""

    def attribute(name, kind, value):
        return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value

    channels = b"".join(n + b"\0" + struct.pack("<iB3xii", 1, 0, s, s) for n, s in ((b"BY", 2), (b"RY", 2), (b"Y", 1))) + b"\0"
    box = struct.pack("<4i", 0, 0, 3, 3)
    header = (
        images.MAGIC + struct.pack("<i", 2) + attribute(b"channels", b"chlist", channels) + attribute(b"compression", b"compression", b"\0")
    )
    header += (
        attribute(b"dataWindow", b"box2i", box) + attribute(b"displayWindow", b"box2i", box) + attribute(b"lineOrder", b"lineOrder", b"\0")
    )
    header += attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1)) + attribute(
        b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)
    )
    header += attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1)) + b"\0"
    lines = [struct.pack("<ii", y, n) + bytes(n) for y, n in ((0, 16), (1, 8), (2, 16), (3, 8))]
    at, offsets = len(header) + 8 * len(lines), b""
    for line in lines:
        offsets += struct.pack("<Q", at)
        at += len(line)
    path.write_bytes(header + offsets + b"".join(lines))


def giant(path, write_exr):
    write_exr(path, np.ones((4, 4, 1)), "Y")
    data = bytearray(path.read_bytes())
    at = data.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    data[at : at + 16] = struct.pack("<4i", 0, 0, 999999, 999999)
    path.write_bytes(data)


def of_no_kind(path, _):
    """What OpenImageIO reads all the same."""
    light = {"R": np.ones((4, 4), np.float16)}
    OpenEXR.File([OpenEXR.Part({}, light, "one"), OpenEXR.Part({}, light, "two")]).write(str(path))
    path.write_bytes(b"scanlineimagf".join(path.read_bytes().rsplit(b"scanlineimage", 1)))


def truncated(path, write_exr):
    write_exr(path, np.random.default_rng(3).normal(size=(64, 64, 3)), "RGB")
    path.write_bytes(path.read_bytes()[:9000])


FAULTS = {
    "missing": (lambda path, _: None, "missing"),
    "empty": (lambda path, _: path.write_bytes(b""), "0 bytes"),
    "truncated": (truncated, "cut short"),
    "png": (lambda path, _: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)), "a PNG, not OpenEXR"),
    "garbage": (lambda path, _: path.write_bytes(bytes(range(256))), "not an OpenEXR"),
    "only a header's start": (lambda path, _: path.write_bytes(images.MAGIC + b"\x02\0\0\0junk"), "damaged"),
    "deep": (deep, "deep"),
    "subsampled": (subsampled, "subsampled"),
    "giant": (giant, "claims"),
    "of no kind": (of_no_kind, "damaged"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_read_gets_a_sentence_with_input_frame_and_mend(tmp_path, write_exr, fault):
    make, word = FAULTS[fault]
    path = tmp_path / "depth.1003.exr"
    make(path, write_exr)
    with pytest.raises(InputError) as refused:
        images.read(path, Where("depth", 1003))
    assert word in refused.value.message
    assert (refused.value.input, refused.value.frame) == ("depth", 1003) and refused.value.mend


def test_a_compression_that_openimageio_does_not_know_yet_is_no_damage(tmp_path):
    path, level = tmp_path / "plate.exr", np.linspace(0, 1, 64, dtype=np.float16) * np.ones((64, 1), np.float16)
    OpenEXR.File({"compression": OpenEXR.HTJ2K256_COMPRESSION}, {"R": level}).write(str(path))
    file = oiio.ImageInput.open(str(path))
    if file.read_image("half") is not None:
        pytest.skip("this OpenImageIO knows it")
    file.geterror()
    with pytest.raises(InputError, match="compression is newer than what this server reads") as refused:
        images.read(path, Where("plate", 1003))
    assert refused.value.frame == 1003 and refused.value.mend == "Write it as ZIP, PIZ or DWAA."


def test_a_file_without_a_suffix_is_known_by_its_content(tmp_path, write_exr):
    path = write_exr(tmp_path / "a.exr", np.full((4, 4, 1), 7.0), "Z").rename(tmp_path / ("c" * 64))
    assert images.read(path)[0].samples["Z"][0, 0] == 7.0


def test_whole_numbers_beside_light_are_kept(tmp_path):
    """A Cryptomatte's or an object's number in the plate's file: every bit of it is in the comp's."""
    ids, light = np.full((4, 4), 4_000_000_001, np.uint32), HALF_BITS.reshape(3, 4).view(np.float16)[[0, 1, 2, 0]]
    part = images.new_part({"R": light, "id": ids, "Z": np.ones((4, 4), np.float32)}, Window(0, 0, 4, 4), Window(0, 0, 4, 4))
    (tmp_path / "a.exr").write_bytes(images.encode([part]))
    (tmp_path / "again.exr").write_bytes(images.encode(images.read(tmp_path / "a.exr")))
    samples = by_oiio(tmp_path / "again.exr")[0][0]
    assert (samples["id"] == ids).all() and samples["id"].dtype == np.uint32
    assert (samples["R"].view(np.uint16) == light.view(np.uint16)).all()


def test_a_header_keeps_what_only_the_format_itself_knows(tmp_path):
    """Time code, exact frame rate, primaries, matrices, lists and another program's own binary: none is turned into something else."""
    told = {
        "timeCode": OpenEXR.TimeCode(1, 2, 3, 4, *[0] * 6, *range(1, 9)),
        "framesPerSecond": fractions.Fraction(24000, 1001),
        "chromaticities": (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767),
        "worldToCamera": np.arange(16, dtype=np.float32).reshape(4, 4),
        "multiView": ["left", "right"],
        "lens": np.array([35.000000001]),
        "house": OpenEXR.OpaqueAttribute(b"\0\1\2", "ourType"),
    }
    path = tmp_path / "plate.exr"
    OpenEXR.File(dict(told), {"R": np.ones((4, 4), np.float16)}).write(str(path))
    before = images.metadata(path)[0]
    (tmp_path / "again.exr").write_bytes(images.encode(images.read(path)))
    after = images.metadata(tmp_path / "again.exr")[0]
    assert set(told) <= set(before) and list(after) == list(before)
    for name in before:
        assert type(after[name]) is type(before[name]) and repr(after[name]) == repr(before[name]), name


@pytest.mark.parametrize("kind", ["stringvector", "floatvector"])
def test_an_empty_list_in_a_header_is_left_out(tmp_path, kind):
    """OpenEXR's module reads one and can't write it."""
    path = tmp_path / "plate.exr"
    OpenEXR.File({"tags": OpenEXR.OpaqueAttribute(b"", kind), "owner": "us"}, {"R": np.ones((4, 4), np.float16)}).write(str(path))
    (tmp_path / "again.exr").write_bytes(images.encode(images.read(path)))
    again = images.metadata(tmp_path / "again.exr")[0]
    assert again["owner"] == "us" and "tags" not in again


@pytest.mark.parametrize("where", ["owner", "name", "channel"])
def test_text_in_a_header_that_is_not_utf_8_is_named(tmp_path, write_exr, where):
    told = {} if where == "channel" else {"oiio:subimagename" if where == "name" else where: "M\u00fcller"}
    path = write_exr(tmp_path / "plate.exr", np.ones((4, 4, 1)), ["M\u00fcller.Y" if where == "channel" else "Y"], "half", attributes=told)
    assert "\u00fc".encode() in path.read_bytes()
    path.write_bytes(path.read_bytes().replace("\u00fc".encode(), b"\xfc "))
    with pytest.raises(InputError, match="UTF-8") as refused:
        images.read(path, Where("plate", 1003))
    assert refused.value.frame == 1003 and refused.value.mend


TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def test_a_take_over_a_take_has_its_own_labels_and_keeps_the_plates_packet(tmp_path, write_exr):
    earlier = {"xmp": "<x/>", "platebridge:model": "dust", "platebridge:weights": "5" * 64, "Artist": "somebody"}
    path = write_exr(tmp_path / "plate.exr", np.ones((4, 4, 3)), "RGB", "half", attributes={})
    path.write_bytes(images.encode(images.read(path), earlier))
    ours = {"Iptc4xmpExt:DigitalSourceType": TYPES + "composite", "xmp": "<ours/>", "platebridge:model": "guide"}
    for _ in range(2):
        path.write_bytes(images.encode(images.read(path), ours))
        (said,) = images.metadata(path)
        assert (said["Iptc4xmpExt:DigitalSourceType"], said["xmp"]) == (TYPES + "composite", "<ours/>")
        assert said["platebridge:plate_xmp"] == earlier["xmp"] and said["Artist"] == "somebody"
        assert said["platebridge:model"] == "guide" and "platebridge:weights" not in said


def test_what_a_header_says_of_its_own_pixels_is_not_said_of_others(tmp_path, write_exr):
    """OpenImageIO's cache of textures takes two files with one oiio:SHA-1 for the same picture."""
    told = {"oiio:SHA-1": "5" * 40, "oiio:AverageColor": "1,1,1", "oiio:ConstantColor": "1,1,1", "Artist": "somebody"}
    path = write_exr(tmp_path / "plate.exr", np.ones((4, 4, 3)), "RGB", "half", attributes=told)
    path.write_bytes(images.encode(images.read(path), {"platebridge:take": "a" * 32}))
    (said,) = images.metadata(path)
    assert said["Artist"] == "somebody" and not [name for name in said if name.startswith("oiio:")]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every folder's name is text")
def test_a_folder_whose_name_is_no_text_is_read_as_any_other(tmp_path, write_exr):
    """An old archive's names may be in another code; a file's own name is another thing, for it is written down."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    write_exr(tmp_path / "plate.exr", np.ones((4, 4, 3)), "RGB", "half").rename(folder / "plate.exr")
    (part,) = images.read(folder / "plate.exr")
    assert (part.samples["G"] == 1).all() and images.read_header(folder / "plate.exr").channels


@pytest.mark.parametrize("where", ["Iptc4xmpExt:DigitalSourceType", "xmp"])
@pytest.mark.parametrize(
    "word, by_a_model",
    [
        ("trainedAlgorithmicMedia", True),
        ("compositeWithTrainedAlgorithmicMedia", True),
        ("compositeSynthetic", True),
        ("composite", False),
        ("algorithmicMedia", False),
        ("digitalCapture", False),
    ],
)
def test_a_picture_that_a_model_had_a_hand_in_is_known_by_its_header(where, word, by_a_model):
    assert images.by_a_model([{"xmp": "<it rained, and a dog was trained/>"}, {where: "<%s>" % (TYPES + word)}]) == by_a_model
