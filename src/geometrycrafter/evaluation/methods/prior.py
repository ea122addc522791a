"""Per-frame priors by themselves: each frame's points have a scale of their own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geometrycrafter.data.clip import Clip
from geometrycrafter.evaluation.methods.method import Method, Prediction, Predictor, spooled
from geometrycrafter.evaluation.methods.weights import prior_digest, prior_of
from geometrycrafter.evaluation.protocols import Protocol
from geometrycrafter.inference.loading import checked_device
from geometrycrafter.priors import Prior
from geometrycrafter.weights.models import load_prior
from geometrycrafter.weights.places import resolve


@dataclass(frozen=True)
class ModelPrior(Method):
    """The per-frame prior that comes with a model."""

    place: str = "tiny"
    """The model's name or folder."""

    def _file(self) -> Path:
        return prior_of(resolve(self.place, None)[0])

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings("place") | {"weights": prior_digest(self._file())}

    def prepare(self, device: str) -> Predictor:
        return _predictor(load_prior(self._file(), checked_device(device)), device)


@dataclass(frozen=True)
class MoGeMethod(Method):
    """MoGe from a checkpoint as it is published, version 1 or 2."""

    file: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings("file") | {"weights": prior_digest(Path(self.file))}

    def prepare(self, device: str) -> Predictor:
        return _predictor(load_prior(Path(self.file), checked_device(device)), device)


def _predictor(prior: Prior, device: str) -> Predictor:
    def predict(clip: Clip, name: str, protocol: Protocol) -> Prediction:
        started = time.perf_counter()
        estimate = prior.begin()

        @torch.no_grad()
        def points(index: int) -> np.ndarray:
            image = torch.from_numpy(np.ascontiguousarray(clip.frames[index])).to(device)
            found, _ = estimate(image.permute(2, 0, 1)[None].float() / 255, None)
            frame: np.ndarray = found[0].float().cpu().numpy()
            return frame

        prediction = spooled(clip, points)
        prediction.seconds = time.perf_counter() - started
        return prediction

    return predict
