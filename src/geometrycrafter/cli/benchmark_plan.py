"""``geometrycrafter benchmark --plan``: how much memory each component will take, found without its arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from geometrycrafter.benchmark.components import components_of
from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.networks.cpu_products import assumed
from geometrycrafter.training.plan import CONTEXT, WASTE
from geometrycrafter.training.replay import replay
from geometrycrafter.weights.eight_bits import saved

MB = 1e6
OF_PROCESS = 95.0
"""Megabytes that a process takes on a CPU besides its tensors: oneDNN's kernels, and what its allocator keeps."""


def planned(options: BenchmarkOptions) -> list[dict[str, Any]]:
    """What each component holds at most, and a run that keeps all networks on its device.

    Args:
        options: of the benchmark; with a GPU as device none need be here.

    Raises:
        InputError: where the model's sizes are not on this machine.
    """
    on_cpu = options.device == "cpu"
    model = replace(MeasuredModel.of(replace(options, random=True, device="cpu")), planned=True)
    rows: list[dict[str, Any]] = []
    for name in components_of(model, options):
        with replay(gpu=False) as ledger, assumed(on_cpu), torch.no_grad():
            work = components_of(model, options)[name]()
            weights = sum(p.numel() * p.element_size() for n in work.networks.values() for p in n.parameters()) / MB
            ledger.forget_peak()
            ledger.turned = not on_cpu
            out = work()
            most = ledger.peak / MB
            if name == "unet" and options.precision == "int8":
                less = saved(work.networks["unet"]) / MB
                # They are read whole, and made smaller before the first call.
                weights, most = weights - less, max(weights, most - less)
            del work, out
        rows.append({"component": name, "weights_mb": weights, "planned_mb": most})
    held = sum(row["weights_mb"] for row in rows)
    working = max(row["planned_mb"] - row["weights_mb"] for row in rows)
    total: dict[str, Any] = {"component": "total", "weights_mb": held, "planned_mb": held + working}
    for row in [*rows, total]:
        row["planned_mb"] = row["planned_mb"] + OF_PROCESS if on_cpu else row["planned_mb"] * (1 + WASTE) + CONTEXT / MB
    return [*rows, total]


def described(rows: list[dict[str, Any]], options: BenchmarkOptions) -> str:
    """Rows as lines, with what they are of."""
    lines = [f"{'component':<14} {'weights MB':>11} {'at most MB':>11}"]
    lines += [f"{r['component']:<14} {r['weights_mb']:>11,.0f} {r['planned_mb']:>11,.0f}" for r in rows]
    of = f"{options.dtype}, {options.window} frames a window, {options.chunk} a chunk, on {options.device}"
    note = "all networks on the device at once, and the component that takes most beside them"
    return "\n".join([f"plan: {of}", *lines, f"total: {note}"])
