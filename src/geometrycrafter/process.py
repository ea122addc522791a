"""What belongs to the whole process, and is another for as long as a command runs in it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
V = TypeVar("V")


class Changed(Generic[T, V]):
    """Something of the process that calls change for a while. They may overlap, in threads of a program of one's own:
    when the last one is done, it is what it was before the first.

    Args:
        found: tells what it is.
        change: makes it what a call wants.
        back: makes it what it was found to be.
    """

    def __init__(self, found: Callable[[], T], change: Callable[[V], object], back: Callable[[T], object]):
        self._found, self._change, self._back = found, change, back
        self._lock = threading.Lock()
        self._before: list[T] = []
        self._wanted: dict[object, V] = {}

    @contextlib.contextmanager
    def to(self, value: V) -> Iterator[None]:
        """Have it so for a while."""
        own = object()
        with self._lock:
            if not self._wanted:
                self._before = [self._found()]
            self._wanted[own] = value
            self._change(value)
        try:
            yield
        finally:
            with self._lock:
                del self._wanted[own]
                if self._wanted:
                    self._change([*self._wanted.values()][-1])
                else:
                    self._back(self._before[0])
