"""Reading checkpoints that nobody vouches for: no code runs, sizes are bounded, every key and shape is checked."""

from __future__ import annotations

import hashlib
import json
import pickle
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file
from torch import Tensor, nn

from geometrycrafter.errors import InputError, reason

T = TypeVar("T")
MAX_BYTES = 16 * 2**30
"""No published file comes near; larger ones are refused before they are read."""


def read_config(path: Path, kind: type[T]) -> T:
    """A dataclass of sizes from a published ``config.json``; keys that the dataclass doesn't know are passed over.

    Raises:
        InputError: where the file is missing, is no JSON object or has a value of the wrong kind.
    """
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: the file is missing, which holds the network's sizes; copy it from a hub that has this network."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: this is no JSON that can be read ({error}).") from error
    if not isinstance(stored, dict):
        raise InputError(f"{path}: the file should hold a JSON object of sizes; copy the published one.")
    return config_from(stored, kind, str(path))


def config_from(stored: dict[str, Any], kind: type[T], name: str) -> T:
    """The same from a dictionary that ``name`` holds.

    Raises:
        InputError: where a value is of the wrong kind.
    """
    types = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in stored or stored[field.name] is None:
            continue
        value = stored[field.name]
        value = tuple(value) if isinstance(value, list) else value
        wanted = types[field.name]
        if wanted in (int, float) and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise InputError(f"{name}: {field.name} is {value!r}; it should be a number, zero or more.")
        values[field.name] = value
    return kind(**values)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or, without running any code it may hold, of a pickled one.

    Raises:
        InputError: where the file is missing, damaged, too large or holds anything but tensors.
    """
    state = read_checkpoint(path)
    if not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: the file holds more than tensors; use the published weights.")
    return state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """As :func:`read_tensors`, for files that hold plain values beside tensors (MoGe's ``model.pt``).

    Raises:
        InputError: where the file is missing, damaged, too large or holds code.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: the file is larger than {MAX_BYTES >> 30} GiB; use the published weights.")
        if path.suffix == ".safetensors":
            return load_file(path) if _is_text(path) else load(path.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: the file is missing; put the published weights there.") from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: the file is damaged or would run code when loaded; use the published one."
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError) as error:
        raise InputError(f"{path}: this is no checkpoint that can be read ({reason(error)}).") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: the file holds a {type(state).__name__}, not named tensors; use the published one.")
    return state


def tensor_names(path: Path) -> set[str]:
    """Names of the tensors of a ``.safetensors`` file, had without reading these.

    Raises:
        InputError: where the file is missing or damaged.
    """
    if not _is_text(path):
        return set(read_tensors(path))
    try:
        with safe_open(path, framework="pt") as stored:
            return set(stored.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: this is no checkpoint that can be read ({reason(error)}).") from error


def _is_text(path: Path) -> bool:
    """Whether safetensors can open a file: it takes no name that is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of tensors and their names, however they lie in memory."""
    found = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        found.update(f"{key} {value.dtype} {list(value.shape)}".encode())
        found.update(value.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def compare(module: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """What keeps tensors from filling a module, a sentence each; empty where they fit."""
    wanted = module.state_dict()
    found: list[str] = []
    missing = [k for k in wanted if k not in tensors]
    extra = [k for k in tensors if k not in wanted]
    if missing:
        found.append(f"{len(missing)} of {len(wanted)} tensors are missing, first {missing[0]}")
    if extra:
        found.append(f"{len(extra)} tensors are unknown, first {extra[0]}")
    for key, value in wanted.items():
        if key in tensors and tensors[key].shape != value.shape:
            found.append(f"{key} has shape {list(tensors[key].shape)}, the network wants {list(value.shape)}")
            break
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            found.append(f"{key} holds NaN or infinite values")
            break
    return found


def load_weights(
    module: nn.Module, tensors: dict[str, Tensor], name: str, dtype: torch.dtype, device: torch.device
) -> None:
    """Give a module (which may stand on the meta device) its tensors.

    Raises:
        InputError: where keys or shapes differ or values are not finite; names the file and the first such tensor.
    """
    problems = compare(module, tensors)
    if problems:
        raise InputError(f"{name}: {problems[0]}; use weights made for this network.")
    ready = {k: v.to(device=device, dtype=dtype if v.is_floating_point() else v.dtype) for k, v in tensors.items()}
    module.load_state_dict(ready, assign=True)
    module.requires_grad_(False).eval()
