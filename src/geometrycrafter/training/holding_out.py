"""Frames of a run's own clips that it is judged by and doesn't learn from: the last ones of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from geometrycrafter.data.shards import Shards
from geometrycrafter.data.transforms import cover
from geometrycrafter.errors import InputError
from geometrycrafter.training.config import Source
from geometrycrafter.training.samples import tensors_of
from geometrycrafter.training.sampling import collate, held_out

FRAMES = 12
"""Of a held-out stretch that are judged together, with one scale and one camera, evenly spread."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out stretches of a run's clips, by number."""

    sources: tuple[Shards, ...]
    size: tuple[int, int]
    stretches: tuple[tuple[int, int, slice], ...]
    """Source, clip, frames."""

    @classmethod
    def of(cls, sources: tuple[Source, ...], size: tuple[int, int], share: float, most: int) -> HeldOut:
        """What a share leaves of the sources that a run didn't render itself.

        Args:
            sources: of the run.
            size: height and width of samples.
            share: of each clip.
            most: stretches; of more, evenly spread ones.

        Raises:
            InputError: where all clips are too short.
        """
        recorded = tuple(Shards(s.path) for s in sources if not s.rendered)
        found = []
        for number, shards in enumerate(recorded):
            for clip in range(len(shards)):
                held = held_out(shards.clips.length(clip), share)
                if len(held):
                    found.append((number, clip, slice(held.start, held.stop, -(-len(held) // FRAMES))))
        if not found:
            names = ", ".join(s.path for s in sources if not s.rendered) or "sources"
            raise InputError(f"hold_out {share:g}: no clip of {names} is long enough for it; give validation instead.")
        chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
        return cls(recorded, size, tuple(found[i] for i in chosen))

    def __len__(self) -> int:
        return len(self.stretches)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """A stretch as a sample, see :class:`~geometrycrafter.training.samples.ClipSamples`."""
        source, clip, times = self.stretches[number]
        found = cover(self.sources[source].read(clip, times), *self.size)
        return {**tensors_of(found), "seed": number, "skipped": []}

    def batches(self) -> DataLoader[dict[str, Any]]:
        """One stretch a batch, the same each time."""
        return DataLoader(self, batch_size=1, collate_fn=collate)  # type: ignore[arg-type]
