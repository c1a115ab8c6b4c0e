# SPDX-License-Identifier: Apache-2.0
"""The one table of dials: every panel, knob, command option and check is made from it, never from a second list.

A dial is a leaf of the request tree (request.py) that an artist turns. `path` says where it lies.
"""
from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Dict, Tuple, Union

from .errors import RequestError

Value = Union[float, int, str, Tuple[float, float, float]]


@dataclass(frozen=True)
class Dial:
    """One dial. `kind`: "float", "int", "colour" (three scene-linear floats), "choice" or "text". `minimum` and `maximum` are hard; of a
    text they count characters."""

    name: str
    path: str
    label: str
    tooltip: str
    kind: str
    default: Value
    minimum: float = 0.0
    maximum: float = 1.0
    unit: str = ""
    choices: Tuple[str, ...] = ()
    first_row: bool = False  # one of the few that matter most: shown without unfolding
    still: str = ""  # why it can't change over a shot; "" means that it can (curves.py)

    def check(self, value: object) -> Value:
        """The value as the tree stores it. Raises RequestError with name, value and the range allowed."""
        if self.kind == "choice":
            if value not in self.choices:
                raise RequestError("%s = %r is not one of %s." % (self.name, value, ", ".join(self.choices)), "Choose one of them.")
            return str(value)
        if self.kind == "text":
            if not isinstance(value, str) or len(value) > self.maximum or any(ord(c) < 32 and c not in "\n\t" for c in value):
                raise RequestError("%s must be plain text of at most %g characters." % (self.name, self.maximum), "Shorten it.")
            if not is_text(value):
                raise RequestError("%s = %.80r is not in UTF-8." % (self.name, value), "Write it anew.")
            return " ".join(value.split())
        if self.kind == "colour":
            parts = [p for p in value.split(",")] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else []
            if len(parts) != 3:
                raise RequestError("%s = %r is not a colour." % (self.name, value), "Give three numbers, like 0.8,0.7,0.6.")
            return tuple(self._number(p) for p in parts)  # type: ignore[return-value]
        number = self._number(value)
        if self.kind == "int":
            if number != int(number):
                raise RequestError("%s = %r must be a whole number." % (self.name, value), "Give one from %s." % self._range())
            return int(number)
        return number

    def _number(self, value: object) -> float:
        try:
            number = float(value)  # type: ignore[arg-type]
        except OverflowError:  # a whole number of hundreds of digits
            number = math.inf
        except (TypeError, ValueError):
            raise RequestError("%s = %r is not a number." % (self.name, value), "Give one from %s." % self._range()) from None
        if not self.minimum <= number <= self.maximum:  # also refuses NaN
            said = "%s = %.12g is out of range." % (self.name, number)
            raise RequestError(said, "It goes from %s%s." % (self._range(), " " + self.unit if self.unit else ""))
        return number

    def _range(self) -> str:
        return "%.12g to %.12g" % (self.minimum, self.maximum)  # %g alone makes 2.14748e+09 of a seed's last


