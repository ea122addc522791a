"""What the second world is covered with: natural colours, patterns, and the clip's pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geometrycrafter.data.renderer.draws import Draws
from geometrycrafter.data.renderer.pictures import LETTERED, PHOTOGRAPHS, ROUGH
from geometrycrafter.data.renderer.world import World, draw_material

Colour = tuple[float, float, float]


def plain(colour: Colour, gloss: float = 0.0) -> Tensor:
    """One colour, hardly any pattern, ``[12]``."""
    return torch.tensor([*colour, *(0.8 * c for c in colour), 0.0, 3.0, 0.2, gloss, -1.0, 0.0])


def pictured(which: int, metres: float = 0.0, gloss: float = 0.0) -> Tensor:
    """A picture: so many metres of it side by side, or once over a whole face (0), ``[12]``."""
    return torch.tensor([1.0, 1, 1, 1, 1, 1, 0, 1, 0, gloss, float(which), metres])


def natural(rng: Draws, low: float = 0.06, high: float = 0.85, vivid: float = 0.08) -> Colour:
    """A colour as things mostly have it: near grey, rather warm than cold."""
    light = rng.uniform(low, high)
    warm, green = rng.uniform(-0.5, 1.5) * vivid, rng.uniform(-1, 1) * 0.4 * vivid
    return tuple(min(max(light + c, 0.01), 1.0) for c in (warm, green, -warm))  # type: ignore[return-value]


def skin(rng: Draws) -> Tensor:
    """Somebody's, ``[12]``."""
    light = rng.uniform(0.15, 0.85)
    return plain((light, light * rng.uniform(0.62, 0.8), light * rng.uniform(0.45, 0.68)), 0.05)


def vivid(rng: Draws) -> Colour:
    """A strong colour, as of clothes, banners and toys."""
    r, g, b = (rng.uniform(0.02, 0.9) for _ in range(3))
    return r, g, b


class SecondWorld(World):
    """A world whose surfaces carry pictures where nothing else is said."""

    def material(self, vivid: float = 0.6) -> Tensor:
        """A new one, ``[12]``: half are rough stuff, some are like photographs, some have patterns, some are plain."""
        rng = self.rng
        kind = rng.uniform(0, 1)
        gloss = rng.uniform(0.0, 0.5) if rng.chance(0.25) else 0.0
        if kind < 0.45:
            return self.rough(gloss)
        if kind < 0.6:
            metres = math.exp(rng.uniform(math.log(0.4), math.log(4)))
            return pictured(rng.integer(PHOTOGRAPHS.start, PHOTOGRAPHS.stop - 1), metres, gloss)
        if kind < 0.75:
            return torch.cat([draw_material(rng, 0.5 * vivid), torch.tensor([-1.0, 0.0])])
        return plain(natural(rng, vivid=0.3 * vivid), gloss)

    def rough(self, gloss: float = 0.0) -> Tensor:
        """Plaster, gravel, grass, cloth, ``[12]``."""
        metres = math.exp(self.rng.uniform(math.log(0.5), math.log(5)))
        return pictured(self.rng.integer(ROUGH.start, ROUGH.stop - 1), metres, gloss)

    def poster(self) -> Tensor:
        """A photograph over the whole of a face, or lettering, ``[12]``."""
        some = LETTERED if self.rng.chance(0.4) else PHOTOGRAPHS
        return pictured(self.rng.integer(some.start, some.stop - 1), 0.0, 0.1 if self.rng.chance(0.2) else 0.0)

    def banner(self) -> Tensor:
        """Lettering, ``[12]``."""
        return pictured(self.rng.integer(LETTERED.start, LETTERED.stop - 1))
