"""Where one shot ends and the next begins: hard cuts, and black between shots.

Frames are looked at as small grey pictures. Two are alike where the blocks of one are found in the other, each wherever
it has moved to, by their normalised correlation: motion and brightness make no difference, other things do. A hard cut
is where none of the last frames is like any of the next, far less than neighbours around it are; a flash, or a thing
that passes before the camera, has the same shot on its other side. What is black says nothing: the last frame before is
compared with the first one after; and so do bars, and their edges, which all shots of a film have in common.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HEIGHT, WIDTH = 36, 64
"""Of the small pictures."""
BLOCK, STEP = 8, 7
"""Side of a block, and from one to the next."""
REACH = 7, 12
"""How far a block is looked for, down and across."""
BLANK = 2.0
"""Standard deviation, of 255, below which a picture shows nothing."""
FLAT = 2.5
"""The same of a block, which then says nothing."""
DARK, EVEN = 60.0, 4.0
"""Of 255, the brightest that a bar may be, and by how much its pixels may differ."""
NEAR = 3
"""Frames before and after that a cut has to tell apart."""
AROUND = 6
"""Frames of each side, within which neighbours say how alike they are here; shots are as long at least."""
UNLIKE = 0.33
"""Of 1, what two frames of different shots differ by at least: in their blocks and in their shades."""
STANDS_OUT = 1.6, 0.1
"""Times what neighbours differ by around it, and more than that, that a cut does."""
SHADES = 0.04
"""Of 1, by how much more than around it shades differ where they alone make a cut stand out, blocks being noisy."""


class Difference(NamedTuple):
    """Between two frames."""

    blocks: float
    """How much of either is not in the other, 0 to 1."""
    shades: float
    """How far apart the distributions of brightness are, 0 to 1."""

    def is_cut(self, *around: Iterable[Difference | None]) -> bool:
        """Whether the two may be of different shots, and differ more than neighbours do nearby, on either side."""
        sides = [known for side in around if (known := [d for d in side if d is not None])]
        if self.blocks + self.shades <= UNLIKE:
            return False
        usual = max((float(np.median([d.blocks for d in side])) for side in sides), default=0.0)
        shades = max((d.shades for side in sides for d in side), default=0.0)
        more = self.blocks > max(usual * STANDS_OUT[0], usual + STANDS_OUT[1])
        return more or (self.blocks > usual and self.shades > SHADES + shades)

    def is_more(self, *around: Iterable[Difference | None]) -> bool:
        """Whether blocks differ more than any of neighbours' nearby."""
        return self.blocks > max((d.blocks for side in around for d in side if d), default=0.0) + STANDS_OUT[1]


