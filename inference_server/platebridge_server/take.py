# SPDX-License-Identifier: Apache-2.0
"""What a take says of itself: labels in every frame's header, take.json, and the preview for the eye.

Must not know sockets or how pixels were made.
"""

from __future__ import annotations

import fractions
import io
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import av
import numpy as np
import platebridge
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont
from platebridge.request import GenerateRequest

TAKE_VERSION = 1
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: IPTC's words for what each file is, by whether the model was trained; the mapping is ours, the words are theirs. Since September 2024
#: "compositeSynthetic" says that one of the elements is generative AI, and "composite" that any may or may not be: whose plate or guide
#: that is, only their owner knows.
_TRAINED = {"comp": "compositeWithTrainedAlgorithmicMedia", "effect": "trainedAlgorithmicMedia", "guide": "algorithmicMedia"}
_TRAINED["picture"] = _TRAINED["comp"]
_SIMULATED = {"comp": "composite", "effect": "algorithmicMedia", "guide": "algorithmicMedia"}
PREVIEW_WIDTH = 960
_PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "numpy", "OpenImageIO", "av")


def source_types(card: Mapping[str, Any], over_a_model: bool = False, own_guide: bool = False) -> Dict[str, str]:
    """IPTC's digital source type of comp, effect, guide and preview, as whole URIs. card: of the model that made them.

    over_a_model: the plate is itself what a trained model had a hand in, and so is a comp over it. own_guide: somebody else made the guide.
    What it is, only they know: it gets no type, nor does an effect that is that guide in another size and light.
    """
    trained = card.get("trained", True)
    words = dict(_TRAINED if trained else _SIMULATED)
    if over_a_model:
        words["comp"] = _TRAINED["comp"]
    if own_guide:
        words = {kind: word for kind, word in words.items() if kind not in (("guide",) if trained else ("guide", "effect"))}
    return {kind: _TERMS + word for kind, word in {**words, "preview": words["comp"]}.items()}


def labels(kind: str, request: GenerateRequest, take_id: str, card: Mapping[str, Any], over_a_model: bool = False) -> Dict[str, str]:
    """The header of one frame's file. kind: "comp", "effect", "guide" or "picture". A guide is no model's work and names none.
    over_a_model: of this frame's plate, as of `source_types`.

    The flat IPTC key is the name that OpenImageIO itself gives the property in formats that carry XMP; OpenEXR has no
    agreed place for XMP, so the packet lies in a plain string beside it.
    """
    source_type = source_types(card, over_a_model, request.inputs.guide is not None).get(kind, "")
    out = {
        "Iptc4xmpExt:DigitalSourceType": source_type,
        "xmp": _packet(source_type) if source_type else "",
        "platebridge:version": platebridge.__version__,
        "platebridge:kind": kind,
        "platebridge:take": take_id,
        "platebridge:shot": request.shot,
        "platebridge:request": request.hash(),
    }
    if kind != "guide":
        out["platebridge:model"] = request.model.name
        out["platebridge:weights"] = str(card.get("weights_sha256", ""))
    return {name: value for name, value in out.items() if value}


def document(
    request: GenerateRequest,
    take_id: str,
    card: Mapping[str, Any],
    *,
    files: Mapping[str, Tuple[str, Optional[int]]],
    warnings: List[Dict[str, Any]],
    seconds: Mapping[str, float],
    origin: Optional[Mapping[str, Any]],
    device: str,
    over_a_model: bool = False,
    facts: Optional[Mapping[str, Any]] = None,
) -> bytes:
    """take.json. files: name -> (SHA-256, bytes or None), every file of the take but take.json itself. seconds: by stage.

    origin: what the client says of itself. over_a_model: as of `source_types`. facts: what the work found out (working size, crop).
    """
    types = source_types(card, over_a_model, request.inputs.guide is not None)
    tree = {
        "version": TAKE_VERSION,
        "take_id": take_id,
        "shot": request.shot,
        "frames": {"first": request.frames.first, "last": request.frames.last},
        "request": request.to_dict(),
        "request_hash": request.hash(),
        "model": dict(card),
        "weights_sha256": card.get("weights_sha256", ""),
        "digital_source_type": types,
        "files": {name: {"sha256": sha, "size": size} for name, (sha, size) in sorted(files.items())},
        "software": versions(),
        "device": device,
        "origin": dict(origin or {}),
        "warnings": warnings,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        **dict(facts or {}),
    }
    return json.dumps(tree, indent=1, ensure_ascii=False).encode()


