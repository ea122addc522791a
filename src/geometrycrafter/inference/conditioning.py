"""From a per-frame prior to what the UNet is conditioned on (paper, section 3.2 and supplementary 1).

The prior is normalised over the whole clip, so it runs over all frames first; what the clip needs of each frame are
four numbers (:class:`FrameStatistics`), which add up without the frames being kept.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.cameras import half_field_at_size, half_field_of_rays, half_field_of_valid_rays
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera, Prior

WIDEST = 2.0
"""Frames of a more extreme aspect ratio are padded before the prior sees them."""
QUANTILE = 0.99
Shares = tuple[float, float, float, float]
"""Top, left, bottom and right of a part of a frame, in shares of its height and width."""
WHOLE: Shares = (0.0, 0.0, 1.0, 1.0)
FIELDS = 1e-4, 1e4
"""Tangents of half a field of view that can be."""


@dataclass(frozen=True)
class FrameStatistics:
    """What the clip's normalisation needs of one frame's prior."""

    depth_sum: float
    """Over valid pixels."""
    valid: float
    """Number of valid pixels."""
    pixels: float
    low: float
    """1 % quantile (nearest) of inverse depth, invalid pixels being zero."""
    high: float
    """99 % quantile."""


@dataclass(frozen=True)
class ClipNormalisation:
    """Scale and disparity bounds of a clip."""

    scale: float
    """Mean valid depth, at least 1e-3: depths are divided by it."""
    low: float
    high: float
    """Bounds of disparity after that division."""

    @classmethod
    def of(cls, frames: Iterable[FrameStatistics]) -> ClipNormalisation:
        """Over all frames: mean depth; lowest and highest of the frames' quantiles."""
        stats = list(frames)
        pixels = sum(s.pixels for s in stats)
        mean = sum(s.depth_sum for s in stats) / pixels / (sum(s.valid for s in stats) / pixels + 1e-8)
        scale = max(mean, 1e-3)
        low, high = (min(v * scale, 1e3) for v in (min(s.low for s in stats), max(s.high for s in stats)))
        return cls(scale, low, high)


@dataclass(frozen=True)
class PriorMaps:
    """A prior's view of some frames."""

    depth: Tensor
    """``[N, h, w]`` planar depth, any scale."""
    valid: Tensor
    """``[N, h, w]`` in [0, 1]; a share where the map was reduced."""
    half_field: Tensor
    """``[N, 2]`` tangents of half the field of view."""


def ask_prior(
    prior: ClipPrior,
    frames: Tensor,
    camera: KnownCamera | None = None,
    warn: bool = True,
    exact: bool = False,
    pictures: Sequence[Shares] | None = None,
) -> PriorMaps:
    """Call a prior and hold it to its protocol.

    Args:
        prior: on the clip that the frames are of, from :meth:`Prior.begin`.
        frames: ``[N, 3, H, W]`` in [0, 1].
        camera: what is known of it.
        warn: say so when frames are padded.
        exact: the field of view is the published mean over all pixels; else the best over the valid ones alone.
        pictures: what of each frame is valid at all; None: the whole.

    Returns:
        maps at the size that the prior answers in; what is not finite or (unless ``exact``) behind the camera is
        invalid.

    Raises:
        InputError: where it returns anything but points ``[N, H, W, 3]`` and a mask ``[N, H, W]``.
    """
    height, width = size = (frames.shape[-2], frames.shape[-1])
    frames, camera, top, left = _padded(frames, camera, warn)
    points, mask = _held_to_protocol(prior(frames, camera), frames)
    answered, padded = points.shape[1:3], (frames.shape[-2], frames.shape[-1])
    rows = _inner(answered[0], top, height, padded[0]).to(frames.device)
    columns = _inner(answered[1], left, width, padded[1]).to(frames.device)
    z = points[..., 2]
    rays = points[..., :2] / (z[..., None] + 1e-7)
    sound = torch.isfinite(points).all(-1) & torch.isfinite(rays).all(-1)
    rays = torch.where(sound[..., None], rays, 0.0)
    valid = mask & sound & (exact | (z > 0))
    for one, picture in zip(valid, pictures or (), strict=pictures is not None):
        if picture != WHOLE:
            within = [
                (s + x * n) / m for x, s, n, m in zip(picture, (top, left) * 2, size * 2, padded * 2, strict=True)
            ]
            one &= _inside((within[0], within[1], within[2], within[3]), one)
    inside = torch.zeros_like(valid[0])
    inside[rows[:, None], columns] = True
    measured = half_field_of_valid_rays(rays, valid & inside)
    z, sound, valid, rays = (x.index_select(1, rows).index_select(2, columns) for x in (z, sound, valid, rays))
    half_field = half_field_of_rays(rays)
    if not exact:
        # From the outermost pixels of the answer to those of the frame's part of it.
        pitch = [width / padded[1] / len(columns), height / padded[0] / len(rows)]
        steps = [(n - 1) / max(m - 1, 1) * m for n, m in ((len(columns), answered[1]), (len(rows), answered[0]))]
        measured = measured * measured.new_tensor([p * s for p, s in zip(pitch, steps, strict=True)])
        half_field = torch.where(torch.isfinite(measured) & (measured > 0), measured, half_field.nan_to_num(1.0))
        half_field = half_field.clamp(*FIELDS)
    return PriorMaps(depth=torch.where(sound, z, 0.0), valid=valid.float(), half_field=half_field)


