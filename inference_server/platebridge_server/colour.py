# SPDX-License-Identifier: Apache-2.0
"""Scene-linear light to the code values a picture model wants, and back: named, with plain parameters, exactly invertible.

A transform never clips. Light above its white has a code above 1, light below its black one below 0, and both come back. What a
model can't be given is cut in the open by `limited`, which says how much it was. The names:

`display`     what stock models were trained on: exposure, then light as it is up to a knee, a logarithmic shoulder from there to
              `white`, sRGB's curve. Rec.709 primaries. Negative light (a colour outside Rec.709) is mirrored.
`acescct`     ACEScct, AMPAS S-2016-001; AP1 primaries. Its straight foot goes on below 0.
`logc3`       ARRI LogC3 at EI 800 (ALEXA Log C Curve, Usage in VFX, ARRI 2017). Its straight foot goes on below 0.
`log-gamma`   (ln(2.2 x + 1) / ln(2.2 * 65536 + 1)) ^ (1 / 2.2), DiffHDR, arXiv 2604.06161. Negative light is mirrored.
`ocio`        a colour space of an OpenColorIO config, by role or name.

Plain functions on arrays; knows nothing of models and files but for the OCIO config it is told to read.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Callable

import numpy as np
import PyOpenColorIO as ocio
from platebridge.errors import RequestError

#: The config whose spaces give the primaries: it comes with OpenColorIO and does not change.
BUILT_IN = "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"
#: Names of linear spaces as Blender, Nuke, OpenColorIO's configs and people write them, and the built-in config's for the same.
_LINEAR = {
    "linear rec.709": "lin_rec709", "linear rec.709 (srgb)": "lin_rec709", "linear": "lin_rec709",
    "scene-linear rec.709-srgb": "lin_rec709", "utility - linear - srgb": "lin_rec709", "utility - linear - rec.709": "lin_rec709",
    "linear rec.2020": "lin_rec2020", "utility - linear - rec.2020": "lin_rec2020",
    "linear p3-d65": "lin_p3d65", "linear dci-p3 d65": "lin_p3d65", "linear p3": "lin_p3d65", "utility - linear - p3-d65": "lin_p3d65",
    "acescg": "ACEScg", "aces - acescg": "ACEScg", "linear ap1": "ACEScg", "linear acescg": "ACEScg",
    "aces2065-1": "ACES2065-1", "aces - aces2065-1": "ACES2065-1", "linear ap0": "ACES2065-1",
    "lin_rec709": "lin_rec709", "lin_srgb": "lin_rec709", "lin_rec709_srgb": "lin_rec709", "lin_rec709_scene": "lin_rec709",
    "lin_rec2020": "lin_rec2020", "lin_rec2020_scene": "lin_rec2020", "lin_p3d65": "lin_p3d65", "lin_p3d65_scene": "lin_p3d65",
    "lin_ap1": "ACEScg", "lin_ap1_scene": "ACEScg", "lin_ap0": "ACES2065-1", "lin_ap0_scene": "ACES2065-1",
}  # fmt: skip
_KNOWN = "Linear Rec.709, Linear Rec.2020, Linear P3-D65, ACEScg or ACES2065-1"
Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Transform:
    """One transform. `name`, `parameters`: plain data; find(name, **parameters) gives the same transform again.

    `black`, `white`: the neutral light, in the working space, whose codes are 0 and 1.
    """

    name: str
    parameters: dict
    black: float
    white: float
    _encode: Curve
    _decode: Curve

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        """Scene-linear (..., 3) float32 in the working space to codes (..., 3) float32: 0 to 1 from black to white, beyond it outside."""
        return self._encode(_picture(rgb)).astype(np.float32)

    def decode(self, code: np.ndarray) -> np.ndarray:
        """Codes (..., 3) float32 to scene-linear (..., 3) float32. decode(encode(x)) is x within 1e-5 of the pixel's largest channel.

        Raises ValueError for a narrower type: half a bfloat16's step near white is a hundredth of a stop and more.
        """
        return self._decode(_picture(code)).astype(np.float32)


def limited(code: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes cut to [0, 1], as a model takes them, and the share of pixels of which a channel was outside by more than 1e-6."""
    outside = ((code < -1e-6) | (code > 1 + 1e-6)).any(axis=-1)
    return np.clip(code, 0.0, 1.0), float(outside.mean()) if outside.size else 0.0


