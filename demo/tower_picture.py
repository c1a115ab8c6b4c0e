# SPDX-License-Identifier: GPL-3.0-or-later
"""china.jpg taken apart: what is tower, what stands before it, what was behind it, and how far away everything is.

Photograph: "china.jpg" by danielbuechele, CC BY 2.0, as shipped in scikit-learn's wheel. The outlines were drawn by hand
on this picture (pixels, x right, y down); their edges are then found in the picture itself. Knows nothing of bpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from sklearn.neighbors import KNeighborsClassifier

from blender_addon.collapse.clean_plate import difference_matte, grow, linear_to_srgb, membrane_fill, push_colours, srgb_to_linear

CREDIT = "Photograph china.jpg: danielbuechele, CC BY 2.0 (from scikit-learn)"

# fmt: off
_TOWER = [
    (196, 30), (199, 28), (212, 28), (216, 32), (214, 45), (217, 54), (217, 61), (220, 64), (228, 73), (240, 82), (252, 91),
    (260, 95),
    (263, 93), (268, 98), (281, 102), (284, 107), (291, 109), (294, 104), (300, 110), (319, 116), (321, 124), (317, 129),
    (307, 137), (297, 141),
    (295, 147), (295, 161), (304, 162), (306, 160), (312, 166), (329, 171), (332, 178), (326, 184), (321, 187), (320, 226),
    (329, 226),
    (329, 237), (325, 239), (331, 239), (337, 246), (351, 249), (354, 257), (350, 262), (342, 269), (342, 305), (350, 307),
    (350, 315), (354, 318),
    (357, 323), (371, 330), (374, 334), (373, 339), (363, 347), (352, 366), (341, 373), (334, 379), (326, 382), (326, 427),
    (60, 427),
    (61, 355), (55, 345), (55, 338), (65, 329), (73, 324), (75, 330), (77, 318), (77, 309), (79, 304), (79, 279), (71, 278),
    (62, 275), (59, 267),
    (65, 260), (68, 250), (83, 246), (87, 242), (92, 242), (93, 247), (92, 240), (92, 232), (96, 231), (97, 191), (91, 189),
    (81, 183), (80, 178),
    (85, 172), (84, 167), (105, 164), (112, 158), (118, 162), (118, 142), (109, 140), (101, 134), (91, 132), (94, 121), (97, 118),
    (92, 115), (96, 110),
    (96, 105), (115, 105), (117, 100), (124, 96), (128, 101), (140, 97), (155, 92), (168, 84), (180, 75), (188, 67), (192, 63),
    (192, 57), (197, 48), (194, 32),
]
# between columns one sees through the galleries
_OPENINGS = [
    [(103, 193), (111, 193), (111, 222), (103, 222)],
    [(306, 190), (319, 190), (319, 218), (306, 222)],
    [(83, 284), (108, 284), (108, 306), (84, 308)],
    [(307, 276), (340, 266), (340, 296), (310, 312)],
]
# what stands before the tower and its dust: outlines of the trees, from the left
_TREES = {
    "left": [(-1, 130), (8, 180), (22, 182), (40, 190), (46, 205), (66, 213), (76, 228), (70, 248), (55, 246), (38, 262),
             (20, 280), (12, 285),
             (22, 295), (25, 315), (40, 322), (52, 330), (60, 342), (0, 420), (-1, 428)],
    "bush": [(-1, 300), (22, 318), (42, 322), (56, 334), (62, 347), (70, 349), (80, 343), (90, 341), (100, 342), (108, 338),
             (116, 333), (127, 332), (137, 329),
             (146, 330), (150, 337), (158, 342), (162, 348), (168, 357), (182, 360), (192, 361), (200, 363), (205, 371),
             (213, 380), (217, 386), (228, 387), (237, 388),
             (242, 392), (254, 393), (272, 393), (280, 397), (287, 403), (292, 411), (298, 416), (302, 428), (-1, 428)],
    "twigs": [(297, 362), (304, 358), (312, 361), (320, 368), (329, 371), (338, 374), (338, 392), (330, 396), (322, 392),
              (312, 397), (303, 396), (297, 388), (303, 378)],
    "right bush": [(318, 428), (322, 405), (328, 390), (336, 376), (342, 370), (352, 362), (360, 353), (366, 346), (373, 339),
                   (379, 333), (380, 322), (392, 318), (404, 314),
                   (416, 308), (432, 304), (446, 300), (462, 291), (482, 287), (490, 294), (505, 294), (524, 279), (532, 271),
                   (548, 274), (556, 290), (563, 310), (640, 330), (641, 428)],
    "pine": [(545, 222), (552, 208), (566, 204), (574, 170), (585, 150), (597, 137), (615, 135), (630, 146), (641, 160),
             (641, 428), (560, 428), (556, 300), (548, 268), (552, 250)],
}
# All in one row: dust between two of them would be cut along an outline that the photograph doesn't show.
_TREE_METRES = 30.0
# fmt: on
_SHORE, _WATER, _BANK = 199, 243, 340
"""Rows: even sky above the first, far shore down to the second, open water to the third, trees below."""
_FOLD = (345, 424)
"""Columns of far shore that are in plain sight."""


@dataclass
class Picture:
    """All (height, width[, 3]); colours scene-linear Rec.709 float64, mattes 0..1.

    plate; clean: the plate without the tower; tower: coverage of the tower at rest, counting as full what trees hide;
    trees: coverage of what stands in front; own: the tower's colours pushed past its edges and under the trees;
    tree_colours: likewise for the trees; deep: the tower some pixels inside
    its outline, where its inside may show; depth_behind: metres of everything but the tower (inf is sky); tree_depth.
    """

    plate: np.ndarray
    clean: np.ndarray
    tower: np.ndarray
    trees: np.ndarray
    own: np.ndarray
    tree_colours: np.ndarray
    depth_behind: np.ndarray
    tree_depth: np.ndarray
    deep: np.ndarray


def take_apart(horizon: float, focal_px: float, eye_above_lake: float = 75.0, seed: int = 3) -> Picture:
    """The photograph's parts. `horizon`: pixel row. Deterministic."""
    display = load_sample_image("china.jpg").astype(float) / 255.0
    plate = srgb_to_linear(display)
    height, width = display.shape[:2]
    tree_area = np.logical_or.reduce([_filled(points, width, height) for points in _TREES.values()])
    tower_area = _filled(_TOWER, width, height)

    trees = _tree_matte(display, tree_area, tower_area)
    clean_display = _behind(display, tower_area, trees, seed)
    own_solid = grow(tower_area, -4) & ~grow(trees > 0.02, 2) & ~_openings(width, height, 3)
    own = push_colours(display, own_solid, 40)
    tower = _tower_matte(display, clean_display, own, tower_area, width, height)
    own = _own_colours(display, clean_display, own, tower, trees)
    tree_colours = push_colours(display, trees > 0.98, 8)
    deep = (grow(tower_area, -6) & ~_openings(width, height, 3)).astype(float)
    depth, tree_depth = _depths(tree_area, horizon, focal_px, eye_above_lake)
    return Picture(
        plate, srgb_to_linear(clean_display), tower, trees, srgb_to_linear(own), srgb_to_linear(tree_colours), depth, tree_depth, deep
    )


