# SPDX-License-Identifier: Apache-2.0
"""`python -m platebridge_server` is the command `platebridge`."""

from .cli import main

if __name__ == "__main__":
    main()
