# SPDX-License-Identifier: Apache-2.0
"""Engines run jobs: one worker process per device here (local), many machines later (ray). They know no sockets to clients and no pixels."""
