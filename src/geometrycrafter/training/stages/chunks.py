"""Networks on long clips, some frames at a time where no gradient is wanted, as inference has them.

What is kept for a gradient is kept for all frames in any case; without one, memory does not grow with the clip but for
the maps that come out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geometrycrafter.inference.decoding import decode_joined, plan_chunks
from geometrycrafter.inference.options import Options
from geometrycrafter.networks.point_map_vae import DecodedPointMap

CHUNK = Options.decode_chunk
"""Frames at a time."""


def framewise(network: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """What a network that sees frames one by one makes of maps ``[N, ...]``, ``[N, ...]``: the same in chunks."""
    if torch.is_grad_enabled():
        return network(*maps)
    return torch.cat([network(*some) for some in zip(*(m.split(CHUNK) for m in maps), strict=True)])


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
