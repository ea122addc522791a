"""How sure a run is of each pixel: the probability that its point is within 25 % of the truth.

A point's error is |s p - q| / |q| with one scale s for the clip, as in the paper's inliers. What foretells it, of what
a run has anyway: how far the video model departs from its prior, in the pixel and over its frame; how near the surface
is, as one scale for the clip suits what is far; and how far from the picture's middle the pixel is, where an error in
the field of view grows. The depth's slope, the mask's own certainty, the change from frame to frame and what
neighbouring windows disagree on were tried, and told next to nothing beyond these.

The weights are those of a logistic regression on rendered clips with the embedded model (``benchmarks/confidence.py``
makes and judges them). With other models the order of pixels should carry over; as a probability, judge it first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.inference.conditioning import ClipNormalisation

STEPS = 255
"""Confidence is stored in steps of its reciprocal."""
SOFT = 0.01
"""Added to departures before their logarithm: less is noise."""


@dataclass(frozen=True)
class Weights:
    """Of the log odds."""

    constant: float = -0.368
    depth: float = 0.256
    """Of log depth, the clip's mean depth being 1."""
    departure: float = -0.300
    """Of the log of the pixel's departure from the prior."""
    departures: float = -0.505
    """Of the log of its mean over the frame."""
    radius: float = -0.962
    """Of the distance from the picture's middle, 1 in its corners."""


@dataclass(frozen=True)
class PriorFrame:
    """What the prior said of a frame, at the processing size."""

    log_depth: Tensor
    """``[h, w]``, the clip's mean depth being 1; any number where it is not valid."""
    valid: Tensor
    """``[h, w]`` in [0, 1], a share."""

    @classmethod
    def of(cls, depth: Tensor, valid: Tensor, norm: ClipNormalisation, size: tuple[int, int]) -> PriorFrame:
        """From what a run keeps of it.

        Args:
            depth: ``[h, w]`` of whatever size.
            valid: ``[h, w]`` uint8, likewise.
            norm: of the shot.
            size: of processing.
        """
        share, log_depth = valid.float() / 255, (depth / norm.scale).clamp_min(1e-3).log()
        if tuple(depth.shape) != size:
            log_depth, share = (
                F.interpolate(x[None, None], size, mode="nearest-exact")[0, 0] for x in (log_depth, share)
            )
        return cls(log_depth, share)


def features(log_depth: Tensor, mask: Tensor, prior: PriorFrame) -> Tensor:
    """What confidence is made of, ``[h, w, 4]``: as the fields of :class:`Weights` after the first.

    Args:
        log_depth: ``[h, w]`` as decoded.
        mask: ``[h, w]`` bool, likewise.
        prior: of the same frame.
    """
    seen = prior.valid > 0.5
    off, both = (log_depth - prior.log_depth).abs(), seen & mask
    # Where nothing is seen by both, as much as counts at all: nothing bears the frame out.
    mean = torch.where(both.any(), (off * both).sum() / both.sum().clamp_min(1), 1.0)
    off = torch.where(seen, off, mean)
    height, width = log_depth.shape
    y, x = (torch.linspace(-1, 1, n, device=off.device) for n in (height, width))
    radius = ((y * y)[:, None] + x * x).div(2).sqrt()
    departures = [(value + SOFT).log().clamp(-4.5, 0) for value in (off, mean.expand_as(off))]
    return torch.stack([log_depth.clamp(-2, 2), *departures, radius], dim=-1)


def confidence(log_depth: Tensor, mask: Tensor, prior: PriorFrame) -> Tensor:
    """Of each pixel, ``[h, w]`` in (0, 1); for the arguments see :func:`features`."""
    w = Weights()
    found = features(log_depth, mask, prior)
    weights = found.new_tensor([w.depth, w.departure, w.departures, w.radius])
    return ((found * weights).sum(-1) + w.constant).sigmoid()


def stored(sure: Tensor, size: tuple[int, int], mask: Tensor) -> Tensor:
    """Confidence ``[H, W]`` float16 at a video's size, 0 where nothing is valid.

    Args:
        sure: ``[h, w]`` at the processing size.
        size: of the video's picture.
        mask: ``[H, W]`` bool.
    """
    whole = F.interpolate(sure[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return torch.where(mask, ((whole * STEPS).round().clamp_min(1) / STEPS), 0.0).half()
