"""Black bars around the picture: letterbox, pillarbox, both, or one side alone.

Each frame is looked at from its four sides: how many lines from the border inwards are dark and even, and how much the
picture shows along the edge beside them. Over the clip a bar is what stays: nothing in it is ever lit, its edge stands
still and is straight in some frame of each stretch. Dark moments, fades and night scenes therefore make no bars, and a
region that is lit for a moment between is none. Where bars come and go, they do so for a while, and on two opposite
sides at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DARKEST = 56
"""Of 255, the brightest that a bar may be."""
LIGHT = 12
"""Difference from a bar's level, of 255, that is no noise."""
FAINT = 5
"""Difference that tells the picture from an even bar, where its edge is known."""
NOISIEST = 4.0
"""Standard deviation in a bar, of 255, beyond which it is none."""
RING, RINGING = 8, 48
"""Lines beside an edge that lossy coding disturbs, and by how much of 255 at most."""
STRAIGHT = 0.5
"""Share of an edge's length that the picture beside it has to show at some time."""
LEAST = 0.01
"""Share of a side below which a bar is none."""
SMALLEST = 0.25
"""Share of each side that the picture has at least."""
UNEVEN = 1 / 3
"""Share of a side by which the bar at one end is wider at most: a wider one is night above a level horizon."""
STEADY = 2
"""Lines that an edge may waver by."""
SHORTEST = 0.4, 4
"""Seconds and frames that bars stay at least."""
TOP, BOTTOM, LEFT, RIGHT = range(4)


class Box(NamedTuple):
    """Where in a frame the picture is, in pixels."""

    top: int
    left: int
    bottom: int
    """The first line below it."""
    right: int
    """The first column beside it."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """What cuts it out of ``[H, W, ...]``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: Box) -> Box:
        """The same, counted from another box's corner."""
        return Box(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)

    def shares(self, outer: Box) -> tuple[float, float, float, float]:
        """Top, left, bottom and right in shares of another box's height and width."""
        (height, width), inner = outer.size, self.within(outer)
        return inner.top / height, inner.left / width, inner.bottom / height, inner.right / width


class Shown(NamedTuple):
    """A frame as it is shown."""

    seconds: float
    """Since the source's first frame."""
    frame: np.ndarray
    """``[H, W, 3]``, with its bars."""
    picture: Box
    """What is no bar."""


@dataclass(frozen=True)
class Bars:
    """Where the picture is in each frame of a clip."""

    changes: tuple[tuple[int, Box], ...]
    """A frame's number among those that are taken, from 0 on, and the picture from there on."""

    @classmethod
    def none(cls, height: int, width: int) -> Bars:
        """The picture is the whole frame."""
        return cls(((0, Box(0, 0, height, width)),))

    def picture(self, frame: int) -> Box:
        """Of a frame, by its number among those that are taken."""
        return self.changes[bisect_right(self.changes, frame, key=lambda change: change[0]) - 1][1]

    @property
    def union(self) -> Box:
        """What is picture in any frame."""
        return self.within(0, None)

    def within(self, first: int, end: int | None) -> Box:
        """What is picture in any of some frames.

        Args:
            first: of them.
            end: the one after the last; None: the clip's end.
        """
        begun = [box for start, box in self.changes if first < start and (end is None or start < end)]
        boxes = [self.picture(first), *begun]
        low, high = (tuple(choose(b[i] for b in boxes) for i in range(4)) for choose in (min, max))
        return Box(low[0], low[1], high[2], high[3])

    def stored(self) -> list[list[int]]:
        """As JSON: number, top, left, bottom and right of each change."""
        return [[first, *box] for first, box in self.changes]

    @classmethod
    def of_stored(cls, rows: Sequence[Sequence[int]]) -> Bars:
        """From what :meth:`stored` gave.

        Raises:
            ValueError: where it is no such thing.
        """
        changes = tuple((int(first), Box(*map(int, box))) for first, *box in rows)
        if not changes or changes[0][0] != 0:
            raise ValueError("bars begin with the first frame")
        return cls(changes)


def brightest(picture: np.ndarray) -> np.ndarray:
    """The largest of red, green and blue ``[H, W]`` uint8 of a picture ``[H, W, 3]``, uint8 or float in [0, 1]."""
    most = picture.max(axis=-1)
    return most if most.dtype == np.uint8 else (most * 255).round().clip(0, 255).astype(np.uint8)


def find_bars(brightness: Iterable[np.ndarray], rate: float, height: int, width: int) -> Bars:
    """Look for bars in a clip that is one shot, of frames ``[h, w]`` uint8: see :class:`Sides`."""
    sides = Sides()
    for _ in sides.watched(brightness):
        pass
    return sides.bars(rate, height, width)


