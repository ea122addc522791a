"""The processes that train together: what they agree on, and how a network is spread over them.

Whatever decides a collective is agreed on first (:meth:`Workers.any`, :meth:`Workers.firsts`), and an error of one
process is an error of all (:meth:`Workers.together`), so that none waits for another that went another way.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from geometrycrafter.errors import InputError
from geometrycrafter.networks.unet import DownBlock, MiddleBlock, UpBlock
from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.stages import Stage

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The processes that train together; on its own, one."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def join(cls) -> Workers:
        """Find the others where ``torchrun`` started this process."""
        cuda = torch.cuda.is_available()
        if "RANK" not in os.environ:
            return cls(device=torch.device("cuda" if cuda else "cpu"))
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def share(self, config: LoopConfig) -> int:
        """Clips of a step that each process has.

        Raises:
            InputError: where they can't share a batch evenly.
        """
        share, rest = divmod(config.batch, self.world)
        if rest or share % config.accumulate:
            whole = self.world * config.accumulate
            nearest = max(1, round(config.batch / whole)) * whole
            each = f" in {config.accumulate} parts each (accumulate)" if config.accumulate > 1 else ""
            raise InputError(
                f"batch {config.batch}: {self.world} process{'es' if self.world > 1 else ''} can't share it "
                f"evenly{each}; the nearest that they can is {nearest}, by --set batch={nearest}."
            )
        return share

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Sum of each value over the processes; all give the same keys, and NaN is a value like another."""
        if self.world == 1:
            return values
        packed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(packed)
        return dict(zip(values, packed.tolist(), strict=True))

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Mean of each value over the processes; all give the same keys, and NaN is a value like another."""
        return {k: v / self.world for k, v in self.sum(values).items()}

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return self.each(flag=flag)["flag"]

    def each(self, **flags: bool) -> dict[str, bool]:
        """Of each flag, whether it is up in any process."""
        return {k: v > 0 for k, v in self.sum({k: float(v) for k, v in flags.items()}).items()}

    def firsts(self, flag: bool) -> bool:
        """The first process's flag, whatever the others' clocks and disks say."""
        return self.any(flag and self.first)

    def gathered(self, value: T) -> list[T]:
        """Each process's value, in their order; anything that can be pickled."""
        found = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(found, value)
        return found

    @contextlib.contextmanager
    def reachable(self) -> Iterator[None]:
        """A block that says it in a sentence where another process has gone, by whatever way.

        Raises:
            InputError: says how to go on.
        """
        try:
            yield
        except RuntimeError as error:
            lost = isinstance(error, dist.DistError) or "gloo/transport" in str(error)
            if self.world == 1 or not lost:
                raise
            raise InputError(
                "the processes of this run have lost each other, one of them was ended; "
                "start again to go on from the last checkpoint."
            ) from error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block whose ``InputError`` in one process is raised in all; the block itself must not wait for others.

        Raises:
            InputError: the lowest process's, of its own class.
        """
        error: InputError | None = None
        try:
            yield
        except InputError as raised:
            if self.world == 1:
                raise
            error = raised
        if self.world == 1 or not self.any(error is not None):
            return
        raise next(e for e in self.gathered(error) if e is not None) from error

    def agreed(self, batches: Iterable[T]) -> Generator[T, None, None]:
        """Items of each process's own iterable, all of one length; one that can't be had stops all.

        Reading processes end with it, so it is closed wherever it may end early: they pass over signals, and a
        program that ends by an error would wait for them for ever.
        """
        iterator = iter(batches)
        try:
            while True:
                items: list[T] = []
                with self.together():
                    items.extend(item for item in [next(iterator, _END)] if item is not _END)  # type: ignore[arg-type]
                if not items:
                    return
                yield items[0]
        finally:
            getattr(iterator, "_shutdown_workers", _nothing)()


_END: Any = object()


def _nothing() -> None:
    pass


def spread(stage: Stage[Any], workers: Workers, parallel: str) -> nn.Module:
    """What gives the stage's loss with gradients over all processes: the stage itself where there is one."""
    if workers.world == 1:
        return stage
    if parallel == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(workers.device.type, (workers.world,))
        for unit in units(stage.network):
            fully_shard(unit, mesh=mesh)
        return stage
    # Queries and keys of an attention over one key have no gradient, nor has an attention that is never reached.
    return DistributedDataParallel(stage, find_unused_parameters=True)


def units(network: nn.Module) -> list[nn.Module]:
    """The parts of a network whose weights are gathered together, inner ones before those that they are in."""
    return [m for m in network.modules() if isinstance(m, DownBlock | MiddleBlock | UpBlock)] + [network]


def unsynchronised(loss: nn.Module) -> contextlib.AbstractContextManager[None]:
    """A block whose backward passes add to the gradients without exchanging them."""
    return loss.no_sync() if isinstance(loss, DistributedDataParallel) else contextlib.nullcontext()


def whole(value: Tensor) -> Tensor:
    """A tensor ``[...]`` gathered from all processes where it is sharded, on the CPU; its own copy."""
    full = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach().to("cpu", copy=True)


def on_first(tensors: Mapping[str, Tensor], workers: Workers) -> dict[str, Tensor]:
    """Tensors ``[...]`` by name, whole, on the first process's CPU; the others call it too and get none.

    One is gathered after the other, so that no process has more than one whole, but the first one on its CPU.
    """
    found = {}
    for name, value in tensors.items():
        if workers.first:
            found[name] = whole(value)
        elif hasattr(value, "full_tensor"):
            value.full_tensor()
    return found


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """A copy of a whole tensor ``[...]``, laid out as another of its shape is, which may be sharded."""
    if not hasattr(pattern, "full_tensor"):
        return value.to(pattern.device, copy=True)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(pattern, DTensor)
    return distribute_tensor(value.to(pattern.device), pattern.device_mesh, pattern.placements)
