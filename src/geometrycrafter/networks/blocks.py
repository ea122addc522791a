"""Blocks shared by the autoencoders and the video UNet.

Frames of a clip travel as one batch, ``[B*T, C, H, W]``; ``num_frames`` says how to cut it. Parameter names
are those of the published checkpoints, so state dicts load without renaming.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.networks.cpu_pieces import by_frames, pieces, pixels_at_once, scale_and_shift
from geometrycrafter.networks.cpu_products import doubled, linear, plus, pointwise, silu

AUTOCASTS = frozenset(kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind))
"""Kinds of devices that autocast knows; asked once, since a graph can't ask."""


def own_precision(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """A block that computes in its weights' precision also where autocast lowers that of all around it.

    Args:
        x: ``[...]``, a tensor on the device in question.
    """
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if kind in AUTOCASTS else contextlib.nullcontext()


def clip_of(x: Tensor, num_frames: int) -> Tensor:
    """Frames ``[B*T, C, H, W]`` as clips ``[B, C, T, P]``, P being the pixels: the same memory if channels are last.

    Not where gradients are wanted: oneDNN's backward pass of such convolutions may end the process.
    """
    _, channels, height, width = x.shape
    if not torch.is_grad_enabled() and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).reshape(-1, num_frames, height * width, channels).permute(0, 3, 1, 2)
    return x.reshape(-1, num_frames, channels, height * width).transpose(1, 2).contiguous()


def frames_of(clip: Tensor, height: int, width: int) -> Tensor:
    """Clips ``[B, C, T, P]`` as frames ``[B*T, C, H, W]``, likewise."""
    channels = clip.shape[1]
    if clip.is_contiguous(memory_format=torch.channels_last):
        return clip.permute(0, 2, 3, 1).reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    return clip.transpose(1, 2).reshape(-1, channels, height, width)


class TemporalConv(nn.Conv3d):
    """Convolution over time alone, kernel ``(3, 1, 1)``.

    Stored as the published Conv3d. Run as a 2-D convolution over ``[time, pixels]``, which reaches a far higher
    share of the CPU's arithmetic rate than the 3-D kernels do and is the same sum.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=(3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in, T, P]`` -> ``[B, out, T, P]``, P being the pixels."""
        return F.conv2d(x, self.weight.squeeze(-1), self.bias, padding=(1, 0))

    def times(self, factor: Tensor) -> Callable[[Tensor], Tensor]:
        """``factor`` times the convolution, which goes into the kernel: ``[B, in, T, P]`` -> ``[B, out, T, P]``."""
        weight, bias = self.weight.squeeze(-1) * factor, None if self.bias is None else self.bias * factor
        return lambda x: F.conv2d(x, weight, bias, padding=(1, 0))


class TimeMixer(nn.Module):
    """Learned blend of the spatial and the temporal branch: one scalar, squashed to (0, 1).

    ``towards_time=False`` weights the spatial branch by sigmoid(mix_factor), ``True`` the temporal one.
    """

    def __init__(self, mix_factor: float, towards_time: bool = False):
        super().__init__()
        self.mix_factor = nn.Parameter(torch.tensor([mix_factor]))
        self.towards_time = towards_time

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Two branches of one shape, ``[..., C]`` or ``[N, C, H, W]``, blended."""
        return torch.lerp(spatial, temporal, self.share_of_time(spatial))

    def share_of_time(self, like: Tensor) -> Tensor:
        """The temporal branch's weight ``[1]``, in the type of ``like``, ``[...]``."""
        weight = torch.sigmoid(self.mix_factor).to(like.dtype)
        return weight if self.towards_time else 1 - weight


