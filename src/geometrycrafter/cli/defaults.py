"""Defaults in the help, as one would write them."""

from __future__ import annotations

import argparse


class DefaultsFormatter(argparse.HelpFormatter):
    """Adds the default to what an option's help says, where there is one and the help doesn't name it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help, action.default
        unsaid = default is None or default is False or default in ("", [], argparse.SUPPRESS)
        if text is None or unsaid or "(default" in text:
            return text
        written = "x".join(str(side) for side in default) if isinstance(default, tuple) else str(default)
        return f"{text} (default: {written.replace('%', '%%')})"
