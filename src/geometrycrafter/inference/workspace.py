"""Intermediate results of a run under way: small files that appear whole, so a killed run goes on from them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from geometrycrafter.errors import WriteError


class Workspace:
    """A folder of named tensor files and a settings file that says which run they belong to."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.tmp"):
            stale.unlink()

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        target = self.folder / name
        temporary = target.with_suffix(target.suffix + ".tmp")
        try:
            write(temporary)
            os.replace(temporary, target)
        except Exception as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) or "No space" in str(error) or "os error" in str(error):
                raise WriteError(
                    f"{self.folder.parent}: writing failed ({_reason(error)}); make room, then go on with --resume."
                ) from error
            raise

    def has(self, name: str) -> bool:
        return (self.folder / f"{name}.safetensors").is_file()

    def save(self, name: str, tensors: dict[str, Tensor]) -> None:
        ready = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        self._write(f"{name}.safetensors", lambda path: save_file(ready, path))

    def load(self, name: str, keys: tuple[str, ...]) -> dict[str, Tensor]:
        """Some tensors of a file; the others are not read."""
        with safe_open(self.folder / f"{name}.safetensors", framework="pt") as file:
            return {k: file.get_tensor(k) for k in keys}

    def save_json(self, name: str, value: Any) -> None:
        self._write(f"{name}.json", lambda path: _write_text(path, json.dumps(value)))

    def load_json(self, name: str) -> Any:
        """None where it was never written."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else None


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0][:100]
