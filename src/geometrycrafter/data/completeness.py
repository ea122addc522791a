"""Whether a download is whole, seen without converting it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.data.dataset import DataSet, Frame, Sequence
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.segments import selected
from geometrycrafter.errors import InputError
from geometrycrafter.geometry import rigid
from geometrycrafter.geometry.reprojection import disagreement

OPTIONAL = ("mask", "moving", "labels", "sky", "records")
"""Files of an item that need not be there."""


@dataclass
class Completeness:
    """What a download holds."""

    sequences: int
    frames: int
    taken: tuple[int, int]
    """Sequences and frames that the published preparation takes."""
    left_out: list[str]
    """A sentence for each reason why sequences are not taken."""
    missing: list[str]
    """Files that are not there, or empty."""
    optional: Counter[str]
    """How many files are missing that need not be there, by kind."""
    broken: list[str]
    """First frames that can't be read."""
    poses: dict[str, float]
    """For each sequence with poses, how far depth disagrees between its first frames, relative."""
    improper: list[str]
    """Sequences whose first poses are no rigid motions."""
    expected: tuple[int, int] | None

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, as far as is known what there should be."""
        short = self.expected is not None and (self.sequences < self.expected[0] or self.frames < self.expected[1])
        return not (self.missing or self.broken or short)


def check(name: str, root: Path, progress: Callable[[int, int], None] | None = None) -> Completeness:
    """Look whether a download is whole, without converting it: every file, and the first frames of each sequence.

    Args:
        name: of the data set.
        root: where it was unpacked.
        progress: called with sequences done and sequences in all.

    Raises:
        InputError: where there is no such data set, or the folder holds nothing of it.
    """
    data = data_set(name)
    whole = data.found(root)
    sequences = whole.sequences
    taken = [selected(data, s) for s in sequences]
    missing: dict[str, None] = {}
    optional: Counter[str] = Counter()
    broken: list[str] = []
    poses: dict[str, float] = {}
    improper: list[str] = []
    for count, sequence in enumerate(sequences, 1):
        absent = dict(_absent(sequence))
        optional.update(kind for kind in absent.values() if kind in OPTIONAL)
        needed = {path: None for path, kind in absent.items() if kind not in OPTIONAL}
        missing |= needed
        if not needed:
            try:
                frames = [data.read(**item) for item in sequence.items[:2]]
            except InputError as error:
                broken.append(str(error))
            else:
                apart = _apart(data, frames)
                poses |= {} if apart is None else {sequence.name: apart}
                improper += [sequence.name] * any(f.pose is not None and _mirrors(f.pose) for f in frames)
        if progress is not None:
            progress(count, len(sequences))
    return Completeness(
        sequences=len(sequences) + len(whole.left_out),
        frames=sum(len(s.items) for s in (*sequences, *whole.left_out)),
        left_out=whole.reasons(),
        taken=(sum(bool(t) for t in taken), sum(map(len, taken))),
        missing=list(missing),
        optional=optional,
        broken=broken,
        poses=poses,
        improper=improper,
        expected=data.complete,
    )


def _absent(sequence: Sequence) -> Iterator[tuple[str, str]]:
    """The files of a sequence that are not there, or empty, and what each would be."""
    for item in sequence.items:
        for kind, path in item.items():
            if isinstance(path, Path) and not path.is_dir() and not (path.is_file() and path.stat().st_size):
                yield str(path), kind


def _mirrors(pose: np.ndarray) -> bool:
    return bool(rigid.improper(torch.tensor(pose)))


def _apart(data: DataSet, frames: list[Frame]) -> float | None:
    """How far the depth of two frames disagrees after reprojection, relative; None where there are no poses."""
    if len(frames) < 2 or not data.video or any(f.pose is None for f in frames):
        return None
    return disagreement(*(torch.tensor(x) for f in frames for x in (f.depth, f.intrinsics, f.pose)))