def _filled(points, width: int, height: int) -> np.ndarray:
    """A polygon as (height, width) bool; True where most of the pixel is inside."""
    big = Image.new("L", (width * 4, height * 4))
    ImageDraw.Draw(big).polygon([((x + 0.5) * 4, (y + 0.5) * 4) for x, y in points], fill=255)
    return np.asarray(big.resize((width, height), Image.BOX)) > 127


def _openings(width: int, height: int, grown: int = 0) -> np.ndarray:
    return grow(np.logical_or.reduce([_filled(points, width, height) for points in _OPENINGS]), grown)


def _tree_matte(display: np.ndarray, area: np.ndarray, tower_area: np.ndarray) -> np.ndarray:
    """Coverage of the trees: sure inside and outside the drawn outlines, by colour and place in the band between.

    Nearest neighbours in colour and place vote (the idea of KNN matting, Chen, Li and Tang 2013, without its solve).
    """
    height, width = area.shape
    band = grow(area, 5) & ~grow(area, -6)
    # foliage against sky and water is see-through deep inside: there colour alone decides
    pale = (display.min(-1) > 0.5) & ~grow(tower_area, 3)
    y, x = np.mgrid[0:height, 0:width]
    features = np.concatenate([display, display.mean(-1, keepdims=True), np.stack([x, y], -1) / 160.0], -1)
    rim = grow(area, 16) & ~grow(area, -22)
    known = rim & ~band & ~pale
    vote = KNeighborsClassifier(15, weights="distance").fit(features[known], area[known])
    alpha = area.astype(float)
    alpha[band] = vote.predict_proba(features[band])[:, 1]
    sharp = np.clip((alpha - 0.2) / 0.6, 0, 1)
    sky = membrane_fill(display, grow(area | tower_area, 4))
    leaf = np.clip(difference_matte(display, sky, np.full(3, 0.18)) * 1.25, 0, 1)
    open_air = ~grow(tower_area, 2)
    lake_side = open_air & (grow(area, 5)) & (y < 345)
    return np.where(lake_side, np.where(area | (leaf > 0.5), leaf, 0.0) * grow(area, 5), sharp)


