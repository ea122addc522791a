"""Models of ``transformers`` from a local folder: nothing is fetched, no code of theirs runs, every tensor is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.weights.checkpoints import MAX_BYTES


def load_folder(name: str, folder: Path, device: torch.device) -> Any:
    """A model of the class ``name`` with the weights of a folder (``config.json`` and ``model.safetensors``).

    Raises:
        InputError: where transformers is not installed, or the folder is missing, damaged or another model's.
    """
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise InputError(f"{name} needs transformers; {how_to_install('pose-networks')}.") from error
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: there is no config.json; give a folder with the published model.")
    if any(f.stat().st_size > MAX_BYTES for f in folder.iterdir() if f.is_file()):
        raise InputError(f"{folder}: a file is larger than {MAX_BYTES >> 30} GiB; use the published model.")
    kind = getattr(transformers, name)
    noise, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        found = kind.config_class.get_config_dict(folder, local_files_only=True)[0].get("model_type")
        if found != kind.config_class.model_type:
            raise InputError(
                f"{folder}: the folder holds a model of type {found!r}, not {kind.config_class.model_type!r}."
            )
        model, told = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except InputError:
        raise
    except Exception as error:  # the library raises what its readers do, of many kinds
        reason = str(error).split("\n")[0][:120]
        raise InputError(f"{folder}: this is no {name} that can be read ({reason}).") from error
    finally:
        logging.set_verbosity(noise)
        if bar:
            logging.enable_progress_bar()
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if told.get(what):
            first, how = sorted(str(k) for k in told[what])[0], what.removesuffix("_keys")
            raise InputError(f"{folder}: {len(told[what])} tensors are {how}, first {first}; use the published model.")
    return model.to(device).eval().requires_grad_(False)