class Sides:
    """What the sides of a clip's frames look like: little of each, from which its bars are told in the end."""

    def __init__(self) -> None:
        self._shape: tuple[int, int] | None = None
        self._rows: list[np.ndarray] = []

    def watched(self, brightness: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The frames as they come, ``[h, w]`` uint8 each and all of one size; each is looked at."""
        for frame in brightness:
            self._shape = self._shape or (frame.shape[0], frame.shape[1])
            self._rows.append(_sides(frame))
            yield frame

    def bars(self, rate: float, height: int, width: int, firsts: Sequence[int] = (0,)) -> Bars:
        """Bars of the clip; what one shot shows tells nothing of another's.

        Args:
            rate: frames a second.
            height: that frames are shown at.
            width: likewise.
            firsts: the first frame of each shot; those beyond the end count for nothing.

        Returns:
            what is picture; the whole frame where there are no bars or no frames.
        """
        shape, count = self._shape, len(self._rows)
        if shape is None:
            return Bars.none(height, width)
        rows, least = np.stack(self._rows), max(SHORTEST[1], round(SHORTEST[0] * rate))
        edges = [*(f for f in firsts if f < count), count]
        margins = np.concatenate(
            [_margins(rows[a:b], shape, min(b - a, least)) for a, b in zip(edges, edges[1:], strict=False)]
        )
        scale = np.array([height / shape[0], height / shape[0], width / shape[1], width / shape[1]])
        margins = np.round(margins * scale).astype(int)
        first = np.flatnonzero(np.r_[True, (margins[1:] != margins[:-1]).any(1)])
        return Bars(
            tuple(
                (int(t), Box(int(top), int(left), height - int(bottom), width - int(right)))
                for t, (top, bottom, left, right) in zip(first, margins[first], strict=True)
            )
        )


def _sides(frame: np.ndarray) -> np.ndarray:
    """``[4, 2]`` float32 of a frame ``[h, w]``: dark lines from each side, and lit pixels of the edge beside them."""
    views = (frame, frame[::-1], frame.T, frame.T[::-1])
    out = np.zeros((4, 2), np.float32)
    for side, lines in enumerate(views):
        out[side] = _side(lines)
        if side == TOP and out[TOP, 0] == len(frame):  # all dark
            out[:, 0] = [len(view) for view in views]
            break
    return out


def _side(lines: np.ndarray) -> tuple[int, int]:
    """Dark, even lines from the first on, and how many pixels the picture shows along their edge."""
    level, noise = int(np.median(lines[0])), float(lines[0].std())
    if level > DARKEST or noise > NOISIEST:
        return 0, 0
    lit = _first_lit(lines, level, max(LIGHT, 6 * noise))
    if lit == len(lines) or np.abs(lines[: max(1, lit - RING)].astype(np.int16) - level).mean() > NOISIEST:
        return lit, 0  # nothing to tell an edge by, or a picture that is hardly lit
    beside = np.abs(lines[lit : lit + RING + 3].astype(np.int16) - level)
    mean, peak = beside.mean(1), beside.max(1)
    edge = 0  # lossy coding leaves traces of the edge beside it
    while edge < min(RING, len(beside) - 1) and mean[edge] < mean.max() / 4 and peak[edge] < RINGING:
        edge += 1
    return lit + edge, int((beside[edge : edge + 3].max(0) > max(FAINT, 2.5 * noise)).sum())


def _first_lit(lines: np.ndarray, level: int, light: float) -> int:
    """The first line with a pixel that is away from the level; as many as there are where none is."""
    start, count = 0, 1
    while start < len(lines):
        block = lines[start : start + count]
        lit = (block.max(1) > level + light) | (block.min(1) < level - light)
        if lit.any():
            return start + int(lit.argmax())
        start, count = start + count, min(2 * count, 64)
    return len(lines)


def _margins(rows: np.ndarray, shape: tuple[int, int], shortest: int) -> np.ndarray:
    """``[T, 4]`` lines that are bars at the top, the bottom, the left and the right of each frame.

    Args:
        rows: ``[T, 4, 2]`` of :func:`_sides`.
        shape: height and width of what was looked at.
        shortest: frames that bars stay.
    """
    dark, lit = rows[..., 0], rows[..., 1]
    length = np.array([shape[0], shape[0], shape[1], shape[1]], np.float32)
    along = np.stack([shape[1] - dark[:, LEFT] - dark[:, RIGHT], shape[0] - dark[:, TOP] - dark[:, BOTTOM]], 1)
    margins = np.zeros_like(dark)
    for _ in range(3):  # what is no bar after all makes edges longer
        share = lit / np.maximum(np.repeat(along, 2, 1), 1)
        found = np.stack([_steady(dark[:, s], share[:, s], length[s], shortest) for s in range(4)], 1)
        if (found == margins).all():
            break
        margins = found
        along = np.stack(
            [shape[1] - margins[:, LEFT] - margins[:, RIGHT], shape[0] - margins[:, TOP] - margins[:, BOTTOM]], 1
        )
    for one, other in ((TOP, BOTTOM), (LEFT, RIGHT)):
        pair = margins[:, [one, other]]
        uneven = abs(pair[:, 0] - pair[:, 1]) > UNEVEN * length[one]
        pair = np.where(uneven[:, None], pair.min(1, keepdims=True), pair)
        alone = abs(pair[:, 0] - pair[:, 1]) > np.maximum(STEADY, 0.1 * pair.max(1))
        small = length[one] - pair.sum(1) < SMALLEST * length[one]
        margins[:, [one, other]] = np.where((alone | small)[:, None], pair.min(0), pair)
        if length[one] - pair.min(0).sum() < SMALLEST * length[one]:
            margins[:, [one, other]] = 0
    return margins


@dataclass
class _Stretch:
    """Frames whose dark lines are as many."""

    start: int
    end: int
    lines: float
    """The fewest dark ones of a frame."""
    sure: bool
    """Whether it says what is a bar: long enough, and with a straight edge or none. What isn't follows the others."""


def _steady(dark: np.ndarray, share: np.ndarray, length: float, shortest: int) -> np.ndarray:
    """Lines ``[T]`` that are bars at one side.

    Args:
        dark: ``[T]`` dark lines of each frame; all of ``length`` says nothing.
        share: ``[T]`` how much of the edge the picture shows.
        length: lines in all.
        shortest: frames that bars stay.
    """
    stretches = list(_stretches(_opened(dark, shortest), dark, share, length, shortest))
    joined: list[_Stretch] = []
    for stretch in stretches:
        joined.append(stretch)
        _join(joined)
    out = np.zeros(len(dark), np.float32)
    unsure = [(s, joined[max(i - 1, 0) : i] + joined[i + 1 : i + 2]) for i, s in enumerate(joined) if not s.sure]
    for stretch, around in unsure:
        if around and stretch.lines < min(s.lines for s in around) - STEADY:  # lit for a moment
            for near in around:
                near.lines = stretch.lines if near.lines - stretch.lines <= RING else 0.0
    for stretch, around in unsure:
        stretch.lines = min([stretch.lines, *(s.lines for s in around)]) if around else 0.0
    for stretch in joined:
        out[stretch.start : stretch.end] = stretch.lines if stretch.lines >= max(STEADY, LEAST * length) else 0
    return out


def _opened(dark: np.ndarray, shortest: int) -> np.ndarray:
    """Without moments that are darker than what is around them."""
    fewest = np.lib.stride_tricks.sliding_window_view(dark, shortest).min(1)
    padded = np.pad(fewest, shortest - 1, constant_values=-1)
    return np.lib.stride_tricks.sliding_window_view(padded, shortest).max(1)


def _stretches(
    opened: np.ndarray, dark: np.ndarray, share: np.ndarray, length: float, shortest: int
) -> Iterator[_Stretch]:
    """Those of one clip; neighbours that are not sure are one."""
    least = max(STEADY, LEAST * length)
    start, waiting = 0, None
    while start < len(opened):
        end, low, high = start, opened[start], opened[start]
        while end < len(opened) and max(high, opened[end]) - min(low, opened[end]) <= STEADY:
            low, high, end = min(low, opened[end]), max(high, opened[end]), end + 1
        frames = slice(start, end)
        at_edge = share[frames][dark[frames] <= low + STEADY]
        straight = low < least or (low < length and at_edge.max(initial=0.0) >= STRAIGHT)
        if end - start >= shortest and straight:
            if waiting is not None:
                yield waiting
            waiting = None
            yield _Stretch(start, end, float(low), True)
        elif waiting is None:
            waiting = _Stretch(start, end, float(low), False)
        else:
            waiting.end, waiting.lines = end, min(waiting.lines, float(low))
        start = end
    if waiting is not None:
        yield waiting


def _join(stretches: list[_Stretch]) -> None:
    """Make one of the last and the one before where they have the same bars, and nothing is lit between them."""
    last = stretches[-1]
    between = len(stretches) > 1 and not stretches[-2].sure
    before = len(stretches) - (3 if between else 2)
    if not last.sure or before < 0 or not stretches[before].sure:
        return
    one = stretches[before]
    lowest = min(one.lines, last.lines)
    if abs(one.lines - last.lines) > STEADY or (between and stretches[-2].lines < lowest - STEADY):
        return
    one.end, one.lines = last.end, lowest
    del stretches[before + 1 :]
