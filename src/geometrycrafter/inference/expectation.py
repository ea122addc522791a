"""What a run will take, by a rule: rough, and said before anything is loaded.

Time on a CPU, of all cores together: so much for each frame's pixels, which are decoded twice, compressed and written,
and so much for each pixel of the processing size and each parameter of the networks, the UNet's once for each window
that a frame is in and each step. Memory: the program, the weights, a frame at full size, what is decoded
together and a window at the processing size. The constants were measured with the embedded model on a machine that had
other work too; take them for true within a factor of two, of other networks three. On a GPU the time is not foretold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geometrycrafter.inference.options import Options
from geometrycrafter.inference.windows import Window
from geometrycrafter.weights.parts import PARTS, UNETS, parts_of
from geometrycrafter.weights.places import prior_file

START_SECONDS = 4.0
"""Of one core, to load and begin."""
FRAME_SECONDS = 0.2
"""Of one core, for a million pixels of a frame."""
WORK_SECONDS = 3.0
"""Of one core, for a million pixels of the processing size and a million parameters."""
PROGRAM = 500.0
"""MiB, without weights."""
FRAME_MEMORY = 65.0
"""MiB for a million pixels of a frame."""
CHUNK_MEMORY = 250.0
"""MiB for a million pixels of what is decoded together, at the processing size."""
WINDOW_MEMORY = 290.0
"""MiB for a million pixels of a window at the processing size."""
SMALL_SHARES = {"look": 0.01, "observe": 0.22, "condition": 0.1, "denoise": 0.052, "decode": 0.175, "steady": 0.13}
"""Seconds that the embedded model takes for a frame in each stage, a step of the UNet once, on a core of a CPU."""
PUBLISHED_SHARES = {
    "look": 0.004,
    "observe": 0.172,
    "condition": 0.014,
    "denoise": 0.0055,
    "decode": 0.098,
    "steady": 0.13,
}
"""The same of the published networks on a GPU, by docs/speed.md."""


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
    unet, steps = sizes[UNETS[variant]], options.steps if variant == "diffusion" else 1
    small, large = options.size[0] * options.size[1] / 1e6, height * width / 1e6
    work = small * ((networks - unet) * frames + unet * denoised * steps)
    longest = max(w.frames for w in windows)
    return Expectation(
        core_seconds=START_SECONDS + FRAME_SECONDS * large * frames + WORK_SECONDS * work,
        memory=PROGRAM
        + 4 * networks
        + FRAME_MEMORY * large
        + CHUNK_MEMORY * small * min(frames, options.decode_chunk)
        + WINDOW_MEMORY * small * longest,
    )


def stage_shares(root: Path, variant: str, options: Options) -> dict[str, float]:
    """What each stage of a run takes for a frame, beside the others.

    Args:
        root: of the model.
        variant: of its UNet.
        options: windows, overlap and steps.
    """
    prior = prior_file(root)
    shares = SMALL_SHARES if prior is not None and prior.suffix == ".safetensors" else PUBLISHED_SHARES
    seen = options.window / (options.window - options.overlap) * (options.steps if variant == "diffusion" else 1)
    return {stage: share * (seen if stage == "denoise" else 1) for stage, share in shares.items()}


def _parameters(weights: Path) -> float:
    """Millions, by the size of a file."""
    return weights.stat().st_size / (2e6 if ".fp16" in weights.suffixes else 4e6)