def versions() -> Dict[str, str]:
    """Ours and those of what the pixels went through."""
    out = {"platebridge": platebridge.__version__, "python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = "absent"
    return out


def _packet(uri: str) -> str:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><Iptc4xmpExt:DigitalSourceType>%s</Iptc4xmpExt:DigitalSourceType>'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>' % uri
    )


def display(linear: np.ndarray, width: int = PREVIEW_WIDTH, pixel_aspect: float = 1.0) -> np.ndarray:
    """Scene-linear (h, w, 3) to (h', w', 3) uint8 for the eye: at most `width` wide, even sides, clipped to the sRGB curve.

    pixel_aspect: how many times as wide as high a pixel is; the eye sees it desqueezed.
    """
    height, wide = linear.shape[0], linear.shape[1] * pixel_aspect
    scale = min(1.0, width / wide)
    size = max(2, round(wide * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
    light = np.fmin(np.fmax(linear.astype(np.float32, copy=False), np.float32(0)), np.float32(1))  # NaN is black
    if size != (light.shape[1], height):
        how = Image.Resampling.BOX if size[0] <= light.shape[1] and size[1] <= height else Image.Resampling.BILINEAR
        light = np.stack([np.asarray(Image.fromarray(light[..., i], "F").resize(size, how)) for i in range(3)], -1)
    return _SRGB[(light * np.float32(65535) + np.float32(0.5)).astype(np.uint16)]


def _srgb_codes() -> np.ndarray:
    """(65536,) uint8: of light in [0, 1], in steps of 1/65535, its eight-bit code on the sRGB curve. A step is at most .05 of a code."""
    light = np.linspace(0, 1, 65536)
    return (np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255 + 0.5).astype(np.uint8)


_SRGB = _srgb_codes()


def slate(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture, (h, w, 3) uint8, with a line of text burned in below: shot, take and frame. For previews alone."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(10, picture.shape[0] // 32))
    draw.text(
        (picture.shape[1] // 64 + 2, picture.shape[0] - 4),
        text,
        fill=(255, 255, 255),
        stroke_width=1,
        stroke_fill=(0, 0, 0),
        font=font,
        anchor="ls",
    )
    return np.asarray(image)


def png(picture: np.ndarray, width: int) -> bytes:
    """The PNG of a picture (h, w, 3) uint8, at most `width` wide."""
    image = Image.fromarray(picture)
    image.thumbnail((width, width), reducing_gap=1.0)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)  # a quarter of the time for a few per cent more
    return out.getvalue()


def preview_mp4(pictures: Iterator[np.ndarray], fps: float, path: Path) -> None:
    """Writes an mp4 of (h, w, 3) uint8 pictures of one size, one at a time. H.264 where this PyAV has it, else MPEG-4."""
    with av.open(str(path), "w", format="mp4") as box:
        stream: Optional[VideoStream] = None
        for picture in pictures:
            if stream is None:
                codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
                made = box.add_stream(codec, rate=fractions.Fraction(fps).limit_denominator(1001))
                assert isinstance(made, VideoStream)
                stream = made
                stream.height, stream.width, stream.pix_fmt = picture.shape[0], picture.shape[1], "yuv420p"
                stream.options = {"crf": "18", "preset": "veryfast"} if codec == "libx264" else {"qscale": "3"}
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                box.mux(packet)
        if stream is not None:
            for packet in stream.encode():
                box.mux(packet)
