# SPDX-License-Identifier: Apache-2.0
"""Scene-linear to code values and back: published values, exact ways back, nothing clipped in silence."""

from __future__ import annotations

import json

import numpy as np
import PyOpenColorIO as ocio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platebridge.errors import RequestError
from platebridge_server import colour

ALL = {
    "display": ("display", {}),
    "display, white 100": ("display", {"white": 100.0, "knee": 0.4, "exposure": -1.5}),
    "display from ACEScg": ("display", {"working_space": "ACEScg"}),
    "acescct": ("acescct", {"working_space": "ACEScg"}),
    "acescct from Rec.709": ("acescct", {"working_space": "Linear Rec.709"}),
    "logc3": ("logc3", {}),
    "logc3 from Rec.2020": ("logc3", {"working_space": "Linear Rec.2020", "gamut": "Linear Rec.709"}),
    "log-gamma": ("log-gamma", {}),
    "ocio name": ("ocio", {"space": "ACEScct", "working_space": "Linear Rec.709"}),
    "ocio role": ("ocio", {"space": "compositing_log", "working_space": "ACEScg"}),
    "ocio texture": ("ocio", {"space": "sRGB - Texture", "working_space": "ACEScg"}),
}


@pytest.fixture(params=ALL.values(), ids=ALL.keys())
def transform(request):
    name, parameters = request.param
    return colour.find(name, **parameters)


def grey(*values):
    return np.repeat(np.array(values, np.float32)[:, None], 3, axis=1)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_light_comes_back_within_a_hundred_thousandth(name, data):
    """Of the pixel's largest channel, or of a thousandth where that is darker: float32 codes have no finer step on a log foot."""
    transform = colour.find(ALL[name][0], **ALL[name][1])
    most = data.draw(st.floats(1e-3, transform.white))
    rgb = np.array([[most * data.draw(st.floats(-0.2, 1)) for _ in range(3)]], np.float32)
    back = transform.decode(transform.encode(rgb))
    assert back.dtype == np.float32
    assert np.abs(back - rgb).max() <= 1e-5 * max(np.abs(rgb).max(), 1e-3)


def test_neutral_ramp_comes_back_and_rises(transform):
    ramp = grey(*np.geomspace(1e-3, transform.white, 4000))
    code = transform.encode(ramp)
    assert (np.diff(code.astype(np.float64), axis=0) >= 0).all()
    assert (np.abs(transform.decode(code) / ramp - 1) <= 1e-5).all()


def test_codes_run_from_0_at_black_to_1_at_white(transform):
    code = transform.encode(grey(transform.black, transform.white))
    assert code == pytest.approx(np.array([[0.0] * 3, [1.0] * 3]), abs=2e-6)


def test_parameters_are_plain_data_that_find_the_same_transform(transform):
    again = colour.find(transform.name, **json.loads(json.dumps(transform.parameters)))
    pixels = np.random.default_rng(1).uniform(0, 2, (50, 3)).astype(np.float32)
    assert again.parameters == transform.parameters
    assert (again.encode(pixels) == transform.encode(pixels)).all()


def test_above_white_and_below_0_codes_leave_the_range_and_come_back():
    for name in ("display", "acescct", "logc3", "log-gamma"):
        transform = colour.find(name)
        rgb = grey(-0.5, transform.white * 1.5)
        code = transform.encode(rgb)
        assert (code[0] < 0).all() and (code[1] > 1).all(), name
        assert transform.decode(code) == pytest.approx(rgb, rel=1e-5), name


def test_limited_says_what_it_cuts():
    code, share = colour.limited(np.array([[0.5, 0.5, 0.5], [1.2, 0.5, 0.5], [-0.1, 0, 0], [1, 0, 1]], np.float32))
    assert share == 0.5
    assert code.min() == 0 and code.max() == 1 and (code[0] == 0.5).all()


