"""What a run will take, by a rule: rough, and said before anything is loaded.

Time on a CPU, of all cores together: so much for each frame's pixels, which are decoded twice, compressed and written,
so much for levelling each frame, and the networks' arithmetic, which was counted, at the rate of this machine's
products, which is measured at once. Memory: the program, the weights, a frame at full size, what is decoded together
and a window at the processing size. The other constants were measured with the embedded model on a machine that had
other work too; take them for true within a factor of two, of networks of other sizes three. On a GPU the time is not
foretold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import thread_time

import torch

from geometrycrafter.inference.options import Options
from geometrycrafter.inference.windows import Window
from geometrycrafter.weights.parts import PARTS, parts_of
from geometrycrafter.weights.places import prior_file

START_SECONDS = 4.0
"""Of one core, to load and begin."""
FRAME_SECONDS = 0.2
"""Of one core, for a million pixels of a frame."""
STEADY_SECONDS = 0.11
"""Of one core, for a frame, whatever its size."""
SHARED = 1.6
"""How often a frame is decoded: the full decoder's chunks share some, and the light one looks around its own."""
PROGRAM = 700.0
"""MiB, without weights."""
FRAME_MEMORY = 65.0
"""MiB for a million pixels of a frame."""
CHUNK_MEMORY = 250.0
"""MiB for a million pixels of what is decoded together, at the processing size."""
WINDOW_MEMORY = 290.0
"""MiB for a million pixels of a window at the processing size."""
SMALL_SHARES = {"look": 0.01, "observe": 0.22, "condition": 0.1, "denoise": 0.052, "decode": 0.175, "steady": 0.11}
"""Seconds that the embedded model takes for a frame in each stage, a step of the UNet once, on a core of a CPU."""
PUBLISHED_SHARES = {
    "look": 0.004,
    "observe": 0.172,
    "condition": 0.014,
    "denoise": 0.0055,
    "decode": 0.098,
    "steady": 0.11,
}
"""The same of the published networks on a GPU, by docs/speed.md."""


@dataclass(frozen=True)
class Arithmetic:
    """Billions of operations of a model's networks, as they were counted."""

    frame: float
    """Of a frame, whatever the processing size."""
    encoded: float
    """Of a million pixels of the processing size: all but UNet and decoder."""
    denoised: float
    """Likewise, of the UNet, for a step."""
    decoded: float
    light: float
    parameters: float
    """Millions, of all networks; by the size of their files."""
    pace: float
    """Of a core: how many times the rate of a product of matrices."""


PUBLISHED = Arithmetic(4_120, 12_390, 4_170, 12_500, 65, 2_670, 2.0)
EMBEDDED = Arithmetic(0, 160, 15, 65, 65, 5, 0.5)


@dataclass(frozen=True)
class Expectation:
    """What a run will take, about."""

    core_seconds: float
    """Of one core of a CPU."""
    memory: float
    """MiB at most."""


def expected(root: Path, variant: str, options: Options, windows: list[Window], height: int, width: int) -> Expectation:
    """What a run will take.

    Args:
        root: of the model.
        variant: of its UNet.
        options: with the processing size.
        windows: of the clip.
        height: of its frames, pixels.
        width: likewise.

    Raises:
        InputError: where the model's weights are missing.
    """
    assert options.size is not None
    sizes = {part: _parameters(PARTS[part].weights(root)) for part in parts_of(variant)}
    prior = prior_file(root)
    networks = sum(sizes.values()) + (_parameters(prior) if prior else 0.0)
    frames, denoised = windows[-1].end, sum(w.frames for w in windows)
    steps = options.steps if variant == "diffusion" else 1
    small, large = options.size[0] * options.size[1] / 1e6, height * width / 1e6
    own = EMBEDDED if prior is not None and prior.suffix == ".safetensors" else PUBLISHED
    decoded = SHARED * (own.light if options.decoder == "light" else own.decoded)
    work = (own.frame + small * (own.encoded + decoded)) * frames + small * own.denoised * denoised * steps
    work *= networks / own.parameters
    levelled = 0.0 if options.exact or options.steady == "off" else STEADY_SECONDS * frames
    longest = max(w.frames for w in windows)
    return Expectation(
        core_seconds=START_SECONDS + FRAME_SECONDS * large * frames + levelled + work / (own.pace * core_rate()),
        memory=PROGRAM
        + 4 * networks
        + FRAME_MEMORY * large
        + CHUNK_MEMORY * small * min(frames, options.decode_chunk)
        + WINDOW_MEMORY * small * longest,
    )


def core_rate() -> float:
    """Billions of operations a second that a core makes in a product of matrices, by its own clock, measured here."""
    side, threads = 512, torch.get_num_threads()
    a = torch.ones(side, side)
    torch.set_num_threads(1)  # the clock is that of this one
    try:
        shortest = min(_clocked(a) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    return 2 * side**3 / shortest / 1e9


def _clocked(a: torch.Tensor) -> float:
    began = thread_time()
    a @ a
    return thread_time() - began


def stage_shares(root: Path, variant: str, options: Options) -> dict[str, float]:
    """What each stage of a run takes for a frame, beside the others.

    Args:
        root: of the model.
        variant: of its UNet.
        options: windows, overlap and steps.
    """
    prior = prior_file(root)
    shares = SMALL_SHARES if prior is not None and prior.suffix == ".safetensors" else PUBLISHED_SHARES
    if options.exact or options.steady == "off":
        shares = {stage: share for stage, share in shares.items() if stage != "steady"}
    seen = options.window / (options.window - options.overlap) * (options.steps if variant == "diffusion" else 1)
    return {stage: share * (seen if stage == "denoise" else 1) for stage, share in shares.items()}


def _parameters(weights: Path) -> float:
    """Millions, by the size of a file."""
    return weights.stat().st_size / (2e6 if ".fp16" in weights.suffixes else 4e6)
