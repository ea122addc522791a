"""A light decoder beside a model's own: what both make of the same clips, and how steady it is.

    python benchmarks/light_decoder.py HUB SHARDS [--size 128x192] [--clips 12] [--variant deterministic]

Rel^p and inliers with one scale a clip; flicker is the mean relative change of a still point's depth from frame to
frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import geometrycrafter as gc
from geometrycrafter.data.shards import Shards
from geometrycrafter.evaluation import flicker, score_points
from geometrycrafter.evaluation.clips import true_points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hub", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--size", default="128x192")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--variant", default="deterministic")
    args = parser.parse_args()
    size = tuple(int(side) for side in args.size.split("x"))
    estimator, data = gc.load(args.hub, args.variant), Shards(args.shards)
    rows: dict[str, list[dict[str, float]]] = {"full": [], "light": []}
    for index in range(min(len(data), args.clips)):
        clip = data.read(index)
        truth = true_points(clip)
        for decoder, own in rows.items():
            scene = estimator(clip.frames, size=size, cuts="off", decoder=decoder)
            points, depth = np.asarray(scene.points[:]), np.asarray(scene.depth[:])
            change = flicker(depth, clip.depth, clip.mask, clip.intrinsics, clip.poses, clip.dynamic)
            own.append(score_points(points, truth, clip.mask) | {"flicker": change})
    for decoder, own in rows.items():
        means = {k: np.mean([row[k] for row in own]) for k in ("point_rel", "point_inlier", "flicker")}
        print(f"{decoder:6}" + "".join(f"  {k} {v:.2%}" for k, v in means.items()))
    pairs = [(f["point_rel"], s["point_rel"]) for f, s in zip(rows["full"], rows["light"], strict=True)]
    print(f"clips on which the light one is no worse: {sum(s <= f for f, s in pairs)} of {len(pairs)}")


if __name__ == "__main__":
    main()
