"""One line to an estimator."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch

from geometrycrafter.errors import InputError, reason
from geometrycrafter.inference.estimator import Estimator
from geometrycrafter.inference.options import Options
from geometrycrafter.inference.precision import Dtype, settled_dtype
from geometrycrafter.inference.workers import Model, Workers
from geometrycrafter.priors.protocol import FrameFunction, Prior
from geometrycrafter.weights.models import load_networks, load_prior
from geometrycrafter.weights.parts import PARTS, UNETS
from geometrycrafter.weights.places import prior_file, resolve

PUBLISHED_PIXELS, TINY_PIXELS = 320 * 640, 192 * 320
"""Pixels of the processing size where none is given."""
MOST_DEVICES = 64


def load(
    model: str | os.PathLike[str] = "tiny",
    variant: str | None = None,
    prior: Prior | FrameFunction | None = None,
    device: str | torch.device | None = None,
    dtype: Dtype = torch.float32,
    offload: bool = False,
    devices: Sequence[str | torch.device] | None = None,
) -> Estimator:
    """Load a model.

    Args:
        model: ``tiny`` (embedded), ``diffusion`` or ``deterministic`` (the published weights, from the cache), or a
            folder laid out like the published repositories.
        variant: ``diffusion`` or ``deterministic``; None: the model's own.
        prior: any callable, frames ``[N, 3, H, W]`` in [0, 1] -> points ``[N, H, W, 3]`` and mask ``[N, H, W]``;
            None: the one that comes with the weights.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: a GPU of NVIDIA's where there is one, else the processor.
        dtype: of the UNet, the frame autoencoder and the image encoder; ``auto``: 16 bits where the device is fast in
            them, else float32.
        offload: parts of the model wait in the machine's memory, and are on the device only while they are needed.
        devices: one for each of several processes that share the work of a clip, in place of ``device``: ``["cuda:0",
            "cuda:1"]``, ``["cpu", "cpu"]``. Each has the model; a prior of one's own must be of a module that they can
            import.

    Raises:
        InputError: where weights or a device are missing or not as they should be.
    """
    several = [checked_device(one) for one in devices or ()]
    place = several[0] if several else checked_device(device)
    dtype = settled_dtype(dtype, place)
    root, variant = resolve(os.fspath(model), variant)
    workers = _workers(several, Path(root), variant, dtype, offload, prior) if len(several) > 1 else None
    # Where others compute, the networks here say what they are, and have no values.
    waiting = torch.device("meta" if workers else "cpu") if offload or workers else place
    networks = load_networks(root, variant, dtype, waiting)
    networks.offloaded = place if offload else None
    file, (pixels, options) = prior_file(root), defaults_of(root, variant)
    if prior is None:
        if file is None:
            raise InputError(f"{Path(root)}: no prior is there; put MoGe's model.pt in moge-vitl or pass prior=.")
        prior = load_prior(file, waiting)
    return Estimator(networks, prior, pixels, options, workers)


def devices_of(text: str) -> list[str]:
    """Devices by what somebody writes: ``cuda:0,cuda:1``; ``all`` GPUs; ``cpu:2``, two processes on the processor.

    Raises:
        InputError: where it names none, or too many processes.
    """
    found: list[str] = []
    for word in filter(None, text.replace(" ", "").split(",")):
        if word == "all":
            found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        elif word.startswith("cpu:") and word[4:].isdecimal():
            found += ["cpu"] * min(int(word[4:]), MOST_DEVICES + 1)
        else:
            found.append(word)
    if not found or len(found) > MOST_DEVICES:
        many = "no" if not found else "too many"
        raise InputError(
            f"--devices {text}: these are {many} devices; name them, as in cuda:0,cuda:1 or cpu:2 (two processes "
            f"on the processor), {MOST_DEVICES} at most."
        )
    return found


def _workers(
    devices: list[torch.device],
    root: Path,
    variant: str,
    dtype: torch.dtype,
    offload: bool,
    prior: Prior | FrameFunction | None,
) -> Workers:
    try:
        pickled = None if prior is None else pickle.dumps(prior)
    except Exception as error:  # whatever a class of somebody's raises
        raise InputError(
            f"prior: other processes can't have it ({reason(error)}); define it at the top of a module, or give one "
            "device."
        ) from error
    model = Model(root, variant, str(dtype).removeprefix("torch."), offload, pickled)
    return Workers([str(one) for one in devices], model, max(1, torch.get_num_threads() // len(devices)))


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


def checked_device(device: str | torch.device | None) -> torch.device:
    """A device that is there; None: a GPU of NVIDIA's where there is one, else the processor.

    Raises:
        InputError: where it isn't, or the name is none.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if str(device) == "cuda" and torch.cuda.is_available():
            raise InputError(
                f"--device cuda: the GPU can't be used ({reason(error)}); --device cpu computes on the processor."
            ) from error
        there = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        raise InputError(f"--device {device}: this machine has no such device; it has {', '.join(there)}.") from error
    return place
