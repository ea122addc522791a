"""Where one shot ends and the next begins: hard cuts, and black between shots.

Frames are looked at as small grey pictures. Two are alike where the blocks of one are found in the other, each wherever
it has moved to, by their normalised correlation: motion and brightness make no difference, other things do. A hard cut
is where none of the last frames is like any of the next, far less than neighbours around it are; a flash, or a thing
that passes before the camera, has the same shot on its other side. What is black says nothing: the last frame before is
compared with the first one after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

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


class Glimpse:
    """A frame in small, and what is to be known of it."""

    def __init__(self, picture: Tensor):
        self.picture = picture
        """``[HEIGHT, WIDTH]`` float32, 0 to 255."""
        self.blank = bool(picture.std() < BLANK)

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
        return (self.picture.flatten()[:, None] < torch.arange(8.0, 264, 8)).float().mean(0)

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
        weight = torch.where(deviation > FLAT, deviation.clamp_max(20), 0.0)
        return (blocks / length.clamp_min(1e-6)[:, None, None])[:, None], weight

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
    glimpses = (Glimpse.of(frame) for frame in brightness)
    return sorted(_Cuts().of(glimpses))


class _Cuts:
    """A look over one clip, which holds the last few dozen frames."""

    def __init__(self) -> None:
        self.kept: deque[Glimpse] = deque(maxlen=2 * AROUND + NEAR)
        self.differ: deque[Difference | None] = deque(maxlen=self.kept.maxlen)
        """Each from the one before; None where one of them shows nothing."""
        self.count = 0
        self.lit: Glimpse | None = None
        """The last frame that showed something."""
        self.found: list[int] = []

    def of(self, glimpses: Iterator[Glimpse]) -> list[int]:
        """The first frames of all shots."""
        for glimpse in glimpses:
            self._take(glimpse)
        if not self.count:
            return []
        for late in range(max(1, self.count - AROUND + 1), self.count):
            self._look_for_cut(late)
        return [0, *self.found]

    def _take(self, glimpse: Glimpse) -> None:
        before = self.kept[-1] if self.kept else None
        self.kept.append(glimpse)
        self.differ.append(None if before is None else glimpse.differs(before))
        self.count += 1
        if not glimpse.blank and self.lit is not None and before is not self.lit:  # the first after black
            differs = self.lit.differs(glimpse)
            if differs and differs.is_cut(list(self.differ)[-2 * AROUND :]):
                self._add(self.count - 1)
        if not glimpse.blank:
            self.lit = glimpse
        if self.count > AROUND:
            self._look_for_cut(self.count - AROUND)

    def _add(self, frame: int) -> None:
        if frame not in self.found:
            self.found.append(frame)

    def _look_for_cut(self, frame: int) -> None:
        """Whether a shot begins with a frame; the next ``AROUND`` are there, or the clip has ended."""
        place = frame - self.count + len(self.kept)
        values = list(self.differ)
        around = values[max(1, place - AROUND + 1) : place], values[place + 1 : place + AROUND]
        one = values[place]
        if one is None or not one.is_cut(*around):
            return
        befores, afters = list(self.kept)[max(0, place - NEAR) : place], list(self.kept)[place : place + NEAR]
        differences = [d for before in befores for after in afters if (d := before.differs(after)) is not None]
        if all(d.is_cut(*around) for d in differences):
            self._add(frame)
