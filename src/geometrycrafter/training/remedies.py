"""Settings with which a run that is too large fits, each tried by a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from geometrycrafter.errors import InputError
from geometrycrafter.training.config import LoopConfig
from geometrycrafter.training.plan import Plan, plan_of


def remedy(plan: Plan, memory: int, tried: Callable[[int], None] | None = None) -> tuple[dict[str, Any], Plan] | None:
    """The first settings that make a run fit, those that change nothing of what is learned before those that do.

    Args:
        plan: of a run that doesn't fit.
        memory: of a GPU, bytes.
        tried: called with how many settings were tried, each of which takes seconds.

    Returns:
        what is to be set, and the plan with it; None where nothing that is known here helps.
    """
    for count, changes in enumerate(_attempts(plan.config, plan.processes)):
        if tried is not None:
            tried(count)
        try:
            found = plan_of(replace(plan.config, **changes), plan.processes)
        except InputError:  # settings that this stage can't have
            continue
        if found.needed <= memory:
            return changes, found
    return None


def _attempts(config: LoopConfig, processes: int) -> Iterator[dict[str, Any]]:
    share = config.batch // processes
    changes: dict[str, Any] = {}
    if not config.recompute:
        changes["recompute"] = True
        yield dict(changes)
    if processes > 1 and config.stage == "unet" and config.parallel == "ddp":
        changes["parallel"] = "fsdp"
        yield dict(changes)
    for parts in range(config.accumulate + 1, share + 1):
        if share % parts == 0:
            changes["accumulate"] = parts
            yield dict(changes)
    if config.ema:
        changes["ema"] = 0.0
        yield dict(changes)
    longest = config.frames[1] // 2
    while longest >= max(1, config.frames[0]):
        changes["frames"] = (config.frames[0], longest)
        yield dict(changes)
        longest //= 2
