# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: F811 (fixtures by name)
"""Reference images: to the bit what the stock pipeline makes of them, in the request by content, refused where they are of no use."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
pytest.importorskip("transformers", reason="Wan's text encoder is transformers' own: pip install 'platebridge[server]'")
torch = pytest.importorskip("torch")

import tiny_vace  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402
from platebridge.errors import InputError, RequestError  # noqa: E402
from platebridge.request import FrameFile, GuideSettings, PaintSettings, Pass, from_dict  # noqa: E402
from platebridge_server import cache, colour, references, sequences  # noqa: E402
from platebridge_server.guide.guide import simulation_of  # noqa: E402
from platebridge_server.models.base import Ears, Scene  # noqa: E402
from platebridge_server.models.vace import conditioning, parts, prompts, run  # noqa: E402
from platebridge_server.models.vace.denoise import Recipe  # noqa: E402
from platebridge_server.shot import Shot  # noqa: E402
from vace_fixtures import FRAMES, SIZE, scene  # noqa: E402
from vace_takes import NAME, alone, frames, guides, installed, make, plain, shot, wanted  # noqa: E402, F401

DISPLAY = colour.find("display")


def picture(path, size, seed, mode="RGB"):
    """A PNG of noise. size: (w, h)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
    Image.fromarray(pixels if len(mode) > 1 else pixels[..., 0], mode).save(path)
    return path


@pytest.fixture
def two(tmp_path):
    """One wider and one higher than the shot, larger and smaller than it; sides of 8, which the stock pipeline does not resample."""
    return [picture(tmp_path / "wide.png", (136, 64), 1), picture(tmp_path / "high.png", (32, 48), 2)]


def test_frames_are_a_plain_diffusers_scripts_bit_for_bit(two, tmp_path):
    from diffusers import WanVACEPipeline

    folder = tiny_vace.make(tmp_path / "vace")
    plate, led_by, region = scene()
    shown = Scene(
        range(FRAMES), FRAMES - 1, SIZE, lambda f: plate[f], lambda f: led_by[f], lambda f: led_by[f][..., 0], lambda f: region[f],
        GuideSettings(), {name: name for name in ("plate", "dust", "depth", "region", "reference")},
        tuple(references.read(path, DISPLAY, "Linear Rec.709") for path in two),
    )  # fmt: skip
    ears, told = [lambda *_: None] * 2, {}
    hashes = {"%s/x.safetensors" % part: part for part in ("transformer", "vae", "text_encoder")}
    model = run.Loaded(parts.load(folder, torch.float32), run.Laid(folder, hashes, "tiny", "cpu"))
    kept = cache.TensorCache(tmp_path / "kept", cache.CacheLimits(reserve=0))
    dials, recipe = PaintSettings(follow=0.5), Recipe(seed=42, steps=2)
    listening = Ears(*ears, told.update, lambda said: None, lambda: False)
    ours = np.stack([codes for _, codes in run.Run(model, kept, shown, dials, recipe, listening).pictures()])
    assert told["painting"]["references"] == 2 and "reference" in {entry.kind for entry in kept.entries()}

    pooled = conditioning.pooled(lambda i: region[i], FRAMES)
    mask = np.stack([pooled(i) for i in range(FRAMES)])
    video = np.where(mask[..., None], led_by, plate)
    stock = WanVACEPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    theirs = stock(
        video=torch.from_numpy(video).permute(0, 3, 1, 2)[None],
        mask=torch.from_numpy(mask.astype(np.float32))[None, :, None].repeat(1, 1, 3, 1, 1),
        reference_images=[Image.open(path) for path in two], prompt=prompts.prompt(GuideSettings(), ""), negative_prompt=prompts.AVOID,
        height=SIZE[0], width=SIZE[1], num_frames=FRAMES, num_inference_steps=2, generator=torch.Generator().manual_seed(42),
    ).frames[0]  # fmt: skip
    assert (ours == theirs).all()


# The whole way.


def with_references(request, shot, paths):
    made, found = sequences.pictures("reference", [str(path) for path in paths])
    shot.by_hash.update(found)
    return dataclasses.replace(request, inputs=dataclasses.replace(request.inputs, reference=made))


def test_one_changes_the_picture_and_not_the_guide_and_another_order_is_another_picture(make, shot, plain, two):
    one, both, turned = (with_references(wanted(shot), shot, paths) for paths in (two[:1], two, two[::-1]))
    made = [make(request) for request in (one, both, turned)]
    effects = [plain, *(frames(files) for _, files in made)]
    assert all(a != b for n, a in enumerate(effects) for b in effects[:n])
    told = json.loads(made[1][1]["take.json"])
    geometry = Shot(wanted(shot), shot.open_file).geometry
    assert told["painting"]["references"] == 2 and told["simulation"] == simulation_of(wanted(shot), geometry)
    assert from_dict(told["request"]) == both and both.hash() != turned.hash()
    assert "reference" not in wanted(shot).to_dict()["inputs"]  # requests without keep their hash


