# SPDX-License-Identifier: Apache-2.0
"""What proves the figures: `make bench`. Medians, ratios side by side in one run; no test depends on a time."""
