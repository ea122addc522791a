"""Networks on long clips, some frames at a time where no gradient is wanted, as inference has them.

What is kept for a gradient is kept for all frames in any case; without one, memory does not grow with the clip but for
the maps that come out.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from geometrycrafter.inference.decoding import decode_joined, plan_chunks
from geometrycrafter.inference.options import Options
from geometrycrafter.networks.point_map_vae import DecodedPointMap

CHUNK = Options.decode_chunk
"""Frames at a time."""

_Repeat = Callable[[int], contextlib.AbstractContextManager[None]]
_REPEAT: ContextVar[_Repeat | None] = ContextVar("repeat", default=None)


@contextlib.contextmanager
def standing_for_others(repeat: _Repeat) -> Iterator[None]:
    """A block in which tensors have no values: of many chunks of one shape the first is worked through, and the last.

    Args:
        repeat: a block that stands for so many.
    """
    token = _REPEAT.set(repeat)
    try:
        yield
    finally:
        _REPEAT.reset(token)


def each(call: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What a call makes of each part; all but the last are of one size."""
    repeat = _REPEAT.get()
    if repeat is None or len(parts) < 4:
        return [call(*part) for part in parts]
    with repeat(len(parts) - 2):
        first = call(*parts[0])
    # The last whole part has the results of all others beside it: there, the most is held.
    return [first, *(_like(first) for _ in parts[1:-2]), *(call(*part) for part in parts[-2:])]


def _like(value: Any) -> Any:
    """Room for what a call made."""
    if isinstance(value, Tensor):
        return torch.empty_like(value)
    if isinstance(value, list | tuple):
        return type(value)(_like(v) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: _like(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value


def framewise(network: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """What a network that sees frames one by one makes of maps ``[N, ...]``, ``[N, ...]``: the same in chunks."""
    if torch.is_grad_enabled():
        return network(*maps)
    return torch.cat(each(network, list(zip(*(m.split(CHUNK) for m in maps), strict=True))))


def decoded(decode: Callable[[Tensor, int], DecodedPointMap], latents: Tensor, frames: int) -> DecodedPointMap:
    """What a decoder that looks along time makes of latents, float32.

    In chunks it is what inference makes of them: chunks share frames, which are cross-faded.

    Args:
        decode: takes latents and how many frames a clip has.
        latents: ``[B*T, 4, h, w]``, not scaled.
        frames: of each clip, T.
    """
    if torch.is_grad_enabled() or frames <= CHUNK:
        return DecodedPointMap(*(m.float() for m in decode(latents, frames)))
    chunks = plan_chunks(frames, CHUNK, exact=False)
    found: list[DecodedPointMap] = []
    for own in latents.split(frames):

        def one(some: Tensor) -> DecodedPointMap:
            return DecodedPointMap(*(m.float() for m in decode(some, len(some))))

        def part(start: int, end: int, own: Tensor = own) -> Tensor:
            return own[start:end]

        found.extend(maps for _, maps in decode_joined(one, part, chunks))
    return DecodedPointMap(*(torch.cat(m) for m in zip(*found, strict=True)))
