"""What a run will take, found by a replay of its step, its validation and its encoding (:mod:`.replay`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geometrycrafter.data.shards import Shards
from geometrycrafter.training.config import LatentStageConfig, LoopConfig
from geometrycrafter.training.distribution import Workers, units
from geometrycrafter.training.recomputation import recompute
from geometrycrafter.training.replay import Ledger, replay
from geometrycrafter.training.samples import MAPS, NormalisedClip, on_device
from geometrycrafter.training.stages import Batch, LatentStage, SizesAlone, Stage, stage_of
from geometrycrafter.training.stages.chunks import standing_for_others
from geometrycrafter.training.state import TrainingState
from geometrycrafter.training.steps import gradients, lowered

CPU = torch.device("cpu")
CONTEXT = 1 << 30
"""Bytes that a process has on a GPU besides its tensors: CUDA's own, and what its libraries work in."""
WASTE = 0.05
"""Of the tensors' bytes, lost between blocks of memory."""


@dataclass(frozen=True)
class Peak:
    """The most that one process's tensors take at once."""

    bytes: int
    kinds: dict[str, int]
    """At that moment: weights, frozen weights, gradients, optimizer, averaged weights, activations."""

    @classmethod
    def of(cls, ledger: Ledger) -> Peak:
        """Since the ledger's was forgotten."""
        found = sorted(ledger.at_peak.items(), key=lambda item: -item[1])
        kinds = {k: round(v) for k, v in found if round(v) > 0}
        return cls(round(ledger.peak), kinds)

    @property
    def needed(self) -> int:
        """Bytes of a GPU's memory with which it is safe."""
        return round(self.bytes * (1 + WASTE)) + CONTEXT


@dataclass(frozen=True)
class Plan:
    """What a run takes, on one of its processes unless said otherwise."""

    config: LoopConfig
    processes: int
    trained: int
    """Parameters."""
    frozen: int
    """Parameters, of other networks too."""
    step: Peak
    validation: Peak | None
    encoding: Peak | None
    """Of the latents that are stored."""
    checkpoint: int
    """Bytes of one; a run has ``keep`` and the best one."""
    flops: int
    """Of a step, with what is recomputed; a multiplication and an addition are two."""
    latents: int
    """Bytes that a clip's stored latents take, with all variants."""
    clips: int | None
    """In the sources; None where they are not there."""
    published: tuple[str, ...] = field(default=())
    """Networks whose sizes are the published ones, as the hub has none."""

    @property
    def needed(self) -> int:
        """Bytes of a GPU's memory with which the whole run is safe."""
        return max(p.needed for p in (self.step, self.validation, self.encoding) if p is not None)


def plan_of(config: LoopConfig, processes: int = 1, gpu: bool = True) -> Plan:
    """What a run takes.

    Args:
        config: of the run; its data and its networks' weights need not be there.
        processes: that share the batch.
        gpu: each has a GPU, with its rules for precision; else computes on the CPU.

    Raises:
        InputError: where the processes can't share the batch, or a network's sizes are none.
    """
    workers = Workers(world=processes)
    workers.share(config)
    if config.precision == "float16" or (config.precision == "auto" and gpu):  # of one size; one has no loss's scale
        config = replace(config, precision="bfloat16")
    with replay(gpu) as ledger, standing_for_others(ledger.repeated):
        hub = SizesAlone(config.hub)
        stage = stage_of(config, hub)
        stage.train()
        stage.choose_parameters()
        if config.recompute:
            recompute(stage)
        run = _Run(stage, config, workers, ledger, gpu)
        stored = isinstance(config, LatentStageConfig) and config.latent_variants > 0
        encoding, latents = run.encoding() if stored else (None, 0)
        step = run.step(stored)
        flops = ledger.flops
        validation = run.validation() if config.validation else None
        trained = sum(p.numel() for p in run.state.parameters.values())
        return Plan(
            config,
            processes,
            trained,
            sum(p.numel() for p in stage.parameters()) - trained,
            step,
            validation,
            encoding,
            run.checkpoint(),
            flops,
            latents,
            _clips(config) if stored else None,
            tuple(hub.lacking),
        )


