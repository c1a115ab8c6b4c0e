# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender's own habits ask of an extension: a tooltip on everything, everything in a menu (F3 finds nothing else), a word in Info."""

from __future__ import annotations

import importlib
import pkgutil

import bpy
import pytest


@pytest.fixture
def classes(addon):
    """Every class of the extension that Blender knows."""
    out = []
    for part in pkgutil.iter_modules(addon.__path__):
        module = importlib.import_module("blender_addon.%s" % part.name)
        out += [cls for cls in vars(module).values() if isinstance(cls, type) and getattr(cls, "is_registered", False)]
    return list(dict.fromkeys(cls for cls in out if cls.__module__.startswith("blender_addon")))


def own_properties(cls):
    rna = bpy.types.Operator.bl_rna if issubclass(cls, bpy.types.Operator) else bpy.types.PropertyGroup.bl_rna
    shown = cls.bl_rna.properties
    return [p for p in shown if p.identifier not in rna.properties and p.identifier not in ("rna_type", "name", "bl_idname")]


def test_every_property_has_a_tooltip_that_says_more_than_its_name(classes):
    kinds = [c for c in classes if issubclass(c, (bpy.types.Operator, bpy.types.PropertyGroup, bpy.types.AddonPreferences))]
    assert len(kinds) > 15
    told = [(cls, prop) for cls in kinds for prop in own_properties(cls)]
    assert len(told) > 60
    poor = [
        "%s.%s: %r" % (cls.__name__, prop.identifier, prop.description)
        for cls, prop in told
        if len(prop.description) < 15 or prop.description.lower() == prop.name.lower() or prop.description.endswith(".")
    ]
    assert not poor, "\n".join(poor)


def test_every_choice_has_a_tooltip(classes):
    poor = []
    for cls in classes:
        if issubclass(cls, (bpy.types.Operator, bpy.types.PropertyGroup)):
            for prop in (prop for prop in own_properties(cls) if prop.type == "ENUM"):
                untold = [item.identifier for item in prop.enum_items if not item.description]
                poor += ["%s.%s %s" % (cls.__name__, prop.identifier, name) for name in untold]
    assert not poor, "\n".join(poor)


def test_every_button_says_what_it_does_and_leaves_a_word_in_info(classes):
    for cls in classes:
        if issubclass(cls, bpy.types.Operator):
            assert len(cls.__doc__ or "") > 20 and not cls.__doc__.endswith("."), cls.__name__
            assert "REGISTER" in cls.bl_options or "INTERNAL" in cls.bl_options, cls.__name__


def test_every_button_is_in_the_menu_that_search_looks_through(classes):
    from blender_addon import live_action_operators

    shown = []

    class Layout:
        operator_context = ""

        def operator(self, name, **_):
            shown.append(name)

        def separator(self):
            pass

        def menu(self, name):
            shown.append(name)

    menu = type("Menu", (), {"layout": Layout()})
    live_action_operators.PLATEBRIDGE_MT_main.draw(menu, bpy.context)
    names = {cls.bl_idname for cls in classes if issubclass(cls, bpy.types.Operator) and cls.bl_idname.startswith("platebridge.")}
    assert {"platebridge." + name for name in live_action_operators.APART} <= names
    assert sorted(shown) == sorted(names - {"platebridge." + name for name in live_action_operators.APART})
    live_action_operators._in_render_menu(menu, bpy.context)
    assert "PLATEBRIDGE_MT_main" in shown
