"""Pictures that surfaces carry: with the statistics of photographs, of rough stuff, of lettering.

Photographs show things in front of each other, of all sizes: power spectra that fall with the frequency, sharp edges,
patches of one colour. Dead leaves (discs and bars whose sizes follow a power law, each over those before) show the
same (Lee, Mumford & Huang 2001). No picture of another's is needed.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws

SIDE = 128
"""Of a picture, texels."""
LEVELS = 7
"""Of a pyramid: 128 to 2 texels a side."""
PHOTOGRAPHS, ROUGH, LETTERED = range(0, 3), range(3, 7), range(7, 9)
"""Which of a clip's pictures are which."""
COUNT = 9


class Pictures:
    """A clip's pictures, each with its pyramid, so that far ones don't flicker."""

    def __init__(self, whole: Tensor):
        """Of pictures ``[K, 3, S, S]``."""
        self.sides = [SIDE >> level for level in range(LEVELS)]
        texels, self.starts, start = [], [], 0
        for level, side in enumerate(self.sides):
            texels.append((F.avg_pool2d(whole, 1 << level) if level else whole).permute(0, 2, 3, 1).reshape(-1, 3))
            self.starts.append(start)
            start += len(whole) * side * side
        self.texels = torch.cat(texels)

    def at(self, which: Tensor, u: Tensor, v: Tensor, texels: Tensor) -> Tensor:
        """Colours ``[P, 3]``.

        Args:
            which: picture, ``[P]``.
            u: place across, ``[P]``; 0 to 1 is the picture, mirrored beyond.
            v: place down, ``[P]``.
            texels: how many of the largest level a pixel covers, ``[P]``.
        """
        level = texels.clamp(1, 1 << (LEVELS - 1)).log2().round().long()
        side = torch.tensor(self.sides)[level]
        first = torch.tensor(self.starts)[level] + which * side * side
        column, right = _around(u, side)
        row, down = _around(v, side)
        next_column, next_row = torch.minimum(column + 1, side - 1), torch.minimum(row + 1, side - 1)
        above = torch.lerp(
            self.texels[first + row * side + column], self.texels[first + row * side + next_column], right[:, None]
        )
        below = torch.lerp(
            self.texels[first + next_row * side + column],
            self.texels[first + next_row * side + next_column],
            right[:, None],
        )
        return torch.lerp(above, below, down[:, None])


