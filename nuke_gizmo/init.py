# SPDX-License-Identifier: Apache-2.0
"""Found by Nuke on NUKE_PATH, with a window and without. Puts the package on the path; connects to nothing."""

import os

import nuke

nuke.pluginAddPath(os.path.dirname(os.path.abspath(__file__)).replace("\\", "/"), addToSysPath=True)
