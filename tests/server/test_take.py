# SPDX-License-Identifier: Apache-2.0
"""What a take shows and says of itself."""

import json

import numpy as np
import pytest
from platebridge_server import take

av = pytest.importorskip("av")


@pytest.mark.parametrize(
    ("linear", "coded"), [(0.0, 0), (1.0, 255), (0.18, 118), (0.002, 7), (9.0, 255), (-1.0, 0), (np.nan, 0), (np.inf, 255)]
)
def test_the_eye_sees_scene_linear_through_the_srgb_curve(linear, coded):
    assert take.display(np.full((4, 4, 3), linear, np.float32))[0, 0, 0] == coded


@pytest.mark.parametrize(("size", "shown"), [((37, 51), (36, 52)), ((1080, 1920), (540, 960)), ((16, 16), (16, 16)), ((2, 4000), (2, 960))])
def test_a_preview_is_small_and_even(size, shown):
    picture = take.display(np.zeros((*size, 3), np.float32))
    assert picture.shape[:2] == shown


def test_a_picture_is_made_smaller_in_light_not_in_code():
    checker = np.indices((4, 1920)).sum(0) % 2 * np.ones((3, 1, 1))
    assert abs(int(take.display(checker.transpose(1, 2, 0).astype(np.float32))[0, 100, 0]) - 188) <= 1


def test_a_slate_is_burned_into_the_lower_edge_alone():
    picture = np.full((270, 480, 3), 100, np.uint8)
    marked = take.slate(picture, "tower  ab12cd34  1001")
    assert (marked[-30:] != 100).any() and (marked[:-40] == 100).all() and (picture == 100).all()


@pytest.mark.parametrize("fps", [24.0, 23.976, 25.0])
def test_a_movie_is_written_a_picture_at_a_time(tmp_path, fps):
    held = []

    def pictures():
        for at in range(12):
            held.append(at)
            yield np.full((64, 96, 3), at * 20, np.uint8)

    take.preview_mp4(pictures(), fps, tmp_path / "preview.mp4")
    with av.open(str(tmp_path / "preview.mp4")) as movie:
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in movie.decode(video=0)]
        assert float(movie.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-4)
    assert levels == pytest.approx([at * 20 for at in range(12)], abs=4)


def test_a_picture_of_odd_shape_fits_a_small_png():
    assert take.png(np.zeros((90, 1000, 3), np.uint8), 320).startswith(b"\x89PNG")


def test_versions_name_what_the_pixels_went_through():
    import torch

    found = take.versions()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert {"platebridge", "python", "numpy", "OpenImageIO"} <= set(found) and "absent" not in found.values()


def test_the_eye_sees_an_anamorphic_plate_desqueezed():
    """A pixel twice as wide as high: the picture is twice as wide, and a circle in it is round."""
    rows, columns = np.mgrid[0:60, 0:40].astype("f4")
    disc = (((columns - 19.5) * 2) ** 2 + (rows - 29.5) ** 2 < 20**2).astype("f4")
    seen = take.display(np.repeat(disc[..., None], 3, -1), pixel_aspect=2.0)
    assert seen.shape == (60, 80, 3)
    lit = seen[..., 0] > 128
    assert abs(int(lit.any(0).sum()) - int(lit.any(1).sum())) <= 2
    black = np.zeros((60, 40, 3), "f4")
    assert take.display(black, 40, 2.0).shape == (30, 40, 3) and take.display(black).shape == (60, 40, 3)


def test_somebodys_own_guide_is_given_no_source_type(tiny_shot):
    from dataclasses import replace

    request = tiny_shot.request()
    own = replace(request, inputs=replace(request.inputs, guide=request.inputs.plate))
    card = {"trained": False}
    ours, theirs = (take.labels("guide", one, "7" * 32, card) for one in (request, own))
    assert ours["Iptc4xmpExt:DigitalSourceType"].endswith("/algorithmicMedia") and "xmp" in ours
    assert not {"Iptc4xmpExt:DigitalSourceType", "xmp"} & set(theirs) and theirs["platebridge:kind"] == "guide"
    assert "xmp" in take.labels("comp", own, "7" * 32, card)
    told = [json.loads(document(one, {"trained": trained}))["digital_source_type"] for one in (request, own) for trained in (True, False)]
    assert set(told[0]) - set(told[2]) == {"guide"} and told[1]["guide"] == ours["Iptc4xmpExt:DigitalSourceType"]
    assert told[2]["effect"].endswith("/trainedAlgorithmicMedia")


def test_an_effect_that_is_somebodys_own_guide_and_no_more_is_given_no_source_type_either(tiny_shot):
    """It may be a filmed element, a roto or generated; "composite" is true of a comp with any of them."""
    from dataclasses import replace

    request = tiny_shot.request()
    own, card = replace(request, inputs=replace(request.inputs, guide=request.inputs.plate)), {"trained": False}
    assert not {"Iptc4xmpExt:DigitalSourceType", "xmp"} & set(take.labels("effect", own, "7" * 32, card))
    types = json.loads(document(own, card))["digital_source_type"]
    assert set(types) == {"comp", "preview"} and types["comp"].endswith("/composite")


def document(request, card, **more):
    """take.json of a take with no files yet."""
    return take.document(request, "7" * 32, card, files={}, warnings=[], seconds={}, origin=None, device="cpu", **more)


def test_a_comp_over_what_a_model_made_is_one_whatever_made_the_effect(tiny_shot):
    plain, over = (json.loads(document(tiny_shot.request(), {"trained": False}, over_a_model=is_)) for is_ in (False, True))
    for kind in ("comp", "preview"):
        assert plain["digital_source_type"][kind].endswith("/composite")
        assert over["digital_source_type"][kind].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert over["digital_source_type"]["effect"].endswith("/algorithmicMedia")
