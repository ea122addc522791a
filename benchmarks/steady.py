"""What keeping depth steady is worth on rendered clips: drift and Rel^p of the embedded model, off and on.

    python benchmarks/steady.py --clips 16 [--world 2] [--frames 64] [--size 192x256] [--first 22000000]

The model runs once a clip; both figures are of what it decoded. ``--keep FOLDER`` keeps that for the next call, which
then takes seconds a clip (name another folder for other weights). Drift is the standard deviation over the clip of the
frames' median log ratios to the truth.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import geometrycrafter as gc
from geometrycrafter.data.clip import Clip
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.evaluation import metrics
from geometrycrafter.evaluation.clips import true_points
from geometrycrafter.geometry.cameras import rays_of_intrinsics, unproject
from geometrycrafter.inference.conditioning import resized
from geometrycrafter.inference.steadying import Steadier, factor, small_size

Decoded = dict[str, np.ndarray]


def decoded(clip: Clip, name: str, keep: Path | None) -> Decoded:
    """Depth, mask and cameras of a clip as the model decodes them; read where they were kept."""
    place = None if keep is None else keep / f"{name}.npz"
    if place is not None and place.exists():
        with np.load(place) as stored:
            return {key: stored[key] for key in ("depth", "mask", "k")}
    scene = gc.load("tiny")(clip.frames, size=clip.depth.shape[1:], cuts="off", steady="off")
    found = {"depth": np.asarray(scene.depth), "mask": np.asarray(scene.mask), "k": np.asarray(scene.intrinsics)}
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(place, **found)
    return found


def steadied(clip: Clip, scene: Decoded) -> np.ndarray:
    """Depth ``[T, H, W]`` on one footing, as ``run`` leaves it."""
    whole = (clip.depth.shape[1], clip.depth.shape[2])
    steadier, size = Steadier(torch.from_numpy(scene["k"]), whole), small_size(*whole)
    for frame, depth, mask in zip(clip.frames, scene["depth"], scene["mask"], strict=True):
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        seen = (resized(picture, size, "bilinear") * 255).round().to(torch.uint8)[0].permute(1, 2, 0)
        steadier.add(seen.numpy(), depth, mask)
    corrections = steadier.finish()
    return np.stack([d * factor(c, whole) for d, c in zip(scene["depth"], corrections, strict=True)])


def judged(clip: Clip, scene: Decoded, depth: np.ndarray) -> tuple[float, float]:
    """Drift and Rel^p."""
    rays = rays_of_intrinsics(torch.from_numpy(scene["k"]).double(), *depth.shape[1:])
    points = unproject(torch.from_numpy(depth).double(), rays).numpy()
    points[~scene["mask"]] = np.nan
    found = metrics.score_points(points, true_points(clip), clip.mask)["point_rel"]
    return metrics.drift(np.where(scene["mask"], depth, np.nan), clip.depth, clip.mask, clip.dynamic), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--world", type=int, default=1)
    parser.add_argument("--first", type=int, default=22_000_000, help="seed")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", default="192x256")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    torch.set_num_threads(1)
    rows, spent = [], 0.0
    print("clip           drift, off     on    Rel^p, off     on")
    for seed in range(args.first, args.first + args.clips):
        clip = rendered(seed, args.frames, height, width, world=args.world)
        if not clip.mask.any():
            continue
        scene = decoded(clip, f"w{args.world}-{seed}-{args.frames}-{args.size}", args.keep)
        begun = time.process_time()
        depth = steadied(clip, scene)
        spent += time.process_time() - begun
        rows.append((*judged(clip, scene, scene["depth"]), *judged(clip, scene, depth)))
        off, rel, on, rel_on = (100 * x for x in rows[-1])
        print(f"{seed}  {off:10.1f} % {on:6.1f} %  {rel:8.1f} % {rel_on:6.1f} %", flush=True)
    off, rel, on, rel_on = np.array(rows).T
    for name, before, after in (("drift", off, on), ("Rel^p", rel, rel_on)):
        print(
            f"{name}: mean {before.mean():.1%} to {after.mean():.1%}, median {np.median(before):.1%} to "
            f"{np.median(after):.1%}, median of ratios {np.median(after / before):.2f}, their mean "
            f"{(after / before).mean():.2f}, worse by more than 2 %: {(after > 1.02 * before).sum()} of {len(rows)}"
        )
    print(f"{spent / len(rows) / args.frames:.3f} s of one core a frame")


if __name__ == "__main__":
    main()
