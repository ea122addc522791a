"""Digests of weights by what the files hold, had without loading them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from geometrycrafter.errors import InputError
from geometrycrafter.files import fingerprint
from geometrycrafter.weights.parts import hub_identity, parts_of
from geometrycrafter.weights.places import prior_file


def model_digest(root: Path, variant: str) -> str:
    """Of everything that a variant of a model is loaded from, its prior included.

    Raises:
        InputError: where a part is missing.
    """
    words = hub_identity(root, parts_of(variant)) + prior_digest(prior_of(root))
    return hashlib.sha256(words.encode()).hexdigest()


def prior_of(root: Path) -> Path:
    """The file of the prior that comes with a model.

    Raises:
        InputError: where there is none.
    """
    file = prior_file(root)
    if file is None:
        raise InputError(f"{root}: no prior is there; put MoGe's model.pt in moge-vitl.")
    return file


def prior_digest(file: Path) -> str:
    """Of a prior's file, and its configuration where it has one.

    Raises:
        InputError: where the file is missing.
    """
    if not file.is_file():
        raise InputError(f"{file}: there is no such file of weights.")
    config = file.with_name("config.json")
    return fingerprint(file) + (fingerprint(config) if config.is_file() else "")
