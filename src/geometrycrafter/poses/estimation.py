"""Camera poses of a scene: what moves is masked, points are followed, and all cameras are solved for at once."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.geometry.grid import Grid
from geometrycrafter.poses.bundle import covariance, solve
from geometrycrafter.poses.gaps import FEWEST, agreeing, bridged, loose_frames
from geometrycrafter.poses.guided_matching import GuidedMatching
from geometrycrafter.poses.initial import begin, known_cameras, points_of, with_poses
from geometrycrafter.poses.loops import Loops, Place
from geometrycrafter.poses.lucas_kanade import LucasKanade
from geometrycrafter.poses.masks import Masks, check_masks, given_masks
from geometrycrafter.poses.pictures import Greys, Pictures, Progress, read_pictures
from geometrycrafter.poses.problem import Problem, State, Weights
from geometrycrafter.poses.protocol import Keypoints, PointTracker
from geometrycrafter.poses.residual_motion import ResidualMotion
from geometrycrafter.poses.shots import ShotOfScene, ShotsOfClip, part_of_progress
from geometrycrafter.poses.static_tracks import StaticTracks
from geometrycrafter.poses.surfaces import Surfaces
from geometrycrafter.poses.tracks import Tracks, log_depth_at
from geometrycrafter.poses.unknown import told_found, told_unknown
from geometrycrafter.poses.windowed_tracks import WindowedTracks
from geometrycrafter.scene import Scene

SPAN = 24
"""Frames that one point ties together at most; longer tracks are cut into several."""
SHORTEST = 3
POSES = Weights(pixel=0.5, log_depth=0.03, correction=0.5, drift=0.02)
REFINED = Weights(pixel=0.5, log_depth=0.1, correction=0.5, drift=0.03, rough=0.3, node=0.1)
MEASURED = Weights(pixel=0.5, log_depth=0.03, correction=1e-3, drift=1e-5, points=3e-4)
KEPT = Grid(1, 1)
REFINING = Grid(3, 4)
FOCAL = 0.2
"""Standard deviation of the log of a focal length that is refined."""
ANY = 10.0
"""Standard deviation of the log of a scale that is not known at all."""
EXACT = 1e-5
"""Gain of cost, as a share, at which a solution is the last one."""
NEARLY = 1e-3
"""Gain of cost, as a share, at which a solution is good enough to go on from."""
LOOPS = 2
"""Rounds of what places that are seen again say of their cameras."""
ROUNDS = 3
"""Of surfaces laid on one another."""
OVERDISPERSION = 3.0
"""Tracks err together with their neighbours and over time: by how much more than alone, in standard deviations."""
DISAGREEMENT = 4.0
"""Times the variance that parts of the picture tell of: what neighbouring parts have wrong alike is not in it."""


@dataclass(frozen=True)
class Estimate:
    """Poses and what is known of them; as an array, the poses."""

    poses: np.ndarray
    """``[T, 4, 4]`` float32 camera-to-world, a shot's first camera being its world, in the shot's own unit."""
    quality: np.ndarray
    """``[T]`` float32, the share of a frame's static points that agree with its pose; 0 where it is not known."""
    residual: np.ndarray
    """``[T]`` float32, median distance of agreeing points from where they are seen, in the scene's pixels."""
    covariance: np.ndarray
    """``[T, 6, 6]`` of the world-to-camera motion: turn (radians), then shift (the scene's unit)."""
    intrinsics: np.ndarray
    """``[T, 3, 3]`` as given, or with the refined focal length."""
    correction: np.ndarray | None
    """``[T, rows, columns]`` added to the log of depth, where refined or put into the unit of known poses."""
    moving: Sequence[np.ndarray]
    """``[h, w]`` bool of each frame, what moves by itself and was left out."""
    notes: list[str]
    """What can't be known of this clip, in sentences."""
    tracks: StaticTracks | None = None
    """Static points that the poses were found from, and where they are seen; None: there are none."""
    metres: np.ndarray | None = None
    """``[T]``, where depth and poses are in metres: how many one unit of the predicted depth was."""

    @property
    def known(self) -> np.ndarray:
        """``[T]`` bool."""
        return self.quality > 0

    @classmethod
    def joined(cls, parts: Sequence[Estimate], shots: Sequence[tuple[int, int]]) -> Estimate:
        """Of a clip, from those of its shots; notes say which shot they are about."""

        def whole(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        kept = [(first, part.tracks) for part, (first, _) in zip(parts, shots, strict=True) if part.tracks is not None]
        return cls(
            poses=whole("poses"),
            quality=whole("quality"),
            residual=whole("residual"),
            covariance=whole("covariance"),
            intrinsics=whole("intrinsics"),
            correction=None if parts[0].correction is None else whole("correction"),
            moving=Masks(mask for part in parts for mask in part.moving),
            tracks=StaticTracks.joined([t for _, t in kept], [f for f, _ in kept]) if kept else None,
            notes=[
                f"Shot {first}-{end - 1}: {note}"
                for part, (first, end) in zip(parts, shots, strict=True)
                for note in part.notes
            ],
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.poses, dtype=dtype)

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.poses[index]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the poses, ``[T, 4, 4]``."""
        return self.poses.shape


def estimate(
    scene: Scene,
    frames: Iterable[Any],
    moving: Any = None,
    *,
    refine: bool = False,
    refine_focal: bool = False,
    surfaces: bool = False,
    poses: Any = None,
    keypoints: Keypoints | None = None,
    tracker: LucasKanade | PointTracker | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Camera-to-world poses of a scene (the paper's section 4, eq. 9 and 10).

    Frames of different shots share no points: each shot is solved for alone, and its first camera is its world.

    Args:
        scene: with depth, mask and intrinsics.
        frames: of the video that it was made from, ``[H, W, 3]`` uint8 each, of the scene's or another size.
        moving: ``[T, H, W]`` bool, what moves by itself; or what finds it, as a member of ``poses.members``; None:
            found from the motion itself.
        refine: correct each frame's depth by a coarse grid along with the poses.
        refine_focal: find one factor on the focal length, too.
        surfaces: the depth is measured, by a sensor or a renderer: it has one scale, and surfaces that frames share lie
            on one another, which counts for more than points do, and goes on where no point can be followed.
        poses: ``[T, 4, 4]`` camera-to-world that are known already: they stay, and give the depth its scale. Those that
            are NaN are found from the others.
        keypoints: finds the points that are followed; None: corners.
        tracker: follows them: :class:`LucasKanade`, which is the default, or a network, in windows of 12 frames.
        progress: called with a stage, how many frames are done, and of how many.

    Raises:
        InputError: where frames or masks are not those of the scene, or values are not finite.
    """
    told = progress or (lambda stage, done, total: None)
    if surfaces and (refine or poses is not None):
        raise InputError("surfaces want depth that is measured and cameras that are not known; leave the other out.")
    _check_scene(scene)
    count = len(scene.depth)
    known = None if poses is None else known_cameras(poses, count)
    given = None if moving is None or callable(moving) else given_masks(moving, count)
    carry = getattr(moving, "carry", moving) if callable(moving) else None
    ask = _Ask(given, carry, refine, refine_focal, surfaces, known, keypoints, tracker, told)
    if len(scene.shots) == 1:
        return _in_unit_of(scene, _of_shot(scene, frames, ask), known)
    clip, parts = ShotsOfClip(frames, count, carry), []
    for first, end in scene.shots:
        part = replace(
            ask,
            moving=None if given is None else Masks(given[first:end]),
            carry=clip.carry,
            known=None if known is None else known[first:end],
            told=part_of_progress(told, first, count),
        )
        shot = typing.cast(Scene, ShotOfScene(scene, first, end))
        parts.append(_of_shot(shot, clip.frames(first, end), part, first))
    return _in_unit_of(scene, Estimate.joined(parts, scene.shots), known)


def _in_unit_of(scene: Scene, found: Estimate, known: Tensor | None) -> Estimate:
    """Depth that is in metres still is when its shape is corrected; known cameras may have another unit."""
    if found.correction is None or known is not None or scene.unit != "m":
        return found
    return replace(found, metres=np.ones(len(found)))


@dataclass(frozen=True)
class _Ask:
    """What :func:`estimate` is asked for, of one shot."""

    moving: Masks | None
    carry: Callable[..., Any] | None
    refine: bool
    refine_focal: bool
    surfaces: bool
    known: Tensor | None
    keypoints: Keypoints | None
    tracker: LucasKanade | PointTracker | None
    told: Progress


def _of_shot(scene: Scene, frames: Iterable[Any], ask: _Ask, first: int = 0) -> Estimate:
    """Poses of one shot.

    Args:
        scene: of the shot.
        frames: likewise.
        ask: what for.
        first: frame of the clip, for messages.
    """
    count, height, width = scene.depth.shape
    known, told = ask.known, ask.told
    if known is not None and not torch.isfinite(known).any():
        known = None  # of another shot's frames
    embedded = ask.tracker is None or isinstance(ask.tracker, LucasKanade)
    pictures, found = read_pictures(frames, count, ask.carry, not embedded, told)
    given, grey = ask.moving if found is None else found, Greys(pictures)
    if given is not None:
        check_masks(given, grey.shape, (height, width))
    tracks = _followed(scene, pictures, given, ask.keypoints, ask.tracker, told)
    grid = REFINING if ask.refine else KEPT
    weights = REFINED if ask.refine else MEASURED if ask.surfaces else POSES
    weights = replace(weights, log_focal=FOCAL if ask.refine_focal else 0.0)
    if known is not None:
        weights = replace(weights, correction=ANY)
    small = grey.shape
    tracks = tracks.scaled(width / small[1], height / small[0])
    about = replace(POSES, log_focal=weights.log_focal, correction=weights.correction)
    problem = _problem(scene, tracks, about, KEPT, known)
    near = _solved(problem, known, tolerance=NEARLY)
    masks = given
    if masks is None:
        masks = Masks(ResidualMotion()(scene, grey, near, problem, lambda done: told("moving", done, count)))
        tracks = tracks.where(_within(masks.static(masks[0].shape), tracks, (height, width)))
    part, places = torch.zeros(count, dtype=torch.int64), list[Place]()
    if known is None:
        near, part, places = bridged(scene, grey, problem, near, masks.static(small))
    # Where depth is to be found wrong, points that it leads to have nothing to say.
    if embedded and ask.keypoints is None and not ask.refine and not ask.surfaces:
        tracks = _matched(scene, grey, near, problem, masks.static(small), part, tracks, told)
    problem = _problem(scene, tracks, weights, grid, known)
    state = _solved(problem, known, near, NEARLY if ask.surfaces else EXACT)
    if known is None:
        state = state if ask.surfaces else state.in_unit_of_depth()
        problem, state = _closed(scene, grey, problem, state, masks, part, places)
        state = state if ask.surfaces else state.in_unit_of_depth()
    if ask.surfaces:
        problem, state = _laid_on_one_another(scene, problem, state, masks, told)
    told("solve", count, count)
    solved = _estimate(scene, problem, state, masks, ask.refine, known, first)
    if ask.known is not None and solved.correction is None:
        solved = replace(solved, correction=np.zeros((count, 1, 1)))  # as other shots have one
    return solved


def _followed(
    scene: Scene,
    pictures: Pictures,
    moving: Masks | None,
    keypoints: Keypoints | None,
    tracker: LucasKanade | PointTracker | None,
    told: Progress,
) -> Tracks:
    """Points on what stands still, followed."""
    static = None if moving is None else moving.static(pictures.shape[:2])
    if tracker is None or isinstance(tracker, LucasKanade):
        embedded = tracker or LucasKanade()
        embedded = embedded if keypoints is None else replace(embedded, keypoints=keypoints)
        return embedded(_counted(Greys(pictures), "follow", told), static)
    windowed = WindowedTracks(tracker, keypoints)
    return windowed(pictures, static, scene, lambda done: told("follow", done, len(pictures)))


def _counted(grey: Sequence[np.ndarray], stage: str, told: Progress) -> Iterator[np.ndarray]:
    for t, picture in enumerate(grey):
        yield picture
        told(stage, t + 1, len(grey))


def _problem(scene: Scene, tracks: Tracks, weights: Weights, grid: Grid, known: Tensor | None) -> Problem:
    """Static points that are seen often enough, with depth somewhere."""
    count, height, width = scene.depth.shape
    tracks = tracks.split(SPAN)
    tracks = tracks.where((tracks.lengths() >= min(SHORTEST, count))[tracks.track])
    log_depth = torch.full((len(tracks),), torch.nan, dtype=torch.float64)
    order = torch.argsort(tracks.frame, stable=True)
    edges = torch.searchsorted(tracks.frame[order], torch.arange(count + 1))
    for t in range(count):
        rows = order[edges[t] : edges[t + 1]]
        if len(rows):
            depth, mask = torch.from_numpy(np.array(scene.depth[t])), torch.from_numpy(np.array(scene.mask[t]))
            log_depth[rows] = log_depth_at(depth, mask, tracks.xy[rows])
    deep = torch.zeros(tracks.count).index_add_(0, tracks.track, torch.isfinite(log_depth).float()) > 0
    kept = deep[tracks.track]
    k = torch.from_numpy(np.array(scene.intrinsics, np.float64))
    # Frames whose own focal lengths differ: pixels of a camera of the clip's mean, with the same rays.
    xy = (tracks.xy - k[tracks.frame, :2, 2]) / k[tracks.frame][:, [0, 1], [0, 1]]
    mean = k.mean(0)
    focal, centre = mean[[0, 1], [0, 1]], mean[:2, 2]
    tracks = Tracks(tracks.track, tracks.frame, xy * focal + centre, tracks.count).where(kept)
    held = None if known is None else torch.isfinite(known).all(-1).all(-1)
    return Problem(tracks, log_depth[kept], focal, centre, (height, width), count, weights, grid, held)


def _matched(
    scene: Scene,
    grey: Sequence[np.ndarray],
    near: State,
    problem: Problem,
    static: Sequence[np.ndarray],
    part: Tensor,
    followed: Tracks,
    told: Progress,
) -> Tracks:
    """Points sought where a first solution has them, and those that were followed where too few are found so."""
    count = problem.frames
    matched = GuidedMatching()(scene, grey, near, problem, static, part, lambda done: told("match", done, count))
    poor = torch.bincount(matched.frame, minlength=count) < 0.5 * torch.bincount(followed.frame, minlength=count)
    through = torch.zeros(followed.count).index_add_(0, followed.track, poor[followed.frame].float()) > 0
    return matched.joined(followed.where(through[followed.track]))


def _closed(
    scene: Scene,
    grey: Sequence[np.ndarray],
    problem: Problem,
    state: State,
    masks: Masks,
    part: Tensor,
    bridges: list[Place],
) -> tuple[Problem, State]:
    """The problem with what places say that are seen again, or on both sides of a gap, and its solution."""
    loops = Loops()
    again = loops.places(scene, grey, problem, masks.static(grey[0].shape))
    apart = [int(part[p.first]) != int(part[p.second]) or int(part[p.first]) < 0 for p in again]
    places = bridges + [p for p, new in zip(again, apart, strict=True) if new or loops.likely(p, problem, state)]
    for _ in range(LOOPS if places else 0):
        problem = replace(problem, loops=loops.pairs(places, problem, state))
        state = solve(problem, state, widths=(problem.weights.width,))
    return problem, state


def _laid_on_one_another(
    scene: Scene, problem: Problem, state: State, masks: Masks, told: Progress
) -> tuple[Problem, State]:
    """The problem with what surfaces say, and its solution; which points are one is asked anew after each."""
    static, surfaces = masks.static(problem.size), Surfaces()
    for done in range(ROUNDS):
        problem = replace(problem, surfaces=surfaces(scene, state, problem, static))
        tolerance = EXACT if done == ROUNDS - 1 else NEARLY
        state = solve(problem, state, (problem.weights.width,), tolerance=tolerance)
        told("surfaces", done + 1, ROUNDS)
    return problem, state


def _solved(problem: Problem, known: Tensor | None, near: State | None = None, tolerance: float = EXACT) -> State:
    """The solution, from cameras that are near it or from nothing."""
    if near is not None:
        mean = near.correction.mean(-1, keepdim=True).expand(-1, problem.grid.nodes)
        state = replace(near, correction=mean.clone())
        state.points = points_of(problem, state)
    else:
        state = begin(problem) if known is None else with_poses(problem, known)
    if not len(problem.tracks):
        return state
    return solve(problem, state, tolerance=tolerance)


def _estimate(
    scene: Scene,
    problem: Problem,
    state: State,
    masks: Sequence[np.ndarray],
    refined: bool,
    poses: Tensor | None,
    first: int,
) -> Estimate:
    count = problem.frames
    known = poses is not None
    given = torch.isfinite(poses).all(-1).all(-1) if poses is not None else torch.zeros(count, dtype=torch.bool)
    agree, distance, sigma = agreeing(problem, state)
    frame = problem.tracks.frame
    seen = torch.bincount(frame, minlength=count)
    sound = torch.bincount(frame[agree], minlength=count)
    quality = torch.where(sound >= FEWEST, sound / seen.clamp_min(1), 0.0)
    if problem.surfaces is not None:
        quality = torch.maximum(quality, problem.surfaces.quality(count))
    quality = torch.where(given, torch.where(seen > 0, sound / seen.clamp_min(1), 1.0), quality)
    residual = torch.stack([_median(distance[agree & (frame == t)]) for t in range(count)])
    loose = torch.zeros(count, dtype=torch.bool) if given.all() else loose_frames(problem, agree, quality, given)
    quality = torch.where(loose, 0.0, quality)
    spread = torch.full((count, 6, 6), torch.inf, dtype=torch.float64)
    if (len(problem.tracks) or problem.surfaces is not None) and not given.all():
        factor = (OVERDISPERSION * max(sigma / problem.weights.pixel, 0.2)) ** 2
        held = given if known else torch.arange(count) == int((quality > 0).double().argmax())
        spread = covariance(replace(problem, held=held), state, own=factor, parts=DISAGREEMENT)
        spread[loose | given] = torch.inf
    notes = told_unknown(quality, loose, first) + told_found(given, quality, first)
    if not known and len(problem.tracks) and count > 1:
        turning = _stays(problem, state, float(distance.median()))
        if turning is not None:
            state = replace(turning, correction=torch.zeros_like(turning.correction))  # no parallax, no depth
            notes.append("The camera doesn't leave its place as far as can be told: it turns, or stands still.")
    poses = state.poses
    k = np.array(scene.intrinsics, np.float32)
    k[:, [0, 1], [0, 1]] *= np.exp(state.log_focal)
    grid = problem.grid
    sound_ones = agree & (quality > 0)[frame]
    tracks = StaticTracks.of(problem, state, sound_ones, np.asarray(scene.intrinsics)) if sound_ones.any() else None
    return Estimate(
        poses=poses.numpy().astype(np.float32),
        quality=quality.numpy().astype(np.float32),
        residual=residual.numpy().astype(np.float32),
        covariance=spread.numpy(),
        intrinsics=k,
        correction=_correction(state, grid, refined, known),
        moving=masks,
        tracks=tracks,
        notes=notes,
    )


def _correction(state: State, grid: Grid, refined: bool, known: bool) -> np.ndarray | None:
    """What is added to the log of depth, ``[T, rows, columns]``; known poses alone give one scale."""
    count = len(state.correction)
    if refined:
        return np.asarray(state.correction.view(count, grid.rows, grid.columns))
    return np.full((count, 1, 1), float(state.correction.median())) if known else None


def _median(values: Tensor) -> Tensor:
    return values.median() if len(values) else torch.tensor(torch.nan, dtype=torch.float64)


SHARE_STILL, PIXELS_STILL = 1.15, 0.05
"""A camera that only turns is believed where it explains what is seen but for so much more, in the median."""


def _stays(problem: Problem, state: State, distance: float) -> State | None:
    """The same camera without leaving its place, where that explains what is seen as well; else None.

    Covariance alone can't tell: what all tracks have wrong alike, such as corners that are followed too slowly, is not
    in it.

    Args:
        problem: that was solved.
        state: its solution.
        distance: its median distance in pixels from where points are seen.
    """
    turning = replace(problem, still=True)
    start = replace(state, translation=torch.zeros_like(state.translation))
    start.points = points_of(turning, start)
    found = solve(turning, start, widths=(turning.weights.width,))
    found = replace(found, translation=torch.zeros_like(found.translation))
    apart, _ = turning.misfit(found)
    return found if float(apart.median()) < SHARE_STILL * distance + PIXELS_STILL else None


def _check_scene(scene: Scene) -> None:
    """Whether the scene has cameras and depth.

    Raises:
        InputError: where a camera has no focal length, values are not finite, or no frame has depth.
    """
    k = np.asarray(scene.intrinsics, np.float64)
    if not np.isfinite(k).all() or not (k[:, [0, 1], [0, 1]] > 0).all():
        raise InputError(f"{scene.place}: there are cameras without a focal length; give intrinsics in pixels.")
    if not any((scene.mask[t] & np.isfinite(scene.depth[t]) & (scene.depth[t] > 0)).any() for t in range(len(scene))):
        raise InputError(f"{scene.place}: no frame has depth, so no pose can be found; make the scene again.")


def _within(static: Sequence[np.ndarray], tracks: Tracks, size: tuple[int, int]) -> Tensor:
    """Which observations ``[N]`` lie on static pixels."""
    kept = torch.zeros(len(tracks), dtype=torch.bool)
    for t, mask in enumerate(static):
        rows = (tracks.frame == t).nonzero()[:, 0]
        xy = tracks.xy[rows].numpy()
        h, w = mask.shape
        x = ((xy[:, 0] + 0.5) * w / size[1]).astype(int).clip(0, w - 1)
        y = ((xy[:, 1] + 0.5) * h / size[0]).astype(int).clip(0, h - 1)
        kept[rows] = torch.from_numpy(mask[y, x])
    return kept
