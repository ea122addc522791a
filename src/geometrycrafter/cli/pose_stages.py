"""What flags of poses name, loaded: whether it can be read is told before a run, so that a slip costs none."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from geometrycrafter.cli.pose_flags import Finding
from geometrycrafter.errors import InputError, how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import torch

    from geometrycrafter.poses.estimation import Estimate
    from geometrycrafter.poses.masks import Masks
    from geometrycrafter.poses.metres import Distance
    from geometrycrafter.poses.pose_matching import Trajectory
    from geometrycrafter.scene import Scene
    from geometrycrafter.video.reading import FrameSource

    Measure = Callable[[Estimate], np.ndarray]


@dataclass(frozen=True)
class Stages:
    """What :class:`Finding` names, loaded."""

    asked: Finding
    moving: Any
    keypoints: Any
    tracker: Any
    known: Trajectory | None
    prior: Any
    distances: Sequence[Distance]

    @classmethod
    def load(cls, asked: Finding, device: str | torch.device | None) -> Stages:
        """Networks from their files; what is known is looked at.

        Args:
            asked: what for.
            device: of the networks; None: a GPU where there is one.

        Raises:
            InputError: where a file is missing or another network's, or a package that poses need is.
        """
        check_installed()
        from geometrycrafter.files import on_disk
        from geometrycrafter.inference.loading import checked_device
        from geometrycrafter.video.reading import open_frames

        places = [_place(text) for text in asked.mask_at]
        device = checked_device(device)
        moving = keypoints = tracker = None
        if asked.mask_model:
            from geometrycrafter.poses.members.first_frame import open_masks, things_of

            first = None if asked.mask is None else things_of(next(iter(open_frames(asked.mask))))
            moving = open_masks([on_disk(m) for m in asked.mask_model], first, places, device)
        elif asked.mask:
            open_frames(asked.mask)
        if asked.keypoints:
            from geometrycrafter.poses.members.superpoint import SuperPointKeypoints, load_superpoint

            keypoints = SuperPointKeypoints(load_superpoint(asked.keypoints, device))
        if asked.tracker:
            from geometrycrafter.poses.members.spatracker import SpaTrackerTracks, load_spatracker

            tracker = SpaTrackerTracks(load_spatracker(asked.tracker, device))
        known = None
        if asked.known_poses:
            from geometrycrafter.poses.trajectories import read_poses

            known = read_poses(asked.known_poses)
        prior, distances = _metric(asked.metric, device), _distances(asked.distance)
        return cls(asked, moving, keypoints, tracker, known, prior, distances)

    def of_scene(self, scene: Scene) -> dict[str, Any]:
        """Arguments of :func:`estimate`.

        Raises:
            InputError: where masks are not those of the scene's frames.
        """
        asked, moving = self.asked, self.moving
        if asked.mask and not asked.mask_model:
            moving = _masks(asked.mask, scene)
        how = {"refine": asked.refine, "refine_focal": asked.refine_focal, "surfaces": asked.surfaces}
        return {**how, "moving": moving, "keypoints": self.keypoints, "tracker": self.tracker}

    def measure(self, scene: Scene, source: FrameSource) -> Measure | None:
        """What tells the unit of an estimate, where something does.

        Raises:
            InputError: where a distance can't be measured.
        """
        if self.distances:
            from geometrycrafter.poses.metres import scales_of_distances

            size = (source.height, source.width)
            scales_of_distances(scene.predicted, None, self.distances, size)  # what is wrong with them is told first
            return lambda found: scales_of_distances(scene.predicted, found, self.distances, size)
        if self.prior is not None:
            from geometrycrafter.poses.metres import scales_of_prior

            return lambda found: scales_of_prior(scene.predicted, found, self.prior.begin(), source)
        return None


def check_installed() -> None:
    """Poses need a package that the rest does without.

    Raises:
        InputError: where it isn't there.
    """
    if importlib.util.find_spec("cv2") is None:
        raise InputError(f"poses need OpenCV; {how_to_install('poses')}.")


def _place(text: str) -> list[float]:
    """A point ``x,y`` or a box ``left,top,right,bottom``.

    Raises:
        InputError: where it is neither.
    """
    try:
        numbers = [float(n) for n in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 4):
        raise InputError(f"--mask-at {text!r}: give x,y or left,top,right,bottom.")
    return numbers


def _metric(file: Path | None, device: torch.device) -> Any:
    """A prior in metres.

    Raises:
        InputError: where it is none.
    """
    if file is None:
        return None
    from geometrycrafter.weights.models import load_prior

    prior = load_prior(file, device)
    if not prior.metric:
        raise InputError(f"{file}: this prior is not in metres; give MoGe-2's model.pt.")
    return prior


def _distances(texts: Sequence[str]) -> list[Distance]:
    if not texts:
        return []
    from geometrycrafter.poses.metres import Distance

    return [Distance.of(text) for text in texts]


def _masks(path: str, scene: Scene) -> list[np.ndarray] | Masks:
    """Masks of a scene's frames, from pictures for each of them or for the whole video that it is cut from.

    Raises:
        InputError: where there are more or fewer.
    """
    from geometrycrafter.poses.masks import Masks
    from geometrycrafter.video.reading import open_frames

    count, record = len(scene), scene.source
    cut = slice(0, None, 1) if record is None else slice(record.start, record.end, record.stride)
    most = count + 1 if (cut.start, cut.step) == (0, 1) else cut.stop  # what is beyond needs no look
    masks = Masks(picture[..., 0] > 127 for picture in islice(open_frames(path), most))
    if len(masks) != count and len(masks[cut]) != count:
        number = "more masks" if len(masks) > count else "one mask" if len(masks) == 1 else f"{len(masks)} masks"
        raise InputError(f"{path}: {number} for {count} frames; give one for each, or those of the whole video.")
    return masks if len(masks) == count else masks[cut]
