"""Camera poses: accuracy, time and honesty on rendered clips, beside Adam on the same problem.

python benchmarks/poses.py accuracy [--clips N]      # depth from the renderer, 10 % gross outliers among the tracks
python benchmarks/poses.py adam                      # 2,000 steps of Adam on the same cost, from the same start
python benchmarks/poses.py length                    # 60, 240 and 1,000 frames
python benchmarks/poses.py covariance [--clips N]    # share of frames whose error lies in the stated 90 % region
python benchmarks/poses.py refine [--clips N]        # the embedded model's depth, before and after
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

import geometrycrafter as gc
from geometrycrafter.data.clip import Clip
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.geometry import rigid
from geometrycrafter.poses import estimation
from geometrycrafter.poses.bundle import solve
from geometrycrafter.poses.guided_matching import GuidedMatching
from geometrycrafter.poses.initial import begin, points_of
from geometrycrafter.poses.lucas_kanade import LucasKanade
from geometrycrafter.poses.problem import Problem, State, Weights
from geometrycrafter.poses.tracks import Tracks

SIZE = (240, 320)
EXACT = Weights(pixel=0.5, log_depth=0.01, correction=0.05, drift=0.003)


def gemm_rate() -> float:
    """Of this machine, GFLOP/s in float32, best of five."""
    a = torch.rand(1024, 1024)
    best = 1e9
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best / 1e9


def scene_of(clip: Clip) -> gc.Scene:
    """With the renderer's own depth."""
    return gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics, fps=clip.fps)


def spoiled(tracks: Tracks, share: float, seed: int = 0) -> Tracks:
    """Tracks with so many of the observations anywhere in the picture."""
    generator = torch.Generator().manual_seed(seed)
    bad = torch.rand(len(tracks), generator=generator) < share
    anywhere = torch.rand(len(tracks), 2, generator=generator).double() * torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    return replace(tracks, xy=torch.where(bad[:, None], anywhere, tracks.xy))


def problem_of(clip: Clip, weights: Weights = EXACT, gross: float = 0.1) -> Problem:
    """Of a rendered clip, static points only."""
    static = None if clip.dynamic is None else list(~clip.dynamic)
    tracks = spoiled(LucasKanade()(list(clip.frames), static), gross)
    return estimation._problem(scene_of(clip), tracks, weights, estimation.KEPT, None)


def matched_problem(clip: Clip, problem: Problem, state: State, gross: float = 0.1) -> Problem:
    """The same with points sought again where a first solution has them, a tenth of them spoiled, too."""
    static = None if clip.dynamic is None else list(~clip.dynamic)
    grey = [cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in clip.frames]
    tracks = GuidedMatching()(scene_of(clip), grey, state, problem, static)
    return estimation._problem(scene_of(clip), spoiled(tracks, gross), problem.weights, estimation.KEPT, None)


