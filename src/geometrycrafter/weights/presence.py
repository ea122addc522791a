"""What there is of the published weights on this machine: whole, in part, or not at all; and what a name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from geometrycrafter.errors import InputError
from geometrycrafter.weights.downloads import read_record
from geometrycrafter.weights.parts import PARTS, UNETS
from geometrycrafter.weights.places import PUBLISHED, UNDER_WAY, PublishedRepository, cache_folder, part_there


@dataclass(frozen=True)
class Presence:
    """Of a repository."""

    folder: Path
    there: tuple[str, ...]
    """Its pieces (networks) that are whole."""
    lacking: tuple[str, ...]
    begun: int
    """Bytes that a download has left so far."""

    @property
    def whole(self) -> bool:
        """Whether nothing is lacking."""
        return not self.lacking

    def told(self) -> str:
        """In words."""
        begun = f"; a download has {self.begun / 1e6:,.0f} MB so far" if self.begun else ""
        if self.whole:
            return f"whole, at {self.folder}"
        if self.there:
            return f"in part, at {self.folder}: {', '.join(self.there)}, without {', '.join(self.lacking)}{begun}"
        return f"not here; its place is {self.folder}{begun}"


def presence_of(published: PublishedRepository) -> Presence:
    """What there is of a repository in the cache, by names and, of what was downloaded, sizes."""
    root = cache_folder()
    folder = root / published.folder
    parts = {
        part.folder.split("/", 1)[1]: name
        for name, part in PARTS.items()
        if part.folder.startswith(f"{published.folder}/")
    }
    pieces = dict.fromkeys(pattern.split("/")[0] for pattern in published.files)
    there = {p: part_there(root, parts[p]) if p in parts else (folder / p).is_file() for p in pieces}
    for name, told in read_record(folder).get("files", {}).items():
        piece, file = name.split("/")[0], folder / name
        if piece in there and (not file.is_file() or file.stat().st_size != told.get("size")):
            there[piece] = False
    under_way = root / UNDER_WAY / published.folder
    begun = sum(file.stat().st_size for file in under_way.rglob("*") if file.is_file())
    whole, lacking = (tuple(p for p, here in there.items() if here == wanted) for wanted in (True, False))
    return Presence(folder, whole, lacking, begun)


def check_presence(published: PublishedRepository, patterns: tuple[str, ...]) -> None:
    """Look whether what was fetched is all that the networks want.

    Raises:
        InputError: where a network lacks its weights or its configuration.
    """
    presence, wanted = presence_of(published), {pattern.split("/")[0] for pattern in patterns}
    lacking = [piece for piece in presence.lacking if piece in wanted]
    if lacking:
        raise InputError(
            f"{published.repository}: what came lacks {', '.join(lacking)}, in part or whole; check HF_ENDPOINT "
            "and HF_HOME, and give the command again."
        )


def named(name: str) -> list[tuple[PublishedRepository, tuple[str, ...]]]:
    """Repositories, and patterns of their files, that a name stands for.

    Args:
        name: ``diffusion`` or ``deterministic`` (all that the variant needs), ``all``, or a repository, with its owner
            or without.

    Raises:
        InputError: for another.
    """
    if name in UNETS:
        others = tuple(f"{unet}/*" for variant, unet in UNETS.items() if variant != name)
        return [(p, tuple(f for f in p.files if not any(fnmatchcase(f, o) for o in others))) for p in PUBLISHED]
    found = [(p, p.files) for p in PUBLISHED if name in ("all", p.repository, p.folder)]
    if not found:
        names = ", ".join([*UNETS, "all", *(p.folder for p in PUBLISHED)])
        raise InputError(f"models download {name}: there is no such model; choose {names}.")
    return found
