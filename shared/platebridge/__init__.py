# SPDX-License-Identifier: Apache-2.0
"""The thin client of Platebridge, and everything both sides agree on.

Runs inside Blender and Nuke: Python 3.9 to 3.13, needs pyzmq and msgpack only. Must not know numpy, torch, bpy or nuke.
"""

__version__ = "0.1.0"
