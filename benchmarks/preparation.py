"""How fast a data set becomes shards, beside the bare decoders of its pictures and depth maps on as many processes.

python benchmarks/preparation.py [--layout mvs-synth] [--frames 2000] [--processes 2] [--size 320x640]

The tree is made of rendered frames, in Virtual KITTI's layout (JPEG and PNG of 16 bits, 375x1242) or in MVS-Synth's
(PNG and EXR, 720x1280).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import OpenEXR

from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.formats import read_exr, read_picture, read_png16
from geometrycrafter.data.preparation import prepare
from geometrycrafter.data.shards import encode_picture
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.video.pictures import encode_png

LAYOUTS = {"mvs-synth": (720, 1280), "virtual-kitti": (375, 1242)}


def grow(layout: str, root: Path, frames: int) -> None:
    """A tree of sequences of 250 frames."""
    height, width = LAYOUTS[layout]
    clip = rendered(3, 4, height, width)
    # Grain, as photographs and path-traced pictures have it: without, PNG and JPEG would be read faster than real ones.
    grain = np.random.default_rng(0).normal(0, 4, clip.frames.shape)
    pictures = (clip.frames + grain).clip(0, 255).astype(np.uint8)
    (_, _, cx), (_, fy, cy), _ = clip.intrinsics[0].tolist()
    for t in range(frames):
        picture, z = np.roll(pictures[t % 4], 5 * t, axis=1), np.roll(clip.depth[t % 4], 5 * t, axis=1)
        number, index = divmod(t, 250)
        if layout == "virtual-kitti":
            folder = root / f"Scene{number + 1:02d}" / "clone"
            color, depth = (folder / "frames" / k / "Camera_0" for k in ("rgb", "depth"))
            for place in (color, depth):
                place.mkdir(parents=True, exist_ok=True)
            (color / f"rgb_{index:05d}.jpg").write_bytes(encode_picture(picture, 92))
            z = np.where(z > 0, np.minimum(z * 100, 65000), 65535)
            (depth / f"depth_{index:05d}.png").write_bytes(encode_png(z.astype(np.uint16)))
            for name, row in (("intrinsic", f"{fy} {fy} {cx} {cy}"), ("extrinsic", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")):
                with open(folder / f"{name}.txt", "a") as file:
                    file.write(("" if index else "header\n") + f"{index} 0 {row}\n")
        else:
            folder = root / "GTAV_720" / f"{number:04d}"
            for kind in ("images", "depths", "poses"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / "images" / f"{index:04d}.png").write_bytes(encode_png(picture))
            values = np.where(z > 0, z * 10, np.inf).astype(np.float32)
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            OpenEXR.File(header, {"Y": values}).write(str(folder / "depths" / f"{index:04d}.exr"))
            camera = {"f_x": fy, "f_y": fy, "c_x": cx, "c_y": cy, "extrinsic": np.eye(4).tolist()}
            (folder / "poses" / f"{index:04d}.json").write_text(json.dumps(camera))


def decode(items: list[dict[str, Path]]) -> int:
    for item in items:
        read_picture(item["picture"])
        (read_exr if item["depth"].suffix == ".exr" else read_png16)(item["depth"])
    return len(items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=tuple(LAYOUTS), default="mvs-synth")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--size", default="320x640")
    parser.add_argument("--tree", type=Path, help="made there, or used again (default: a temporary one)")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tree = args.tree or root / "tree"
        if not tree.exists():
            grow(args.layout, tree, args.frames)
        items = [i for s in data_set(args.layout).sequences(tree) for i in s.items]
        with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(decode, [items[:4]] * args.processes))  # the processes have started, files are in memory
            started = time.perf_counter()
            sum(pool.map(decode, [items[i : i + 50] for i in range(0, len(items), 50)]))
            bare = len(items) / (time.perf_counter() - started)
        started = time.perf_counter()
        prepare(args.layout, tree, root / "shards", (height, width), args.processes)
        rate = len(items) / (time.perf_counter() - started)
        print(f"decoders alone: {bare:.0f} frames/s; prepared: {rate:.0f} frames/s, start included; {rate / bare:.0%}")


if __name__ == "__main__":
    main()