_PAINTED = "the model paints the frames of a window together"
_ALL = (
    Dial("amount", "guide.amount", "Amount", "How much dust bursts out: 0 is none, 1 is the collapse as measured, 3 buries the street", "float", 1.0, 0.0, 4.0, first_row=True),
    Dial("density", "guide.density", "Density", "How thick the dust is to look through: low is haze, high is a solid wall of cloud", "float", 1.0, 0.05, 8.0, first_row=True),
    Dial("speed", "guide.speed", "Speed", "How hard the dust is thrown outward at first", "float", 1.0, 0.0, 4.0, first_row=True),
    Dial("rise", "guide.rise", "Rise", "How much the cloud lifts: negative makes it hug the ground", "float", 0.3, -2.0, 4.0, first_row=True),
    Dial("spread", "guide.spread", "Spread", "How strongly the cloud swells where it is born; swelling makes the billows", "float", 1.0, 0.0, 4.0, first_row=True),
    Dial("turbulence", "guide.turbulence", "Turbulence", "How much the cloud breaks up into small swirls", "float", 1.0, 0.0, 4.0),
    Dial("billows", "guide.billows", "Billows", "How deep the creases between billows are: 0 leaves the cloud as round as its cells make it", "float", 0.8, 0.0, 1.0),
    Dial("wind", "guide.wind", "Wind", "Wind that carries the cloud off", "float", 0.0, 0.0, 40.0, "m/s"),
    Dial("wind_direction", "guide.wind_direction", "Wind to", "Where the wind blows to, seen from the camera of the first frame: 0 away from it, 90 to the right", "float", 90.0, -360.0, 360.0, "degrees"),
    Dial("debris", "guide.debris", "Debris", "How many chunks fly out", "int", 60, 0, 2000),
    Dial("debris_size", "guide.debris_size", "Debris size", "Size of the largest chunks", "float", 0.5, 0.01, 5.0, "m"),
    Dial("light", "guide.light", "Sun", "Brightness of the sun on the dust, against the plate's own light", "float", 1.0, 0.0, 20.0, first_row=True),
    Dial("ambient", "guide.ambient", "Sky light", "Brightness of the sky's light on the dust, against the plate's own light", "float", 1.0, 0.0, 20.0),
    Dial("sun_azimuth", "guide.sun_azimuth", "Sun from", "Where the sun stands, seen from the camera of the first frame: 0 behind the shot, 90 at the right, 180 behind the camera", "float", 120.0, -360.0, 360.0, "degrees"),
    Dial("sun_elevation", "guide.sun_elevation", "Sun height", "How high the sun stands above the horizon", "float", 35.0, 1.0, 90.0, "degrees"),
    Dial("tint", "guide.tint", "Dust colour", "Colour of the dust itself, scene-linear", "colour", (0.62, 0.56, 0.50), 0.0, 1.0),
    Dial("shadow", "guide.shadow", "Shadow", "How dark the dust's shadow falls on the plate: 0 leaves the plate untouched there", "float", 0.0, 0.0, 1.0),
    Dial("start_frame", "guide.start_frame", "Start frame", "Nothing is emitted before this frame; 0 means from the first sign of movement", "int", 0, -1000000, 1000000, still="it names one frame"),
    Dial("composition", "guide.composition", "Composition seed", "Another composition of the cloud; the model's seed changes its detail alone", "int", 0, 0, 2147483647, still="it chooses one cloud for the whole shot"),
    Dial("detail", "guide.detail", "Guide detail", "Cells along the longest side of a draft's simulation; all else has half as many again. More is slower and finer", "int", 112, 24, 192, still="the simulation's cells stay as they are from the first frame to the last"),
    Dial("seed", "model.seed", "Seed", "Another seed, another take: the same composition with other detail", "int", 0, 0, 2147483647, first_row=True, still="the noise is drawn once for the whole shot"),
    Dial("quality", "model.quality", "Quality", "Draft is quickest; final has the same cloud with finer billows; crisp takes more steps and adds fine grain", "choice", "final", choices=("draft", "final", "crisp"), first_row=True, still="the model works on all frames together"),
    Dial("texture", "model.texture", "Texture", "How much detail the built-in model draws into the dust: less is softer and calmer, 0 leaves the guide as it is, more is harsher", "float", 1.0, 0.0, 1.5, still="it is the model's, which works on all frames together"),
    Dial("prompt", "paint.prompt", "Prompt", "Your words, added to what the guide's dials say already: tell the finished picture, not what to do", "text", "", 0, 2000, first_row=True, still=_PAINTED),
    Dial("avoid", "paint.avoid", "Avoid", "What the picture must not have; empty: text, cartoon, blur and the like", "text", "", 0, 2000, still=_PAINTED),
    Dial("follow", "paint.follow", "Follow", "What leads the painting: 0 nothing, it is free; 0.5 the guide; 1 the plate itself, so that little changes", "float", 0.5, 0.0, 1.0, first_row=True, still=_PAINTED),
    Dial("led_by", "paint.led_by", "Led by", "How the guide is shown to the model: its dust over the plate, the depth of plate and dust, or as draft: as the built-in dust finishes it", "choice", "dust", choices=("dust", "depth", "draft"), still=_PAINTED),
    Dial("control", "paint.control", "Control", "How strongly the model keeps to what it is shown", "float", 1.0, 0.0, 2.0, still=_PAINTED),
    Dial("guidance", "paint.guidance", "Guidance", "How strongly the model keeps to the words; at 1 they are asked for once and the work is halved; 0: as the quality says", "float", 0.0, 0.0, 20.0, still=_PAINTED),
    Dial("steps", "paint.steps", "Steps", "Steps from noise to picture; 0: as the quality says", "int", 0, 0, 200, still=_PAINTED),
    Dial("rim", "paint.rim", "Rim", "How far beyond the guide the model may paint", "int", 24, 0, 512, "pixels", still=_PAINTED),
    Dial("curve", "paint.curve", "Colour curve", "How light is coded for the model: display for a stock model, a logarithm for a LoRA made for it, ocio for a space of the server's OpenColorIO config", "choice", "display", choices=("display", "acescct", "logc3", "log-gamma", "ocio"), still=_PAINTED),
    Dial("space", "paint.space", "OCIO space", "With the curve ocio: a colour space or role of the config that the server's OCIO variable names, or of the built-in ACES config", "text", "", 0, 200, still=_PAINTED),
    Dial("large", "paint.large", "Large crops", "Dust that takes more pixels than the model was made for: shrink paints it smaller, tiles paints it at full size in tiles that are blended in every step", "choice", "shrink", choices=("shrink", "tiles"), still=_PAINTED),
    Dial("skip", "paint.skip", "Skip", "Skips most of a step where its first block changed by less than this part since the step before: quicker, less exact; 0 never", "float", 0.0, 0.0, 1.0, still=_PAINTED),
    Dial("lora", "paint.lora", "LoRA", "LoRAs from the models' folder by name and strength: collapse:0.8, several with commas", "text", "", 0, 500, still=_PAINTED),
)
DIALS: Dict[str, Dial] = {dial.name: dial for dial in _ALL}


#: The models that ship. They paint no picture, so a panel that shows every dial asks them without a painter's.
BUILT_IN = ("dust", "guide")


def counting(model: str) -> Tuple[str, ...]:
    """The dials that a panel sends to a model: all of them, or all but those of painting. So an artist goes to and fro between a draft and a
    final with the prompt left standing."""
    return tuple(name for name, dial in DIALS.items() if model not in BUILT_IN or not dial.path.startswith("paint."))


def is_text(value: str) -> bool:
    """Whether it can be written down: a file's name that is not in UTF-8 comes from Python as text that can't (PEP 383)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def find(name: str) -> Dial:
    """The dial of that name. Raises RequestError that offers the nearest names."""
    if name in DIALS:
        return DIALS[name]
    near = difflib.get_close_matches(name, DIALS, n=3)
    raise RequestError("There is no dial called %r." % name, "Did you mean %s?" % " or ".join(near) if near else "The dials are: %s." % ", ".join(DIALS))
