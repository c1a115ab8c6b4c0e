# SPDX-License-Identifier: Apache-2.0
"""With a window only: the node's place in the menu."""

import nuke

nuke.menu("Nodes").addMenu("Platebridge").addCommand("Platebridge", "nuke.createNode('Platebridge')")
