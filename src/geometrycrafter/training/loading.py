"""From a run's sources to its batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from geometrycrafter.data.shards import Shards
from geometrycrafter.errors import InputError
from geometrycrafter.training.config import Augmentation, LatentStageConfig, LoopConfig, Source
from geometrycrafter.training.distribution import Workers
from geometrycrafter.training.holding_out import HeldOut
from geometrycrafter.training.latents import LatentSamples, encoded
from geometrycrafter.training.samples import ClipSamples
from geometrycrafter.training.sampling import Mixture, batches
from geometrycrafter.training.stages import LatentStage, Stage


def with_what_is_there(config: LoopConfig, say: Callable[[str], None]) -> LoopConfig:
    """The configuration without sources whose folder isn't there, where it says that those are to be left out.

    Args:
        config: of a run.
        say: takes a line about those that are left out.

    Raises:
        InputError: where no source is there.
    """
    if config.missing == "stop":
        return config
    kept: dict[str, Any] = {
        name: tuple(s for s in getattr(config, name) if Path(s.path).is_dir()) for name in ("sources", "validation")
    }
    if not kept["sources"]:
        raise InputError(
            f"sources: not one of their folders is there, {config.sources[0].path} and others; prepare some."
        )
    for name, there in kept.items():
        gone = [s.path for s in getattr(config, name) if s not in there]
        if gone:
            say(f"{name} left out, as they are not there: {', '.join(gone)}")
    return replace(config, **kept)


def loader(
    stage: Stage[Any],
    workers: Workers,
    folder: Path,
    say: Callable[[str], None],
    sources: tuple[Source, ...],
    first: int,
    last: int,
    validation: bool = False,
) -> DataLoader[dict[str, Any]]:
    """Batches of steps ``first`` to ``last``, this process's share; clips are encoded before where the run wants it.

    Args:
        stage: that they are for; has the configuration.
        workers: the processes; all call this.
        folder: of the run.
        say: takes a line of progress.
        sources: folders of shards.
        first: step to begin with.
        last: step to stop before.
        validation: the same samples each time, by an order of their own, not augmented, of one size and length; where
            the run holds frames out, all of these stretches.

    Raises:
        InputError: where a source can't be read, or stored latents are not this run's, in any of the processes.
    """
    config: LoopConfig = stage.config
    if validation and config.hold_out:
        with workers.together():
            return HeldOut.of(sources, config.size, config.hold_out, config.validation_batches).batches()
    with workers.together():
        shards = tuple(Shards(s.path) for s in sources)
        held = tuple(0.0 if s.rendered else config.hold_out for s in sources) if config.hold_out else ()
        clips = (
            ClipSamples(shards, config.size, Augmentation())
            if validation
            else ClipSamples(shards, config.size, config.augmentation, config.other_sizes, held)
        )
        seed = config.seed + 7919 if validation else config.seed
        frames = (config.frames[1], config.frames[1]) if validation else config.frames
        mixture = Mixture([len(s) for s in shards], [s.weight for s in sources], frames, config.batch, seed)
    make: ClipSamples | LatentSamples = clips
    if not validation and isinstance(config, LatentStageConfig) and config.latent_variants:
        assert isinstance(stage, LatentStage)  # by the configuration
        make = encoded(clips, stage, folder, workers, say)
    readers = 0 if validation else config.workers
    return batches(make, mixture, first, last, workers.rank, workers.world, readers, config.broken == "skip")