@pytest.mark.parametrize(
    ("name", "light", "code"),
    [
        # ACEScct, AMPAS S-2016-001: the foot's value at 0, at the break, at 18 % grey, and for half float's largest number.
        ("acescct", 0.0, 0.0729055341958355), ("acescct", 0.0078125, 0.155251141552511),
        ("acescct", 0.18, 0.413588402), ("acescct", 65504.0, 1.467996312),
        # ALEXA Log C Curve, Usage in VFX (ARRI), EI 800: 10-bit 95 for black and 400 for 18 % grey.
        ("logc3", 0.0, 95 / 1023), ("logc3", 0.18, 400 / 1023), ("logc3", 1.0, 0.570631558),
        # IEC 61966-2-1 under the display transform's knee.
        ("display", 0.18, 0.461356130), ("display", 0.002, 0.02584),
        # What others measured of DiffHDR's curve.
        ("log-gamma", 0.18, 0.197), ("log-gamma", 1.0, 0.348), ("log-gamma", 8.0, 0.529), ("log-gamma", 55.0, 0.663),
    ],
)  # fmt: skip
def test_published_values(name, light, code):
    transform = colour.find(name, working_space="ACEScg" if name == "acescct" else "Linear Rec.709")
    loose = 6e-4 if name == "log-gamma" else 6e-5 if name == "logc3" else 2e-6
    assert transform.encode(grey(light))[0] == pytest.approx([code] * 3, abs=loose)


@pytest.mark.parametrize(
    ("name", "builtin", "gamut"),
    [("acescct", "ACEScct_to_ACES2065-1", "ACEScg_to_ACES2065-1"), ("logc3", "ARRI_ALEXA-LOGC-EI800-AWG_to_ACES2065-1", None)],
)
def test_log_curves_agree_with_openColorIOs_own(name, builtin, gamut):
    """Two who wrote one curve each: ours against the library's, on neutrals, for LogC3 but for the matrix' rounding."""
    codes = grey(*np.linspace(0.05, 0.95, 50))
    theirs = codes.copy()
    config = ocio.Config.CreateRaw()
    config.getProcessor(ocio.BuiltinTransform(builtin)).getDefaultCPUProcessor().applyRGB(theirs)
    if gamut:
        config.getProcessor(ocio.BuiltinTransform(gamut, ocio.TRANSFORM_DIR_INVERSE)).getDefaultCPUProcessor().applyRGB(theirs)
    ours = colour.find(name, working_space="ACEScg").decode(codes)
    assert ours == pytest.approx(theirs, rel=2e-4, abs=2e-6)


def test_primaries_are_changed_before_the_curve():
    """ACEScg red in Rec.709 is the published matrix' first column: its green is negative and stays so."""
    red = colour.find("display", working_space="ACEScg", white=100.0).encode(np.array([[0.1, 0, 0]], np.float32))[0]
    linear = colour.find("display", white=100.0).decode(red[None])[0]
    assert linear == pytest.approx([0.170505, -0.013026, -0.002400], abs=2e-6)


def test_names_of_blender_and_nuke_are_known():
    pixels = np.random.default_rng(2).uniform(0, 2, (20, 3)).astype(np.float32)
    for one, other in [
        ("Linear Rec.709", "Nuke: linear"), ("ACEScg", "OCIO: ACES - ACEScg"), ("Linear Rec.2020", "OCIO: Linear Rec.2020"),
        ("Linear Rec.709", "OCIO: lin_srgb"), ("ACEScg", "lin_ap1_scene"), ("Linear P3-D65", "lin_p3d65"), ("ACES2065-1", "lin_ap0"),
    ]:  # fmt: skip
        a, b = (colour.find("display", working_space=space).encode(pixels) for space in (one, other))
        assert a == pytest.approx(b, abs=1e-6)
    with pytest.raises(RequestError, match=r"scene_linear is not known here.*config"):
        colour.find("display", working_space="OCIO: scene_linear")
    by_role = colour.find("display", working_space="OCIO: scene_linear", config=colour.BUILT_IN).encode(pixels)
    assert by_role == pytest.approx(colour.find("display", working_space="ACEScg").encode(pixels), abs=1e-6)


