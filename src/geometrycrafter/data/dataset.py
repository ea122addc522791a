"""What a data set on disk is: sequences of frames that are read one at a time, each with its geometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from geometrycrafter.errors import InputError


class Frame(NamedTuple):
    """A picture and its geometry, in the axes and units of :class:`geometrycrafter.data.clip.Clip`."""

    picture: np.ndarray
    """``[H, W, 3]`` uint8."""
    depth: np.ndarray
    """``[H, W]`` planar depth; zero where unknown."""
    intrinsics: np.ndarray
    """``[3, 3]``, pixels, pixel centres integers."""
    pose: np.ndarray | None = None
    """``[4, 4]`` camera-to-world."""
    sky: np.ndarray | None = None
    """``[H, W]`` bool."""
    dynamic: np.ndarray | None = None
    """``[H, W]`` bool."""


@dataclass(frozen=True)
class Sequence:
    """Frames in order of time, not read yet."""

    name: str
    """Unique in the data set; no slashes."""
    items: tuple[dict[str, Any], ...]
    """What the data set's ``read`` takes for each frame: paths and plain values, cheap to send to another process."""
    left_out: str = ""
    """Why it is not taken; empty: it is."""
    scene: str = ""
    """What it shares with others that show the same place; empty: its name, nothing is shared."""


class Found(NamedTuple):
    """What is below a folder."""

    sequences: list[Sequence]
    left_out: list[Sequence]
    """Those with a reason not to be taken."""

    def reasons(self) -> list[str]:
        """A sentence for each reason why sequences are left out, with their number and their frames'."""
        counts: dict[str, list[int]] = {}
        for sequence in self.left_out:
            counts.setdefault(sequence.left_out, []).append(len(sequence.items))
        return [f"left out: {len(n)} sequences, {sum(n)} frames: {reason}" for reason, n in counts.items()]


@dataclass(frozen=True)
class Selection:
    """What an evaluation protocol takes of a data set (supplementary, section 1.2)."""

    frames: int | None = None
    """At most so many of each sequence, after the stride."""
    stride: int = 1
    sequences: tuple[str, ...] | None = None
    """Their names; None: all."""
    crop: tuple[int, int] | None = None
    """Height and width of the middle that is then kept."""
    filter: Callable[[Frame], Frame] | None = None
    """Last: what else becomes of a frame."""


@dataclass(frozen=True)
class Tally:
    """What a training set's adapter takes of a whole download, beside what the paper's table 1 says of it."""

    paper: tuple[int, int | None]
    """Frames, in thousands as printed, and clips; None: pictures."""
    frames: int | None
    """Here; None: no listing is public."""
    clips: int | None
    """Here; None: not known, or pictures."""
    ground: str
    """What the numbers here are counted or reckoned from."""
    why: str = ""
    """Why they differ by more than three in a hundred."""

    def apart(self) -> list[float]:
        """How far the numbers here are from the paper's, relative; only those that both have."""
        pairs = zip((self.frames, self.clips), (1000 * self.paper[0], self.paper[1]), strict=True)
        return [here / there - 1 for here, there in pairs if here is not None and there is not None]


def reckoned(frames: int, sequences: int, longest: int) -> int:
    """Clips to expect of sequences whose lengths are not known: the last of each is half as long in the mean."""
    return round(frames / longest + sequences / 2)


@dataclass(frozen=True)
class DataSet:
    """One data set: how its files are found and read, and what is known of it."""

    name: str
    """On the command line."""
    title: str
    domain: str
    licence: str
    home: str
    """Where to get it."""
    find: Callable[[Path], Iterator[Sequence]]
    """The sequences below a folder, in a fixed order."""
    read: Callable[..., Frame]
    """One frame, from an item of a sequence."""
    frame_size: str
    """As distributed, height x width."""
    video: bool = True
    """False: pictures without an order in time; each becomes a clip of its own."""
    fps: float = 24.0
    unit: Literal["metres", "its own"] = "metres"
    paper: str = ""
    """Frames and clips in the paper's tables."""
    tally: Tally | None = None
    """Of a training set."""
    complete: tuple[int, int] | None = None
    """Sequences and frames of a whole download, as this adapter counts; 0 or None: not known."""
    evaluation: Selection | None = None
    """Set for the seven that judge; the other fourteen train."""
    notes: tuple[str, ...] = field(default=())
    version: int = 1
    """Raised where frames are read otherwise than before: shards made earlier are not gone on with."""

    def sequences(self, root: Path) -> list[Sequence]:
        """Every sequence below a folder that has frames, but for those that are left out.

        Raises:
            InputError: as :meth:`found` does.
        """
        return self.found(root).sequences

    def found(self, root: Path) -> Found:
        """Every sequence below a folder that has frames, and those that are left out.

        Raises:
            InputError: where the folder is missing or holds none, or two would have one name.
        """
        if not root.is_dir():
            raise InputError(f"{root}: there is no such folder; give the one that {self.title} was unpacked into.")
        found = [sequence for sequence in self.find(root) if sequence.items]
        if not found:
            raise InputError(
                f"{root}: nothing here looks like {self.title}; unpack it as its authors distribute it ({self.home})."
            )
        twice = next((name for name, count in Counter(s.name for s in found).items() if count > 1), None)
        if twice is not None:
            raise InputError(
                f"{root}: two sequences of {self.title} are named {twice}; give the folder of one of them."
            )
        whole = Found([s for s in found if not s.left_out], [s for s in found if s.left_out])
        if not whole.sequences:
            raise InputError(f"{root}: of {self.title} only what is not taken is here; {whole.reasons()[0]}.")
        return whole
