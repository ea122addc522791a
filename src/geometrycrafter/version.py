"""Which version of the program this is."""

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The installed package's; ``0+unknown`` where it runs from a folder of sources."""
    try:
        return version("geometrycrafter")
    except PackageNotFoundError:
        return "0+unknown"
