"""``python -m geometrycrafter``, and the program of that name."""

from __future__ import annotations

import sys


def main() -> int:
    """Load the commands and run one; Ctrl-C while they are loaded ends without a traceback, too."""
    try:
        from geometrycrafter.cli.main import main as run
    except KeyboardInterrupt:
        print("stopped; nothing was begun.", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
