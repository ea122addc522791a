"""Point maps of a video in one call."""

from __future__ import annotations

import os
from typing import Any

import torch

from geometrycrafter.inference.loading import load
from geometrycrafter.priors.protocol import FrameFunction, Prior
from geometrycrafter.scene import Scene


def estimate(
    video: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    model: str | os.PathLike[str] = "tiny",
    variant: str | None = None,
    prior: Prior | FrameFunction | None = None,
    device: str | torch.device | None = None,
    **options: Any,
) -> Scene:
    """Load a model and estimate the point maps of a video. For several videos, :func:`load` once and call that.

    Args:
        video: as the call of :class:`Estimator` takes it: a path, an array ``[T, H, W, 3]``, an iterator of frames.
        output: the scene's folder; None: a temporary one that goes with the scene object.
        model: see :func:`load`.
        variant: likewise.
        prior: likewise.
        device: where it computes; None: a GPU of NVIDIA's where there is one, else the processor.
        **options: of the call: ``size``, ``window``, ``resume``, ``overwrite``, ``progress``, ...

    Returns:
        the scene.

    Raises:
        InputError: where the model, the video, an option or the output is at fault.
    """
    return load(model, variant, prior, device)(video, output=output, **options)
