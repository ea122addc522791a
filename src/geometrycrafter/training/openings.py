"""What a run will need later is looked at before its first step: what is wrong is not told hours later.

Networks are read when the stage is made, clips that have to be encoded when they are; the rest is here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from geometrycrafter.data.shards import Shards
from geometrycrafter.errors import InputError
from geometrycrafter.files import explained
from geometrycrafter.training.config import LoopConfig
from geometrycrafter.weights.parts import part_of

GIGABYTE = 10**9
AT_A_TIME = 2
"""Checkpoints beside the last ``keep``: the best one, and the one that is being written."""


def open_sources(config: LoopConfig) -> None:
    """See that all shards of the run are there, as long as their indices say.

    Raises:
        InputError: names the folder or shard that is not as it should be.
    """
    for name, sources in (("sources", config.sources), ("validation", config.validation)):
        for source in sources:
            shards = Shards(source.path)
            cut = [] if config.broken == "skip" else shards.cut_short()
            if cut:
                raise InputError(
                    f"{cut[0]}: the shard is cut short, and {name} takes it; copy it anew, or set broken to 'skip'."
                )


def find_writable(run: Path, hub: Path, parts: Sequence[str]) -> None:
    """See that all can be written that the run will write.

    Args:
        run: its folder; it is there.
        hub: where its networks go.
        parts: their names there.

    Raises:
        InputError: where something else is in the way.
        WriteError: where the disk or its rights don't let it.
    """
    files = [run / "log.jsonl", run / "exported.json"]
    folders = [run / "checkpoints", run / "pictures", *(hub / part_of(part).folder for part in parts)]
    for file in files:
        if file.is_dir():
            raise InputError(f"{file}: a folder is where the run keeps a file; remove it, or train in a new folder.")
    for folder in folders:
        with explained(folder, "make it a folder that can be written"):
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
    for part in parts:
        file = hub / part_of(part).folder / f"{part_of(part).stem}.safetensors"
        if file.is_dir():
            raise InputError(f"{file}: a folder is where the trained network goes; remove it.")


def find_room(run: Path, checkpoint: int, keep: int, hub: Path, weights: int) -> None:
    """See that the disks have room for the run's checkpoints and for its network.

    Args:
        run: its folder.
        checkpoint: bytes of one.
        keep: how many stay.
        hub: where the network goes.
        weights: bytes of it.

    Raises:
        InputError: says how much is missing.
    """
    # Names of one file count once.
    there = {s.st_ino: s.st_size for s in (p.stat() for p in (run / "checkpoints").glob("*.pt"))}
    wanted = checkpoint * (keep + AT_A_TIME) - sum(there.values())
    free = shutil.disk_usage(run).free
    if free < wanted:
        raise InputError(
            f"{run}: checkpoints of {_size(checkpoint)}, {keep} that are kept, the best one and the next, want "
            f"{_size(wanted)} more than is there; {_size(free)} are free. Make room, or lower keep."
        )
    free = shutil.disk_usage(hub).free
    if free < weights:
        raise InputError(
            f"{hub}: the network of {_size(weights)} has no room there, {_size(free)} are free; make room."
        )


def _size(count: int) -> str:
    return f"{count / GIGABYTE:.1f} GB" if count >= GIGABYTE / 10 else f"{count / 10**6:.1f} MB"
