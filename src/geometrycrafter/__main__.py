"""``python -m geometrycrafter``: the same as the program of that name."""

from __future__ import annotations

import sys

from geometrycrafter.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