def test_a_studios_config_is_read_from_its_file_and_its_roles_go_before_names(tmp_path):
    """Its role `linear` is what `linear` means in its shots, whatever other programs call so."""
    config = ocio.Config.CreateFromFile(colour.BUILT_IN)
    config.setRole("linear", "ACES2065-1")
    config.setRole("vfx_log", "ACEScct")
    path = tmp_path / "studio.ocio"
    path.write_text(config.serialize())
    pixels = np.random.default_rng(3).uniform(0, 2, (20, 3)).astype(np.float32)
    found = colour.find("ocio", space="vfx_log", working_space="linear", config=str(path))
    assert found.encode(pixels) == pytest.approx(colour.find("acescct", working_space="ACES2065-1").encode(pixels), abs=2e-6)


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("rec1886", {}, "no colour transform rec1886.*display, acescct"),
        ("display", {"whites": 2}, "no parameter whites.*white, knee"),
        ("display", {"white": 0.5}, "no shoulder"),
        ("display", {"working_space": "Linear Fancy"}, "Linear Fancy is not known"),
        ("acescct", {"gamut": "sRGB"}, "sRGB is no linear space"),
        ("ocio", {"space": "ACEScctt"}, "no role or colour space ACEScctt.*ACEScct"),
        ("ocio", {}, "ocio needs to know the space"),
        ("ocio", {"space": "Raw"}, "holds data"),
        ("ocio", {"space": "ACEScct", "config": "/nowhere/config.ocio"}, "/nowhere/config.ocio can't be read"),
    ],
)  # fmt: skip
def test_what_is_unknown_is_refused_with_what_is_known(name, parameters, says):
    with pytest.raises(RequestError, match=says):
        colour.find(name, **parameters)


def test_a_space_that_clamps_is_refused(tmp_path):
    config = ocio.Config.CreateFromFile(colour.BUILT_IN)
    clamped = ocio.ColorSpace(name="baked")
    clamped.setTransform(ocio.RangeTransform(0.0, 0.5, 0.0, 0.5), ocio.COLORSPACE_DIR_TO_REFERENCE)
    config.addColorSpace(clamped)
    path = tmp_path / "baked.ocio"
    path.write_text(config.serialize())
    with pytest.raises(RequestError, match="does not come back"):
        colour.find("ocio", space="baked", working_space="ACEScg", config=str(path))


@pytest.mark.parametrize("pair", [("ACEScg", "show"), ("show", "ACEScg")])
def test_a_space_whose_table_lies_elsewhere_is_refused(tmp_path, pair):
    """A config reads without its tables; they are opened when two spaces are joined."""
    config = ocio.Config.CreateFromFile(colour.BUILT_IN)
    show = ocio.ColorSpace(name="show")
    show.setTransform(ocio.FileTransform("gone.spi1d"), ocio.COLORSPACE_DIR_FROM_REFERENCE)
    config.addColorSpace(show)
    path = tmp_path / "studio.ocio"
    path.write_text(config.serialize())
    with pytest.raises(RequestError, match="studio.ocio can't turn %s into %s and back: .*gone.spi1d.*Put the config's tables" % pair):
        colour.find("ocio", working_space=pair[0], space=pair[1], config=str(path))


def test_a_half_decoded_picture_is_refused():
    """bfloat16 steps 0.026 stops near LogC3's white and half 0.003: the VAE's decoder must give float32."""
    transform = colour.find("logc3")
    with pytest.raises(ValueError, match="float16"):
        transform.decode(grey(0.5).astype(np.float16))
    step = np.array([0.99609375, 1.0], np.float32)  # two neighbours in bfloat16
    stops = np.diff(np.log2(transform.decode(grey(*step))[:, 0]))[0]
    assert 0.02 < stops < 0.06


def test_display_keeps_the_middle_and_leaves_the_knee_without_a_corner():
    transform = colour.find("display")
    assert transform.encode(grey(0.4))[0, 0] == pytest.approx(1.055 * 0.4 ** (1 / 2.4) - 0.055, abs=1e-6)
    near = transform.encode(grey(0.499, 0.5, 0.501)).astype(np.float64)[:, 0]
    assert (near[2] - near[1]) / (near[1] - near[0]) == pytest.approx(1, abs=0.03)
