"""The project's own video models."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.evaluation.methods.method import Method, Prediction, Predictor
from geometrycrafter.evaluation.methods.weights import model_digest
from geometrycrafter.evaluation.protocols import Protocol
from geometrycrafter.inference.loading import load
from geometrycrafter.inference.options import Options
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames
from geometrycrafter.weights.places import resolve


@dataclass(frozen=True)
class VideoModel(Method):
    """A model of ``gc.load``."""

    place: str = "tiny"
    """Its name or folder."""
    variant: str | None = None
    """None: the model's own."""
    steps: int | None = None
    """Of the sampler; None: the usual number."""
    seed: int = 0
    known_camera: bool = False
    """The model is told the true intrinsics."""

    @property
    def identity(self) -> dict[str, Any]:
        root, variant = resolve(self.place, self.variant)
        Options(**self._options())  # refuses what can't be before anything is loaded
        return self.settings("place", *([] if self.known_camera else ["known_camera"])) | {
            "variant": variant,
            "weights": model_digest(root, variant),
        }

    def _options(self) -> dict[str, Any]:
        return {"seed": self.seed, "cuts": "off"} | ({} if self.steps is None else {"steps": self.steps})

    def prepare(self, device: str) -> Predictor:
        estimator = load(self.place, self.variant, device=device)

        def predict(clip: Clip, name: str, protocol: Protocol) -> Prediction:
            started = time.perf_counter()
            frames = open_frames(clip.frames, Reading(bars="keep"))  # scored wherever there is truth
            k = np.asarray(clip.intrinsics[0], np.float64)
            options = self._options()
            if self.known_camera:
                options["intrinsics"] = (k[0, 0], k[1, 1], k[0, 2], k[1, 2])
            scene = estimator(frames, size=protocol.size, focal=protocol.focal, **options)
            focal = np.asarray(scene.intrinsics)[:, [0, 1], [0, 1]].prod(-1) ** 0.5
            seconds = time.perf_counter() - started
            return Prediction(scene.points, focal=focal, confidence=scene.confidence, seconds=seconds, keep=scene)

        return predict
