# SPDX-License-Identifier: Apache-2.0
"""Words for a picture model: what the guide's dials say of the dust, then the artist's own. They tell the finished picture.

A default for each preset follows from its dials, so a dial that is turned after it is in the words too. Knows dials; must not know models.
"""

from __future__ import annotations

from platebridge.request import GuideSettings

#: What a picture must not have, where the artist says nothing.
AVOID = "text, subtitles, watermark, cartoon, painting, computer game, blurred, frozen, flickering, low quality, compression artefacts"


def prompt(guide: GuideSettings, own: str) -> str:
    """The whole prompt, as take.json shows it."""
    words = "A building collapses. %s %s, %s%s. Live-action film footage, natural light, sharp detail, steady colours." % (
        _thickness(guide), _colour(guide), _movement(guide), _debris(guide),
    )  # fmt: skip
    return (words + " " + own).strip()


def avoided(own: str) -> str:
    return own or AVOID


def _thickness(guide: GuideSettings) -> str:
    much = guide.amount * guide.density
    if much <= 0.3:
        return "A thin veil of"
    return "Soft drifting clouds of" if much <= 0.8 else "Billowing clouds of" if much <= 1.8 else "A huge, dense, rolling wall of"


def _colour(guide: GuideSettings) -> str:
    red, green, blue = guide.tint
    bright, warm = (red + green + blue) / 3, (red - blue) / max(red + green + blue, 1e-6) * 3
    tone = "dark " if bright < 0.3 else "pale " if bright > 0.62 else ""
    return tone + (
        "reddish brick dust" if warm > 0.45 else "brownish dust" if warm > 0.22 else "grey concrete dust" if warm > -0.1 else "bluish dust"
    )


def _movement(guide: GuideSettings) -> str:
    if guide.speed <= 0.5:
        way = "trickling down slowly" if guide.rise < 0 else "rising slowly"
    elif guide.rise < -0.4:
        way = "surging low along the ground" if guide.speed > 1.8 else "rolling along the ground"
    else:
        way = "bursting outwards and billowing up" if guide.rise > 0.1 else "bursting outwards"
    return way + (" in a strong wind" if guide.wind >= 5 else "")


def _debris(guide: GuideSettings) -> str:
    if guide.debris < 5:
        return ""
    size = "large chunks of" if guide.debris_size >= 0.6 else "small pieces of" if guide.debris_size <= 0.3 else "chunks of"
    return ", %s%s debris flying out" % ("many " if guide.debris > 100 else "", size)
