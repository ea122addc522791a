"""Camera poses that are judged: this project's, on some method's depth; a still camera's; written ones."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.data.clip import Clip
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.clips import true_points
from geometrycrafter.evaluation.methods.guesses import Wall
from geometrycrafter.evaluation.methods.method import Method, Prediction, Predictor
from geometrycrafter.evaluation.protocols import Protocol
from geometrycrafter.files import fingerprint
from geometrycrafter.scene import Scene


@dataclass(frozen=True)
class TrueDepth(Method):
    """What the sensor measured, with its camera, in place of a prediction: what the solver is worth by itself."""

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings()

    def prepare(self, device: str) -> Predictor:
        return lambda clip, name, protocol: Prediction(points=true_points(clip), intrinsics=clip.intrinsics)


@dataclass(frozen=True)
class SolvedPoses(Method):
    """``gc.poses.estimate`` on the points of another method."""

    depth: Method = field(default_factory=lambda: Wall("constant"))
    """Whose points."""
    refine: bool = False
    """Depth is corrected by the motion, too."""
    refine_focal: bool = False
    """A factor on the focal length is found, too."""
    surfaces: bool = False
    """The depth is measured, and its surfaces are laid on one another."""

    @property
    def identity(self) -> dict[str, Any]:
        how = {"refine": self.refine, "refine_focal": self.refine_focal, "surfaces": self.surfaces}
        return {"method": "SolvedPoses", **how, "depth": self.depth.identity}

    def content(self, clip: str) -> str | None:
        return self.depth.content(clip)

    def prepare(self, device: str) -> Predictor:
        from geometrycrafter.poses import estimate

        points = self.depth.prepare(device)

        def predict(clip: Clip, name: str, protocol: Protocol) -> Prediction:
            started = time.perf_counter()
            found = points(clip, name, protocol)
            scene = found.keep if isinstance(found.keep, Scene) else _scene_of(clip, found)
            solved = estimate(
                scene, clip.frames, refine=self.refine, refine_focal=self.refine_focal, surfaces=self.surfaces
            )
            seconds = time.perf_counter() - started
            return Prediction(poses=solved.poses, known=solved.known, seconds=seconds)

        return predict


def _scene_of(clip: Clip, found: Prediction) -> Scene:
    """A scene in memory from a prediction's depth."""
    if found.points is None:
        raise InputError("poses want points in one scale; disparity, or depth without a camera, will not do.")
    depth = np.stack([np.asarray(p)[..., 2] for p in (found.points[t] for t in range(len(clip)))])
    intrinsics = found.intrinsics
    if intrinsics is None:
        focal = np.full(len(clip), np.nan) if found.focal is None else found.focal
        if not np.isfinite(focal).all():
            raise InputError("poses want a camera, and the method says nothing of its focal length.")
        intrinsics = np.tile(np.eye(3), (len(clip), 1, 1))
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
        intrinsics[:, 0, 2], intrinsics[:, 1, 2] = (clip.width - 1) / 2, (clip.height - 1) / 2
    return Scene.from_depth(depth, np.isfinite(depth) & (depth > 0), intrinsics, fps=clip.fps)


@dataclass(frozen=True)
class StandingStill(Method):
    """A camera that never moves: what everything must beat."""

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings()

    def prepare(self, device: str) -> Predictor:
        return lambda clip, name, protocol: Prediction(poses=np.tile(np.eye(4), (len(clip), 1, 1)))


@dataclass(frozen=True)
class WrittenPoses(Method):
    """A folder that has, for each clip, ``NAME.txt`` or ``NAME.tum`` (TUM's lines), or a scene ``NAME.gc``."""

    folder: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        return self.settings("folder")

    def content(self, clip: str) -> str | None:
        place = self._find(clip)
        if place is None:
            return None
        files = sorted((place / "poses").rglob("*")) if place.is_dir() else [place]
        return " ".join(fingerprint(p) for p in files if p.is_file())

    def prepare(self, device: str) -> Predictor:
        return self._predict

    def _predict(self, clip: Clip, name: str, protocol: Protocol) -> Prediction:
        from geometrycrafter.poses.trajectories import read_trajectory

        place = self._find(name)
        if place is None:
            raise InputError(f"{self.folder} holds neither {name}.txt, {name}.tum nor {name}.gc.")
        return Prediction(poses=read_trajectory(place, np.arange(len(clip)) / clip.fps))

    def _find(self, clip: str) -> Path | None:
        places = (Path(self.folder) / f"{clip}{suffix}" for suffix in (".txt", ".tum", ".gc"))
        return next((p for p in places if p.exists()), None)
