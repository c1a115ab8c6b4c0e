# SPDX-License-Identifier: GPL-3.0-or-later
"""A building in a plate falls down: pieces, rigid bodies, keys, and the plate projected on them.

The way of a collapse, one module each, every one usable alone:
  camera_match  the camera that took the plate
  convex        convex solids and the one operation on them, the cut by a plane
  fracture      solids -> pieces, by Voronoi seeds inside each
  contacts      which pieces touch, and over what area: what glue needs
  bodies        pieces + a plan of releases -> where every piece is in every frame (Blender's Bullet)
  debris        chips that fly off where it breaks (ballistic, no solver)
  keys          placements -> keyframes on the visible objects
  projection    the plate as the pieces' material, exact where nothing has moved
  clean_plate   what stands behind: fills, mattes, edges
Only numpy, bpy and the standard library. Knows nothing of servers, takes, guides or the sequencer.
"""
