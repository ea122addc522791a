"""What less precision costs on real clips: depth against that of float32 on the same machine, and seconds of one core.

    python benchmarks/precision_on_clips.py CLIP... [--frames 16] [--size 192x320] [--model tiny] [--device cpu]

Errors are relative, over pixels that both runs call valid, with no scale fitted.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

import geometrycrafter as gc
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

WAYS: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "float32": (torch.float32, {}),
    "float32, --precision tf32": (torch.float32, {"precision": "tf32"}),
    "float32, --precision half": (torch.float32, {"precision": "half"}),
    "float32, --precision int8": (torch.float32, {"precision": "int8"}),
    "bfloat16": (torch.bfloat16, {}),
    "bfloat16, --precision int8": (torch.bfloat16, {"precision": "int8"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", default="192x320")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    size = tuple(int(side) for side in args.size.split("x"))
    for clip in args.clips:
        wanted: Any = None
        for name, (dtype, how) in WAYS.items():
            estimator = gc.load(args.model, device=args.device, dtype=dtype)
            started = time.process_time()
            scene = estimator(open_frames(clip, Reading(end=args.frames)), size=size, cuts="off", **how)
            spent = time.process_time() - started
            depth, mask = np.asarray(scene.depth[:], np.float64), np.asarray(scene.mask[:])
            wanted = (depth, mask) if wanted is None else wanted
            both = mask & wanted[1]
            off = np.abs(depth / wanted[0] - 1)[both]
            changed = (mask != wanted[1]).mean()
            print(
                f"{clip}  {name:28}  {spent / len(depth):6.3f} s a frame  median {np.median(off):.2%}  "
                f"99 % {np.quantile(off, 0.99):.2%}  mask {changed:.2%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
