# SPDX-License-Identifier: GPL-3.0-or-later
"""A capture from its plan, run to its end."""

from __future__ import annotations


def capture(plan):
    """The steps that it told, as (done, total)."""
    from blender_addon.capture import capture  # not before a test's Blender has the extension

    return list(capture(plan))
