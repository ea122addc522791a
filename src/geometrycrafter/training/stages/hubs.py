"""What a stage's networks come from: a hub's weights, or their sizes alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.errors import InputError
from geometrycrafter.networks.moge import MoGe, MoGeConfig
from geometrycrafter.priors import MoGePrior, Prior, TinyPrior
from geometrycrafter.weights.models import load_prior
from geometrycrafter.weights.parts import CONFIG, PARTS, UNETS, build_part, load_part
from geometrycrafter.weights.places import prior_file


class Hub:
    """A folder that is laid out like the published repositories, whose networks come with their weights."""

    has_weights = True

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def load(self, part: str) -> Any:
        """A part with its weights, frozen.

        Raises:
            InputError: names the folder, file or tensor that is not as it should be.
        """
        return load_part(part, self.root)

    def build(self, part: str) -> Any:
        """A part as it is born.

        Raises:
            InputError: where its sizes are missing or describe no network.
        """
        return build_part(part, self.root)

    def prior(self) -> Prior:
        """The per-frame prior.

        Raises:
            InputError: where the hub has none.
        """
        return load_prior(self.prior_file(), torch.device("cpu"))

    def prior_file(self) -> Path:
        """Where its weights are.

        Raises:
            InputError: where the hub has none.
        """
        file = prior_file(self.root)
        if file is None:
            raise InputError(f"{self.root}: no prior is there; the UNet is conditioned on one.")
        return file


class SizesAlone(Hub):
    """The hub's networks at random, no weights being read; those that it lacks have the published sizes."""

    has_weights = False

    def __init__(self, root: str | Path):
        super().__init__(root)
        self.lacking: list[str] = []
        """Parts that were asked for and have the published sizes."""

    def load(self, part: str) -> Any:
        return self.build(part).requires_grad_(False).eval()

    def build(self, part: str) -> Any:
        if (self.root / PARTS[part].folder / CONFIG).is_file():
            return build_part(part, self.root)
        self.lacking.append(part)
        sizes = PARTS[part].config()
        return PARTS[part].network(replace(sizes, in_channels=8) if part == UNETS["deterministic"] else sizes)

    def prior(self) -> Prior:
        own, found = self.root / PARTS["prior"].folder, prior_file(self.root)
        if (own / CONFIG).is_file() and (found is None or found.parent == own):
            return TinyPrior(self.load("prior"))
        if found is None:
            self.lacking.append("prior")
        return MoGePrior(MoGe(MoGeConfig()).requires_grad_(False).eval())
