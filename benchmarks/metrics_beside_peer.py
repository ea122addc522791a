"""Depth metrics beside an independent implementation, the package depth-estimation, on the same arrays.

pip install --no-deps depth-estimation; python benchmarks/metrics_beside_peer.py
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch

from geometrycrafter.data.synthesis import rendered
from geometrycrafter.evaluation import score_depth


def main() -> None:
    found = importlib.util.find_spec("depth_estimation")
    if found is None or not found.submodule_search_locations:
        sys.exit(__doc__)
    # The file alone: the package's own start imports much that is not needed here.
    file = Path(found.submodule_search_locations[0]) / "evaluation" / "metrics.py"
    spec = importlib.util.spec_from_file_location("peer", file)
    assert spec is not None and spec.loader is not None
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)

    clip = rendered(11, 6, 192, 256)
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0, 0.15, clip.depth.shape)).astype(np.float32)
    predicted = 0.4 * np.where(clip.mask, clip.depth, 1) * noise + 0.2
    print("frame  ours: AbsRel  delta1      peer: AbsRel  delta1      difference")
    for t in range(len(clip)):
        one = slice(t, t + 1)
        ours = score_depth(clip.depth[one], clip.mask[one], depth=predicted[one], max_depth=1e9)
        scale, shift = peer.align_least_squares(predicted[t], clip.depth[t], clip.mask[t])
        fitted = torch.from_numpy(scale * predicted[t] + shift)
        theirs = peer.DepthMetrics()(
            fitted.clamp_min(1e-3), torch.from_numpy(clip.depth[t]), torch.from_numpy(clip.mask[t])
        )
        apart = ours["depth_rel"] - theirs["abs_rel"], ours["depth_inlier"] - theirs["delta1"]
        print(
            f"{t:5}        {ours['depth_rel']:.6f}  {ours['depth_inlier']:.6f}"
            f"          {theirs['abs_rel']:.6f}  {theirs['delta1']:.6f}      {apart[0]:+.1e} {apart[1]:+.1e}"
        )


if __name__ == "__main__":
    main()
