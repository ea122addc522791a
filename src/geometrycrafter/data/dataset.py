"""What a data set on disk is: sequences of frames that are read one at a time, each with its geometry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.files import natural

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Multiplied on the right of a camera-to-world matrix whose camera looks along -z with y up: OpenCV's axes."""
NED = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""The same for a camera whose x looks forward, y right and z down."""


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
    complete: tuple[int, int] | None = None
    """Sequences and frames of a whole download, as this adapter counts; None: not known."""
    evaluation: Selection | None = None
    """Set for the seven that judge; the other fourteen train."""
    notes: tuple[str, ...] = field(default=())
    version: int = 1
    """Raised where frames are read otherwise than before: shards made earlier are not gone on with."""

    def sequences(self, root: Path) -> list[Sequence]:
        """Every sequence below a folder that has frames.

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
        return found


def listed(folder: Path, pattern: str) -> list[Path]:
    """What matches below a folder, in natural order."""
    return sorted(folder.glob(pattern), key=natural)


def below(root: Path, *patterns: str) -> list[Path]:
    """What the first pattern matches that matches anything, in natural order: layouts with and without a top folder."""
    for pattern in patterns:
        found = listed(root, pattern)
        if found:
            return found
    return []


def number(path: Path) -> int:
    """The last number in a file's name."""
    digits = re.findall(r"\d+", path.stem)
    if not digits:
        raise InputError(f"{path}: a number was expected in its name.")
    return int(digits[-1])


def split_at_gaps(name: str, items: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Sequence]:
    """Sequences of consecutive numbers: a missing frame begins another, which its first number tells apart."""
    own: list[dict[str, Any]] = []
    own_name, before = name, 0
    for index, item in items:
        if own and index != before + 1:
            yield Sequence(own_name, tuple(own))
            own, own_name = [], f"{name}-from{index}"
        own.append(item)
        before = index
    if own:
        yield Sequence(own_name, tuple(own))


def camera(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Intrinsics ``[3, 3]``."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def camera_of_field(shape: tuple[int, ...], tan_x: float, tan_y: float | None = None) -> np.ndarray:
    """Intrinsics of a camera that looks through the middle of the picture.

    Args:
        shape: height and width of the picture.
        tan_x: tangent of half the horizontal field of view.
        tan_y: of the vertical one; None: pixels are square.
    """
    height, width = shape
    fx = width / 2 / tan_x
    fy = fx if tan_y is None else height / 2 / tan_y
    return camera(fx, fy, (width - 1) / 2, (height - 1) / 2)


def planar(distance: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Depth along the optical axis from the distance to the optical centre, both ``[H, W]``."""
    height, width = distance.shape
    x = (np.arange(width, dtype=np.float32) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (np.arange(height, dtype=np.float32) - intrinsics[1, 2]) / intrinsics[1, 1]
    length = np.sqrt(1 + (x * x)[None].astype(np.float32) + (y * y)[:, None].astype(np.float32))
    return (distance / length).astype(np.float32)


def inverse_pose(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a rigid motion ``[4, 4]``."""
    turned = np.eye(4)
    turned[:3, :3] = matrix[:3, :3].T
    turned[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return turned


def rotation_of_quaternion(w: float, x: float, y: float, z: float) -> np.ndarray:
    """Rotation ``[3, 3]`` of a quaternion of any length."""
    n = w * w + x * x + y * y + z * z
    s = 2 / n if n else 0.0
    return np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
            [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
            [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
        ]
    )


def pose_of(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """``[4, 4]`` from a rotation ``[3, 3]`` and a position ``[3]``."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def kept(depth: np.ndarray, low: float = 1e-5, high: float = np.inf) -> np.ndarray:
    """Depth ``[H, W]`` float32 with zero wherever it is not finite or not between the bounds."""
    with np.errstate(invalid="ignore"):
        inside = depth > low
        inside &= depth < high
    return np.where(inside, depth, 0).astype(np.float32, copy=False)


def table(path: Path, columns: int | None = None) -> np.ndarray:
    """Numbers of a text file, ``[rows, columns]``.

    Raises:
        InputError: names the file, where it is missing, or no such table.
    """
    try:
        values = np.loadtxt(path, ndmin=2, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: numbers were expected ({str(error).splitlines()[0]}).") from error
    if columns is not None and values.shape[1] != columns:
        raise InputError(f"{path}: {columns} numbers a line were expected, not {values.shape[1]}.")
    return values
