# SPDX-License-Identifier: Apache-2.0
"""nuke -t platebridge_selftest.py [report.txt]: see platebridge_nuke/selftest.py."""

import sys

from platebridge_nuke.selftest import main

sys.exit(main(sys.argv[1:]))
