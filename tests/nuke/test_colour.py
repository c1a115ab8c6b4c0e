# SPDX-License-Identifier: Apache-2.0
"""What the script says of colour goes into every request and take; the server knows the names."""

from __future__ import annotations

import pytest
from node_at_work import finish, press


@pytest.mark.parametrize(
    "item, name",
    [
        ("linear", "linear"),
        ("ACEScct\tColorspaces/ACES/ACEScct\t\tacescct", "ACEScct"),
        ("scene_linear (ACES - ACEScg)\tRoles/scene_linear", "ACES - ACEScg"),
        ("scene_linear\tscene_linear (linear)", "linear"),
        ("scene_linear\troles/scene_linear (ACES - ACEScg)\t\tworking", "ACES - ACEScg"),
        ("scene_linear (Linear Rec.709 (sRGB))", "Linear Rec.709 (sRGB)"),
        ("Linear (P3)\tUtility/Linear (P3)", "Linear (P3)"),
        ("scene_linear", "scene_linear"),
    ],
)
def test_a_menu_item_is_named_by_what_stands_before_its_first_tab_and_a_role_by_its_space(item, name):
    from platebridge_nuke.colour import plain_name

    assert plain_name(item) == name


def test_management_config_and_working_space_are_sent_with_the_take(nuke, wired, serve, monkeypatch):
    from platebridge.takes import read_take

    node, _ = wired
    root = nuke.root()
    root["colorManagement"].setValue("OCIO")
    root["OCIO_config"].setValue("custom")
    root["customOCIOConfigPath"].setValue("/show/config.ocio")
    root["workingSpaceLUT"].setValue("ACEScg\tACES/ACEScg")
    monkeypatch.setenv("OCIO", "/studio/config.ocio")
    job = press(node, serve().connection)
    finish(nuke, job)
    document = read_take(job.take).document
    assert document["request"]["settings"]["working_space"] == "OCIO: ACEScg"
    assert document["origin"]["colour"] == {
        "management": "OCIO",
        "config": "custom",
        "custom_config": "/show/config.ocio",
        "working_space": "ACEScg",
        "environment": "/studio/config.ocio",
    }


def test_a_role_that_the_script_keeps_without_its_space_is_sent_as_the_space_that_the_menu_shows(nuke):
    """A new script with an ACES config says `workingSpaceLUT scene_linear`, and no server knows what that is here."""
    from platebridge_nuke import colour

    items = ("ACEScct\tACES/ACEScct", "scene_linear\tscene_linear (ACES - ACEScg)")
    nuke.root()._knobs["workingSpaceLUT"] = knob = nuke.Enumeration_Knob("workingSpaceLUT", items[0], items)
    nuke.root()["colorManagement"].setValue("OCIO")
    for knob._value in (items[1], "scene_linear"):
        assert colour.working_space() == "OCIO: ACES - ACEScg" and colour.settings()["working_space"] == "ACES - ACEScg"


def test_the_server_knows_the_names_that_nuke_has_for_its_working_spaces():
    from platebridge_server.colour import find

    for sent in ("Nuke: linear", "OCIO: ACEScg", "OCIO: ACES - ACEScg"):
        find("display", working_space=sent)
