"""``geometrycrafter train --plan``: what a run will take, said before it begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometrycrafter.cli.progress import counting
from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.plan import Peak, Plan, plan_of
from geometrycrafter.training.remedies import remedy

GIB = 1 << 30


def described(config: LoopConfig, processes: int, memory: float | None) -> str:
    """A block of lines on a run.

    Args:
        config: of it.
        processes: with a GPU each.
        memory: that a GPU has, GiB; None: nobody asks whether that is enough.

    Raises:
        InputError: where the processes can't share the batch, or a network's sizes are none.
    """
    with counting("plans") as show:
        show(0, None)
        plan = plan_of(config, processes)
        show(1, None)
        verdict = [] if memory is None else [_verdict(plan, memory, lambda tried: show(1 + tried, None))]
    clips = config.batch // processes
    rows = [
        ("trains", f"{plan.trained:,} parameters, beside {plan.frozen:,} that are frozen"),
        ("processes", f"{processes}, each with {clips} clips a step in {config.accumulate} parts ({config.parallel})"),
        ("step", f"{_gib(plan.step.bytes)} at {_length(config)}: {_kinds(plan.step)}"),
        *_others(plan),
        ("GPU", f"{_gib(plan.needed)} needed, with what CUDA takes itself and what is lost between tensors"),
        ("checkpoint", f"{_gib(plan.checkpoint)}; {config.keep} and the best one are kept"),
        ("arithmetic", f"{plan.flops / 1e12:,.3g} TFLOP a step and process, {_total(plan):,.3g} PFLOP in all"),
        *_latents(plan),
    ]
    if plan.published:
        rows.append(("sizes", f"{', '.join(plan.published)}: as published, the hub {config.hub} has none"))
    lines = [f"{config.stage}: {config.steps:,} steps", *(f"  {name:<12}{text}" for name, text in rows)]
    return "\n".join(lines + verdict)


def _others(plan: Plan) -> list[tuple[str, str]]:
    peaks = [("validation", plan.validation), ("encoding", plan.encoding)]
    return [(name, f"{_gib(peak.bytes)}: {_kinds(peak)}") for name, peak in peaks if peak is not None]


def _latents(plan: Plan) -> list[tuple[str, str]]:
    if not plan.latents:
        return []
    each = f"{plan.latents / 1e6:,.1f} MB a clip"
    if plan.clips is None:
        return [("latents", f"{each}; how many clips there are is not known, as a source is not there")]
    return [("latents", f"{plan.clips * plan.latents / 1e9:,.1f} GB on disk, {each}")]


def _verdict(plan: Plan, memory: float, tried: Callable[[int], None]) -> str:
    if plan.needed <= memory * GIB:
        return f"fits GPUs of {memory:g} GiB"
    found = remedy(plan, round(memory * GIB), tried)
    if found is None:
        return (
            f"warning: GPUs of {memory:g} GiB are too small, whatever recompute, accumulate, parallel, ema and "
            "frames are; take more processes or a smaller size"
        )
    changes, other = found
    flags = " ".join(f"--set {k}={_toml(v)}" for k, v in changes.items())
    return f"warning: GPUs of {memory:g} GiB are too small; with {flags} it needs {_gib(other.needed)}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"'[{', '.join(map(str, value))}]'"
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _kinds(peak: Peak) -> str:
    return ", ".join(f"{name} {_gib(size)}" for name, size in peak.kinds.items() if size > peak.bytes / 100)


def _length(config: LoopConfig) -> str:
    return f"{config.frames[1]} frame{'s' if config.frames[1] > 1 else ''}"


def _total(plan: Plan) -> float:
    return plan.flops * plan.processes * plan.config.steps / 1e15


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:.1f} GiB"