def find(name: str, *, working_space: str = "Linear Rec.709", **parameters) -> Transform:
    """The transform of that name from a working space, `settings.working_space` of the request.

    display: white (16; scene-linear after exposure, whose code is 1), knee (0.5; light up to here keeps its sRGB code), exposure
    (0 stops). acescct, logc3, log-gamma: gamut, the linear space whose primaries the curve works on ("ACEScg" for acescct; for the
    others "working", as it is). ocio: space, and config: a file or an `ocio://` name. A config may be given to any of them: the working
    space is then looked up there first.
    Raises RequestError: no such transform, parameter, space or config, or a space that does not come back.
    """
    makers = {"display": _display, "acescct": _acescct, "logc3": _logc3, "log-gamma": _log_gamma, "ocio": _ocio}
    if name not in makers:
        raise RequestError(f"There is no colour transform {name}.", f"Choose one of {', '.join(makers)}.")
    takes = [key for key in inspect.signature(makers[name]).parameters if key not in ("name", "working_space")]
    for key in parameters:
        if key not in takes:
            raise RequestError(f"The colour transform {name} has no parameter {key}.", f"It takes {', '.join(takes)}.")
    if name == "ocio" and "space" not in parameters:
        raise RequestError("The colour transform ocio needs to know the space.", "Give space, a role or a colour space of the config.")
    return makers[name](name, working_space=working_space, **parameters)


def _picture(rgb: np.ndarray) -> np.ndarray:
    rgb = np.asarray(rgb)
    if rgb.dtype not in (np.float32, np.float64) or rgb.shape[-1:] != (3,):
        raise ValueError(f"a picture is (..., 3) float32, not {rgb.shape} {rgb.dtype}")
    return rgb.astype(np.float64)


# The transforms.


def _display(
    name: str, *, working_space: str, white: float = 16.0, knee: float = 0.5, exposure: float = 0.0, config: str = ""
) -> Transform:
    if not 0 < knee < 1 < white <= 1000:
        raise RequestError(f"A display transform with knee {knee} and white {white} has no shoulder.", "Keep 0 < knee < 1 < white <= 1000.")
    bend, gain = _bend((white - knee) / (1 - knee)), 2.0**exposure

    def shoulder(x):
        over = np.log1p(bend * np.maximum(x - knee, 0.0) / (white - knee)) / np.log1p(bend)
        return np.where(x > knee, knee + (1 - knee) * over, x)

    def straight(y):
        over = np.expm1(np.log1p(bend) * np.maximum(y - knee, 0.0) / (1 - knee)) / bend
        return np.where(y > knee, knee + (white - knee) * over, y)

    def curve(x):
        return np.copysign(_srgb(shoulder(np.abs(x) * gain)), x)

    def back(c):
        return np.copysign(straight(_from_srgb(np.abs(c))) / gain, c)

    parameters = {"working_space": working_space, "white": white, "knee": knee, "exposure": exposure, "config": config}
    return _of_curve(name, parameters, curve, back, "Linear Rec.709")


def _bend(ratio: float) -> float:
    """b with b / ln(1 + b) = ratio: the shoulder leaves the knee without a corner. By Newton, from above."""
    b = 2 * ratio * np.log(ratio + 1) + 1
    for _ in range(60):
        log = np.log1p(b)
        b -= (b - ratio * log) / (1 - ratio / (1 + b))
    return float(b)


