"""What a run has finished, line by line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from geometrycrafter.files import write_bytes


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
                    entry = json.loads(line)
                except ValueError:
                    break
                if not isinstance(entry, dict):
                    break
                self.entries.append(entry)
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

    def keep(self, count: int) -> None:
        """Go back to the first so many entries; what the others speak of is done again."""
        if count == len(self.entries):
            return
        self.entries = self.entries[:count]
        write_bytes(self.path, "".join(json.dumps(entry) + "\n" for entry in self.entries).encode())
