"""Points without a look at the picture: what any method should beat."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.evaluation.frames import FrameSequence
from geometrycrafter.evaluation.methods.method import Method, Prediction, Predictor
from geometrycrafter.evaluation.protocols import Protocol

FIELD = math.radians(60)
"""Horizontal field of view that the guesses have."""


@dataclass(frozen=True)
class _Guess(Method):
    """The same depth in every frame."""

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings()

    @staticmethod
    @abstractmethod
    def depth(height: int, width: int) -> np.ndarray:
        """What is guessed, ``[H, W]``."""

    def prepare(self, device: str) -> Predictor:
        return self._predict

    def _predict(self, clip: Clip, name: str, protocol: Protocol) -> Prediction:
        t, h, w = clip.depth.shape
        focal = w / 2 / math.tan(FIELD / 2)
        y, x = np.mgrid[:h, :w]
        rays = np.stack([(x - (w - 1) / 2) / focal, (y - (h - 1) / 2) / focal, np.ones((h, w))], -1)
        points = (rays * self.depth(h, w)[..., None]).astype(np.float32)
        return Prediction(points=FrameSequence((t, h, w, 3), lambda _: points), focal=np.full(t, focal))


@dataclass(frozen=True)
class Wall(_Guess):
    """The same depth everywhere."""

    name: str = "constant"

    @staticmethod
    def depth(height: int, width: int) -> np.ndarray:
        """One, ``[H, W]``."""
        return np.ones((height, width))


@dataclass(frozen=True)
class Ramp(_Guess):
    """A floor that rises to the horizon."""

    name: str = "ramp"

    @staticmethod
    def depth(height: int, width: int) -> np.ndarray:
        """Disparity falls to a quarter from the lower edge to the upper one; ``[H, W]``."""
        rows = 1 / (0.25 + 0.75 * (np.arange(height) + 0.5) / height)
        return np.repeat(rows[:, None], width, axis=1)
