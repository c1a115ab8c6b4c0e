# SPDX-License-Identifier: GPL-3.0-or-later
"""The two shots of `make demo`: a photograph that collapses, and a house of bricks. They are made here, not shipped."""
