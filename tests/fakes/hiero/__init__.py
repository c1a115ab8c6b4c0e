# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for Hiero's Python: the names of the published stubs (15.0v1, github.com/sisoe24/nuke-python-stubs), and no other."""