def trajectory_error(poses: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square of places apart after the best similarity, as a share of the path in percent."""
    a, b = poses[:, :3, 3].astype(float), truth[:, :3, 3].astype(float)
    ma, mb = a.mean(0), b.mean(0)
    u, d, v = np.linalg.svd((b - mb).T @ (a - ma))
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ v))])
    turn = u @ sign @ v
    scale = np.trace(np.diag(d) @ sign) / max(((a - ma) ** 2).sum(), 1e-12)
    apart = np.linalg.norm(b - mb - scale * (a - ma) @ turn.T, axis=1)
    return 100 * float(np.sqrt((apart**2).mean()) / np.linalg.norm(np.diff(b, axis=0), axis=1).sum())


def accuracy(clips: int) -> None:
    """Error of the trajectory, and seconds of the solver."""
    errors = []
    for seed in range(7000, 7000 + clips):
        clip = rendered(seed, 60, *SIZE)
        problem = problem_of(clip)
        start = time.perf_counter()
        state = solve(problem, begin(problem))
        seconds = time.perf_counter() - start
        problem = matched_problem(clip, problem, state)
        start = time.perf_counter()
        state = solve(problem, replace(state, points=points_of(problem, state)))
        seconds += time.perf_counter() - start
        errors.append(trajectory_error(state.poses.numpy(), clip.poses))
        tracks = len(problem.tracks) // 60
        print(f"seed {seed}: {errors[-1]:6.2f} % of the path, {seconds:.1f} s, {tracks} points a frame", flush=True)
    print(f"median {np.median(errors):.2f} %, {np.mean(np.array(errors) <= 0.5):.0%} of clips within 0.5 %")


def adam(clips: int) -> None:
    """The same cost from the same start, by 2,000 steps of Adam and by the solver."""
    ratios = []
    for seed in range(7000, 7000 + clips):
        problem = problem_of(rendered(seed, 60, *SIZE))
        start, times, costs = begin(problem), [], []
        for how in ({}, {"widths": (3.0,), "tolerance": 1e-3}):  # as far as it goes, and as far as Adam comes
            clock = time.perf_counter()
            costs.append(problem.cost(solve(problem, start, **how), 3.0))
            times.append(time.perf_counter() - clock)
        clock = time.perf_counter()
        theirs = problem.cost(by_adam(problem, start, 2000), 3.0)
        seconds = time.perf_counter() - clock
        ratios.append([seconds / t for t in times])
        print(
            f"seed {seed}: solver {times[0]:.2f} s, cost {costs[0]:.0f}, or {times[1]:.2f} s, cost {costs[1]:.0f}; "
            f"Adam {seconds:.1f} s, cost {theirs:.0f}; {ratios[-1][0]:.0f} and {ratios[-1][1]:.0f} times as fast",
            flush=True,
        )
    first, second = np.median(np.array(ratios), 0)
    print(f"median {first:.0f} and {second:.0f} times as fast")


def by_adam(problem: Problem, state: State, steps: int) -> State:
    """Adam on turns, shifts, points and corrections."""
    move = torch.zeros(problem.frames, 6 + problem.grid.nodes, dtype=torch.float64, requires_grad=True)
    points = torch.zeros_like(state.points, requires_grad=True)
    optimizer = torch.optim.Adam([move, points], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 1e-5)

    def moved() -> State:
        free = torch.cat([torch.zeros_like(move[:1, :6]), move[1:, :6]])
        return state.moved(torch.cat([free, move[:, 6:]], 1), points, 0.0)

    for _ in range(steps):
        optimizer.zero_grad()
        cost_of(problem, moved(), 3.0).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return moved()


def cost_of(problem: Problem, state: State, width: float) -> Tensor:
    """As :meth:`Problem.cost`, to be differentiated."""
    robust = torch.zeros((), dtype=torch.float64)
    for part in problem.parts():
        pixel, deep = problem.residuals(state, part, problem.seen(state, part))
        robust = robust + torch.log1p(pixel.square().sum(-1) / width**2).sum()
        robust = robust + torch.log1p(deep.square() / width**2).sum()
    a, d = state.correction, state.correction.diff(dim=0)
    return 0.5 * (width**2 * robust + ((a @ problem.unary) * a).sum() + ((d @ problem.drift) * d).sum())


def length(clips: int) -> None:
    """Seconds by the number of frames: one clip, played there and back again."""
    clip = rendered(7000, 60, *SIZE)
    base = problem_of(clip)
    for frames in (60, 240, 1000):
        times = -(-frames // 60)
        parts = []
        for part in range(times):
            back = part % 2 == 1
            frame = (59 - base.tracks.frame if back else base.tracks.frame) + 60 * part
            parts.append((base.tracks.track + part * base.tracks.count, frame, base.tracks.xy, base.log_depth))
        track, frame, xy, deep = (torch.cat([p[i] for p in parts]) for i in range(4))
        # The last frame of one part and the first of the next are the same picture, so their points go on.
        order = torch.argsort(track * frames + frame)
        tracks, deep = Tracks(track[order], frame[order], xy[order], times * base.tracks.count), deep[order]
        kept = tracks.frame < frames
        long = replace(base, tracks=tracks.where(kept), log_depth=deep[kept], frames=frames, held=None)
        start = time.perf_counter()
        solve(long, begin(long))
        print(f"{frames} frames: {time.perf_counter() - start:.1f} s, {len(long.tracks)} observations", flush=True)


def covariance(clips: int, first: int) -> None:
    """How often the error of a pose, from the first camera, lies in the stated 90 % region."""
    shares = []
    for seed in range(first, first + clips):
        clip = rendered(seed, 24, *SIZE)
        moving = np.zeros(clip.depth.shape, bool) if clip.dynamic is None else clip.dynamic
        found = gc.poses.estimate(scene_of(clip), clip.frames, moving)
        truth = torch.from_numpy(clip.poses.astype(np.float64))
        truth = rigid.inverse(truth[:1]) @ truth
        error = (rigid.inverse(torch.from_numpy(found.poses.astype(np.float64))) @ truth)[1:]
        turn = torch.stack([error[:, 2, 1] - error[:, 1, 2], error[:, 0, 2] - error[:, 2, 0]], -1) / 2
        both = torch.cat([turn, (error[:, 1, 0] - error[:, 0, 1])[:, None] / 2, error[:, :3, 3]], -1)
        known = torch.from_numpy(found.known[1:] & found.known[0])
        if not known.any():
            print(f"seed {seed}: not known", flush=True)
            continue
        spread, both = torch.from_numpy(found.covariance[1:])[known], both[known]
        far = (both * torch.linalg.solve(spread, both[..., None])[..., 0]).sum(-1)
        shares.append(float((far < 10.64).double().mean()))
        print(f"seed {seed}: {shares[-1]:.0%}, median {float(far.median()):.1f} of 5.3", flush=True)
    print(f"mean {np.mean(shares):.1%} of frames in the 90 % region, {len(shares)} clips")


def refine(clips: int) -> None:
    """Rel^p of the embedded model's point maps, and how they drift, before and after."""
    estimator, rows = gc.load("tiny"), []
    for seed in range(9500, 9500 + clips):
        clip = rendered(seed, 48, 192, 256)
        scene = estimator(clip.frames, intrinsics=tuple(clip.intrinsics[0][[0, 1, 0, 1], [0, 1, 2, 2]].tolist()))
        found = gc.poses.estimate(scene, clip.frames, refine=True)
        path = float(np.linalg.norm(np.diff(clip.poses[:, :3, 3], axis=0), axis=1).sum())
        rays = np.asarray(scene.points) / np.asarray(scene.depth)[..., None]
        truth = gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics).points[:]
        grid = estimation.REFINING
        gain = np.stack([grid.picture(torch.from_numpy(c).flatten(), 192, 256).exp().numpy() for c in found.correction])
        before, after = (
            gc.evaluation.score_points(points, truth, clip.mask)
            for points in (scene.points[:], rays * (np.asarray(scene.depth) * gain)[..., None])
        )
        rows.append((100 * before["point_rel"], 100 * after["point_rel"], path))
        stays = " (stays)" if any("leave its place" in note for note in found.notes) else ""
        print(f"seed {seed}: path {path:5.2f} m, {rows[-1][0]:.1f} -> {rows[-1][1]:.1f}{stays}", flush=True)
    table = np.array(rows)
    before, after = table[:, 0].mean(), table[:, 1].mean()
    print(f"mean {before:.2f} -> {after:.2f}, ratio {after / before:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "adam", "length", "covariance", "refine"))
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seed", type=int, default=8000, help="of the first clip that covariance is measured on")
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {gemm_rate():.0f} GFLOP/s")
    more = [arguments.seed] if arguments.what == "covariance" else []
    globals()[arguments.what](arguments.clips, *more)
