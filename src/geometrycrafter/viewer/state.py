"""What everybody who looks at a scene shares: the frame, whether it plays, how it is shown, and what was measured."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from geometrycrafter.viewer.look import Look
from geometrycrafter.viewer.paths import Eye

Compared = Literal["beside", "over", "first", "second"]


@dataclass
class State:
    """What is looked at, for all who look; changed by several threads under its guard."""

    count: int
    fps: float
    look: Look
    frame: int = 0
    playing: bool = False
    speed: float = 1.0
    point_size: float = 1.0
    cameras: bool = True
    follow: bool = False
    """Whether everybody sees from the frame's camera."""
    compared: Compared = "beside"
    measuring: bool = False
    clicks: list[np.ndarray] = field(default_factory=list)
    """``[3]`` each, at most two, in the world."""
    keys: list[Eye] = field(default_factory=list)
    guard: threading.RLock = field(default_factory=threading.RLock)
    changed: threading.Event = field(default_factory=threading.Event)
    """Set whenever something is to be drawn anew."""
    _spent: float = 0.0

    def set(self, **values: Any) -> None:
        """Change some of it; a frame is taken into the clip, and what was measured goes when measuring ends."""
        with self.guard:
            for name, value in values.items():
                setattr(self, name, value)
            self.frame = min(max(self.frame, 0), self.count - 1)
            if values.get("measuring") is False:
                self.clicks = []
        self.changed.set()

    def relook(self, **values: Any) -> None:
        """Change how scenes are shown."""
        with self.guard:
            self.look = replace(self.look, **values)
        self.changed.set()

    def advance(self, seconds: float) -> bool:
        """Let time pass; whether another frame is shown now. At the end the clip begins again."""
        with self.guard:
            if not self.playing or self.count < 2:
                self._spent = 0.0
                return False
            self._spent += seconds * self.speed * self.fps
            steps = int(self._spent)
            self._spent -= steps
            self.frame = (self.frame + steps) % self.count
            return steps > 0

    def click(self, place: np.ndarray) -> None:
        """Take a place ``[3]`` as an end of what is measured; a third one begins anew."""
        with self.guard:
            self.clicks = [place] if len(self.clicks) >= 2 else [*self.clicks, place]
        self.changed.set()