class ResnetBlock(nn.Module):
    """GroupNorm, SiLU, 3x3 convolution, twice, with a skip; the time embedding is added between the two."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int | None, groups: int, eps: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels) if time_channels else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, time_embedding: Tensor | None = None) -> Tensor:
        """``[N, in, H, W]`` and the time embedding ``[N, E]`` -> ``[N, out, H, W]``."""
        h = self.conv1(silu(self.norm1(x)))
        if self.time_emb_proj is not None and time_embedding is not None:
            h = plus(h, self.time_emb_proj(F.silu(time_embedding))[:, :, None, None])
        h = self.conv2(silu(self.norm2(h)))
        return plus(h, x if self.conv_shortcut is None else pointwise(self.conv_shortcut, x))


class TemporalResnetBlock(nn.Module):
    """The same over time: normalised over the whole clip, convolved along time alone."""

    def __init__(self, channels: int, time_channels: int | None, groups: int, eps: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=eps)
        self.conv1 = TemporalConv(channels, channels)
        self.time_emb_proj = nn.Linear(time_channels, channels) if time_channels else None
        self.norm2 = nn.GroupNorm(groups, channels, eps=eps)
        self.conv2 = TemporalConv(channels, channels)

    def forward(self, x: Tensor, time_embedding: Tensor | None = None) -> Tensor:
        """``[B, C, T, P]`` and the time embedding ``[B, T, E]`` -> ``[B, C, T, P]``, P being the pixels."""
        return plus(self.conv2(self._before_last(x, time_embedding)), x)

    def blended(self, x: Tensor, time_embedding: Tensor | None, share: Tensor) -> Tensor:
        """``torch.lerp(x, self(x, time_embedding), share)``, ``[B, C, T, P]``: the share goes into the last kernel.

        ``x``, which nobody else may hold, can be where the result is written.
        """
        last, most = self.conv2.times(share), pixels_at_once(x)
        if most is None:
            return plus(last(self._before_last(x, time_embedding)), x)
        h, added = silu(self.norm1(x)), self._added(time_embedding)
        for part in pieces(h, most):
            h[..., part] = self._first(h[..., part], added)
        scale, shift = scale_and_shift(h, self.norm2)
        for part in pieces(h, most):
            x[..., part] += last(silu(torch.addcmul(shift, h[..., part], scale)))
        return x

    def _before_last(self, x: Tensor, time_embedding: Tensor | None) -> Tensor:
        """What the last convolution sees, ``[B, C, T, P]``."""
        return silu(self.norm2(self._first(silu(self.norm1(x)), self._added(time_embedding))))

    def _first(self, h: Tensor, added: Tensor | None) -> Tensor:
        """The first convolution of ``[B, C, T, P]`` and what is added to it, ``[B, C, T, 1]``."""
        return self.conv1(h) if added is None else plus(self.conv1(h), added)

    def _added(self, time_embedding: Tensor | None) -> Tensor | None:
        """What the time embedding ``[B, T, E]`` adds, ``[B, C, T, 1]``."""
        if self.time_emb_proj is None or time_embedding is None:
            return None
        added: Tensor = self.time_emb_proj(F.silu(time_embedding)).transpose(1, 2)[..., None]
        return added


class SpatioTemporalResBlock(nn.Module):
    """A spatial and a temporal residual block in a row, blended by a learned scalar."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int | None,
        groups: int,
        eps: float,
        temporal_eps: float | None = None,
        mix_factor: float = 0.5,
        towards_time: bool = False,
    ):
        super().__init__()
        self.spatial_res_block = ResnetBlock(in_channels, out_channels, time_channels, groups, eps)
        self.temporal_res_block = TemporalResnetBlock(out_channels, time_channels, groups, temporal_eps or eps)
        self.time_mixer = TimeMixer(mix_factor, towards_time)

    def forward(
        self,
        x: Tensor,
        num_frames: int,
        time_embedding: Tensor | None = None,
        before: Upsample | None = None,
        own: bool = False,
    ) -> Tensor:
        """``[B*T, in, H, W]`` and the time embedding ``[B*T, E]`` -> ``[B*T, out, H, W]``.

        Args:
            x: frames.
            num_frames: T.
            time_embedding: None in the autoencoders.
            before: doubles each frame before all else, so that no more of them are large at once than need be.
            own: nobody else holds ``x``, which may be written over.
        """
        x = self._in_space(x, time_embedding, before, own)
        height, width = x.shape[-2:]
        clip = clip_of(x, num_frames)
        if time_embedding is not None:
            time_embedding = time_embedding.view(-1, num_frames, time_embedding.shape[-1])
        if torch.is_grad_enabled():
            temporal = self.temporal_res_block(clip, time_embedding)
            return self.time_mixer(x, frames_of(temporal, height, width))
        del x
        mixed = self.temporal_res_block.blended(clip, time_embedding, self.time_mixer.share_of_time(clip))
        return frames_of(mixed, height, width)

    def _in_space(self, x: Tensor, time_embedding: Tensor | None, before: Upsample | None, own: bool) -> Tensor:
        """The spatial block, ``[B*T, in, h, w]`` -> ``[B*T, out, H, W]``."""
        block = self.spatial_res_block
        if time_embedding is not None:
            return block(x if before is None else before(x), time_embedding)
        widest = max(block.conv1.in_channels, block.conv1.out_channels) * x[0, 0].numel()
        if before is None:
            return by_frames(block, x, widest, own)
        return by_frames(lambda few: block(before(few)), x, 4 * widest)


class Downsample(nn.Module):
    """Halve height and width. The autoencoders pad right and bottom only, the UNet on all sides."""

    def __init__(self, channels: int, asymmetric: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0 if asymmetric else 1)
        self.asymmetric = asymmetric

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C, H/2, W/2]``."""
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.asymmetric else x)


class Upsample(nn.Module):
    """Nearest-neighbour doubling, or enlarging to ``size``, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """``[N, C, h, w]`` -> ``[N, C, 2h, 2w]``, or ``[N, C, *size]``."""
        twice = (2 * x.shape[-2], 2 * x.shape[-1])
        if size is None or size == twice:
            return doubled(self.conv, x)
        return self.conv(F.interpolate(x, size, mode="nearest"))


class Attention(nn.Module):
    """Multi-head attention over ``[N, L, C]`` tokens."""

    def __init__(self, channels: int, heads: int, context_channels: int | None = None, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=bias)
        self.to_k = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_v = nn.Linear(context_channels or channels, channels, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Self-attention, ``[N, L, C]`` -> ``[N, L, C]``, plus ``added`` of that shape."""
        q, k, v = (
            linear(p, x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.to_q, self.to_k, self.to_v)
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        return linear(self._out, seen, added)

    @property
    def _out(self) -> nn.Linear:
        layer = self.to_out[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def over_one_key(self, context: Tensor) -> Tensor:
        """Cross-attention to a single token ``[N, 1, D]`` -> ``[N, 1, C]``, the same for every query.

        The softmax over one key is 1, so queries and keys play no part.
        """
        return self.to_out[0](self.to_v(context))


class SpatialAttention(Attention):
    """Single-head self-attention over the pixels of one frame, with its norm and skip (autoencoders)."""

    def __init__(self, channels: int, groups: int):
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """``[N, C, H, W]`` -> ``[N, C, H, W]``."""
        tokens = self.group_norm(x).flatten(2).transpose(1, 2).contiguous()
        return x + super().forward(tokens).transpose(1, 2).reshape(x.shape)
