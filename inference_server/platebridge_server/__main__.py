# SPDX-License-Identifier: Apache-2.0
"""`python -m platebridge_server` is the command `platebridge`, and so is what is installed under that name."""

import sys


def main() -> None:
    """The entry point. What takes long to import comes within it: Ctrl-C meanwhile ends the command as it does later."""
    try:
        from .cli import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
