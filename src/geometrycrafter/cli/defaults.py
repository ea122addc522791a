"""Defaults in the help, as one would write them, and flags that several commands have."""

from __future__ import annotations

import argparse
from typing import Annotated, Any

from geometrycrafter.settings import Range, argument

Threads = Annotated[int, Range(1, 1024)]


class DefaultsFormatter(argparse.HelpFormatter):
    """Adds the default to what an option's help says, where there is one and the help doesn't name it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help, action.default
        unsaid = default is None or default is False or default in ("", [], argparse.SUPPRESS)
        if text is None or unsaid or "(default" in text:
            return text
        written = "x".join(str(side) for side in default) if isinstance(default, tuple) else str(default)
        return f"{text} (default: {written.replace('%', '%%')})"


def add_threads(group: Any) -> None:
    """The flag of commands that compute for long; :func:`geometrycrafter.cores.use_threads` obeys it."""
    group.add_argument(
        "--threads",
        type=argument(Threads),
        metavar="N",
        help="of the processor (default: a core each, as far as affinity and a container's quota allow)",
    )
