# SPDX-License-Identifier: Apache-2.0
"""Nuke Studio and Hiero, on a stand-in of the published names: a take on a track of its own, or as a version of the shot's clip."""

from __future__ import annotations

import pytest


@pytest.fixture
def studio(nuke, wired, tmp_path, write_exr):
    """(node, sequence, the shot's item): frames 1001-1004 of the plate at 200-203 on the timeline, with the node's take 1001-1004."""
    import hiero.core as core
    import hiero.ui as ui
    import numpy as np

    nuke.env["studio"] = True
    node, shot = wired
    source = core.MediaSource(shot.patterns["plate"].replace("####", "%04d"))
    source._start = 1001
    clip = core.Clip(source)
    core.BinItem(clip)
    sequence, track = core.Sequence("edit"), core.VideoTrack("Plates")
    sequence.addTrack(track)
    item = track.createTrackItem("sh010")
    item.setSource(clip)
    item.setTimes(200, 203, 0, 3)
    track.addTrackItem(item)
    take = tmp_path / "takes" / "shot_010" / "take_0001"
    take.mkdir(parents=True)
    for frame in range(1001, 1005):
        write_exr(take / ("comp.%d.exr" % frame), np.zeros((4, 4, 3)), ("R", "G", "B"))
    node["take"].setValue(take.as_posix())
    ui.sequence = sequence
    yield node, sequence, item
    ui.sequence = None


def times(item):
    return item.timelineIn(), item.timelineOut(), item.sourceIn(), item.sourceOut()


def test_take_lies_over_the_shot_on_a_track_of_its_own_frame_on_frame(studio):
    from platebridge_nuke import node as buttons

    node, sequence, _ = studio
    buttons.to_timeline(node)
    assert node["status"].value() == "take_0001 lies on the track Platebridge."
    laid = sequence.videoTracks()[1].items()[0]
    assert times(laid) == (200, 203, 0, 3) and laid.name() == "take_0001 comp"
    assert laid.source().mediaSource().fileinfos()[0].filename().endswith("take_0001/comp.%04d.exr")
    assert sequence.project().undo == ["Platebridge take"] and len(sequence.project().clipsBin().items()) == 1
    buttons.to_timeline(node)  # again: nothing is written over
    assert [track.name() for track in sequence.videoTracks()] == ["Plates", "Platebridge", "Platebridge 2"]


@pytest.mark.parametrize(
    "shown, taken, wanted",
    [
        ((200, 203, 0, 3), (1002, 1003), (201, 202, 0, 1)),  # a take of the middle
        ((200, 201, 2, 3), (1001, 1004), (200, 201, 2, 3)),  # a clip that shows the plate's end
        ((200, 202, 0, 2), (1002, 1004), (201, 202, 0, 1)),  # a take that goes on behind the clip
        ((200, 209, 2, 11), (1001, 1004), (200, 201, 2, 3)),  # a clip that begins in the take and goes on behind it
        ((200, 209, 0, 9), (1002, 1003), (201, 202, 0, 1)),  # a clip around the take
    ],
)
def test_plate_and_take_show_the_same_frame_wherever_either_is_cut(studio, shown, taken, wanted):
    from pathlib import Path

    from platebridge_nuke import node as buttons

    node, sequence, item = studio
    item.setTimes(*shown)
    take = Path(node["take"].value())
    for frame in (1001, 1002, 1003, 1004):
        if not taken[0] <= frame <= taken[1]:
            (take / ("comp.%d.exr" % frame)).unlink()
    buttons.to_timeline(node)
    assert times(sequence.videoTracks()[1].items()[0]) == wanted


@pytest.mark.parametrize("laid_as", ["new track", "version of the shot's clip"])
@pytest.mark.parametrize("start, said", [(1101, "The clip shows 1101-1104"), (900, "The clip shows 900-903")])
def test_a_clip_and_a_take_that_share_no_frame_are_refused_and_nothing_is_left(studio, start, said, laid_as):
    from platebridge_nuke import node as buttons

    node, sequence, item = studio
    node["timeline_as"].setValue(laid_as)
    item.source().mediaSource()._start = start
    buttons.to_timeline(node)
    assert said + ", the take holds 1001-1004. Slip the clip" in node["status"].value()
    assert len(sequence.videoTracks()) == 1 and sequence.project().clipsBin().items() == () and sequence.project().undo == []


def test_over_a_clip_that_is_retimed_nothing_is_laid(studio):
    from platebridge_nuke import node as buttons

    node, sequence, item = studio
    item._speed = 2.0
    buttons.to_timeline(node)
    assert "clip sh010 is retimed: the take would not lie on its frames. Lay it as a version" in node["status"].value()
    assert len(sequence.videoTracks()) == 1 and sequence.project().undo == []
    node["timeline_as"].setValue("version of the shot's clip")
    buttons.to_timeline(node)
    assert node["status"].value() == "take_0001 is a version of sh010."


def test_take_becomes_a_version_of_the_shots_clip(studio):
    from platebridge_nuke import node as buttons

    node, sequence, item = studio
    node["timeline_as"].setValue("version of the shot's clip")
    buttons.to_timeline(node)
    assert node["status"].value() == "take_0001 is a version of sh010."
    assert item.currentVersion().item().mediaSource().fileinfos()[0].filename().endswith("comp.%04d.exr")
    assert len(sequence.videoTracks()) == 1


def test_the_shots_clip_is_found_by_its_plate_else_by_its_name(nuke, studio):
    from platebridge_nuke import node as buttons

    node, _, _ = studio
    node.setInput(0, None)
    buttons.to_timeline(node)
    assert "shows the plate or is called shot_010. Put" in node["status"].value()
    node["shot"].setValue("sh010")
    buttons.to_timeline(node)
    assert "lies on the track" in node["status"].value()


def test_the_plate_is_known_whatever_its_frame_numbers_digits(nuke):
    from platebridge_nuke import timeline

    assert timeline._same("sh010/plate.#####.exr", "sh010/plate.%05d.exr")
    assert not timeline._same("sh010/plate.####.exr", "sh010/plate.%05d.exr")


def test_without_a_timeline_the_button_is_hidden_and_says_so(nuke, wired, studio):
    import platebridge_nuke
    from platebridge_nuke import node as buttons

    node = studio[0]
    platebridge_nuke.on_create(node)
    assert node["to_timeline"].visible and not node["result_file"].visible
    nuke.env["studio"] = False
    platebridge_nuke.on_create(node)
    assert not node["to_timeline"].visible and not node["timeline_as"].visible
    buttons.to_timeline(node)
    assert "This Nuke has no timeline." in node["status"].value()
