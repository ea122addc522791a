"""What bars cost, and what leaving them out saves: rendered clips with bars added, scored against their truth.

    python benchmarks/bars.py [CLIPS]

Rel^p in per cent (one scale for the clip), inside the picture alone, of the embedded model: the clip without bars, with
bars that are found, and with bars that are kept. The look's share of a run's time is printed too.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import geometrycrafter as gc
from geometrycrafter.data.renderer import render_clip
from geometrycrafter.evaluation.metrics.points import score_points
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

FRAMES, HEIGHT, WIDTH = 8, 144, 320
BARS = {"letterbox, 2.2:1 in 4:3": (48, 0), "pillarbox, 2.2:1 in 3.6:1": (0, 100)}


def score(scene: gc.Scene, inside: tuple[slice, ...], truth: np.ndarray, mask: np.ndarray) -> float:
    """Rel^p of points ``[T, H, W, 3]`` inside bars."""
    return 100 * score_points(np.asarray(scene.points)[inside], truth, mask)["point_rel"]


def points_of(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Points ``[T, H, W, 3]`` of planar depth ``[T, H, W]`` and a camera ``[3, 3]``, pixel centres at half integers."""
    y, x = np.mgrid[: depth.shape[1], : depth.shape[2]] + 0.5
    fx, fy, cx, cy = (float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return np.stack([(x - cx) / fx * depth, (y - cy) / fy * depth, depth], -1)


def main() -> None:
    """Print a row for each kind of bars: without, found, kept, and the look's share."""
    estimator = gc.load()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=int, nargs="?", default=3)
    seeds = range(9000, 9000 + parser.parse_args().clips)
    clips = [render_clip(seed, FRAMES, HEIGHT, WIDTH) for seed in seeds]
    whole = (slice(None), slice(None), slice(None))
    print("| bars | without | found | kept | time of the look |\n|---|---|---|---|---|")
    for name, (rows, columns) in BARS.items():
        scores, look, took = [], 0.0, 0.0
        inside = (slice(None), slice(rows, rows + HEIGHT), slice(columns, columns + WIDTH))
        for clip in clips:
            frames = (clip.frames.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
            truth, mask = points_of(clip.depth.numpy(), clip.intrinsics.numpy()), clip.mask.numpy()
            barred = np.pad(frames, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
            source = open_frames(barred)
            began = time.perf_counter()
            bars = source.find_bars()
            look += time.perf_counter() - began
            assert bars.union.size == (HEIGHT, WIDTH), f"{name}: {bars}"
            without = score(estimator(frames), whole, truth, mask)
            began = time.perf_counter()
            found = score(estimator(source), inside, truth, mask)
            took += time.perf_counter() - began
            kept = score(estimator(open_frames(barred, Reading(bars="keep"))), inside, truth, mask)
            scores.append((without, found, kept))
        columns_of = " | ".join(f"{x:.2f}" for x in np.mean(scores, axis=0))
        print(f"| {name} | {columns_of} | {100 * look / took:.1f}% |", flush=True)


if __name__ == "__main__":
    main()
