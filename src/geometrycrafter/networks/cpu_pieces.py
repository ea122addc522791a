"""Large pictures of inference on processors, worked on in pieces: as fast as all at once, in far less memory.

A processor gains nothing by many frames in one call once a frame fills its cores. So what treats each frame by itself
takes a few at a time, and what is along time alone takes all frames of some pixels: what lies between two layers is
then as large as a piece, and not as a clip. Where gradients, other types or other devices are asked for, and under
``torch.compile``, all is done at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from geometrycrafter.networks.cpu_products import applies

LARGEST = 1 << 23
"""Numbers that a layer makes in one piece, where a single frame isn't more: 32 MB."""


def by_frames(call: Callable[[Tensor], Tensor], x: Tensor, numbers: int, own: bool = False) -> Tensor:
    """A call that treats each frame by itself, ``[N, C, H, W]`` -> ``[N, D, h, w]``, on a few at a time.

    Args:
        call: made once with all frames, or with some of them after each other.
        x: ``[N, C, H, W]``.
        numbers: that the widest of its layers makes of a frame.
        own: nobody else holds ``x``, which the result, if of its shape, may take the place of.
    """
    most = max(1, LARGEST // numbers)
    if most >= len(x) or not applies(x):
        return call(x)
    whole: Tensor | None = None
    for start in range(0, len(x), most):
        made = call(x[start : start + most])
        if whole is None and own and made.shape[1:] == x.shape[1:] and made.dtype == x.dtype:
            whole = x
        if whole is None:
            size = (len(x), *made.shape[1:])
            whole = torch.empty(size, dtype=made.dtype, device=made.device, memory_format=layout_of(made))
        whole[start : start + most] = made
        del made
    assert whole is not None
    return whole


def layout_of(x: Tensor) -> torch.memory_format:
    """Whether the channels of ``[N, C, H, W]`` come last."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def pixels_at_once(clip: Tensor) -> int | None:
    """How many pixels of a clip ``[B, C, T, P]`` make a piece; None: all are worked on at once."""
    batch, channels, frames, pixels = clip.shape
    most = max(1, LARGEST // (2 * batch * channels * frames))
    return None if most >= pixels or not applies(clip) else most


def pieces(clip: Tensor, most: int) -> Iterator[slice]:
    """Stretches of the pixels of a clip ``[B, C, T, P]``, none longer than ``most``."""
    for start in range(0, clip.shape[-1], most):
        yield slice(start, min(start + most, clip.shape[-1]))


def scale_and_shift(clip: Tensor, norm: torch.nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """What a norm over whole clips ``[B, C, T, P]`` multiplies and adds, ``[B, C, 1, 1]`` each.

    Means and spreads are those of the frames, by the norm's own operation, put together: it takes a frame's memory.
    """
    batch, channels, frames, pixels = clip.shape
    layout = layout_of(clip)

    def of_frame(t: int) -> tuple[Tensor, Tensor]:
        frame = clip[:, :, t : t + 1].contiguous(memory_format=layout)
        _, mean, inverse = torch.native_group_norm(
            frame, None, None, batch, channels, pixels, norm.num_groups, norm.eps
        )
        return mean, inverse

    found = [of_frame(t) for t in range(frames)]
    means, inverse = (torch.stack(each).double() for each in zip(*found, strict=True))  # [T, B, G]
    mean = means.mean(0)
    variance = (inverse**-2 - norm.eps).mean(0) + (means - mean).square().mean(0)
    scale = (variance.clamp_min(0) + norm.eps).rsqrt()
    share = channels // norm.num_groups
    scale, shift = (x.repeat_interleave(share, 1).to(clip.dtype) for x in (scale, -mean * scale))
    if norm.affine:
        shift = shift * norm.weight + norm.bias
        scale = scale * norm.weight
    return scale[..., None, None], shift[..., None, None]
