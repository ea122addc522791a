"""Three steps of each of the paper's configurations on a GPU: memory beside what ``train --plan`` says, and time.

    python benchmarks/gpu_training.py figures.jsonl [--limit 280] [--configs NAME,NAME] [--set recompute=false]
    python benchmarks/gpu_training.py figures.jsonl --tiny       # the script itself, on a CPU, with the embedded sizes

One process does what each of ``--processes`` does (8, as the configurations are meant for), but for the exchange
between them: weights and the optimizer's state are whole. Networks have the published sizes and weights drawn on the
device; clips are rendered small and enlarged. Each line of the file is a configuration's figures, written as soon as
they are there. What fails, by lack of memory too, says so, and the next one goes on.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from geometrycrafter.cli.train import assignment
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.training.config import PUBLISHED, LoopConfig, merged, read_train_config
from geometrycrafter.training.distribution import Workers
from geometrycrafter.training.plan import Plan, plan_of
from geometrycrafter.training.recomputation import recompute
from geometrycrafter.training.samples import on_device
from geometrycrafter.training.stages import Batch, SizesAlone, stage_of
from geometrycrafter.training.state import TrainingState
from geometrycrafter.training.steps import gradients, lowered
from geometrycrafter.weights.places import EMBEDDED

GIB = 1 << 30
ORDER = (
    "paper-vae-images",
    "paper-unet-diffusion",
    "paper-vae-video",
    "paper-unet-diffusion-long",
    "paper-unet-deterministic",
    "paper-unet-deterministic-long",
)
"""What tells most comes first."""


def share_of(name: str, processes: int, tiny: bool, changes: dict[str, Any]) -> LoopConfig:
    """A configuration as one process has it, alone, on its longest clips."""
    config = read_train_config(name, changes)
    share = Workers(world=processes).share(config)
    config = replace(config, batch=share, parallel="ddp", frames=(config.frames[1],) * 2)
    if tiny:
        frames = min(config.frames[1], 3)
        config = replace(config, hub=str(EMBEDDED), size=(64, 128), frames=(frames, frames))
    return config


def clips(config: LoopConfig) -> Batch:
    """A batch of rendered clips, as the reading processes give it."""
    (height, width), frames = config.size, config.frames[1]
    clip = rendered(7, min(frames, 8), height // 4, width // 4)
    there = list(range(len(clip.frames)))
    order = ((there + there[-2:0:-1]) * frames)[:frames]
    pictures = torch.from_numpy(clip.frames[order].copy()).permute(0, 3, 1, 2).float()
    pictures = F.interpolate(pictures, config.size, mode="bilinear").permute(0, 2, 3, 1)
    depth = F.interpolate(torch.from_numpy(clip.depth[order].copy())[:, None].float(), config.size, mode="nearest")[
        :, 0
    ]
    sample = {
        "frames": pictures.round().byte(),
        "depth": depth,
        "known": torch.ones_like(depth, dtype=torch.bool),
        "half_field": torch.tensor([[0.6, 0.3]]).repeat(frames, 1),
    }
    seeds = list(range(config.batch))
    return {k: torch.stack([v] * config.batch) for k, v in sample.items()} | {"seeds": seeds}


def peak_rate(device: torch.device) -> float:
    """Arithmetic a second of a large product of matrices in bfloat16."""
    size = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    seconds = timed(lambda: [a @ b for _ in range(10)], device)
    return 10 * 2 * size**3 / seconds


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measured(config: LoopConfig, device: torch.device, steps: int) -> dict[str, Any]:
    """Figures of some steps and of a batch's validation."""
    cuda = device.type == "cuda"
    batch = clips(config)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with device:
        stage = stage_of(config, SizesAlone(config.hub))
    stage = stage.to(device)
    stage.train()
    stage.choose_parameters()
    if config.recompute:
        recompute(stage)
    state = TrainingState(stage, config, Workers(device=device))
    seconds, losses = [], []
    found: dict[str, Any] = {"built_gib": torch.cuda.memory_allocated() / GIB if cuda else None}

    def step() -> None:
        state.begin_step()
        terms = gradients(stage, batch, config, device, state.scaler, lambda terms: None)
        state.clip_gradient()
        state.take_step()
        losses.append(sum(terms.values()))

    for _ in range(steps):
        seconds.append(timed(step, device))
        state.step += 1
        if cuda:
            found["step_gib"] = torch.cuda.max_memory_allocated() / GIB
            found["reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
            free, whole = torch.cuda.mem_get_info()
            found["used_of_gpu_gib"] = (whole - free) / GIB
    found |= {"seconds": [round(s, 3) for s in seconds], "losses": [round(x, 4) for x in losses]}
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    stage.eval()
    with state.averaged(), torch.no_grad(), lowered(config, device):
        found["validation_seconds"] = timed(lambda: stage.scores(on_device(batch, device)), device)
    if cuda:
        found["validation_gib"] = torch.cuda.max_memory_allocated() / GIB
    return found


def figures(config: LoopConfig, device: torch.device, plan: Future[Plan], rate: float, steps: int) -> dict[str, Any]:
    """Measured beside planned; what fails is a figure too."""
    line: dict[str, Any] = {"clips": config.batch, "frames": config.frames[1], "size": list(config.size)}
    line |= {"recompute": config.recompute, "accumulate": config.accumulate}
    try:
        line |= measured(config, device, steps)
    except Exception as error:
        line["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if not isinstance(error, torch.OutOfMemoryError):
            line["where"] = traceback.format_exc().splitlines()[-8:]
    if device.type == "cuda":
        line["most_gib"] = torch.cuda.max_memory_allocated() / GIB
    try:
        said = plan.result()
    except Exception as error:
        return line | {"plan_error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    line |= {"plan_step_gib": said.step.bytes / GIB, "plan_needed_gib": said.needed / GIB, "tflop": said.flops / 1e12}
    if said.validation is not None:
        line["plan_validation_gib"] = said.validation.bytes / GIB
    if line.get("step_gib"):
        line["plan_to_measured"] = line["plan_step_gib"] / line["step_gib"]
    if len(line.get("seconds", [])) > 1:
        best = min(line["seconds"][1:])
        line |= {"steps_a_second": 1 / best, "share_of_peak": said.flops / best / rate}
    return line


def _without_gpu() -> None:
    """Plans need none, and would take memory of it only to be there."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--limit", type=float, default=280, help="seconds after which no other configuration is begun")
    parser.add_argument("--configs", default=",".join(ORDER))
    parser.add_argument("--set", action="append", default=[], type=assignment, metavar="KEY=VALUE")
    parser.add_argument("--tiny", action="store_true", help="embedded sizes, on the CPU")
    args = parser.parse_args()
    started = time.perf_counter()
    device = torch.device("cpu" if args.tiny else args.device)
    changes: dict[str, Any] = {}
    for change in args.set:
        changes = merged(changes, change)
    names = args.configs.split(",")
    assert set(ORDER) == {p.stem for p in PUBLISHED.glob("paper-*.toml")}
    configs = {n: share_of(n, args.processes, args.tiny, changes) for n in names}
    # Plans are made by processes beside, while the GPU works.
    beside, workers = multiprocessing.get_context("spawn"), 1 if args.tiny else len(names)
    with args.output.open("w") as file, ProcessPoolExecutor(workers, beside, _without_gpu) as pool:

        def tell(line: dict[str, Any]) -> None:
            text = json.dumps(line | {"at": round(time.perf_counter() - started, 1)})
            print(text, flush=True)
            file.write(text + "\n")
            file.flush()

        plans = {n: pool.submit(plan_of, c) for n, c in configs.items()}
        rate = peak_rate(device)
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        tell({"device": name, "torch": torch.__version__, "bfloat16_tflops": rate / 1e12})
        for name, config in configs.items():
            if time.perf_counter() - started > args.limit:
                tell({"config": name, "error": "no time was left"})
                continue
            tell({"config": name} | figures(config, device, plans[name], rate, args.steps))
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