def _padded(frames: Tensor, camera: KnownCamera | None, warn: bool) -> tuple[Tensor, KnownCamera | None, int, int]:
    """Frames ``[N, 3, H, W]`` that are not too wide or high, their camera, and rows and columns that came before."""
    _, _, height, width = frames.shape
    pad_x = max(0, round(height / WIDEST) - width) if height > width else 0
    pad_y = max(0, round(width / WIDEST) - height) if width > height else 0
    left, top = pad_x // 2, pad_y // 2
    if pad_x or pad_y:
        if warn:
            warnings.warn(
                f"frames of {width}x{height} are padded to an aspect ratio of {WIDEST:g} for the per-frame prior, "
                "which handles wider ones badly",
                stacklevel=2,
            )
        frames = F.pad(frames, (left, pad_x - left, top, pad_y - top), mode="replicate")
        if camera is not None:
            tangent = math.tan(camera.fov_x / 2) * frames.shape[-1] / width
            camera = KnownCamera(2 * math.atan(tangent))
    return frames, camera, top, left


def _inside(picture: Shares, like: Tensor) -> Tensor:
    """Which pixels of ``[H, W]`` have their centres in a part of the frame, ``[H, W]`` bool."""
    y, x = ((torch.arange(n, device=like.device) + 0.5) / n for n in like.shape)
    top, left, bottom, right = picture
    return ((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))


def _inner(answered: int, start: int, inner: int, padded: int) -> Tensor:
    """Rows (or columns) of an answer that lie in the frame: the nearest to each of as many as are its share.

    Args:
        answered: rows of the answer.
        start: padding before the frame, pixels.
        inner: of the frame.
        padded: of the frame with its padding.
    """
    count = max(1, round(inner * answered / padded))
    middles = start + (torch.arange(count, dtype=torch.float64) + 0.5) * inner / count
    return (middles * answered / padded).long()


