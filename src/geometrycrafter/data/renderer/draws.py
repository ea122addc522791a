"""Random numbers of one seed; everything about a clip is drawn from them, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Draws:
    """Uniform and choice draws from one generator."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """One number."""
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def tensor(self, low: float, high: float, *shape: int) -> Tensor:
        """Numbers of a shape, ``[*shape]``."""
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def integer(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator).item())

    def chance(self, probability: float) -> bool:
        """True that often."""
        return self.uniform(0, 1) < probability

    def choice_of(self, values: Sequence[float]) -> float:
        """One of some."""
        return values[self.integer(0, len(values) - 1)]

    def sign(self) -> float:
        """1 or -1."""
        return 1.0 if self.chance(0.5) else -1.0
