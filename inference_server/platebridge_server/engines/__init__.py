# SPDX-License-Identifier: Apache-2.0
"""Engines run jobs: one worker process per device (local), later many machines (ray). They know no clients' sockets and no pixels."""
