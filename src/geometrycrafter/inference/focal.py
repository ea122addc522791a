"""Cameras of a clip, from what the decoder says of each frame's field of view (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from geometrycrafter.geometry.cameras import half_field_of_theta, intrinsics_from_half_field
from geometrycrafter.inference.decoding import DecodedFrames
from geometrycrafter.inference.options import Options
from geometrycrafter.video.bars import Box

PUBLISHED_SHARE = 1e-4
"""Of the pixels, which the published mean over valid pixels has in its denominator."""
SMALLEST_ANGLE = 1e-3


@dataclass(frozen=True)
class FrameAngle:
    """What a clip's camera needs of one frame's map of theta_diag, the tangent of half the diagonal field of view."""

    total: float
    """Sum over valid pixels."""
    valid: float
    """How many there are."""
    plain: float
    """Mean over all pixels."""

    @classmethod
    def of(cls, frame: DecodedFrames) -> FrameAngle:
        """Of one frame, its maps ``[1, H, W]``."""
        valid, theta = frame.mask[0].double(), frame.theta_diag[0].double()
        return cls((theta * valid).sum().item(), valid.sum().item(), theta.mean().item())

    def stored(self) -> list[float]:
        """As JSON."""
        return list(astuple(self))


def clip_intrinsics(angles: list[FrameAngle], options: Options, picture: Box, trusted: Tensor | None = None) -> Tensor:
    """Intrinsics ``[T, 3, 3]`` in pixels, pixel centres at integers, float32.

    Args:
        angles: of each frame.
        options: a known camera stands as it is; else one focal length for the clip, or one for each frame.
        picture: the part of the frames that was seen; its middle is the principal point.
        trusted: ``[T, 2]`` half field of a prior that knows it better than the decoder.
    """
    if options.intrinsics is not None:
        fx, fy, cx, cy = options.intrinsics
        return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32).repeat(len(angles), 1, 1)
    height, width = picture.size
    if trusted is not None:
        field = trusted.double().mean(0).expand_as(trusted) if options.focal == "shared" else trusted.double()
        return _in_frame(intrinsics_from_half_field(field.clamp_min(SMALLEST_ANGLE), height, width), picture)
    total, valid, plain = torch.tensor([astuple(a) for a in angles], dtype=torch.float64).unbind(-1)
    if options.focal == "shared":
        total, valid, plain = (x.mean().expand(len(angles)) for x in (total, valid, plain))
    # Where nothing is valid, the mean over all pixels stands in.
    mean = torch.where(valid > 0, total / (valid + PUBLISHED_SHARE * height * width), plain)
    if not options.exact:
        mean = mean.clamp_min(SMALLEST_ANGLE)  # an untrained network may say anything; a camera looks forward
    return _in_frame(intrinsics_from_half_field(half_field_of_theta(mean, height, width), height, width), picture)


def _in_frame(intrinsics: Tensor, picture: Box) -> Tensor:
    """Intrinsics ``[T, 3, 3]`` in pixels of the picture, as float32 in those of the frame."""
    intrinsics[:, 0, 2] += picture.left
    intrinsics[:, 1, 2] += picture.top
    return intrinsics.float()
