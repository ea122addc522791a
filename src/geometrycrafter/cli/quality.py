"""``geometrycrafter run --quality``: which model, variant, size and decoder do, on the machine at hand.

The published networks are better than the embedded ones, larger, and slow without a GPU: ``best`` takes them wherever
they are and fit, ``fast`` only on a GPU, the deterministic ones. Of sizes the largest is taken whose memory, as
``benchmark --plan`` finds it, is free on the device; parts wait in the machine's memory where only that makes it fit.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geometrycrafter.cli.memory_in_use import memory_free

Quality = Literal["fast", "best"]
PUBLISHED_SIZES = {"best": ((576, 1024), (448, 768), (320, 640)), "fast": ((320, 640),)}
"""Processing heights and widths, the largest first; a video of another shape has as many pixels."""
SMALL_SIZES = {"best": ((192, 320),), "fast": ((128, 256),)}
"""Of the embedded model: what it learned at, and half as many pixels."""
ROOM = 0.9
"""Share of free memory that is used."""
PLENTY = 3000.0
"""Megabytes in which the embedded model always fits."""


@dataclass(frozen=True)
class Choice:
    """What a run is to be; None: as it is without a choice, or as a flag says."""

    model: str
    variant: str | None
    size: tuple[int, int] | None
    """About which; the video's shape says the rest."""
    dtype: str
    offload: bool
    options: dict[str, Any]
    """Of the run: decoder, precision."""
    told: str
    """One line."""

    @property
    def pixels(self) -> int | None:
        """Of the processing size."""
        return None if self.size is None else math.prod(self.size)


def chosen(quality: Quality, args: argparse.Namespace, device: str, plan: Callable[..., Any] | None = None) -> Choice:
    """Choose, with the flags that were given: they stand.

    Args:
        quality: that is wanted.
        args: of the command line.
        device: where the run will be.
        plan: what foretells memory; default: that of ``benchmark --plan``.

    Raises:
        InputError: where a model that was given is not on this machine.
    """
    from geometrycrafter.inference.loading import TINY_PIXELS, defaults_of
    from geometrycrafter.weights.places import resolve

    on_gpu = device.startswith("cuda")
    model = args.model or _model(quality, on_gpu)
    root, variant = resolve(model, args.variant)
    published = defaults_of(root, variant)[0] != TINY_PIXELS
    dtype = _settled(args.dtype, device) or ("float16" if on_gpu and published else "float32")
    options: dict[str, Any] = {}
    if quality == "fast":
        if "decoder" not in args and _has_light_decoder(root):
            options["decoder"] = "light"
        if "precision" not in args and on_gpu:
            options["precision"] = "half"
    sized = "size" in args or "max_size" in args
    sizes: tuple[tuple[int, int] | None, ...] = (PUBLISHED_SIZES if published else SMALL_SIZES)[quality]
    if sized:
        sizes = (getattr(args, "size", None),)
    free = memory_free(device)
    window = getattr(args, "window", None) or defaults_of(root, variant)[1].window
    planned = plan or _planned
    size, offload, needed = sizes[-1], args.offload, None
    if published or free < PLENTY:
        size, offload, needed = _fitting(
            sizes,
            (True,) if args.offload else (False, True) if on_gpu else (False,),
            lambda one: planned(model, variant, one, window, device, dtype),
            free * ROOM,
        )
    of = f", {needed:,.0f} of {free:,.0f} MB free" if needed is not None else ""
    about = "" if size is None or sized else f", about {size[0]}x{size[1]}"
    parts = [f"{options['decoder']} decoder"] if "decoder" in options else []
    parts += [f"precision {options['precision']}"] if "precision" in options else []
    parts += ["parts wait in memory"] if offload and not args.offload else []
    extra = "".join(f", {part}" for part in parts)
    told = f"quality {quality}: {model} ({variant}){about} on {device} in {dtype}{extra}{of}"
    return Choice(model, variant, None if sized else size, dtype, offload, options, told)


def _settled(dtype: str | None, device: str) -> str | None:
    """What ``auto`` means on the device."""
    if dtype != "auto":
        return dtype
    import torch

    from geometrycrafter.inference.precision import settled_dtype

    return str(settled_dtype("auto", torch.device(device))).removeprefix("torch.")


def _model(quality: Quality, on_gpu: bool) -> str:
    """The best model that is there; what is fast without a GPU is the embedded one."""
    from geometrycrafter.weights.places import is_cached

    order = ("diffusion", "deterministic") if quality == "best" else ("deterministic", "diffusion") if on_gpu else ()
    return next((model for model in order if is_cached(model)), "tiny")


def _fitting(
    sizes: tuple[tuple[int, int] | None, ...],
    ways: tuple[bool, ...],
    plan: Callable[[tuple[int, int] | None], list[dict[str, Any]]],
    free: float,
) -> tuple[tuple[int, int] | None, bool, float]:
    """The first size that fits, with all parts on the device or one at a time; else the least that can be asked for."""
    for size in sizes:
        rows = plan(size)
        whole, one = rows[-1]["planned_mb"], max(row["planned_mb"] for row in rows[:-1])
        for offload in ways:
            needed = one if offload else whole
            if needed <= free or (size == sizes[-1] and offload == ways[-1]):
                return size, offload, needed
    raise AssertionError("the last of them is taken whatever it wants")


def _planned(
    model: str, variant: str, size: tuple[int, int] | None, window: int, device: str, dtype: str
) -> list[dict[str, Any]]:
    from geometrycrafter.benchmark.options import BenchmarkOptions
    from geometrycrafter.cli.benchmark_plan import planned

    return planned(
        BenchmarkOptions(model=model, variant=variant, size=size, frames=window, device=device, dtype=dtype)  # type: ignore[arg-type]
    )


def _has_light_decoder(root: Path) -> bool:
    from geometrycrafter.weights.light_decoders import has_light_decoder
    from geometrycrafter.weights.parts import PARTS

    return PARTS["point_map_vae"].sizes(root).decoder == "light" or has_light_decoder(root)