def _behind(display: np.ndarray, tower_area: np.ndarray, trees: np.ndarray, seed: int) -> np.ndarray:
    """The picture without the tower: a fitted sky with the photograph's grain, patches of shore, lake and trees below."""
    hole = grow(tower_area, 7)
    height, width = hole.shape
    rows, columns = np.arange(height)[:, None], np.arange(width)
    sky = _sky(display, hole, trees, seed)
    # open water first, with no tree as a source; else one bush repeats up to the shore
    lake = _patches(display, hole, grow(trees > 0.05, 3) | (columns < 120), slice(_WATER - 14, _BANK + 14), seed)
    # the far shore must stay level, and patches climb: unfold the strip right of the tower like a paper row instead
    fold = (columns - _FOLD[0]) % (2 * (_FOLD[1] - _FOLD[0]))
    shore = display[:, _FOLD[0] + np.minimum(fold, 2 * (_FOLD[1] - _FOLD[0]) - 1 - fold)]
    down = np.clip((rows - (_WATER - 10)) / 10.0, 0, 1)[..., None]
    below = np.where(hole[..., None], shore * (1 - down) + lake * down, display)
    # the near shore on the left goes on for a little behind the tower: folded over, fading out
    edge = 52
    fade = np.clip((edge + 40 - columns) / 30.0, 0, 1) * (rows > 232) * hole
    below += fade[..., None] * (display[:, np.clip(2 * edge - columns, 0, width - 1)] - below)
    below = _even_out(below, display, hole, trees)
    bank = _BANK + 5 * np.sin(columns / 19.0) + 3 * np.sin(columns / 7.3)
    below = _patches(below, hole & (rows >= bank), np.zeros_like(hole), slice(_BANK - 60, height), seed)
    blend = np.clip((rows - (_SHORE - 10)) / 12.0, 0, 1)[..., None]
    return np.where(hole[..., None], sky * (1 - blend) + below * blend, display)


def _patches(display: np.ndarray, hole: np.ndarray, no_source: np.ndarray, rows: slice, seed: int) -> np.ndarray:
    from patchmatch import patch_match

    patch_match.set_random_seed(seed)
    image = np.ascontiguousarray((display[rows] * 255 + 0.5).astype(np.uint8))
    aside = no_source.copy()
    aside[:, 545:] = True  # the dark pine is no source either
    result = display.copy()
    result[rows] = patch_match.inpaint(image, hole[rows], global_mask=(aside & ~hole)[rows], patch_size=5) / 255.0
    return result


