"""Pictures that say which frame they are and which way is up, and a reader of them that survives lossy coding.

The middle half is a row of seven cells: white, five bits of the frame's number (the highest first), black. The four
corners are grey levels that fall from the top left by reading order, which tells all eight orientations apart. All
positions are shares of the picture's size, so the reader needs none of the sizes.
"""

from __future__ import annotations

import numpy as np

WHITE, BLACK, MIDDLE = 220, 40, 128
CORNERS = {(0, 0): 225, (0, 1): 170, (1, 0): 115, (1, 1): 60}
BITS = 5
PATCHES = {(0, 0): (200, 60, 60), (0, 1): (60, 160, 60), (1, 0): (70, 80, 200), (1, 1): (200, 180, 60)}
"""Colours between the corners: left and right of the middle, in the top and in the bottom quarter."""


def picture(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """The picture of a frame's number, ``[H, W, 3]`` uint8 sRGB."""
    canvas = np.full((height, width, 3), MIDDLE, np.uint8)
    top, bottom = height // 4, height - height // 4
    cells = [1, *((number >> bit) & 1 for bit in reversed(range(BITS))), 0]
    edges = np.round(np.linspace(0, width, len(cells) + 1)).astype(int)
    for cell, left, right in zip(cells, edges, edges[1:]):
        canvas[top:bottom, left:right] = WHITE if cell else BLACK
    quarters = np.round(np.linspace(0, width, 5)).astype(int)
    for row, rows in enumerate((slice(0, top), slice(bottom, height))):
        for column in range(2):
            canvas[rows, quarters[3 * column] : quarters[3 * column + 1]] = CORNERS[row, column]
            canvas[rows, quarters[1 + column] : quarters[2 + column]] = PATCHES[row, column]
    return canvas


def pictures(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """The pictures of the numbers from 0 on."""
    return [picture(number, height, width) for number in range(count)]


def level(frame: np.ndarray, y: float, x: float) -> np.ndarray:
    """Mean colour ``[3]`` in [0, 255] of a small window around a place that is given in shares of the picture."""
    height, width = frame.shape[:2]
    row, column = int(y * height), int(x * width)
    dy, dx = max(height // 40, 0), max(width // 60, 0)
    window = frame[max(row - dy, 0) : row + dy + 1, max(column - dx, 0) : column + dx + 1]
    scale = 1 if frame.dtype == np.uint8 else 255
    return window.reshape(-1, 3).astype(np.float64).mean(0) * scale


def number(frame: np.ndarray) -> int:
    """The number that an upright frame ``[H, W, 3]`` carries; -1 where it carries none that can be told."""
    cells = [level(frame, 0.5, (cell + 0.5) / (BITS + 2)).mean() for cell in range(BITS + 2)]
    white, black = cells[0], cells[-1]
    if white - black < 40:
        return -1
    shares = [(cell - black) / (white - black) for cell in cells[1:-1]]
    if any(0.35 < share < 0.65 for share in shares):
        return -1
    return sum(1 << (BITS - 1 - bit) for bit, share in enumerate(shares) if share > 0.5)


def upright(frame: np.ndarray) -> bool:
    """Whether the corners lie as they were drawn."""
    corners = [level(frame, 0.1 + 0.8 * row, 0.06 + 0.88 * column).mean() for row, column in CORNERS]
    return all(before > after + 15 for before, after in zip(corners, corners[1:]))


def stored(upright_picture: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores for a picture that EXIF's ``orientation`` (1 to 8) turns upright."""
    inverse = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }
    turn = inverse.get(orientation, inverse[1])  # what is no orientation turns nothing
    return np.ascontiguousarray(turn(upright_picture))


def moving(number: int, moment: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A numbered picture with a dark bar that moves, between the upper corners, by an eighth of the width a moment."""
    canvas = picture(number, height, width)
    left = width * (3 + moment % 3) // 8
    canvas[: height // 4 - 2, width // 4 : 3 * width // 4] = WHITE
    canvas[: height // 4 - 2, left - width // 16 : left + width // 16] = BLACK
    return canvas


def interlaced(number: int, height: int = 64, width: int = 96, top_first: bool = True) -> np.ndarray:
    """A frame whose even and odd lines are of two moments."""
    frame = moving(number, 2 * number + (not top_first), height, width)
    frame[1::2] = moving(number, 2 * number + top_first, height, width)[1::2]
    return frame


def combed(frame: np.ndarray) -> bool:
    """Whether neighbouring lines differ more than lines of one field do, between the upper corners."""
    height, width = frame.shape[:2]
    part = frame[2 : height // 4 - 4, width // 4 + 4 : 3 * width // 4 - 4].astype(np.float64)
    part = (part if frame.dtype == np.uint8 else part * 255).mean(-1)
    return bool(np.abs(part[1:] - part[:-1]).mean() > 12 + np.abs(part[2:] - part[:-2]).mean())
