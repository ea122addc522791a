"""How long a command of several stages has still to go: expected shares of its time, set right by what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

POSES = {"read": 0.005, "follow": 0.03, "moving": 0.08, "match": 0.03, "solve": 0.05}
"""Seconds that poses of a frame take in each stage, on a core of a CPU."""
ENOUGH = 0.5
"""Seconds of measured work before which nothing is said."""


class TimeLeft:
    """Seconds that all stages have still to go, as each tells how many frames of the clip it has done.

    What a stage has done when it first speaks costs nothing: an earlier run may have done it.

    Args:
        expected: of one frame by stage, in order, in any unit of time: only their ratios count.
        clock: in seconds.
    """

    def __init__(self, expected: Mapping[str, float], clock: Callable[[], float] = monotonic):
        self._expected, self._clock = dict(expected), clock
        self._stage = ""
        self._began = self._now = 0.0
        self._first = self._done = 0
        self._spent = self._worth = 0.0
        """Of stages that are over: seconds, and what was expected of what they did."""

    def __call__(self, stage: str, done: int, total: int | None) -> float | None:
        """Seconds that are left once a stage has done so many frames; None where that can't be said yet."""
        if stage != self._stage:
            self._close()
            self._stage, self._began, self._first = stage, self._clock(), done
        self._now, self._done = self._clock(), done
        if total is None:
            return None
        spent, frames = self._now - self._began, done - self._first
        factor = self._factor()
        if spent >= ENOUGH and frames > 0:
            own = spent / frames
        elif factor is not None and stage in self._expected:
            own = factor * self._expected[stage]
        else:
            return None
        later = self._later()
        if later and factor is None:
            return None
        return own * max(0, total - done) + later * (factor or 0.0) * total

    def _later(self) -> float:
        """What is expected of a frame in the stages to come."""
        names = list(self._expected)
        after = names[names.index(self._stage) + 1 :] if self._stage in names else []
        return sum(self._expected[name] for name in after)

    def _factor(self) -> float | None:
        """Seconds for each unit of what was expected; None where too little was done."""
        spent, worth = self._own()
        spent, worth = self._spent + spent, self._worth + worth
        return spent / worth if worth > 0 and spent >= ENOUGH else None

    def _own(self) -> tuple[float, float]:
        """Of the stage under way: seconds, and what was expected of what it did."""
        if self._stage not in self._expected:
            return 0.0, 0.0
        return self._now - self._began, self._expected[self._stage] * (self._done - self._first)

    def _close(self) -> None:
        spent, worth = self._own()
        self._spent, self._worth = self._spent + spent, self._worth + worth


def expected_stages(model: str, variant: str | None, settings: Mapping[str, Any], poses: bool) -> dict[str, float]:
    """What each stage of a run takes for a frame beside the others, for :class:`TimeLeft`.

    Args:
        model: as it is named on the command line.
        variant: likewise.
        settings: options that were given.
        poses: whether they are found, too.

    Raises:
        InputError: where the model is not on this machine.
    """
    from geometrycrafter.inference.expectation import stage_shares
    from geometrycrafter.inference.loading import defaults_of
    from geometrycrafter.weights.places import resolve

    root, variant = resolve(model, variant)
    options = replace(defaults_of(root, variant)[1], **settings)
    return stage_shares(root, variant, options) | (POSES if poses else {})
