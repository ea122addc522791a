"""What a run makes for itself before it begins: the networks that its hub lacks, and clips that it renders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from geometrycrafter.cores import allowed_cores
from geometrycrafter.data.synthesis import synthesize
from geometrycrafter.errors import InputError
from geometrycrafter.files import appearing, explained
from geometrycrafter.training.config import LoopConfig
from geometrycrafter.weights.parts import PARTS, parts_of
from geometrycrafter.weights.places import part_there, resolve

SEED = 50_000_000
"""Of the first rendered clip: far from those that the embedded model was trained on and is judged by."""
WORLD = 2


def furnish(config: LoopConfig, say: Callable[[str], None]) -> tuple[str, ...]:
    """Fill the hub with the networks of the run's base, and render its clips; what is there stays.

    Args:
        config: of the run.
        say: takes a line about what takes a while.

    Returns:
        names of the networks that the hub was filled with.

    Raises:
        InputError: where the base is no model, there is neither base nor hub, or a place can't be written.
    """
    filled: tuple[str, ...] = ()
    if config.base:
        filled = fill(Path(config.hub), config.base)
    elif not Path(config.hub).is_dir():
        raise InputError(
            f"{config.hub}: there is no such hub, the folder of networks to begin with; name yours with "
            "--set 'hub=\"FOLDER\"', or have it made of the embedded model's with --set base=tiny."
        )
    for source in config.sources:
        if source.rendered and not Path(source.path).is_dir():
            say(f"{source.path}: {source.rendered} clips are rendered first")
        if source.rendered:
            folder, size = Path(source.path), config.size
            synthesize(folder, source.rendered, 1, size, SEED, allowed_cores(), WORLD)
    return filled


def fill(hub: Path, base: str) -> tuple[str, ...]:
    """Copy the networks of a model into a hub, those that it lacks; of two UNets the model's own.

    A folder in which anything lies, the sizes of a network that is to be born say, stays as it is.

    Returns:
        their names.

    Raises:
        InputError: where there is no such model.
        WriteError: where the hub can't be written.
    """
    root, variant = resolve(base, None)
    filled = []
    for part in (*parts_of(variant), "prior"):
        place = PARTS[part].folder
        with explained(hub, "make room, or name another hub"):
            if part_there(root, part) and not (hub / place).is_file() and not any((hub / place).glob("*")):
                (hub / place).parent.mkdir(parents=True, exist_ok=True)
                with appearing(hub / place) as temporary:
                    shutil.copytree(root / place, temporary)
                filled.append(part)
    return tuple(filled)
