"""Latents to depth and mask, a chunk of frames at a time, without seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.networks.point_map_vae import DecodedPointMap, LightPointMapDecoder
from geometrycrafter.networks.room import Room

LARGEST_LOG_DEPTH = 10.0


@dataclass(frozen=True)
class Chunk:
    """Decode frames ``start`` to ``end``; the first ``lead`` are shared with the chunk before."""

    start: int
    end: int
    lead: int


def plan_chunks(num_frames: int, chunk: int, exact: bool) -> list[Chunk]:
    """Chunks that cover a clip: isolated as published (``exact``), else sharing frames that are cross-faded.

    Chunks share about a third of their frames; the last one is moved back to full length.
    """
    chunk = min(chunk, num_frames)
    lead = 0 if exact or chunk < 3 else max(1, (3 * chunk) // 8)
    chunks = [Chunk(0, chunk, 0)]
    while chunks[-1].end < num_frames:
        previous = chunks[-1].end
        if exact:
            chunks.append(Chunk(previous, min(previous + chunk, num_frames), 0))
            continue
        end = min(previous - lead + chunk, num_frames)
        start = end - chunk
        chunks.append(Chunk(start, end, previous - start))
    return chunks


def decode_joined(
    decode: Callable[[Tensor], DecodedPointMap],
    latents: Callable[[int, int], Tensor],
    chunks: list[Chunk],
    first: int = 0,
) -> Iterator[tuple[int, DecodedPointMap]]:
    """Decode chunk by chunk; yields where finished frames start, and the frames.

    A chunk's shared frames are cross-faded with those of the chunk before, linearly and with both ends inside, so
    that what the two decodings disagree on is spread over them.

    Args:
        decode: a chunk's latents ``[N, 4, h, w]`` to maps ``[N, 1, H, W]``.
        latents: those of frames ``start`` to ``end``.
        chunks: from :func:`plan_chunks`.
        first: the chunk to begin with. The one before it is decoded again for what is shared, and the one before that
            where the last chunk, being moved back, reaches into both.
    """
    tail: DecodedPointMap | None = None
    for index in range(first - _again(chunks, first), len(chunks)):
        chunk = chunks[index]
        following = chunks[index + 1].lead if index + 1 < len(chunks) else 0
        maps = decode(latents(chunk.start, chunk.end))
        if tail is not None and chunk.lead:
            n = chunk.lead
            weight = torch.arange(1, n + 1, device=maps[0].device).view(-1, 1, 1, 1) / (n + 1)
            maps = DecodedPointMap(
                *(torch.cat([torch.lerp(old, new[:n], weight), new[n:]]) for old, new in zip(tail, maps, strict=True))
            )
        done = chunk.end - chunk.start - following
        tail = DecodedPointMap(*(m[done:] for m in maps))
        if index >= first:
            yield chunk.start, DecodedPointMap(*(m[:done] for m in maps))


def _again(chunks: list[Chunk], first: int) -> int:
    """How many chunks before one are decoded again for the frames that it shares."""
    if first == 0 or not chunks[first].lead:
        return 0
    before = chunks[first - 1]
    both = before.lead + chunks[first].lead > before.end - before.start
    return 2 if both and first > 1 else 1


def decode_in_parts(decode: Callable[[Tensor], DecodedPointMap], latents: Tensor, most: int) -> DecodedPointMap:
    """A chunk's maps ``[N, 1, H, W]`` of latents ``[N, 4, h, w]``, in parts that share frames where it is too long.

    Args:
        decode: as in :func:`decode_joined`.
        latents: of the chunk.
        most: frames that are decoded at a time.
    """
    if most >= len(latents):
        return decode(latents)
    parts = decode_joined(decode, lambda start, end: latents[start:end], plan_chunks(len(latents), most, exact=False))
    return DecodedPointMap(*(torch.cat(maps) for maps in zip(*(maps for _, maps in parts), strict=True)))


def decode_streamed(
    decoder: LightPointMapDecoder,
    room: Room,
    latents: Callable[[int, int], Tensor],
    chunks: list[Chunk],
    first: int = 0,
) -> Iterator[tuple[int, DecodedPointMap]]:
    """Decode chunk by chunk with a decoder that sees a few frames far; yields as :func:`decode_joined` does.

    Each frame is decoded once, with all the frames around it that it depends on: the maps are those of the whole clip.

    Args:
        decoder: a light one.
        room: for it; where it has not enough for a chunk, the chunk is taken in parts, and the maps are the same.
        latents: those of frames ``start`` to ``end``, ``[N, 4, h, w]``.
        chunks: that share no frames.
        first: the chunk to begin with.
    """
    frames, reach = chunks[-1].end, decoder.reach

    def decoded(start: int, end: int) -> DecodedPointMap:
        before, after = min(reach, start), min(reach, frames - end)
        z = latents(start - before, end + after)
        maps: DecodedPointMap = decoder(z, len(z), before, after)
        return maps

    for chunk in chunks[first:]:

        def in_parts(most: int, chunk: Chunk = chunk) -> DecodedPointMap:
            starts = range(chunk.start, chunk.end, most)
            parts = [decoded(start, min(start + most, chunk.end)) for start in starts]
            return DecodedPointMap(*(torch.cat(maps) for maps in zip(*parts, strict=True)))

        yield chunk.start, room.fit(chunk.end - chunk.start, in_parts)


@dataclass(frozen=True)
class DecodedFrames:
    """Maps at the video's size."""

    depth: Tensor
    """``[N, H, W]``."""
    mask: Tensor
    """``[N, H, W]`` bool."""
    theta_diag: Tensor
    """``[N, H, W]``."""


def at_video_size(
    maps: DecodedPointMap, height: int, width: int, resize: Literal["bilinear", "nearest"]
) -> DecodedFrames:
    """Take depth out of its logarithm and resize; depth is interpolated as depth."""
    theta, log_depth, logit = (m.float() for m in maps)
    depth = log_depth.clamp_max(LARGEST_LOG_DEPTH).exp()
    if depth.shape[-2:] != (height, width):
        kind = {"mode": "nearest-exact"} if resize == "nearest" else {"mode": "bilinear", "align_corners": False}
        depth, logit = (F.interpolate(x, (height, width), **kind) for x in (depth, logit))
        theta = F.interpolate(theta, (height, width), mode="bilinear", align_corners=False)
    return DecodedFrames(depth[:, 0], logit[:, 0] > 0, theta[:, 0])
