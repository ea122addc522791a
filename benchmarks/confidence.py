"""Where the weights of a scene's confidence come from, and what they are worth on clips held out.

Renders clips, runs the embedded model over them, and fits a logistic regression of "the point is within 25 % of the
truth" to what :func:`geometrycrafter.inference.confidence.features` gives, a pixel a row. Clips of later seeds are
judged by the weights in the code: the mean error of the surest 80 % of all pixels, and of each tenth.

    python benchmarks/confidence.py fit --clips 60       # about five minutes on one core
    python benchmarks/confidence.py judge --clips 20
"""

from __future__ import annotations

import argparse
import importlib

import numpy as np
import torch

import geometrycrafter as gc
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.evaluation.clips import true_points
from geometrycrafter.evaluation.metrics.alignment import alignment
from geometrycrafter.evaluation.metrics.points import FLOOR, INLIER
from geometrycrafter.inference.confidence import features

FRAMES, SIZE = 12, (192, 256)
FITTED, JUDGED = 40_000_000, 41_000_000
"""First seeds."""
PIXELS = 10_000
"""Of a clip, that are fitted or judged."""


def errors_of(clip, scene) -> np.ndarray:
    """Relative errors ``[T, H, W]`` with one scale for the clip."""
    fit, truth, m = alignment(shift=False, robust=False), true_points(clip), clip.mask
    points = [(scene.points[t].astype(float), truth[t]) for t in range(len(clip))]
    for t, (p, q) in enumerate(points):
        fit.add(p[m[t]], q[m[t]])
    scale = fit.solve().scale
    return np.stack(
        [np.linalg.norm(scale * p - q, axis=-1) / np.maximum(np.linalg.norm(q, axis=-1), FLOOR) for p, q in points]
    )


def rows(first: int, clips: int, variant: str):
    """Features ``[N, 4]``, confidence ``[N]``, errors ``[N]`` and the clip's number ``[N]`` of some pixels of each."""
    module, rng = importlib.import_module("geometrycrafter.inference.passes.decode"), np.random.default_rng(0)
    told, seen, found = module.confidence, [], []
    module.confidence = lambda *given: (seen.append(features(*given).numpy()), told(*given))[1]
    estimator = gc.load("tiny", variant)
    for index in range(clips):
        clip = rendered(first + index, FRAMES, *SIZE)
        if not clip.mask.any():
            continue
        seen.clear()
        scene = estimator(clip.frames, cuts="off", size=SIZE)
        at = np.flatnonzero(clip.mask & scene.mask[:])
        at = rng.permutation(at)[:PIXELS]
        flat = (np.stack(seen).reshape(-1, 4), scene.confidence[:].ravel(), errors_of(clip, scene).ravel())
        found.append((*(values[at] for values in flat), np.full(len(at), index)))
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def fitted(values: np.ndarray, inlier: np.ndarray) -> list[float]:
    """Weights of a logistic regression, the constant first."""
    x = torch.cat([torch.ones(len(values), 1), torch.from_numpy(values)], 1)
    y, w = torch.from_numpy(inlier).float(), torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(x @ w, y) + 1e-3 * (w[1:] ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return [round(v, 3) for v in w.tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("fit", "judge"))
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--variant", default="deterministic", choices=("deterministic", "diffusion"))
    args = parser.parse_args()
    values, sure, error, clip = rows(FITTED if args.do == "fit" else JUDGED, args.clips, args.variant)
    if args.do == "fit":
        print("constant, depth, departure, departures, radius:", *fitted(values, error < INLIER))
    order = np.argsort(-sure, kind="stable")
    kept = order[: int(0.8 * len(order))]
    print(f"{len(np.unique(clip))} clips, mean error {error.mean():.1%}; surest 80 %: {error[kept].mean():.1%}")
    for part in np.array_split(order, 10):
        print(
            f"  said {sure[part].mean():.2f}, inliers {(error[part] < INLIER).mean():.2f}, "
            f"error {error[part].mean():.1%}"
        )


if __name__ == "__main__":
    main()