def _srgb(x: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, light to code, of x >= 0; goes on above 1."""
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-12) ** (1 / 2.4) - 0.055)


def _from_srgb(c: np.ndarray) -> np.ndarray:
    return np.where(c <= 0.0031308 * 12.92, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _acescct(name: str, *, working_space: str, gamut: str = "ACEScg", config: str = "") -> Transform:
    cut, slope, foot = 0.0078125, 10.5402377416545, 0.0729055341958355

    def curve(x):
        return np.where(x <= cut, slope * x + foot, (np.log2(np.maximum(x, cut)) + 9.72) / 17.52)

    def back(c):
        return np.where(c <= 0.155251141552511, (c - foot) / slope, 2.0 ** (c * 17.52 - 9.72))

    return _of_curve(name, {"working_space": working_space, "gamut": gamut, "config": config}, curve, back, gamut)


def _logc3(name: str, *, working_space: str, gamut: str = "working", config: str = "") -> Transform:
    a, b, c, d, e, f, cut = 5.555556, 0.052272, 0.247190, 0.385537, 5.367655, 0.092809, 0.010591

    def curve(x):
        return np.where(x > cut, c * np.log10(a * np.maximum(x, cut) + b) + d, e * x + f)

    def back(code):
        return np.where(code > e * cut + f, (10.0 ** ((code - d) / c) - b) / a, (code - f) / e)

    return _of_curve(name, {"working_space": working_space, "gamut": gamut, "config": config}, curve, back, gamut)


def _log_gamma(name: str, *, working_space: str, gamut: str = "working", config: str = "") -> Transform:
    top = np.log1p(2.2 * 65536)

    def curve(x):
        return np.copysign((np.log1p(2.2 * np.abs(x)) / top) ** (1 / 2.2), x)

    def back(c):
        return np.copysign(np.expm1(np.abs(c) ** 2.2 * top) / 2.2, c)

    return _of_curve(name, {"working_space": working_space, "gamut": gamut, "config": config}, curve, back, gamut)


def _of_curve(name: str, parameters: dict, curve: Curve, back: Curve, gamut: str) -> Transform:
    """A curve on each channel of the primaries of `gamut`."""
    black, white = (float(back(np.array(code))) for code in (0.0, 1.0))
    matrix = _matrix(parameters["working_space"], parameters["working_space"] if gamut == "working" else gamut, parameters["config"])
    if matrix is None:
        return Transform(name, parameters, black, white, curve, back)
    to, fro = matrix.T, np.linalg.inv(matrix).T
    return Transform(name, parameters, black, white, lambda x: curve(x @ to), lambda c: back(c) @ fro)


def _ocio(name: str, *, working_space: str, space: str, config: str = BUILT_IN) -> Transform:
    read = _config(config)
    source, target = _space_in(read, config, working_space, working=True), _space_in(read, config, space)
    if target.isData():
        raise RequestError(f"{space} of {config} holds data, not a picture.", "Choose a colour space that encodes light.")
    try:
        to, fro = (
            read.getProcessor(*pair).getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
            for pair in ((source.getName(), target.getName()), (target.getName(), source.getName()))
        )
    except (ocio.Exception, ocio.ExceptionMissingFile) as error:  # a table that lies on another machine, or has no way back
        raise RequestError(
            f"{config} can't turn {source.getName()} into {target.getName()} and back: {str(error).rstrip('.')}.",
            "Put the config's tables beside it on the machine that generates, or choose another space.",
        ) from None

    def through(processor):
        def apply(picture):
            flat = np.ascontiguousarray(picture.reshape(-1, 3), np.float32).copy()
            processor.applyRGB(flat)
            return flat.reshape(picture.shape)

        return apply

    encode, decode = through(to), through(fro)
    steps = np.linspace(0.0, 1.0, 6)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1)
    off = float(np.abs(encode(decode(cube)) - cube).max())
    if not off < 1e-3:
        raise RequestError(
            f"{space} of {config} does not come back: a code returns {off:.2g} away.", "Choose a space without a clamp or a baked table."
        )
    black, white = (float(decode(np.full((1, 3), code))[0].mean()) for code in (0.0, 1.0))
    parameters = {"working_space": working_space, "space": space, "config": config}
    return Transform(name, parameters, black, white, encode, decode)


# Primaries and configs.


def _matrix(working_space: str, gamut: str, config: str) -> np.ndarray | None:
    """(3, 3) from the working space to a linear space of the built-in config, None where nothing changes."""
    if working_space == gamut:
        return None
    target = _LINEAR.get(gamut.lower())
    if target is None:
        raise RequestError(f"{gamut} is no linear space that is known.", f"Choose {_KNOWN}.")
    if config:
        read = _config(config)
        source = _space_in(read, config, working_space, working=True).getName()
        try:
            processor = ocio.Config.GetProcessorToBuiltinColorSpace(read, source, target)
        except ocio.Exception as error:
            raise RequestError(
                f"The OpenColorIO config {config} does not say what {source} is to other configs: {str(error).rstrip('.')}.",
                "Give it the role aces_interchange.",
            ) from None
    else:
        known = known_linear(working_space)
        if known is None:
            raise RequestError(
                f"The working space {working_space} is not known here.", f"Give the OpenColorIO config that names it, or choose {_KNOWN}."
            )
        if known == target:
            return None
        processor = _config(BUILT_IN).getProcessor(known, target)
    basis = np.eye(3, dtype=np.float32)
    processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS).applyRGB(basis)
    return basis.T.astype(np.float64)


def known_linear(working_space: str) -> str | None:
    """The built-in config's name of a linear space that needs no config to be known, else None."""
    return _LINEAR.get(_bare(working_space).lower())


def _bare(working_space: str) -> str:
    """The space's own name: Nuke's is sent with its colour management before it, `OCIO: ACEScg`."""
    for before in ("OCIO: ", "Nuke: "):
        if working_space.startswith(before):
            return working_space[len(before) :]
    return working_space


def _config(where: str) -> ocio.Config:
    try:
        return ocio.Config.CreateFromFile(where)
    except (ocio.Exception, ocio.ExceptionMissingFile) as error:
        raise RequestError(
            f"The OpenColorIO config {where} can't be read: {error}.", "Give a config file, or a built-in one such as ocio://default."
        ) from None


def _space_in(config: ocio.Config, where: str, name: str, working: bool = False) -> ocio.ColorSpace:
    """A space by role, then by name or alias; a working space also by what Blender and Nuke call it. Raises RequestError."""
    bare = _bare(name) if working else name
    roles = {role.lower(): space for role, space in config.getRoles()}
    for called in (bare, _LINEAR.get(bare.lower(), bare)) if working else (bare,):
        space = config.getColorSpace(roles.get(called.lower(), called))
        if space is not None:
            return space
    raise RequestError(
        f"The OpenColorIO config {where} has no role or colour space {bare}.",
        f"Its spaces: {', '.join(config.getColorSpaceNames())}.",
    )