@pytest.mark.parametrize("model", ["dust", "guide"])
def test_a_model_that_paints_nothing_refuses_them_with_a_sentence(make, shot, two, model):
    request = with_references(shot.request(), shot, two[:1])
    request = dataclasses.replace(request, model=dataclasses.replace(request.model, name=model))
    with pytest.raises(RequestError, match="The model %s takes no reference images" % model):
        make(request)


def test_too_many_and_none_at_all_are_refused(make, shot, tmp_path):
    many = [picture(tmp_path / ("%d.png" % n), (16, 16), n) for n in range(5)]
    with pytest.raises(RequestError, match="5 reference images were given; a model takes one to 4"):
        make(with_references(wanted(shot), shot, many))
    empty = dataclasses.replace(wanted(shot).inputs, reference=Pass())
    with pytest.raises(RequestError, match="0 reference images"):
        make(dataclasses.replace(wanted(shot), inputs=empty))


def test_what_is_no_picture_is_refused_by_its_number(make, shot, two, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    with pytest.raises(InputError, match="can't be read") as refused:
        make(with_references(wanted(shot), shot, [two[0], broken]))
    assert (refused.value.input, refused.value.frame) == ("reference", 2)


def test_half_a_picture_is_refused_by_the_check_that_comes_before_any_work(shot, two, tmp_path):
    half = tmp_path / "half.png"
    half.write_bytes(two[0].read_bytes()[:-500])
    request = with_references(wanted(shot), shot, [two[1], half])
    with pytest.raises(InputError, match=r"can't be read \(.*\)") as refused:
        references.check(request, {"kind": "picture"}, shot.open_file)
    assert refused.value.frame == 2 and "\n" not in str(refused.value)


# Files to codes.


def test_a_display_picture_is_its_own_codes_in_every_depth_and_form(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (references.read(tmp_path / "a.png", DISPLAY, "Linear Rec.709") == pixels.astype(np.float32) / np.float32(255.0)).all()
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    (tmp_path / "no_suffix").write_bytes((tmp_path / "a.tif").read_bytes())  # as it lies in the spool
    assert (references.read(tmp_path / "no_suffix", DISPLAY, "Linear Rec.709") == pixels.astype(np.float32) / np.float32(255.0)).all()
    Image.fromarray(pixels[..., 0], "L").save(tmp_path / "grey.png")
    grey = references.read(tmp_path / "grey.png", DISPLAY, "Linear Rec.709")
    assert grey.shape == (6, 8, 3) and (grey == grey[..., :1]).all()


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, :3], pixels[:2, :, 3] = (200, 100, 50), 255
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    codes = references.read(tmp_path / "a.png", DISPLAY, "Linear Rec.709")
    assert codes[0, 0].tolist() == pytest.approx([200 / 255, 100 / 255, 50 / 255]) and (codes[2:] == 1).all()


@pytest.mark.parametrize("curve", ["display", "acescct"])
def test_light_over_nothing_is_over_white_as_a_display_picture_is(tmp_path, write_exr, curve):
    """Dust cut out of a render, in light and saved for the eye: the same picture to a model, and no grey box about either."""
    transform = colour.find(curve)
    straight, alpha = np.float32((0.4, 0.3, 0.2)), np.repeat(np.float32((0, 0.4, 1, 1.3)), 4).reshape(4, 4, 1)
    path = write_exr(tmp_path / "a.exr", np.concatenate([straight * alpha.clip(0, 1), alpha], -1), "RGBA")
    codes = references.read(path, transform, "Linear Rec.709")
    dense = transform.encode(straight)
    assert (codes[0] == 1).all() and np.allclose(codes[1], 0.4 * dense + 0.6, atol=1e-5) and np.allclose(codes[2:], dense, atol=1e-5)
    seen = np.broadcast_to(DISPLAY.encode(straight), (4, 4, 3))
    Image.fromarray(np.round(255 * np.concatenate([seen, alpha.clip(0, 1)], -1)).astype(np.uint8), "RGBA").save(tmp_path / "a.png")
    assert np.abs(references.read(tmp_path / "a.png", transform, "Linear Rec.709") - codes).max() < 0.02


def test_a_photograph_is_shown_in_a_studios_own_space_that_its_config_alone_knows(tmp_path):
    import PyOpenColorIO as ocio

    def studio(config):
        config.addColorSpace(ocio.ColorSpace(name="lin_studio"))
        log = ocio.ColorSpace(name="log_studio")
        log.setTransform(ocio.BuiltinTransform("CURVE - ACEScct-LOG_to_LINEAR"), ocio.COLORSPACE_DIR_TO_REFERENCE)
        config.addColorSpace(log)
        (tmp_path / "config.ocio").write_text(config.serialize())
        return colour.find("ocio", space="log_studio", working_space="lin_studio", config=str(tmp_path / "config.ocio"))

    path = picture(tmp_path / "a.png", (16, 8), 3)
    by_name = studio(ocio.Config.CreateFromFile(colour.BUILT_IN))  # whose reference is ACES2065-1, and so lin_studio
    assert np.allclose(references.read(path, by_name, "lin_studio"), references.read(path, by_name, "ACES2065-1"), atol=1e-5)
    with pytest.raises(RequestError, match=r"does not say what lin_studio is to other configs: .*aces_interchange"):
        references.read(path, studio(ocio.Config.CreateRaw()), "lin_studio")


@pytest.mark.parametrize("held", range(1, 9))
def test_a_photograph_stands_upright_however_the_camera_was_held(tmp_path, held):
    image = Image.fromarray(np.kron(np.uint8([[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[0, 0, 0], [128, 128, 128], [250, 250, 250]]]),
                                    np.ones((16, 16, 1), np.uint8)))  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = held
    image.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")), np.float32) / 255
    codes = references.read(tmp_path / "a.jpg", DISPLAY, "Linear Rec.709")
    assert codes.shape == upright.shape and np.abs(codes - upright).max() < 0.02


def test_of_a_render_with_many_layers_the_picture_is_taken(tmp_path, write_exr):
    """Not what comes first in the alphabet."""
    layers = {"V.AO": ("RGB", (9.0, 9.0, 9.0)), "V.Combined": ("RGBA", (0.4, 0.3, 0.2, 1.0)), "V.Depth": ("Z", (30.0,))}
    names = ["%s.%s" % (layer, letter) for layer, (letters, _) in layers.items() for letter in letters]
    values = [value for _, each in layers.values() for value in each]
    path = write_exr(tmp_path / "a.exr", np.broadcast_to(np.float32(values), (4, 4, len(values))), names)
    assert np.allclose(references.read(path, DISPLAY, "Linear Rec.709"), DISPLAY.encode(np.float32((0.4, 0.3, 0.2))), atol=1e-5)


def test_a_render_that_holds_no_picture_is_refused_with_what_it_holds(tmp_path, write_exr):
    path = write_exr(tmp_path / "a.exr", np.ones((4, 4, 3)), ("N.X", "N.Y", "N.Z"))
    with pytest.raises(InputError, match=r"no channel called R, G and B; it has N\.X, N\.Y, N\.Z") as refused:
        references.read(path, DISPLAY, "Linear Rec.709", 2)
    assert (refused.value.input, refused.value.frame, refused.value.mend) == ("reference", 2, "Write its colour as R, G and B.")


@pytest.mark.parametrize("more", ["A", "Z", "Cg.Y"])
def test_only_alpha_makes_a_picture_transparent(tmp_path, write_exr, more):
    """A render with depth beside its colour and no alpha: metres are no transparency."""
    pixels = np.full((4, 4, 4), (0.5, 0.4, 0.3, 1.0 if more == "A" else 20.0))
    plain = write_exr(tmp_path / "plain.exr", pixels[..., :3], "RGB", "half")
    beside = write_exr(tmp_path / "beside.exr", pixels, ["R", "G", "B", more], "half")
    ours, theirs = (references.read(path, DISPLAY, "Linear Rec.709") for path in (beside, plain))
    assert (ours == theirs).all() and ours.min() > 0.5
    grey = write_exr(tmp_path / "grey.exr", pixels[..., 2:], ["Y", more], "half")
    assert np.allclose(references.read(grey, DISPLAY, "Linear Rec.709"), theirs[..., 2:], atol=1e-3)


def test_light_is_coded_as_the_plate_is_and_a_display_picture_comes_into_a_log(tmp_path, write_exr):
    light = np.random.default_rng(4).uniform(0, 4, (5, 7, 3)).astype("f4")
    write_exr(tmp_path / "a.exr", light, ("R", "G", "B"))
    assert np.abs(references.read(tmp_path / "a.exr", DISPLAY, "Linear Rec.709") - colour.limited(DISPLAY.encode(light))[0]).max() < 1e-6
    log = colour.find("acescct", working_space="ACEScg")
    Image.fromarray(np.full((3, 3, 3), 118, np.uint8)).save(tmp_path / "grey.png")
    back = log.decode(references.read(tmp_path / "grey.png", log, "ACEScg"))
    assert np.abs(back - 0.1812).max() < 2e-3  # sRGB 118 is that much light


# From the command line.


def test_the_command_takes_them_and_goes_on_with_them(shot, two, tmp_path):
    from platebridge.frames import FrameRange
    from platebridge.request import ShotSettings
    from platebridge_server import command_generate as command

    sources = command.Sources(shot.patterns, references=tuple(map(str, two)))
    asked = command.asked("tiny", FrameRange(shot.first, shot.last), ShotSettings(), model=NAME)
    (request,), files = command.with_files([asked], sources)
    given = request.inputs.reference
    assert [file.frame for file in given.files] == [1, 2] and given.name == "wide.png, high.png"
    assert [files[file.sha256] for file in given.files] == two and all(isinstance(file, FrameFile) for file in given.files)
    writer = command.begin(request, sources, tmp_path / "takes")
    again, found, _ = command.resumed(writer.path)
    assert again == request and set(found) == set(files)
    two[0].write_bytes(two[1].read_bytes())
    with pytest.raises(InputError, match="not what it was"):
        command.resumed(writer.path)
    with pytest.raises(InputError, match="There is no file"):
        sequences.pictures("reference", [str(tmp_path / "absent.png")])
