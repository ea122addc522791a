"""Which clips a step trains on: a pure function of seed and step, so that any run can go on from any step.

Every slot of every step has a number, counted through the whole training over all processes. The number decides the
source (by weight), the clip (each source is gone through in a new order each epoch), the frames and the random numbers
of the augmentation. Two processes that share a batch thus see what one process with the whole batch sees.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from geometrycrafter.errors import InputError

BLOCK = 4096


@dataclass(frozen=True)
class Draw:
    """What fills one slot of a batch."""

    source: int
    clip: int
    frames: int
    seed: int
    """Of everything random about this sample."""
    size: int = 0
    """A number, the same in all of a step, that chooses among sizes (modulo how many there are)."""


class Mixture:
    """Draws from several sources of clips, each as often as its weight says.

    Args:
        lengths: clips in each source.
        weights: how often each is drawn, relative to the others.
        frames: fewest and most frames of a sample; all samples of a batch have the same number.
        batch: samples of a step, over all processes.
        seed: of the order.
    """

    def __init__(self, lengths: list[int], weights: list[float], frames: tuple[int, int], batch: int, seed: int):
        if len(lengths) != len(weights) or not lengths or min(weights) <= 0 or min(lengths) < 1:
            raise InputError("every source of training data needs at least one clip and a weight above zero.")
        if not 1 <= frames[0] <= frames[1]:
            raise InputError(f"frames {list(frames)}: give the fewest and the most frames of a sample, at least 1.")
        self.lengths, self.frames, self.batch, self.seed = lengths, frames, batch, seed
        self.shares = np.array(weights, float) / sum(weights)
        self._block: tuple[int, np.ndarray, np.ndarray] | None = None
        self._order: dict[tuple[int, int], np.ndarray] = {}

    def _sources(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a block of slots: each one's source, and how often each source was drawn before the block."""
        if self._block is None or self._block[0] > block:
            self._block = (-1, np.zeros(0, int), np.zeros(len(self.lengths), int))
        number, sources, before = self._block
        while number < block:
            before = before + np.bincount(sources, minlength=len(self.lengths))
            number += 1
            sources = np.random.default_rng((self.seed, 1, number)).choice(len(self.shares), BLOCK, p=self.shares)
        self._block = (number, sources, before)
        return sources, before

    def draw(self, step: int, slot: int) -> Draw:
        """What fills a slot, 0 to ``batch`` - 1, of a step."""
        number = step * self.batch + slot
        sources, before = self._sources(number // BLOCK)
        source = int(sources[number % BLOCK])
        count = int(before[source] + (sources[: number % BLOCK] == source).sum())
        epoch, position = divmod(count, self.lengths[source])
        if (source, epoch) not in self._order:
            self._order = {k: v for k, v in self._order.items() if k[0] != source or k[1] == epoch - 1}
            generator = np.random.default_rng((self.seed, 2, source, epoch))
            self._order[source, epoch] = generator.permutation(self.lengths[source])
        low, high = self.frames
        frames = int(np.random.default_rng((self.seed, 3, step)).integers(low, high + 1))
        seed = int(np.random.default_rng((self.seed, 4, number)).integers(2**62))
        size = int(np.random.default_rng((self.seed, 6, step)).integers(2**31))
        return Draw(source, int(self._order[source, epoch][position]), frames, seed, size)


class _Samples(Dataset[dict[str, Any]]):
    def __init__(self, make: Callable[[Draw], dict[str, torch.Tensor]], skip: Callable[[Draw], Draw] | None):
        self.make, self.skip = make, skip

    def __getitem__(self, draw: Draw) -> dict[str, Any]:  # type: ignore[override]
        skipped: list[str] = []
        while True:
            try:
                return self.make(draw) | {"skipped": skipped, "seed": draw.seed}
            except InputError as error:
                if self.skip is None or len(skipped) == 20:
                    raise
                skipped.append(str(error))
                draw = self.skip(draw)


class _Steps(Sampler[list[Draw]]):
    def __init__(self, mixture: Mixture, first: int, last: int, rank: int, world: int):
        self.mixture, self.first, self.last, self.rank, self.world = mixture, first, last, rank, world

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.first, self.last):
            yield [self.mixture.draw(step, slot) for slot in range(self.rank, self.mixture.batch, self.world)]

    def __len__(self) -> int:
        return self.last - self.first


def learned(length: int, share: float) -> int:
    """How many frames of a clip, its first ones, a run learns from that holds a share out.

    Between them and those that are held out lie a quarter as many that are neither: neighbours are nearly the same.
    """
    held = len(held_out(length, share))
    return length - held - -(-held // 4)


def held_out(length: int, share: float) -> range:
    """Which frames of a clip are held out, its last ones; none of a clip that would be left with nothing to learn."""
    held = round(length * share)
    return range(length - held, length) if length - held - -(-held // 4) > 0 else range(0)


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Samples as a batch: tensors ``[B, ...]``, seeds, and reasons why clips were skipped."""
    batch: dict[str, Any] = {
        k: torch.stack([s[k] for s in samples]) for k in samples[0] if isinstance(samples[0][k], torch.Tensor)
    }
    batch["seeds"] = [s["seed"] for s in samples]
    batch["skipped"] = [reason for s in samples for reason in s["skipped"]]
    return batch


def batches(
    make: Callable[[Draw], dict[str, torch.Tensor]],
    mixture: Mixture,
    first: int,
    last: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    skip_broken: bool = False,
) -> DataLoader[dict[str, Any]]:
    """Batches of steps ``first`` to ``last``, this process's share of each.

    Args:
        make: a sample's tensors; runs in the readers.
        mixture: decides what is drawn.
        first: step to begin with.
        last: step to stop before.
        rank: of this process.
        world: number of processes; they take the slots of a batch in turn.
        workers: reading processes; 0 reads here.
        skip_broken: put the source's next clip in a broken one's place, and say so in the batch's ``skipped``;
            False: raise.

    Returns:
        a loader of batches: tensors by name ``[B, ...]``, ``seeds`` and ``skipped`` lists.

    Raises:
        InputError: where the batch can't be shared evenly.
    """
    if mixture.batch % world:
        raise InputError(f"a batch of {mixture.batch} can't be shared evenly by {world} processes.")

    return DataLoader(
        _Samples(make, _Following(mixture.lengths) if skip_broken else None),
        batch_sampler=_Steps(mixture, first, last, rank, world),
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=bool(workers),
        worker_init_fn=_leave_signals,
    )


def _leave_signals(worker: int) -> None:
    """A reader goes when its trainer does: one that a terminal's Ctrl-C ends would take the step under way with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class _Following:
    """The source's next clip, in a broken one's place."""

    lengths: list[int]

    def __call__(self, draw: Draw) -> Draw:
        return replace(draw, clip=(draw.clip + 1) % self.lengths[draw.source])
