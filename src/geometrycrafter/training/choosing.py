"""Which weights a run ends with that is judged as it goes: the best ones, not the last ones."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor


class Chosen:
    """The weights with the best score of a run, those that it began with among them."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        """By name; none where nothing was judged."""
        self.step = 0
        """That they are of."""
        self.scores: dict[str, float] = {}
        """Theirs."""
        self.before: dict[str, float] = {}
        """What the run was first judged at."""
        self.worse = 0
        """Validations in a row since then that were not better."""

    def judge(self, step: int, scores: dict[str, float], weights: dict[str, Tensor]) -> None:
        """Take weights up where they are better than all before.

        Args:
            step: that they are of.
            scores: the first one counts, low being good.
            weights: by name, ``[...]``; they are copied.
        """
        self.before = self.before or scores
        if _first(scores) < _first(self.scores):
            self.weights = {name: value.clone() for name, value in weights.items()}
            self.step, self.scores, self.worse = step, scores, 0
        else:
            self.worse += 1

    def described(self) -> str:
        """A line about what was chosen."""
        name, score = next(iter(self.scores.items()))
        if self.step == 0:
            return f"no validation was better than the first one ({name} {score:.4f}): the weights stay as they were"
        return f"kept: the weights of step {self.step}, {name} {score:.4f} (before: {_first(self.before):.4f})"

    def plain(self) -> dict[str, Any]:
        """All but the weights, for a checkpoint."""
        return {k: v for k, v in vars(self).items() if k != "weights"}

    def restore(self, plain: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Take up what a checkpoint has."""
        vars(self).update(plain)
        self.weights = weights


def _first(scores: dict[str, float]) -> float:
    return next(iter(scores.values()), math.inf)
