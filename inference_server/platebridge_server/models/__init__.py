# SPDX-License-Identifier: Apache-2.0
"""Models turn a shot and its guide into an effect. They never import sockets."""
