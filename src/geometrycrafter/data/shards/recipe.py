"""What made a folder of shards: kept beside them, so that work goes on only as it was begun."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geometrycrafter.data.shards.index import ClipEntry
from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import write_json

RECORD = "preparation.json"


@dataclass(frozen=True)
class Recipe:
    """What clips are made from, and how."""

    of: str
    """What the record calls it: a data set, a recording."""
    values: dict[str, Any]
    """Settings that change the clips, as JSON has them."""

    def begin(self, folder: Path, clips: Iterable[ClipEntry]) -> None:
        """Record how work in a folder is begun, or see that it goes on as it was.

        Args:
            folder: of the shards.
            clips: of this kind that it holds; without a record they say what they show.

        Raises:
            InputError: says what the folder was begun with.
        """
        recorded = _recorded(folder / RECORD)
        began = recorded.get(self.of)
        wanted = json.loads(json.dumps(self.values))
        if began is None:
            first = next(iter(clips), None)
            shown = {} if first is None else {"size": [first.height, first.width], "frames": len(first)}
            began = wanted | {k: v for k, v in shown.items() if k in wanted}
        for key in sorted(set(wanted) | set(began)):
            if wanted.get(key) != began.get(key):
                raise InputError(
                    f"{folder}: {self.of} was begun here with {key} {_told(began.get(key))}, not "
                    f"{_told(wanted.get(key))}; give that, or another folder."
                )
        if self.of not in recorded:
            write_json(folder / RECORD, recorded | {self.of: wanted}, indent=2)


def _recorded(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the record of how shards were made can't be read ({reason(error)}).") from error
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise InputError(f"{path}: this is no record of how shards were made; remove it.")
    return found


def _told(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value)) if len(value) == 2 else ",".join(map(str, value))
    return "of its own" if value is None else str(value)
