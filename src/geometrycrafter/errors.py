"""The one exception for input that the caller can put right."""

import re
import shutil
from pathlib import Path


class InputError(ValueError):
    """A file, flag or argument is at fault; the message is one sentence that names it and the remedy."""


class WriteError(InputError):
    """Output could not be written; what was written before is kept for ``--resume``."""


def reason(error: BaseException) -> str:
    """What an exception says, as a few words that fit into a sentence: its first line, without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):  # of each file that wasn't copied, one
        text = re.sub(r"^\[Errno \d+\] ", "", str(error.args[0][0][-1])).partition(": '")[0]
    return str(text).strip().splitlines()[0].rstrip(". ")[:200]


def how_to_install(extra: str) -> str:
    """The remedy where an optional package is missing; no index has the project, so it goes by the checkout.

    Args:
        extra: of ``pyproject.toml``, that has the package.
    """
    checkout = Path(__file__).parents[2]
    here = str(checkout) if (checkout / "pyproject.toml").is_file() else "the project's checkout"
    return f"run pip install '.[{extra}]' in {here}"


class Stopped(Exception):  # noqa: N818 (nothing is at fault)
    """Work that was asked to end has done so, and can be gone on with; the message says how.

    Args:
        message: a sentence without a full stop.
        number: of the signal that asked.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.status = 128 + number
        """What the program exits with, as if the signal itself had ended it."""
