"""Which pixels count, and what becomes of those that a prediction leaves out.

Two rules hold for every metric of accuracy. A frame whose truth has no valid pixel is left out and counted (``empty``).
A prediction that is not finite at a valid pixel takes no part in the alignment, has an error of 1 (100 %) and is no
inlier; ``missing`` is the share of such pixels. A prediction can't win by leaving out what is hard.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.frames import Frames


class Pixels(NamedTuple):
    """The valid pixels of a frame."""

    found: np.ndarray
    """Prediction, ``[N]`` or ``[N, 3]`` float64."""
    true: np.ndarray
    """Of the same shape."""
    finite: np.ndarray
    """``[N]`` bool, where the prediction is."""


def agree(**arrays: Any) -> None:
    """Stop where arrays have different shapes.

    Raises:
        InputError: names them and their shapes.
    """
    if len({tuple(a.shape) for a in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
        raise InputError(f"{shapes}: these should have one shape, [T, H, W].")


def mask_of(mask: Frames, t: int) -> np.ndarray:
    """A frame of a mask, ``[H, W]`` bool, whatever its type."""
    frame: np.ndarray = np.asarray(mask[t]).astype(bool, copy=False)
    return frame


def pixels_of(prediction: Frames, truth: Frames, mask: Frames, t: int) -> Pixels:
    """The valid pixels of frame ``t`` of a prediction and a truth, ``[T, H, W]`` or ``[T, H, W, 3]`` both.

    Raises:
        InputError: where the truth is not finite at a pixel that counts as valid.
    """
    m = mask_of(mask, t)
    found, true = (np.asarray(x[t])[m].astype(np.float64) for x in (prediction, truth))
    if not np.isfinite(true).all():
        raise InputError(f"frame {t}: the truth is not finite at pixels that are valid; mask them.")
    # Times ones in place of all(-1), which is slow along an axis of three.
    return Pixels(found, true, np.isfinite(found @ np.ones(3) if found.ndim == 2 else found))


def length(vectors: np.ndarray) -> np.ndarray:
    """Of each row, ``[N, 3]`` -> ``[N]``."""
    found: np.ndarray = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return found


class Tally:
    """Means over each frame's valid pixels, then over frames.

    Args:
        names: of the figures.
    """

    def __init__(self, *names: str):
        self._names = names
        self._rows: list[list[float]] = []
        self._missing = self._valid = self._frames = 0

    def add(self, pixels: Pixels, **figures: np.ndarray) -> None:
        """A frame's figures, ``[N]`` each, by name; a frame without valid pixels is counted alone."""
        self._frames += 1
        if len(pixels.finite):
            self._rows.append([float(figures[name].mean()) for name in self._names])
            self._missing += int((~pixels.finite).sum())
            self._valid += len(pixels.finite)

    def means(self) -> dict[str, float]:
        """The figures by name; ``frames``, the number scored; ``empty``; ``missing``.

        Raises:
            InputError: where no frame has a valid pixel.
        """
        if not self._rows:
            raise InputError("no pixel of gt_mask is valid; nothing can be scored.")
        found = dict(zip(self._names, map(float, np.mean(self._rows, axis=0)), strict=True))
        scored = len(self._rows)
        return found | {
            "frames": float(scored),
            "empty": float(self._frames - scored),
            "missing": self._missing / self._valid,
        }
