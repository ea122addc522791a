"""``geometrycrafter completion``: what a shell wants to know to complete commands, flags and names of files."""

from __future__ import annotations

import argparse
import os
from typing import Any

from geometrycrafter.errors import InputError, how_to_install

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def add_parser(commands: Any) -> None:
    """Its flags."""
    parser = commands.add_parser(
        "completion",
        help="complete commands and flags in a shell",
        description="Say what a shell wants to know to complete commands, flags and files. In bash or zsh put "
        'eval "$(geometrycrafter completion bash)" into ~/.bashrc (or zsh, ~/.zshrc); in fish: '
        "geometrycrafter completion fish > ~/.config/fish/completions/geometrycrafter.fish.",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    """Print the shell's code.

    Raises:
        InputError: where argcomplete is not installed.
    """
    try:
        import argcomplete
    except ImportError as error:
        raise InputError(f"completion wants argcomplete; {how_to_install('completion')}.") from error
    print(argcomplete.shellcode(["geometrycrafter"], shell=args.shell))


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks what could follow, and end; nothing is loaded where none asks."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser)
