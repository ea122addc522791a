"""What can be chosen when shards are made: one declaration for flags, Python and the record beside the shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from geometrycrafter.settings import Intrinsics, Positive, Range, Rate, Seed, Settings, Size

LONGEST = 150
"""Frames of a training clip (supplementary, section 2)."""
LOSSLESS = 101
"""The quality of pictures that are stored as they are, in PNG."""
Processes = Annotated[int, Range(1, 1024)]
World = Annotated[int, Range(1, 2)]
"""Of rendered clips."""


@dataclass(frozen=True)
class PreparationOptions(Settings):
    """How a data set becomes shards."""

    size: Size = (320, 640)
    """Height and width of training clips (the paper's); evaluation sets have the protocol's."""
    quality: Annotated[int, Range(1, LOSSLESS)] = 95
    """Of JPEGs, 1 to 100, above that lossless, as evaluation sets always are."""
    processes: Processes = 1
    """That read."""
    hold_out: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Share of a training set's scenes to set aside, whole; 0: none."""
    hold_out_seed: Seed = 0
    """Of which."""


@dataclass(frozen=True)
class SynthesisOptions(Settings):
    """What is rendered."""

    clips: Annotated[int, Range(1, 10**7)] = 1000
    frames: Annotated[int, Range(1, 10**5)] = 8
    """Of each clip."""
    size: Size = (96, 128)
    """Height and width."""
    seed: Seed = 0
    """Of the first clip; the others' follow."""
    processes: Processes = 1
    """That render."""
    world: World = 1
    """1: the one that the embedded model was trained on; 2: with what real videos show besides."""


@dataclass(frozen=True)
class RecordingOptions(Settings):
    """A recording, and how its files are found and understood."""

    folder: Path
    colour: str = ""
    """Glob of the pictures below the folder, or empty: the usual names are tried."""
    depth: str = ""
    """The same for depth maps: PNG of 16 bits, EXR, NPY, NPZ (first array) or PFM."""
    poses: str = ""
    """The same for 4x4 camera-to-world text files; none where nothing matches."""
    unit: Annotated[float, Range(0, 1000)] = 0.0
    """Metres in one unit of the depth maps; 0: a thousandth for integers, one for floating point."""
    farthest: Positive = 60.0
    """Depths beyond are unknown, metres."""
    intrinsics: Intrinsics | None = None
    """Pixels of the colour pictures; None: read from a file in the folder."""
    fps: Rate = 30.0
    """Frames a second."""