class Glimpse:
    """A frame in small, and what is to be known of it."""

    def __init__(self, picture: Tensor):
        self.picture = picture
        """``[HEIGHT, WIDTH]`` float32, 0 to 255."""
        self.blank = bool(picture.std() < BLANK)
        self._rows, self._columns = _lit(picture), _lit(picture.T)

    @classmethod
    def of(cls, brightness: np.ndarray) -> Glimpse:
        """Of a frame ``[H, W]`` uint8."""
        # Every other pixel of a large frame is enough.
        step = max(1, min(brightness.shape[0] // (4 * HEIGHT), brightness.shape[1] // (4 * WIDTH)))
        values = torch.from_numpy(np.ascontiguousarray(brightness[::step, ::step], np.float32))
        return cls(F.adaptive_avg_pool2d(values[None], (HEIGHT, WIDTH))[0])

    @cached_property
    def _shades(self) -> Tensor:
        """``[32]``, shares of the pixels that are darker than each of so many levels."""
        inside = self.picture[self._rows, self._columns].flatten()
        return (inside[:, None] < torch.arange(8.0, 264, 8)).float().mean(0)

    def differs(self, other: Glimpse) -> Difference | None:
        """From another frame; None where one of them shows nothing."""
        if self.blank or other.blank:
            return None
        return Difference(self._unlike(other), float((self._shades - other._shades).abs().mean()))

    @cached_property
    def _blocks(self) -> tuple[Tensor, Tensor]:
        """``[N, 1, BLOCK, BLOCK]`` of length one, and their weights ``[N]``."""
        blocks = self.picture.unfold(0, BLOCK, STEP).unfold(1, BLOCK, STEP).reshape(-1, BLOCK, BLOCK)
        blocks = blocks - blocks.mean((1, 2), keepdim=True)
        length = blocks.square().sum((1, 2)).sqrt()
        deviation = length / BLOCK
        weight = torch.where((deviation > FLAT) & self._inside, deviation.clamp_max(20), 0.0)
        return (blocks / length.clamp_min(1e-6)[:, None, None])[:, None], weight

    @property
    def _inside(self) -> Tensor:
        """``[N]`` bool, blocks without a part in bars or at their edges."""
        across = [
            (first >= lit.start) & (first + BLOCK <= lit.stop)
            for side, lit in ((HEIGHT, self._rows), (WIDTH, self._columns))
            for first in [torch.arange(0, side - BLOCK + 1, STEP)]
        ]
        return (across[0][:, None] & across[1]).flatten()

    @cached_property
    def _length(self) -> Tensor:
        """``[1, h, w]``: of the block that begins at each place, less its mean."""
        one = self.picture[None] - self.picture.mean()
        mean, square = F.avg_pool2d(one, BLOCK, 1), F.avg_pool2d(one.square(), BLOCK, 1)
        return (square - mean.square()).clamp_min(FLAT**2).sqrt() * BLOCK

    def _unlike(self, other: Glimpse) -> float:
        there, weight = self._found_in(other)
        back, weight_back = other._found_in(self)
        total = weight + weight_back
        return 1 - (there + back) / total if total > 0 else 0.0

    def _found_in(self, other: Glimpse) -> tuple[float, float]:
        """Correlations of the blocks with the best places in another frame, weighted and summed; and the weights'
        sum."""
        blocks, weight = self._blocks
        centred = (other.picture - other.picture.mean())[None, None]
        found = F.conv2d(centred, blocks)[0] / other._length + OUT_OF_REACH
        best = found.flatten(1).max(1).values.clamp(0, 1)
        return float((best * weight).sum()), float(weight.sum())


def _lit(picture: Tensor) -> slice:
    """Rows of a picture ``[H, W]`` that are no bar at the top or bottom, nor the edge of one; all where all are."""
    dark = (picture.amax(1) <= DARK) & (picture.amax(1) - picture.amin(1) < EVEN)
    lit = (~dark).nonzero()[:, 0]
    if not len(lit):
        return slice(0, len(picture))
    first, end = int(lit[0]), int(lit[-1]) + 1
    edges = first > 0, end < len(picture)
    return slice(first + edges[0], end - edges[1]) if end - first > 2 else slice(first, end)


def _out_of_reach() -> Tensor:
    """``[N, h, w]``: minus infinity where a block is not looked for."""
    y, x = torch.arange(HEIGHT - BLOCK + 1), torch.arange(WIDTH - BLOCK + 1)
    down, across = (y[::STEP, None] - y).abs() > REACH[0], (x[::STEP, None] - x).abs() > REACH[1]
    out = down[:, None, :, None] | across[None, :, None, :]
    return torch.where(out, -torch.inf, 0.0).flatten(0, 1)


OUT_OF_REACH = _out_of_reach()


def find_cuts(brightness: Iterable[np.ndarray]) -> list[int]:
    """The first frame of each shot of a clip, 0 among them; none where there are no frames.

    Args:
        brightness: ``[H, W]`` uint8 of each frame, all of one size.
    """
    cuts = Cuts()
    for frame in brightness:
        cuts.take(frame)
    return cuts.finish()


T = TypeVar("T")


def cut_as_read(frames: Iterable[T], brightness: Callable[[T], np.ndarray]) -> Iterator[tuple[T, bool]]:
    """Each frame, and whether a shot begins with it; it is held back until the next few have told.

    Args:
        frames: of a clip. What is held back comes before an error of theirs.
        brightness: ``[H, W]`` uint8 of a frame.
    """
    cuts, held, given = Cuts(), deque[T](), 0
    failed: Exception | None = None
    try:
        for frame in frames:
            cuts.take(brightness(frame))
            held.append(frame)
            while given < cuts.decided:
                yield held.popleft(), cuts.begins(given)
                given += 1
    except Exception as error:
        failed = error
    cuts.finish()
    for number, frame in enumerate(held, start=given):
        yield frame, cuts.begins(number)
    if failed is not None:
        raise failed


class Cuts:
    """A look over one clip, which holds the last few frames in small."""

    def __init__(self) -> None:
        self._kept: deque[Glimpse] = deque(maxlen=2 * AROUND + NEAR)
        self._differ: deque[Difference | None] = deque(maxlen=self._kept.maxlen)
        """Each from the one before; None where one of them shows nothing."""
        self._count = 0
        self._lit: Glimpse | None = None
        """The last frame that showed something."""
        self._found: set[int] = set()

    @property
    def decided(self) -> int:
        """Of how many frames, from the first on, it is known whether a shot begins with them."""
        return max(0, self._count - AROUND + 1)

    def begins(self, frame: int) -> bool:
        """Whether a shot begins with a frame, once that is decided."""
        return frame in self._found

    def take(self, brightness: np.ndarray) -> None:
        """Look at the next frame, ``[H, W]`` uint8."""
        glimpse = Glimpse.of(brightness)
        before = self._kept[-1] if self._kept else None
        if before is None:
            self._found.add(0)
        self._kept.append(glimpse)
        self._differ.append(None if before is None else glimpse.differs(before))
        self._count += 1
        if not glimpse.blank and self._lit is not None and before is not self._lit:  # the first after black
            differs = self._lit.differs(glimpse)
            if differs and differs.is_cut(list(self._differ)[-2 * AROUND :]):
                self._found.add(self._count - 1)
        if not glimpse.blank:
            self._lit = glimpse
        if self._count > AROUND:
            self._look_for_cut(self._count - AROUND)

    def watched(self, brightness: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same, ``[H, W]`` uint8 each, looked at as they pass."""
        for frame in brightness:
            self.take(frame)
            yield frame

    def finish(self) -> list[int]:
        """The first frames of all shots: there are no more frames."""
        for late in range(max(1, self._count - AROUND + 1), self._count):
            self._look_for_cut(late)
        return sorted(self._found)

    def _look_for_cut(self, frame: int) -> None:
        """Whether a shot begins with a frame; the next ``AROUND`` are there, or the clip has ended."""
        if frame > 1 and frame - 1 in self._found:  # a frame that is half of the one shot, half of the other
            return
        place = frame - self._count + len(self._kept)
        if self._parted(place) or (not self._parted(place + 1) and self._parted(place, mixed=1)):
            self._found.add(frame)

    def _parted(self, place: int, mixed: int = 0) -> bool:
        """Whether frames before a place are of another shot than those from there on.

        Args:
            place: among the frames that are kept.
            mixed: frames from there on that show both shots, as where fields or rates were converted: 0 or 1.
        """
        kept, values, end = list(self._kept), list(self._differ), place + 1 + mixed
        around = values[max(1, place - AROUND + 1) : place], values[end : place + AROUND]
        steps = [d for d in values[place:end] if d is not None]
        befores, afters = kept[max(0, place - NEAR) : place], kept[end - 1 : end - 1 + NEAR]
        if len(steps) <= mixed or (mixed and not len(befores) == len(afters) == NEAR):
            return False
        if not (all(d.is_more(*around) for d in steps) if mixed else steps[0].is_cut(*around)):
            return False
        differences = [d for before in befores for after in afters if (d := before.differs(after)) is not None]
        return all(d.is_cut(*around) for d in differences)