class _Run:
    """The parts of a run, replayed one after the other.

    Args:
        stage: on no device, its parameters chosen.
        config: of the run.
        workers: whose first one this is.
        ledger: that is kept.
        gpu: whether optimizers work as they do there.
    """

    def __init__(self, stage: Stage[Any], config: LoopConfig, workers: Workers, ledger: Ledger, gpu: bool):
        self.stage, self.config, self.ledger = stage, config, ledger
        self.size = max((config.size, *config.other_sizes), key=lambda s: s[0] * s[1])
        self.clips = workers.share(config)
        cut = workers.world > 1 and config.parallel == "fsdp"
        self.share = 1 / workers.world if cut else 1.0
        ledger.name("frozen weights", [*stage.parameters(), *stage.buffers()])
        for parameter in stage.network.parameters():
            ledger.name("weights" if parameter.requires_grad else "frozen weights", [parameter], self.share)
        self.state = TrainingState(stage, config, workers)
        ledger.name("averaged weights", self.state.average.values(), self.share)
        if gpu and isinstance(self.state.optimizer, torch.optim.AdamW):
            for group in self.state.optimizer.param_groups:
                group["foreach"] = True
        self.held = list(self._held(stage, workers, cut))

    def _held(self, stage: Stage[Any], workers: Workers, cut: bool) -> Iterator[Tensor]:
        """What is held to be exchanged between processes."""
        if workers.world == 1:
            return
        if not cut:  # the gradients once more, in buckets
            with self.ledger.making("exchange"):
                for parameter in self.state.parameters.values():
                    yield torch.empty_like(parameter)
            return
        # One unit's whole weights and gradients, and the next one's weights, which come meanwhile.
        *inner, whole = (sum(p.numel() for p in unit.parameters()) for unit in units(stage.network))
        largest = max(*inner, whole - sum(inner))
        with self.ledger.making("exchange"):
            yield torch.empty(3 * largest)

    def step(self, stored: bool) -> Peak:
        """A step of the optimizer, and the ledger's arithmetic of it alone.

        Args:
            stored: it trains on latents that were encoded before.
        """
        state, ledger = self.state, self.ledger
        with ledger.making("optimizer", self.share):  # its state comes with the first step, and stays
            for parameter in state.parameters.values():
                parameter.grad = torch.empty_like(parameter)
            state.take_step()
        for parameter in state.parameters.values():
            parameter.register_post_accumulate_grad_hook(self._name_gradient)
        with ledger.making("data"):
            batch = self._latent_batch() if stored else self._batch(self.size)
        state.begin_step()
        ledger.forget_peak()
        ledger.flops = 0
        gradients(self.stage, batch, self.config, CPU, state.scaler, lambda terms: None)
        with ledger.making("activations", self.share):
            state.clip_gradient()
            state.take_step()
        for parameter in state.parameters.values():
            if parameter.grad is None:  # no loss reaches it: an optimizer keeps nothing of it
                state.optimizer.state.pop(parameter, None)
        return Peak.of(ledger)

    def _name_gradient(self, parameter: Tensor) -> None:
        self.ledger.name("gradients", [parameter.grad], self.share)

    def validation(self) -> Peak:
        """A batch's scores, while the last step's gradients are still there."""
        with self.ledger.making("data"):
            batch = self._batch(self.config.size)
        self.stage.eval()
        averaged = self.ledger.making("averaged weights", self.share)
        with averaged, self.state.averaged(), torch.no_grad(), lowered(self.config, CPU):
            self.ledger.forget_peak()
            with self.ledger.making("activations"), lowered(self.config, CPU):
                self.stage.scores(on_device(batch, CPU))
        self.stage.train()
        return Peak.of(self.ledger)

    def encoding(self) -> tuple[Peak, int]:
        """A clip's latents, and the bytes that all its variants take on disk."""
        assert isinstance(self.stage, LatentStage) and isinstance(self.config, LatentStageConfig)
        with self.ledger.making("data"):
            sample = self._sample(self.config.size)
        self.ledger.forget_peak()
        found = self.stage.latents(on_device(sample, CPU)) | {k: sample[k] for k in MAPS}
        kept = [found[k] for k in self.stage.stored_names()]
        size = sum(t.numel() * (2 if t.is_floating_point() else t.element_size()) for t in kept)
        return Peak.of(self.ledger), size * self.config.latent_variants

    def checkpoint(self) -> int:
        """Bytes of one."""
        state = self.state
        moments = [v for own in state.optimizer.state.values() for v in own.values() if isinstance(v, Tensor)]
        tensors = [*state.network.state_dict().values(), *state.average.values(), *moments]
        return sum(t.numel() * t.element_size() for t in tensors)

    def _sample(self, size: tuple[int, int]) -> Batch:
        """As :class:`ClipSamples` gives it."""
        shape = (self.config.frames[1], *size)
        return {
            "frames": torch.empty(*shape, 3, dtype=torch.uint8),
            "depth": torch.empty(shape),
            "known": torch.empty(shape, dtype=torch.bool),
            "half_field": torch.empty(shape[0], 2),
        }

    def _batch(self, size: tuple[int, int]) -> Batch:
        samples = [self._sample(size) for _ in range(self.clips)]
        return self._joined(samples)

    def _latent_batch(self) -> Batch:
        """As :class:`LatentSamples` gives them."""
        assert isinstance(self.stage, LatentStage)
        sample = self._sample(self.config.size)
        found = self.stage.latents(on_device(sample, CPU)) | {k: sample[k] for k in MAPS}
        found = {k: found[k] for k in self.stage.stored_names()}
        if "depth" in found:
            clip = NormalisedClip.of(found.pop("depth"), found.pop("half_field"))
            found |= vars(clip)
        return self._joined([found] * self.clips)

    def _joined(self, samples: list[Batch]) -> Batch:
        seeds = list(range(len(samples)))
        return {k: torch.stack([s[k] for s in samples]) for k in samples[0]} | {"seeds": seeds}


def _clips(config: LoopConfig) -> int | None:
    """Clips in the sources; None where one is not there."""
    if not all(Path(s.path).is_dir() for s in config.sources):
        return None
    return sum(len(Shards(s.path)) for s in config.sources)
