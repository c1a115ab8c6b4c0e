# SPDX-License-Identifier: Apache-2.0
"""hiero.ui as far as a take needs it."""

sequence = None


def activeSequence():
    """The sequence that is open in the timeline, or None."""
    return sequence
