"""What the index of a mixture takes in memory: bytes a frame, in the process that opens it and in its readers.

python benchmarks/index_memory.py [--frames 2000000] [--length 150] [--readers 4]

Made-up clips with poses, in indices beside empty tars; a shard of 20,000 frames is written once and linked.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from geometrycrafter.data.shards import ClipEntry, Shards
from geometrycrafter.data.shards.index import BLOCK, entry_of, write_index

SHARD = 20_000


def made_up(length: int) -> list[ClipEntry]:
    """The clips of a shard."""
    rng = np.random.default_rng(0)
    entries, offset = [], 0
    for number in range(SHARD // length):
        key = f"scene-{number:04d}-left-{length * number:06d}"
        offset += 20 * BLOCK
        places: dict[str, list[tuple[int, int]]] = {"jpg": [], "depth": []}
        for _ in range(length):
            for kind, sizes in (("jpg", (60_000, 120_000)), ("depth", (100_000, 250_000))):
                size = int(rng.integers(*sizes))
                places[kind].append((offset, size))
                offset += BLOCK + -(-size // BLOCK) * BLOCK
        poses = np.concatenate([rng.normal(size=(length, 3, 4)), np.tile([[[0, 0, 0, 1]]], (length, 1, 1))], 1)
        about = {"near": 0.5, "far": 100.0, "height": 320, "width": 640, "sky": True, "fps": 24.0, "licence": "none"}
        about |= {"source": f"made-up {key}", "poses": poses.astype(np.float32).tolist()}
        about |= {"intrinsics": np.tile(np.float32([[500, 0, 320], [0, 500, 160], [0, 0, 1]]), (length, 1, 1)).tolist()}
        entries.append(entry_of(key, "clips-000000.tar", about, places))
    return entries


def memory(*kinds: str) -> int:
    """Bytes of this process by kinds of /proc/self/smaps_rollup."""
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]]
    return sum(int(line[1]) * 1024 for line in lines if line[0].rstrip(":") in kinds)


def read(shards: Shards, ready: multiprocessing.Queue[int]) -> None:
    """Ask for clips as a reader does, and tell how much memory became this process's own."""
    before = memory("Private_Dirty", "Private_Clean")
    rng = np.random.default_rng(os.getpid())
    for index in rng.integers(len(shards), size=3000):
        assert len(shards.clips[int(index)].frames) == shards.clips.length(int(index))
    ready.put(memory("Private_Dirty", "Private_Clean") - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--length", type=int, default=150)
    parser.add_argument("--readers", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder, "clips-000000.json")
        write_index(first, made_up(args.length))
        first.with_suffix(".tar").touch()
        for number in range(1, args.frames // SHARD):
            for suffix in (".json", ".tar"):
                os.link(first.with_suffix(suffix), Path(folder, f"clips-{number:06d}{suffix}"))
        before, started = memory("Rss"), time.perf_counter()
        shards = Shards(folder)
        grown, seconds = memory("Rss") - before, time.perf_counter() - started
        frames = sum(shards.clips.length(i) for i in range(len(shards)))
        print(f"{frames:,} frames in {len(shards):,} clips; opened in {seconds:.1f} s")
        print(f"arrays: {shards.clips.nbytes / frames:.1f} bytes a frame; process: {grown / frames:.1f}")
        context = multiprocessing.get_context("fork")
        ready = context.Queue()
        readers = [context.Process(target=read, args=(shards, ready)) for _ in range(args.readers)]
        for reader in readers:
            reader.start()
        own = [ready.get() for _ in readers]
        for reader in readers:
            reader.join()
        print(f"each of {len(own)} readers, of its own: {max(own) / frames:.1f} bytes a frame at most")


if __name__ == "__main__":
    main()