def _held_to_protocol(answer: Any, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Points float32 and mask bool, on the frames' device; a mask's NaN is no."""
    wanted = "it should return points [N, H, W, 3] and a mask [N, H, W]"
    if not (isinstance(answer, tuple | list) and len(answer) == 2 and all(isinstance(x, Tensor) for x in answer)):
        raise InputError(f"the prior returned a {type(answer).__name__}; {wanted}, both tensors.")
    points, mask = answer
    for name, tensor in (("points", points), ("mask", mask)):
        kinds = {"meta": tensor.is_meta, "nested": tensor.is_nested, "quantized": tensor.is_quantized}
        kinds[str(tensor.layout).removeprefix("torch.")] = tensor.layout != torch.strided
        kind = next((k for k, found in kinds.items() if found), None)
        if kind is not None:
            raise InputError(f"the prior returned its {name} as a {kind} tensor; {wanted}, both dense.")
        if tensor.is_complex() or (name == "points" and tensor.dtype == torch.bool):
            raise InputError(
                f"the prior returned its {name} as {str(tensor.dtype).removeprefix('torch.')}; {wanted}, real numbers."
            )
    if points.ndim != 4 or len(points) != len(frames) or points.shape[-1] != 3 or mask.shape != points.shape[:-1]:
        raise InputError(
            f"the prior returned points {list(points.shape)} and mask {list(mask.shape)} for frames "
            f"{list(frames.shape)}; {wanted}."
        )
    if not points.numel():
        raise InputError(f"the prior returned points {list(points.shape)}, without a pixel; {wanted}.")
    points = points.detach().to(frames.device, torch.float32).contiguous()
    if mask.is_floating_point():
        mask = mask.float().nan_to_num(0.0)
    return points, mask.detach().to(frames.device).bool()


def resized(frames: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Frames ``[N, 3, H, W]`` in [0, 1] at a size, ``[N, 3, h, w]``, by an antialiased filter of PyTorch's."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    return F.interpolate(frames, size, mode=mode, align_corners=False, antialias=True).clamp(0, 1)


def prior_view(
    prior: Prior,
    asked: ClipPrior,
    frames: Iterable[Tensor],
    video: tuple[int, int],
    size: tuple[int, int],
    camera: KnownCamera | None = None,
    exact: bool = False,
    warn: bool = True,
    pictures: Sequence[Shares] | None = None,
) -> tuple[PriorMaps, list[FrameStatistics]]:
    """What inference and training alike take from a prior: maps at the processing size, statistics at its own.

    Args:
        prior: the prior, which says at what size it wants frames; with ``exact`` it gets them as they are.
        asked: the same, on the clip that the frames are of.
        frames: each ``[1, 3, H, W]`` in [0, 1], of the video.
        video: their height and width; the half field is that of their outermost pixel centres.
        size: of processing; with ``exact`` maps keep the prior's own size, as published.
        camera: what is known of it.
        exact: the published order of operations.
        warn: say so when frames are padded.
        pictures: what of each frame is valid at all; None: the whole.

    Raises:
        InputError: where the prior breaks its protocol.
    """
    wanted = video if exact else prior.frame_size(*video)
    # In one layout, whatever the frames' is: convolutions of another one round otherwise.
    own = torch.cat([resized(f, wanted, "bilinear") for f in frames]).contiguous(memory_format=torch.channels_last)
    maps = ask_prior(asked, own, camera, warn, exact, pictures)
    stats = statistics(maps)
    if exact:
        return maps, stats
    half_field = half_field_at_size(maps.half_field, (maps.depth.shape[-2], maps.depth.shape[-1]), video)
    return replace(reduce_maps(maps, *size), half_field=half_field), stats


def statistics(maps: PriorMaps) -> list[FrameStatistics]:
    """Of each frame."""
    rows = []
    for z, valid in zip(maps.depth, maps.valid, strict=True):
        m = valid > 0
        inverse = torch.where(m, 1 / z.clamp_min(1e-12), 0.0).flatten()
        # torch.quantile stops at 16 M values; "nearest" is one order statistic, which kthvalue finds at any size.
        low, high = (inverse.kthvalue(round(q * (len(inverse) - 1)) + 1).values for q in (1 - QUANTILE, QUANTILE))
        rows.append(torch.stack([torch.where(m, z, 0.0).double().sum(), m.sum().double(), low.double(), high.double()]))
    pixels = float(maps.valid[0].numel())
    # One wait for the device, not one for each number.
    return [
        FrameStatistics(total, valid, pixels, low, high) for total, valid, low, high in torch.stack(rows).cpu().tolist()
    ]


def reduce_maps(maps: PriorMaps, height: int, width: int) -> PriorMaps:
    """Maps at the processing size: depth as a mean over valid pixels, validity as their share in steps of 1/255.

    In these steps runs store it.
    """
    if maps.depth.shape[-2:] == (height, width):
        return maps

    def resize(x: Tensor) -> Tensor:
        return F.interpolate(x[:, None], (height, width), mode="bilinear", antialias=True)[:, 0]

    share = resize(maps.valid)
    depth = resize(torch.where(maps.valid > 0, maps.depth, 0.0)) / share.clamp_min(1e-6)
    return PriorMaps(torch.where(share > 0, depth, 0.0), (share.clamp(0, 1) * 255).round() / 255, maps.half_field)


def encoder_inputs(
    maps: PriorMaps, norm: ClipNormalisation, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the point-map VAE encodes, each ``[N, 1, height, width]``: disparity, validity, log depth, theta_diag.

    Maps at another size are normalised first and resized after, depth as depth and not its logarithm, as published.
    """
    m = maps.valid > 0
    z = maps.depth / norm.scale
    disparity = torch.where(m, 1 / z.clamp_min(1e-3), 0.0)
    disparity = ((disparity - norm.low) / (norm.high - norm.low + 1e-4)).clamp(0, 1) * 2 - 1
    z = torch.where(m, z.clamp_min(0) + 1e-7, 1.0)  # so that its logarithm is zero where invalid
    stack = torch.stack([disparity, maps.valid * 2 - 1, z], dim=1)
    if stack.shape[-2:] != (height, width):
        stack = F.interpolate(stack, (height, width), mode="bilinear", align_corners=False)
    theta = maps.half_field.norm(dim=-1).view(-1, 1, 1, 1).expand(-1, 1, height, width)
    disparity, valid, z = stack.chunk(3, dim=1)
    return disparity, valid, z.log(), theta
