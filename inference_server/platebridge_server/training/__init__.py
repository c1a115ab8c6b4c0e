# SPDX-License-Identifier: Apache-2.0
"""How our own model's data and weights are made, and how it is judged."""