def _around(place: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """The texel before a place ``[P]`` and how far it is to the next."""
    within = 1 - (1 - place.remainder(2)).abs()
    at = (within * side - 0.5).clamp_min(0)
    whole = torch.minimum(at.long(), side - 1)
    return whole, (at - whole).clamp(0, 1)


def draw_pictures(rng: Draws) -> Pictures:
    """The pictures of a clip."""
    g = np.random.default_rng(rng.integer(0, 2**31 - 1))
    made = [dead_leaves(g) for _ in PHOTOGRAPHS] + [rough(g) for _ in ROUGH] + [lettered(g) for _ in LETTERED]
    return Pictures(torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous())


def _colours(g: np.random.Generator, count: int) -> np.ndarray:
    """Colours that belong together ``[count, 3]``: mostly light and dark, a little of other hues."""
    light = g.uniform(0.03, 0.95, (count, 1))
    # Warm against cold, and much less of green against purple.
    axes = np.array([[0.09, 0.0, -0.09], [-0.02, 0.04, -0.02]])
    hue = (g.normal(0.3, 0.7, (1, 2)) + g.normal(0, 0.6, (count, 2))) @ axes
    strong = (g.random((count, 1)) < 0.12) * g.normal(0, 0.25, (count, 3))
    return np.clip(light * (1 + hue) + strong, 0.01, 1).astype(np.float32)


def dead_leaves(g: np.random.Generator, count: int = 260) -> np.ndarray:
    """Discs and bars over each other, ``[S, S, 3]``."""
    picture = np.broadcast_to(_colours(g, 1), (SIDE, SIDE, 3)).copy()
    smallest, largest = 1.5, SIDE * g.uniform(0.2, 0.5)
    # Densities of size that fall with its cube, as those of things at all distances do.
    radius = (smallest**-2 - g.random(count) * (smallest**-2 - largest**-2)) ** -0.5
    radius = np.concatenate([[largest, largest * 0.8], radius])
    colours = _colours(g, len(radius))
    middle, turn, aspect = (
        g.uniform(0, SIDE, (len(radius), 2)),
        g.uniform(0, np.pi, len(radius)),
        g.uniform(0.2, 1, len(radius)),
    )
    slope = g.normal(0, 0.25, (len(radius), 2))
    axis = np.arange(SIDE, dtype=np.float32)
    for i, r in enumerate(radius):
        (left, top), (right, bottom) = np.floor(middle[i] - r).clip(0), np.ceil(middle[i] + r + 1).clip(max=SIDE)
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        x, y = (axis[None, columns] - middle[i, 0]) / r, (axis[rows, None] - middle[i, 1]) / r
        if i % 3:
            inside = x * x + y * y < 1
        else:
            c, s = np.cos(turn[i]), np.sin(turn[i])
            inside = (abs(c * x + s * y) < 0.8) & (abs(c * y - s * x) < 0.6 * aspect[i])
        shade = 1 + slope[i, 0] * x + slope[i, 1] * y
        picture[rows, columns][inside] = colours[i] * shade[inside][:, None]
    return np.clip(picture * (1 + 0.15 * spectrum(g, 1.0)[..., None]), 0, 1).astype(np.float32)


def spectrum(g: np.random.Generator, fall: float) -> np.ndarray:
    """Noise whose amplitude falls with that power of the frequency, ``[S, S]``, of mean 0 and deviation 1."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    amplitude = np.maximum(np.hypot(fx, fy), 1 / SIDE) ** -fall
    amplitude[0, 0] = 0
    phases = g.normal(size=(SIDE, SIDE // 2 + 1)) + 1j * g.normal(size=(SIDE, SIDE // 2 + 1))
    made = np.fft.irfft2(amplitude * phases, (SIDE, SIDE))
    return (made / made.std()).astype(np.float32)


def rough(g: np.random.Generator) -> np.ndarray:
    """Plaster, gravel, grass, cloth, or paint that comes off: two or three colours by noise, ``[S, S, 3]``."""
    base, other, third = _colours(g, 3)
    other = base + (other - base) * g.uniform(0.1, 1)
    share = spectrum(g, g.uniform(0.4, 1.6))
    if g.random() < 0.35:  # sharp-edged flakes
        share = np.where(share > g.uniform(-0.5, 1), 1.5, -1.0) + 0.2 * spectrum(g, 0.7)
    mix = np.clip(0.5 + 0.3 * share, 0, 1)[..., None]
    picture = base + (other - base) * mix
    if g.random() < 0.3:
        picture = picture + (third - picture) * (spectrum(g, 1.2) > g.uniform(0.8, 2))[..., None]
    return np.clip(picture * (1 + 0.06 * spectrum(g, 0.3)[..., None]), 0, 1).astype(np.float32)


def lettered(g: np.random.Generator) -> np.ndarray:
    """Lines of marks that look like letters, on one colour or a photograph, ``[S, S, 3]``."""
    paper, ink = _colours(g, 2)
    if abs(paper.mean() - ink.mean()) < 0.3:
        ink = np.full(3, 0.95 if paper.mean() < 0.5 else 0.03, np.float32)
    picture = dead_leaves(g, 60) if g.random() < 0.3 else np.broadcast_to(paper, (SIDE, SIDE, 3)).copy()
    top = int(g.integers(2, 20))
    while top < SIDE - 12:
        tall = int(g.integers(8, 44))
        wide, left = max(4, int(tall * g.uniform(0.4, 0.8))), int(g.integers(2, 30))
        while left + wide < SIDE - 2 and top + tall < SIDE:
            if g.random() < 0.88:  # else a space
                picture[top : top + tall, left : left + wide][_letter(g, tall, wide)] = ink
            left += wide + max(1, wide // 4)
        top += tall + int(g.integers(3, 24))
    return picture.astype(np.float32)


def _letter(g: np.random.Generator, tall: int, wide: int) -> np.ndarray:
    """Two to four strokes of a letter's box ``[tall, wide]``, bool: stems, bars and slants."""
    y, x = np.linspace(0, 1, tall)[:, None], np.linspace(0, 1, wide)[None]
    pen = 0.12
    strokes = [
        (x < 2 * pen) & (y >= 0),
        (x > 1 - 2 * pen) & (y >= 0),
        (y < 1.4 * pen) & (x >= 0),
        (y > 1 - 1.4 * pen) & (x >= 0),
        (abs(y - 0.5) < pen) & (x >= 0),
        abs(x - y) < pen * 1.3,
        abs(x + y - 1) < pen * 1.3,
        abs(np.hypot(x - 0.5, y - 0.5) - 0.38) < pen,
    ]
    chosen = g.choice(len(strokes), int(g.integers(2, 5)), replace=False)
    return np.any([strokes[i] for i in chosen], axis=0)
