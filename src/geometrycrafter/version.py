"""Which version of the program this is."""

VERSION = "0.2.0"
"""The packaging reads it here."""


def program_version() -> str:
    """As in ``0.2.0``, of the sources that run."""
    return VERSION