def _sky(display: np.ndarray, hole: np.ndarray, trees: np.ndarray, seed: int) -> np.ndarray:
    """A cubic surface through the sky around the hole, and a membrane for what it misses: no ghost, no band at the horizon."""
    height, width = hole.shape
    y, x = np.mgrid[0:height, 0:width] / 200.0
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], -1)
    seen = ~hole & (trees < 0.01) & (np.arange(height)[:, None] < _SHORE) & (np.arange(width) < 440)
    surface = terms @ np.linalg.lstsq(terms[seen], display[seen], rcond=None)[0]
    rows = slice(0, _SHORE + 4)
    missed = membrane_fill((display - surface)[rows], ~seen[rows])
    grain = np.random.default_rng(seed).normal(0, 0.004, (height, width, 1))
    result = surface + grain
    result[rows] += missed
    return result


def _even_out(filled: np.ndarray, display: np.ndarray, hole: np.ndarray, trees: np.ndarray) -> np.ndarray:
    """Patches come from the bright right; row by row a ramp takes the fill's level to what is left and right of the hole."""
    result = filled.copy()
    rows = np.arange(_SHORE - 12, _BANK + 12)
    steps = np.zeros((len(rows), 2, 3))
    ends = np.zeros((len(rows), 2), int)
    known = np.zeros((len(rows), 2))
    for i, row in enumerate(rows):
        inside = np.flatnonzero(hole[row])
        ends[i] = inside[0], inside[-1]
        for side, (edge, way) in enumerate(((inside[0], 1), (inside[-1], -1))):
            outer = edge - way * np.arange(1, 9)
            outer = outer[(trees[row, outer] < 0.02) & (display[row, outer].min(-1) > 0.5)]  # water and haze alone
            if len(outer) >= 4:
                steps[i, side] = np.median(display[row, outer], 0) - np.median(filled[row, edge + way * np.arange(24)], 0)
                known[i, side] = 1.0
    kernel = np.exp(-0.5 * (np.arange(-24, 25) / 8.0) ** 2)
    for side in (0, 1):
        weight = np.convolve(known[:, side], kernel, "same") + 1e-6
        for band in range(3):
            steps[:, side, band] = np.convolve(steps[:, side, band] * known[:, side], kernel, "same") / weight
    for i, row in enumerate(rows):
        t = np.linspace(0, 1, ends[i, 1] - ends[i, 0] + 1)[:, None]
        result[row, ends[i, 0] : ends[i, 1] + 1] += steps[i, 0] * (1 - t) + steps[i, 1] * t
    return np.clip(result, 0.0, 1.0)


def _tower_matte(display, clean, own, area, width, height) -> np.ndarray:
    """Coverage of the tower: drawn inside, found by difference along the outline and in the openings."""
    edge = grow(area, 1) & ~grow(area, -4)
    soft = difference_matte(display, clean, own)
    alpha = np.where(edge | _openings(width, height, 1), np.clip((soft - 0.08) / 0.84, 0, 1), area.astype(float))
    return np.where(grow(area, 1), alpha, 0.0)


def _own_colours(display, clean, pushed, tower, trees) -> np.ndarray:
    """The tower's colours with nothing of the sky in them: unmixed at soft edges, pushed outward beyond."""
    share = np.clip(tower, 0.3, 1.0)[..., None]
    unmixed = np.clip((display - (1 - share) * clean) / share, 0.0, 1.0)
    trust = np.clip((tower - 0.4) / 0.4, 0, 1)[..., None] * (trees < 0.02)[..., None]
    return unmixed * trust + pushed * (1 - trust)


def _depths(tree_area, horizon, focal_px, eye_above_lake) -> tuple[np.ndarray, np.ndarray]:
    """Metres of everything but the tower: inf above the horizon, the lake's plane below, trees by eye."""
    height, width = tree_area.shape
    rows = np.arange(height)[:, None] + 0.5
    plane = np.where(rows > horizon + 2, eye_above_lake * focal_px / np.maximum(rows - horizon, 1e-6), np.inf)
    depth = np.broadcast_to(plane, (height, width)).copy()
    return depth, np.where(grow(tree_area, 6), _TREE_METRES, np.inf)


__all__ = ["CREDIT", "Picture", "linear_to_srgb", "take_apart"]
