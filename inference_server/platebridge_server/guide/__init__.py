# SPDX-License-Identifier: Apache-2.0
"""The guide: a coarse, physically moving blocking of the dust, made from the shot alone. Knows arrays and cameras; no sockets, no files."""
