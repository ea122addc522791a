"""Frames are sent as fast as those who look can take them, so that a slow browser shows what is, and not what was."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Any

PATIENCE = 2.0
"""Seconds after which a client that doesn't answer is no longer waited for."""


class Pace:
    """Asks each client something after what it was sent; its answer says that it has come so far."""

    def __init__(self) -> None:
        self._waiting: dict[int, float] = {}
        self._guard = threading.Lock()

    def ready(self) -> bool:
        """Whether all who were asked have answered, or have had their time."""
        now = time.monotonic()
        with self._guard:
            return all(now - asked > PATIENCE for asked in self._waiting.values())

    def ask(self, clients: Iterable[Any]) -> None:
        """Ask clients whether they have come so far; those who have not answered yet are not asked again."""
        for client in clients:
            with self._guard:
                if client.client_id in self._waiting:
                    continue
                self._waiting[client.client_id] = time.monotonic()
            # A thread of its own, which nobody waits for: those who don't answer hold up neither others nor the end.
            threading.Thread(target=self._answered, args=(client,), daemon=True).start()

    def _answered(self, client: Any) -> None:
        with contextlib.suppress(RuntimeError, TimeoutError):  # it has gone, or takes its time
            client.local_storage.get_item("pace", timeout=10 * PATIENCE)
        with self._guard:
            self._waiting.pop(client.client_id, None)
