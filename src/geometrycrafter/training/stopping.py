"""SIGTERM and SIGINT as a wish: the step under way is finished and kept."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

PATIENCE = 3.0
"""Seconds in which a signal counts once: a terminal and ``torchrun`` both pass Ctrl-C on."""


class SoftStop:
    """A context in which those signals are noted; another one, after :data:`PATIENCE`, ends the program at once."""

    def __init__(self) -> None:
        self.number = 0
        """Of the signal that came; 0: none did."""
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number and now - self._at > PATIENCE:
            raise KeyboardInterrupt
        if not self.number:
            self.number, self._at = number, now

    def __enter__(self) -> SoftStop:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
