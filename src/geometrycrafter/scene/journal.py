"""What a run has finished, line by line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Lines of JSON, appended and flushed to disk one at a time; a torn last line counts as not written."""

    def __init__(self, path: Path):
        self.path = path
        self.entries: list[dict[str, Any]] = []
        if path.exists():
            whole = 0
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                try:
                    self.entries.append(json.loads(line))
                except ValueError:
                    break
                whole += len(line)
            with open(path, "r+b") as file:
                file.truncate(whole)

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line; it is on disk when this returns."""
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(entry)
