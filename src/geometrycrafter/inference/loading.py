"""One line to an estimator."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from geometrycrafter.errors import InputError
from geometrycrafter.inference.estimator import Estimator
from geometrycrafter.inference.options import Options
from geometrycrafter.priors.protocol import FrameFunction, Prior
from geometrycrafter.weights.models import load_networks, load_prior
from geometrycrafter.weights.parts import PARTS, UNETS
from geometrycrafter.weights.places import prior_file, resolve

PUBLISHED_PIXELS, TINY_PIXELS = 320 * 640, 192 * 320
"""Pixels of the processing size where none is given."""


def load(
    model: str | os.PathLike[str] = "tiny",
    variant: str | None = None,
    prior: Prior | FrameFunction | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    offload: bool = False,
) -> Estimator:
    """Load a model.

    Args:
        model: ``tiny`` (embedded), ``diffusion`` or ``deterministic`` (the published weights, from the cache), or a
            folder laid out like the published repositories.
        variant: ``diffusion`` or ``deterministic``; None: the model's own.
        prior: any callable, frames ``[N, 3, H, W]`` in [0, 1] -> points ``[N, H, W, 3]`` and mask ``[N, H, W]``;
            None: the one that comes with the weights.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: of the UNet, the frame autoencoder and the image encoder.
        offload: parts of the model wait in the machine's memory, and are on the device only while they are needed.

    Raises:
        InputError: where weights or the device are missing or not as they should be.
    """
    place = checked_device(device)
    root, variant = resolve(os.fspath(model), variant)
    waiting = torch.device("cpu") if offload else place
    networks = load_networks(root, variant, dtype, waiting)
    networks.offloaded = place if offload else None
    file, (pixels, options) = prior_file(root), defaults_of(root, variant)
    if prior is None:
        if file is None:
            raise InputError(f"{Path(root)}: no prior is there; put MoGe's model.pt in moge-vitl or pass prior=.")
        prior = load_prior(file, waiting)
    return Estimator(networks, prior, pixels, options)


def defaults_of(root: Path, variant: str) -> tuple[int, Options]:
    """Pixels of a model's processing size, and the options that its calls start from; no weights are read.

    Args:
        root: of the model's folder.
        variant: of its UNet.

    Raises:
        InputError: where its configuration is missing or damaged.
    """
    file = prior_file(root)
    if file is None or file.suffix != ".safetensors":
        return PUBLISHED_PIXELS, Options()
    # Networks that learned beside the embedded prior, on clips of so many frames; of later frames they know nothing.
    frames = PARTS[UNETS[variant]].sizes(root).num_frames
    return TINY_PIXELS, Options(window=frames, overlap=frames // 2)


def checked_device(device: str | torch.device) -> torch.device:
    """A device that is there.

    Raises:
        InputError: where it isn't, or the name is none.
    """
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        raise InputError(f"--device {device}: this machine has no such device; it has {', '.join(there)}.") from error
    return place
